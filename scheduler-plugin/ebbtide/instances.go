package ebbtide

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	migslices "github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/slices"
)

// cards is what is known of the nodes' slices: what their agents say, and which slices
// this scheduler reserved since it started. What was reserved before, bound pods tell by
// their annotation.
type cards struct {
	boards migslices.Boards

	mu       sync.RWMutex
	nodes    map[string]*migslices.Node
	reserved map[types.UID][]v1alpha1.InstanceRef
	// silent are the nodes whose agents had not been heard lately at the last look.
	silent map[string]bool
}

func newCards() *cards {
	return &cards{nodes: map[string]*migslices.Node{}, reserved: map[types.UID][]v1alpha1.InstanceRef{}, silent: map[string]bool{}}
}

// on returns what the node's agent says; nil if it has none.
func (c *cards) on(node string) *migslices.Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.nodes[node]
}

// set notes what an agent says, as seen at now, and returns what it said before.
func (c *cards) set(n *migslices.Node, now time.Time) *migslices.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.nodes[n.Name]
	n.Hear(old, now)
	c.nodes[n.Name] = n
	return old
}

func (c *cards) drop(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, node)
	delete(c.silent, node)
}

// heardOf notes whether the node's agent speaks, and says whether that is news.
func (c *cards) heardOf(node string, speaks bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := c.silent[node] == speaks
	c.silent[node] = !speaks
	return news
}

// all returns the nodes by name.
func (c *cards) all() []*migslices.Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.SortedFunc(maps.Values(c.nodes), func(a, b *migslices.Node) int { return cmp.Compare(a.Name, b.Name) })
}

func (c *cards) reserve(pod types.UID, refs []v1alpha1.InstanceRef) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved[pod] = refs
}

// release forgets a pod that is gone, or is not to be bound after all.
func (c *cards) release(pod types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.reserved, pod)
}

func (c *cards) reservedFor(pod types.UID) []v1alpha1.InstanceRef {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.reserved[pod]
}

// slicesOn returns the node's slices if they are known one by one; nil where counts are
// all that there is: nobody speaks for the node, or its devices are allocated by others.
func (p *Ebbtide) slicesOn(c *cycle, node string) *migslices.Node {
	n := p.cards.on(node)
	if !n.Fresh(p.clock.Now()) || n.Dynamic {
		return nil
	}
	if len(c.undone) > 0 {
		return n.Undone(c.isUndone)
	}
	return n
}

// isUndone reports whether this dry run undid the reshape.
func (c *cycle) isUndone(id string) bool { return c.undone[id] }

// whyNoSlice says why none of the node's slices is for the cycle's pod; empty if there
// are as many as it asks for, or nobody knows.
func (p *Ebbtide) whyNoSlice(c *cycle, pod *corev1.Pod, info fwk.NodeInfo) string {
	asks := slicesAsked(c.requests)
	if len(asks) == 0 {
		return ""
	}
	if reason := p.whyPinned(c, info); reason != "" {
		return reason
	}
	_, why := p.findSlices(c, pod, info, asks)
	return why
}

// findSlices returns the slices on the node that the cycle's pod is to be given; none,
// and no reason, where nobody knows.
func (p *Ebbtide) findSlices(c *cycle, pod *corev1.Pod, info fwk.NodeInfo, asks []migslices.Ask) ([]v1alpha1.InstanceRef, string) {
	node := info.Node().Name
	n := p.slicesOn(c, node)
	if n == nil {
		return nil, ""
	}
	if why := whyUnsettled(c, n, asks); why != "" {
		return nil, why
	}
	room := p.roomOn(n, pod.UID, info.GetPods())
	return room.Find(pod.UID, p.whoIs(pod, c.loan, node), asks)
}

// whyPinned says why a pod on a loan is kept from the node's slices: so many are pinned
// for services, wherever they are, and the loans there have the rest. That is so whether
// or not the node's agent still speaks. Empty if there is no such reason.
func (p *Ebbtide) whyPinned(c *cycle, info fwk.NodeInfo) string {
	if c.loan == nil {
		return ""
	}
	node, resource := info.Node().Name, corev1.ResourceName(c.loan.Spec.Resource)
	n := p.cards.on(node)
	pinned := n.Pinned(resource)
	if pinned == 0 {
		return ""
	}
	all := info.GetAllocatable().GetScalarResources()[resource]
	if n.Dynamic {
		all = n.Count(resource)
	}
	var lent int64
	for _, units := range p.usedByJob(info, resource) {
		lent += units
	}
	if lent+c.loan.Spec.UnitsPerPod <= all-pinned {
		return ""
	}
	return fmt.Sprintf("%d of the node's %d units of %s are pinned for services, and loans use %d of the others", pinned, all, resource, lent)
}

// roomOn returns who has which of the node's slices, if those pods stand there; the one
// that is to be placed is left out. Of pods that nobody knows the slices of, those that
// are online are reckoned with first.
func (p *Ebbtide) roomOn(n *migslices.Node, except types.UID, infos []fwk.PodInfo) *migslices.Room {
	var there []*corev1.Pod
	var pods []migslices.Pod
	for _, info := range infos {
		pod := info.GetPod()
		if asks := slicesAsked(book.Requests(pod, nil)); len(asks) > 0 && pod.UID != except {
			there = append(there, pod)
			pods = append(pods, migslices.Pod{UID: pod.UID, Namespace: pod.Namespace, Name: pod.Name, Asks: asks, Reserved: p.reservedFor(pod)})
		}
	}
	room, rest := n.Room(pods)
	for _, online := range []bool{true, false} {
		for i, pod := range there {
			if len(rest[i]) > 0 && book.Online(pod) == online {
				room.Guess(pod.UID, p.whoIs(pod, p.book.LoanOf(pod), n.Name), rest[i])
			}
		}
	}
	return room
}

