package lend

// A lender whose Refill is WhenUsed keeps its headroom as a buffer: it is lent to nobody, and
// as long as the need has room, what of it is used, by the lender's own pods or by others
// with the same flavor, is not asked back. A load that goes up and down by less than the
// headroom stops nobody.

// growsIntoWarm: nothing is asked back for the headroom alone. Above its high water a lender
// is refilled whatever it says: that its load is high is its owner's word for taking back.
func (l *lender) growsIntoWarm() bool {
	return l.Refill == RefillWhenUsed && l.load.mark != markHigh
}

// refill is the last class. Room that is there is kept for everybody's headroom, and more
// is made for those that have used theirs up.
func (r *round) refill() {
	var used []want
	for _, w := range r.wants(classRefill) {
		if r.usedUp(w.lender) {
			used = append(used, w)
			continue
		}
		size := w.lender.UnitsPerPod
		n := r.p.soon.reach(r.settled, shape{size, w.pods})
		if n > 0 {
			r.settled = with(r.settled, shape{size, n})
			r.owe(w.lender, n)
		}
		if n < w.pods {
			w.lender.short, w.lender.touched = true, true
		}
	}
	r.serve(classRefill, used)
}

// usedUp: its need had no room. Room is nobody's, so that where a need of others had none,
// because this one's took it, this one's headroom is used up as well: it needs more than it
// has not lent.
func (r *round) usedUp(l *lender) bool {
	if l.asks || len(r.victims) == 0 {
		return l.asks
	}
	left := l.Owned - l.lent
	for loan := range r.d.holders() {
		for _, g := range loan.frees() {
			if g.Lender == l.Name && loan.comesFree() {
				left += clamp(g.Count)
			}
		}
	}
	return max(l.need.units, l.season.units) > left
}
