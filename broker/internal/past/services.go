package past

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/lend"
)

type policy = v1alpha1.LendingPolicy

// replicas are the metrics of how many there are and how many of them are ready, by the
// kind of the target.
var replicas = map[string]struct{ label, all, ready string }{
	"Deployment":  {"deployment", "kube_deployment_status_replicas", "kube_deployment_status_replicas_ready"},
	"StatefulSet": {"statefulset", "kube_statefulset_status_replicas", "kube_statefulset_status_replicas_ready"},
}

// services are those of the policies, by name.
func (a *asker) services(ctx context.Context) ([]Service, error) {
	var services []Service
	for i := range a.window.Policies {
		s, err := a.service(ctx, &a.window.Policies[i])
		if err != nil {
			return nil, err
		}
		services = append(services, s)
	}
	slices.SortFunc(services, func(x, y Service) int { return strings.Compare(x.Name, y.Name) })
	return services, nil
}

func (a *asker) service(ctx context.Context, l *policy) (Service, error) {
	s := Service{Name: l.Namespace + "/" + l.Name}
	specs, err := signal.Specs(l.Spec.Signals)
	if err != nil {
		return s, fmt.Errorf("LendingPolicy %s: %w", s.Name, err)
	}
	for i := range a.held {
		if p := &a.held[i]; serves(l, p) && p.units >= s.UnitsPerPod {
			s.UnitsPerPod, s.Flavor = p.units, a.flavorOf(p)
		}
	}
	if s.UnitsPerPod == 0 {
		a.notes.Say("%s: no pod of %s %s was seen to ask for GPUs", s.Name, l.Spec.TargetRef.Kind, l.Spec.TargetRef.Name)
	}
	ready, err := a.replicas(ctx, l, &s)
	if err != nil {
		return s, err
	}
	target := signal.Target{Name: s.Name, Namespace: l.Namespace, Workload: l.Spec.TargetRef.Name, Specs: specs}
	return s, a.load(ctx, target, ready, &s)
}

// serves says whether a pod is one of the policy's target.
func serves(l *policy, p *pod) bool {
	workload := l.Spec.TargetRef.Name
	switch {
	case p.namespace != l.Namespace || p.ownerKind == "Job":
		return false
	case p.ownerKind == "ReplicaSet": // named after its Deployment, and a hash
		i := strings.LastIndexByte(p.owner, '-')
		return i > 0 && p.owner[:i] == workload
	}
	return p.owner == workload || p.owner == "" && strings.HasPrefix(p.name, workload+"-")
}

// replicas that the service had; it returns how many of them were ready, by the step, nil
// where that is not known.
func (a *asker) replicas(ctx context.Context, l *policy, s *Service) (ready []float64, err error) {
	ref := l.Spec.TargetRef
	metric, known := replicas[ref.Kind]
	if !known {
		a.notes.Say("%s: how many replicas a %s had is not known, and not how many of them were heard", s.Name, ref.Kind)
		return nil, nil
	}
	ask := func(name string) ([]float64, error) {
		query := fmt.Sprintf("max(%s{namespace=%q,%s=%q})", name, l.Namespace, metric.label, ref.Name)
		return a.points(ctx, "the replicas of "+s.Name, a.line(query))
	}
	all, err := ask(metric.all)
	if err != nil {
		return nil, err
	}
	if a.gaps("the replicas", s.Name, all) {
		s.Replicas = a.curve(all)
		for _, n := range all {
			if n > float64(s.Most) { // NaN is not
				s.Most = int64(min(n, most))
			}
		}
	}
	return ask(metric.ready)
}

// load of the service: not known where fewer replicas told it than the broker would want.
func (a *asker) load(ctx context.Context, t signal.Target, ready []float64, s *Service) error {
	steps, err := a.points(ctx, "the load of "+s.Name, func(ctx context.Context, from, to time.Time) ([]signal.Reading, error) {
		return a.prometheus.History(ctx, t, from, to, a.window.Step)
	})
	if errors.Is(err, signal.ErrNoHistory) {
		a.notes.Say("%s: no signal of its policy has a past of requests in flight; only its replicas are known", s.Name)
		return nil
	}
	if err != nil {
		return err
	}
	heard, err := a.points(ctx, "how many replicas of "+s.Name+" were heard", func(ctx context.Context, from, to time.Time) ([]signal.Reading, error) {
		return a.prometheus.Heard(ctx, t, from, to, a.window.Step)
	})
	if err != nil {
		return err
	}
	switch {
	case known(heard) == 0 || ready == nil:
	case known(ready) == 0:
		a.notes.Say("%s: how many of its replicas were ready is not known, and so not whether all were heard", s.Name)
	default:
		a.unheard(steps, heard, ready, s.Name)
	}
	if a.gaps("the load", s.Name, steps) {
		s.Load = a.curve(steps)
	}
	for _, spec := range t.Specs {
		if profile, ok := signal.LookupProfile(spec.Profile); ok && s.Slots == 0 && spec.Profile != "" {
			if s.Slots = spec.Slots; s.Slots == 0 {
				s.Slots = profile.Slots
			}
		}
	}
	if s.Load != nil && s.Slots == 0 {
		a.notes.Say("%s: how many requests a replica serves at once is not known: set slots in its policy", s.Name)
	}
	return nil
}

// unheard forgets the load where too few of the replicas that were ready told theirs, or
// where it is not known how many were.
func (a *asker) unheard(steps, heard, ready []float64, name string) {
	quorum, lost := lend.DefaultPolicy().Quorum, 0
	for i := range steps {
		if !math.IsNaN(steps[i]) && ready[i] != 0 && !(heard[i] >= quorum*ready[i]) {
			steps[i] = math.NaN()
			lost++
		}
	}
	if lost > 0 {
		a.notes.Say("%s: its load is not known for %s, in which too few of its replicas were heard, or how many were ready is not known", name, time.Duration(lost)*a.window.Step)
	}
}

// gaps says whether anything is known, and notes for how long it is not.
func (a *asker) gaps(what, name string, steps []float64) bool {
	n := known(steps)
	switch {
	case n == 0:
		a.notes.Say("%s: Prometheus has nothing about %s", name, what)
	case n < len(steps):
		a.notes.Say("%s: Prometheus has %s for all but %s of %s", name, what, time.Duration(len(steps)-n)*a.window.Step, time.Duration(len(steps))*a.window.Step)
	}
	return n > 0
}
