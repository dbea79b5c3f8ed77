package actuate_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// A ledger that takes no entry of one change keeps no other from being undone, nor what is
// over on the list.
func TestUndoWithAFullLedger(t *testing.T) {
	w := newWorld(t)
	w.withCard()
	if err := w.broker(&fuse{left: -1}).reshape(made()); err != nil {
		t.Fatal(err)
	}
	node := w.card()
	unknown := v1alpha1.Reshape{ID: "a", GPU: "GPU-a", Lender: "serving/chat", From: "a100-1g", To: "a100-4g", Base: "base"}
	refused := unknown
	refused.ID = "x"
	node.Spec.Reshapes = []v1alpha1.Reshape{unknown, node.Spec.Reshapes[0], refused}
	if err := w.api.Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	node.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "x", State: v1alpha1.ReshapeRefused}}
	if err := w.api.Status().Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	_ = w.book.Close()
	book, err := ledger.Open(w.path, ledger.Options{Clock: w.clock, MaxBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.book = book
	undo := func() map[string]bool {
		t.Helper()
		if err := w.broker(&fuse{left: -1}).reshape(undone("r1")); !errors.Is(err, ledger.ErrFull) {
			t.Errorf("got %v, want that the ledger is full", err)
		}
		marked := map[string]bool{}
		for _, r := range w.card().Spec.Reshapes {
			marked[r.ID] = r.Undo
		}
		return marked
	}
	// What the ledger does not know the end of stays on the list.
	if diff := cmp.Diff(map[string]bool{"a": false, "r1": true, "x": false}, undo()); diff != "" {
		t.Errorf("to be undone (-want +got):\n%s", diff)
	}
	node = w.card()
	node.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r1", State: v1alpha1.ReshapeUndone}}
	if err := w.api.Status().Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"a": false, "x": false}, undo()); diff != "" {
		t.Errorf("to be undone (-want +got):\n%s", diff)
	}
}
