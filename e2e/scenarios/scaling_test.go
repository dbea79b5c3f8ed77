package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// A service without an autoscaler has its replicas set by the broker: down to the least
// when there is little to do, and what that frees is lent; up at once when there is
// more. As soon as a real autoscaler has the same target, the broker lets go of it.
func TestTheBrokerScalesTheService(t *testing.T) {
	t.Parallel()
	w := newTown(t, 3)
	w.dial.set(5, 0) // 15 requests need three replicas of 10 slots
	w.create(service(3, 8))
	policy := lends(24)
	policy.Spec.Scaling = v1alpha1.Scaling{Mode: v1alpha1.ScalingManage, Min: 1, Max: ptr.To[int32](3)}
	w.create(policy)
	w.awaitBound(onlineNamespace, 3)
	w.awaitScaling(metav1.ConditionTrue)
	w.submit("one", 1, 8, nil)
	w.submit("two", 1, 8, nil)
	w.awaitLoans()

	w.dial.set(1, 0)
	w.awaitReplicas(1)
	w.awaitLoans("one", "two")
	w.awaitBound(trainingNamespace, 2)

	w.dial.set(9, 6) // too much for one
	w.awaitReplicas(3)
	w.awaitBound(onlineNamespace, 3) // how soon, the auditor judges
	w.awaitLoans()

	w.autoscale(7, 3) // nothing serves its metric: it leaves the replicas as they are
	w.awaitScaling(metav1.ConditionFalse)
	w.dial.set(1, 0)
	w.stays(3, 10*time.Second)
	w.closeTheBooks()
}

// A policy that only advises changes nothing, and its status says what it would have
// done.
func TestAdvice(t *testing.T) {
	t.Parallel()
	w := newTown(t, 3)
	w.dial.set(2, 0)
	w.create(service(1, 8))
	policy := lends(24)
	policy.Spec.Mode = v1alpha1.ModeAdvise
	w.create(policy)
	w.awaitBound(onlineNamespace, 1)
	w.submit("one", 1, 8, nil)
	w.awaitVerdict("Lender/serving/chat", "AdviseOnly")
	w.awaitAdvice("16 units would be lent", func(a *v1alpha1.Advice) bool { return a.LentUnits == 16 })
	w.awaitVerdict("Job/research/one", "NoLendableUnits")

	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	w.awaitAdvice("all would have been asked back, and pods would have waited", func(a *v1alpha1.Advice) bool {
		return a.LentUnits == 0 && a.Reclaims > 0 && a.PodsWaited > 0 && a.LongestWait.Duration > 0
	})
	entries, err := w.entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Loan != "" {
			t.Errorf("the ledger has %s of loan %s, want none of an adviser", e.Kind, e.Loan)
		}
	}
	if report := w.final(w.auditor); report.Loans > 0 || report.EvictedPods > 0 || len(report.Violations) > 0 {
		t.Errorf("the auditor saw %d loans, %d evictions and %v, want nothing", report.Loans, report.EvictedPods, report.Violations)
	}
}

// policy reads the service's policy.
func (w *town) policy(ctx context.Context) (*v1alpha1.LendingPolicy, error) {
	policy := &v1alpha1.LendingPolicy{}
	err := w.api.Get(ctx, client.ObjectKey{Namespace: onlineNamespace, Name: "chat"}, policy)
	return policy, err
}

func (w *town) awaitScaling(want metav1.ConditionStatus) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		policy, err := w.policy(ctx)
		if err != nil {
			return false, err.Error()
		}
		c := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionScaling)
		return c != nil && c.Status == want, fmt.Sprintf("condition Scaling is %+v, want %s", c, want)
	})
}

func (w *town) awaitAdvice(what string, is func(*v1alpha1.Advice) bool) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		policy, err := w.policy(ctx)
		if err != nil {
			return false, err.Error()
		}
		a := policy.Status.Advice
		return a != nil && is(a), fmt.Sprintf("the advice is %+v; want: %s", a, what)
	})
}

// awaitReplicas waits until the service is told to have so many.
func (w *town) awaitReplicas(want int32) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		got, err := w.replicas(ctx)
		return err == nil && got == want, fmt.Sprintf("the service is to have %d replicas, want %d (%v)", got, want, err)
	})
}

// stays checks that the service is told to have so many for as long as d.
func (w *town) stays(want int32, d time.Duration) {
	w.t.Helper()
	end := time.After(d)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-w.t.Context().Done():
			return
		case <-tick.C:
		}
		if got, err := w.replicas(w.t.Context()); err != nil || got != want {
			w.t.Fatalf("the service is to have %d replicas (%v), want %d all the time", got, err, want)
		}
	}
}

func (w *town) replicas(ctx context.Context) (int32, error) {
	d, err := w.Client().AppsV1().Deployments(onlineNamespace).Get(ctx, "chat", metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	return *d.Spec.Replicas, nil
}
