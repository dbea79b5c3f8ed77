package quota

import (
	"cmp"
	"fmt"
	"slices"
)

// NodeID is a tenant or a cohort of one Tree, FlavorID a flavor of it. None is
// neither.
type (
	NodeID   int32
	FlavorID int32
)

// None is no node, no flavor.
const None = -1

// Slices of one GPU, in the two dimensions in which MIG divides it.
const (
	ComputeSlices Amount = 7
	MemorySlices  Amount = 8
)

// Flavor is a kind of unit that is a slice of another flavor's GPUs. Flavors that
// are nobody's slice need not be described.
type Flavor struct {
	Name    string
	SliceOf string
	// Compute and Memory slices that one unit takes.
	Compute, Memory Amount
}

// Node is a tenant or a cohort.
type Node struct {
	Name   string
	Cohort bool
	// Parent is the cohort above; empty at a root.
	Parent string
	// Weight in fair sharing; nil is 1.
	Weight *int64
	Quotas []Quota
}

// Problem is why a node's quota does not count as it stands.
type Problem struct {
	Node    string
	Cohort  bool
	Message string
}

// Tree is the quotas of all tenants and cohorts, and what is in use of them. It is
// not safe for concurrent use, not even for reading: it remembers shares it was asked
// for.
type Tree struct {
	flavors   []flavor // by name
	flavorIDs map[string]FlavorID
	dims      int
	nodes     []node // tenants first, both in the order given
	ids       [2]map[string]NodeID
	cells     []cell // node × dims
	shares    []shares
	lately    []Amount // node × dims: remembered, in thousandths; nil is nothing
	problems  []Problem
}

type flavor struct {
	name  string
	draws []draw
	// slice: it is part of another flavor's GPUs, and has no quota of its own.
	slice bool
}

// draw is what one unit of a flavor takes of one dimension.
type draw struct {
	dim int
	per Amount
}

type node struct {
	name   string
	cohort bool
	parent NodeID
	weight int64
	// lists has the flavors that the quota names, be it with 0 units.
	lists []bool
	// stray: in a circle of cohorts, or below one.
	stray bool
	// depth is 0 at a root.
	depth int
}

// cell is one node's side of one dimension.
type cell struct {
	nominal, subtree, local Amount
	// potential is the most that the node could ever use.
	potential       Amount
	borrowing       Amount
	lending         Amount
	canBorrow, keep bool // there is a borrowing limit, a lending limit
	usage           Amount
}

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
	of := map[string]Flavor{}
	var names []string
	know := func(name string) {
		if _, known := of[name]; !known {
			of[name] = Flavor{Name: name}
			names = append(names, name)
		}
	}
	whole := map[string]bool{}
	for _, f := range described {
		if _, twice := of[f.Name]; twice || f.SliceOf == f.Name {
			continue
		}
		of[f.Name] = f
		names = append(names, f.Name)
	}
	for _, f := range described {
		if base := of[f.Name].SliceOf; base != "" {
			know(base)
			whole[base] = true
		}
	}
	for i := range nodes {
		for _, q := range nodes[i].Quotas {
			know(q.Flavor)
		}
	}
	slices.Sort(names)
	t.flavorIDs = make(map[string]FlavorID, len(names))
	first := map[string]int{}
	for _, name := range names {
		if of[name].SliceOf != "" && !whole[name] {
			continue
		}
		first[name] = t.dims
		t.dims++
		if whole[name] {
			t.dims++
		}
	}
	for i, name := range names {
		t.flavorIDs[name] = FlavorID(i)
		f := flavor{name: name}
		dim, base := first[name]
		switch {
		case base && whole[name]:
			f.draws = []draw{{dim, ComputeSlices}, {dim + 1, MemorySlices}}
		case base:
			f.draws = []draw{{dim, 1}}
		default:
			d := of[name]
			dim = first[d.SliceOf]
			f.draws, f.slice = []draw{{dim, max(d.Compute, 1)}, {dim + 1, max(d.Memory, 1)}}, true
		}
		t.flavors = append(t.flavors, f)
	}
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

func (t *Tree) cell(n NodeID, dim int) *cell { return &t.cells[int(n)*t.dims+dim] }

// Problems are those of the nodes, in the order of the nodes.
func (t *Tree) Problems() []Problem { return t.problems }

// Tenant finds a tenant by name, Cohort a cohort, named ones included.
func (t *Tree) Tenant(name string) (NodeID, bool) { return t.find(0, name) }

// Cohort finds a cohort by name, those included that are only named.
func (t *Tree) Cohort(name string) (NodeID, bool) { return t.find(1, name) }

func (t *Tree) find(kind int, name string) (NodeID, bool) {
	id, ok := t.ids[kind][name]
	if !ok {
		return None, false
	}
	return id, true
}

// Flavor finds a flavor that any quota names.
func (t *Tree) Flavor(name string) (FlavorID, bool) {
	id, ok := t.flavorIDs[name]
	if !ok {
		return None, false
	}
	return id, true
}

// Nodes is the number of nodes: their IDs are 0 to Nodes()-1, tenants first.
func (t *Tree) Nodes() int { return len(t.nodes) }

// Name of a node, and whether it is a cohort.
func (t *Tree) Name(n NodeID) (name string, cohort bool) { return t.nodes[n].name, t.nodes[n].cohort }

// Parent is the cohort above, None at a root.
func (t *Tree) Parent(n NodeID) NodeID { return t.nodes[n].parent }

// Root is the top of the node's tree.
func (t *Tree) Root(n NodeID) NodeID {
	for t.nodes[n].parent != None {
		n = t.nodes[n].parent
	}
	return n
}

// Lists reports whether the node's own quota names the flavor, be it with 0 units.
func (t *Tree) Lists(n NodeID, f FlavorID) bool { return t.nodes[n].lists[f] }

// Clone returns an independent copy of what is used and remembered; names and quotas
// are shared.
func (t *Tree) Clone() *Tree {
	c := *t
	c.cells, c.shares, c.lately = slices.Clone(t.cells), slices.Clone(t.shares), slices.Clone(t.lately)
	return &c
}

// String draws the tree: one line a node, indented by depth, with what each
// flavor's dimensions hold.
func (t *Tree) String() string {
	var b []byte
	var draw func(n NodeID)
	draw = func(n NodeID) {
		b = fmt.Appendf(b, "%*s%s", 2*t.nodes[n].depth, "", t.nodes[n].name)
		for d := range t.dims {
			c := t.cell(n, d)
			b = fmt.Appendf(b, " %d/%d", c.usage, c.subtree)
		}
		b = append(b, '\n')
		for i := range t.nodes {
			if t.nodes[i].parent == n {
				draw(NodeID(i))
			}
		}
	}
	for i := range t.nodes {
		if t.nodes[i].parent == None {
			draw(NodeID(i))
		}
	}
	return string(b)
}
