// Package gains reads from the ledger what lending gained since a time: how many GPU-hours
// were lent, and what was taken back for it and how quickly.
//
// It promises that the hours are those of the accounts: over the whole of a ledger they are
// what its balances and its open loans add up to, to the millisecond of a unit. A loan's hours
// count from when it took effect until its units were free, as lenders are credited; a
// borrower's own quota counts for nothing. It reads no clock, and a Tally may be gone on with
// as entries are added.
package gains

import (
	"maps"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/grants"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/ledger/statement"
)

// Gained is what came of lending from Since until Until.
type Gained struct {
	Since time.Time       `json:"since"`
	Until time.Time       `json:"until"`
	Lent  statement.Hours `json:"lentGPUHours"`
	// Flavors are by name.
	Flavors []Flavor `json:"flavors"`
	// Loans that began to be lent something.
	Loans int `json:"loans"`
	// Reclaims are how often a loan, or a part, was asked back or taken by the scheduler, and
	// Evictions how many of those stopped the whole job. Killed had pods left at the deadline,
	// and Late came back after it.
	Reclaims  int `json:"reclaims"`
	Evictions int `json:"evictions"`
	Killed    int `json:"killed"`
	Late      int `json:"late"`
	// SlowestReturn is of what came back, SlowestBound how long that might have taken; of
	// loan SlowestLoan. Absent where nothing came back.
	SlowestReturn float64 `json:"slowestReturnSeconds,omitempty"`
	SlowestBound  float64 `json:"slowestBoundSeconds,omitempty"`
	SlowestLoan   string  `json:"slowestLoan,omitempty"`
}

// Flavor is what was lent of one.
type Flavor struct {
	Flavor string          `json:"flavor"`
	Lent   statement.Hours `json:"lentGPUHours"`
	// Open are units that are lent still.
	Open int64 `json:"openUnits"`
}

// Tally follows entries. It is to be used from one goroutine.
type Tally struct {
	since time.Time
	sum   Gained
	lent  map[string]statement.Hours
	open  map[string]*loan
}

// loan is an open one.
type loan struct {
	last   uint64 // entry that was added
	grants []ledger.Grant
	// start is the entry with which its time began; nil until then.
	start *ledger.Entry
	// asked are the entries since units were last asked back.
	asked []ledger.Entry
	// evicted: its job was stopped, and that is counted.
	evicted bool
}

// New counts from a time on.
func New(since time.Time) *Tally {
	return &Tally{since: since, lent: map[string]statement.Hours{}, open: map[string]*loan{}}
}

// Knows tells whether the entry may be added by itself: it opens a loan, or is about one that
// is known, or about none that counts. Otherwise all entries of its loan are to be added, in
// their order.
func (t *Tally) Knows(e *ledger.Entry) bool {
	return e.Loan == "" || opens(e) || t.open[e.Loan] != nil || !moves(e)
}

func opens(e *ledger.Entry) bool { return e.Kind == ledger.LendIntent || e.Kind == ledger.Recovered }

// moves: the entry is about a loan that is open before it.
func moves(e *ledger.Entry) bool {
	switch e.Kind {
	case ledger.LendGranted, ledger.ReclaimIntent, ledger.ShedIntent, ledger.Stopped, ledger.Killed:
		return true
	}
	return e.Kind.Sheds() || e.Kind.Closes()
}

// Add takes the next entry in: of each loan in their order, and none twice.
func (t *Tally) Add(e *ledger.Entry) {
	if opens(e) && t.open[e.Loan] == nil {
		t.open[e.Loan] = &loan{grants: e.Grants}
	}
	l := t.open[e.Loan]
	if l == nil || e.Seq <= l.last {
		return
	}
	l.last = e.Seq
	switch {
	case e.Kind == ledger.LendGranted, e.Kind == ledger.Recovered:
		l.start = e
		if t.within(e) && slices.ContainsFunc(l.grants, func(g ledger.Grant) bool { return g.Lender != "" }) {
			t.sum.Loans++
		}
	case e.Kind.Sheds():
		l.book(t, grants.Without(l.grants, e.Grants), e)
		l.grants = e.Grants
	case e.Kind.Closes():
		l.book(t, l.grants, e)
	}
	l.follow(t, e)
	if e.Kind.Closes() {
		delete(t.open, e.Loan)
	}
}

// within: what the entry tells of happened since the tally's beginning.
func (t *Tally) within(e *ledger.Entry) bool { return !course.When(e).Before(t.since) }

// book adds the time that the loan had grants.
func (l *loan) book(t *Tally, gone []ledger.Grant, end *ledger.Entry) {
	if l.start == nil {
		return
	}
	took := end.After(l.start)
	if !t.within(l.start) {
		took = min(took, max(course.When(end).Sub(t.since), 0))
	}
	for _, g := range gone {
		if g.Lender != "" && took > 0 {
			t.lent[g.Flavor] += statement.Hours(g.Count * took.Milliseconds())
		}
	}
}

// follow keeps what is said since units were asked back, until they are back.
func (l *loan) follow(t *Tally, e *ledger.Entry) {
	asks := e.Kind == ledger.ReclaimIntent || e.Kind == ledger.ShedIntent || e.Kind == ledger.Stopped
	if len(l.asked) == 0 && !asks {
		return
	}
	l.asked = append(l.asked, *e)
	if e.Kind.Sheds() || e.Kind.Closes() {
		l.evicted = t.sum.count(course.Of(l.asked), t.since, l.evicted)
		l.asked = nil
	}
}

// count adds what was asked back of one loan since a time. The job is stopped once.
func (g *Gained) count(list []course.Reclaim, since time.Time, evicted bool) bool {
	for i := range list {
		r := &list[i]
		if len(r.Lenders) == 0 || r.Asked.Before(since) {
			continue
		}
		g.Reclaims++
		if !r.Part && !evicted {
			evicted = true
			g.Evictions++
		}
		if r.Killed != nil {
			g.Killed++
		}
		if !back[r.End] {
			continue
		}
		if r.Late() {
			g.Late++
		}
		if g.SlowestLoan == "" || r.Ended.Seconds > g.SlowestReturn {
			g.SlowestReturn, g.SlowestBound, g.SlowestLoan = r.Ended.Seconds, r.BoundSeconds, r.Loan
		}
	}
	return evicted
}

// back are the endings of a reclaim with which its units can be used again.
var back = map[string]bool{
	ledger.ReclaimDone.String(): true, ledger.Shed.String(): true, ledger.Preempted.String(): true,
	ledger.Unquarantined.String(): true, ledger.Released.String(): true,
}

// Gained is what it comes to until a time, with what the open loans have by then.
func (t *Tally) Gained(until time.Time) Gained {
	out := t.sum
	out.Since, out.Until = t.since, until
	lent, open := maps.Clone(t.lent), map[string]int64{}
	for _, name := range slices.Sorted(maps.Keys(t.open)) {
		l := t.open[name]
		out.count(course.Of(l.asked), t.since, l.evicted)
		if l.start == nil {
			continue
		}
		from := course.When(l.start)
		if from.Before(t.since) {
			from = t.since
		}
		for _, g := range l.grants {
			if g.Lender != "" {
				open[g.Flavor] += g.Count
				lent[g.Flavor] += statement.Hours(g.Count * max(until.Sub(from).Milliseconds(), 0))
			}
		}
	}
	out.Flavors = []Flavor{}
	for _, flavor := range slices.Sorted(maps.Keys(lent)) {
		out.Flavors = append(out.Flavors, Flavor{Flavor: flavor, Lent: lent[flavor], Open: open[flavor]})
		out.Lent += lent[flavor]
	}
	return out
}
