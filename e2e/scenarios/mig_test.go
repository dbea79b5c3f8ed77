package scenarios

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// cut splits namespace/name.
func cut(name string) (string, string, bool) { return strings.Cut(name, "/") }

// The reference example: an A100 cut in seven. By day all seven serve. At night three do,
// which are pinned, and four are lent to as many workers, in the shape that they have; in
// the morning these go back one by one. A node that is not lendable lends nothing.
func TestMIGReferenceExample(t *testing.T) {
	t.Parallel()
	w := newSlicedTown(t)
	if err := w.SetLendable(migNode, "an unprivileged pod would see all GPUs"); err != nil {
		t.Fatal(err)
	}
	w.dial.set(5, 0)
	w.openOnPinned(v1alpha1.ReshapeNever)
	w.scale(7)
	w.awaitReady(7)
	workers := []string{"worker-0", "worker-1", "worker-2", "worker-3"}
	for _, name := range workers {
		w.create(slicedJob(name, oneG))
	}

	// Evening. Four slices are idle, on a node that nothing may be lent on.
	before := w.onPinned()
	w.dial.set(2, 0)
	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	w.awaitVerdict("Lender/serving/chat", "BelowLowWater")
	for _, name := range workers {
		w.awaitMessage("Job/research/"+name, "nothing new is lent on node "+migNode+": ")
	}
	w.awaitLoans()
	if err := w.SetLendable(migNode, ""); err != nil {
		t.Fatal(err)
	}
	w.awaitLoans(workers...)
	w.awaitBound(trainingNamespace, 4)

	// Dawn: one more replica, then all.
	w.scale(4)
	w.awaitBound(onlineNamespace, 4) // how soon, the auditor judges
	w.awaitBound(trainingNamespace, 3)
	w.dial.set(5, 0)
	w.scale(7)
	w.awaitReady(7)
	w.awaitLoans()

	if after := w.onPinned(); !maps.Equal(before, after) {
		t.Errorf("on the pinned slices were %v and are %v", before, after)
	}
	if writes := w.written(); len(writes) > 0 {
		t.Errorf("%d writes to the cards, want none: %+v", len(writes), writes)
	}
	w.closeTheBooks()
}

// In a long trough four idle slices of one are made into one of four, for a job that waits
// for it, and back before the service needs them: by the load, and without a broker by the
// scheduler. The pods on the pinned slices never notice.
func TestMIGLongTrough(t *testing.T) {
	t.Parallel()
	w := newSlicedTown(t)
	w.dial.set(5, 0)
	w.openOnPinned(v1alpha1.ReshapeIdle)
	w.create(slicedJob("big", fourG))
	before := w.onPinned()

	// Night: the job gets a slice that was not there.
	w.dial.set(2, 0)
	w.lendMade("big")
	w.morning()

	// Night again, and the broker dies while the job holds its slice.
	w.dial.set(2, 0)
	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	w.lendMade("big")
	w.growAlone()

	if after := w.onPinned(); !maps.Equal(before, after) {
		t.Errorf("on the pinned slices were %v and are %v", before, after)
	}
	w.wantPinnedUntouched()
	for _, kind := range []string{"RESHAPE_INTENT", "RESHAPE_DONE", "RESHAPE_UNDONE"} {
		if n := w.countEntries(kind); n < 2 {
			t.Errorf("the ledger has %d %s, want one for each night", n, kind)
		}
	}
	w.closeTheBooks()
}

// countEntries counts the ledger's entries of a kind.
func (w *town) countEntries(kind string) int {
	w.t.Helper()
	entries, err := w.entries(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// A slice stays in use although nobody holds it: the change is taken back, nothing is
// lost, and what is lendable is lent in the shape that it has. Then the card loses all its
// slices: the pinned ones are made first, and nothing is lent until they are there.
func TestMIGTroubleWithACard(t *testing.T) {
	t.Parallel()
	w := newSlicedTown(t)
	w.dial.set(2, 0)
	w.openOnPinned(v1alpha1.ReshapeIdle)
	cards, err := w.Cards(migNode)
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.gpuNode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	card := n.Status.GPUs[0].UUID
	if err := cards.Leak(card, mig.Placed{Profile: oneGProfile, Start: 2}); err != nil {
		t.Fatal(err)
	}
	w.create(slicedJob("big", fourG))
	w.awaitEntry("big", "RESHAPE_INTENT")
	w.awaitEntry("big", "RESHAPE_FAILED")
	for i := range 4 {
		w.create(slicedJob(fmt.Sprintf("worker-%d", i), oneG))
	}
	w.awaitBound(trainingNamespace, 4)
	for i := range 4 { // written down when their pods may be there already
		w.awaitEntry(fmt.Sprintf("worker-%d", i), "LEND_GRANTED")
	}
	w.wantPinnedUntouched()

	if err := cards.Release(card); err != nil {
		t.Fatal(err)
	}
	pinned, rebooted := w.watchPins(), time.Now()
	if err := w.RebootNode(t.Context(), migNode); err != nil {
		t.Fatal(err)
	}
	w.awaitHolding(7) // until then what is said of replicas and pods may be of the time before
	w.awaitReady(3)
	w.awaitPinned() // wherever the kubelet put the service's new pods
	w.awaitBound(trainingNamespace, 4)
	w.wantPinnedFirst(rebooted, pinned())
	w.closeTheBooks()
}

// wantPinnedFirst checks that after a reboot the slices that were pinned were made before all
// others, and that nothing was lent before they were there.
func (w *town) wantPinnedFirst(rebooted time.Time, pinned [][]int) {
	w.t.Helper()
	var order []int
	var back time.Time
	for _, x := range w.written() {
		if x.Time.Before(rebooted) || x.Op != simgpu.OpCreateGI || x.Error != "" {
			continue
		}
		if order = append(order, x.Start); len(order) == pinnedEach {
			back = x.Time
		}
	}
	first, rest := order[:min(pinnedEach, len(order))], order[min(pinnedEach, len(order)):]
	if !slices.ContainsFunc(pinned, func(set []int) bool { return slices.Equal(set, first) }) || !slices.IsSorted(rest) ||
		!slices.Equal(slices.Sorted(slices.Values(order)), []int{0, 1, 2, 3, 4, 5, 6}) {
		w.t.Errorf("created at %v, want all seven, those that were pinned first, which were %v", order, pinned)
	}
	entries, err := w.entries(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Kind == "LEND_GRANTED" && e.Time.After(rebooted) && e.Time.Before(back) {
			w.t.Errorf("%s was lent %s after the reboot, before the pinned slices were there after %s", e.Job, e.Time.Sub(rebooted), back.Sub(rebooted))
		}
	}
}
