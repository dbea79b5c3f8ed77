package ebbtide

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// placesOf strips the slices that a pod carries of what is the same in all tests.
func placesOf(carried string) string {
	out := strings.ReplaceAll(carried, "GPU-n/", "")
	return strings.ReplaceAll(out, "1g.5gb", "1g")
}

func TestReferenceCard(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths).pin("1g.5gb@4 1g.5gb@5 1g.5gb@6")
	w.pinsIn("serving", 3)
	var got []string
	for i := range 3 {
		got = append(got, placesOf(w.bind(w.replicaOn(fmt.Sprint("chat-", i), nil))))
	}
	l := w.sliceLoan("small", oneG, "a100-1g", 4, "n")
	for i := range 4 {
		got = append(got, placesOf(w.bind(w.workerOn(l, fmt.Sprint("small-", i), nil))))
	}
	// Services have the pinned ones, the loan the others; the lowest last, as they are the
	// most worth to those who want larger ones.
	want := []string{"1g@6#1", "1g@5#1", "1g@4#1", "1g@0#1", "1g@1#1", "1g@2#1", "1g@3#1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("slices (-want +got):\n%s", diff)
	}
	if got := w.bind(w.replicaOn("one-more", nil)); got != "Insufficient "+oneG {
		t.Errorf("on the full card a pod gets %q", got)
	}
	if n.scalar(oneG) != 7 {
		t.Errorf("%d units are in use", n.scalar(oneG))
	}
}

