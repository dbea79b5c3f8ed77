package lend

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// want is what one lender is owed of one class.
type want struct {
	lender *lender
	pods   int64
}

// round is one flavor's reclaim, class by class.
type round struct {
	d *decision
	p *pool
	// settled are the pods that fit, with the victims so far gone.
	settled []shape
	victims []*loan
	causes  map[*loan]*cause
	owed    []Owed
}

// cause is why a victim was chosen.
type cause struct {
	class class
	// asking are the lenders of that class for which it was chosen; hurried all whose
	// pods wait for it, those included for whom one was chosen that it made superfluous.
	asking, hurried []*lender
}

// reclaim takes back what is needed for the pods that lenders are owed. Nothing is
// taken for a pod that would not fit with every loan gone.
func (d *decision) reclaim() {
	var owed []Owed
	var taken []*loan
	causes := map[*loan]*cause{}
	for _, flavor := range d.flavors {
		r := &round{d: d, p: d.pools[flavor], causes: causes}
		for c := range classRefill {
			r.serve(c, r.wants(c))
		}
		r.refill()
		if len(r.victims) == 0 {
			continue
		}
		r.combine()
		r.reprieve()
		taken = append(taken, r.victims...)
		owed = append(owed, r.owed...)
	}
	slices.SortFunc(taken, compareLoans) // one of each name
	for _, l := range taken {
		why := causes[l]
		if l.reshape != nil {
			d.callBack(l.reshape, reclaimReason(why.class), reclaimMessage(why.class, why.asking))
			continue
		}
		d.takeBack(l, &Action{
			ReclaimBy: d.now.Add(d.graceOf(l, why.hurried)),
			ReclaimID: fmt.Sprintf("r-%d-%d", d.in.Epoch, d.number),
			Owed:      owed,
			Asking:    names(why.asking),
			Reason:    reclaimReason(why.class),
			Message:   reclaimMessage(why.class, why.asking),
		})
		if !l.part { // whoever goes on was not stopped
			d.history.add(l.JobUID, l.Since, d.now)
		}
	}
}

// serve makes room for what is wanted of one class, beside what is settled.
func (r *round) serve(c class, wants []want) {
	if len(wants) == 0 {
		return
	}
	if r.haveRoom(wants) {
		return
	}
	candidates := r.candidates(c)
	ceiling := slices.Clone(r.p.soon)
	for _, l := range candidates {
		r.lift(&ceiling, l)
	}
	r.undo(candidates)
	now := r.settled
	var asking []*lender
	for _, w := range wants {
		size := w.lender.UnitsPerPod
		pods := ceiling.reach(r.settled, shape{size, w.pods})
		at := r.p.soon.reach(now, shape{size, pods})
		now = with(now, shape{size, at})
		if at < pods {
			asking = append(asking, w.lender)
		}
		w.lender.short = w.lender.short || pods < w.pods
		if pods > 0 {
			r.settled = with(r.settled, shape{size, pods})
			r.owe(w.lender, pods)
		}
	}
	if len(asking) > 0 && !r.p.soon.fits(r.settled) {
		r.choose(c, asking, candidates)
	}
}

// haveRoom settles what is wanted if all of it has room as things are. Only where each size
// divides the next larger one is that sure to be so with more units free as well.
func (r *round) haveRoom(wants []want) bool {
	settled := r.settled
	for _, w := range wants {
		settled = with(settled, shape{w.lender.UnitsPerPod, w.pods})
	}
	for i := 1; i < len(settled); i++ {
		if settled[i-1].size%max(settled[i].size, 1) != 0 {
			return false
		}
	}
	if !r.p.soon.fits(settled) {
		return false
	}
	for _, w := range wants {
		r.owe(w.lender, w.pods)
	}
	r.settled = settled
	return true
}

// wants lists who is owed pods of the class: large pods first, then by name.
func (r *round) wants(c class) []want {
	var out []want
	for _, l := range r.p.lenders {
		// An adviser changes nothing, and the need of a policy that cannot be used is not
		// known. The pods of both have what they own all the same: place counts on it.
		if l.owed[c] == 0 || (l.Advise || l.Problem != nil) && c != classPending {
			continue
		}
		out = append(out, want{l, l.owed[c]})
	}
	slices.SortStableFunc(out, func(a, b want) int {
		return cmp.Compare(b.lender.UnitsPerPod, a.lender.UnitsPerPod)
	})
	return out
}

