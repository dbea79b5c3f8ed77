package ebbtide

import (
	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// pools are those of one online pod's service, for one cycle.
type pools struct {
	of []v1alpha1.Pool
	// later is how many pools come before each; the last is of nodes in no pool.
	later []int64
}

// poolsOf returns the pools of the online pod's service; nil if it has none, or they
// cannot be read. What the service uses of each includes pods that are not bound yet.
func (p *Ebbtide) poolsOf(pod *corev1.Pod, c *cycle) *pools {
	if c.priority < v1alpha1.PriorityOnline {
		return nil
	}
	target := book.TargetOf(pod)
	of := book.PoolsOf(p.policies, pod.Namespace, target)
	if len(of) == 0 {
		return nil
	}
	nodes, err := p.handle.SnapshotSharedLister().NodeInfos().List()
	if err != nil {
		return nil
	}
	used := make([]int64, len(of)+1)
	resources := p.account.Resources()
	for _, info := range nodes {
		in := poolAt(of, info.Node())
		if in == len(of) {
			continue
		}
		for _, other := range info.GetPods() {
			if q := other.GetPod(); q.Namespace == pod.Namespace && q.DeletionTimestamp == nil && book.TargetOf(q) == target {
				used[in] += allUnits(book.Requests(q, resources))
			}
		}
	}
	return &pools{of: of, later: order(of, used)}
}

func allUnits(requests []book.Request) int64 {
	var sum int64
	for _, r := range requests {
		sum += r.Units
	}
	return sum
}

// order says how many pools come before each: those first that have less than their
// max in use, each kind in the policy's order. Nodes in no pool come last.
func order(of []v1alpha1.Pool, used []int64) []int64 {
	later := make([]int64, len(of)+1)
	var next int64
	for _, full := range []bool{false, true} {
		for i := range of {
			if isFull := of[i].Max != nil && used[i] >= *of[i].Max; isFull == full {
				later[i] = next
				next++
			}
		}
	}
	later[len(of)] = next
	return later
}

// poolAt is the first pool that the node is in; the number of pools if it is in none.
func poolAt(of []v1alpha1.Pool, node *corev1.Node) int {
	for i := range of {
		if node != nil && has(node.Labels, of[i].NodeSelector) {
			return i
		}
	}
	return len(of)
}

func has(labels, selector map[string]string) bool {
	for key, value := range selector {
		if got, found := labels[key]; !found || got != value {
			return false
		}
	}
	return true
}

// at is how many pools come before that of the node.
func (s *pools) at(info fwk.NodeInfo) int64 {
	if s == nil {
		return 0
	}
	return s.later[poolAt(s.of, info.Node())]
}
