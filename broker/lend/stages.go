package lend

import "github.com/ebbtide/ebbtide/quota"

// stages are the quotas with so many of the promises: with what comes back for the first
// ones and is kept for them, and nothing of the others. Stage 0 is without any, and the last
// is what others may still count on. What a tenant could have at them is remembered until
// something changes there, and the tree goes on from the stage where it is, so that not every
// question goes through all promises.
type stages struct {
	// tree is at a stage, with the first so many of the books' changes that hold there.
	tree     *quota.Tree
	at, seen int
	// least is the least that a tenant could have at the first stages, far the highest of
	// these that was looked at.
	least map[family]staged
	far   int
	// steps counts how often the tree went by a promise.
	steps int
}

// staged is the least at the stages before one.
type staged struct {
	before int
	units  quota.Amount
}

// leastUpTo is the least that the tenant could have at the stages up to one. Those before it
// need not be looked at where nothing comes back for the next promise: there is no less than
// at the next stage, where more is kept and nothing more is there.
func (d *decision) leastUpTo(top int, of family) quota.Amount {
	s := &d.requests.stages
	s.follow(d)
	known, ok := s.least[of]
	if !ok || known.before > top+1 {
		known = staged{units: quota.Unlimited}
	}
	if known.before > top {
		return known.units
	}
	from, to := known.before, top
	if to-s.at < s.at-from { // the tree is nearer to the end
		from, to = to, from
	}
	for s.move(d, from); ; s.move(d, s.at+step(s.at, to)) {
		if s.at == top || len(d.requests.kept[s.at].back) > 0 {
			known.units = min(known.units, s.tree.Available(of.node, of.flavor))
		}
		if s.at == to {
			break
		}
	}
	known.before = top + 1
	s.least[of], s.far = known, max(s.far, top)
	return known.units
}

// step is the way from one to another.
func step(from, to int) int {
	if from < to {
		return 1
	}
	return -1
}

// follow books what was booked since, and forgets what does not hold any more.
func (s *stages) follow(d *decision) {
	if s.tree == nil {
		s.tree, s.at, s.seen = d.books.soon.Clone(), len(d.requests.kept), len(d.books.changes)
		s.least, s.far = map[family]staged{}, -1
	}
	for _, c := range d.books.changes[s.seen:] {
		if c.stage <= s.far {
			clear(s.least)
			s.far = -1
		}
		if c.stage <= s.at {
			d.apply(s.tree, c)
		}
	}
	s.seen = len(d.books.changes)
}

// move has the tree go to a stage.
func (s *stages) move(d *decision, to int) {
	for ; s.at < to; s.at++ {
		d.bookPromise(s.tree, &d.requests.kept[s.at], 1)
		s.steps++
	}
	for ; s.at > to; s.at-- {
		d.bookPromise(s.tree, &d.requests.kept[s.at-1], -1)
		s.steps++
	}
}

// bookPromise enters a promise: what comes back for it, and what is kept for it. With a sign
// of -1 it is taken out.
func (d *decision) bookPromise(t *quota.Tree, p *promise, sign int64) {
	for _, l := range p.back {
		d.comesBack(t, l, sign)
	}
	if p.held {
		t.Use(p.tenant, p.flavor, quota.Amount(sign*p.need))
	}
}

// apply enters a change.
func (d *decision) apply(t *quota.Tree, c change) {
	if c.gone != nil {
		d.comesBack(t, c.gone, 1)
		return
	}
	t.Use(c.tenant, c.flavor, c.units)
}
