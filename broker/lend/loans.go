package lend

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// loan is an open loan and what this decision makes of it.
type loan struct {
	*Loan // the snapshot's, unless it is none of it
	// Grants are the loan's own, which change with what the decision makes of it.
	Grants []Grant
	memory LoanState
	units  int64
	// lent: at least some of its units have a lender. Only such a loan can be a
	// victim; use of a tenant's own nominal quota is never reclaimed by load.
	lent bool
	// ending: its units come free without anything being taken back.
	ending bool
	// stuck: they should have come free, and nobody knows when they will.
	stuck bool
	// cost is the lost work if it is stopped now, in unit-seconds.
	cost float64
	// victim: taken back by this decision.
	victim bool
	// part: these are only the units that the loan of this name sheds; the rest is a loan
	// beside it.
	part bool
	// shed is the last such part, before the one before that, and whole what the part was
	// split off from by this decision.
	shed, before, whole *loan
	bookings            []booking
	// made are the grants of slices that were made for it out of a lender's, lends what of
	// the lenders' own units those are, and undo how long it takes to get them back. They
	// are not among the Grants.
	made, lends []Grant
	undo        time.Duration
	// reshape is what a stand-in stands for: a change of a card's layout that holds its
	// lender's units without a job.
	reshape *reshape
	// action is what this decision does with it, if anything.
	action *Action
	// number is its place among the loans of the snapshot, -1 if it is none of them. nodes
	// are the numbers of the nodes of its Grants, -1 for one that is not there; none: they
	// are not worked out.
	number int32
	nodes  []int32
}

// readLoans copies the loans, and counts what lenders lend.
func (d *decision) readLoans(prev []LoanState) {
	memory := make(map[string]LoanState, len(prev))
	for _, m := range prev {
		memory[m.Name] = m
	}
	list := eachOnce(d.in.Loans)
	d.shelf.follow(list)
	d.scratch.room(len(list))
	d.loans = d.scratch.list[:0]
	for i := range list {
		l := &list[i]
		c := d.scratch.loan()
		*c = loan{Loan: l, ending: l.ends(), number: int32(i)}
		if len(memory) > 0 {
			c.memory = memory[l.Name]
		}
		c.memory.observe(l, d.now)
		c.Grants = l.Grants
		if d.reshapes != nil || slices.ContainsFunc(l.Grants, func(g Grant) bool { return g.Count != clamp(g.Count) }) {
			c.Grants = slices.Clone(l.Grants) // which is written to below
		}
		d.holdMade(c)
		for _, g := range c.lends {
			c.units += g.Count
			c.lent = true
		}
		c.nodes = d.shelf.numbers(i, d.atlas, c.Grants)
		d.countGrants(c)
		d.loans = append(d.loans, c)
		if !c.ending && len(l.Shedding) > 0 {
			if part := c.splitOff(l.Shedding); part.units > 0 {
				part.ending, part.stuck = true, d.outlived(c.memory.ShedKilledSince)
				d.loans = append(d.loans, part)
			}
		}
		c.stuck = l.Quarantined || c.ending && d.outlived(c.memory.KilledSince)
		c.cost = lostWork(c, d.now, d.pol.RestartCost)
	}
	d.standIn()
}

// countGrants counts what a loan holds, for itself and for its lenders.
func (d *decision) countGrants(c *loan) {
	for i := range c.Grants {
		g := &c.Grants[i]
		if n := clamp(g.Count); n != g.Count {
			g.Count = n
		}
		c.units += g.Count
		c.lent = c.lent || g.Lender != ""
		if lender := d.lender(g.Lender); lender != nil {
			lender.lent += g.Count
		}
	}
}

// eachOnce is the loans by name, without those of a name that was there before.
func eachOnce(loans []Loan) []Loan {
	for i := 1; i < len(loans); i++ {
		if loans[i-1].Name >= loans[i].Name {
			loans = slices.Clone(loans)
			slices.SortStableFunc(loans, func(a, b Loan) int { return cmp.Compare(a.Name, b.Name) })
			return slices.CompactFunc(loans, func(a, b Loan) bool { return a.Name == b.Name })
		}
	}
	return loans
}

// frees is what comes free when the loan goes: of slices that were made, what they were
// made of.
func (l *loan) frees() []Grant {
	if len(l.lends) == 0 {
		return l.Grants
	}
	return slices.Concat(l.Grants, l.lends)
}

// place is the room of what comes free by the n-th grant, which is g.
func (l *loan) place(p *pool, n int, g *Grant) (i int, ok bool) {
	if n >= len(l.nodes) {
		return p.room(g.Node)
	}
	if l.nodes[n] < 0 {
		return -1, false
	}
	i = int(p.at[l.nodes[n]]) - 1
	return i, i >= 0
}

