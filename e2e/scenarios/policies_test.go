package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// lendingStops is within what nothing more is lent after a policy is gone.
const lendingStops = 10 * time.Second

// While an admission policy does not hold, because somebody deleted its binding, the broker
// lends nothing new, and takes back as ever. When it is there again, who waited is served.
func TestPolicyDeleted(t *testing.T) {
	t.Parallel()
	w := patientNight(t, 3)
	w.submit("before", 1, 8, nil)
	w.awaitLoans("before")
	w.awaitBound(trainingNamespace, 1)

	bindings := w.Client().AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	shipped, err := bindings.Get(t.Context(), "ebbtide-pods", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := bindings.Delete(t.Context(), shipped.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	noticed := w.awaitNote("POLICY_MISSING")
	t.Logf("the broker said so %s after the policy was gone", noticed.Sub(gone).Round(time.Millisecond))
	if took := noticed.Sub(gone); took > lendingStops {
		t.Errorf("the broker took %s to notice, more than %s", took, lendingStops)
	}
	w.submit("after", 1, 8, nil) // there is room for it, as its loan in the end shows
	w.throughout(5*time.Second, "before")
	w.scale(3)
	w.awaitEntry("before", "RECLAIM_DONE")
	w.awaitBound(onlineNamespace, 3)

	w.scale(1)
	w.awaitBound(onlineNamespace, 1)
	w.throughout(5 * time.Second)
	shipped.ObjectMeta = metav1.ObjectMeta{Name: shipped.Name, Labels: shipped.Labels, Annotations: shipped.Annotations}
	if _, err := bindings.Create(t.Context(), shipped, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.awaitNote("POLICY_BACK")
	w.awaitLoans("before", "after")
	w.awaitBound(trainingNamespace, 2)
	w.closeTheBooks()
}

// awaitNote waits for an entry that is about no job, and returns when it was written.
func (w *town) awaitNote(kind string) (at time.Time) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		entries, err := w.entries(ctx)
		for _, e := range entries {
			if e.Kind == kind {
				at = e.Time
				return true, ""
			}
		}
		return false, fmt.Sprintf("%d entries, and none is %s (%v)", len(entries), kind, err)
	})
	return at
}
