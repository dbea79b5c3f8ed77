package baseline

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// shortLine has the jobs that wait, the shortest first.
type shortLine struct {
	jobs  []inLine
	known map[int64]bool // by Order
}

// inLine is a job and how long it would run from here, on as few pods as it can.
type inLine struct {
	*sim.JobState
	length  time.Duration
	order   int64
	attempt int32
}

// base is with how many pods a job is started at least.
func base(j *sim.JobState) int64 {
	if j.MinPods > 0 {
		return j.MinPods
	}
	return j.Pods
}

// update drops who waits no more, and lets those in who do since. A job's length does not
// change while it waits.
func (l *shortLine) update(w *sim.World) {
	if l.known == nil {
		l.known = map[int64]bool{}
	}
	l.jobs = slices.DeleteFunc(l.jobs, func(j inLine) bool {
		gone := j.Phase != sim.Waiting || j.Order != j.order || j.Attempt != j.attempt
		if gone {
			delete(l.known, j.order)
		}
		return gone
	})
	if len(l.jobs) == len(w.Waiting()) {
		return
	}
	for _, j := range w.Waiting() {
		if l.known[j.Order] {
			continue
		}
		l.known[j.Order] = true
		in := inLine{j, j.Left(w.Now()) * time.Duration(j.Pods) / time.Duration(base(j)), j.Order, j.Attempt}
		i, _ := slices.BinarySearchFunc(l.jobs, in, func(a, b inLine) int {
			return cmp.Or(cmp.Compare(a.length, b.length), cmp.Compare(a.Order, b.Order))
		})
		l.jobs = slices.Insert(l.jobs, i, in)
	}
}
