package gather

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// TestEndOfPodsIsNoEndOfTheJob: pods that were asked for have not finished when they are
// gone; they were stopped. An object that has gone meanwhile has ended.
func TestEndOfPodsIsNoEndOfTheJob(t *testing.T) {
	for kind, of := range map[string]v1alpha1.JobRef{
		"pod": {APIVersion: "v1", Kind: "Pod", Name: "p", UID: "p"},
		"job": {APIVersion: "batch/v1", Kind: "Job", Name: "p", UID: "p"},
	} {
		for _, why := range []string{"", v1alpha1.LoanReclaiming, ConditionPreempted} {
			object := &v1alpha1.Loan{Spec: v1alpha1.LoanSpec{Job: of, Pods: 1, UnitsPerPod: 1}}
			if why != "" {
				meta.SetStatusCondition(&object.Status.Conditions, metav1.Condition{Type: why, Status: metav1.ConditionTrue})
			}
			got := newLoan(object).finish(nil, 0, time.Now())
			if want := kind == "job" || why == ""; got.Finished != want {
				t.Errorf("%s, %q: finished %t, want %t", kind, why, got.Finished, want)
			}
		}
	}
}
