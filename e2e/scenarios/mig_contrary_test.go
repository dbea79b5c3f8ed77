package scenarios

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// The kubelet takes other slices than the scheduler wrote down, whenever it can, and online
// pods arrive while one of two cards is being changed: none is started on a slice that is
// gone, the agent's status becomes what the pods hold, what is pinned stays untouched, and
// the broker does not plan one change after the other that is refused.
func TestMIGContraryKubelet(t *testing.T) {
	t.Parallel()
	node := cutInSeven(migNode, 2)
	node.Cards.Contrary, node.Cards.Gap = true, time.Second
	w := slicedTownOf(t, node)
	w.dial.set(5, 0)
	w.serveOnSlices(4, v1alpha1.ReshapeIdle)
	w.awaitReady(4)
	w.awaitHolders()
	w.create(slicedJob("big", fourG))

	// Night: as soon as a change is wanted, two more replicas come.
	w.dial.set(1, 0)
	pinned := w.awaitChange()
	w.scale(6)
	w.wantSoon("while a card is changed", 6)
	w.awaitReady(6)
	w.awaitLoans("big")
	w.awaitBound(trainingNamespace, 1)
	w.awaitHolders()

	// Morning.
	w.dial.set(12, 0)
	w.scale(12)
	w.awaitReady(12)
	w.awaitLoans()
	w.awaitReshapes()
	w.awaitHolders()
	for _, x := range w.written() {
		if place := fmt.Sprint(x.GPU, x.Profile, "@", x.Start); pinned[place] {
			t.Errorf("%s at %s by %s, which is pinned", x.Op, place, x.By)
		}
	}
	if n := w.Devices(migNode).FailedStarts(); n > 0 {
		t.Errorf("%d containers were started on slices that were gone", n)
	}
	if n := w.countEntries("RESHAPE_FAILED"); n > 2 {
		t.Errorf("%d changes were refused", n)
	}
	w.closeTheBooks()
}

// awaitChange waits until a change of a card is wanted, and returns the places that are
// pinned then.
func (w *town) awaitChange() map[string]bool {
	w.t.Helper()
	pinned := map[string]bool{}
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		n, err := w.gpuNode(ctx)
		if err != nil || len(n.Spec.Reshapes) == 0 {
			verdict, _ := w.read(ctx, "/verdicts?subject=Job/research/big")
			return false, fmt.Sprintf("no change is wanted (%v) with pins at %v, and %v is held: %s", err, n.Spec.Pinned, w.Devices(migNode).Holding(), verdict)
		}
		for _, p := range n.Spec.Pinned {
			for _, at := range p.Places {
				pinned[fmt.Sprint(p.GPU, at.Profile, "@", at.Start)] = true
			}
		}
		return true, ""
	})
	if len(pinned) != 2*pinnedEach {
		w.t.Errorf("%d slices are pinned, want %d: %v", len(pinned), 2*pinnedEach, pinned)
	}
	return pinned
}

// awaitHolders waits until the agent says of each slice who holds it.
func (w *town) awaitHolders() {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		n, err := w.gpuNode(ctx)
		if err != nil {
			return false, err.Error()
		}
		said, held := map[string]string{}, map[string]string{}
		for _, gpu := range n.Status.GPUs {
			for _, in := range gpu.Instances {
				if in.Holder != nil {
					said[fmt.Sprint(gpu.UUID, in.Profile, "@", in.Start)] = in.Holder.Namespace + "/" + in.Holder.Name
				}
			}
		}
		for pod, devices := range w.Devices(migNode).Holding() {
			for _, d := range devices {
				held[fmt.Sprint(d.GPU, int32(d.Profile), "@", d.Start)] = pod
			}
		}
		return maps.Equal(said, held), fmt.Sprintf("the agent says %v, the pods hold %v", said, held)
	})
}
