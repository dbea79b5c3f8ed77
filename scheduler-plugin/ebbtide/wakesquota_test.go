package ebbtide

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// twoKinds is a cluster with a node of either flavor, of which serving has quota.
func twoKinds(t *testing.T, h100, a100 int64) (w *world, h, a *node) {
	t.Helper()
	w = newWorld(t)
	q := w.tenant("serving", h100)
	q.Spec.Flavors = append(q.Spec.Flavors, v1alpha1.FlavorQuota{Name: "a100", Resource: gpu, NodeSelector: map[string]string{"gpu": "a100"}, Nominal: a100})
	q.Generation = 1
	must(t, w.quotas.Update(q))
	h, a = w.node("h", 8, 64), w.node("a", 8, 64)
	a.node.Labels["gpu"] = "a100"
	return w, h, a
}

// A pod with quota of one flavor, whose nodes are full, may find units of another as soon as
// there is quota of that.
func TestQuotaOfAnotherFlavorWakes(t *testing.T) {
	w, h, a := twoKinds(t, 8, 2)
	w.pod("foreign", "nowhere", 0, 8, h)
	one, two := w.online("one", 1, a), w.online("two", 1, a)
	p, large := w.online("p", 1, nil), w.online("large", 2, nil)
	w.refuses(p)
	w.refuses(large)
	if w.blocked.has(p.UID) {
		t.Error("the pod is said to wait for quota alone")
	}
	w.woken()
	w.remove(one, a)
	w.wants("one unit of quota comes free", "serving/p")
	w.places(p)
	w.woken()
	w.remove(two, a)
	w.wants("one of the two that it wants")
	w.remove(p, a)
	w.wants("and the other", "serving/large")
	w.places(large)
}

// What comes free while the pod is being looked at is not missed.
func TestQuotaOfAnotherFlavorWakesInTime(t *testing.T) {
	w, h, a := twoKinds(t, 8, 1)
	w.pod("foreign", "nowhere", 0, 8, h)
	one, p := w.online("one", 1, a), w.online("p", 1, nil)
	state := newState()
	if _, s := w.PreFilter(t.Context(), state, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	refused := statuses{"h": w.Filter(t.Context(), state, p, h), "a": w.Filter(t.Context(), state, p, a)}
	w.remove(one, a)
	w.woken()
	w.makeRoom(state, p, refused)
	w.wants("its quota came free before it was in line", "serving/p")
}

// A pod that is placed elsewhere than it was promised leaves what was kept for it to others.
func TestPromisesThatMoveWake(t *testing.T) {
	for name, tc := range map[string]struct {
		quota int64 // of the flavor that was promised
		move  func(w *world, p *corev1.Pod)
	}{
		"units, when it is placed": {8, func(w *world, p *corev1.Pod) { w.reserve(p, "a") }},
		"quota, when it is placed": {2, func(w *world, p *corev1.Pod) { w.reserve(p, "a") }},
		"quota, when another is promised": {2, func(w *world, p *corev1.Pod) {
			_, status := w.promise(w.t.Context(), p, "a")
			must(w.t, status.AsError())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w, h, a := twoKinds(t, tc.quota, 8)
			w.pod("foreign", "nowhere", 0, 6, h)
			w.pod("stranger", "nowhere", 0, 6, a)
			p := w.online("p", 2, nil)
			p.Status.NominatedNodeName = "h"
			w.put(p)
			w.nominated["h"] = append(w.nominated["h"], podInfo{pod: p})
			waits := w.online("waits", 2, nil)
			waits.Spec.NodeSelector = map[string]string{"only": "h"}
			w.refuses(waits)
			w.woken()
			tc.move(w, p)
			delete(w.nominated, "h")
			if got := w.woken(); !slices.Contains(got, "serving/waits") {
				t.Errorf("it is not kept for p any more, and woken is %v", got)
			}
		})
	}
}

// reserve takes the pod through PreFilter and Reserve.
func (w *world) reserve(p *corev1.Pod, node string) *state {
	w.t.Helper()
	s := newState()
	if _, status := w.PreFilter(w.t.Context(), s, p, w.infos()); !status.IsSuccess() {
		w.t.Fatal(status.Message())
	}
	if status := w.Reserve(w.t.Context(), s, p, node); !status.IsSuccess() {
		w.t.Fatal(status.Message())
	}
	return s
}

// Of two loans on quota that is not enough for both the older goes first, unless the other
// has begun; that ends with the place of its last pod.
func TestOlderLoanGoesWhenTheYoungerHasBegunNoMore(t *testing.T) {
	for how, ends := range map[string]func(w *world, p *corev1.Pod, s *state, n *node){
		"lost its place": func(w *world, p *corev1.Pod, s *state, _ *node) { w.Unreserve(w.t.Context(), s, p, "n") },
		"is gone": func(w *world, p *corev1.Pod, _ *state, n *node) {
			old := p.DeepCopy()
			p.Spec.NodeName = "n"
			n.pods = append(n.pods, podInfo{pod: p})
			w.put(p)
			w.onPod(klog.Background()).OnUpdate(old, p)
			w.woken()
			w.remove(p, n)
		},
	} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			n := w.node("n", 16, 64)
			w.tenant("research", 8)
			first := w.loan("a", 1, 8, own("n", 8))
			w.time.Step(1e9)
			second := w.loan("b", 1, 4, own("n", 4))
			younger := w.borrowed(second, "b-0", nil)
			older := w.borrowed(first, "a-0", nil)
			// The younger one began when it was alone.
			must(t, w.loans.Delete(first))
			s := w.reserve(younger, "n")
			must(t, w.loans.Add(first))
			w.refuses(older)
			w.woken()
			ends(w, younger, s, n)
			w.wants("the younger has begun no more", "research/a-0")
			w.places(older)
		})
	}
}
