package ebbtide

import (
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	fwk "k8s.io/kube-scheduler/framework"
)

// gaps are the nodes that offer fewer slices than they have while a change of their cards
// goes on, and from when on that was seen.
type gaps struct {
	mu    sync.Mutex
	since map[string]time.Time
}

func newGaps() *gaps { return &gaps{since: map[string]time.Time{}} }

// see returns from when on the node has offered too few; now, if that is new.
func (g *gaps) see(node string, now time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	since, known := g.since[node]
	if !known {
		since, g.since[node] = now, now
	}
	return since
}

// over notes that the node offers what it has, or that its agent got on with a change: if
// it offers too few then, that is another gap.
func (g *gaps) over(node string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.since, node)
}

// advertised returns the node as its kubelet will show it once the changes of its cards
// are known to it. At the end of each the device plugin starts anew, and until it has, the
// node offers none of its slices, neither those that changed nor the others: those are
// not lost, and nothing has to be taken back for a pod that they are enough for. What the
// agent sees counts then, by the rule that the broker goes by too, but for no longer than
// assumedUndo: a pod waits. It is the very same node where nothing is short, or for too
// long.
func (p *Ebbtide) advertised(info fwk.NodeInfo, now time.Time) fwk.NodeInfo {
	name := info.Node().Name
	n := p.cards.on(name)
	if !n.Fresh(now) || !n.Settling(now) {
		return info
	}
	offers, short := info.GetAllocatable().GetScalarResources(), corev1.ResourceList{}
	for name, units := range n.Offers() {
		if offers[name] < units {
			short[name] = *resource.NewQuantity(units, resource.DecimalSI)
		}
	}
	if len(short) == 0 {
		p.gaps.over(name)
		return info
	}
	if now.After(p.gaps.see(name, now).Add(assumedUndo)) {
		return info
	}
	node := *info.Node()
	node.Status.Allocatable = maps.Clone(node.Status.Allocatable)
	if node.Status.Allocatable == nil {
		node.Status.Allocatable = corev1.ResourceList{}
	}
	maps.Copy(node.Status.Allocatable, short)
	out := info.Snapshot()
	out.SetNode(&node)
	return out
}
