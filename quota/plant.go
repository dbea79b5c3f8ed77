package quota

import (
	"cmp"
	"slices"
)

// NewTree returns a Tree in which nothing is used. Of nodes of one kind and name, of
// flavors and of quotas of one node for one flavor, the first counts. Negative
// promises and limits count as 0. A cohort that is only named is a root without a
// quota.
func NewTree(flavors []Flavor, nodes []Node) *Tree {
	t := &Tree{ids: [2]map[string]NodeID{{}, {}}}
	t.nameFlavors(flavors, nodes)
	for _, cohorts := range []bool{false, true} {
		for i := range nodes {
			if nodes[i].Cohort == cohorts {
				t.add(&nodes[i])
			}
		}
	}
	given := t.cohortsOf(nodes)
	t.link(nodes, given)
	t.cells = make([]cell, len(t.nodes)*t.dims)
	t.shares = make([]shares, len(t.nodes))
	for _, i := range given {
		t.promise(&nodes[i])
	}
	for _, n := range t.byDepth() {
		t.sum(n)
	}
	t.foresee()
	return t
}

// nameFlavors numbers the flavors by name, and gives each its dimensions.
func (t *Tree) nameFlavors(described []Flavor, nodes []Node) {
	of, whole := t.collect(described, nodes)
	first := map[string]int{} // dimension
	t.flavorIDs = make(map[string]FlavorID, len(t.flavors))
	for i, f := range t.flavors {
		t.flavorIDs[f.name] = FlavorID(i)
		first[f.name] = t.dims
		switch {
		case whole[f.name]:
			t.dims += 2
		case of[f.name].SliceOf == "":
			t.dims++
		}
	}
	for i := range t.flavors {
		f := &t.flavors[i]
		d := of[f.name]
		switch dim := first[f.name]; {
		case whole[f.name]:
			f.draws = []draw{{dim, ComputeSlices}, {dim + 1, MemorySlices}}
		case d.SliceOf == "":
			f.draws = []draw{{dim, 1}}
		default:
			dim = first[d.SliceOf]
			f.draws, f.slice = []draw{{dim, max(d.Compute, 1)}, {dim + 1, max(d.Memory, 1)}}, true
		}
	}
}

// collect lists all flavors that are described or named, by name, and tells which of
// them have slices. A slice of what is a slice itself is no slice: there are no
// cards behind it.
func (t *Tree) collect(described []Flavor, nodes []Node) (of map[string]Flavor, whole map[string]bool) {
	of, whole = map[string]Flavor{}, map[string]bool{}
	know := func(f Flavor) {
		if _, known := of[f.Name]; !known {
			of[f.Name] = f
			t.flavors = append(t.flavors, flavor{name: f.Name})
		}
	}
	for _, f := range described {
		know(f)
	}
	for _, f := range described {
		if f.SliceOf != "" {
			know(Flavor{Name: f.SliceOf})
		}
	}
	for i := range nodes {
		for _, q := range nodes[i].Quotas {
			know(Flavor{Name: q.Flavor})
		}
	}
	slices.SortFunc(t.flavors, func(a, b flavor) int { return cmp.Compare(a.name, b.name) })
	for _, f := range t.flavors {
		if base := of[f.name].SliceOf; base != "" && of[base].SliceOf == "" {
			whole[base] = true
		}
	}
	for _, f := range t.flavors {
		if d := of[f.name]; !whole[d.SliceOf] {
			of[f.name] = Flavor{Name: f.name}
		}
	}
	return of, whole
}

func (t *Tree) add(n *Node) {
	ids := t.ids[kind(n.Cohort)]
	if _, twice := ids[n.Name]; twice {
		return
	}
	ids[n.Name] = NodeID(len(t.nodes))
	c := node{name: n.Name, cohort: n.Cohort, parent: None, weight: 1, lists: make([]bool, len(t.flavors))}
	if n.Weight != nil {
		c.weight = max(*n.Weight, 0)
	}
	t.nodes = append(t.nodes, c)
}

