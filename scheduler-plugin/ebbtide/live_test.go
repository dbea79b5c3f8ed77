package ebbtide

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// TestBindRefusedWhenReclaiming: the cache shows an open loan, and the API server knows
// better: the pod is not bound. Where both agree it is.
func TestBindRefusedWhenReclaiming(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus) func(*v1alpha1.Loan) *v1alpha1.Loan {
		return func(l *v1alpha1.Loan) *v1alpha1.Loan {
			meta.SetStatusCondition(&l.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: "Test"})
			return l
		}
	}
	for name, tc := range map[string]struct {
		now  func(*v1alpha1.Loan) *v1alpha1.Loan
		want fwk.Code
	}{
		"as the cache says": {func(l *v1alpha1.Loan) *v1alpha1.Loan { return l }, fwk.Success},
		"active":            {condition(v1alpha1.LoanActive, metav1.ConditionTrue), fwk.Success},
		"a later leader": {func(l *v1alpha1.Loan) *v1alpha1.Loan {
			l.Status.Epoch++
			return l
		}, fwk.Success},
		"reclaiming": {condition(v1alpha1.LoanReclaiming, metav1.ConditionTrue), fwk.Unschedulable},
		"returned":   {condition(v1alpha1.LoanReturned, metav1.ConditionTrue), fwk.Unschedulable},
		"closed":     {condition(v1alpha1.LoanActive, metav1.ConditionFalse), fwk.Unschedulable},
		"gone":       {func(*v1alpha1.Loan) *v1alpha1.Loan { return nil }, fwk.Unschedulable},
		"on its way": {func(l *v1alpha1.Loan) *v1alpha1.Loan {
			l.DeletionTimestamp = &metav1.Time{Time: epoch}
			return l
		}, fwk.Unschedulable},
		"made anew": {func(l *v1alpha1.Loan) *v1alpha1.Loan {
			l.UID = "another"
			return l
		}, fwk.Unschedulable},
		"of another epoch": {func(l *v1alpha1.Loan) *v1alpha1.Loan {
			l.Spec.Epoch++
			return l
		}, fwk.Unschedulable},
		"written by an earlier leader": {func(l *v1alpha1.Loan) *v1alpha1.Loan {
			l.Status.Epoch--
			return l
		}, fwk.Unschedulable},
		"asked for what it has there": {func(l *v1alpha1.Loan) *v1alpha1.Loan {
			l.Status.Shedding = []v1alpha1.Grant{l.Spec.Grants[0]}
			return l
		}, fwk.Unschedulable},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n := w.node("n", 8, 64)
			l := w.loan("a", 1, 2, lent("n", 2))
			l.Status.Epoch = 3
			p, state, s := w.admit(l, "p")
			if !s.IsSuccess() {
				t.Fatal(s.Message())
			}
			w.server = map[string]*v1alpha1.Loan{"research/a-1": tc.now(l.DeepCopy())}
			if _, s := w.PreBindPreFlight(t.Context(), state, p, n.node.Name); !s.IsSuccess() {
				t.Fatalf("PreBind is left out: %v", s.Code())
			}
			if s := w.PreBind(t.Context(), state, p, n.node.Name); s.Code() != tc.want {
				t.Errorf("PreBind says %v %q, want %v", s.Code(), s.Message(), tc.want)
			}
		})
	}
}

// TestBindWithoutAnAnswer: a loan of which nobody can say how it stands lets nobody in, and
// who has no loan does not ask.
func TestBindWithoutAnAnswer(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 64)
	p, state, _ := w.admit(w.loan("a", 1, 2, lent("n", 2)), "p")
	w.failing = errors.New("the API server is gone")
	want := "read the pod's loan research/a-1 before the bind: the API server is gone"
	if s := w.PreBind(t.Context(), state, p, n.node.Name); s.Code() != fwk.Error || s.Message() != want {
		t.Errorf("PreBind says %v %q", s.Code(), s.Message())
	}
	online, state := w.online("o", 1, nil), newState()
	if _, s := w.PreFilter(t.Context(), state, online, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	asked := w.asked.Load()
	if _, s := w.PreBindPreFlight(t.Context(), state, online, n.node.Name); !s.IsSkip() {
		t.Errorf("of a pod without a loan PreBind is not left out: %v", s.Code())
	}
	if w.asked.Load() != asked {
		t.Error("the API server was asked for a pod without a loan")
	}
}

// TestGangAsksTwice: the pods of a gang that bind at the same time share the questions, and
// no answer is to a question that was asked before they came.
func TestGangAsksTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, asked := make(chan struct{}), int64(0)
		l := newLive(func(context.Context, string, string) (*v1alpha1.Loan, error) {
			asked++ // one at a time
			at := asked
			<-release
			return &v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Generation: at}}, nil
		})
		var group sync.WaitGroup
		read := func(want int64) {
			loan, err := l.read(t.Context(), types.NamespacedName{Namespace: "research", Name: "a-1"})
			if err != nil || loan.Generation != want {
				t.Errorf("the answer is to question %d (%v), want %d", loan.Generation, err, want)
			}
		}
		group.Go(func() { read(1) })
		synctest.Wait() // the first question is on its way: what it will tell may be old for those who come now
		for range 500 {
			group.Go(func() { read(2) })
		}
		synctest.Wait()
		close(release)
		group.Wait()
		if synctest.Wait(); asked != 2 || len(l.next)+len(l.busy) != 0 {
			t.Errorf("%d questions for 501 pods; left: %v %v", asked, l.next, l.busy)
		}
	})
}

// TestLiveReadEnds: nobody waits longer than livePatience.
func TestLiveReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLive(func(ctx context.Context, _, _ string) (*v1alpha1.Loan, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		began := time.Now()
		_, err := l.read(t.Context(), types.NamespacedName{Name: "a"})
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != livePatience {
			t.Errorf("it ends after %s with %v", took, err)
		}
	})
}
