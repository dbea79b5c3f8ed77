package sim

import (
	"slices"
	"time"
)

type eventKind uint8

// At one moment, events come in this order: what ends before what begins.
const (
	evRepair eventKind = iota
	evReshaped
	evJobEnd
	evJobStopped
	evShedOver
	evDrained
	evFailure
	evReplicaReady
	evSample
	evArrival
)

// event is something that happens at a moment.
type event struct {
	at   time.Duration
	kind eventKind
	seq  uint64 // in the order of being scheduled, from 1
	// What it is about: a job and which of its starts, a card's change, a service or node,
	// a spot and how often its node had failed, or pods.
	job      *JobState
	start    uint64
	change   *change
	a, b     int32
	failures int32
	n        int64
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

// stale reports whether what the event is about was overtaken by something else.
func (e *event) stale() bool {
	switch e.kind {
	case evJobEnd, evJobStopped:
		return e.job.due != e.seq
	case evShedOver:
		return e.job.start != e.start
	case evReshaped:
		return e.change.due != e.seq
	default:
		return false
	}
}

// agenda is a heap of events. At most half of them, and a few, are stale.
type agenda struct {
	events  []event
	seq     uint64
	overdue int // how many are stale
}

// few stale events are not worth a search for them.
const few = 64

func (a *agenda) add(e event) (seq uint64) {
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
	return e.seq
}

// overtaken says that so many events have become stale.
func (a *agenda) overtaken(n int) {
	if a.overdue += n; a.overdue <= few || 2*a.overdue <= len(a.events) {
		return
	}
	a.events = slices.DeleteFunc(a.events, func(e event) bool { return e.stale() })
	a.overdue = 0
	for i := len(a.events)/2 - 1; i >= 0; i-- {
		a.sink(i)
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
	a.events[last] = event{} // which may be the last that knows of a job
	a.events = a.events[:last]
	a.sink(0)
	return first
}

// sink moves an event down to where it belongs.
func (a *agenda) sink(i int) {
	for {
		down := 2*i + 1
		if down >= len(a.events) {
			return
		}
		if down+1 < len(a.events) && a.events[down+1].before(&a.events[down]) {
			down++
		}
		if !a.events[down].before(&a.events[i]) {
			return
		}
		a.events[i], a.events[down] = a.events[down], a.events[i]
		i = down
	}
}
