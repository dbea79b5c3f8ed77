package lend

// room is one node's units of one flavor. The counts may be negative where more is
// held than the node has, as after a device broke; they then count as 0.
type room struct {
	node string
	// free is held by nobody.
	free int64
	// soon is free plus what comes free by itself: leaving online pods and loans
	// that end.
	soon int64
	// back is soon plus what every loan with a lender holds: what can be had by
	// evicting loans alone.
	back int64
	// lent: some of the node is on loan, so another loan there keeps whole nodes whole.
	lent bool
	// last is Node.LendLast.
	last int32
	// kept is what of soon is not for loans whatever comes free, as pinned slices are.
	kept int64
	// granted is what loans have of the node's own slices, made ones aside.
	granted int64
	// barred is what could be lent on the node if why did not forbid it.
	barred int64
	why    string
}

// comesFree: something is coming free that could be lent.
func (r room) comesFree() bool { return r.soon-r.kept > r.free }

// keep takes units off what can be lent, which stay room for owners.
func (r *room) keep(units int64) {
	r.free -= units
	r.kept += units
}

// pool is all units of one flavor on schedulable nodes.
type pool struct {
	flavor string
	rooms  []room // by node
	// at is by the nodes' numbers the room's place, from 1.
	nodes   *atlas
	at      []int32
	soon    bins
	back    bins
	lenders []*lender // with this flavor, by name
	// kept is what of soon is not for loans.
	kept int64
	// sizes of the lenders' pods, largest first, each once.
	sizes []int64
	// claims must stay placeable on soon: owed pods and headroom, by size.
	claims []shape
	// promised: claims has gangs for which units were asked back.
	promised bool
	// rights must stay placeable on back: all pods that the lenders own, by size.
	rights []shape
}

// mostUnits bounds a product of two counts.
const mostUnits = 1 << 20

// clamp keeps counts in a range in which no sum of them can overflow.
func clamp(n int64) int64 { return min(max(n, 0), 1<<40) }

// countRooms fills the pools from the nodes and the loans.
func (d *decision) countRooms() {
	var p *pool
	for i := range d.in.Nodes {
		n := &d.in.Nodes[i]
		if !n.Schedulable {
			continue
		}
		number := d.atlas.number(i)
		for k := range n.Units {
			u := &n.Units[k]
			if p == nil || p.flavor != u.Flavor {
				p = d.pool(u.Flavor)
			}
			if p.at[number] > 0 { // twice
				continue
			}
			p.at[number] = int32(len(p.rooms) + 1)
			online := clamp(u.Online)
			free := clamp(u.Capacity) - online - clamp(u.Other) - clamp(u.Promised)
			leaving := min(clamp(u.Leaving), online)
			soon := free + leaving
			p.rooms = append(p.rooms, room{node: n.Name, free: free, soon: soon, back: soon, last: n.LendLast, why: n.Unlendable})
			r := &p.rooms[len(p.rooms)-1]
			if pinned := clamp(u.Pinned); pinned > 0 { // the service's pods have those first
				r.free -= max(pinned-online, 0)
				r.kept = max(pinned-(online-leaving), 0)
			}
		}
	}
	d.holdRooms()
	d.lookAtCards()
	for _, flavor := range d.flavors {
		d.pools[flavor].sort()
	}
}

// holdRooms takes off the rooms what loans hold of them.
func (d *decision) holdRooms() {
	var p *pool
	for l := range d.holders() {
		for n, g := range l.frees() {
			if p == nil || p.flavor != g.Flavor {
				if p = d.pools[g.Flavor]; p == nil {
					continue
				}
			}
			i, ok := l.place(p, n, &g)
			if !ok {
				continue
			}
			p.rooms[i].hold(g.Count, l)
			if n < len(l.Grants) {
				p.rooms[i].granted += g.Count
			}
		}
	}
}

// hold takes a loan's units off the room.
func (r *room) hold(count int64, l *loan) {
	r.lent = true
	r.free -= count
	if l.comesFree() {
		return
	}
	r.soon -= count
	if !l.lent || l.stuck { // what is stuck, nothing brings back
		r.back -= count
	}
}

// sort puts the rooms into bins.
func (p *pool) sort() {
	var soon, back count
	for i := range p.rooms {
		r := &p.rooms[i]
		if r.why != "" && r.free > 0 {
			r.barred = r.free
			r.keep(r.free)
		}
		p.kept += max(r.kept, 0)
		soon.add(r.soon)
		back.add(r.back)
	}
	p.soon, p.back = soon.bins(), back.bins()
}

// room is where a grant's units are; nil if that node cannot be counted on.
func (d *decision) room(g Grant) *room {
	p := d.pools[g.Flavor]
	if p == nil {
		return nil
	}
	i, ok := p.room(g.Node)
	if !ok {
		return nil
	}
	return &p.rooms[i]
}

// room is the node's place among the rooms.
func (p *pool) room(node string) (i int, ok bool) {
	number, ok := p.nodes.numbers[node]
	if !ok {
		return 0, false
	}
	i = int(p.at[number]) - 1
	return i, i >= 0
}

// giveBack counts a loan's units as coming free.
func (d *decision) giveBack(l *loan) {
	for _, g := range l.frees() {
		if r := d.room(g); r != nil {
			d.pools[g.Flavor].soon.shift(r.soon, r.soon+g.Count, 1)
			r.soon += g.Count
		}
	}
}

// take gives n units of a room to a loan; a negative n takes them back. own is
// true for the borrower's own quota, which no eviction brings back.
func (p *pool) take(i int, n int64, own bool) {
	r := &p.rooms[i]
	r.free -= n
	p.soon.shift(r.soon, r.soon-n, 1)
	r.soon -= n
	if own {
		p.back.shift(r.back, r.back-n, 1)
		r.back -= n
	}
}

// keepOn is the opposite of giveBack: the loan goes on.
func (d *decision) keepOn(l *loan) {
	for _, g := range l.frees() {
		if r := d.room(g); r != nil {
			d.pools[g.Flavor].soon.shift(r.soon, r.soon-g.Count, 1)
			r.soon -= g.Count
		}
	}
}
