package past

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
)

// Prometheus is what is asked; *signal.Prometheus is one.
type Prometheus interface {
	Range(ctx context.Context, query string, start, end time.Time, step time.Duration) ([]signal.Timeline, error)
	History(ctx context.Context, t signal.Target, start, end time.Time, step time.Duration) ([]signal.Reading, error)
	Heard(ctx context.Context, t signal.Target, start, end time.Time, step time.Duration) ([]signal.Reading, error)
}

// Window is what is asked about.
type Window struct {
	// Start counts to the step, End to the second.
	Start, End time.Time
	// Step of load and replicas, at least a minute; 0 is one.
	Step time.Duration
	// Policies of the services whose load counts. Their defaults must be set, as the API
	// server sets them.
	Policies []v1alpha1.LendingPolicy
	// Flavors by which units are told apart; what none of them names is called by its
	// product, or by its slice.
	Flavors []Flavor
	// Tenant of a namespace; nil: the namespace itself.
	Tenant func(namespace string) string
	// Jobs are what the history does not say of jobs. Origin is Start.
	Jobs gang.Options
}

// Flavor is a kind of units, as a TenantQuota has it.
type Flavor struct {
	Name         string
	Resource     corev1.ResourceName
	NodeSelector map[string]string
}

// Town is what a cluster lived through. Times are since Start.
type Town struct {
	Start    time.Time
	Length   time.Duration
	Services []Service // by Name
	Nodes    []sim.Node
	Jobs     []sim.Job // by Submit
	// Notes are what was assumed, left out or missing, in words.
	Notes []string
}

// Service is what is known of an online service.
type Service struct {
	// Name is the LendingPolicy's namespace/name.
	Name string
	// Load is the highest number of requests in flight in each step; nil where no signal of
	// the policy has a past. Slots is how many a replica serves at once, 0 if that is not
	// known.
	Load  sim.Curve
	Slots float64
	// Replicas that there were; nil where that is not known. Most is how many at once.
	Replicas sim.Curve
	Most     int64
	// Flavor and UnitsPerPod of its pods; empty and 0 where no pod of it was seen.
	Flavor      string
	UnitsPerPod int64
}

const day = 24 * time.Hour

// Ask asks about a window. It fails where Prometheus cannot be asked at all, or has no GPU;
// what else is missing is in the notes.
func Ask(ctx context.Context, p Prometheus, w Window) (*Town, error) {
	if w.Step == 0 {
		w.Step = time.Minute
	}
	if w.Step < time.Minute { // which is how far apart Prometheus is made to look
		return nil, fmt.Errorf("the step: is %s, must be at least a minute", w.Step)
	}
	w.Start, w.End = w.Start.UTC().Truncate(w.Step), w.End.UTC().Truncate(time.Second)
	length := w.End.Sub(w.Start)
	if length < w.Step || length > 400*day {
		return nil, fmt.Errorf("the window from %s to %s: must be at least a step of %s, and at most 400 days", w.Start.Format(time.RFC3339), w.End.Format(time.RFC3339), w.Step)
	}
	w.Jobs.Origin = w.Start
	a := &asker{prometheus: p, window: w, notes: &gang.Notes{}}
	town := &Town{Start: w.Start, Length: length}
	var err error
	if town.Nodes, err = a.nodes(ctx); err != nil {
		return nil, err
	}
	if err = a.pods(ctx); err != nil {
		return nil, err
	}
	if town.Services, err = a.services(ctx); err != nil {
		return nil, err
	}
	if town.Jobs, err = a.jobs(ctx); err != nil {
		return nil, err
	}
	town.Notes = a.notes.List()
	return town, nil
}

// asker is how far a town is known.
type asker struct {
	prometheus Prometheus
	window     Window
	notes      *gang.Notes
	flavors    map[spot]string // of the units of a resource on a node
	held       []pod           // that had GPUs, by namespace and name
}

// spot is a resource on a node, as kube-state-metrics calls it.
type spot struct{ node, resource string }

// of is the tenant of a namespace.
func (a *asker) of(namespace string) string {
	if a.window.Tenant == nil {
		return namespace
	}
	return a.window.Tenant(namespace)
}
