package ebbtide

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// jobOf returns the job that the loan was made for, or nil if it is not known.
func (p *Ebbtide) jobOf(loan *v1alpha1.Loan) *batchv1.Job {
	job, err := p.jobs.Jobs(loan.Namespace).Get(loan.Spec.Job.Name)
	if err != nil || job.UID != loan.Spec.Job.UID {
		return nil
	}
	return job
}

// suspended reports whether the loan's job is suspended: its pods are on their
// way out, and it gets no new ones. So a loan that was taken back stays closed
// when neither this scheduler's memory nor a marked pod tells of it any more.
func (p *Ebbtide) suspended(loan *v1alpha1.Loan) bool {
	job := p.jobOf(loan)
	return job != nil && isSuspended(job)
}

func isSuspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

func isFinished(job *batchv1.Job) bool {
	for i := range job.Status.Conditions {
		c := &job.Status.Conditions[i]
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

func attemptOf(loan *v1alpha1.Loan) string { return strconv.Itoa(int(loan.Spec.Attempt)) }

// saysTakenBack reports whether the job carries the word that a scheduler took this
// very loan back.
func (p *Ebbtide) saysTakenBack(loan *v1alpha1.Loan) bool {
	job := p.jobOf(loan)
	return job != nil && job.Annotations[v1alpha1.AnnotationTakenBack] == attemptOf(loan)
}

// operation is one step of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// suspend suspends the loan's job and says on it that the loan was taken back,
// unless it is gone, has ended or was admitted anew meanwhile. Only the broker
// starts it again.
func (p *Ebbtide) suspend(ctx context.Context, loan *v1alpha1.Loan) error {
	job := p.jobOf(loan)
	if job == nil || isFinished(job) || isSuspended(job) && p.saysTakenBack(loan) {
		return nil
	}
	kind, body := suspension(job, loan)
	if body == nil {
		return nil
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the patch: %w", err)
	}
	_, err = p.handle.ClientSet().BatchV1().Jobs(job.Namespace).Patch(ctx, job.Name, kind, data, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// suspension returns the patch that suspends the job, bound to its UID and to the
// loan's admission; a nil body if the job is at another admission.
func suspension(job *batchv1.Job, loan *v1alpha1.Loan) (types.PatchType, any) {
	attempt, counted := job.Annotations[v1alpha1.AnnotationAttempt]
	switch {
	case !counted:
		return types.MergePatchType, map[string]any{
			"metadata": map[string]any{"uid": job.UID, "annotations": map[string]string{v1alpha1.AnnotationTakenBack: attemptOf(loan)}},
			"spec":     map[string]any{"suspend": true},
		}
	case attempt != attemptOf(loan):
		return "", nil
	}
	return types.JSONPatchType, []operation{
		{"test", "/metadata/uid", job.UID},
		{"test", "/metadata/annotations/ebbtide.dev~1attempt", attempt},
		{"add", "/metadata/annotations/ebbtide.dev~1taken-back", attempt},
		{"add", "/spec/suspend", true},
	}
}

// onJob closes and opens loans with the suspension of their jobs, and wakes pods
// that waited for their job to be known.
func (p *Ebbtide) onJob(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if job, ok := obj.(*batchv1.Job); ok {
				p.restore(p.book.LoanOfJob(job.Namespace, job.UID))
				p.activate(logger, p.podsBy(byJob, job.Namespace+"/"+string(job.UID)))
			}
		},
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*batchv1.Job)
			job, ok2 := after.(*batchv1.Job)
			if !ok1 || !ok2 {
				return
			}
			loan := p.book.LoanOfJob(job.Namespace, job.UID)
			switch {
			case loan == nil:
			case isSuspended(old) != isSuspended(job) && isSuspended(job):
				p.ended(logger, loan, "the job that controls this pod was suspended")
			case isSuspended(old) != isSuspended(job):
				p.activate(logger, p.pendingOf(loan))
			case wanted(loan, old) != wanted(loan, job):
				p.muster(logger, loan, "") // fewer are wanted: perhaps all are there
			}
		},
	}
}
