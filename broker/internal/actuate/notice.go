package actuate

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// notice tells the pods until when they have time, each once for each deadline, and says
// how many know. It is a courtesy: what it cannot write it leaves out, and it never holds
// up the stop.
func (r *round) notice(ctx context.Context, pods []*corev1.Pod, by time.Time) course.Stopped {
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(parallel)
	var know atomic.Int64
	for _, pod := range pods {
		switch {
		case pod.Annotations[v1alpha1.AnnotationReclaimBy] == stamp(by):
			know.Add(1)
		case pod.DeletionTimestamp == nil:
			group.Go(func() error {
				if r.announce(ctx, pod, by) {
					know.Add(1)
				}
				return nil
			})
		}
	}
	_ = group.Wait() // there are no errors
	told := course.Stopped{Told: int(know.Load())}
	told.Untold = len(pods) - told.Told
	if told.Told > 0 {
		told.ToldAt = r.Clock.Now().UTC()
	}
	return told
}

// announce tells one pod, if it can.
func (r *round) announce(ctx context.Context, pod *corev1.Pod, by time.Time) (told bool) {
	if err := r.annotate(ctx, pod, fmt.Sprintf("%q", stamp(by))); err != nil {
		r.log.V(1).Info("The pod was not told about the reclaim", "pod", pod.Namespace+"/"+pod.Name, "reason", err.Error())
		return false // it is told next time
	}
	r.Events.Pod(pod, lend.ReasonReclaiming, "Reclaim", "was asked to give its units back by %s", stamp(by))
	r.Hooks.Call(ctx, pod, by)
	return true
}

// reassure takes the notice back from pods that have it and stay.
func (r *round) reassure(ctx context.Context, pods, leaving []*corev1.Pod) error {
	going := make(map[types.UID]bool, len(leaving))
	for _, pod := range leaving {
		going[pod.UID] = true
	}
	var errs []error
	for _, pod := range pods {
		if pod.Annotations[v1alpha1.AnnotationReclaimBy] == "" || pod.DeletionTimestamp != nil || going[pod.UID] || v1alpha1.Preempted(pod) {
			continue
		}
		if err := ignorable(r.annotate(ctx, pod, "null")); err != nil {
			errs = append(errs, fmt.Errorf("take the notice back from pod %s/%s: %w", pod.Namespace, pod.Name, err))
		}
	}
	return errors.Join(errs...)
}

// annotate writes the deadline, as JSON, on exactly this pod.
func (r *round) annotate(ctx context.Context, pod *corev1.Pod, value string) error {
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"annotations":{%q:%s}}}`, pod.UID, v1alpha1.AnnotationReclaimBy, value)
	target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	return r.Client.Patch(ctx, target, client.RawPatch(types.MergePatchType, []byte(patch)))
}

// stamp is a time as the notice has it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