// A service that shrinks keeps its pods on pinned slices, unless its owner says otherwise.
func TestPodsOnPinnedSlicesGoLast(t *testing.T) {
	w := newWorld(t).sliced()
	w.card("n", sevenths).pin("1g.5gb@6 1g.5gb@5")
	w.pinsIn("serving", 2)
	for _, tc := range []struct{ name, says, want string }{
		{"pinned", "", "1000"}, {"pinned, and the owner says how much", "-5", "-5"}, {"not pinned", "", ""},
	} {
		p := w.replicaOn(strings.ReplaceAll(strings.ReplaceAll(tc.name, " ", "-"), ",", ""), nil)
		if tc.says != "" {
			p.Annotations = map[string]string{corev1.PodDeletionCost: tc.says}
			_, err := w.client.CoreV1().Pods(p.Namespace).Update(t.Context(), p, metav1.UpdateOptions{})
			must(t, err)
		}
		w.bind(p)
		if got := p.Annotations[corev1.PodDeletionCost]; got != tc.want {
			t.Errorf("%s: deletion cost %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestLoansAreKeptFromPinnedSlices(t *testing.T) {
	w := newWorld(t).sliced()
	w.card("n", sevenths).pin("1g.5gb@4 1g.5gb@5 1g.5gb@6")
	l := w.sliceLoan("small", oneG, "a100-1g", 7, "n")
	for i := range 4 {
		w.bind(w.workerOn(l, fmt.Sprint("w-", i), nil))
	}
	const counted = "3 of the node's 7 units of nvidia.com/mig-1g.5gb are pinned for services, and loans use 4 of the others"
	p := w.workerOn(l, "w-4", nil)
	if got := w.bind(p); got != counted {
		t.Errorf("the fifth worker gets %q", got)
	}
	w.time.Step(time.Hour) // the spec counts whether or not the agent is heard
	if got := w.bind(p); got != counted {
		t.Errorf("the fifth worker gets %q from a silent node", got)
	}
}

func TestPinnedSlicesThatOthersLeftMayBeElsewhere(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths).pin("1g.5gb@4 1g.5gb@5 1g.5gb@6")
	for i, place := range []string{"1g.5gb@0", "1g.5gb@1"} { // a service outside of its pins
		n.hold(place, w.replicaOn(fmt.Sprint("chat-", i), n.node))
	}
	l := w.sliceLoan("small", oneG, "a100-1g", 3, "n")
	w.bind(w.workerOn(l, "w-0", nil))
	w.bind(w.workerOn(l, "w-1", nil))
	// By counts there is room for a third, and only pinned ones are left.
	p := w.workerOn(l, "w-2", nil)
	if got, want := w.bind(p), "7 slices of nvidia.com/mig-1g.5gb are on the node, and the pod asks for 1: 4 in use or reserved, 3 pinned for services"; got != want {
		t.Errorf("the third worker gets %q, want %q", got, want)
	}
	w.activated = nil
	n.pin("1g.5gb@0 1g.5gb@1 1g.5gb@6") // the broker follows
	if diff := cmp.Diff([]string{"research/w-2"}, w.activated); diff != "" {
		t.Errorf("activated when the pins moved (-want +got):\n%s", diff)
	}
	if got := placesOf(w.bind(p)); got != "1g@4#1" {
		t.Errorf("then it gets %q", got)
	}
}

// A slice that somebody may be on is for no loan until it is known that nobody is, and one
// that a pod was reserved is taken until it is known that the pod is on another.
func TestLoansWaitUntilASliceIsKnownToBeFree(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", "1g.5gb@4 1g.5gb@5 1g.5gb@6").pin("1g.5gb@6")
	n.gn.Status.GPUs[0].Instances[0].Processes = nil
	n.tell()
	service := w.replicaOn("chat", nil)
	if got := placesOf(w.bind(service)); got != "1g@5#1" {
		t.Fatalf("another service gets %q", got)
	}
	l := w.sliceLoan("small", oneG, "a100-1g", 2, "n")
	p := w.workerOn(l, "w-0", nil)
	if got, want := w.bind(p), "3 slices of nvidia.com/mig-1g.5gb are on the node, and the pod asks for 1: 1 in use or reserved, 1 pinned for services, 1 perhaps in use"; got != want {
		t.Fatalf("the worker gets %q, want %q", got, want)
	}
	woken := func(when string, want []string, place string) {
		t.Helper()
		if diff := cmp.Diff(want, w.activated); diff != "" {
			t.Errorf("activated %s (-want +got):\n%s", when, diff)
		}
		if got := placesOf(w.bind(p)); place != "" && got != place {
			t.Errorf("%s the worker gets %q, want %q", when, got, place)
		}
		w.activated = nil
	}
	w.activated = nil
	n.tell()
	woken("when nothing is new", nil, "")
	n.gn.Status.GPUs[0].Instances[0].Processes = new(int32)
	n.tell()
	woken("when nobody is on it", []string{"research/w-0"}, "1g@4#1")

	p = w.workerOn(l, "w-1", nil)
	if got := w.bind(p); !strings.Contains(got, "2 in use or reserved, 1 pinned for services") {
		t.Fatalf("the second worker gets %q", got)
	}
	w.activated = nil
	n.hold("1g.5gb@6", service)
	woken("when the kubelet gave the service another", []string{"research/w-1"}, "1g@5#1")
}

func TestWhoHasASlice(t *testing.T) {
	for name, tc := range map[string]struct {
		set  func(w *world, n *card)
		want string
	}{
		"nobody has any": {want: "1g@6#1"},
		"the agent says who": {
			set:  func(w *world, n *card) { n.hold("1g.5gb@6", w.replicaOn("a", n.node)) },
			want: "1g@5#1",
		},
		"the kubelet chose another than was reserved": {
			set: func(w *world, n *card) {
				a := w.replicaOn("a", nil)
				w.bind(a) // 6
				n.hold("1g.5gb@5", a)
			},
			want: "1g@4#1", // with 6 gone it would be 5
		},
		"its holder is gone": {
			set: func(w *world, n *card) {
				a := w.replicaOn("a", n.node)
				n.hold("1g.5gb@6", a)
				w.remove(a, n.node)
			},
			want: "1g@6#1",
		},
		"a pod of another name had it": {
			set: func(w *world, n *card) {
				a := w.replicaOn("a", n.node)
				a.UID = "new"
				n.hold("1g.5gb@6", &corev1.Pod{ObjectMeta: a.ObjectMeta})
				a.UID = "newer" // and is taken for the one that is there now
			},
			want: "1g@5#1",
		},
		"a bound pod tells after a restart": {
			set: func(w *world, n *card) {
				w.bind(w.replicaOn("a", nil))
				w.restart()
			},
			want: "1g@5#1",
		},
		"a pod without a node tells nothing": {
			set: func(w *world, n *card) {
				a := w.replicaOn("a", nil)
				a.Annotations = map[string]string{v1alpha1.AnnotationInstances: "GPU-n/1g.5gb@0#1"}
				n.pods = append(n.pods, podInfo{pod: a}) // assumed by counts, somewhere
			},
			want: "1g@5#1",
		},
		"what a pod tells is of an earlier instance": {
			set: func(w *world, n *card) {
				a := w.replicaOn("a", n.node)
				a.Annotations = map[string]string{v1alpha1.AnnotationInstances: "GPU-n/1g.5gb@0#7"}
			},
			want: "1g@5#1", // it has one, and nobody knows which: the one that it would get
		},
		"what a pod tells is nonsense": {
			set: func(w *world, n *card) {
				w.replicaOn("a", n.node).Annotations = map[string]string{v1alpha1.AnnotationInstances: "all of them"}
			},
			want: "1g@5#1",
		},
		"a process of nobody is on it": {
			set: func(w *world, n *card) {
				one := int32(1)
				n.gn.Status.GPUs[0].Instances[6].Processes = &one
				n.tell()
			},
			want: "1g@5#1",
		},
		"somebody else made it": {
			set: func(w *world, n *card) {
				n.gn.Status.GPUs[0].Instances[6].State = v1alpha1.InstanceForeign
				n.tell()
			},
			want: "1g@5#1",
		},
		"it was made into another, and is still listed": {
			set: func(w *world, n *card) {
				n.reshape("r", v1alpha1.ReshapeMade, "1g.5gb@4 1g.5gb@5 1g.5gb@6", "3g.20gb@4")
			},
			want: "1g@3#1",
		},
		"that was refused": {
			set: func(w *world, n *card) {
				n.reshape("r", v1alpha1.ReshapeRefused, "1g.5gb@4 1g.5gb@5 1g.5gb@6", "3g.20gb@4")
			},
			want: "1g@6#1",
		},
		"it is pinned for another service": {
			set:  func(w *world, n *card) { n.pin("1g.5gb@4 1g.5gb@5 1g.5gb@6") },
			want: "1g@3#1",
		},
		"it is all that is left": {
			set: func(w *world, n *card) {
				n.pin("1g.5gb@6")
				for i := range 6 {
					n.hold(fmt.Sprint("1g.5gb@", i), w.replicaOn(fmt.Sprint("x-", i), n.node))
				}
			},
			want: "1g@6#1",
		},
		"the agent is silent": {
			set:  func(w *world, n *card) { w.time.Step(2*time.Minute + time.Second) },
			want: "",
		},
		"others allocate the devices": {
			set: func(w *world, n *card) {
				n.gn.Status.Allocation = v1alpha1.AllocationDynamicResources
				n.tell()
			},
			want: "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).sliced()
			n := w.card("n", sevenths)
			if tc.set != nil {
				tc.set(w, n)
			}
			if got := placesOf(w.bind(w.replicaOn("p", nil))); got != tc.want {
				t.Errorf("the pod gets %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSeveralSlicesOfAPod(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths)
	m := w.card("m", "1g.5gb@0 4g.20gb@0")
	_ = m
	got := w.bind(w.slices("p", "serving", v1alpha1.PriorityOnline, oneG, 3, nil))
	if want := "1g@6#1,1g@5#1,1g@4#1"; placesOf(got) != want {
		t.Errorf("three slices are %q, want %q", got, want)
	}
	for _, place := range []string{"1g.5gb@0", "1g.5gb@1", "1g.5gb@2"} {
		i := placeAt(&n.gn.Status.Boards[0], place).Start
		n.gn.Status.GPUs[0].Instances[i].State = v1alpha1.InstanceStuck
	}
	n.tell()
	p := w.slices("q", "serving", v1alpha1.PriorityOnline, oneG, 2, nil)
	if got := w.bind(p); !strings.HasPrefix(got, "7 slices of "+oneG+" are on the node, and the pod asks for 2: 3 in use or reserved, 3 not usable; ") {
		t.Errorf("with one left, a pod that asks for two gets %q", got)
	}
}

func TestPreBindFails(t *testing.T) {
	w := newWorld(t).sliced()
	w.card("n", sevenths)
	broken := true
	w.client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return broken, nil, errors.New("the API server is gone")
	})
	p := w.replicaOn("p", nil)
	if got := w.bind(p); got != "PreBind: write on pod serving/p which slices are reserved for it: the API server is gone" {
		t.Errorf("the pod gets %q", got)
	}
	broken = false
	if got := placesOf(w.bind(w.replicaOn("q", nil))); got != "1g@6#1" {
		t.Errorf("the next pod gets %q: the slice was not let go", got)
	}
}

// What a tenant writes on a pod that is placed by counts is taken off.
func TestForgedReservation(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths)
	p := w.replicaOn("p", nil)
	p.Annotations = map[string]string{v1alpha1.AnnotationInstances: "GPU-n/1g.5gb@0#1"}
	w.put(p)
	w.time.Step(time.Hour)
	if got := w.bind(p); got != "" || p.Spec.NodeName != n.node.node.Name {
		t.Errorf("the pod carries %q on node %q", got, p.Spec.NodeName)
	}
}

// Whole GPUs and slices are side by side, and each has its own quota.
func TestWholeGPUsBesideSlices(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths)
	n.allocatable[gpu] = 2
	for i := range 2 {
		if got := w.bind(w.online(fmt.Sprint("whole-", i), 1, nil)); got != "" {
			t.Fatalf("a whole GPU is %q", got)
		}
	}
	if got := placesOf(w.bind(w.replicaOn("p", nil))); got != "1g@6#1" {
		t.Errorf("a slice beside whole GPUs is %q", got)
	}
	if got := w.bind(w.online("whole-2", 1, nil)); got != "Insufficient nvidia.com/gpu" {
		t.Errorf("a third whole GPU is %q", got)
	}
	q := w.tenant("serving", 2)
	q.Spec.Flavors = append(q.Spec.Flavors, v1alpha1.FlavorQuota{Name: "a100-1g", Resource: oneG, Nominal: 1})
	must(t, w.quotas.Update(q))
	w.sync()
	for resource, p := range map[corev1.ResourceName]*corev1.Pod{gpu: w.online("x", 1, nil), oneG: w.replicaOn("y", nil)} {
		if got := w.bind(p); !strings.Contains(got, "quota") && !strings.Contains(got, "used") {
			t.Errorf("beyond the quota of %s: %q", resource, got)
		}
	}
}

func TestSilentNodeWakesPods(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths)
	for i := range n.gn.Status.GPUs[0].Instances {
		n.gn.Status.GPUs[0].Instances[i].State = v1alpha1.InstanceForeign
	}
	n.tell()
	p := w.replicaOn("p", nil)
	if got := w.bind(p); !strings.Contains(got, "7 not usable") {
		t.Fatalf("among foreign slices the pod gets %q", got)
	}
	swept := func(when string, want []string) {
		t.Helper()
		for _, want := range [][]string{want, nil} { // once is enough
			w.activated = nil
			must(t, w.sweep(t.Context()))
			if diff := cmp.Diff(want, w.activated); diff != "" {
				t.Errorf("activated %s (-want +got):\n%s", when, diff)
			}
		}
	}
	swept("while it speaks", nil)
	w.time.Step(3 * time.Minute)
	swept("when it is silent", []string{"serving/p"})
	n.tell()
	swept("when it speaks again", []string{"serving/p"})
}

// A gang waits for its last pod while the agent makes its slices into others.
func TestReservedSlicesAreLost(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths)
	p, ctx, state := w.replicaOn("p", nil), t.Context(), newState()
	if _, s := w.PreFilter(ctx, state, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	if s := w.Reserve(ctx, state, p, "n"); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	n.reshape("r", "", "1g.5gb@4 1g.5gb@5 1g.5gb@6", "3g.20gb@4")
	if _, s := w.PreBindPreFlight(ctx, state, p, "n"); !s.IsSuccess() {
		t.Fatalf("PreBind is left out: %v", s.Code())
	}
	if s := w.PreBind(ctx, state, p, "n"); s.Code() != fwk.Unschedulable {
		t.Errorf("PreBind says %v %q", s.Code(), s.Message())
	}
	w.Unreserve(ctx, state, p, "n")
	n.gn.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r", State: v1alpha1.ReshapeMade}}
	n.tell()
	if got := placesOf(w.bind(p)); got != "1g@3#1" {
		t.Errorf("then it gets %q", got)
	}
}

// Of nodes with room, the one whose card can be made into the least anyway.
func TestScoreOfCards(t *testing.T) {
	w := newWorld(t).sliced()
	w.card("whole", sevenths)
	broken := w.card("broken", sevenths)
	broken.hold("1g.5gb@4", w.replicaOn("a", broken.node))
	w.card("pinned", sevenths).pin("1g.5gb@6")
	p := w.replicaOn("p", nil)
	ranks := w.rankOf(p)
	if ranks["broken"] <= ranks["whole"] || ranks["pinned"] > ranks["broken"] {
		t.Errorf("ranks are %v", ranks)
	}
	w.pinsIn("serving", 1)
	if ranks := w.rankOf(p); ranks["pinned"] <= ranks["broken"] {
		t.Errorf("of a service that pins, ranks are %v", ranks)
	}
}
