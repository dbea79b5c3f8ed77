package actuate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// newElasticWorld has a job of four one-GPU pods of which it can do with two.
func newElasticWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	job := w.job()
	job.Annotations = map[string]string{v1alpha1.AnnotationMinPods: "2"}
	job.Spec = batchv1.JobSpec{Suspend: ptr.To(true), Parallelism: ptr.To[int32](4), Template: template(1)}
	if err := w.api.Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	return w
}

func shrinking(units int64) lend.Action {
	a := reclaiming("research/tune-1")
	a.Shed = []lend.Grant{{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: units}}
	return a
}

// shedding are the two halves of shrinking a loan.
var shedding = map[string]operation{
	"ask": {
		prepare: admit,
		act:     func(b *broker) error { return b.apply(shrinking(1)) },
		writes: []string{
			"ledger SHED_INTENT", "status tune-1", "patch tune-3", "patch status tune-3", "delete tune-3", "patch tune", "ledger STOPPED",
		},
	},
	"return": {
		prepare: func(b *broker) error {
			err := errors.Join(admit(b), b.apply(shrinking(1)))
			b.jobController()
			return err
		},
		act: func(b *broker) error {
			a := shrinking(1)
			a.Kind = lend.ActionReturn
			return b.apply(a)
		},
		writes: []string{"status tune-1", "ledger SHED"},
	},
}

// TestShedOrder pins law 8 for a part of a loan.
func TestShedOrder(t *testing.T) {
	for name, op := range shedding {
		t.Run(name, func(t *testing.T) {
			w := newElasticWorld(t)
			if err := op.prepare(w.broker(&fuse{left: -1})); err != nil {
				t.Fatal(err)
			}
			f := &fuse{left: -1}
			if err := op.act(w.broker(f)); err != nil {
				t.Fatal(err)
			}
			f.writes = slices.DeleteFunc(f.writes, func(s string) bool {
				return strings.HasPrefix(s, "status ") && s != "status tune-1"
			})
			if diff := cmp.Diff(op.writes, f.writes); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
		})
	}
}

// namer has the Job controller stop the pods that it is told.
type namer struct {
	actuate.Jobs
	named []string
}

func (n *namer) StopsNamed(jobs.Ref) bool { return true }

func (n *namer) Resize(ctx context.Context, ref jobs.Ref, pods int64, leaving ...string) error {
	n.named = leaving
	return n.Jobs.Resize(ctx, ref, pods, leaving...)
}

// TestShedNamed: a controller that stops the pods that are named is told before they end.
func TestShedNamed(t *testing.T) {
	w := newElasticWorld(t)
	if err := admit(w.broker(&fuse{left: -1})); err != nil {
		t.Fatal(err)
	}
	f := &fuse{left: -1}
	b := w.broker(f)
	n := &namer{Jobs: b.actuator.Jobs}
	b.actuator.Jobs = n
	if err := b.apply(shrinking(1)); err != nil {
		t.Fatal(err)
	}
	told, ended := slices.Index(f.writes, "patch tune"), slices.Index(f.writes, "delete tune-3")
	if !slices.Equal(n.named, []string{"tune-3"}) || told < 0 || ended < told {
		t.Errorf("without %v, %v; want that tune-3 is named, and stopped after that", n.named, f.writes)
	}
}

// TestShedCrash kills the broker at every write of it. The next one finds its way to a
// loan that is smaller, or as large as before, in which ledger, Loan, status.lent and
// the job's size agree.
func TestShedCrash(t *testing.T) {
	for name, op := range shedding {
		op.crash(t, name, newElasticWorld, func(t *testing.T, w *world) {
			b := w.restart()
			for range 4 {
				b.round()
			}
			agreeOnSize(t, w)
		})
	}
}

