package actuate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

// withCard gives gpu-1 an agent and an A100 in seven.
func (w *world) withCard() {
	w.t.Helper()
	node := &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-1"}}
	if err := w.api.Create(w.t.Context(), node); err != nil {
		w.t.Fatal(err)
	}
	node.Status = v1alpha1.GPUNodeStatus{
		Heartbeat: metav1.NewMicroTime(now),
		Boards: []v1alpha1.MIGBoard{{Name: "A100-40GB", Slots: 8, Profiles: []v1alpha1.MIGProfile{
			{Profile: 0, Name: "1g.5gb", Compute: 1, Memory: 1, Max: 7, Starts: []int32{0, 1, 2, 3, 4, 5, 6}},
			{Profile: 3, Name: "4g.20gb", Compute: 4, Memory: 4, Max: 1, Starts: []int32{0}},
		}}},
		GPUs: []v1alpha1.GPUStatus{{UUID: "GPU-a", MIG: true, Board: "A100-40GB", Healthy: true, Fingerprint: "base"}},
	}
	if err := w.api.Status().Update(w.t.Context(), node); err != nil {
		w.t.Fatal(err)
	}
}

// card is the GPUNode of gpu-1.
func (w *world) card() *v1alpha1.GPUNode {
	w.t.Helper()
	var node v1alpha1.GPUNode
	if err := w.api.Get(w.t.Context(), client.ObjectKey{Name: "gpu-1"}, &node); err != nil {
		w.t.Fatal(err)
	}
	return &node
}

// agent brings all changes to an end; outcome is what it says of those that are to be made.
func (w *world) agent(outcome string) {
	w.t.Helper()
	node := w.card()
	node.Status.Reshapes = nil
	for _, r := range node.Spec.Reshapes {
		said := v1alpha1.ReshapeStatus{ID: r.ID, State: outcome, MakeMilliseconds: 4000, Message: "it is in use"}
		if r.Undo {
			said.State, said.UndoMilliseconds = v1alpha1.ReshapeUndone, 6000
		}
		node.Status.Reshapes = append(node.Status.Reshapes, said)
	}
	if err := w.api.Status().Update(w.t.Context(), node); err != nil {
		w.t.Fatal(err)
	}
}

// made is the plan's change of four 1g into one 4g.
func made() lend.ReshapeAction {
	a := lend.ReshapeAction{
		Kind: lend.ReshapeMake, ID: "r1", Node: "gpu-1", Lender: "serving/chat", From: "a100-1g", Count: 4, To: "a100-4g", Made: 1,
		Job: "research/tune", JobUID: "tune", Reason: "Reshaping", Message: "for research/tune",
		Plan: &mig.Plan{GPU: "GPU-a", Base: "base", Create: []mig.Placed{{Profile: 3}}}, Undo: 6500 * time.Millisecond,
	}
	for start := range 4 {
		a.Plan.Destroy = append(a.Plan.Destroy, mig.Instance{Placed: mig.Placed{Start: start}, Generation: 1})
	}
	return a
}

func undone(id string) lend.ReshapeAction {
	return lend.ReshapeAction{Kind: lend.ReshapeUndo, ID: id, Node: "gpu-1", Lender: "serving/chat", Reason: "NeedRose", Message: "it is needed"}
}

// reshape carries out actions about layouts.
func (b *broker) reshape(actions ...lend.ReshapeAction) error {
	return b.actuator.Apply(b.context(), b.gather(), &lend.Plan{Reshapes: actions})
}

