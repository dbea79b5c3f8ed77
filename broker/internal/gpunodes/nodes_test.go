package gpunodes

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

// reshape makes a 4g of four 1g.
func reshape(id string) v1alpha1.Reshape {
	r := v1alpha1.Reshape{
		ID: id, GPU: "GPU-a", Lender: "serving/chat", JobUID: "job", From: "a100-1g", To: "a100-4g", Base: "0@0#1",
		Create: []v1alpha1.MIGPlacement{{Profile: int32(fourG), Name: "4g.20gb"}},
	}
	for start := range int32(4) {
		r.Destroy = append(r.Destroy, v1alpha1.MIGPlacement{Profile: int32(oneG), Name: "1g.5gb", Start: start, Generation: 1})
	}
	return r
}

func TestReshapes(t *testing.T) {
	since := time.Date(2026, 3, 1, 1, 0, 0, 0, time.UTC)
	want := lend.Reshape{
		ID: "r1", GPU: "GPU-a", Lender: "serving/chat", JobUID: "job", From: "a100-1g", Count: 4, To: "a100-4g", Made: 1,
		Destroy: []mig.Placed{{Profile: oneG, Start: 0}, {Profile: oneG, Start: 1}, {Profile: oneG, Start: 2}, {Profile: oneG, Start: 3}},
		Create:  []mig.Placed{{Profile: fourG, Start: 0}},
	}
	tests := []struct {
		state string
		undo  bool
		want  func(*lend.Reshape)
	}{
		{"", false, func(r *lend.Reshape) { r.State = lend.ReshapeMaking }},
		{"", true, func(r *lend.Reshape) { r.State = lend.ReshapeUndoing }},
		{v1alpha1.ReshapeMaking, false, func(r *lend.Reshape) { r.State, r.Since = lend.ReshapeMaking, since }},
		{v1alpha1.ReshapeMade, false, func(r *lend.Reshape) { r.State, r.Since = lend.ReshapeMade, since }},
		{v1alpha1.ReshapeMade, true, func(r *lend.Reshape) { r.State = lend.ReshapeUndoing }},
		{v1alpha1.ReshapeUndoing, true, func(r *lend.Reshape) { r.State, r.Since = lend.ReshapeUndoing, since }},
		{v1alpha1.ReshapeStuck, true, func(r *lend.Reshape) { r.State, r.Since, r.Stuck = lend.ReshapeUndoing, since, "leaked" }},
		{v1alpha1.ReshapeUndone, true, nil},
		{v1alpha1.ReshapeRefused, false, nil},
	}
	for _, test := range tests {
		n := gpuNode(t, sevenOnes(), func(n *v1alpha1.GPUNode) {
			r := reshape("r1")
			r.Undo = test.undo
			n.Spec.Reshapes = []v1alpha1.Reshape{r}
			if test.state != "" {
				n.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r1", State: test.state, Message: "leaked", Since: metav1.NewMicroTime(since)}}
			}
		})
		var list []lend.Reshape
		if test.want != nil {
			r := want
			test.want(&r)
			list = []lend.Reshape{r}
		}
		if diff := cmp.Diff(list, look(t, n, nil, 0).Reshapes); diff != "" {
			t.Errorf("%s, undo %t (-want +got):\n%s", test.state, test.undo, diff)
		}
	}
}

// A cache that is behind what was written is not believed.
func TestOwnWritesAreSeen(t *testing.T) {
	object := gpuNode(t, sevenOnes())
	cache := fake.NewClientBuilder().WithScheme(scheme).WithObjects(object.DeepCopy()).Build()
	live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(object.DeepCopy()).Build()
	nodes := &Nodes{Cache: cache, Live: live}
	reshapes := func(want int) *v1alpha1.GPUNode {
		t.Helper()
		list, err := nodes.List(t.Context(), now)
		if err != nil || len(list) != 1 || len(list[0].Object.Spec.Reshapes) != want {
			t.Fatalf("%v, %d nodes: %+v, want %d reshapes", err, len(list), list[0].Object.Spec, want)
		}
		return list[0].Object.DeepCopy()
	}
	first := reshapes(0)
	first.Spec.Reshapes = []v1alpha1.Reshape{reshape("r1")}
	err := live.Update(t.Context(), first)
	nodes.Wrote(first, err)
	second := reshapes(1)
	second.Spec.Reshapes = append(second.Spec.Reshapes, reshape("r2"))
	if err := live.Update(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	nodes.Wrote(second, errors.New("the reply was lost"))
	reshapes(2)
	nodes.Wrote(&v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}}, errors.New("the reply was lost"))
	if err := live.Delete(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if list, err := nodes.List(t.Context(), now); err != nil || len(list) > 0 {
		t.Errorf("deleted: %v, %d nodes", err, len(list))
	}
}

