package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ReasonReclaimed of a pod's condition DisruptionTarget says that the broker has
// ended it to give its units back.
const ReasonReclaimed = "EbbtideReclaim"

// excuseTimeout bounds how long the mark may hold up the end of the pod: longer than the
// marks of a few gangs wait for their turn with each other.
const excuseTimeout = time.Second

// Excuse marks a pod that is to be deleted at the time, so that nobody takes its end for a
// failure. One that is marked already, whoever did it, stays as it is; one that is gone or
// was replaced needs no mark.
func Excuse(ctx context.Context, w client.SubResourceWriter, pod *corev1.Pod, at time.Time) error {
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	data, err := json.Marshal(map[string]any{
		"metadata": metadataPatch{UID: pod.UID},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: at},
			Reason: ReasonReclaimed, Message: "the units are given back to their owner",
		}}},
	})
	target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, excuseTimeout)
		defer cancel()
		err = w.Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, data))
	}
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || isAnother(err) {
		return nil
	}
	return fmt.Errorf("mark pod %s/%s: %w", pod.Namespace, pod.Name, err)
}
