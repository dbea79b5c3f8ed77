package sim

import (
	"fmt"
	"math"
)

// known are the names that jobs may use.
type known struct {
	flavors, tenants map[string]bool
	slices           map[string]bool   // flavors of which a pod has one unit
	queues           map[string]string // to tenants
}

func newKnown(s *Scenario) known {
	k := known{flavors: map[string]bool{}, slices: map[string]bool{}, tenants: map[string]bool{}, queues: map[string]string{}}
	boards := boardsOf(s)
	for i := range s.Flavors {
		f := &s.Flavors[i]
		k.slices[f.Name] = true
		for b := range boards {
			if _, ok := profileOf(&boards[b], f); ok {
				k.flavors[f.Name] = true
			}
		}
	}
	for _, n := range s.Nodes {
		for _, u := range n.Units {
			k.flavors[u.Flavor] = true
		}
	}
	for _, t := range s.Tenants {
		k.tenants[t.Name] = true
	}
	for _, q := range s.Queues {
		k.queues[q.Name] = q.Tenant
	}
	return k
}

// mostWork bounds a job's work, in pod-nanoseconds: that of one pod in 146 years.
const mostWork = math.MaxInt64 / 2

// check says what of a job cannot be played. One that no cluster has room for can: it waits.
func (k *known) check(j *Job) error {
	switch {
	case j.Name == "":
		return fmt.Errorf("name: must be given")
	case j.Submit < 0:
		return fmt.Errorf("submit: is %s, must be at least 0", j.Submit)
	case j.Duration < 0 || j.Duration > forever:
		return fmt.Errorf("duration: is %s, must be at least 0, and at most %s", j.Duration, forever)
	case j.Pods < 1 || j.UnitsPerPod < 1:
		return fmt.Errorf("pods, unitsPerPod: are %d, %d, must be at least 1", j.Pods, j.UnitsPerPod)
	case j.Pods > mostUnits || j.UnitsPerPod > mostUnits:
		return fmt.Errorf("pods, unitsPerPod: are %d, %d, must be at most %d", j.Pods, j.UnitsPerPod, mostUnits)
	case int64(j.Duration) > mostWork/j.Pods:
		return fmt.Errorf("pods × duration: is %d × %s, must be at most 146 years", j.Pods, j.Duration)
	case j.MinPods < 0 || j.MinPods > j.Pods:
		return fmt.Errorf("minPods: is %d, must be from 0 to pods (%d)", j.MinPods, j.Pods)
	}
	if err := k.names(j); err != nil {
		return err
	}
	return j.Costs.check()
}

// names checks that what a job names is there.
func (k *known) names(j *Job) error {
	switch tenant, ok := k.queues[j.Queue]; {
	case !k.flavors[j.Flavor]:
		return fmt.Errorf("flavor: no node has any of %q", j.Flavor)
	case k.slices[j.Flavor] && j.UnitsPerPod != 1:
		return fmt.Errorf("unitsPerPod: is %d, must be 1: %q is a slice of a GPU", j.UnitsPerPod, j.Flavor)
	case len(k.tenants) > 0 && !k.tenants[j.Tenant]:
		return fmt.Errorf("tenant: there is no %q", j.Tenant)
	case len(k.queues) > 0 && !ok:
		return fmt.Errorf("queue: there is no %q", j.Queue)
	case len(k.queues) > 0 && tenant != j.Tenant:
		return fmt.Errorf("queue: %q is %q's, not %q's", j.Queue, tenant, j.Tenant)
	}
	return nil
}

func (c *Costs) check() error {
	return within(
		span{"checkpointEvery", c.CheckpointEvery}, span{"saveTakes", c.SaveTakes}, span{"grace", c.Grace},
		span{"exit", c.Exit}, span{"restart", c.Restart}, span{"reshape", c.Reshape},
	)
}

// pull reads the next job of the stream.
func (w *World) pull() {
	j, ok, err := w.scenario.Jobs.Next()
	w.more = false
	if err != nil {
		w.fail("reading jobs: %w", err)
		return
	}
	if !ok || j.Submit >= w.scenario.Length {
		return
	}
	if err := w.known.check(&j); err != nil {
		w.fail("job %s: %w", j.Name, err)
		return
	}
	if j.Submit < w.ahead.Submit {
		w.fail("job %s: submit: is %s, after a job with %s", j.Name, j.Submit, w.ahead.Submit)
		return
	}
	w.ahead, w.more = j, true
	w.agenda.add(event{at: j.Submit, kind: evArrival})
}

// arrive takes the job that is due and looks for the one after it.
func (w *World) arrive() {
	j := &JobState{Job: w.ahead, First: -1, Queued: w.now}
	if w.byName[j.Name] != nil {
		w.fail("job %s: name: another job that has not ended has it", j.Name)
		return
	}
	w.arrived++
	j.Order = w.arrived
	w.byName[j.Name] = j
	flavor, _ := w.Flavor(j.Flavor)
	j.size = j.UnitsPerPod * w.weights[flavor]
	w.waiting = append(w.waiting, j) // after all, since no Order is higher
	if j.count = w.meter.counting(w.now); j.count {
		w.counted++
		w.meter.r.Submitted++
	}
	w.changed = true
	w.pull()
}
