package past

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// nodes are those that had GPUs at any time, with the most that each had.
func (a *asker) nodes(ctx context.Context) ([]sim.Node, error) {
	units, days := map[spot]int64{}, map[string]map[int]bool{}
	last := 0
	query := fmt.Sprintf(`max by (node, resource) (max_over_time(kube_node_status_allocatable{resource=~"%s"}[%%s]))`, gpuResources)
	err := a.days(ctx, "nodes", query, func(day int, labels map[string]string, value float64) {
		at := spot{labels["node"], labels["resource"]}
		if value < 1 || value > most || at.node == "" {
			return
		}
		units[at] = max(units[at], int64(value))
		if days[at.node] == nil {
			days[at.node] = map[int]bool{}
		}
		days[at.node][day], last = true, max(last, day)
	})
	if err != nil {
		return nil, err
	}
	if len(units) == 0 {
		return nil, errors.New("asking Prometheus about nodes: it has no kube_node_status_allocatable of GPUs in the window: kube-state-metrics must be read by it")
	}
	labels, err := a.labels(ctx)
	if err != nil {
		return nil, err
	}
	a.flavors = map[spot]string{}
	sums := map[string]map[string]int64{} // by node and flavor
	for at, n := range units {
		flavor := a.window.flavor(at.resource, labels[at.node])
		a.flavors[at] = flavor
		if sums[at.node] == nil {
			sums[at.node] = map[string]int64{}
		}
		sums[at.node][flavor] += n
	}
	for _, seen := range days {
		if len(seen) < last+1 {
			a.notes.Count("nodes that were not there every day, counted as if they always were")
		}
	}
	return nodesOf(sums), nil
}

// most is more GPUs than a node has.
const most = 1_000_000

func nodesOf(sums map[string]map[string]int64) []sim.Node {
	var nodes []sim.Node
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		n := sim.Node{Name: name}
		for flavor, count := range sums[name] {
			n.Units = append(n.Units, sim.NodeUnits{Flavor: flavor, Count: count})
		}
		slices.SortFunc(n.Units, func(x, y sim.NodeUnits) int { return strings.Compare(x.Flavor, y.Flavor) })
		nodes = append(nodes, n)
	}
	return nodes
}

// labels of the nodes, as far as kube-state-metrics was told to give them.
func (a *asker) labels(ctx context.Context) (map[string]map[string]string, error) {
	names := map[string]bool{productLabel: true}
	for _, f := range a.window.Flavors {
		for label := range f.NodeSelector {
			names[labelName(label)] = true
		}
	}
	found := map[string]map[string]string{}
	query := fmt.Sprintf("max by (node, %s) (max_over_time(kube_node_labels[%%s]))", strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	err := a.days(ctx, "the labels of nodes", query, func(_ int, labels map[string]string, _ float64) {
		if found[labels["node"]] == nil {
			found[labels["node"]] = labels
		} else {
			maps.Copy(found[labels["node"]], labels)
		}
	})
	if err != nil {
		return nil, err
	}
	told := false
	for _, labels := range found {
		told = told || len(labels) > 1
	}
	if !told {
		a.notes.Say("the labels of nodes are not known (kube_node_labels), so that GPUs of different products may count as one flavor: start kube-state-metrics with --metric-labels-allowlist=nodes=[nvidia.com/gpu.product]")
	}
	return found, nil
}