// What another leader wrote just before this one began is seen, too.
func TestTheBeginningIsLive(t *testing.T) {
	object := gpuNode(t, sevenOnes())
	cache := fake.NewClientBuilder().WithScheme(scheme).WithObjects(object.DeepCopy()).Build()
	object.Spec.Reshapes, object.ResourceVersion = []v1alpha1.Reshape{reshape("r1")}, "1500"
	live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(object).Build()
	nodes := &Nodes{Cache: cache, Live: live}
	if list, err := nodes.List(t.Context(), now); err != nil || len(list[0].Object.Spec.Reshapes) != 1 {
		t.Errorf("%v: %+v", err, list)
	}
}

// An agent is heard from when what it says changes, whatever its clock says.
func TestAgeIsByOurClock(t *testing.T) {
	object := gpuNode(t, nil, func(n *v1alpha1.GPUNode) { n.Status.Heartbeat = metav1.NewMicroTime(now.Add(time.Hour)) })
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(object).WithObjects(object).Build()
	nodes := &Nodes{Cache: c, Live: c}
	stale := func(at time.Time, want bool) {
		t.Helper()
		list, err := nodes.List(t.Context(), at)
		if err != nil || list[0].Stale != want {
			t.Errorf("at %s: %v, stale is %t", at, err, list[0].Stale)
		}
	}
	stale(now, false)
	stale(now.Add(2*time.Minute), false)
	stale(now.Add(2*time.Minute+time.Second), true)
	object.ResourceVersion = ""
	if err := c.Get(t.Context(), types.NamespacedName{Name: "gpu-0"}, object); err != nil {
		t.Fatal(err)
	}
	object.Status.Heartbeat = metav1.NewMicroTime(now.Add(-time.Hour)) // its clock was set
	if err := c.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	stale(now.Add(3*time.Minute), false)
	stale(now.Add(6*time.Minute), true)
}

func TestCosts(t *testing.T) {
	n := gpuNode(t, sevenOnes(), func(n *v1alpha1.GPUNode) {
		n.Spec.Reshapes = []v1alpha1.Reshape{reshape("r1"), reshape("r2")}
		n.Status.Reshapes = []v1alpha1.ReshapeStatus{
			{ID: "r1", State: v1alpha1.ReshapeUndone, MakeMilliseconds: 4100, UndoMilliseconds: 6001},
			{ID: "r2", State: v1alpha1.ReshapeMade, MakeMilliseconds: 900},
		}
	})
	nodes, _ := read(t, n)
	if change, undo := nodes.Costs(time.Minute, time.Minute); change != 5*time.Second || undo != 7*time.Second {
		t.Errorf("a change takes %s, and back %s", change, undo)
	}
	if change, undo := (&Nodes{}).Costs(time.Minute, time.Hour); change != time.Minute || undo != time.Hour {
		t.Errorf("nothing was measured: %s and %s", change, undo)
	}
}

// How long a change took is forgotten after a week: one that took far too long keeps all
// others from being made, and so from being measured.
func TestCostsAreForgotten(t *testing.T) {
	b := &book{first: 1}
	b.add(ledger.ReshapeUndone, "r0", 6*time.Hour)
	b.entries[0].Time = now.Add(-costsLast + time.Hour)
	n := gpuNode(t, sevenOnes(), func(n *v1alpha1.GPUNode) {
		n.Spec.Reshapes = []v1alpha1.Reshape{reshape("r1"), reshape("r2")}
		n.Status.Reshapes = []v1alpha1.ReshapeStatus{
			{ID: "r1", State: v1alpha1.ReshapeMade, MakeMilliseconds: 4000, Since: metav1.NewMicroTime(now.Add(-time.Hour))},
			{ID: "r2", State: v1alpha1.ReshapeMade, MakeMilliseconds: 9e6, Since: metav1.NewMicroTime(now.Add(-costsLast))},
		}
	})
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(n).Build()
	nodes := &Nodes{Cache: c, Live: c}
	if err := nodes.Recall(b); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ after, change, undo time.Duration }{
		{0, 4 * time.Second, 6 * time.Hour},
		{time.Hour, 4 * time.Second, 20 * time.Second},
		{costsLast, 30 * time.Second, 20 * time.Second},
	} {
		if _, err := nodes.List(t.Context(), now.Add(test.after)); err != nil {
			t.Fatal(err)
		}
		if change, undo := nodes.Costs(30*time.Second, 20*time.Second); change != test.change || undo != test.undo {
			t.Errorf("after %s they take %s and %s", test.after, change, undo)
		}
	}
}

// The broker takes a change off the list as soon as it sees its end, and the kubelet may be
// behind: the node settles for a moment longer.
func TestSettlingOffTheList(t *testing.T) {
	object := gpuNode(t, sevenOnes(), func(n *v1alpha1.GPUNode) {
		n.Spec.Reshapes = []v1alpha1.Reshape{reshape("r1")}
		n.Status.Heartbeat = metav1.NewMicroTime(now)
		n.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r1", State: v1alpha1.ReshapeUndone, Since: metav1.NewMicroTime(now)}}
	})
	nodes, list := read(t, object)
	if !list[0].Settling {
		t.Error("it does not settle")
	}
	object = gpuNode(t, sevenOnes())
	nodes.Cache, nodes.known = fake.NewClientBuilder().WithScheme(scheme).WithObjects(object).Build(), nil
	for _, test := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {v1alpha1.JustSettled - 1, true}, {v1alpha1.JustSettled, false}} {
		list, err := nodes.List(t.Context(), now.Add(test.after))
		if err != nil {
			t.Fatal(err)
		}
		if list[0].Settling != test.want {
			t.Errorf("after %s it settles: %t", test.after, !test.want)
		}
	}
}

