package escapes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// answer is what is expected of an attempt: made is the object that it made or
// changed, if any, and err what the API server said.
type answer func(t *testing.T, w *town, made client.Object, err error)

// refused: the API server said no, for this reason and in these words.
func refused(reason metav1.StatusReason, words ...string) answer {
	return func(t *testing.T, _ *town, _ client.Object, err error) {
		t.Helper()
		if err == nil {
			t.Fatal("it was accepted, want it refused")
		}
		var status apierrors.APIStatus
		if !errors.As(err, &status) || apierrors.ReasonForError(err) != reason {
			t.Errorf("the reason is %q, want %q: %v", apierrors.ReasonForError(err), reason, err)
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("the refusal does not say %q: %v", word, err)
			}
		}
	}
}

// forbidden and invalid are the usual two refusals.
func forbidden(words ...string) answer { return refused(metav1.StatusReasonForbidden, words...) }
func invalid(words ...string) answer   { return refused(metav1.StatusReasonInvalid, words...) }

// noRole: Kubernetes' own authorization refuses it.
func noRole(verb, resource string) answer {
	return forbidden(fmt.Sprintf("User %q cannot %s resource %q", "mallory", verb, resource))
}

// accepted must be true of whatever is not refused.
func accepted(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("it was refused, want it accepted: %v", err)
	}
}

// podWaits: the pod was accepted, gets no node, and its condition says why.
func podWaits(words string) answer {
	return func(t *testing.T, w *town, made client.Object, err error) {
		t.Helper()
		accepted(t, err)
		labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
			var pod corev1.Pod
			if err := w.admin.Get(ctx, client.ObjectKeyFromObject(made), &pod); err != nil {
				return false, err.Error()
			}
			if pod.Spec.NodeName != "" {
				t.Fatalf("the pod got node %s", pod.Spec.NodeName)
			}
			said := describe(&pod)
			return strings.Contains(said, words), fmt.Sprintf("the pod waits, but says %q instead of %q", said, words)
		})
	}
}

// jobWaits: the job was accepted, is suspended, and its condition says why.
func jobWaits(reasons ...string) answer {
	return func(t *testing.T, w *town, made client.Object, err error) {
		t.Helper()
		accepted(t, err)
		labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
			var job batchv1.Job
			if err := w.admin.Get(ctx, client.ObjectKeyFromObject(made), &job); err != nil {
				return false, err.Error()
			}
			if job.Spec.Suspend == nil || !*job.Spec.Suspend {
				t.Fatalf("the job was started: %+v", job.Status.Conditions)
			}
			for _, c := range job.Status.Conditions {
				for _, reason := range reasons {
					if c.Type == v1alpha1.ConditionAdmitted && c.Status == corev1.ConditionFalse && c.Reason == reason {
						return true, ""
					}
				}
			}
			return false, fmt.Sprintf("the job waits, but says %+v instead of %v", job.Status.Conditions, reasons)
		})
	}
}

// buysNothing: it was accepted, and this comes of it.
func buysNothing(then func(ctx context.Context, w *town, made client.Object) (bool, string)) answer {
	return func(t *testing.T, w *town, made client.Object, err error) {
		t.Helper()
		accepted(t, err)
		labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) { return then(ctx, w, made) })
	}
}

// podRuns: the pod was accepted and got a node, within its tenant's quota.
func podRuns(ctx context.Context, w *town, made client.Object) (bool, string) {
	var pod corev1.Pod
	if err := w.admin.Get(ctx, client.ObjectKeyFromObject(made), &pod); err != nil {
		return false, err.Error()
	}
	return pod.Spec.NodeName != "", describe(&pod)
}

// loanOf finds the loan of a job by the job's name; nil if there is none.
func (w *town) loanOf(ctx context.Context, namespace, job string) (*v1alpha1.Loan, error) {
	var list v1alpha1.LoanList
	if err := w.admin.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].Spec.Job.Name == job {
			return &list.Items[i], nil
		}
	}
	return nil, nil
}

// podsOf counts the pods that Kubernetes made for a job, whatever became of them.
func (w *town) podsOf(ctx context.Context, namespace, job string) (int, error) {
	var list corev1.PodList
	err := w.admin.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{batchv1.JobNameLabel: job})
	return len(list.Items), err
}
