package ebbtide

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// fewNodes is up to how many nodes the framework runs every filter on every node
// whatever it is told. There each node says for itself why it refuses a pod.
const fewNodes = 100

// withRoom returns the names of the nodes on which enough of everything that is
// requested is free. On a large cluster that is packed full, those are few, and the
// framework then does not spend its round on the others. It reads the snapshot that
// the filters read, so it leaves out no node that they would let pass.
//
// Nil means all nodes: there are few anyway, or most have room, or none has, and
// then each says its own reason.
func (p *Ebbtide) withRoom(nodes []fwk.NodeInfo, requests []book.Request) sets.Set[string] {
	if len(nodes) <= fewNodes {
		return nil
	}
	roomy := make([]fwk.NodeInfo, 0, len(nodes))
	for _, info := range nodes {
		if !p.full(info, requests) {
			roomy = append(roomy, info)
		}
	}
	if len(roomy) == 0 || len(roomy) == len(nodes) {
		return nil
	}
	names := make(sets.Set[string], len(roomy))
	for _, info := range roomy {
		names.Insert(info.Node().Name)
	}
	return names
}

// full reports whether the node lacks any of the requests.
func (p *Ebbtide) full(info fwk.NodeInfo, requests []book.Request) bool {
	for _, r := range requests {
		if p.lacks(info, r) {
			return true
		}
	}
	return false
}

// lacks reports whether the node has the resource and too little of it is free. Of a
// node that does not say, NodeResourcesFit knows more.
func (p *Ebbtide) lacks(info fwk.NodeInfo, r book.Request) bool {
	all, offered := p.unitsOf(info, r.Resource)
	return offered && all-heldUnits(info, r.Resource) < r.Units
}

// freeUnits returns what no pod holds; negative when the node lost units.
func (p *Ebbtide) freeUnits(info fwk.NodeInfo, resource corev1.ResourceName) int64 {
	all, _ := p.unitsOf(info, resource)
	return all - heldUnits(info, resource)
}

// heldUnits returns what the pods on the node ask for, and what they claim: of that,
// NodeInfo knows nothing.
func heldUnits(info fwk.NodeInfo, resource corev1.ResourceName) int64 {
	held := info.GetRequested().GetScalarResources()[resource]
	for _, pod := range info.GetPods() {
		if spec := &pod.GetPod().Spec; len(spec.ResourceClaims) > 0 {
			held += v1alpha1.ClaimedUnits(spec, resource)
		}
	}
	return held
}

// unitsOf returns how many units of the resource the node has, and whether anybody says:
// its kubelet or, where they are devices that claims are given, its agent.
func (p *Ebbtide) unitsOf(info fwk.NodeInfo, resource corev1.ResourceName) (units int64, offered bool) {
	units, offered = info.GetAllocatable().GetScalarResources()[resource]
	if units > 0 {
		return units, offered
	}
	if devices := p.cards.on(info.Node().Name).Devices(); devices != nil {
		if n, known := devices[resource]; known {
			return n, true
		}
	}
	return units, offered
}

// counted returns the node as if a device plugin offered the devices that claims are
// given there. A dry run on it goes by counts: a claim of a pod that was taken off is
// still allocated as far as the allocator knows, so that nothing ever came free for it.
func (p *Ebbtide) counted(info fwk.NodeInfo) fwk.NodeInfo {
	devices := p.cards.on(info.Node().Name).Devices()
	if len(devices) == 0 {
		return info
	}
	node := *info.Node()
	node.Status.Allocatable = corev1.ResourceList{}
	maps.Copy(node.Status.Allocatable, info.Node().Status.Allocatable)
	for name, n := range devices {
		if has := node.Status.Allocatable[name]; has.IsZero() && n > 0 {
			node.Status.Allocatable[name] = *resource.NewQuantity(n, resource.DecimalSI)
		}
	}
	out := info.Snapshot()
	out.SetNode(&node)
	return out
}

// leftOut reports whether the filters were not run on the node because it is full.
func (c *cycle) leftOut(node string) bool { return c.roomy != nil && !c.roomy.Has(node) }

// resolvable returns the nodes that would do for the cycle's pod if fewer pods were
// on them, as far as the filters told: those that were left out because they are
// full are among them.
func (p *Ebbtide) resolvable(c *cycle, statuses fwk.NodeToStatusReader) ([]fwk.NodeInfo, error) {
	lister := p.handle.SnapshotSharedLister().NodeInfos()
	nodes, err := statuses.NodesForStatusCode(lister, fwk.Unschedulable)
	if err != nil || c.roomy == nil {
		return nodes, err
	}
	all, err := lister.List()
	for _, info := range all {
		if c.leftOut(info.Node().Name) {
			nodes = append(nodes, info)
		}
	}
	return nodes, err
}

// tellFull adds to the status how many nodes were left out: of those the framework
// only knows that the plugin did not name them.
func (p *Ebbtide) tellFull(c *cycle, status *fwk.Status) *fwk.Status {
	all, err := p.handle.SnapshotSharedLister().NodeInfos().List()
	if err != nil || c.roomy == nil || status.IsSuccess() {
		return status
	}
	status.AppendReason(fmt.Sprintf("on %d of %d nodes fewer than %s are free", len(all)-len(c.roomy), len(all), describe(c.requests)))
	return status
}
