package counterfactual

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// MostDecisions is how often one Nearest asks the core at most.
const MostDecisions = 64

// mostNamed is how many services, flavors or cohorts are tried one by one.
const mostNamed = 4

// Answer is what Nearest found.
type Answer struct {
	// Known: there is such a waiting job. Admitted: it would be admitted as things are, and
	// needs no change.
	Known    bool
	Admitted bool
	// Changes that would admit it, in the order of Kinds.
	Changes []Change
	// Complete: all kinds were tried. Decisions is how often the core was asked.
	Complete  bool
	Decisions int
}

// Nearest says under which changes, each made alone, a job would be admitted by the decision
// that a snapshot, what was remembered and the rules make. uid is that of a waiting job.
func Nearest(in lend.Snapshot, prev lend.State, pol lend.Policy, uid string) Answer {
	at, found := find(&in, uid)
	if !found {
		return Answer{Complete: true}
	}
	a := &asker{in: in, prev: prev, pol: pol, job: in.Jobs[at]}
	plan, next := a.decider.Decide(in, prev, pol)
	a.decisions++
	answer := Answer{Known: true, Admitted: admits(&plan, uid)}
	if !answer.Admitted {
		a.learn(&plan, &next)
		for _, try := range []func(){
			a.fewerPods, a.fewerUnits, a.otherFlavor, a.limits, a.waits, a.advisers, a.paused, a.priority, a.freeUnits,
		} {
			try()
		}
	}
	answer.Changes, answer.Complete, answer.Decisions = a.found, !a.spent, a.decisions
	return answer
}

func admits(plan *lend.Plan, uid string) bool {
	return slices.ContainsFunc(plan.Actions, func(a lend.Action) bool { return a.Kind == lend.ActionLend && a.JobUID == uid })
}

// asker asks the core, one change after the other.
type asker struct {
	in      lend.Snapshot
	prev    lend.State
	pol     lend.Policy
	job     lend.Job
	decider lend.Decider

	// ahead is how many units of the job's flavor are waited for up to it, used what its
	// tenant uses of each flavor.
	ahead int64
	used  map[string]int64
	waiting

	found     []Change
	decisions int
	// spent: a decision more would have been needed.
	spent bool
}

// waiting are the services that would lend but for something.
type waiting struct {
	// early wait for a time, the first to be over before the others.
	early []wait
	// advise and pause are those that only advise, and that are paused.
	advise, pause []*lend.Lender
}

// wait is one that is over at a time.
type wait struct {
	lender *lend.Lender
	until  time.Time
}

// learn reads from the decision as it was made what stands in whose way.
func (a *asker) learn(plan *lend.Plan, next *lend.State) {
	for _, p := range plan.Waiting {
		if p.UID == a.job.UID {
			a.ahead = p.Ahead
		}
	}
	a.used = map[string]int64{}
	for _, t := range plan.Tenants {
		if t.Name == a.job.Tenant {
			a.used[t.Flavor] = t.Used
		}
	}
	memory := make(map[string]*lend.LenderState, len(next.Lenders))
	for i := range next.Lenders {
		memory[next.Lenders[i].Name] = &next.Lenders[i]
	}
	reasons := map[string]string{}
	for i := range plan.Verdicts {
		if v := &plan.Verdicts[i]; v.Kind == lend.SubjectLender {
			reasons[v.Subject] = v.Reason
		}
	}
	for i := range a.in.Lenders {
		l := &a.in.Lenders[i]
		switch reasons[l.Name] {
		case lend.ReasonDwellNotMet, lend.ReasonCooldownActive, lend.ReasonBrokerStarted:
			if m := memory[l.Name]; m != nil {
				a.early = append(a.early, wait{l, a.over(l, m, next)})
			}
		case lend.ReasonPaused:
			a.pause = append(a.pause, l)
		}
		if l.Advise {
			a.advise = append(a.advise, l)
		}
	}
	slices.SortStableFunc(a.early, func(x, y wait) int { return x.until.Compare(y.until) })
	for _, list := range [][]*lend.Lender{a.advise, a.pause} {
		slices.SortStableFunc(list, func(x, y *lend.Lender) int { return cmp.Compare(a.other(x), a.other(y)) })
	}
}

