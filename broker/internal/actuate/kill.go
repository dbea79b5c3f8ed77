package actuate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

// mostReads is how often a pod that changes all the time is looked at before its deletion is
// left to the next decision.
const mostReads = 5

// killAll kills pods of a loan, so many side by side, and before each lot asks the API
// server whether the loan is still to end, and this broker still the one to do it. That one
// cannot be killed spares no other.
func (r *round) killAll(ctx context.Context, l *loanRef, pods []*corev1.Pod, seconds func(*corev1.Pod) int64) error {
	var errs []error
	for lot := range slices.Chunk(pods, parallel) {
		if err := r.mayKill(ctx, l); err != nil {
			return errors.Join(append(errs, err)...)
		}
		failed := make([]error, len(lot))
		var group errgroup.Group
		for i, pod := range lot {
			group.Go(func() error {
				failed[i] = r.kill(ctx, pod, seconds(pod))
				return nil
			})
		}
		_ = group.Wait() // errors are in failed
		errs = append(errs, failed...)
	}
	return errors.Join(errs...)
}

// mayKill reads a loan live. Whoever slept past a new leader's coming learns of it here, and
// so does one whose caches are late: what they say was asked back may be over, and its job
// lent to anew.
func (r *round) mayKill(ctx context.Context, l *loanRef) error {
	var now v1alpha1.Loan
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(l.object), &now); err != nil {
		return fmt.Errorf("read the Loan before its pods are killed: %w", err)
	}
	asked := func(o *v1alpha1.Loan) bool {
		return meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.LoanReclaiming) || len(o.Status.Shedding) > 0
	}
	switch {
	case max(now.Spec.Epoch, now.Status.Epoch) > r.Epoch:
		return fmt.Errorf("%w: the Loan was written in epoch %d, and this is %d", ErrStop, max(now.Spec.Epoch, now.Status.Epoch), r.Epoch)
	case now.UID != l.object.UID:
		return errors.New("another Loan has the name by now: its pods are not killed")
	case asked(l.object) && !asked(&now) || gather.Returned(&now):
		return errors.New("the Loan is not to end any more: its pods are not killed")
	}
	return nil
}

// kill deletes exactly this pod, as it is now, which must not count as one that has failed.
func (r *round) kill(ctx context.Context, pod *corev1.Pod, graceSeconds int64) error {
	r.untrack(ctx, pod)
	r.excuse(ctx, pod)
	for range mostReads {
		var now corev1.Pod
		err := r.Live.Get(ctx, client.ObjectKeyFromObject(pod), &now)
		if apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID {
			return nil // it is gone
		}
		if err != nil {
			return fmt.Errorf("read pod %s/%s before it is deleted: %w", pod.Namespace, pod.Name, err)
		}
		target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
		err = r.Client.Delete(ctx, target, &client.DeleteOptions{
			GracePeriodSeconds: &graceSeconds,
			Preconditions:      &metav1.Preconditions{UID: &now.UID, ResourceVersion: &now.ResourceVersion},
		})
		if client.IgnoreNotFound(err) == nil {
			// gofail: var podKilled struct{}
			if err == nil {
				r.Events.Pod(pod, jobs.ReasonReclaimed, "Evict", "was deleted with %d s left to stop: its units were given back", graceSeconds)
			}
			return nil
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("delete pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	return fmt.Errorf("delete pod %s/%s: it changed %d times meanwhile", pod.Namespace, pod.Name, mostReads)
}