func agreeOnSize(t *testing.T, w *world) {
	t.Helper()
	loans := w.loans()
	if len(loans) != 1 {
		t.Fatalf("%d loans, want 1", len(loans))
	}
	held := v1alpha1.Units(loans[0].Held())
	if len(loans[0].Status.Shedding) > 0 || held < 3 {
		t.Errorf("the loan holds %d units and sheds %v", held, loans[0].Status.Shedding)
	}
	known, open := w.book.Loan("research/tune-1")
	var booked int64
	for _, g := range known.Grants {
		booked += g.Count
	}
	if !open || booked != held || w.lent() != held || int64(*w.job().Spec.Parallelism) != held || len(w.pods()) != int(held) {
		t.Errorf("the Loan holds %d units, the ledger says %d (open: %v), status.lent %d, the job %d, and there are %d pods",
			held, booked, open, w.lent(), *w.job().Spec.Parallelism, len(w.pods()))
	}
	if report, err := w.book.Verify(); err != nil || !report.OK() {
		t.Errorf("the ledger is not sound: %v %v", err, report)
	}
}

// TestShedThenWhole: a loan that has shrunk is taken back whole, and its job is as large
// as before when it is admitted again.
func TestShedThenWhole(t *testing.T) {
	w := newElasticWorld(t)
	b := w.broker(&fuse{left: -1})
	if err := errors.Join(admit(b), b.apply(shrinking(2))); err != nil {
		t.Fatal(err)
	}
	b.jobController()
	b.round()
	if err := b.apply(reclaiming("research/tune-1")); err != nil {
		t.Fatal(err)
	}
	b.jobController()
	for range 4 {
		b.round()
	}
	if len(w.loans()) != 0 || w.lent() != 0 || *w.job().Spec.Parallelism != 4 {
		t.Errorf("%d loans, %d units lent, the job has %d pods; want none, none, 4", len(w.loans()), w.lent(), *w.job().Spec.Parallelism)
	}
	var paid int64
	entries, err := w.book.ByLoan("research/tune-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Kind.String() == "SHED" || e.Kind.String() == "RECLAIM_DONE" {
			paid += e.Grants[0].Count
		}
	}
	if paid != 4 { // two that were kept, and the same two in the end
		t.Errorf("SHED and RECLAIM_DONE name %d units, want 2 and 2", paid)
	}
}

// TestOverdueShed: what is left of the pods that were to go is killed at the deadline,
// and nothing else.
func TestOverdueShed(t *testing.T) {
	w := newElasticWorld(t)
	b := w.broker(&fuse{left: -1})
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	f := &fuse{left: -1}
	b = w.broker(f)
	view := b.gather()
	action := shrinking(1)
	// The API server does not answer deletions for a while.
	if err := b.actuator.Apply(b.context(), view, &lend.Plan{Actions: []lend.Action{action}}); err != nil {
		t.Fatal(err)
	}
	b.jobController()
	if got := len(w.pods()); got != 3 {
		t.Fatalf("%d pods, want 3", got)
	}
	w.clock.SetTime(now.Add(time.Minute))
	evict := action
	evict.Kind = lend.ActionEvict
	if err := b.apply(evict); err != nil {
		t.Fatal(err)
	}
	if got := len(w.pods()); got != 3 {
		t.Errorf("%d pods are left, want 3: no more go than the loan sheds", got)
	}
}

// TestPartAndWholeInOneRound: a plan may give a part back and ask for the whole loan. One
// of the two is carried out, and nothing is booked twice or never.
func TestPartAndWholeInOneRound(t *testing.T) {
	w := newElasticWorld(t)
	b := w.broker(&fuse{left: -1})
	if err := errors.Join(admit(b), b.apply(shrinking(1))); err != nil {
		t.Fatal(err)
	}
	b.jobController()
	part := shrinking(1)
	part.Kind = lend.ActionReturn
	if err := b.apply(part, reclaiming("research/tune-1")); err != nil {
		t.Fatal(err)
	}
	b.jobController()
	for range 4 {
		b.round()
	}
	known, open := w.book.Loan("research/tune-1")
	if len(w.loans()) != 0 || w.lent() != 0 || open {
		t.Errorf("%d loans, %d units lent, in the ledger %+v; want none", len(w.loans()), w.lent(), known)
	}
	entries, err := w.book.ByLoan("research/tune-1")
	if err != nil {
		t.Fatal(err)
	}
	if last := entries[len(entries)-1]; last.Kind.String() != "RECLAIM_DONE" || last.Grants[0].Count != 4 {
		t.Errorf("the last entry is %s of %v, want RECLAIM_DONE of all 4", last.Kind, last.Grants)
	}
}
