package actuate_test

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// heard is what jobs are told, by kind.
type heard struct {
	mu   sync.Mutex
	said map[string]string
}

func (h *heard) Tell(_ context.Context, ref jobs.Ref, _, a jobs.Admission, _ time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said[ref.GroupKind.Kind] += a.Message
	return nil
}

// TestTellTwins: of two jobs of one name and different kinds each hears what is said of it.
func TestTellTwins(t *testing.T) {
	w := newWorld(t)
	set := newJobSet(t)
	set.SetName(w.job().Name)
	set.SetUID("set")
	if err := w.api.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	b := w.broker(&fuse{left: -1}).installed()
	h := &heard{said: map[string]string{}}
	b.actuator.Teller = h
	verdicts := []lend.Verdict{
		{Kind: lend.SubjectJob, Subject: "research/tune", UID: string(w.job().UID), Reason: lend.ReasonUnknownQueue, Message: "of the Job"},
		{Kind: lend.SubjectJob, Subject: "research/tune", UID: string(set.GetUID()), Reason: lend.ReasonNoLendableUnits, Message: "of the JobSet"},
	}
	slices.SortFunc(verdicts, func(a, b lend.Verdict) int { return cmp.Compare(a.UID, b.UID) })
	if err := b.actuator.Apply(b.context(), b.gather(), &lend.Plan{Verdicts: verdicts}); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(map[string]string{"Job": "of the Job", "JobSet": "of the JobSet"}, h.said); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
