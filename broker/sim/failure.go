package sim

import "time"

// failNext draws when and where a node fails next: the same whatever the policy does.
func (w *World) failNext() {
	f := w.scenario.Failures
	if f.Every <= 0 || len(w.nodes) == 0 {
		return
	}
	wait := w.random.Wait(f.Every / time.Duration(len(w.nodes)))
	w.agenda.add(event{at: w.now + wait, kind: evFailure, a: int32(w.random.Below(len(w.nodes)))})
}

// failure of a node: replicas on it wait anew, jobs that have a pod on it stop and lose
// what they had not saved.
func (w *World) failure(n int32) {
	w.failNext()
	node := &w.nodes[n]
	if node.down {
		return
	}
	node.down = true
	node.failures++
	w.changed = true
	w.meter.nodeFailed()
	for _, s := range w.services {
		w.drop(s, node)
	}
	for k := len(w.running) - 1; k >= 0; k-- {
		if j := w.running[k]; w.isOn(j, n) {
			w.broken(j)
		}
	}
	w.vacateAll(n)
	for i := node.first; i < node.end; i++ {
		spot := &w.spots[i]
		w.meter.online -= spot.Online * w.weights[spot.Flavor]
		spot.Online, spot.Leaving, spot.Down = 0, 0, true
		w.rooms.move(i, spot)
	}
	w.agenda.add(event{at: w.now + w.scenario.Failures.Repair, kind: evRepair, a: n})
}

// drop has a service's replicas on a node wait anew.
func (w *World) drop(s *ServiceState, node *nodeState) {
	for i := node.first; i < node.end; i++ {
		for s.on[i] > 0 {
			w.unstart(s, i)
			s.leave(i)
			w.ask(s)
		}
	}
}

// isOn reports whether a job has a pod on a node.
func (w *World) isOn(j *JobState, n int32) bool {
	for _, p := range j.Places {
		if w.spots[p.Spot].Node == n {
			return true
		}
	}
	return false
}

func (w *World) repair(n int32) {
	node := &w.nodes[n]
	node.down = false
	for i := node.first; i < node.end; i++ {
		w.spots[i].Down = false
		w.rooms.move(i, &w.spots[i])
	}
	w.changed = true
}