// TestReshapeOrder: the ledger has the intent before the lender's units are withdrawn, and
// these are before the GPUNode is written; a change is off the list when the ledger has its
// end.
func TestReshapeOrder(t *testing.T) {
	w := newWorld(t)
	w.withCard()
	step := func(what string, want []string, actions ...lend.ReshapeAction) {
		t.Helper()
		f := &fuse{left: -1}
		if err := w.broker(f).reshape(actions...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got := slices.DeleteFunc(f.writes, func(s string) bool {
			return s == "status default" || s == "status research" || s == "status serving"
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: writes (-want +got):\n%s", what, diff)
		}
	}
	step("make", []string{"ledger RESHAPE_INTENT", "status chat", "update gpu-1"}, made())
	want := v1alpha1.Reshape{
		ID: "r1", GPU: "GPU-a", Lender: "serving/chat", JobUID: "tune", From: "a100-1g", To: "a100-4g", Base: "base",
		Create: []v1alpha1.MIGPlacement{{Profile: 3, Name: "4g.20gb"}}, UndoSeconds: 7,
	}
	for start := range int32(4) {
		want.Destroy = append(want.Destroy, v1alpha1.MIGPlacement{Name: "1g.5gb", Start: start, Generation: 1})
	}
	if diff := cmp.Diff([]v1alpha1.Reshape{want}, w.card().Spec.Reshapes); diff != "" {
		t.Errorf("the GPUNode (-want +got):\n%s", diff)
	}
	if w.lent() != 4 {
		t.Errorf("%d units are lent, want 4", w.lent())
	}
	step("make again", nil, made())
	w.agent(v1alpha1.ReshapeMade)
	step("is made", []string{"ledger RESHAPE_DONE"})
	step("undo", []string{"update gpu-1"}, undone("r1"))
	step("undo again", nil, undone("r1"))
	w.agent(v1alpha1.ReshapeMade)
	step("is undone", []string{"ledger RESHAPE_UNDONE", "update gpu-1", "status chat"})
	if len(w.card().Spec.Reshapes) > 0 || w.lent() != 0 {
		t.Errorf("left are %+v, and %d are lent", w.card().Spec.Reshapes, w.lent())
	}
	entries, err := w.book.Read(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	last := &entries[len(entries)-1]
	of, ok := course.ReshapeOf(last)
	wantOf := course.Reshape{Node: "gpu-1", GPU: "GPU-a", Lender: "serving/chat", From: "a100-1g", Count: 4, To: "a100-4g", Made: 1, Milliseconds: 6000}
	if diff := cmp.Diff(wantOf, of); diff != "" || !ok || last.Job != "research/tune" {
		t.Errorf("the last entry is %+v (-want +got):\n%s", last, diff)
	}
}

// history is what the ledger has about changes, by ID.
func (w *world) history() map[string]string {
	w.t.Helper()
	entries, err := w.book.Read(0, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		if e.Kind.Reshapes() {
			all[e.OpID] = strings.TrimSpace(all[e.OpID] + " " + strings.TrimPrefix(e.Kind.String(), "RESHAPE_"))
		}
	}
	return all
}

// TestReshapeCrash: wherever the broker dies, the next one brings the change to its end,
// once.
func TestReshapeCrash(t *testing.T) {
	steps := []func(b *broker) error{
		func(b *broker) error { return b.reshape(made()) },
		func(b *broker) error { b.agent(v1alpha1.ReshapeMade); return b.reshape() },
		func(b *broker) error { return b.reshape(undone("r1")) },
		func(b *broker) error { b.agent(v1alpha1.ReshapeMade); return b.reshape() },
	}
	crashed := 0
	for n := 1; n <= 40; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, after %t", n, after), func(t *testing.T) {
				w := newWorld(t)
				w.withCard()
				f := &fuse{left: n, after: after}
				dying := w.broker(f)
				for _, step := range steps {
					if err := step(dying); err != nil && !errors.Is(err, errCrash) {
						t.Fatal(err)
					}
				}
				if f.burnt {
					crashed++
				}
				_ = w.book.Close()
				w.open()
				next := w.broker(&fuse{left: -1})
				if err := next.actuator.Start(next.context()); err != nil {
					t.Fatal(err)
				}
				todo := steps
				if strings.HasSuffix(w.history()["r1"], "UNDONE") {
					todo = steps[len(steps)-1:] // nobody plans it any more
				}
				for _, step := range todo {
					if err := step(next); err != nil {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(map[string]string{"r1": "INTENT DONE UNDONE"}, w.history()); diff != "" && w.history()["r1"] != "INTENT UNDONE" {
					t.Errorf("history (-want +got):\n%s", diff)
				}
				if left := w.card().Spec.Reshapes; len(left) > 0 || w.lent() != 0 || len(w.book.OpenReshapes()) > 0 {
					t.Errorf("left are %+v, %d units are lent, open: %+v", left, w.lent(), w.book.OpenReshapes())
				}
			})
		}
	}
	if crashed < 10 {
		t.Errorf("only %d crashes", crashed)
	}
}

// What the agent refuses ends, and the same operation has another ID the next time.
func TestReshapeRefused(t *testing.T) {
	w := newWorld(t)
	w.withCard()
	b := w.broker(&fuse{left: -1})
	for _, id := range []string{"r1", "r1.2", "r1.3"} {
		if err := b.reshape(made()); err != nil {
			t.Fatal(err)
		}
		if list := w.card().Spec.Reshapes; len(list) != 1 || list[0].ID != id {
			t.Fatalf("changes are %+v, want %s", list, id)
		}
		w.agent(v1alpha1.ReshapeRefused)
		if err := b.reshape(); err != nil {
			t.Fatal(err)
		}
		if len(w.card().Spec.Reshapes) > 0 || w.lent() != 0 {
			t.Fatalf("left are %+v, and %d are lent", w.card().Spec.Reshapes, w.lent())
		}
	}
	if diff := cmp.Diff(map[string]string{"r1": "INTENT FAILED", "r1.2": "INTENT FAILED", "r1.3": "INTENT FAILED"}, w.history()); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// A change whose premises are gone is not made: another leader has lent, or somebody has
// written the GPUNode.
func TestReshapePremises(t *testing.T) {
	t.Run("the lender's status was written", func(t *testing.T) {
		w := newWorld(t)
		w.withCard()
		b := w.broker(&fuse{left: -1})
		view := b.gather()
		var p v1alpha1.LendingPolicy
		if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: "serving", Name: "chat"}, &p); err != nil {
			t.Fatal(err)
		}
		p.Status.Lent = 8
		if err := w.api.Status().Update(t.Context(), &p); err != nil {
			t.Fatal(err)
		}
		err := b.actuator.Apply(b.context(), view, &lend.Plan{Reshapes: []lend.ReshapeAction{made()}})
		if err == nil || errors.Is(err, actuate.ErrStop) || len(w.card().Spec.Reshapes) > 0 || w.history()["r1"] != "INTENT FAILED" {
			t.Errorf("%v: %+v, %v", err, w.card().Spec.Reshapes, w.history())
		}
	})
	for name, test := range map[string]struct {
		change func(*v1alpha1.GPUNode)
		status bool
		made   int
	}{
		"a heartbeat came":        {func(n *v1alpha1.GPUNode) { n.Status.Heartbeat = metav1.NewMicroTime(now.Add(1e9)) }, true, 1},
		"the layout is another":   {func(n *v1alpha1.GPUNode) { n.Status.GPUs[0].Fingerprint = "other" }, true, 0},
		"somebody wrote the spec": {func(n *v1alpha1.GPUNode) { n.Spec.Pinned = []v1alpha1.PinnedSlices{{GPU: "GPU-a"}} }, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.withCard()
			b := w.broker(&fuse{left: -1})
			view := b.gather()
			node := w.card()
			test.change(node)
			write := w.api.Update
			if test.status {
				write = func(ctx context.Context, o client.Object, _ ...client.UpdateOption) error {
					return w.api.Status().Update(ctx, o)
				}
			}
			if err := write(t.Context(), node); err != nil {
				t.Fatal(err)
			}
			if err := b.actuator.Apply(b.context(), view, &lend.Plan{Reshapes: []lend.ReshapeAction{made()}}); err != nil {
				t.Fatal(err)
			}
			if got := len(w.card().Spec.Reshapes); got != test.made {
				t.Errorf("%d changes, want %d", got, test.made)
			}
			if err := b.reshape(); err != nil { // which does not want it any more
				t.Fatal(err)
			}
			want := map[string]string{"r1": "INTENT FAILED"}
			if test.made > 0 {
				want["r1"] = "INTENT"
			}
			if diff := cmp.Diff(want, w.history()); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
		})
	}
}

