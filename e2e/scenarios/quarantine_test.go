package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const (
	stuckAfter      = 3 * time.Second
	quarantineAfter = 8 * time.Second
)

// Pods that nothing ends, as of a process that hangs in its driver, keep their units, and
// nobody is given them. Whoever waited for them gets others; then they are quarantined, and
// are to be had again when the pods have gone after all.
func TestPodsThatNeverDie(t *testing.T) {
	t.Parallel()
	w := newPatientCluster(t, 3, brokerWith("{youngReplica: 1s, stableWindow: 1s, panicWindow: 1s, forecast: false}",
		fmt.Sprintf("{stuckAfter: %s, quarantineAfter: %s, %s", stuckAfter, quarantineAfter, quick[1:])))
	w.late += stuckAfter + maxGrace // another has to go
	w.audit()
	w.settle(24)
	w.dial.set(2, 0)
	w.serve(1, 8, 24)
	w.awaitBound(onlineNamespace, 1)
	w.submit("other", 1, 8, nil)
	w.awaitBound(trainingNamespace, 1)
	w.awaitOld("other")         // when pods began is known to the second
	deaf := stubborn("deaf", 1) // has lost less than the older one, and is asked first
	deaf.Spec.Template.Annotations = map[string]string{kubelet.AnnotationUnkillable: ""}
	w.create(deaf)
	w.awaitLoans("deaf", "other")
	w.awaitBound(trainingNamespace, 2)
	w.awaitOld("deaf") // a younger loan is spared, and the other would go in its place

	w.scale(2)
	asked := w.awaitAsked("deaf")
	w.awaitBound(onlineNamespace, 2)
	t.Logf("the online pod had other units %s after the first were asked back; the grace is %s", time.Since(asked).Round(time.Millisecond), maxGrace)
	if took, limit := time.Since(asked), maxGrace+stuckAfter+maxGrace+slack; took > limit {
		t.Errorf("that is more than %s", limit)
	}
	w.awaitEntry("other", "RECLAIM_DONE")

	var status v1alpha1.LoanStatus
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		status = loans["deaf"].Status
		return meta.IsStatusConditionTrue(status.Conditions, v1alpha1.LoanQuarantined) && status.ReclaimBy != nil, fmt.Sprintf("the loan says %+v (%v)", status.Conditions, err)
	})
	said := meta.FindStatusCondition(status.Conditions, v1alpha1.LoanQuarantined).LastTransitionTime
	took := said.Sub(status.ReclaimBy.Time)
	t.Logf("quarantined %s after its time was over", took.Round(time.Millisecond))
	if took < quarantineAfter-time.Second { // the condition is to the second
		t.Errorf("quarantined %s after its time was over, before %s", took, quarantineAfter)
	}
	w.wantEnding("deaf", "QUARANTINED", lend.ReasonQuarantined)
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		events, err := w.Client().EventsV1().Events(trainingNamespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=" + lend.ReasonQuarantined})
		if err != nil {
			return false, err.Error()
		}
		return len(events.Items) == 2, fmt.Sprintf("%d events say so, want one on the Loan and one on the job", len(events.Items))
	})
	w.submit("next", 1, 8, nil)
	w.throughout(3*time.Second, "deaf") // nobody gets its units

	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, kubelet.AnnotationUnkillable)
	if _, err := w.Client().CoreV1().Pods(trainingNamespace).Patch(t.Context(), w.podsOf("deaf")[0].Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		entries, err := w.entries(ctx)
		for _, e := range entries {
			if e.Kind == "UNQUARANTINED" {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%d entries, and none says that the units are free (%v)", len(entries), err)
	})
	w.awaitBound(trainingNamespace, 1) // and now one of those that wait has them
	w.closeTheBooks()
}
