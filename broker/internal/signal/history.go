package signal

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

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
	all, err := p.Range(ctx, query, start.Add(step), end, step)
	if errors.Is(err, ErrWarned) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus for the past of %s: %w", t.Name, err)
	}
	if len(all) > 1 {
		return nil, fmt.Errorf("the past of %s is %d series, want one", t.Name, len(all))
	}
	return begun(all, step), nil
}

// Heard returns how few of the target's replicas told how many requests they have, at
// the least, in each step from start to end, as History counts steps; a step in which
// none did is left out. Of a profile of ScopeService nothing is said.
func (p *Prometheus) Heard(ctx context.Context, t Target, start, end time.Time, step time.Duration) ([]Reading, error) {
	spec, profile, err := t.remembered()
	if err != nil || profile.Scope != ScopePod {
		return nil, err
	}
	q := t.promQL(spec, profile, profile.metric(Running))
	query := fmt.Sprintf("min_over_time(count(%s)[%s:%s])", q.value(), model.Duration(step), model.Duration(historyStep))
	all, err := p.Range(ctx, query, start.Add(step), end, step)
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus which replicas of %s were heard: %w", t.Name, err)
	}
	return begun(all, step), nil
}

// begun are the readings of series that look back over a step, by when it began.
func begun(all []Timeline, step time.Duration) []Reading {
	var points []Reading
	for _, series := range all {
		for _, r := range series.Readings {
			points = append(points, Reading{Value: r.Value, At: r.At.Add(-step)})
		}
	}
	return points
}

// history is the PromQL of the most requests in flight within a step.
func (t Target) history(step time.Duration) (string, error) {
	spec, profile, err := t.remembered()
	if err != nil {
		return "", err
	}
	var parts []string
	for _, m := range []Measure{Running, Waiting} {
		metric := profile.metric(m)
		if metric == nil {
			continue
		}
		if metric.Each {
			return "", ErrNoHistory // how many replicas there were is not known
		}
		parts = append(parts, "sum("+t.promQL(spec, profile, metric).value()+")")
	}
	return fmt.Sprintf("max_over_time((%s)[%s:%s])", strings.Join(parts, " + "), model.Duration(step), model.Duration(historyStep)), nil
}

// remembered is the signal of the target that has a past of requests in flight.
func (t Target) remembered() (Spec, *Profile, error) {
	i := slices.IndexFunc(t.Specs, func(s Spec) bool { return s.ofProfile() && profiles[s.Profile].requests() })
	if i < 0 {
		return Spec{}, nil, ErrNoHistory
	}
	profile := profiles[t.Specs[i].Profile]
	if profile.Scope == ScopePod && t.Workload == "" {
		return Spec{}, nil, ErrNoHistory // whose pods were there is not known
	}
	return t.Specs[i], profile, nil
}

// promQL asks for a metric of all pods that the target ever had.
func (t Target) promQL(spec Spec, profile *Profile, metric *Metric) promQL {
	q := promQL{profile: profile, metric: metric, namespace: t.Namespace, match: spec.MatchLabels}
	if profile.Scope == ScopePod {
		q.pods = regexp.QuoteMeta(t.Workload) + "-.+"
	}
	return q
}
