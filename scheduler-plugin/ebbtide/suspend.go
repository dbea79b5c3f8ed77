package ebbtide

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// jobOf returns the Job that the loan was made for; nil if it is of another kind, or not
// known.
func (p *Ebbtide) jobOf(loan *v1alpha1.Loan) *batchv1.Job {
	if !batch(loan) {
		return nil
	}
	job, err := p.jobs.Jobs(loan.Namespace).Get(loan.Spec.Job.Name)
	if err != nil || job.UID != loan.Spec.Job.UID {
		return nil
	}
	return job
}

// suspended reports whether the loan's job is a Job that is suspended: its pods are on their
// way out, and it gets no new ones. So a loan that was taken back stays closed
// when neither this scheduler's memory nor a marked pod tells of it any more. Of other
// kinds it is what the job says that keeps it closed (see said).
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
	return p.annotationsOf(loan)[v1alpha1.AnnotationTakenBack] == attemptOf(loan)
}

// operation is one step of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// suspend suspends the loan's job and says on it that the loan was taken back, unless
// it is gone, has ended or was admitted anew meanwhile. Only the broker starts it again.
// A job that cannot be suspended stops with its pods.
func (p *Ebbtide) suspend(ctx context.Context, loan *v1alpha1.Loan) error {
	path := suspendPath(loan)
	if job := p.jobOf(loan); path == "" || job != nil && (isFinished(job) || isSuspended(job) && p.saysTakenBack(loan)) {
		return nil
	}
	attempt := attemptOf(loan)
	err := p.patchJob(ctx, loan, types.JSONPatchType, []operation{
		{"test", "/metadata/uid", loan.Spec.Job.UID},
		{"test", "/metadata/annotations/ebbtide.dev~1attempt", attempt},
		{"add", "/metadata/annotations/ebbtide.dev~1taken-back", attempt},
		{"add", path, true},
	})
	if !apierrors.IsInvalid(err) {
		return err
	}
	// It is not as the patch wants it, or the API server does not want the patch.
	job, readErr := p.objects.read(ctx, loan)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if job == nil {
		return nil
	}
	at, counted := job.Annotations[v1alpha1.AnnotationAttempt]
	switch {
	case !counted:
		return p.patchJob(ctx, loan, types.MergePatchType, uncounted(loan, path))
	case at != attempt:
		return nil
	}
	return err
}

// uncounted is what suspend writes where no admission is counted yet.
func uncounted(loan *v1alpha1.Loan, path string) map[string]any {
	body := map[string]any{"metadata": map[string]any{
		"uid": loan.Spec.Job.UID, "annotations": map[string]any{v1alpha1.AnnotationTakenBack: attemptOf(loan)},
	}}
	steps := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, step := range steps { // pointers write / as ~1, and ~ as ~0
		steps[i] = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
	}
	at := body
	for _, step := range steps[:len(steps)-1] {
		next, ok := at[step].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[step] = next
		}
		at = next
	}
	at[steps[len(steps)-1]] = true
	return body
}

func (p *Ebbtide) patchJob(ctx context.Context, loan *v1alpha1.Loan, kind types.PatchType, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the patch: %w", err)
	}
	return p.objects.patch(ctx, loan, kind, data)
}

// onJob closes and opens loans with the suspension of their jobs, and wakes pods
// that waited for their job to be known.
func (p *Ebbtide) onJob(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if job, ok := obj.(*batchv1.Job); ok {
				p.restore(p.book.LoanOfJob(job.Namespace, job.UID))
				p.linked(logger, job)
			}
		},
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*batchv1.Job)
			job, ok2 := after.(*batchv1.Job)
			if !ok1 || !ok2 {
				return
			}
			p.relinked(logger, old, job)
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
		DeleteFunc: func(obj any) {
			if job, ok := deleted[*batchv1.Job](obj); ok {
				p.chains.Delete(job.Namespace, job.UID)
			}
		},
	}
}
