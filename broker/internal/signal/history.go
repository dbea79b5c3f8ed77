package signal

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// ErrNoHistory: no signal of the target has a past in Prometheus that says how many
// requests were in flight.
var ErrNoHistory = errors.New("no signal has a past of requests in flight")

// historyStep is how far apart the instants are of which the highest counts.
const historyStep = time.Minute

// History returns the most requests in flight over all replicas in each step from start to
// end, as Prometheus has them; a step in which nothing was heard is left out. At is when a
// step begins. Replicas of the past are known by their names, which begin with the
// workload's: another workload whose name begins the same is counted too, so that the
// past may look busier than it was, and never idler.
func (p *Prometheus) History(ctx context.Context, t Target, start, end time.Time, step time.Duration) ([]Reading, error) {
	query, err := t.history(step)
	if err != nil {
		return nil, err
	}
	value, warnings, err := p.api.QueryRange(ctx, query, promv1.Range{Start: start.Add(step), End: end, Step: step})
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus for the past of %s: %s", t.Name, reason(err))
	}
	if len(warnings) > 0 {
		return nil, errWarned
	}
	matrix, ok := value.(model.Matrix)
	if !ok || len(matrix) > 1 {
		return nil, fmt.Errorf("the past of %s is a %s of %d series, want one series", t.Name, value.Type(), len(matrix))
	}
	var points []Reading
	for _, series := range matrix {
		for _, sample := range series.Values {
			if v := float64(sample.Value); plausible(v) {
				points = append(points, Reading{Value: v, At: sample.Timestamp.Time().UTC().Add(-step)})
			}
		}
	}
	return points, nil
}

// history is the PromQL of the most requests in flight within a step.
func (t Target) history(step time.Duration) (string, error) {
	i := slices.IndexFunc(t.Specs, func(s Spec) bool { return s.ofProfile() && profiles[s.Profile].requests() })
	if i < 0 {
		return "", ErrNoHistory
	}
	spec, profile := t.Specs[i], profiles[t.Specs[i].Profile]
	var parts []string
	for _, m := range []Measure{Running, Waiting} {
		metric := profile.metric(m)
		switch {
		case metric == nil:
			continue
		case metric.Each || profile.Scope == ScopePod && t.Workload == "":
			return "", ErrNoHistory // how many replicas there were is not known
		}
		q := promQL{profile: profile, metric: metric, namespace: t.Namespace, match: spec.MatchLabels}
		if profile.Scope == ScopePod {
			q.pods = regexp.QuoteMeta(t.Workload) + "-.+"
		}
		parts = append(parts, "sum("+q.value()+")")
	}
	return fmt.Sprintf("max_over_time((%s)[%s:%s])", strings.Join(parts, " + "), model.Duration(step), model.Duration(historyStep)), nil
}
