package ebbtide

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// town is 1,000 nodes of 8 units and 5,000 pods of one unit that run.
func town(b *testing.B) (*world, *corev1.Pod) {
	b.Helper()
	w := newWorld(b)
	w.tenant("serving", 8000)
	for i := range 1000 {
		n := w.node(fmt.Sprintf("node-%04d", i), 8, 64)
		for k := range 5 {
			w.online(fmt.Sprintf("pod-%d-%d", i, k), 1, n)
		}
	}
	w.sync()
	return w, w.online("p", 1, nil)
}

// still is a node that answers at once, as the scheduler's do.
type still struct {
	*node
	free, requested fwk.Resource
}

func (s *still) GetAllocatable() fwk.Resource { return s.free }
func (s *still) GetRequested() fwk.Resource   { return s.requested }

// scalars is a resource that only has GPUs.
type scalars struct {
	fwk.Resource
	m map[corev1.ResourceName]int64
}

func (s *scalars) GetScalarResources() map[corev1.ResourceName]int64 { return s.m }

func freeze(n *node) *still {
	return &still{n, &scalars{m: n.allocatable}, &scalars{m: map[corev1.ResourceName]int64{gpu: 5}}}
}

// BenchmarkPod is one pod's way through PreFilter, and Filter and Score on 1,000
// nodes, on one goroutine.
func BenchmarkPod(b *testing.B) {
	w, p := town(b)
	infos, scores := w.infos(), make(fwk.NodeScoreList, len(w.nodes))
	for i, n := range w.nodes {
		infos[i] = freeze(n)
	}
	for b.Loop() {
		state := newState()
		if _, s := w.Ebbtide.PreFilter(b.Context(), state, p, infos); !s.IsSuccess() {
			b.Fatal(s.Message())
		}
		w.PreScore(b.Context(), state, p, infos)
		for i, n := range infos {
			if s := w.Filter(b.Context(), state, p, n); !s.IsSuccess() {
				b.Fatal(s.Message())
			}
			scores[i].Score, _ = w.Score(b.Context(), state, p, n)
		}
		w.NormalizeScore(b.Context(), state, p, scores)
	}
}

func BenchmarkPreEnqueue(b *testing.B) {
	w, p := town(b)
	for b.Loop() {
		if s := w.Ebbtide.PreEnqueue(b.Context(), p); s != nil {
			b.Fatal(s.Message())
		}
	}
}

func BenchmarkPreFilter(b *testing.B) {
	w, p := town(b)
	for b.Loop() {
		if _, s := w.Ebbtide.PreFilter(b.Context(), newState(), p, nil); !s.IsSuccess() {
			b.Fatal(s.Message())
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	w, p := town(b)
	state, n := newState(), freeze(w.nodes[0])
	if _, s := w.Ebbtide.PreFilter(b.Context(), state, p, nil); !s.IsSuccess() {
		b.Fatal(s.Message())
	}
	for b.Loop() {
		if s := w.Filter(b.Context(), state, p, n); !s.IsSuccess() {
			b.Fatal(s.Message())
		}
	}
}

func BenchmarkReservePermitAndBack(b *testing.B) {
	w, p := town(b)
	state := newState()
	if _, s := w.Ebbtide.PreFilter(b.Context(), state, p, nil); !s.IsSuccess() {
		b.Fatal(s.Message())
	}
	for b.Loop() {
		w.Reserve(b.Context(), state, p, "node-0000")
		w.Permit(b.Context(), state, p, "node-0000")
		w.Unreserve(b.Context(), state, p, "node-0000")
	}
}

// BenchmarkPodEvent is what the informer's word of one bound pod costs.
func BenchmarkPodEvent(b *testing.B) {
	w, p := town(b)
	bound := p.DeepCopy()
	bound.Spec.NodeName = "node-0000"
	for b.Loop() {
		w.account.SetPod(p, bound)
		w.account.DropPod(p.UID)
	}
}

// BenchmarkFilterOnALoan is the same for a pod of a loan, on a node with three.
func BenchmarkFilterOnALoan(b *testing.B) {
	w := newWorld(b)
	n := w.node("n", 8, 64)
	var last *v1alpha1.Loan
	for i := range 3 {
		last = w.fill(w.loan(fmt.Sprint("a", i), 2, 1, lent("n", 2)), n)
	}
	n.pods = n.pods[:5]
	state, p := newState(), w.borrowed(last, "p", nil)
	w.sync()
	if _, s := w.Ebbtide.PreFilter(b.Context(), state, p, nil); !s.IsSuccess() {
		b.Fatal(s.Message())
	}
	for b.Loop() {
		if s := w.Filter(b.Context(), state, p, n); !s.IsSuccess() {
			b.Fatal(s.Message())
		}
	}
}

// BenchmarkRefusal is what a pod beyond its tenant's quota costs, PostFilter
// included, when 5,000 pods of the tenant run and none may make way.
func BenchmarkRefusal(b *testing.B) {
	w, p := town(b)
	w.tenant("serving", 5000)
	w.sync()
	for b.Loop() {
		state := newState()
		if _, s := w.Ebbtide.PreFilter(b.Context(), state, p, nil); s.IsSuccess() {
			b.Fatal("the pod is let in")
		}
		if result, _ := w.PostFilter(b.Context(), state, p, statuses{}); result.NominatedNodeName != "" {
			b.Fatal("somebody makes way")
		}
	}
}

// BenchmarkSlice is one pod's way through PreFilter, and Filter and Score on 100 nodes of
// eight cards in sevenths, half of whose slices are held.
func BenchmarkSlice(b *testing.B) {
	w := newWorld(b).sliced()
	q := w.tenant("serving", 0)
	q.Spec.Flavors = []v1alpha1.FlavorQuota{{Name: "a100-1g", Resource: oneG, Nominal: 10000}}
	must(b, w.quotas.Update(q))
	for i := range 100 {
		c := w.card(fmt.Sprintf("node-%03d", i), sevenths)
		one := c.gn.Status.GPUs[0]
		c.gn.Status.GPUs, c.allocatable[oneG] = nil, 56
		for g := range 8 {
			gpu := *one.DeepCopy()
			gpu.UUID = fmt.Sprintf("%s-%d", one.UUID, g)
			for k := range 4 {
				p := w.replicaOn(fmt.Sprintf("pod-%d-%d-%d", i, g, k), c.node)
				gpu.Instances[k].Holder = &v1alpha1.GPUHolder{Namespace: p.Namespace, Name: p.Name, UID: p.UID}
			}
			c.gn.Status.GPUs = append(c.gn.Status.GPUs, gpu)
		}
		c.tell()
	}
	w.sync()
	p, infos := w.replicaOn("p", nil), w.infos()
	b.ResetTimer()
	for b.Loop() {
		state := newState()
		if _, s := w.Ebbtide.PreFilter(b.Context(), state, p, infos); !s.IsSuccess() {
			b.Fatal(s.Message())
		}
		w.PreScore(b.Context(), state, p, infos)
		for _, n := range infos {
			if s := w.Filter(b.Context(), state, p, n); !s.IsSuccess() {
				b.Fatal(s.Message())
			}
			w.Score(b.Context(), state, p, n)
		}
	}
}
