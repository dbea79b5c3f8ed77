package ebbtide

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

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

// A pod for which others would make way in the quota waits for units, and so units wake it.
func TestUnitsWakeWhomOthersWouldMakeWayFor(t *testing.T) {
	for name, tc := range map[string]struct {
		junior int32 // the priority of those that have the quota
		want   fwk.QueueingHint
	}{
		"they are below it":  {-1, fwk.Queue},
		"they are its equal": {0, fwk.QueueSkip},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.tenant("serving", 4)
			n, m := w.node("n", 4, 64), w.node("m", 4, 64)
			for _, on := range []*node{n, m} {
				w.pod("junior-"+on.node.Name, "serving", tc.junior, 2, on)
			}
			foreign := w.pod("foreign-n", "nowhere", 0, 2, n)
			w.pod("foreign-m", "nowhere", 0, 2, m)
			p := w.pod("p", "serving", 0, 4, nil)
			w.refuses(p)
			must(t, w.pods.Delete(foreign))
			if hint, err := w.afterPodDelete(klog.Background(), p, foreign, nil); err != nil || hint != tc.want {
				t.Errorf("units come free: hint = %v, %v; want %v", hint, err, tc.want)
			}
			if hint, err := w.afterNode(klog.Background(), p, nil, offering(n.node, 8)); err != nil || hint != tc.want {
				t.Errorf("a node comes: hint = %v, %v; want %v", hint, err, tc.want)
			}
			must(t, n.RemovePod(klog.Background(), foreign))
			w.refuses(p)
			if promised := p.Status.NominatedNodeName == "n"; promised != (tc.want == fwk.Queue) {
				t.Errorf("a node is promised: %v", promised)
			}
		})
	}
}

func offering(n *corev1.Node, units int64) *corev1.Node {
	n = n.DeepCopy()
	n.Status.Allocatable = corev1.ResourceList{gpu: *resource.NewQuantity(units, resource.DecimalSI)}
	return n
}

// However many there are, a few are woken at a time: each of them looks at every node.
func TestFewAreWokenByUnitsOfThoseInLine(t *testing.T) {
	b, waiting := newBlocked(), 0
	for i := range 3 * wakeAtOnce {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(fmt.Sprint(i))}}
		b.note("serving", p)
		if b.lacksRoom(p.UID); b.has(p.UID) {
			waiting++
		}
	}
	if waiting != 2*wakeAtOnce {
		t.Errorf("%d of %d are woken by quota alone", waiting, 3*wakeAtOnce)
	}
}
