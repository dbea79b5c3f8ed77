package quota

import (
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

// Quota is what a node was promised of one flavor. A nil limit is no limit.
type Quota struct {
	Flavor         string
	Nominal        Amount
	BorrowingLimit *Amount
	LendingLimit   *Amount
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

// Flavor finds a flavor that is described, has slices, or is named by a quota.
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
