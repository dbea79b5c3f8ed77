package sim

import (
	"fmt"
	"slices"
)

func lawJobs(w *World) error {
	for _, j := range w.waiting {
		if j.Phase != Waiting || len(j.Places)+len(j.Going) > 0 || j.Held != 0 || j.At != 0 || j.due != 0 || j.start != 0 {
			return fmt.Errorf("job %s: waits, but is in phase %d and holds %d pods: %v", j.Name, j.Phase, j.Held, j.Places)
		}
	}
	for _, j := range w.running {
		for _, lawful := range []func() error{j.lawfulPods, j.lawfulWork} {
			if err := lawful(); err != nil {
				return fmt.Errorf("job %s: %w", j.Name, err)
			}
		}
	}
	return nil
}

// lawfulPods checks what a job holds.
func (j *JobState) lawfulPods() error {
	working, ok := takeAway(j.Places, j.Going)
	least := j.Pods
	if j.MinPods > 0 {
		least = j.MinPods
	}
	switch {
	case !ok:
		return fmt.Errorf("gives up %v, and holds %v", j.Going, j.Places)
	case j.Held != podsOf(j.Places) || j.Held > j.Pods:
		return fmt.Errorf("holds %d pods of %d, but its places have %d", j.Held, j.Pods, podsOf(j.Places))
	case j.Phase == Running && (j.At != podsOf(working) || j.At < least):
		return fmt.Errorf("%d pods work, and of its places %d; at least %d must", j.At, podsOf(working), least)
	case j.Phase == Stopping && j.At != 0:
		return fmt.Errorf("is stopping, but %d pods work", j.At)
	}
	return nil
}

// lawfulWork checks what a job that holds units does.
func (j *JobState) lawfulWork() error {
	switch k := &j.work; {
	case j.Phase != Running && j.Phase != Stopping:
		return fmt.Errorf("is in phase %d, and holds units", j.Phase)
	case j.due == 0 || j.start == 0:
		return fmt.Errorf("will never end")
	case k.saved < 0 || k.saved > k.done || k.done > j.all():
		return fmt.Errorf("saved %d of %d done of %d", k.saved, k.done, j.all())
	}
	return nil
}

func lawServices(w *World) error {
	for _, s := range w.services {
		if err := w.lawfulService(s); err != nil {
			return fmt.Errorf("service %s: %w", s.Lender.Name, err)
		}
	}
	return nil
}

func (w *World) lawfulService(s *ServiceState) error {
	var starting int64
	for _, start := range s.starts {
		starting += start.n
	}
	switch {
	case s.Ready < 0 || s.Ready+starting != s.Running:
		return fmt.Errorf("%d replicas run, of which %d serve and %d start", s.Running, s.Ready, starting)
	case s.Running+int64(len(s.Pending)) != s.Desired || s.Desired > s.Most():
		return fmt.Errorf("wants %d replicas of %d, of which %d run and %d wait", s.Desired, s.Most(), s.Running, len(s.Pending))
	case !slices.IsSorted(s.Pending) || starting > 0 && !s.told:
		return fmt.Errorf("replicas start or wait out of turn")
	}
	return w.lawfulReplicas(s)
}

// lawfulReplicas: as many as run are on spots, which are listed.
func (w *World) lawfulReplicas(s *ServiceState) error {
	var on int64
	var spots []int32
	for spot, n := range s.on {
		if on += n; n != 0 {
			spots = append(spots, int32(spot))
		}
		if n < 0 || n > 0 && w.spots[spot].Flavor != s.FlavorID {
			return fmt.Errorf("has %d replicas on %s", n, w.spot(spot))
		}
	}
	if on != s.Running || !slices.Equal(spots, s.spots) {
		return fmt.Errorf("%d replicas run, and %d are on spots %v, not %v", s.Running, on, spots, s.spots)
	}
	return nil
}