func kind(cohort bool) int {
	if cohort {
		return 1
	}
	return 0
}

// cohortsOf adds the cohorts that are only named, and returns the indexes of the
// nodes that count.
func (t *Tree) cohortsOf(nodes []Node) (given []int) {
	seen := [2]map[string]bool{{}, {}}
	for i := range nodes {
		n := &nodes[i]
		if k := kind(n.Cohort); !seen[k][n.Name] {
			seen[k][n.Name] = true
			given = append(given, i)
		}
	}
	for _, i := range given {
		if parent := nodes[i].Parent; parent != "" {
			t.add(&Node{Name: parent, Cohort: true})
		}
	}
	return given
}

// link sets the parents and marks circles.
func (t *Tree) link(nodes []Node, given []int) {
	for _, i := range given {
		if nodes[i].Parent != "" {
			t.nodes[t.id(&nodes[i])].parent = t.ids[1][nodes[i].Parent]
		}
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		for up := n.parent; up != None && n.depth <= len(t.nodes); up = t.nodes[up].parent {
			n.depth++
		}
		if n.stray = n.depth > len(t.nodes); n.stray {
			t.problems = append(t.problems, Problem{n.name, n.cohort, "its cohorts go round in a circle of parents; nothing is admitted below it"})
		}
	}
	for i := range t.nodes {
		if n := &t.nodes[i]; n.stray {
			n.parent, n.depth = None, 0
		}
	}
}

func (t *Tree) id(n *Node) NodeID { return t.ids[kind(n.Cohort)][n.Name] }

// promise fills in what the node's quotas say.
func (t *Tree) promise(n *Node) {
	id := t.id(n)
	for _, q := range n.Quotas {
		f := t.flavorIDs[q.Flavor]
		if t.nodes[id].lists[f] {
			continue
		}
		t.nodes[id].lists[f] = true
		if t.flavors[f].slice {
			continue // counts against the quota of the whole
		}
		for _, d := range t.flavors[f].draws {
			c := t.cell(id, d.dim)
			c.nominal = q.Nominal.AtLeastZero().Times(int64(d.per))
			if q.BorrowingLimit != nil {
				c.canBorrow, c.borrowing = true, q.BorrowingLimit.AtLeastZero().Times(int64(d.per))
			}
			if q.LendingLimit != nil {
				c.keep, c.lending = true, q.LendingLimit.AtLeastZero().Times(int64(d.per))
			}
		}
	}
}

// byDepth lists the nodes, deepest first.
func (t *Tree) byDepth() []NodeID {
	order := make([]NodeID, len(t.nodes))
	for i := range order {
		order[i] = NodeID(i)
	}
	slices.SortStableFunc(order, func(a, b NodeID) int { return cmp.Compare(t.nodes[b].depth, t.nodes[a].depth) })
	return order
}

// sum completes a node whose children are complete, and adds it to its parent.
func (t *Tree) sum(n NodeID) {
	for d := range t.dims {
		c := t.cell(n, d)
		c.subtree = c.subtree.Add(c.nominal)
		if c.keep {
			c.local = c.subtree.Sub(c.lending).AtLeastZero()
		}
		if up := t.nodes[n].parent; up != None {
			p := t.cell(up, d)
			p.subtree = p.subtree.Add(c.subtree.Sub(c.local))
		}
	}
}

// foresee fills in the potentials, from the roots down.
func (t *Tree) foresee() {
	order := t.byDepth()
	slices.Reverse(order)
	for _, n := range order {
		for d := range t.dims {
			c := t.cell(n, d)
			c.potential = c.subtree
			if up := t.nodes[n].parent; up != None {
				c.potential = c.local.Add(t.cell(up, d).potential)
				if c.canBorrow {
					c.potential = min(c.potential, c.subtree.Add(c.borrowing))
				}
			}
		}
	}
}
