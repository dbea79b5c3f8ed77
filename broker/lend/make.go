package lend

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// mostMakes bounds for how many kinds of jobs cards are looked through in vain in one
// decision. The last inTurn of them are not the first that are left, but others each time.
const (
	mostMakes = 64
	inTurn    = 16
)

// reshape has cards reshaped for jobs that wait for a profile of which there is nothing to
// lend.
func (a *admission) reshape() {
	if a.reshapes == nil {
		return
	}
	kinds := a.makeable()
	if len(kinds) == 0 {
		return
	}
	m := tries{admission: a, failed: map[likes]obstacle{}, later: map[likes]bool{}}
	var rest []int
	for _, slot := range a.line.unserved(kinds) {
		like := m.likes(slot)
		if _, known := m.failed[like]; !known && m.searches >= mostMakes-inTurn {
			if rest = append(rest, slot); !m.later[like] {
				m.later[like] = true
				m.order = append(m.order, like)
			}
			continue
		}
		m.try(slot, like)
	}
	m.takeTurns(rest)
}

// likes is what it depends on whether slices can be made for a job.
type likes struct {
	kind       int32
	of         int
	pods, size int64
	reason     string
}

// tries is the search for cards to reshape, job by job.
type tries struct {
	*admission
	// failed are the jobs for which none can be, and searches how many of them cards were
	// looked through for.
	failed   map[likes]obstacle
	searches int
	// later are those that were not looked at, and order the same in order.
	later map[likes]bool
	order []likes
}

func (m *tries) likes(slot int) likes {
	b, j := &m.line.briefs[slot], m.line.ask(slot)
	return likes{b.kind, b.of, j.Pods, j.UnitsPerPod, m.line.texts[m.line.said[slot]].reason}
}

// try has slices made for a job, or tells what is in the way.
func (m *tries) try(slot int, like likes) {
	why, known := m.failed[like]
	if !known {
		j := m.line.ask(slot)
		if _, spent := m.history.spent(j.UID, m.now, m.pol); spent {
			return // which says nothing about others
		}
		var text string
		var searched bool
		if text, searched, why = m.makeFor(j); text != "" {
			m.line.tell(slot, outcome{ReasonReshaping, text})
			return
		}
		if m.failed[like] = why; searched {
			m.searches++
		}
	}
	m.add(slot, why.text)
}

// add tells a job more than it knows already.
func (m *tries) add(slot int, text string) {
	if said := m.line.texts[m.line.said[slot]]; text != "" {
		m.line.tell(slot, outcome{said.reason, said.message + "; " + text})
	}
}

// takeTurns looks through cards for some of the kinds that are left, in each decision for
// the next ones.
func (m *tries) takeTurns(rest []int) {
	turn := map[likes]bool{}
	for i := range min(inTurn, len(m.order)) {
		at := (uint64(m.number)*inTurn + uint64(i)) % uint64(len(m.order))
		turn[m.order[at]] = true
	}
	for _, slot := range rest {
		if like := m.likes(slot); turn[like] {
			m.try(slot, like)
		} else {
			m.add(slot, fmt.Sprintf("GPUs were not looked through for it now: that is done for %d kinds of jobs at a time, in turn", mostMakes))
		}
	}
}

// makeable are the kinds of flavors that can be made of some lender's slices.
func (a *admission) makeable() map[int32]bool {
	any := slices.ContainsFunc(a.lenders, (*lender).reshapes)
	out := map[int32]bool{}
	for name, kind := range a.line.kinds {
		profile := a.reshapes.profiles[name]
		if !any || profile == "" || !a.books.akin(name, name) {
			continue
		}
		for _, b := range a.tables {
			if _, has := b.profiles[profile]; has {
				out[kind] = true
			}
		}
	}
	return out
}

func (l *lender) reshapes() bool {
	return l.open && !l.short && l.lendable > 0 && l.MIG != nil && l.MIG.Reshape
}

// unserved lists the jobs of some kinds that wait for want of units, in the order in which
// they were considered.
func (l *line) unserved(kinds map[int32]bool) []int {
	var out []int
	add := func(slot int) {
		b := &l.briefs[slot]
		if !kinds[b.kind] || b.refused || l.want[slot] != entered {
			return
		}
		switch l.texts[l.said[slot]].reason {
		case ReasonNoRoomForGang, ReasonNoLendableUnits:
			out = append(out, slot)
		}
	}
	for _, slot := range l.tried {
		add(slot)
	}
	lines := l.standing()
	for at, more := 0, true; more; at++ {
		more = false
		for _, line := range lines {
			if at >= len(line) {
				continue
			}
			more = true
			if slot := int(line[at].slot); !l.offered[slot] {
				add(slot)
			}
		}
	}
	return out
}

