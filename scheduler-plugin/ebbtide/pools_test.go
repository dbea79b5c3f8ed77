package ebbtide

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// pooled adds a policy of the Deployment chat: on A10 up to four units, then on T4.
func (w *world) pooled() *v1alpha1.LendingPolicy {
	policy := &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat"},
		Spec: v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"},
			Pools: []v1alpha1.Pool{
				{NodeSelector: map[string]string{"product": "a10"}, Max: ptr.To[int64](4)},
				{NodeSelector: map[string]string{"product": "t4"}},
			},
		},
	}
	must(w.t, w.policyStore.Add(policy))
	return policy
}

// productNode is a node of eight units with so many of them used, each by a pod of its own.
func (w *world) productNode(name, product string, used int64) *node {
	n := w.node(name, 8, 64)
	n.node.Labels["product"] = product
	for i := range used {
		w.online(fmt.Sprint("filler-", name, "-", i), 1, n)
	}
	return n
}

// replica is a pod of a Deployment.
func (w *world) replica(deployment, name string, units int64, on *node) *corev1.Pod {
	p := w.online(deployment+"-"+name, units, on)
	p.Labels = map[string]string{"pod-template-hash": "5c9f"}
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: deployment + "-5c9f", UID: "rs", Controller: ptr.To(true)}}
	w.put(p)
	return p
}

func (w *world) displace(on string, units int64) { w.loan("on-"+on, 1, units, lent(on, units)) }