// candidates lists the loans that may be taken back for the class. Young loans are
// spared where nothing is urgent.
func (r *round) candidates(c class) []*loan {
	var out []*loan
	for l := range r.d.holders() {
		if !l.lent || l.ending || l.stuck || l.victim {
			continue
		}
		if c > classHigh && l.reshape == nil && r.d.now.Sub(l.Since) < r.d.pol.MinimumLoan {
			continue
		}
		out = append(out, l)
	}
	return slices.DeleteFunc(out, func(l *loan) bool { return !r.holds(l) })
}

func (r *round) holds(l *loan) bool {
	return slices.ContainsFunc(l.frees(), func(g Grant) bool { return g.Flavor == r.p.flavor })
}

// lift adds to the bins what the loan would free.
func (r *round) lift(b *bins, l *loan) {
	for _, g := range l.frees() {
		if at := r.d.room(g); at != nil && g.Flavor == r.p.flavor {
			b.shift(at.soon, at.soon+g.Count, 1)
			at.soon += g.Count
		}
	}
}

// undo takes back from the rooms what lift counted there; bins are a copy.
func (r *round) undo(loans []*loan) {
	for _, l := range loans {
		for _, g := range l.frees() {
			if at := r.d.room(g); at != nil && g.Flavor == r.p.flavor {
				at.soon -= g.Count
			}
		}
	}
}

// owe adds to the list of what the reclaim makes room for.
func (r *round) owe(l *lender, pods int64) {
	for i := range r.owed {
		if r.owed[i].Lender == l.Name {
			r.owed[i].Pods += pods
			return
		}
	}
	r.owed = append(r.owed, Owed{Lender: l.Name, Flavor: l.Flavor, UnitsPerPod: l.UnitsPerPod, Pods: pods})
	slices.SortFunc(r.owed, func(a, b Owed) int { return cmp.Compare(a.Lender, b.Lender) })
}

// choose picks victims, and counts them as coming free. A lender gets its own units
// back, unless taking another's loan loses less work: it is room that is owed, not
// certain units.
func (r *round) choose(c class, asking []*lender, candidates []*loan) {
	chosen, _ := r.pick(c, candidates)
	own := slices.DeleteFunc(slices.Clone(candidates), func(l *loan) bool { return !lentBy(l, asking) })
	if len(own) < len(candidates) {
		if mine, ok := r.pick(c, own); ok && !chosen.cheaper(&mine) {
			chosen, candidates = mine, own
		}
	}
	if len(chosen.Victims) == 0 {
		return
	}
	latest := r.take(chosen, candidates, &cause{c, asking, asking})
	for _, l := range asking {
		l.asks = true
		l.memory.askedBack(latest, r.d.now, r.d.pol)
		l.shut(ReasonCooldownActive, "units were asked back for it just now")
	}
}

// take makes victims of those that were chosen among the candidates, counts them as
// coming free, and says since when the latest of them had its units.
func (r *round) take(chosen Choice, candidates []*loan, why *cause) (latest time.Time) {
	for _, v := range chosen.Victims {
		l := candidates[v.Index]
		l.victim = true
		if v.Shed != nil {
			l = r.d.shrink(l, l.from(v.Shed, why.asking))
		}
		own := *why
		r.victims, r.causes[l] = append(r.victims, l), &own
		r.d.giveBack(l)
		if l.Since.After(latest) {
			latest = l.Since
		}
	}
	return latest
}

func lentBy(l *loan, lenders []*lender) bool {
	return slices.ContainsFunc(l.frees(), func(g Grant) bool {
		return slices.ContainsFunc(lenders, func(o *lender) bool { return o.Name == g.Lender })
	})
}

// price of a victim is what it loses and, if it is stopped whole, what a stop counts.
func (d *decision) price(l *loan) float64 {
	if l.part || l.reshape != nil {
		return l.cost
	}
	return l.cost + max(d.pol.StopCost, 0).Seconds()
}

// spares is what is added to the cost of stopping a loan out of fairness to jobs that
// were stopped lately: another restart for each time. Those that were stopped too often
// are the last choice for warm units, and those that go round for everything. For pods
// that wait, nothing is added: what is lost is all that counts.
func (r *round) spares(c class, l *loan) float64 {
	d := r.d
	if l.reshape != nil {
		return 0 // nobody is stopped
	}
	_, spent := d.history.spent(l.JobUID, d.now, d.pol)
	var each time.Duration
	switch {
	case c == classPending:
	case d.history.cycles(l.JobUID, d.now, d.pol):
		each = d.pol.CycleWindow
	case c >= classHeadroom && spent:
		each = d.pol.EvictionWindow
	default:
		each = max(d.pol.RestartCost, 0) * time.Duration(d.history.lately(l.JobUID, d.now, d.pol.EvictionWindow))
	}
	return float64(l.units) * each.Seconds()
}