// over is when a service has waited long enough, if all stays as it is.
func (a *asker) over(l *lend.Lender, m *lend.LenderState, next *lend.State) time.Time {
	until := a.in.Now
	later := func(since time.Time, wait time.Duration) {
		if at := since.Add(wait); !since.IsZero() && at.After(until) {
			until = at
		}
	}
	later(m.LowSince, l.Dwell)
	later(m.LastReclaim, l.Cooldown)
	later(m.LastUnknown, a.pol.StableWindow)
	later(next.Since, a.pol.StableWindow)
	return until
}

// other is 1 for a service of another tenant than the job's.
func (a *asker) other(l *lend.Lender) int {
	if l.Tenant == a.job.Tenant {
		return 0
	}
	return 1
}

// would reports whether the job is admitted with the change. Once too much was asked, it is
// not.
func (a *asker) would(c Change) bool {
	if a.decisions >= MostDecisions {
		a.spent = true
	}
	if a.spent {
		return false
	}
	a.decisions++
	in, prev := c.Make(a.in, a.prev, a.job.UID)
	plan, _ := a.decider.Decide(in, prev, a.pol)
	return admits(&plan, a.job.UID)
}

// least is the smallest number above lo, up to hi, with which the job is admitted, if that
// goes for all above it: the one below it does not do. With lo it is not admitted. guess is
// tried first; 0 is none.
func (a *asker) least(lo, hi, guess int64, of func(int64) Change) {
	if hi <= lo || !a.would(of(hi)) {
		return
	}
	if lo < guess && guess < hi {
		switch {
		case !a.would(of(guess)):
			lo = guess
		case guess-1 > lo && a.would(of(guess-1)):
			hi = guess - 1
		default:
			lo, hi = guess-1, guess
		}
	}
	for hi-lo > 1 {
		if mid := lo + (hi-lo)/2; a.would(of(mid)) {
			hi = mid
		} else {
			lo = mid
		}
	}
	if !a.spent { // else it is not known that nothing smaller would do
		a.say(of(hi))
	}
}

func (a *asker) say(c Change) {
	c.Text = a.text(&c)
	a.found = append(a.found, c)
}

func (a *asker) fewerPods() {
	a.least(0, a.job.Pods-1, 0, func(less int64) Change { return Change{Kind: FewerPods, Pods: a.job.Pods - less} })
}

func (a *asker) fewerUnits() {
	a.least(0, a.job.UnitsPerPod-1, 0, func(less int64) Change {
		return Change{Kind: FewerUnitsPerPod, UnitsPerPod: a.job.UnitsPerPod - less}
	})
}

func (a *asker) otherFlavor() {
	t := a.tenant()
	if t == nil {
		return
	}
	tried := 0
	for _, q := range t.Quotas {
		if q.Flavor == a.job.Flavor || tried == mostNamed {
			continue
		}
		tried++
		if c := (Change{Kind: OtherFlavor, Flavor: q.Flavor}); a.would(c) {
			a.say(c)
		}
	}
}

func (a *asker) tenant() *lend.Tenant {
	i := slices.IndexFunc(a.in.Tenants, func(t lend.Tenant) bool { return t.Name == a.job.Tenant })
	if i < 0 {
		return nil
	}
	return &a.in.Tenants[i]
}

// limits tries the borrowing limit of the job's tenant, and of the cohorts above it.
func (a *asker) limits() {
	t := a.tenant()
	if t == nil {
		return
	}
	a.limit(t.Quotas, "")
	above := t.Cohort
	for range mostNamed {
		i := slices.IndexFunc(a.in.Cohorts, func(c lend.Cohort) bool { return c.Name == above })
		if above == "" || i < 0 {
			return
		}
		a.limit(a.in.Cohorts[i].Quotas, above)
		above = a.in.Cohorts[i].Parent
	}
}

