package lend

import (
	"cmp"
	"fmt"
	"strconv"
	"time"
)

// mark is where the load stands between the water marks.
type mark int

const (
	markUnknown mark = iota
	markLow          // every signal is below its low water
	markBetween
	markHigh // some signal is above its high water
)

// reading is a load that may be used, or why it may not.
type reading struct {
	mark            mark
	reason, message string // why it is unknown
	// utilization is requests over the slots of all owned units; -1 if unknown or
	// if no signal gives requests.
	utilization float64
	// requests in flight, and the most of them in either window.
	requests, most float64
	slots          float64
	signals        []Signal
	// blocker says which signal is not low, or is high, and how.
	blocker string
}

// readLoad judges a lender's load. A service scaled to zero is idle by its owner's own
// word where only replicas could be asked; what would hear requests that wait for one must
// be heard there too.
func readLoad(l *lender, now time.Time, pol Policy) reading {
	asleep := l.Desired == 0 && l.Running == 0 && len(l.Pending) == 0
	reason, message := unusable(l, now, pol, asleep)
	if reason == "" {
		return measure(l)
	}
	return reading{reason: reason, message: message, utilization: -1}
}

// unusable says why the load tells nothing. The order is from what is wrong with
// the lender to what is wrong with the sample.
func unusable(l *lender, now time.Time, pol Policy, asleep bool) (reason, message string) {
	load := l.Load
	switch {
	case l.Owned <= 0 || l.UnitsPerPod <= 0:
		return ReasonLoadUnknown, "the service owns no units, or its replicas ask for none"
	case !load.Known:
		return ReasonLoadUnknown, cmp.Or(load.Unknown, "no signal answered")
	case load.ObservedAt.After(now):
		return ReasonLoadUnknown, "the sample is from the future"
	case now.Sub(load.ObservedAt) > pol.StaleAfter:
		return ReasonLoadSampleStale, fmt.Sprintf("the last sample is from %s", stamp(load.ObservedAt))
	case !finite(load):
		return ReasonLoadUnknown, "a signal is not a finite number of at least 0"
	case load.empty() && asleep:
		return "", "" // nothing that could be heard
	case load.empty():
		return ReasonLoadUnknown, "there is no signal"
	case !(load.Coverage >= pol.Quorum): // also when it is not a number
		return ReasonLoadCoverageLow, fmt.Sprintf("fewer than %s of the ready replicas were heard from", percent(pol.Quorum))
	case l.Ready <= 0 && l.Desired > 0:
		return ReasonLoadUnknown, "no replica is ready"
	}
	return "", ""
}

// empty: there is neither a number of requests nor a signal.
func (l *Load) empty() bool { return l.Slots == 0 && len(l.Signals) == 0 }

func finite(l Load) bool {
	if !usable(l.Requests) || !usable(l.Panic) || !usable(l.Slots) {
		return false
	}
	for _, s := range l.Signals {
		if !usable(s.Value) || !usable(s.Low) || !usable(s.High) || !usable(s.PerReplica) {
			return false
		}
	}
	return true
}

// usable: beyond 1e15 a value is a broken counter, not a load.
func usable(v float64) bool { return v >= 0 && v <= 1e15 }

// measure places a usable load between the water marks: low only if all signals
// are, in the stable window and in the panic window, high as soon as one is.
func measure(l *lender) reading {
	r := reading{
		mark: markLow, utilization: -1,
		requests: l.Load.Requests, most: max(l.Load.Requests, l.Load.Panic), slots: l.Load.Slots, signals: l.Load.Signals,
	}
	if r.slots > 0 {
		r.utilization = min(r.most*float64(l.UnitsPerPod)/(r.slots*float64(l.Owned)), 1e6)
		r.see("load", r.utilization, l.LowWater, l.HighWater)
		switch r.mark {
		case markHigh:
			r.blocker = "load is above " + percent(l.HighWater)
		case markBetween:
			r.blocker = "load is not below " + percent(l.LowWater)
		}
	}
	for _, s := range r.signals {
		r.see(s.Name, s.Value, s.Low, s.High)
	}
	return r
}

// see takes in one signal. The first high one, or else the first that is not low,
// is what the verdict names.
func (r *reading) see(name string, value, low, high float64) {
	switch {
	case value > high && r.mark != markHigh:
		r.mark, r.blocker = markHigh, name+" is above its high water"
	case !(value < low) && r.mark == markLow:
		r.mark, r.blocker = markBetween, name+" is not below its low water"
	}
}

// text says what the load is, in words that only change when it does.
func (r *reading) text(l *lender) string {
	switch {
	case r.mark == markUnknown:
		return "load is unknown: " + r.message
	case r.utilization < 0:
		return "load has no requests to go by"
	}
	return "load " + percent(r.utilization) + " of " + strconv.FormatInt(l.Owned, 10) + " owned units"
}

func percent(share float64) string {
	return strconv.FormatFloat(100*share, 'f', 0, 64) + "%"
}
