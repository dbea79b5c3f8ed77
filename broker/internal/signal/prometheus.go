package signal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Prometheus is a Source that asks a Prometheus-compatible server.
type Prometheus struct {
	api     promv1.API
	timeout time.Duration
}

// NewPrometheus returns a source that asks the server at url; each question
// takes at most timeout, and an answer that is longer than 8 MiB or has more than 50,000
// series is an error. Questions are about the server's now: with a time of the
// broker's, whose clock may be behind, old samples would look fresh.
func NewPrometheus(url string, timeout time.Duration) (*Prometheus, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost = 32
	c, err := api.NewClient(api.Config{Address: url, RoundTripper: Bounded(transport)})
	if err != nil {
		return nil, fmt.Errorf("read prometheus url %q: %w", url, err)
	}
	return &Prometheus{api: promv1.NewAPI(c), timeout: timeout}, nil
}

// Fetch implements Source for profiles and queries. All questions are asked at once.
func (p *Prometheus) Fetch(ctx context.Context, t Target) Sample {
	var a answers
	var group sync.WaitGroup
	for _, spec := range t.Specs {
		switch spec.Kind {
		case KindQuery:
			group.Go(func() {
				r, err := p.one(ctx, spec, t.Pods)
				a.value(spec.Name, r, err, reason)
			})
		case KindProfile:
			profile := profiles[spec.Profile]
			a.begin(spec.Name)
			for i := range profile.Measures {
				if m := &profile.Measures[i]; profile.wanted(m, spec) {
					group.Go(func() {
						readings, err := p.measure(ctx, promQL{profile: profile, metric: m, namespace: t.Namespace, match: spec.MatchLabels})
						a.measure(spec.Name, m.Measure, readings, err)
					})
				}
			}
		}
	}
	group.Wait()
	return a.sample
}

// ErrWarned: part of the data may be missing, and with it part of the load. The
// warnings name servers, so that they are for the log only.
var ErrWarned = errors.New("Prometheus answered with warnings, so that the answer may be partial; the broker's log has them")