// makeFor has slices made for the whole gang, and says so; if it cannot, why says what is
// in the way, if that is worth telling. searched: cards were looked through for it.
func (a *admission) makeFor(j *ask) (text string, searched bool, why obstacle) {
	if a.available(j) < j.need {
		return "", false, why
	}
	before := len(a.reshapes.makes)
	found, searched, why := a.make(j, 0)
	if !found {
		return "", searched, why
	}
	a.books.promise(j, j.need, 0)
	var nodes []string
	for _, m := range a.reshapes.makes[before:] {
		nodes = append(nodes, fmt.Sprintf("%s (of %s of %s lent by %s)", m.Node, plural(m.Count, "unit"), m.From, m.Lender))
	}
	return shaping(j, nodes), true, why
}

// make has slices made for the job beside those that it has already.
func (a *admission) make(j *ask, have int64) (found, searched bool, why obstacle) {
	before := a.guards.concern(a, j)
	for _, l := range a.whoCouldMake(j) {
		if l.MaxGrace <= max(l.MIG.Undo, 0) {
			why.atLeast(byGrace, "%s allows %s of grace, which is no longer than giving its slices back in their shape takes", l.Name, l.MaxGrace)
			continue
		}
		options, pods := a.optionsOf(l.Flavor, j.Flavor), j.Pods-have
		why.atLeast(options.why.rank, "%s", options.why.text)
		if options.reach(a.budget(l)) < pods {
			if len(options.cards) > 0 {
				why.atLeast(byRoom, "%s may not lend as many slices now as would have to go for it", l.Name)
			}
			continue
		}
		searched = true
		if a.makeOf(l, j, pods, options.cards, before, &why) {
			return true, true, why
		}
	}
	return false, searched, why
}