func TestPools(t *testing.T) {
	// Packing alone puts a pod on "other" first, which has the fewest units left, and
	// on "a10" last.
	packed := map[string]int64{"other": 100, "t4": 50, "a10": 0}
	inOrder := map[string]int64{"a10": 100, "t4": mostDisplacing, "other": 0}
	for name, c := range map[string]struct {
		change func(*world, *v1alpha1.LendingPolicy)
		pod    func(*world) *corev1.Pod
		want   map[string]int64
	}{
		"in order": {want: inOrder},
		"the first is full": {
			change: func(w *world, _ *v1alpha1.LendingPolicy) { w.replica("chat", "0", 4, w.nodes[0]) },
			want:   map[string]int64{"t4": 100, "a10": mostDisplacing, "other": 0},
		},
		"the first has one unit left": {
			change: func(w *world, _ *v1alpha1.LendingPolicy) { w.replica("chat", "0", 3, w.nodes[0]) },
			want:   inOrder,
		},
		"pods of others do not count": {
			change: func(w *world, _ *v1alpha1.LendingPolicy) {
				w.replica("code", "0", 2, w.nodes[0])
				w.online("alone", 3, w.nodes[0])
			},
			want: inOrder,
		},
		"pods that go do not count": {
			change: func(w *world, _ *v1alpha1.LendingPolicy) {
				p := w.replica("chat", "0", 4, w.nodes[0])
				p.DeletionTimestamp = ptr.To(metav1.NewTime(epoch))
			},
			want: inOrder,
		},
		"all are full": {
			change: func(w *world, p *v1alpha1.LendingPolicy) {
				p.Spec.Pools[1].Max = ptr.To[int64](1)
				w.replica("chat", "0", 4, w.nodes[0])
				w.replica("chat", "1", 1, w.nodes[1])
			},
			want: inOrder,
		},
		"the first is no node's": {
			change: func(_ *world, p *v1alpha1.LendingPolicy) { p.Spec.Pools[0].NodeSelector["product"] = "b200" },
			want:   map[string]int64{"t4": 100, "other": mostDisplacing, "a10": 0},
		},
		"a loan would lose": {
			change: func(w *world, _ *v1alpha1.LendingPolicy) { w.displace("a10", 8) },
			want:   map[string]int64{"t4": 100, "other": mostLater, "a10": mostDisplacing},
		},
		"loans would lose everywhere but in no pool": {
			change: func(w *world, _ *v1alpha1.LendingPolicy) { w.displace("a10", 8); w.displace("t4", 6) },
			// The dearer loan is in the pool that is preferred.
			want: map[string]int64{"other": 100, "t4": mostDisplacing, "a10": 0},
		},
		"packed within a pool": {
			change: func(w *world, _ *v1alpha1.LendingPolicy) { w.productNode("a10-fuller", "a10", 3) },
			want:   map[string]int64{"a10-fuller": 100, "a10": leastSparing, "t4": mostDisplacing, "other": 0},
		},
		"a pod of the target itself": {
			change: func(_ *world, p *v1alpha1.LendingPolicy) {
				p.Spec.TargetRef = v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "chat"}
			},
			pod: func(w *world) *corev1.Pod {
				p := w.online("chat-0", 1, nil)
				p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "chat", Controller: ptr.To(true)}}
				return p
			},
			want: inOrder,
		},

		"no pools":              {change: func(_ *world, p *v1alpha1.LendingPolicy) { p.Spec.Pools = nil }, want: packed},
		"mode Advise":           {change: func(_ *world, p *v1alpha1.LendingPolicy) { p.Spec.Mode = v1alpha1.ModeAdvise }, want: packed},
		"another target":        {change: func(_ *world, p *v1alpha1.LendingPolicy) { p.Spec.TargetRef.Name = "code" }, want: packed},
		"another kind":          {change: func(_ *world, p *v1alpha1.LendingPolicy) { p.Spec.TargetRef.Kind = "Rollout" }, want: packed},
		"another group":         {change: func(_ *world, p *v1alpha1.LendingPolicy) { p.Spec.TargetRef.APIVersion = "example.com/v1" }, want: packed},
		"another namespace":     {change: func(_ *world, p *v1alpha1.LendingPolicy) { p.Namespace = "research" }, want: packed},
		"policies are not read": {change: func(w *world, _ *v1alpha1.LendingPolicy) { w.policies = nil }, want: packed},
		"another index": {change: func(w *world, _ *v1alpha1.LendingPolicy) {
			w.policies = cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)
		}, want: packed},
		"a pod alone": {pod: func(w *world) *corev1.Pod { return w.online("p", 1, nil) }, want: packed},
		"a pod without a hash": {
			pod: func(w *world) *corev1.Pod {
				p := w.replica("chat", "p", 1, nil)
				p.Labels = nil
				return p
			},
			want: packed,
		},
		"below online": {
			pod: func(w *world) *corev1.Pod {
				p := w.replica("chat", "p", 1, nil)
				p.Spec.Priority = ptr.To(v1alpha1.PriorityOnline - 1)
				return p
			},
			want: packed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.productNode("a10", "a10", 0)
			w.productNode("t4", "t4", 2)
			w.productNode("other", "h100", 4)
			policy := w.pooled()
			if c.change != nil {
				must(t, w.policyStore.Delete(policy))
				c.change(w, policy)
				must(t, w.policyStore.Add(policy))
			}
			if c.pod == nil {
				c.pod = func(w *world) *corev1.Pod { return w.replica("chat", "p", 1, nil) }
			}
			if diff := cmp.Diff(c.want, w.rankOf(c.pod(w))); diff != "" {
				t.Errorf("scores (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPoolsByName: of several policies on one target the first by name counts, whatever
// the order they came in.
func TestPoolsByName(t *testing.T) {
	for range 20 {
		w := newWorld(t)
		w.productNode("a10", "a10", 0)
		w.productNode("t4", "t4", 2)
		policy := w.pooled()
		for i := range 5 {
			other := policy.DeepCopy()
			other.Name = fmt.Sprint("chat-", i)
			other.Spec.Pools = other.Spec.Pools[1:]
			must(t, w.policyStore.Add(other))
		}
		if got := w.rankOf(w.replica("chat", "p", 1, nil)); got["a10"] != fwk.MaxScore {
			t.Fatalf("scores %v", got)
		}
	}
}

// BenchmarkPreScoreInPools is what a service with pools costs with 1,000 nodes and
// 5,000 pods.
func BenchmarkPreScoreInPools(b *testing.B) {
	w, _ := town(b)
	w.pooled()
	for i, n := range w.nodes {
		n.node.Labels["product"] = []string{"a10", "t4"}[i%2]
	}
	p := w.replica("chat", "p", 1, nil)
	w.sync()
	state := newState()
	if _, s := w.Ebbtide.PreFilter(b.Context(), state, p, nil); !s.IsSuccess() {
		b.Fatal(s.Message())
	}
	for b.Loop() {
		w.PreScore(b.Context(), state, p, nil)
	}
}
