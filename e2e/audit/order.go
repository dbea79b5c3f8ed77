package audit

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// event is one object as one watch showed it.
type event struct {
	// revision is etcd's, which orders the changes of all kinds.
	revision uint64
	received time.Time
	// object is a *corev1.Node, *corev1.Pod, *corev1.Namespace, *ebbtidev1.Loan,
	// *ebbtidev1.TenantQuota or maker.
	object  any
	deleted bool
	initial bool
}

// inbox puts events of several watches into the one order in which the API
// server made them. It holds each back for a while, since watches of different
// kinds are not equally fast.
type inbox struct {
	hold time.Duration

	mu     sync.Mutex
	events []event
}

func (b *inbox) put(e event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// take removes and returns what was received long enough before now, in order of
// revision. Whatever has a lower revision than one of those comes along.
func (b *inbox) take(now time.Time) []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	highest := uint64(0)
	for _, e := range b.events {
		if now.Sub(e.received) >= b.hold {
			highest = max(highest, e.revision)
		}
	}
	var out []event
	b.events = slices.DeleteFunc(b.events, func(e event) bool {
		if e.revision > highest {
			return false
		}
		out = append(out, e)
		return true
	})
	slices.SortStableFunc(out, func(x, y event) int { return cmp.Compare(x.revision, y.revision) })
	return out
}