// A GPU whose agent refused is left alone for a while, also when the change is off the list.
func TestRefused(t *testing.T) {
	object := gpuNode(t, sevenOnes(), func(n *v1alpha1.GPUNode) {
		n.Spec.Reshapes = []v1alpha1.Reshape{reshape("r1")}
		n.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r1", State: v1alpha1.ReshapeRefused, Message: "in use"}}
	})
	nodes, _ := read(t, object)
	object = gpuNode(t, sevenOnes())
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(object).Build()
	nodes.Cache, nodes.known = c, nil
	for _, test := range []struct {
		after time.Duration
		want  string
	}{{0, "its agent refused a change lately: in use"}, {refusedFor - time.Second, "its agent refused a change lately: in use"}, {refusedFor, ""}} {
		list, err := nodes.List(t.Context(), now.Add(test.after))
		if err != nil {
			t.Fatal(err)
		}
		if got := list[0].closing("GPU-a"); got != test.want {
			t.Errorf("after %s: %q, want %q", test.after, got, test.want)
		}
	}
}

// A GPU whose agent refuses again and again is left alone for longer each time, until a
// change is made or somebody else changes its layout.
func TestRefusedAgain(t *testing.T) {
	at, nodes := now, (*Nodes)(nil)
	// tell lists the node as it is then.
	tell := func(change func(*v1alpha1.GPUNode)) *Node {
		t.Helper()
		object := gpuNode(t, sevenOnes(), change)
		c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(object).Build()
		if nodes == nil {
			nodes = &Nodes{Live: c}
		}
		nodes.Cache, nodes.known = c, nil
		list, err := nodes.List(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		return list[0]
	}
	// ends lists it while a change has ended like that, which leaves the layout as it is
	// named.
	ends := func(id, state, layout string) {
		t.Helper()
		tell(func(n *v1alpha1.GPUNode) {
			n.Spec.Reshapes = []v1alpha1.Reshape{reshape(id)}
			n.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: id, State: state, Since: metav1.NewMicroTime(at)}}
			n.Status.GPUs[0].Fingerprint = layout
		})
	}
	// alone is how long it is left alone once the change is off the list.
	alone := func(layout string) time.Duration {
		t.Helper()
		for from := at; ; at = at.Add(time.Minute) {
			if n := tell(func(n *v1alpha1.GPUNode) { n.Status.GPUs[0].Fingerprint = layout }); n.closing("GPU-a") == "" {
				return at.Sub(from)
			}
		}
	}
	check := func(what string, got, want time.Duration) {
		t.Helper()
		if got != want {
			t.Errorf("%s: it is left alone for %s, want %s", what, got, want)
		}
	}
	for i, want := range []time.Duration{5, 10, 20, 40, 80, 160, 240, 240} {
		// What was destroyed and made again has another generation.
		layout := fmt.Sprint("layout ", i)
		ends(fmt.Sprint("r", i), v1alpha1.ReshapeRefused, layout)
		check(fmt.Sprint("refusal ", i), alone(layout), want*time.Minute)
	}
	ends("s", v1alpha1.ReshapeRefused, "x")
	check("somebody changed it", alone("y"), 0)
	ends("t", v1alpha1.ReshapeRefused, "x")
	check("the first after that", alone("x"), 5*time.Minute)
	ends("u", v1alpha1.ReshapeMade, "z")
	ends("v", v1alpha1.ReshapeRefused, "x")
	check("the first after one was made", alone("x"), 5*time.Minute)
}

// A change that was made before the refusal says nothing about it.
func TestRefusedBesideMade(t *testing.T) {
	object := gpuNode(t, sevenOnes(), func(n *v1alpha1.GPUNode) {
		n.Spec.Reshapes = []v1alpha1.Reshape{reshape("made"), reshape("refused")}
		n.Status.Reshapes = []v1alpha1.ReshapeStatus{
			{ID: "made", State: v1alpha1.ReshapeMade, Since: metav1.NewMicroTime(now.Add(-time.Hour))},
			{ID: "refused", State: v1alpha1.ReshapeRefused, Since: metav1.NewMicroTime(now)},
		}
	})
	nodes, _ := read(t, object)
	for range 2 {
		if _, err := nodes.List(t.Context(), now.Add(4*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if r := nodes.costs.refusals["GPU-a"]; r == nil || !r.until.Equal(now.Add(refusedFor)) {
		t.Errorf("remembered is %+v", r)
	}
}