// What is to be undone is marked even if somebody else has just written the GPUNode.
func TestUndoAnyway(t *testing.T) {
	w := newWorld(t)
	w.withCard()
	b := w.broker(&fuse{left: -1})
	if err := b.reshape(made()); err != nil {
		t.Fatal(err)
	}
	view := b.gather()
	node := w.card()
	node.Labels = map[string]string{"rack": "7"}
	if err := w.api.Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	if err := b.actuator.Apply(b.context(), view, &lend.Plan{Reshapes: []lend.ReshapeAction{undone("r1")}}); err != nil {
		t.Fatal(err)
	}
	if node := w.card(); !node.Spec.Reshapes[0].Undo || node.Labels["rack"] != "7" {
		t.Errorf("the GPUNode is %+v", node)
	}
}

// A change that the ledger does not know, or knows to be over, or that is gone from the
// API, comes to an end in both.
func TestReshapesOutOfStep(t *testing.T) {
	t.Run("unknown", func(t *testing.T) {
		w := newWorld(t)
		w.withCard()
		node := w.card()
		node.Spec.Reshapes = []v1alpha1.Reshape{{ID: "x", GPU: "GPU-a", Lender: "serving/chat", From: "a100-1g", To: "a100-4g", Base: "base"}}
		if err := w.api.Update(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		if err := w.broker(&fuse{left: -1}).reshape(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"x": "INTENT"}, w.history()); diff != "" || w.card().Spec.Reshapes[0].Undo {
			t.Errorf("%s%+v", diff, w.card().Spec)
		}
	})
	t.Run("over", func(t *testing.T) {
		w := newWorld(t)
		w.withCard()
		b := w.broker(&fuse{left: -1})
		if err := b.reshape(made()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.book.Append(ledger.Entry{Kind: ledger.ReshapeFailed, OpID: "r1", Epoch: w.epoch, Payload: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
		if err := b.reshape(); err != nil {
			t.Fatal(err)
		}
		if !w.card().Spec.Reshapes[0].Undo {
			t.Error("a change that the ledger holds for over goes on")
		}
	})
	t.Run("gone", func(t *testing.T) {
		w := newWorld(t)
		w.withCard()
		b := w.broker(&fuse{left: -1})
		if err := b.reshape(made()); err != nil {
			t.Fatal(err)
		}
		if err := w.api.Delete(t.Context(), w.card()); err != nil {
			t.Fatal(err)
		}
		if err := b.reshape(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"r1": "INTENT FAILED"}, w.history()); diff != "" {
			t.Error(diff)
		}
	})
}