// reservedFor returns the slices that were reserved for the pod. What stands on a pod
// without a node may be anybody's word.
func (p *Ebbtide) reservedFor(pod *corev1.Pod) []v1alpha1.InstanceRef {
	if refs := p.cards.reservedFor(pod.UID); refs != nil || pod.Spec.NodeName == "" {
		return refs
	}
	refs, err := v1alpha1.ParseInstances(pod.Annotations[v1alpha1.AnnotationInstances])
	if err != nil {
		return nil // as good as none
	}
	return refs
}

// whoIs says what a pod may be given on the node; loan is its own, or nil.
func (p *Ebbtide) whoIs(pod *corev1.Pod, loan *v1alpha1.Loan, node string) *migslices.Who {
	who := &migslices.Who{Online: book.Online(pod)}
	if loan == nil {
		who.Pins = who.Online && book.Pins(p.policies, pod.Namespace)
		return who
	}
	who.Loan = &migslices.Loan{JobUID: loan.Spec.Job.UID}
	for _, g := range loan.Keeps() {
		if g.Node == node && g.Lender != "" {
			who.Loan.Lent = append(who.Loan.Lent, migslices.Lending{Lender: g.Lender, Flavor: g.Flavor})
		}
	}
	return who
}

// slicesAsked returns those of the requests that are for slices.
func slicesAsked(requests []book.Request) []migslices.Ask {
	var asks []migslices.Ask
	for _, r := range requests {
		if migslices.Is(r.Resource) {
			asks = append(asks, migslices.Ask{Resource: r.Resource, Units: r.Units})
		}
	}
	return asks
}

// reserveSlices gives the pod its slices on the node, if they are known one by one.
func (p *Ebbtide) reserveSlices(c *cycle, pod *corev1.Pod, node string) *fwk.Status {
	asks := slicesAsked(c.requests)
	if len(asks) == 0 {
		return nil
	}
	info, err := p.handle.SnapshotSharedLister().NodeInfos().Get(node)
	if err != nil {
		return fwk.AsStatus(fmt.Errorf("look at node %s: %w", node, err))
	}
	refs, why := p.findSlices(c, pod, info, asks)
	if why != "" {
		return fwk.NewStatus(fwk.Unschedulable, why)
	}
	if len(refs) > 0 {
		p.cards.reserve(pod.UID, refs)
	}
	return nil
}

// PreBindPreFlight skips pods without a loan that nothing is reserved for one by one, and
// that say so.
func (p *Ebbtide) PreBindPreFlight(_ context.Context, state fwk.CycleState, pod *corev1.Pod, _ string) (*fwk.PreBindPreFlightResult, *fwk.Status) {
	if c, ok := readCycle(state); !ok || c.loan == nil && len(p.cards.reservedFor(pod.UID)) == 0 && p.tells(pod) {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	return nil, nil
}

// pinnedDeletionCost of a pod on pinned slices: pods of its ReplicaSet that are on others
// go first when the service shrinks, so that the pins need not follow those that stay.
const pinnedDeletionCost = "1000"

// PreBind asks the API server whether the pod's loan is still open, if it has one: caches
// are late. Then it writes on the pod which slices it is to get: whoever hands them out on the node
// may go by that, and a scheduler that starts anew does. What somebody else wrote there
// is taken off. A pod that waited for its gang while its slices went, or others that the
// kubelet may take for them, is turned away. One
// that gets pinned slices, and whose owner says nothing of it, is the last to go when its
// service shrinks.
func (p *Ebbtide) PreBind(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, node string) *fwk.Status {
	c, ok := readCycle(state)
	if !ok {
		return nil
	}
	// gofail: var podPreBinding struct{}
	if c.loan != nil {
		if status := p.stillLent(ctx, c.loan, node); !status.IsSuccess() {
			return status
		}
	}
	refs := p.cards.reservedFor(pod.UID)
	n := p.slicesOn(c, node)
	if n != nil && !n.Has(refs) {
		return fwk.NewStatus(fwk.Unschedulable, "slices that were reserved for the pod have gone, or are being made into others")
	}
	if n != nil {
		if why := whyUnsettled(c, n, slicesAsked(c.requests)); why != "" {
			return fwk.NewStatus(fwk.Unschedulable, why)
		}
	}
	if p.tells(pod) {
		return nil
	}
	var value any // null removes it
	if len(refs) > 0 {
		value = v1alpha1.FormatInstances(refs)
	}
	annotations := map[string]any{v1alpha1.AnnotationInstances: value}
	if _, set := pod.Annotations[corev1.PodDeletionCost]; !set && n != nil && n.Keeps(refs) {
		annotations[corev1.PodDeletionCost] = pinnedDeletionCost
	}
	err := p.patch(ctx, pod, types.MergePatchType, map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "annotations": annotations,
	}})
	if err != nil {
		return fwk.AsStatus(fmt.Errorf("write on pod %s which slices are reserved for it: %w", klog.KObj(pod), err))
	}
	return nil
}

// tells reports whether the pod says what is reserved for it.
func (p *Ebbtide) tells(pod *corev1.Pod) bool {
	return pod.Annotations[v1alpha1.AnnotationInstances] == v1alpha1.FormatInstances(p.cards.reservedFor(pod.UID))
}
