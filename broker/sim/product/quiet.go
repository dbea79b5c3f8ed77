package product

import (
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Most ticks change nothing. Whether one does is not judged by rules of its own: the core is
// asked about the lenders alone, as if all that they lend were one loan each and there were
// room for everything. If its answer is the one that it gave at the last whole decision,
// which did nothing, and neither the cluster nor the jobs have changed since, and no time
// has come by which a job or a loan is judged anew, a whole decision would do nothing
// again, and what it would remember is what the small one does. Where no job waits, nor
// would one if there were only more room than then, or less were needed.
type calm struct {
	decider lend.Decider
	in      lend.Snapshot
	// sure: the last whole decision did nothing, and was made with this answer.
	sure bool
	was  []answer
	now  []answer
	// due is when a job or a loan is judged anew.
	due time.Time
}

// answer is what the core says of one lender, as far as a decision goes by it.
type answer struct {
	need, headroom, lendable int64
	reason                   string
	peak                     int64
	// waits: a job does. Where none does, it does not matter what could be lent.
	waits bool
	// exact: how high the load is may decide more than that, and requests and panic are it.
	exact           bool
	requests, panic float64
}

const wholeCluster = "all"

// ask asks about the lenders alone, as of what was remembered, and returns what the core
// would remember of them.
func (p *policy) ask(state lend.State) []lend.LenderState {
	c := &p.calm
	c.in = lend.Snapshot{
		Now: p.snapshot.Now, Epoch: p.snapshot.Epoch, Flavors: p.snapshot.Flavors, Cohorts: p.snapshot.Cohorts, Tenants: p.snapshot.Tenants,
		Lenders: p.snapshot.Lenders, Nodes: c.in.Nodes[:0], Loans: c.in.Loans[:0],
	}
	node := lend.Node{Name: wholeCluster, Schedulable: true}
	for _, f := range p.world.Flavors() {
		u := lend.Units{Flavor: f}
		for i := range p.snapshot.Lenders {
			if l := &p.snapshot.Lenders[i]; l.Flavor == f {
				u.Online += l.Running * l.UnitsPerPod
				u.Capacity += 2*l.Owned + (l.Running+l.Desired)*l.UnitsPerPod
			}
		}
		node.Units = append(node.Units, u)
	}
	c.in.Nodes = append(c.in.Nodes, node)
	for i := range p.snapshot.Lenders {
		if l := &p.snapshot.Lenders[i]; p.lent[i] > 0 {
			c.in.Loans = append(c.in.Loans, lend.Loan{
				Name: l.Name, Job: l.Name, JobUID: l.Name, Pods: 1, Bound: 1, Live: 1, Since: p.snapshot.Now, Checkpoint: p.snapshot.Now,
				Grants: []lend.Grant{{Lender: l.Name, Node: wholeCluster, Flavor: l.Flavor, Count: p.lent[i]}},
			})
		}
	}
	state.Jobs, state.Loans, state.Reshapes = nil, nil, nil
	plan, next := c.decider.Decide(c.in, state, p.rules)
	c.now = c.now[:0]
	for i := range plan.Lenders {
		c.now = append(c.now, p.answer(i, &plan, &next.Lenders[i]))
	}
	return next.Lenders
}

// answer reads what the plan says of a lender.
func (p *policy) answer(i int, plan *lend.Plan, memory *lend.LenderState) answer {
	l, v := &p.snapshot.Lenders[i], &plan.Lenders[i]
	a := answer{need: v.Need, headroom: v.Headroom, waits: len(p.snapshot.Jobs) > 0}
	if l.Advise {
		return a // it never lends, and only for pods that wait is anything taken back
	}
	at := slices.IndexFunc(plan.Verdicts, func(v lend.Verdict) bool { return v.Subject == l.Name && v.Kind == lend.SubjectLender })
	a.reason = plan.Verdicts[at].Reason
	if !a.waits && a.reason != lend.ReasonAboveHighWater {
		a.reason = ""
		return a
	}
	a.lendable, a.requests, a.panic = v.Lendable, l.Load.Requests, l.Load.Panic
	if len(memory.Peaks) > 0 {
		a.peak = memory.Peaks[0].Pods
	}
	// Above its high water it is what the load needs that is most urgent. Where all that may
	// be lent is, the load says whether what comes back could be lent again.
	a.exact = a.reason == lend.ReasonAboveHighWater || v.Lendable == 0 && p.lent[i] > 0
	return a
}

// same reports whether an answer asks for nothing that an older one did not.
func (a *answer) same(b *answer) bool {
	if !a.waits && !b.waits && a.reason == "" && b.reason == "" {
		return a.need <= b.need && a.need+a.headroom <= b.need+b.headroom
	}
	return a.need == b.need && a.headroom == b.headroom && a.lendable == b.lendable && a.reason == b.reason && a.peak == b.peak &&
		(!a.exact && !b.exact || a.requests == b.requests && a.panic == b.panic)
}

// quiet reports whether a whole decision would do nothing, and then remembers what it would
// remember.
func (p *policy) quiet() bool {
	c := &p.calm
	if p.options.always || !c.sure || p.changed || p.freed && len(p.snapshot.Jobs) > 0 || !p.snapshot.Now.Before(c.due) || !p.steady() {
		return false
	}
	memory := p.ask(p.state)
	if !slices.EqualFunc(c.now, c.was, func(a, b answer) bool { return a.same(&b) }) {
		return false
	}
	before := p.state
	p.state.Lenders, p.state.At = memory, p.snapshot.Now
	p.state.Decisions++
	if p.options.spared != nil {
		p.options.spared(p.snapshot, before, p.state)
	}
	return true
}

// steady: nothing is under way, and nothing is known that is judged by the time in other
// ways than those that are known here.
func (p *policy) steady() bool {
	for i := range p.snapshot.Lenders {
		l := &p.snapshot.Lenders[i]
		if !l.Load.Known || len(l.Pending) > 0 || len(l.Floors) > 0 || l.MIG != nil || l.Ready == 0 && l.Desired > 0 {
			return false
		}
	}
	for i := range p.snapshot.Loans {
		if l := &p.snapshot.Loans[i]; l.Reclaiming || len(l.Shedding) > 0 || p.held[i].over {
			return false
		}
	}
	for i := range p.state.Jobs {
		if j := &p.state.Jobs[i]; j.Expecting || j.PutOff > 0 {
			return false
		}
	}
	return len(p.state.Reshapes) == 0
}

// settle notes what to compare the next ticks with, after a whole decision with what was
// remembered before.
func (p *policy) settle(plan *lend.Plan, before lend.State) {
	c := &p.calm
	c.sure = !p.options.always && len(plan.Actions) == 0 && len(plan.Reshapes) == 0 && len(plan.Scales) == 0 && p.steady() &&
		slices.EqualFunc(before.Jobs, p.state.Jobs, sameMemory) && slices.Equal(before.Loans, p.state.Loans)
	if !c.sure {
		return
	}
	p.ask(before)
	c.was, c.now = c.now, c.was
	c.due = p.nextTime()
}

// sameMemory: the next decision finds of a job what the last one found.
func sameMemory(a, b lend.JobState) bool {
	return a.UID == b.UID && slices.Equal(a.Evictions, b.Evictions) && a.NotStarted.Equal(b.NotStarted) && a.Asked.Equal(b.Asked) &&
		a.Expecting == b.Expecting && a.PutOff == b.PutOff
}

// far is later than any time that matters.
const far = 100 * 365 * 24 * time.Hour

// nextTime is the first after now at which a job or a loan is old enough, or what is
// remembered of one too old, for something to be judged otherwise.
func (p *policy) nextTime() time.Time {
	now, next := p.snapshot.Now, p.snapshot.Now.Add(far)
	at := func(since time.Time, after time.Duration) {
		if t := since.Add(after); t.After(now) && t.Before(next) {
			next = t
		}
	}
	for i := range p.snapshot.Jobs {
		at(p.snapshot.Jobs[i].Queued, p.rules.ReserveAfter)
	}
	for i := range p.snapshot.Loans {
		if l := &p.snapshot.Loans[i]; len(p.snapshot.Jobs) > 0 || slices.ContainsFunc(l.Grants, func(g lend.Grant) bool { return g.Lender != "" }) {
			at(l.Since, p.rules.MinimumLoan)
		}
	}
	for i := range p.state.Jobs {
		j := &p.state.Jobs[i]
		for _, t := range j.Evictions {
			at(t, p.rules.EvictionWindow)
			at(t, p.rules.CycleWindow)
		}
		at(j.Asked, p.rules.MinimumLoan)
		at(j.NotStarted, p.rules.StartWithin)
	}
	return next
}
