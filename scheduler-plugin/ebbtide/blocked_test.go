package ebbtide

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Pods that no quota came free for do not keep those from it that it suffices for.
func TestLargePodsDoNotHoldSmallOnesUp(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 72, 64)
	gone := w.online("gone", 4, n)
	w.online("stays", 60, n)
	for i := range 20 {
		w.schedule(w.online(fmt.Sprint("large-", i), 8, nil))
	}
	w.time.Step(1)
	w.schedule(w.online("small", 1, nil))
	w.activated = nil
	n.pods = n.pods[1:]
	must(t, w.pods.Delete(gone))
	w.onPod(klog.Background()).OnDelete(gone)
	if diff := cmp.Diff([]string{"serving/small"}, w.activated); diff != "" {
		t.Errorf("woken (-want +got):\n%s", diff)
	}
}

// Each pod that is tried wakes those that find room after it, so that all of what
// came free is used.
func TestAllThatFindRoomAreWoken(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 72, 64)
	gone := w.online("gone", 40, n)
	w.online("stays", 24, n)
	waiting := map[string]*corev1.Pod{}
	for i := range 40 {
		p := w.online(fmt.Sprint("p-", i), 1, nil)
		w.schedule(p)
		waiting["serving/"+p.Name] = p
	}
	w.activated = nil
	n.pods = n.pods[1:]
	must(t, w.pods.Delete(gone))
	w.onPod(klog.Background()).OnDelete(gone)
	if len(w.activated) != wakeAtOnce {
		t.Fatalf("%d pods were woken at first", len(w.activated))
	}
	for len(w.activated) > 0 {
		name := w.activated[0]
		w.activated = w.activated[1:]
		if p := waiting[name]; p != nil && p.Spec.NodeName == "" {
			if placed, _, status := w.schedule(p); placed == "" {
				t.Errorf("pod %s: %v", name, status.Message())
			}
			delete(waiting, name)
		}
	}
	if len(waiting) > 0 {
		t.Errorf("%d pods were never woken", len(waiting))
	}
}

func TestDeletedPodsLeaveTheLine(t *testing.T) {
	w := newWorld(t)
	w.node("n", 8, 8)
	gone, waits := w.online("gone", 1, nil), w.online("waits", 1, nil)
	must(t, w.pods.Delete(gone))
	w.sync()
	w.blocked.note("serving", gone)
	w.blocked.note("serving", waits)
	w.wake(klog.Background(), []string{"serving"})
	if diff := cmp.Diff([]string{"serving/waits"}, w.activated); diff != "" {
		t.Errorf("woken (-want +got):\n%s", diff)
	}
	if w.blocked.has(gone.UID) {
		t.Error("a pod that is gone waits for ever")
	}
}

// A gang on its tenant's own quota does not begin while others use that; once it has
// begun, nothing of it is refused.
func TestOwnQuotaIsNotHandedOutTwice(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 16, 64)
	q := w.tenant("lab", 8)
	bare := w.pod("bare", "lab", 0, 8, n)
	l := w.loan("a", 2, 4, own("n", 8))
	l.Spec.Borrower = q.Name
	must(t, w.loans.Update(l))
	first, second := w.borrowed(l, "a-0", nil), w.borrowed(l, "a-1", nil)
	_, status := w.PreFilter(t.Context(), newState(), first, nil)
	const want = "tenant lab's nominal quota of h100 is used by other pods; its loan waits"
	if status.IsSuccess() || !strings.Contains(status.Message(), want) {
		t.Fatalf("got %v %q, want %q", status.Code(), status.Message(), want)
	}
	// Quota that comes free wakes it.
	w.activated, n.pods = nil, nil
	must(t, w.pods.Delete(bare))
	w.onPod(klog.Background()).OnDelete(bare)
	if diff := cmp.Diff([]string{"research/a-0"}, w.activated); diff != "" {
		t.Errorf("woken (-want +got):\n%s", diff)
	}
	if _, status := w.tryPlace(first); !status.IsWait() {
		t.Fatalf("the gang does not begin: %v %q", status.Code(), status.Message())
	}
	w.pod("late", "lab", v1alpha1.PriorityOnline, 8, n)
	if _, status := w.tryPlace(second); !status.IsSuccess() {
		t.Errorf("a gang that has begun is refused: %v %q", status.Code(), status.Message())
	}
}

// What is kept of gangs goes with their groups.
func TestGangsOfDeletedGroupsAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.node("n", 8, 8)
	g := gangGroup("g", 2)
	store := w.serveGroups(g)
	pods := w.members("g", 2, 1)
	s, _ := w.tryPlace(pods[0])
	w.sweepGangs()
	if len(w.gangs.loans) != 1 {
		t.Fatalf("%d gangs, want the one that waits", len(w.gangs.loans))
	}
	must(t, store.Delete(g))
	w.onPodGroup(klog.Background()).OnDelete(g)
	w.sweepGangs()
	w.PostBind(t.Context(), s, pods[0], "n")
	w.Unreserve(t.Context(), s, pods[0], "n")
	if len(w.placedOf(&podGroup{name: "serving/g"})) > 0 || len(w.gangs.loans) > 0 || len(w.gangs.pods) > 0 {
		t.Errorf("%d gangs and %d of their pods are left", len(w.gangs.loans), len(w.gangs.pods))
	}
}
