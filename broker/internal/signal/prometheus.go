package signal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
)

// Prometheus is a Source that asks a Prometheus-compatible server.
type Prometheus struct {
	api     promv1.API
	timeout time.Duration
}

// NewPrometheus returns a source that asks the server at url; each question
// takes at most timeout. Questions are about the server's now: with a time of the
// broker's, whose clock may be behind, old samples would look fresh.
func NewPrometheus(url string, timeout time.Duration) (*Prometheus, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost = 32
	c, err := api.NewClient(api.Config{Address: url, RoundTripper: transport})
	if err != nil {
		return nil, fmt.Errorf("read prometheus url %q: %w", url, err)
	}
	return &Prometheus{api: promv1.NewAPI(c), timeout: timeout}, nil
}

// Fetch implements Source. All questions are asked at once.
func (p *Prometheus) Fetch(ctx context.Context, t Target) Sample {
	s := Sample{Queries: map[string]Reading{}, Missing: map[string]string{}}
	var mu sync.Mutex
	var group errgroup.Group
	ask := func(name string, into func() error) {
		group.Go(func() error {
			if err := into(); err != nil {
				mu.Lock()
				s.Missing[name] = reason(err)
				mu.Unlock()
			}
			return nil
		})
	}
	for _, spec := range t.Specs {
		if spec.Profile == "" {
			ask(spec.Name, func() error {
				r, err := p.one(ctx, spec.Query)
				if err == nil {
					mu.Lock()
					s.Queries[spec.Name] = r
					mu.Unlock()
				}
				return err
			})
			continue
		}
		profile, _ := LookupProfile(spec.Profile)
		for _, q := range []struct {
			name   string
			series Series
			into   *map[string]Reading
		}{
			{askRunning, profile.Running, &s.Running},
			{askWaiting, profile.Waiting, &s.Waiting},
			{askKV, profile.KV, &s.KV},
		} {
			ask(q.name, func() (err error) {
				*q.into, err = p.perPod(ctx, q.series, t.Namespace)
				return err
			})
		}
	}
	_ = group.Wait() // every error is in Missing
	return s
}

var (
	// errNothing: the question was answered with no series.
	errNothing = errors.New("the query returned no series")
	// errWarned: part of the data may be missing, and with it part of the load. The
	// warnings name servers, so that they are for the log only.
	errWarned = errors.New("Prometheus answered with warnings, so that the answer may be partial; the broker's log has them")
)

// perPod asks for a value and its time per pod. An implausible value is left
// out, and so is one without a time.
func (p *Prometheus) perPod(ctx context.Context, series Series, namespace string) (map[string]Reading, error) {
	var values, times model.Vector
	var group errgroup.Group
	group.Go(func() (err error) { values, err = p.vector(ctx, in(series.Value, namespace)); return err })
	group.Go(func() (err error) { times, err = p.vector(ctx, in(series.Time, namespace)); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return nil, errNothing
	}
	at := make(map[string]time.Time, len(times))
	for _, sample := range times {
		if seconds := float64(sample.Value); plausible(seconds) {
			at[string(sample.Metric["pod"])] = time.UnixMilli(int64(seconds * 1000)).UTC()
		}
	}
	readings := make(map[string]Reading, len(values))
	for _, sample := range values {
		pod := string(sample.Metric["pod"])
		taken, timed := at[pod]
		if value := float64(sample.Value); timed && plausible(value) {
			readings[pod] = Reading{Value: value, At: taken}
		}
	}
	return readings, nil
}

func (p *Prometheus) vector(ctx context.Context, query string) (model.Vector, error) {
	value, err := p.query(ctx, query)
	if err != nil {
		return nil, err
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("the query returned a %s, want a vector", value.Type())
	}
	return vector, nil
}

// one asks a query of a policy, whose result must be one plausible number.
func (p *Prometheus) one(ctx context.Context, query string) (Reading, error) {
	value, err := p.query(ctx, query)
	if err != nil {
		return Reading{}, err
	}
	var number float64
	var at model.Time
	switch v := value.(type) {
	case *model.Scalar:
		number, at = float64(v.Value), v.Timestamp
	case model.Vector:
		switch {
		case len(v) == 0:
			return Reading{}, errNothing
		case len(v) > 1:
			return Reading{}, fmt.Errorf("the query returned %d series, want 1: aggregate with sum or max", len(v))
		}
		number, at = float64(v[0].Value), v[0].Timestamp
	default:
		return Reading{}, fmt.Errorf("the query returned a %s, want a scalar or a vector of one series", value.Type())
	}
	if !plausible(number) {
		return Reading{}, fmt.Errorf("the query returned %g, want a number from 0 to 1e15", number)
	}
	return Reading{Value: number, At: at.Time().UTC()}, nil
}

func (p *Prometheus) query(ctx context.Context, query string) (model.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	// Without a time the server answers as of its own clock, and says when that was.
	value, warnings, err := p.api.Query(ctx, query, time.Time{}, promv1.WithTimeout(p.timeout))
	if err != nil {
		return nil, err
	}
	if len(warnings) > 0 {
		logr.FromContextOrDiscard(ctx).Info("Prometheus answered with warnings", "query", query, "warnings", []string(warnings))
		return nil, errWarned
	}
	return value, nil
}

// reason is what a lender's owner is told. The server's address is not theirs
// to know, so transport errors are named by their kind only.
func reason(err error) string {
	var apiErr *promv1.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "Prometheus did not answer in time"
	case errors.As(err, &apiErr):
		if apiErr.Type == promv1.ErrBadData || apiErr.Type == promv1.ErrExec {
			return "Prometheus refused the query: " + apiErr.Msg
		}
		return "Prometheus answered with an error: " + string(apiErr.Type)
	case isTransport(err):
		return "Prometheus cannot be reached"
	default:
		return err.Error()
	}
}

func isTransport(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout)
}

// Absent is the Source where no Prometheus is configured: nothing is known.
type Absent struct{}

// Fetch implements Source.
func (Absent) Fetch(_ context.Context, t Target) Sample {
	s := Sample{Missing: map[string]string{}}
	for _, spec := range t.Specs {
		s.Missing[spec.Name] = "the broker has no prometheus.url"
	}
	return s
}
