package lend

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/ebbtide/ebbtide/mig"
)

// board is what a kind of GPU can be cut into.
type board struct {
	geometry mig.Geometry
	profiles map[string]mig.Profile // by name, dotted
	built    *mig.Table
}

// boardsOf reads the boards; what was built for one is kept as long as it stays as it is.
func (k *Decider) boardsOf(all []mig.Geometry) map[string]*board {
	if len(all) == 0 {
		return nil
	}
	out := make(map[string]*board, len(all))
	for i := range all {
		g := &all[i]
		if out[g.Board] != nil {
			continue
		}
		b := k.boards[g.Board]
		if b == nil || !reflect.DeepEqual(&b.geometry, g) {
			b = newBoard(g)
		}
		out[g.Board] = b
	}
	k.boards = out
	return out
}

func newBoard(g *mig.Geometry) *board {
	b := &board{geometry: *g, profiles: map[string]mig.Profile{}}
	b.geometry.Profiles = slices.Clone(g.Profiles)
	for i := range b.geometry.Profiles {
		p := &b.geometry.Profiles[i]
		p.Starts = slices.Clone(p.Starts)
		if _, twice := b.profiles[dotted(p.Name)]; !twice {
			b.profiles[dotted(p.Name)] = *p
		}
	}
	return b
}

// table is made when it is first asked for.
func (b *board) table() *mig.Table {
	if b.built == nil {
		b.built = mig.NewTable(&b.geometry)
	}
	return b.built
}

// tally counts a node's instances of one flavor but for those of changes of layouts.
type tally struct{ all, idle, lent int64 }

// tally is not known where no card of the node can have such instances.
func (d *decision) tally(n *Node, flavor string) (t tally, known bool) {
	name := d.reshapes.profiles[flavor]
	if name == "" {
		return t, false
	}
	for i := range n.Cards {
		card := &n.Cards[i]
		b := d.tables[card.Board]
		if b == nil {
			continue
		}
		p, ok := b.profiles[name]
		if !ok {
			continue
		}
		known = true
		for _, in := range card.Instances {
			if in.Profile != p.ID || changes(n.Reshapes, card.UUID, in.Placed) {
				continue
			}
			t.all++
			switch in.Use {
			case mig.Idle:
				t.idle++
			case mig.Lent:
				t.lent++
			}
		}
	}
	return t, known
}

// changes reports whether a place is one of a change.
func changes(list []Reshape, gpu string, at mig.Placed) bool {
	return slices.ContainsFunc(list, func(r Reshape) bool {
		return r.GPU == gpu && (slices.Contains(r.Destroy, at) || slices.Contains(r.Create, at))
	})
}

// countIn counts the node's units as if nothing had been changed: what was taken is there,
// and what was made is not. What the kubelet says of them is older than what the cards do.
func (d *decision) countIn(n *Node, list []*reshape) {
	if len(list) == 0 {
		return
	}
	n.Units = slices.Clone(n.Units)
	var flavors []string
	for _, r := range list {
		flavors = append(flavors, r.From, r.To)
	}
	slices.Sort(flavors)
	for _, flavor := range slices.Compact(flavors) {
		d.countFlavor(n, flavor, list)
	}
}

func (d *decision) countFlavor(n *Node, flavor string, list []*reshape) {
	i, there := findUnits(n, flavor)
	if !there {
		n.Units = slices.Insert(n.Units, i, Units{Flavor: flavor})
	}
	u := &n.Units[i]
	t, known := d.tally(n, flavor)
	besides(u, t, known, list)
	over, taken := max(d.reshapes.held(n.Name, u)-u.Capacity-clamp(u.Broken), 0), int64(0)
	for _, r := range list {
		switch {
		case r.From == flavor && r.broken != "":
			u.Broken = clamp(u.Broken) + r.Count
		case r.From == flavor:
			u.Capacity += r.Count
		case r.To == flavor && r.stranger:
			taken += clamp(r.Made)
		}
	}
	u.Capacity += min(taken, over)
}

func findUnits(n *Node, flavor string) (i int, there bool) {
	return slices.BinarySearchFunc(n.Units, flavor, func(u Units, flavor string) int { return cmp.Compare(u.Flavor, flavor) })
}

// besides takes off what was made, and what may be gone. What the node has beyond that and no
// card shows, as on one that is lost, may be held and not handed out.
func besides(u *Units, t tally, known bool, list []*reshape) {
	if u.Capacity = clamp(u.Capacity); known {
		if hidden := u.Capacity - t.all - changed(u.Flavor, list); hidden > 0 {
			u.Broken = clamp(u.Broken) + hidden
		}
		u.Capacity = min(u.Capacity, t.all)
		return
	}
	for _, r := range list {
		switch making := r.State == ReshapeMaking; {
		case r.From == u.Flavor && making: // it may still have some of them
			u.Capacity = max(u.Capacity-r.Count, 0)
			u.Broken = clamp(u.Broken) + r.Count
		case r.To == u.Flavor && !making:
			u.Capacity = max(u.Capacity-r.Made, 0)
		}
	}
}

// changed is how many units a node may count for what was made, and for what was taken, which
// it may not have seen yet.
func changed(flavor string, list []*reshape) (n int64) {
	for _, r := range list {
		switch {
		case r.From == flavor:
			n += r.Count
		case r.To == flavor:
			n += clamp(r.Made)
		}
	}
	return n
}

// lookAtCards takes off what may be lent what the cards do not show to be idle.
func (d *decision) lookAtCards() {
	if d.reshapes == nil {
		return
	}
	for i := range d.in.Nodes {
		n := &d.in.Nodes[i]
		if len(n.Cards) == 0 {
			continue
		}
		for _, u := range n.Units {
			t, known := d.tally(n, u.Flavor)
			r := d.room(Grant{Node: n.Name, Flavor: u.Flavor})
			if !known || r == nil {
				continue
			}
			// What was granted and is not held yet is idle, and promised.
			if over := r.free - (t.idle - max(r.granted-t.lent, 0)); over > 0 {
				r.keep(over)
			}
		}
	}
}