// goes: it ends, or was chosen to.
func (l *loan) goes() bool { return l.ending || l.victim }

func compareLoans(a, b *loan) int { return cmp.Compare(a.Name, b.Name) }

// lostWork estimates what stopping the loan costs, in unit-seconds: the work since
// the last checkpoint and the restart, on all its units.
func lostWork(l *loan, now time.Time, restart time.Duration) float64 {
	saved := l.Checkpoint
	if saved.Before(l.Since) {
		saved = l.Since
	}
	lost := max(now.Sub(saved), 0) + max(restart, 0)
	return float64(l.units) * lost.Seconds()
}

// followLoans returns loans whose units are free, evicts what overstays its grace
// and asks back what a lost node has broken, and what others have taken.
func (d *decision) followLoans() {
	for _, l := range d.loans {
		closed := d.close(l)
		d.countPreemption(l)
		if closed || d.evict(l) || d.stopBroken(l) || d.stopUndone(l) {
			continue
		}
		d.stopStalled(l)
	}
}

// close returns a loan whose units are free, or broken where a node does not answer.
func (d *decision) close(l *loan) bool {
	reason, message := returned(l.Loan)
	if reason == "" {
		return false
	}
	if node := l.lostNode(d.silent); node != "" && reason != ReasonReleased && len(d.in.Nodes) > 0 {
		reason, message = ReasonNodeUnhealthy, fmt.Sprintf("node %s is gone or silent: what it has of the loan is broken", node)
	}
	d.returns = append(d.returns, l.act(ActionReturn, reason, message))
	return true
}

// evict ends the pods that are left when their time is over.
func (d *decision) evict(l *loan) bool {
	var message string
	switch {
	case l.overstays(d.now):
		message = fmt.Sprintf("%s left when the grace ended at %s", plural(l.Live, "pod"), stamp(l.ReclaimBy))
	case d.lingers(l):
		message = fmt.Sprintf("%s left %s after the loan began to end, at %s", plural(l.Live, "pod"), d.endingGrace(l), stamp(l.memory.EndingSince))
	default:
		return false
	}
	d.evicts = append(d.evicts, l.act(ActionEvict, ReasonGraceExpired, message))
	return true
}

// stopBroken asks a loan back that cannot be whole any more. Nobody has chosen it: that
// counts for no budget.
func (d *decision) stopBroken(l *loan) bool {
	// A snapshot without nodes is a blind one: nothing in it proves a node lost.
	if node := d.goneNode(l); node != "" {
		d.takeBack(l, &Action{
			ReclaimBy: d.now.Add(d.graceOf(l, nil)),
			ReclaimID: fmt.Sprintf("r-%d-%d-node", d.in.Epoch, d.number),
			Reason:    ReasonNodeUnhealthy,
			Message:   fmt.Sprintf("node %s is gone, and a gang without one of its nodes is broken", node),
		})
		return true
	}
	node := d.crowdedOut(l)
	if node == "" {
		return false
	}
	d.takeBack(l, &Action{
		ReclaimBy: d.now.Add(d.graceOf(l, nil)),
		ReclaimID: fmt.Sprintf("r-%d-%d-crowd", d.in.Epoch, d.number),
		Reason:    ReasonCrowdedOut,
		Message:   fmt.Sprintf("node %s had pods of others on the loan's units before its own were there", node),
	})
	return true
}

// stopUndone asks a loan back whose slices somebody else has begun to undo: the agent waits
// until they are free. Nobody has chosen it here either.
func (d *decision) stopUndone(l *loan) bool {
	if d.reshapes == nil || l.ending || l.part {
		return false
	}
	for _, r := range d.reshapes.list {
		if r.holder != l || r.State != ReshapeUndoing || r.broken != "" {
			continue
		}
		d.takeBack(l, &Action{
			ReclaimBy: d.now.Add(d.graceOf(l, nil)),
			ReclaimID: fmt.Sprintf("r-%d-%d-undo", d.in.Epoch, d.number),
			Reason:    ReasonSlicesUndone,
			Message:   fmt.Sprintf("slices of it on node %s are being made into what they were", r.node.Name),
		})
		return true
	}
	return false
}

