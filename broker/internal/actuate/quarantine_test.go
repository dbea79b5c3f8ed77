package actuate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// newDeafWorld is one in which no pod goes that is deleted, until that is let go.
func newDeafWorld(t testing.TB) *world {
	w := newWorld(t)
	w.deaf = true
	w.api = interceptor.NewClient(w.api, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if _, pod := o.(*corev1.Pod); pod && w.deaf {
				return nil
			}
			return c.Delete(ctx, o, opts...)
		},
	})
	return w
}

// decideAt is a whole decision at a time after the start, by all clocks.
func (b *broker) decideAt(after time.Duration) error {
	b.t.Helper()
	b.clock.SetTime(now.Add(after))
	view, err := b.gatherer.Gather(b.t.Context(), now.Add(after), b.epoch)
	if err != nil {
		b.t.Fatal(err)
	}
	plan, next := lend.Decide(view.Snapshot, b.state, lend.DefaultPolicy())
	b.state = next
	return b.actuator.Apply(b.context(), view, &plan)
}

func (b *broker) mustDecideAt(after time.Duration) {
	b.t.Helper()
	if err := b.decideAt(after); err != nil {
		b.t.Fatal(err)
	}
}

// stuck is a loan of four units, lent at 0s and asked back at 0s until 10s, whose pod has
// been killed and does not go.
func stuck(b *broker) error {
	return errors.Join(admit(b), b.apply(reclaiming("research/tune-1")), b.decideAt(10*time.Second))
}

const (
	killed = "LEND_INTENT LEND_GRANTED RECLAIM_INTENT STOPPED KILLED"
	due    = 10*time.Second + actuate.QuarantineAfter
)

// balances are unit-seconds.
func (w *world) balances() map[string]int64 {
	out := map[string]int64{}
	for _, b := range w.book.Balances() {
		name, _ := b.Account.MarshalText()
		out[string(name)] += b.UnitMS / 1000
	}
	return out
}

func (w *world) wantBalances(want map[string]int64) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.balances()); diff != "" {
		w.t.Errorf("unit-seconds (-want +got):\n%s", diff)
	}
}

func quarantined(loan *v1alpha1.Loan) bool {
	return meta.IsStatusConditionTrue(loan.Status.Conditions, v1alpha1.LoanQuarantined)
}

// TestQuarantine: units whose pods do not go five minutes after the deadline are nobody's:
// ledger, Loan and events say so. They are counted as lent until the pods are gone, and are
// lent to nobody else. The borrower pays until then, quarantine after that, and the lender
// is credited all of it.
func TestQuarantine(t *testing.T) {
	w := newDeafWorld(t)
	b := alive(w)
	recorder := events.NewFakeRecorder(100)
	b.actuator.Events.Recorder = recorder
	if err := stuck(b); err != nil {
		t.Fatal(err)
	}
	b.mustDecideAt(due - time.Second)
	wantKinds(t, w, "research/tune-1", killed)
	if loans := w.loans(); quarantined(&loans[0]) {
		t.Errorf("quarantined a second too early: %+v", loans[0].Status.Conditions)
	}
	b.mustDecideAt(due)
	b.mustDecideAt(due + time.Second)
	wantKinds(t, w, "research/tune-1", killed+" QUARANTINED")
	loan := w.loans()[0]
	if !quarantined(&loan) || w.lent() != 4 {
		t.Errorf("%d lent, conditions: %+v", w.lent(), loan.Status.Conditions)
	}
	if last := loan.Status.Records[len(loan.Status.Records)-1]; last.Kind != "QUARANTINED" {
		t.Errorf("the last record that the Loan carries is %s", last.Kind)
	}
	said := 0
	for len(recorder.Events) > 0 {
		if e := <-recorder.Events; len(e) > 19 && e[:19] == "Warning Quarantined" {
			said++
		}
	}
	if said != 2 { // on the Loan and on the job, once
		t.Errorf("%d events say so, want 2", said)
	}

	b.mustDecideAt(due + 2*time.Minute)
	if n := len(w.loans()); n != 1 {
		t.Fatalf("%d Loans while the pod is there", n)
	}
	w.deaf = false
	w.jobController()
	b.mustDecideAt(due + 3*time.Minute)
	wantKinds(t, w, "research/tune-1", killed+" QUARANTINED UNQUARANTINED")
	w.wantBalances(map[string]int64{"lender/serving/chat": 4 * 490, "borrower/research": -4 * 310, "quarantine": -4 * 180})
	if len(w.loans()) != 0 || w.lent() != 0 {
		t.Errorf("%d Loans, %d lent", len(w.loans()), w.lent())
	}
	settle(t, b, "return")
}

