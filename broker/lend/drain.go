package lend

import (
	"fmt"
	"slices"
)

// drain asks back what jobs of draining queues hold, once: what ends is left alone.
func (d *decision) drain() {
	if !slices.ContainsFunc(d.in.Queues, func(q Queue) bool { return q.Drain }) {
		return
	}
	draining := map[string]bool{}
	seen := map[string]bool{}
	for _, q := range d.in.Queues {
		draining[q.Name] = draining[q.Name] || q.Drain && !seen[q.Name]
		seen[q.Name] = true
	}
	for _, l := range d.loans {
		if l.ending || !draining[l.Queue] {
			continue
		}
		d.takeBack(l, &Action{
			ReclaimBy: d.now.Add(d.graceOf(l, nil)),
			ReclaimID: fmt.Sprintf("r-%d-%d-drain", d.in.Epoch, d.number),
			Reason:    ReasonQueueDraining,
			Message:   fmt.Sprintf("queue %s is being emptied", l.Queue),
		})
	}
}