// stopStalled asks a loan back of which some pods have found no node for too long:
// it holds units that nobody uses.
func (d *decision) stopStalled(l *loan) {
	since := l.memory.WaitingSince
	if since.IsZero() || d.pol.StartWithin <= 0 || d.now.Sub(since) <= d.pol.StartWithin {
		return
	}
	d.history.add(l.JobUID, l.Since, d.now)
	d.stalls[l.JobUID] = d.now
	d.takeBack(l, &Action{
		ReclaimBy: d.now.Add(d.graceOf(l, nil)),
		ReclaimID: fmt.Sprintf("r-%d-%d-start", d.in.Epoch, d.number),
		Reason:    ReasonNotStarted,
		Message:   fmt.Sprintf("%d of %s found no node since %s, and a gang runs whole or not at all", l.Pods-max(l.Bound, 0), plural(l.Pods, "pod"), stamp(since)),
	})
}

// returned says why a loan can be closed; an empty reason means that it cannot.
func returned(l *Loan) (reason, message string) {
	switch {
	case l.Live > 0:
		return "", ""
	case l.Finished:
		return ReasonReleased, "the job has ended and its units are free"
	case l.Preempted:
		return ReasonPreempted, "the scheduler took the units back for an online pod"
	case l.Reclaiming:
		return ReasonReturned, "the units are free after the reclaim"
	}
	return "", ""
}

func (l *loan) overstays(now time.Time) bool {
	return l.Reclaiming && l.Live > 0 && !l.Killed && !now.Before(l.ReclaimBy)
}

// lingers: the loan was not asked back, but ends, and its pods have had their time.
// An owner could otherwise keep lent units by deleting the job and not its pods.
func (d *decision) lingers(l *loan) bool {
	since := l.memory.EndingSince
	return !since.IsZero() && !l.Killed && d.now.Sub(since) >= d.endingGrace(l)
}

// outlived: pods that were told to die at once, first seen so then, had time for that and
// are still there. Whoever waits for units does not wait for theirs.
func (d *decision) outlived(since time.Time) bool {
	return !since.IsZero() && d.pol.StuckAfter > 0 && d.now.Sub(since) >= d.pol.StuckAfter
}

// comesFree: the loan's units are on their way back.
func (l *loan) comesFree() bool { return l.ending && !l.stuck }

// observe updates what is remembered about the loan. Times after now are not
// believed.
func (m *LoanState) observe(l *Loan, now time.Time) {
	m.Name = l.Name
	ends := (l.Finished || l.Preempted) && !l.Reclaiming
	track(&m.KilledSince, l.Killed && l.Live > 0, now)
	track(&m.ShedKilledSince, l.ShedKilled && l.ShedLive > 0, now)
	track(&m.EndingSince, ends && l.Live > 0, now)
	track(&m.WaitingSince, !ends && !l.Reclaiming && l.Bound < l.Pods, now)
}

// track keeps since when something is so.
func track(since *time.Time, is bool, now time.Time) {
	switch {
	case !is:
		*since = time.Time{}
	case since.IsZero() || since.After(now):
		*since = now
	}
}

// goneNode is one that the loan goes on with and that is gone.
func (d *decision) goneNode(l *loan) string {
	if l.ending || len(d.in.Nodes) == 0 {
		return ""
	}
	if len(l.nodes) == len(l.Grants) && len(l.made) == 0 && !slices.Contains(l.nodes, -1) {
		return ""
	}
	return l.lostNode(func(node string) bool { return !d.atlas.has(node) })
}

func (l *loan) lostNode(lost func(node string) bool) string {
	for _, list := range [2][]Grant{l.Grants, l.made} {
		for i := range list {
			if lost(list[i].Node) {
				return list[i].Node
			}
		}
	}
	return ""
}

// countPreemption starts the cooldown of the lenders for which the scheduler took
// a loan back, and counts it against the job's eviction budget.
func (d *decision) countPreemption(l *loan) {
	if !l.Preempted {
		return
	}
	for _, g := range l.frees() {
		if lender := d.lender(g.Lender); lender != nil {
			lender.memory.askedBack(l.Since, d.now, d.pol)
		}
	}
	d.history.add(l.JobUID, l.Since, d.now)
}

// act notes what is done with the loan.
func (l *loan) act(kind ActionKind, reason, message string) Action {
	l.action = &Action{
		Kind: kind, Loan: l.Name, Job: l.Job, JobUID: l.JobUID, Reason: reason, Message: message,
	}
	if l.part {
		l.action.Shed = l.Grants
	}
	return *l.action
}

// takeBack asks the loan back as a says.
func (d *decision) takeBack(l *loan, a *Action) {
	a.Kind, a.Loan, a.Job, a.JobUID, a.LostWork = ActionReclaim, l.Name, l.Job, l.JobUID, l.cost
	if l.part {
		a.Shed = l.sheds()
	}
	l.action = a
	l.ending = true
	d.reclaims = append(d.reclaims, *a)
}

// stamp writes a time the same way wherever a message names one.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