// TestQuarantineEnds: what else ends it.
func TestQuarantineEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end    func(t *testing.T, w *world)
		want   string
		reason string
	}{
		"the node is gone": {func(t *testing.T, w *world) {
			w.deaf = false
			if err := errors.Join(w.api.Delete(t.Context(), w.pod()), w.api.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu-1"}})); err != nil {
				t.Fatal(err)
			}
		}, "LOST", lend.ReasonNodeUnhealthy},
		"an administrator says so": {func(t *testing.T, w *world) { w.annotate(t, " reset by hand ") }, "UNQUARANTINED", lend.ReasonUnquarantined},
		"an empty word":            {func(t *testing.T, w *world) { w.annotate(t, " ") }, "QUARANTINED", lend.ReasonQuarantined},
		"nothing":                  {func(*testing.T, *world) {}, "QUARANTINED", lend.ReasonQuarantined},
	} {
		t.Run(name, func(t *testing.T) {
			w := newDeafWorld(t)
			b := alive(w)
			if err := errors.Join(stuck(b), b.decideAt(due)); err != nil {
				t.Fatal(err)
			}
			test.end(t, w)
			b.mustDecideAt(due + time.Minute)
			entries, err := w.book.ByLoan("research/tune-1")
			if err != nil {
				t.Fatal(err)
			}
			last := entries[len(entries)-1]
			if last.Kind.String() != test.want || last.Reason != test.reason {
				t.Errorf("the last entry is %s (%s: %s), want %s (%s)", last.Kind, last.Reason, last.Message, test.want, test.reason)
			}
			if over := test.want != "QUARANTINED"; over != (len(w.loans()) == 0) || over != (w.lent() == 0) {
				t.Errorf("%d Loans, %d lent", len(w.loans()), w.lent())
			}
		})
	}
}

func (w *world) annotate(t *testing.T, word string) {
	t.Helper()
	loan := w.loans()[0]
	loan.Annotations = map[string]string{v1alpha1.AnnotationUnquarantine: word}
	if err := w.api.Update(t.Context(), &loan); err != nil {
		t.Fatal(err)
	}
}

// TestNoQuarantineByAnnotation: the word counts for a loan that is quarantined, and for no
// other.
func TestNoQuarantineByAnnotation(t *testing.T) {
	w := newDeafWorld(t)
	b := alive(w)
	if err := stuck(b); err != nil {
		t.Fatal(err)
	}
	w.annotate(t, "give it to me")
	b.mustDecideAt(due - time.Second)
	wantKinds(t, w, "research/tune-1", killed)
	if len(w.loans()) != 1 {
		t.Error("the Loan is gone although its pod is there")
	}
}

// TestQuarantineOfEnding: loans that were not asked back, but end, and whose pods do not go.
func TestQuarantineOfEnding(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(t *testing.T, w *world)
		want string
	}{
		"the scheduler took it": {func(t *testing.T, w *world) {
			p := w.pod()
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: v1alpha1.ReasonPreempted}}
			if err := w.api.Status().Update(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}, "LEND_INTENT LEND_GRANTED STOPPED KILLED QUARANTINED UNQUARANTINED"},
		"the job is gone": {func(t *testing.T, w *world) {
			if err := w.api.Delete(t.Context(), w.job()); err != nil {
				t.Fatal(err)
			}
		}, "LEND_INTENT LEND_GRANTED KILLED QUARANTINED UNQUARANTINED"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newDeafWorld(t)
			b := alive(w)
			if err := admit(b); err != nil {
				t.Fatal(err)
			}
			test.end(t, w)
			for after := time.Duration(0); after <= 8*time.Minute; after += 15 * time.Second {
				b.mustDecideAt(after)
			}
			loan := w.loans()[0]
			if !quarantined(&loan) {
				t.Fatalf("ledger: %s; conditions: %+v", w.kinds("research/tune-1"), loan.Status.Conditions)
			}
			w.deaf = false
			if err := w.api.Delete(t.Context(), w.pod()); err != nil {
				t.Fatal(err)
			}
			b.mustDecideAt(9 * time.Minute)
			wantKinds(t, w, "research/tune-1", test.want)
		})
	}
}

// TestQuarantineCrash kills the broker at every write of quarantining and of its end, and
// takes the ledger's volume away too: the next one gets to the same books.
func TestQuarantineCrash(t *testing.T) {
	ops := map[string]operation{
		"quarantine": {prepare: stuck, act: func(b *broker) error { return b.decideAt(due) }},
		"end": {
			prepare: func(b *broker) error { return errors.Join(stuck(b), b.decideAt(due)) },
			act: func(b *broker) error {
				b.deaf = false
				b.jobController()
				return b.decideAt(due + time.Minute)
			},
		},
	}
	for name, op := range ops {
		for _, destroyed := range []bool{false, true} {
			title := name
			if destroyed {
				title += "/destroyed"
			}
			op.crash(t, title, newDeafWorld, func(t *testing.T, w *world) {
				if destroyed {
					w.destroy()
				}
				b := w.restart()
				if name == "quarantine" {
					b.mustDecideAt(due)
					if loans := w.loans(); len(loans) != 1 || !quarantined(&loans[0]) || w.lent() != 4 {
						t.Errorf("%d Loans, %d lent", len(loans), w.lent())
					}
					if known, _ := w.book.Loan("research/tune-1"); known.State != ledger.InQuarantine {
						t.Errorf("in the ledger it is %s: %s", known.State, w.kinds("research/tune-1"))
					}
					w.deaf = false
					w.jobController()
				}
				b.mustDecideAt(due + time.Minute)
				b.mustDecideAt(due + time.Minute)
				if len(w.loans()) != 0 || w.lent() != 0 {
					t.Errorf("%d Loans, %d lent", len(w.loans()), w.lent())
				}
				if !destroyed || w.kinds("research/tune-1") != "" { // else it was over before the volume was lost
					w.wantBalances(map[string]int64{"lender/serving/chat": 4 * 370, "borrower/research": -4 * 310, "quarantine": -4 * 60})
				}
				if report, err := w.book.Verify(); err != nil || !report.OK() {
					t.Errorf("the ledger is not sound: %v %v", err, report)
				}
			})
		}
	}
}