// whoCouldMake lists the lenders whose slices could be made into what the job wants: those
// of its tenant, and then those with most to lend, first.
func (a *admission) whoCouldMake(j *ask) []*lender {
	var out []*lender
	for _, l := range a.lenders {
		if l.reshapes() && l.Flavor != j.Flavor && a.books.akin(l.Flavor, j.Flavor) && a.sameTree(j, l) {
			out = append(out, l)
		}
	}
	outside := func(l *lender) int {
		if l.Tenant == j.Tenant {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(x, y *lender) int {
		return cmp.Or(cmp.Compare(outside(x), outside(y)), cmp.Compare(y.lendable, x.lendable))
	})
	return out
}

// making is so many of a gang's slices on one card.
type making struct {
	*option
	plan mig.Plan
}

func (p making) count() int64 { return int64(len(p.plan.Destroy)) }
func (p making) made() int64  { return int64(len(p.plan.Create)) }

// makeOf has them made of one lender's slices.
func (a *admission) makeOf(l *lender, j *ask, pods int64, options []option, before []*guard, why *obstacle) bool {
	p := a.pool(l.Flavor)
	parts := a.choose(l, p, options, pods)
	if parts == nil {
		why.atLeast(byRoom, "%s may not lend as many slices now as would have to go for it", l.Name)
		return false
	}
	var units int64
	for _, t := range parts {
		units += t.count()
	}
	lasts, text := l.trough(units, a.now, a.pol)
	switch {
	case lasts < l.MIG.pays():
		why.atLeast(byTrough, "slices of %s are reshaped for no less than %s, and its trough %s", l.Name, l.MIG.pays(), text)
	case !a.inTime(p, spotsOf(parts), 1):
		why.atLeast(byRoom, "the slices of %s that would have to go are kept for a job that units were asked back for", l.Name)
	case stand(a, before, a.asEntry(l, j, parts)):
		for _, t := range parts {
			a.begin(l, j, t)
		}
		return true
	default:
		why.atLeast(byRoom, "the slices of %s that would have to go are kept for a job that has waited longer", l.Name)
	}
	for _, t := range parts {
		p.take(t.room, -t.count(), false)
	}
	return false
}

// choose takes the units of as many slices as the job's pods are, on as few cards as can
// be, or where that is more than the lender may lend, where the fewest go for each; nil if
// there are not as many either way.
func (a *admission) choose(l *lender, p *pool, options []option, pods int64) []making {
	if parts := a.chooseBy(fewestCards, l, p, options, pods); parts != nil {
		return parts
	}
	return a.chooseBy(fewestTaken, l, p, options, pods)
}

// fewestCards prefers the card of which more can be made, up to what is wanted.
func fewestCards(x, y *option, pods int64) int {
	n, m := min(len(x.plans), int(pods)), min(len(y.plans), int(pods))
	return cmp.Or(
		cmp.Compare(m, n), cmp.Compare(len(x.plans[n-1].Destroy), len(y.plans[m-1].Destroy)),
		cmp.Compare(x.node.LendLast, y.node.LendLast),
	)
}

// fewestTaken prefers the card on which the first costs least.
func fewestTaken(x, y *option, pods int64) int {
	return cmp.Or(cmp.Compare(len(x.plans[0].Destroy), len(y.plans[0].Destroy)), fewestCards(x, y, pods))
}

func (a *admission) chooseBy(order func(x, y *option, pods int64) int, l *lender, p *pool, options []option, pods int64) []making {
	options = slices.Clone(options)
	slices.SortStableFunc(options, func(x, y option) int { return order(&x, &y, pods) })
	budget := a.budget(l)
	var parts []making
	for i := range options {
		for n := min(len(options[i].plans), int(pods)); n > 0; n-- {
			t := making{&options[i], options[i].plans[n-1]}
			if t.count() > budget || t.count() > p.rooms[t.room].free {
				continue
			}
			p.take(t.room, t.count(), false)
			if !p.soon.fits(p.claims) {
				p.take(t.room, -t.count(), false)
				continue
			}
			parts = append(parts, t)
			budget -= t.count()
			pods -= t.made()
			break
		}
		if pods == 0 {
			return parts
		}
	}
	for _, t := range parts {
		p.take(t.room, -t.count(), false)
	}
	return nil
}

// budget is how many units of the lender may go for others now.
func (a *admission) budget(l *lender) int64 { return min(l.lendable, a.mayLendTo(l)) }

// mayLendTo is what the lender's tenant may lend besides.
func (a *admission) mayLendTo(l *lender) int64 {
	id, f, ok := a.books.find(l.Tenant, l.Flavor)
	if !ok {
		return 0
	}
	return a.lendingRoom(id, f, false)
}

// asEntry is what reservations have to stand.
func (a *admission) asEntry(l *lender, j *ask, parts []making) entry {
	job := *j.Job
	job.Flavor, job.UnitsPerPod = l.Flavor, 1
	as := *j
	as.Job = &job
	return entry{ask: &as, spots: spotsOf(parts)}
}

// spotsOf is what goes on which nodes, each once.
func spotsOf(parts []making) (spots []spot) {
	for _, t := range parts {
		if at := slices.IndexFunc(spots, func(s spot) bool { return s.room == t.room }); at >= 0 {
			spots[at].pods += t.count()
			continue
		}
		spots = append(spots, spot{t.room, t.count()})
	}
	return spots
}

// begin has the card reshaped, and counts its units as lent.
func (a *admission) begin(l *lender, j *ask, t making) {
	m := ReshapeAction{
		Kind: ReshapeMake, ID: reshapeID(j, t.plan, a.reshapes.memory[t.plan.GPU].At), Node: t.node.Name, Lender: l.Name,
		From: l.Flavor, Count: t.count(), To: j.Flavor, Made: t.made(), Job: j.Name, JobUID: j.UID, Plan: &t.plan, Undo: max(l.MIG.Undo, 0),
		Reason:  ReasonReshaping,
		Message: fmt.Sprintf("%s of %s for a job that waits, out of %s of %s", plural(t.made(), "unit"), j.Flavor, plural(t.count(), "unit"), l.Flavor),
	}
	a.reshapes.makes = append(a.reshapes.makes, m)
	a.bookLending("", Grant{l.Name, t.node.Name, l.Flavor, t.count()}, 1)
	l.lendable -= t.count()
	l.lent += t.count()
	begun := Reshape{
		ID: m.ID, GPU: t.card.UUID, Lender: l.Name, From: m.From, Count: m.Count, To: m.To, Made: m.Made,
		Create: t.plan.Create, JobUID: j.UID, State: ReshapeMaking, Since: a.now,
	}
	for _, i := range t.plan.Destroy {
		begun.Destroy = append(begun.Destroy, i.Placed)
	}
	a.reshapes.memory[t.card.UUID] = ReshapeMemory{
		GPU: t.card.UUID, Quiet: a.now.Add(quietTimes * l.MIG.takes()), Begun: &begun, Node: t.node.Name, At: a.now,
	}
	for _, options := range a.reshapes.options {
		options.cards = slices.DeleteFunc(options.cards, func(o option) bool { return o.card == t.card })
	}
	a.moved()
}

// reshapeID is the same for the same job's attempt on the same layout of the same GPU,
// unless the last one there, begun at a time, came to nothing.
func reshapeID(j *ask, p mig.Plan, last time.Time) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d/%s/%s/%d", j.UID, j.Attempt, p.GPU, p.Base, last.Unix())
	return fmt.Sprintf("rs-%016x", h.Sum64())
}
