package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// A window of the schedule begins while the load is low, and a job holds what was made: the
// job is asked back before the window begins, no earlier than the policy's notice says, and
// the card is as it was within the lender's grace.
//
// That is what is promised: the notice counts a reclaim as the lender's grace at least, and
// a loan of what was made has a grace that is shorter by the undoing. What the programs may
// need beyond that on a busy machine is slack, as for online pods that wait.
func TestMIGBackBeforeAWindow(t *testing.T) {
	t.Parallel()
	w := newSlicedTown(t)
	w.dial.set(2, 0)
	w.openOnPinned(v1alpha1.ReshapeIdle)
	w.create(slicedJob("big", fourG))
	w.lendMade("big")

	from := w.announce(7)
	labtest.Eventually(t, time.Until(from)+patience, func(ctx context.Context) (bool, string) {
		n, err := w.gpuNode(ctx)
		return err == nil && len(n.Spec.Reshapes) == 0, fmt.Sprintf("reshapes %+v, want none (%v)", n.Spec.Reshapes, err)
	})
	w.awaitLoans()
	w.awaitBound(trainingNamespace, 0)
	asked := w.askedBack("big")
	if !asked.Before(from) {
		t.Errorf("the job was asked back %s after the window began", asked.Sub(from))
	}
	policy, err := w.policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	notice := policy.Status.Notice.Duration
	t.Logf("the job was asked back %s before the window; notice %s", from.Sub(asked), notice)
	if asked.Before(from.Add(-notice)) {
		t.Errorf("the job was asked back %s before the window, more than the notice of %s", from.Sub(asked), notice)
	}
	w.wantRemade(asked.Add(maxGrace + slack))
	w.wantPinnedUntouched()
	w.closeTheBooks()
}

// ahead is how long before a window it is announced, at least.
const ahead = 20 * time.Second

// announce has the service's policy keep units from soon on, and returns the time: crons
// know whole minutes.
func (w *town) announce(keep int64) time.Time {
	w.t.Helper()
	var from time.Time
	cron := func(at time.Time) string { return at.Format("4 15 2 1 *") }
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		p, err := w.policy(ctx)
		if err != nil {
			return false, err.Error()
		}
		from = windowAfter(time.Now())
		p.Spec.Schedule = []v1alpha1.Window{{Start: cron(from), End: cron(from.Add(time.Hour)), Keep: keep}}
		err = w.api.Update(ctx, p) // the broker writes its status meanwhile
		return err == nil, fmt.Sprintf("announce a window: %v", err)
	})
	return from
}

// windowAfter is the first minute that is long enough ahead for the programs to see the
// window, and to ask back in time.
func windowAfter(now time.Time) time.Time {
	return now.Add(ahead + time.Minute - time.Nanosecond).Truncate(time.Minute).UTC()
}

// Windows are announced early enough, also at the end of a minute.
func TestWindowIsAhead(t *testing.T) {
	minute := time.Date(2026, time.March, 1, 10, 0, 0, 0, time.UTC)
	for second := range 60 {
		now := minute.Add(time.Duration(second) * time.Second)
		from := windowAfter(now)
		if in := from.Sub(now); in < 20*time.Second || in >= 80*time.Second || from.Second() != 0 {
			t.Errorf("at second %d the window is %s ahead", second, in)
		}
	}
}

// askedBack is when the ledger says that the job's only loan was asked back.
func (w *town) askedBack(job string) time.Time {
	w.t.Helper()
	entries, err := w.entries(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var at []time.Time
	for _, e := range entries {
		if e.Kind == "RECLAIM_INTENT" && strings.HasSuffix(e.Job, "/"+job) {
			at = append(at, e.Time)
		}
	}
	if len(at) != 1 {
		w.t.Fatalf("%s was asked back at %v, want it once", job, at)
	}
	return at[0]
}

// wantRemade checks that the four slices that were gone are there again, and in time.
func (w *town) wantRemade(limit time.Time) {
	w.t.Helper()
	var starts []int
	for _, x := range w.written() {
		if x.Op == simgpu.OpCreateGI && x.Profile == oneGProfile && x.Error == "" {
			starts = append(starts, x.Start)
		}
		if late := x.Time.Sub(limit); late > 0 {
			w.t.Errorf("%s of profile %d at %d is %s too late", x.Op, x.Profile, x.Start, late)
		}
	}
	slices.Sort(starts)
	if diff := cmp.Diff([]int{0, 1, 2, 3}, starts); diff != "" {
		w.t.Errorf("slices of one made again (-want +got):\n%s", diff)
	}
}