// measure asks for a measure and its time. An implausible value is left out, and so
// is one without a time; NaN where nothing ended is kept.
func (p *Prometheus) measure(ctx context.Context, q promQL) (Readings, error) {
	var values, times model.Vector
	var group errgroup.Group
	group.Go(func() (err error) { values, err = p.vector(ctx, q.value()); return err })
	group.Go(func() (err error) { times, err = p.vector(ctx, q.time()); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return nil, q.nothing(len(times) > 0)
	}
	at := make(map[string]time.Time, len(times))
	for _, sample := range times {
		if seconds := float64(sample.Value); plausible(seconds) {
			at[string(sample.Metric["pod"])] = time.UnixMilli(int64(seconds * 1000)).UTC()
		}
	}
	readings := make(Readings, len(values))
	for _, sample := range values {
		pod := string(sample.Metric["pod"])
		taken, timed := at[pod]
		if value := float64(sample.Value); timed && (plausible(value) || q.metric.nothingEnded(value)) {
			readings[pod] = Reading{Value: value, At: taken}
		}
	}
	return readings, nil
}

// nothing says what was looked for where nothing was found. There may be series
// nevertheless, but not for as long as a rate needs.
func (q promQL) nothing(series bool) error {
	if series && q.metric.overWindow() {
		return fmt.Errorf("Prometheus has %s in namespace %s, but not for the whole of the last %s", q.metric.names(), q.namespace, rateWindow)
	}
	return absence{fmt.Errorf("Prometheus has no series of %s in namespace %s", q.metric.names(), q.namespace)}
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

// one asks a query of a policy, whose result must be one plausible number. Those of the
// target's pods whose series it lost lately are silent in it.
func (p *Prometheus) one(ctx context.Context, spec Spec, pods []Pod) (Reading, error) {
	value, err := p.query(ctx, spec.Query)
	if err != nil {
		return Reading{}, err
	}
	var number float64
	var at model.Time
	switch v := value.(type) {
	case *model.Scalar:
		number, at = float64(v.Value), v.Timestamp
	case model.Vector:
		if number, at, err = aggregate(v, spec.Aggregate); err != nil {
			return Reading{}, err
		}
	default:
		return Reading{}, fmt.Errorf("the query returned a %s, want a scalar or a vector of one series", value.Type())
	}
	if !plausible(number) {
		return Reading{}, fmt.Errorf("the query returned %g, want a number from 0 to 1e15", number)
	}
	if err := p.isWhole(ctx, spec.Query); err != nil {
		return Reading{}, err
	}
	silent, err := p.lost(ctx, spec.Query, pods)
	if err != nil {
		return Reading{}, err
	}
	return Reading{Value: number, At: at.Time().UTC(), Silent: silent}, nil
}

// isWhole refuses a query that looks back over what Prometheus does not have: after it, or
// what it reads, was down, a rate stays low for as long as the query looks back, and that
// is no trough.
func (p *Prometheus) isWhole(ctx context.Context, query string) error {
	windows, err := lookbacks(query)
	if err != nil || len(windows) == 0 {
		return err
	}
	whole, err := p.vector(ctx, wholeness(windows))
	if err == nil && len(whole) == 0 {
		err = fmt.Errorf("the query looks back over %s, and Prometheus has not the whole of it", model.Duration(longest(windows)))
	}
	return err
}

// lost counts the pods of which a query reads series that were there within the hour and
// are not now.
func (p *Prometheus) lost(ctx context.Context, query string, pods []Pod) (int, error) {
	all := selectors(query)
	if len(all) == 0 || len(pods) == 0 {
		return 0, nil
	}
	seen, err := p.vector(ctx, presence(all))
	if err != nil {
		return 0, err
	}
	lost := 0
	for _, pod := range pods {
		had, has := map[string]bool{}, map[string]bool{}
		for _, series := range seen {
			if which := string(series.Metric[seenLabel]); pod.has(series.Metric) {
				selector, now := strings.CutPrefix(which, seenNow)
				has[selector] = has[selector] || now
				had[strings.TrimPrefix(selector, seenLately)] = true
			}
		}
		for selector := range had {
			if !has[selector] {
				lost++
				break
			}
		}
	}
	return lost, nil
}

// has says whether a series is of the pod, by the labels that name pods and what is scraped.
func (p Pod) has(labels model.Metric) bool {
	for _, label := range podLabels {
		value := string(labels[model.LabelName(label)])
		if value != "" && value == p.Name {
			return true
		}
	}
	instance := string(labels[model.InstanceLabel])
	if host, _, err := net.SplitHostPort(instance); err == nil {
		instance = host
	}
	return p.IP != "" && instance == p.IP
}

// aggregate makes one number of a vector, as old as its oldest sample. A single
// number in it that cannot be true makes the whole one that cannot.
func aggregate(v model.Vector, how v1alpha1.Aggregate) (number float64, at model.Time, err error) {
	switch {
	case len(v) == 0:
		return 0, 0, errors.New("the query returned no series")
	case len(v) > 1 && how == "":
		return 0, 0, fmt.Errorf("the query returned %d series, want 1: aggregate with sum or max", len(v))
	}
	at = v[0].Timestamp
	for _, sample := range v {
		value := float64(sample.Value)
		if !plausible(value) {
			return value, at, nil
		}
		if at = min(at, sample.Timestamp); how == v1alpha1.AggregateMax {
			number = max(number, value)
		} else {
			number += value
		}
	}
	return number, at, nil
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
		return nil, ErrWarned
	}
	if vector, is := value.(model.Vector); is && len(vector) > maxSamples {
		return nil, fmt.Errorf("the query returned %d series, and no more than %d are read", len(vector), maxSamples)
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
	case errors.Is(err, ErrTooLong):
		return "Prometheus: " + ErrTooLong.Error()
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