// pick says who of some loans must give units back.
func (r *round) pick(c class, from []*loan) (Choice, bool) {
	var owed []Owed
	for _, s := range r.settled {
		owed = append(owed, Owed{Flavor: r.p.flavor, UnitsPerPod: s.size, Pods: s.pods})
	}
	rooms := make([]Room, 0, len(r.p.rooms))
	for _, at := range r.p.rooms {
		rooms = append(rooms, Room{Node: at.node, Flavor: r.p.flavor, Free: at.soon})
	}
	candidates := make([]Candidate, 0, len(from))
	for _, l := range from {
		candidate := Candidate{
			Name: l.Name, LostWork: r.d.price(l) + r.spares(c, l), Priority: l.Priority, Since: l.Since, Grants: l.frees(),
			Pods: l.Pods, MinPods: l.minPods(), UnitsPerPod: l.UnitsPerPod, ShedCost: float64(l.UnitsPerPod) * max(r.d.pol.RestartCost, 0).Seconds(),
			Order: l.ShedOrder,
		}
		candidates = append(candidates, candidate)
	}
	return Choose(rooms, owed, candidates)
}

// cheaper reports whether a choice costs less than another.
func (c *Choice) cheaper(than *Choice) bool {
	return cmp.Or(cmp.Compare(c.Stopped, than.Stopped), cmp.Compare(c.Shed, than.Shed)) < 0
}

// reprieve spares victims of one class that those of another made superfluous. Who is
// left stands in for them: for the most urgent reason, and no later than any allows.
func (r *round) reprieve() {
	slices.SortStableFunc(r.victims, func(a, b *loan) int {
		return cmp.Or(cmp.Compare(r.d.price(b), r.d.price(a)), cmp.Compare(a.Name, b.Name))
	})
	for again := true; again; {
		again = false
		r.victims = slices.DeleteFunc(r.victims, func(l *loan) bool {
			r.d.keepOn(l)
			if !r.p.soon.fits(r.settled) {
				r.d.giveBack(l)
				return false
			}
			l.victim = false
			r.d.restore(l)
			r.inherit(l)
			again = true
			return true
		})
	}
}

// inherit hands the cause of a victim that is spared on to the others.
func (r *round) inherit(spared *loan) {
	was := r.causes[spared]
	for _, l := range r.victims {
		why := r.causes[l]
		if l == spared || !l.victim {
			continue
		}
		if was.class < why.class {
			why.class, why.asking = was.class, was.asking
		}
		why.hurried = slices.Concat(why.hurried, was.hurried)
	}
	delete(r.causes, spared)
}

var reclaimReasons = [classes]string{
	ReasonLenderPodPending, ReasonAboveHighWater, ReasonNeedRose, ReasonLenderUnknownTooLong, ReasonNeedRose, ReasonNeedRose, ReasonNeedRose,
}

func reclaimReason(c class) string { return reclaimReasons[c] }

func reclaimMessage(c class, asking []*lender) string {
	who := strings.Join(names(asking), ", ")
	switch c {
	case classPending:
		return "online pods of " + who + " wait for the units"
	case classHigh:
		if len(asking) == 1 && asking[0].urgent.by == byPanic {
			return who + " panics: " + strings.TrimPrefix(asking[0].load.blocker, byPanic+": ")
		}
		return who + " is above its high water"
	case classBlind:
		return "load of " + who + " has been unknown for too long"
	case classHeadroom:
		return "warm units of " + who + " must be kept free"
	case classSeason:
		return "in these hours " + who + " has needed more before"
	case classRefill:
		return "warm units of " + who + " are used up"
	}
	return "need of " + who + " rose" + whatRose(asking)
}

func names(lenders []*lender) []string {
	out := make([]string, 0, len(lenders))
	for _, l := range lenders {
		out = append(out, l.Name)
	}
	return out
}

// whatRose says what set the need.
func whatRose(asking []*lender) string {
	if len(asking) != 1 || asking[0].need.by == "" {
		return ""
	}
	return " (" + asking[0].need.by + ")"
}
