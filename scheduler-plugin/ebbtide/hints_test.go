package ebbtide

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Every kind of event by every kind of pod that the plugin refused.
func TestHints(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 2, 1, lent("n", 2))
	n, other, foreign := w.node("n", 8, 8), w.node("other", 8, 8), w.node("foreign", 8, 8)
	foreign.node.Labels["gpu"] = "a100"
	waits := map[string]*corev1.Pod{
		"on a loan":        w.borrowed(l, "member", nil),
		"lacks room":       w.online("roomless", 1, nil),
		"lacks quota":      w.online("quotaless", 1, nil),
		"has no tenant":    w.pod("lost", "nowhere", 0, 1, nil),
		"asks for nothing": w.pod("idle", "serving", 0, 0, nil),
	}
	replaced := w.borrowed(l, "replaced", n)
	must(t, w.pods.Delete(replaced))
	gone := func(name string, units int64, on *node) *corev1.Pod {
		p := w.online(name, units, on)
		must(t, w.pods.Delete(p))
		return p
	}
	promised := gone("promised", 1, nil)
	promised.Status.NominatedNodeName = "other"
	machine := func(name, product string, units int64) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"gpu": product}},
			Status:     corev1.NodeStatus{Allocatable: corev1.ResourceList{gpu: *resource.NewQuantity(units, resource.DecimalSI)}},
		}
	}
	w.sync()
	w.blocked.note("serving", waits["lacks quota"])
	for name, tc := range map[string]struct {
		pod, node any // the event's object
		want      []string
	}{
		"a pod gave units up":               {pod: gone("x", 1, n), want: []string{"lacks room", "on a loan"}},
		"on a node of no loan":              {pod: gone("z", 1, other), want: []string{"lacks room"}},
		"on a node of no flavor":            {pod: gone("f", 1, foreign)},
		"a promise of a node was withdrawn": {pod: promised, want: []string{"lacks room"}},
		"on a node that nobody says":        {pod: gone("s", 1, nil), want: []string{"lacks room", "on a loan"}},
		"a pod without units is gone":       {pod: gone("y", 0, n)},
		"a sibling is gone":                 {pod: replaced, want: []string{"lacks room", "on a loan"}},
		"a sibling only lost its place":     {pod: w.borrowed(l, "sibling", nil), want: []string{"lacks room"}},
		"an unexpected object is gone":      {pod: &corev1.Node{}, want: []string{"asks for nothing", "has no tenant", "lacks quota", "lacks room", "on a loan"}},
		"the loan's node changed":           {node: machine("n", "h100", 8), want: []string{"asks for nothing", "lacks room", "on a loan"}},
		"another node came":                 {node: machine("m", "h100", 8), want: []string{"asks for nothing", "lacks room"}},
		"a node of no flavor came":          {node: machine("m", "a100", 8), want: []string{"asks for nothing"}},
		"a node without enough units came":  {node: machine("m", "h100", 0), want: []string{"asks for nothing"}},
		"an unexpected object came":         {node: &corev1.Pod{}, want: []string{"asks for nothing", "has no tenant", "lacks quota", "lacks room", "on a loan"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]bool{}
			for kind, p := range waits {
				hint, _ := w.afterPodDelete(klog.Background(), p, tc.pod, nil)
				if tc.node != nil {
					hint, _ = w.afterNode(klog.Background(), p, nil, tc.node)
				}
				if hint == fwk.Queue {
					got[kind] = true
				}
			}
			want := map[string]bool{}
			for _, kind := range tc.want {
				want[kind] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("queued (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHintsAreForTheEventsThatCanHelp(t *testing.T) {
	w := newWorld(t)
	events, err := w.EventsToRegister(t.Context())
	must(t, err)
	got := map[fwk.EventResource]fwk.ActionType{}
	for _, e := range events {
		if e.QueueingHintFn == nil {
			t.Errorf("every %v wakes every pod", e.Event)
		}
		got[e.Event.Resource] |= e.Event.ActionType
	}
	want := map[fwk.EventResource]fwk.ActionType{
		fwk.Pod:  fwk.Delete,
		fwk.Node: fwk.Add | fwk.UpdateNodeAllocatable | fwk.UpdateNodeLabel | fwk.UpdateNodeTaint,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A node that lets more pods in than before may be one that loans can be taken back on.
func TestNodesThatOpenAreWorthATry(t *testing.T) {
	machine := func(cordoned bool, taints ...corev1.Taint) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"gpu": "h100"}},
			Spec:       corev1.NodeSpec{Unschedulable: cordoned, Taints: taints},
			Status:     corev1.NodeStatus{Allocatable: corev1.ResourceList{gpu: *resource.NewQuantity(8, resource.DecimalSI)}},
		}
	}
	hard, other := corev1.Taint{Key: "k", Effect: corev1.TaintEffectNoSchedule}, corev1.Taint{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}
	soft := corev1.Taint{Key: "k", Effect: corev1.TaintEffectPreferNoSchedule}
	for name, tc := range map[string]struct {
		old, now *corev1.Node
		want     fwk.QueueingHint
	}{
		"uncordoned":            {machine(true), machine(false), fwk.Queue},
		"cordoned":              {machine(false), machine(true), fwk.QueueSkip},
		"a taint was taken off": {machine(false, hard), machine(false), fwk.Queue},
		"a taint was put on":    {machine(false), machine(false, hard), fwk.QueueSkip},
		"a taint was changed":   {machine(false, hard), machine(false, other), fwk.Queue},
		"one that only warns":   {machine(false, soft), machine(false), fwk.QueueSkip},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.online("p", 1, nil)
			w.sync()
			if hint, err := w.afterTaint(klog.Background(), p, tc.old, tc.now); err != nil || hint != tc.want {
				t.Errorf("hint = %v, %v; want %v", hint, err, tc.want)
			}
		})
	}
}

