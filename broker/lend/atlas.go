package lend

import "slices"

// atlas numbers the nodes of a snapshot by their names. It is kept from decision to
// decision, since nodes seldom come or go.
type atlas struct {
	// names are those of the last snapshot, in its order; numbers says where each is first.
	names   []string
	numbers map[string]int32
	// twice: some nodes have one name. sorted: each comes after those of lower names.
	twice, sorted bool
}

// follow takes over the nodes' names.
func (a *atlas) follow(nodes []Node) {
	if a.same(nodes) {
		return
	}
	a.names, a.numbers = make([]string, len(nodes)), make(map[string]int32, len(nodes))
	for i := range nodes {
		name := nodes[i].Name
		a.names[i] = name
		if _, twice := a.numbers[name]; !twice {
			a.numbers[name] = int32(i)
		}
	}
	a.twice, a.sorted = len(a.numbers) < len(a.names), slices.IsSorted(a.names)
}

func (a *atlas) same(nodes []Node) bool {
	if a.numbers == nil || len(nodes) != len(a.names) {
		return false
	}
	for i := range nodes {
		if nodes[i].Name != a.names[i] {
			return false
		}
	}
	return true
}

// number is that of the i-th node of the snapshot.
func (a *atlas) number(i int) int32 {
	if a.twice {
		return a.numbers[a.names[i]]
	}
	return int32(i)
}

// numbersOf are those of the grants' nodes, -1 for one that is not there.
func (a *atlas) numbersOf(grants []Grant) []int32 {
	out := make([]int32, len(grants))
	for i := range grants {
		n, ok := a.numbers[grants[i].Node]
		if !ok {
			n = -1
		}
		out[i] = n
	}
	return out
}

// are reports whether the numbers are surely those of the grants' nodes.
func (a *atlas) are(numbers []int32, grants []Grant) bool {
	if len(numbers) != len(grants) || a.twice {
		return false
	}
	for i, n := range numbers {
		if n < 0 || int(n) >= len(a.names) || a.names[n] != grants[i].Node {
			return false
		}
	}
	return true
}

// has reports whether the node is in the snapshot.
func (a *atlas) has(node string) bool {
	_, ok := a.numbers[node]
	return ok
}

// silent: the node is not in the snapshot, or does not answer. Of two of one name the last
// counts.
func (d *decision) silent(node string) bool {
	first, ok := d.atlas.numbers[node]
	if !ok {
		return true
	}
	for i := len(d.in.Nodes) - 1; i > int(first); i-- {
		if d.in.Nodes[i].Name == node {
			return d.in.Nodes[i].Silent
		}
	}
	return d.in.Nodes[first].Silent
}