func (a *asker) limit(quotas []lend.Quota, cohort string) {
	for _, q := range quotas {
		if q.Flavor != a.job.Flavor || q.BorrowingLimit == nil {
			continue
		}
		now, need := max(*q.BorrowingLimit, 0), min(a.job.Pods, math.MaxInt32)*min(a.job.UnitsPerPod, math.MaxInt32)
		guess := int64(0)
		if cohort == "" {
			guess = a.used[q.Flavor] - q.Nominal + need
		}
		// With so much more, the limit is in nobody's way.
		most := max(now, a.used[q.Flavor]) + need + a.ahead
		a.least(now, most, guess, func(limit int64) Change {
			return Change{Kind: BorrowingLimit, Flavor: q.Flavor, Limit: limit, Cohort: cohort}
		})
		return
	}
}

// waits tries how long it takes until enough services lend that wait for a time.
func (a *asker) waits() {
	a.least(0, int64(len(a.early)), 0, func(n int64) Change {
		last := a.early[n-1]
		c := a.about(LenderWait, last.lender)
		c.At, c.Services = last.until, int(n)
		c.lenders = nil
		for _, w := range a.early[:n] {
			c.lenders = append(c.lenders, w.lender.Name)
		}
		return c
	})
}

// about is a change of one service, which is named only to its own tenant.
func (a *asker) about(kind Kind, l *lend.Lender) Change {
	c := Change{Kind: kind, Services: 1, lenders: []string{l.Name}}
	if l.Tenant == a.job.Tenant {
		c.Lender = l.Name
	}
	return c
}

func (a *asker) advisers() { a.services(LenderLends, a.advise) }

func (a *asker) paused() {
	for _, q := range a.in.Queues {
		if c := (Change{Kind: Resume, Queue: q.Name}); q.Name == a.job.Queue && q.Paused && a.would(c) {
			a.say(c)
		}
	}
	a.services(Resume, a.pause)
}

// services tries whether the job is admitted if services did what they do not. If it takes
// one, it is the first by tenant and name of those that are tried one by one; else as many
// as it takes in this order.
func (a *asker) services(kind Kind, list []*lend.Lender) {
	first := func(n int64) Change {
		c := a.about(kind, list[n-1])
		c.Services, c.lenders = int(n), nil
		for _, l := range list[:n] {
			c.lenders = append(c.lenders, l.Name)
		}
		return c
	}
	if len(list) == 0 || len(list) > 1 && !a.would(first(int64(len(list)))) {
		return
	}
	for _, l := range list[:min(len(list), mostNamed)] {
		if c := a.about(kind, l); a.would(c) {
			a.say(c)
			return
		}
	}
	if len(list) > 1 {
		a.least(1, int64(len(list)), 0, first)
	}
}

// priority tries to be level with other waiting jobs of the tenant, where age decides, and to
// be before them.
func (a *asker) priority() {
	var above []int32
	for i := range a.in.Jobs {
		j := &a.in.Jobs[i]
		if j.Tenant != a.job.Tenant || j.Priority < a.job.Priority || j.Priority == math.MaxInt32 || j.UID == a.job.UID {
			continue
		}
		if j.Priority > a.job.Priority {
			above = append(above, j.Priority)
		}
		above = append(above, j.Priority+1)
	}
	slices.Sort(above)
	above = slices.Compact(above)
	a.least(0, int64(len(above)), 0, func(n int64) Change { return Change{Kind: Priority, Priority: &above[n-1]} })
}

// freeUnits tries how many more would do, by whole pods: no more than it and those before it
// wait for, and what they could take on top.
func (a *asker) freeUnits() {
	size := a.job.UnitsPerPod
	if size <= 0 || a.job.Pods <= 0 || a.tenant() == nil {
		return
	}
	pods := min(a.ahead/size+a.job.Pods, mostFreePods)
	node := nodeSize(&a.in, &a.job)
	a.least(0, pods, a.job.Pods, func(pods int64) Change {
		units := min(pods, mostFreePods) * min(size, math.MaxInt32)
		return Change{Kind: FreeUnits, Flavor: a.job.Flavor, Units: units, Nodes: (units + node - 1) / node}
	})
}

// mostFreePods bounds how many nodes are added.
const mostFreePods = 4096
