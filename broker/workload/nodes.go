package workload

import (
	"io"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
	"github.com/ebbtide/ebbtide/broker/workload/recorded"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// ReadNodes reads nodes, by name. name is the file's, for errors.
func ReadNodes(name string, r io.Reader) ([]sim.Node, error) {
	f, err := rows.Open(name, r)
	if err != nil {
		return nil, err
	}
	switch format := formatOf(f); format {
	case CSV:
		return plainNodes(f)
	case OpenbNodes:
		machines, err := recorded.Machines(f)
		if err != nil {
			return nil, err
		}
		return recorded.Nodes(machines), nil
	default:
		return nil, other(f, format, "nodes", "columns name, gpus", string(OpenbNodes))
	}
}

// plainNodes reads name,gpus with flavor and home; a node of several flavors has a row of each.
func plainNodes(f *rows.File) ([]sim.Node, error) {
	if err := f.Expect([]string{"name", "gpus"}, []string{"flavor", "home"}); err != nil {
		return nil, err
	}
	index := map[string]int{}
	var nodes []sim.Node
	err := f.Each(func(r *rows.Row) {
		name, home := r.Named("name"), strings.Clone(r.Text("home"))
		units := sim.NodeUnits{Flavor: gang.DefaultFlavor, Count: r.Count("gpus", 0)}
		if r.Has("flavor") {
			units.Flavor = r.Named("flavor")
		}
		i, known := index[name]
		if !known {
			i = len(nodes)
			index[name], nodes = i, append(nodes, sim.Node{Name: name, Home: home})
		}
		n := &nodes[i]
		if slices.ContainsFunc(n.Units, func(u sim.NodeUnits) bool { return u.Flavor == units.Flavor }) {
			r.Fail("name", "a node that no row before has in this flavor")
		}
		if n.Home != home {
			r.Fail("home", "that of the node's row before")
		}
		n.Units = append(n.Units, units)
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(nodes, func(a, b sim.Node) int { return strings.Compare(a.Name, b.Name) })
	for _, n := range nodes {
		slices.SortFunc(n.Units, func(a, b sim.NodeUnits) int { return strings.Compare(a.Flavor, b.Flavor) })
	}
	return nodes, nil
}
