package lend

import (
	"math"
	"time"
)

// class orders what a lender is owed: the lower, the more urgent.
type class int

const (
	classPending  class = iota // online pods that wait now
	classHigh                  // need, of a lender above its high water
	classNeed                  // need
	classBlind                 // what a long unknown load gives back, step by step
	classHeadroom              // warm units
	classSeason                // what the past makes likely
	classRefill                // warm units that are asked back only once they are used
	classes
)

// lender is a Lender and the arithmetic about it.
type lender struct {
	Lender
	memory LenderState
	load   reading
	// claimed is what the policy says is owned, where its tenant's nominal quota
	// leaves less; 0 otherwise.
	claimed int64
	// ownedPods is how many whole replicas the owned units hold.
	ownedPods int64

	// urgent is what the load and the autoscaler need, firm with the floors, need besides
	// with what must be left alone while the load is unknown, season with what the past
	// makes likely, and keep, the least that is not lent, with what was needed lately and
	// will be soon.
	urgent, firm, need, season, keep level
	// warm replicas are kept free above the need, headroom is the same in units.
	warm int64
	// In units.
	headroom, lent, lendable int64
	// owed pods that must be placeable now, per class.
	owed [classes]int64
	// claim is the number of pods that lending must leave room for.
	claim int64

	// open: new loans may be made. gate and why say why, or why not.
	open bool
	// nextStep is when more may be lent, if only that is in the way.
	nextStep time.Time
	// relends: what comes back to it could be lent again at once.
	relends   bool
	gate, why string
	// short: something owed cannot be placed yet.
	short bool
	// asks: units are asked back for it. touched: some of what it keeps warm is not free, and
	// is not asked back yet.
	asks, touched bool
	// stuck are changes of layouts that hold its units and go neither on nor back.
	stuck []*reshape
}

// begin takes a lender over as it was given, with what was remembered of it.
func (l *lender) begin(of *Lender, memory *LenderState) {
	*l = lender{Lender: *of, memory: *memory}
	l.memory.Name = l.Name
	for _, n := range []*int64{&l.Owned, &l.UnitsPerPod, &l.Desired, &l.Running, &l.Ready, &l.Warm} {
		*n = clamp(*n)
	}
	l.MaxGrace = max(l.MaxGrace, 0)
	l.own(l.Owned)
}

// own makes the lender own no more than the given units: those who write policies
// could otherwise give themselves what nobody promised them.
func (l *lender) own(most int64) {
	if l.Owned > most {
		l.claimed, l.Owned = l.Owned, most
	}
	l.ownedPods = l.fewPods(l.Owned)
}

// assess works out every lender's side of the decision.
func (d *decision) assess() {
	for _, l := range d.lenders {
		l.load = readLoad(l, d.now, d.pol)
		l.memory.observe(l, d.now, d.pol)
		l.watchPanic(d.now, d.pol)
		l.size(d.now, d.pol)
		l.owe(d.now, d.pol)
		l.mayLend(d)
		l.advise(d)
	}
}

// owe sets what the lender must be able to place, in pods beyond those running and
// never beyond what it owns.
func (l *lender) owe(now time.Time, pol Policy) {
	room := max(l.ownedPods-l.Running, 0)
	grant := func(c class, upTo int64) {
		n := min(max(upTo-l.claim, 0), room-l.claim)
		l.owed[c] += n
		l.claim += n
	}
	grant(classPending, int64(len(l.Pending)))
	if l.load.mark == markUnknown {
		grant(classNeed, up(l.firm.units, l.UnitsPerPod)-l.Running)
		if steps := l.memory.blindSteps(now, pol); steps > 0 {
			grant(classBlind, l.fewPods(l.Owned-l.memory.UnknownLent)+steps-l.Running)
		}
		// What is neither used nor lent stays free for it, though nothing is taken back.
		l.claim = max(l.claim, min(l.fewPods(l.Owned-l.lent)-l.Running, room))
		return
	}
	if l.load.mark == markHigh {
		grant(classHigh, up(l.urgent.units, l.UnitsPerPod)-l.Running)
	}
	grant(classNeed, up(l.need.units, l.UnitsPerPod)-l.Running)
	if l.growsIntoWarm() {
		grant(classSeason, up(l.season.units, l.UnitsPerPod)-l.Running)
		most := max(l.need.units+l.above(l.need), l.season.units+l.headroom)
		grant(classRefill, up(most, l.UnitsPerPod)-l.Running)
		return
	}
	grant(classHeadroom, up(l.need.units+l.above(l.need), l.UnitsPerPod)-l.Running)
	grant(classSeason, up(l.season.units+l.headroom, l.UnitsPerPod)-l.Running)
}

// fewPods is how many whole replicas fit into a number of units.
func (l *lender) fewPods(units int64) int64 {
	if l.UnitsPerPod == 0 {
		return 0
	}
	return max(units, 0) / l.UnitsPerPod
}

// lendableUnits is what may be lent in addition, and with which the remaining
// replicas would still stay below the high water.
func (l *lender) lendableUnits() int64 { return max(l.spare(), 0) }

// spare is below 0 where more is lent than should be.
func (l *lender) spare() int64 { return l.spareBeside(l.lent) }

// spareBeside is what could be lent if as much were lent already.
func (l *lender) spareBeside(lent int64) int64 {
	n := l.Owned - l.keep.units - l.above(l.keep) - lent
	if l.load.slots > 0 && l.HighWater > 0 {
		keep := whole(l.load.most * float64(l.UnitsPerPod) / (l.load.slots * l.HighWater))
		n = min(n, l.Owned-lent-keep)
	}
	return n
}

func (l *lender) view() LenderView {
	return LenderView{
		Name: l.Name, Owned: l.Owned, Held: l.Running * l.UnitsPerPod, Need: l.season.units, NeedBy: l.season.by,
		Headroom: l.headroom, Lent: l.lent, Lendable: l.lendable, Utilization: l.load.utilization,
		Advice: l.memory.Advice,
	}
}

// up is n/size rounded up; 0 for a size of 0.
func up(n, size int64) int64 {
	if size <= 0 || n <= 0 {
		return 0
	}
	return (n-1)/size + 1
}

// whole rounds a number of replicas or units up. The tolerance keeps 7.000000001
// from becoming 8.
func whole(v float64) int64 {
	if !(v > 0) {
		return 0
	}
	return int64(min(math.Ceil(v-1e-9), 1<<40))
}
