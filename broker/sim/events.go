package sim

import "time"

type eventKind uint8

// At one moment, events come in this order: what ends before what begins.
const (
	evRepair eventKind = iota
	evJobEnd
	evJobStopped
	evShedOver
	evDrained
	evFailure
	evReplicaReady
	evSample
	evArrival
	evWake
)

// event is something that happens at a moment. Events of jobs that were overtaken by
// others have an old generation.
type event struct {
	at   time.Duration
	kind eventKind
	seq  uint64 // in the order of being scheduled
	// What it is about: a job's slot and generation, a service and a spot, a node.
	a, b int32
	gen  uint32
	n    int64
}

func (e *event) before(o *event) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	if e.kind != o.kind {
		return e.kind < o.kind
	}
	return e.seq < o.seq
}

// agenda is a heap of events.
type agenda struct {
	events []event
	seq    uint64
}

func (a *agenda) add(e event) {
	a.seq++
	e.seq = a.seq
	a.events = append(a.events, e)
	i := len(a.events) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !a.events[i].before(&a.events[up]) {
			break
		}
		a.events[i], a.events[up] = a.events[up], a.events[i]
		i = up
	}
}

func (a *agenda) next() (at time.Duration, ok bool) {
	if len(a.events) == 0 {
		return 0, false
	}
	return a.events[0].at, true
}

func (a *agenda) pop() event {
	first, last := a.events[0], len(a.events)-1
	a.events[0] = a.events[last]
	a.events = a.events[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			break
		}
		if down+1 < last && a.events[down+1].before(&a.events[down]) {
			down++
		}
		if !a.events[down].before(&a.events[i]) {
			break
		}
		a.events[i], a.events[down] = a.events[down], a.events[i]
		i = down
	}
	return first
}
