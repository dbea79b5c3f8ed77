package ebbtide

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// turnAway stops a pod that has no node yet from getting one.
func (p *Ebbtide) turnAway(pod *corev1.Pod) {
	const reason = "the units lent to this job were taken back"
	if waiting := p.handle.GetWaitingPod(pod.UID); waiting != nil {
		waiting.Reject(Name, reason)
		return
	}
	// If it is too late to cancel, the next sweep finds the pod bound.
	if binding := p.handle.GetPodInPreBind(pod.UID); binding != nil {
		binding.CancelPod(reason)
	}
}

// evict tells one pod to stop. loan is nil if it has none.
func (p *Ebbtide) evict(ctx context.Context, pod *corev1.Pod, loan *v1alpha1.Loan, message string) error {
	seconds, err := p.announce(ctx, pod, loan, message)
	if err != nil {
		return err
	}
	return p.delete(ctx, pod, seconds, message)
}

// announce gives the pod the early notice and the mark, and returns how long it
// may take to stop. A pod that is gone is no error.
func (p *Ebbtide) announce(ctx context.Context, pod *corev1.Pod, loan *v1alpha1.Loan, message string) (seconds int64, err error) {
	now := p.clock.Now()
	seconds = graceSeconds(pod, loan, p.longestGrace(loan), now)
	if err := p.unlessGone(pod, p.notice(ctx, pod, now.Add(time.Duration(seconds)*time.Second))); err != nil {
		return 0, err
	}
	return seconds, p.unlessGone(pod, p.mark(ctx, pod, now, message))
}

// delete deletes the pod with a grace; one that is being deleted already with a
// longer grace gets the shorter one. A pod that is gone is no error.
func (p *Ebbtide) delete(ctx context.Context, pod *corev1.Pod, seconds int64, message string) error {
	if err := p.unlessGone(pod, p.untrack(ctx, pod)); err != nil {
		klog.FromContext(ctx).Error(err, "The pod's end may count as its failure", "pod", klog.KObj(pod)) // the units are owed
	}
	err := p.handle.ClientSet().CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &seconds,
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
	})
	if err != nil {
		return p.unlessGone(pod, err)
	}
	// gofail: var podDeleted struct{}
	evictedPodsTotal.Inc()
	p.handle.EventRecorder().Eventf(pod, nil, corev1.EventTypeNormal, lend.ReasonPreempted, "TakingBack", "%s", message)
	return nil
}

// untrack lets a Job's controller forget the pod, as it does itself with those that it
// deletes. Of one that it tracks to the end it remembers a failure, whatever the
// failure policy ignores, and waits minutes before it makes new pods.
func (p *Ebbtide) untrack(ctx context.Context, pod *corev1.Pod) error {
	if !slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer) {
		return nil
	}
	return p.patch(ctx, pod, types.StrategicMergePatchType, map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "$deleteFromPrimitiveList/finalizers": []string{batchv1.JobTrackingFinalizer},
	}})
}

// unlessGone returns the error of a call for the pod, or nil if the call failed
// only because the pod is gone.
func (p *Ebbtide) unlessGone(pod *corev1.Pod, err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) && p.replaced(pod) {
		return nil
	}
	return err
}

// replaced reports whether another pod has the pod's name by now.
func (p *Ebbtide) replaced(pod *corev1.Pod) bool {
	obj, exists, err := p.pods.GetByKey(pod.Namespace + "/" + pod.Name)
	if err != nil || !exists {
		return err == nil
	}
	current, ok := obj.(*corev1.Pod)
	return ok && current.UID != pod.UID
}

// longestGrace returns what the loan's lenders and the plugin's maxGrace leave of any pod's
// grace; loan may be nil. The time that it takes to undo what was made for the loan is
// in the Loan's maxGrace already.
func (p *Ebbtide) longestGrace(loan *v1alpha1.Loan) time.Duration {
	if loan == nil || loan.Spec.MaxGrace.Duration <= 0 {
		return p.args.MaxGrace
	}
	return min(loan.Spec.MaxGrace.Duration, p.args.MaxGrace)
}

// graceSeconds returns how long the pod may take to stop: its own grace, but no
// more than longest nor than the broker granted; at least a second, so that the
// node sees the pod end. loan may be nil.
func graceSeconds(pod *corev1.Pod, loan *v1alpha1.Loan, longest time.Duration, now time.Time) int64 {
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if own := pod.Spec.TerminationGracePeriodSeconds; own != nil {
		grace = *own
	}
	grace = min(grace, int64(longest/time.Second))
	if loan != nil && loan.Status.ReclaimBy != nil && len(loan.Status.Shedding) == 0 { // that of a part is not for all
		grace = min(grace, int64(loan.Status.ReclaimBy.Sub(now)/time.Second))
	}
	return max(grace, 1)
}

// notice writes the time by which the pod will be gone where the pod can read it.
func (p *Ebbtide) notice(ctx context.Context, pod *corev1.Pod, by time.Time) error {
	return p.patch(ctx, pod, types.MergePatchType, map[string]any{
		"metadata": map[string]any{
			"uid":         pod.UID,
			"annotations": map[string]string{v1alpha1.AnnotationReclaimBy: by.UTC().Format(time.RFC3339)},
		},
	})
}

// mark writes the condition that a Job's podFailurePolicy can ignore.
func (p *Ebbtide) mark(ctx context.Context, pod *corev1.Pod, now time.Time, message string) error {
	return p.patch(ctx, pod, types.StrategicMergePatchType, map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type:               corev1.DisruptionTarget,
			Status:             corev1.ConditionTrue,
			Reason:             corev1.PodReasonPreemptionByScheduler,
			Message:            message,
			LastTransitionTime: metav1.NewTime(now),
		}}},
	}, "status")
}

func (p *Ebbtide) patch(ctx context.Context, pod *corev1.Pod, kind types.PatchType, body any, subresources ...string) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the patch: %w", err)
	}
	_, err = p.handle.ClientSet().CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, kind, data, metav1.PatchOptions{}, subresources...)
	return err
}
