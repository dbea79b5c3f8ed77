package ebbtide

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	migslices "github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/slices"
)

// What a pod may be given: pinned slices if it is online and of a service that pins some;
// what was made on the node if its loan has a lender for it there.
func TestWhoIs(t *testing.T) {
	w := newWorld(t).sliced()
	w.pinsIn("serving", 3)
	l := w.bigLoan("big", w.nightCard("n", "r", v1alpha1.ReshapeMade))
	l.Spec.Grants = []v1alpha1.Grant{
		{Lender: "serving/chat", Node: "n", Flavor: "a100-4g", Count: 1},
		{Lender: "serving/code", Node: "o", Flavor: "a100-4g", Count: 1},
		{Node: "n", Flavor: "a100-1g", Count: 1}, // its own quota
	}
	loan := &migslices.Loan{JobUID: l.Spec.Job.UID, Lent: []migslices.Lending{{Lender: "serving/chat", Flavor: "a100-4g"}}}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		loan *v1alpha1.Loan
		want migslices.Who
	}{
		"online":                       {w.replicaOn("a", nil), nil, migslices.Who{Online: true, Pins: true}},
		"below online":                 {w.slices("b", "serving", 5, oneG, 1, nil), nil, migslices.Who{}},
		"online, of those that do not": {w.slices("c", "research", v1alpha1.PriorityOnline, oneG, 1, nil), nil, migslices.Who{Online: true}},
		"on a loan":                    {w.workerOn(l, "d", nil), l, migslices.Who{Loan: loan}},
	} {
		if diff := cmp.Diff(&tc.want, w.whoIs(tc.pod, tc.loan, "n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Of pods on a node of which nobody knows which slices they have, the online ones are
// reckoned with first, and the one that is to be placed not at all.
func TestGuesses(t *testing.T) {
	w := newWorld(t).sliced()
	w.pinsIn("serving", 3)
	n := w.card("n", "1g.5gb@4 1g.5gb@5").pin("1g.5gb@4")
	w.slices("below", "serving", 5, oneG, 1, n.node)
	w.replicaOn("online", n.node)
	p := w.replicaOn("p", n.node)
	w.sync()
	node := w.cards.on("n")
	if open := w.roomOn(node, p.UID, n.GetPods()).Open(); open != w.roomOn(node, "", n.GetPods()).Open() {
		t.Errorf("both slices are taken, and %d are open", open)
	}
	find := func(without *corev1.Pod) string {
		room := w.roomOn(node, without.UID, n.GetPods()[:2])
		refs, _ := room.Find("x", &migslices.Who{Online: true, Pins: true}, []migslices.Ask{{Resource: oneG, Units: 1}})
		return placesOf(v1alpha1.FormatInstances(refs))
	}
	if got := find(p); got != "" {
		t.Errorf("two pods are on two slices, and another gets %q", got)
	}
	if got := find(n.GetPods()[1].GetPod()); got != "1g@4#1" {
		t.Errorf("beside the one below the online pod gets %q", got)
	}
	if got := find(n.GetPods()[0].GetPod()); got != "1g@5#1" {
		t.Errorf("beside the online one another gets %q", got)
	}
}

// Binding is left alone only where nothing is reserved and the pod says nothing either.
func TestPreBindPreFlight(t *testing.T) {
	refs := []v1alpha1.InstanceRef{{GPU: "GPU-n", Profile: "1g.5gb", Start: 6, Generation: 1}}
	for name, tc := range map[string]struct {
		reserved []v1alpha1.InstanceRef
		says     string
		skips    bool
	}{
		"neither":                  {skips: true},
		"reserved":                 {reserved: refs},
		"reserved, and it says so": {reserved: refs, says: v1alpha1.FormatInstances(refs)},
		"says so by itself":        {says: v1alpha1.FormatInstances(refs)},
	} {
		w := newWorld(t).sliced()
		w.card("n", sevenths)
		p, ctx, state := w.replicaOn("p", nil), t.Context(), newState()
		if tc.says != "" {
			p.Annotations = map[string]string{v1alpha1.AnnotationInstances: tc.says}
		}
		if _, s := w.PreFilter(ctx, state, p, w.infos()); !s.IsSuccess() {
			t.Fatal(s.Message())
		}
		if tc.reserved != nil {
			w.cards.reserve(p.UID, tc.reserved)
		}
		if _, s := w.PreBindPreFlight(ctx, state, p, "n"); (s.Code() == fwk.Skip) != tc.skips {
			t.Errorf("%s: %v", name, s.Code())
		}
		if _, s := w.PreBindPreFlight(ctx, newState(), p, "n"); s.Code() != fwk.Skip {
			t.Errorf("%s, in no cycle of the plugin's: %v", name, s.Code())
		}
	}
}

// A pod waits for its gang while its slice goes and the change is settled.
func TestReservedSlicesAreGone(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths)
	p, ctx, state := w.replicaOn("p", nil), t.Context(), newState()
	if _, s := w.PreFilter(ctx, state, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	if s := w.Reserve(ctx, state, p, "n"); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	n.cut("1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3 3g.20gb@4")
	n.reshape("r", v1alpha1.ReshapeMade, "1g.5gb@4 1g.5gb@5 1g.5gb@6", "3g.20gb@4")
	if s := w.PreBind(ctx, state, p, "n"); s.Code() != fwk.Unschedulable {
		t.Errorf("PreBind says %v %q", s.Code(), s.Message())
	}
	// What nobody knows any more is as it was promised.
	w.time.Step(v1alpha1.SilentAfter + 1)
	if s := w.PreBind(ctx, state, p, "n"); !s.IsSuccess() {
		t.Errorf("PreBind says %v %q of a node whose agent is silent", s.Code(), s.Message())
	}
}

// Where a node has no agent any more, counts are all that there is.
func TestAgentIsGone(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths)
	w.onGPUNode(klog.Background()).OnDelete(n.gn)
	if got := w.bind(w.replicaOn("p", nil)); got != "" {
		t.Errorf("the pod gets %q", got)
	}
}

// On a node whose devices are allocated by claims, pins are kept of what its agent says.
func TestPinnedAmongClaims(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths).pin("1g.5gb@4 1g.5gb@5 1g.5gb@6")
	n.gn.Status.Allocation = v1alpha1.AllocationDynamicResources
	n.allocatable = map[corev1.ResourceName]int64{gpu0: 0, corev1.ResourceCPU: 64, oneG: 0}
	n.tell()
	l := w.sliceLoan("small", oneG, "a100-1g", 5, "n")
	for i := range 4 {
		if why := w.whyPinned(&cycle{loan: l}, n.node); why != "" {
			t.Errorf("beside %d pods another has to keep off: %s", i, why)
		}
		w.workerOn(l, string(rune('a'+i)), n.node)
	}
	if w.whyPinned(&cycle{loan: l}, n.node) == "" {
		t.Error("a fifth pod on a loan gets one of three pinned slices of seven")
	}
}
