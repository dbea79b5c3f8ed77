package history

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Event is one object as one watch showed it.
type Event struct {
	// Revision is etcd's, which orders the changes of all kinds.
	Revision uint64
	// At is when it was received, or from when on the API server said that it had got so far,
	// if that was earlier. It happened between Since and then; zero: before the watching began.
	At, Since time.Time
	// Object is a *corev1.Node, *corev1.Pod, *corev1.Namespace, *batchv1.Job,
	// *coordinationv1.Lease, *v1alpha1.Loan, *v1alpha1.LendingPolicy,
	// *v1alpha1.TenantQuota, *v1alpha1.TrainingQueue or *v1alpha1.GPUNode. It is not to be
	// changed.
	Object  any
	Deleted bool
	// Initial: it was there when the watching began.
	Initial bool
	// Unseen: it was found by a list after the watch was lost, and states between it and the
	// one before may have been skipped, of this object and of others of its kind. Until is the
	// revision of that list.
	Unseen bool
	Until  uint64

	// after is the revision after which all of it happened that an Unseen event shows.
	after uint64
}

// order holds events back and hands them on by revision.
type order struct {
	hold time.Duration

	mu     sync.Mutex
	events []Event
}

func (o *order) put(e Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
}

// take removes and returns what was received long enough before now, by revision. Whatever
// has a lower revision than one of those comes along.
func (o *order) take(now time.Time) []Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	highest := uint64(0)
	for _, e := range o.events {
		if now.Sub(e.At) >= o.hold {
			highest = max(highest, e.Revision)
		}
	}
	var out []Event
	o.events = slices.DeleteFunc(o.events, func(e Event) bool {
		if e.Revision > highest {
			return false
		}
		out = append(out, e)
		return true
	})
	return InOrder(out)
}

// InOrder returns all events by revision, which is the order in which they happened, whatever
// the order in which they were handed on. The events are those of one Watcher.
func InOrder(events []Event) []Event {
	out := slices.Clone(events)
	slices.SortStableFunc(out, func(a, b Event) int { return cmp.Compare(a.Revision, b.Revision) })
	return out
}