// Devices that claims are given are units too, of nodes that come and of agents that tell.
func TestDevicesWake(t *testing.T) {
	w := newWorld(t)
	c := w.card("n", "")
	c.node.node.Labels["gpu"] = "h100"
	c.gn.Status.Allocation = v1alpha1.AllocationDynamicResources
	c.gn.Status.GPUs[0].MIG, c.gn.Status.GPUs[0].Healthy = false, false
	c.tell()
	p := w.online("p", 1, nil)
	w.refuses(p)
	w.woken()
	c.gn.Status.GPUs[0].Healthy = true
	c.tell()
	w.wants("the GPU is well", "serving/p")
	if hint, err := w.afterNode(klog.Background(), p, nil, c.node.node); err != nil || hint != fwk.Queue {
		t.Errorf("its node comes: hint = %v, %v", hint, err)
	}
}

func TestQuotaThatComesFreeWakesTheFirstInLine(t *testing.T) {
	w := newWorld(t)
	w.tenant("serving", 1)
	n := w.node("n", 8, 64)
	holds := w.online("holds", 1, n)
	w.online("later", 1, nil)
	w.sync()
	if _, err := w.account.Tenant("serving"); err != nil { // counts what sync changed
		t.Fatal(err)
	}
	handler := w.onPod(klog.Background())
	first := w.pod("first", "serving", 2000000, 1, nil)
	w.blocked.note("serving", first)
	w.blocked.note("research", w.pod("stranger", "research", 0, 1, nil))
	must(t, w.pods.Delete(holds))
	handler.OnDelete(holds)
	if diff := cmp.Diff([]string{"serving/first"}, w.activated); diff != "" {
		t.Errorf("activated (-want +got):\n%s", diff)
	}
	if w.forget(first.UID); w.blocked.has(first.UID) {
		t.Error("a pod that is gone still waits for quota")
	}
}

func TestSignPod(t *testing.T) {
	w := newWorld(t)
	w.sync()
	sign := func(p *corev1.Pod) any {
		w.sync()
		fragments, s := w.SignPod(t.Context(), p)
		if !s.IsSuccess() || len(fragments) != 1 {
			t.Fatalf("%s: %v %v", p.Name, fragments, s.Message())
		}
		return fragments[0]
	}
	first := sign(w.online("a", 1, nil))
	if diff := cmp.Diff(first, sign(w.online("b", 1, nil))); diff != "" {
		t.Errorf("equal pods differ:\n%s", diff)
	}
	for name, p := range map[string]*corev1.Pod{
		"more units": w.online("c", 2, nil), "another priority": w.pod("d", "serving", 5, 1, nil), "another namespace": w.pod("e", "research", 1000000, 1, nil),
	} {
		if cmp.Equal(first, sign(p)) {
			t.Errorf("%s: the same signature", name)
		}
	}
	if _, s := w.SignPod(t.Context(), w.borrowed(w.loan("l", 1, 1, lent("n", 1)), "f", nil)); s.Code() != fwk.Unschedulable {
		t.Error("a pod on a loan is signed")
	}
	if fragments, s := w.SignPod(t.Context(), w.online("q", 0, nil)); !s.IsSuccess() || len(fragments) != 0 {
		t.Error("a pod without units is not left alone")
	}
}
