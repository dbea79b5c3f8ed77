package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Admission is what a job's condition ebbtide.dev/Admitted says; zero if the job
// has none.
type Admission struct {
	Admitted        bool
	Reason, Message string
}

// Tell writes the job's condition ebbtide.dev/Admitted, and leaves all others as
// they are. now is when it became so, if last, what it says so far, said the
// opposite. A job that is gone or was replaced needs no telling.
func (b *Batch) Tell(ctx context.Context, ref Ref, last, a Admission, now time.Time) error {
	if b.Status == nil {
		return nil
	}
	job := &batchv1.Job{}
	job.Namespace, job.Name = ref.Key.Namespace, ref.Key.Name
	return tellCondition(ctx, b.Status, job, ref, last, a, now)
}

// tellCondition writes the condition of an object whose conditions are merged by their
// type, and have the times of a Job's or a Pod's.
func tellCondition(ctx context.Context, w client.SubResourceWriter, object client.Object, ref Ref, last, a Admission, now time.Time) error {
	type condition struct {
		Type               string                 `json:"type"`
		Status             corev1.ConditionStatus `json:"status"`
		Reason             string                 `json:"reason"`
		Message            string                 `json:"message"`
		LastProbeTime      metav1.Time            `json:"lastProbeTime"`
		LastTransitionTime *metav1.Time           `json:"lastTransitionTime,omitempty"`
	}
	at := metav1.Time{Time: now}
	c := condition{
		Type: v1alpha1.ConditionAdmitted, Status: a.status(),
		Reason: a.Reason, Message: a.Message, LastProbeTime: at,
	}
	if last.Reason == "" || last.Admitted != a.Admitted {
		c.LastTransitionTime = &at
	}
	// A strategic merge finds the condition by its type, whoever else writes.
	data, err := json.Marshal(map[string]any{
		"metadata": metadataPatch{UID: ref.UID},
		"status":   map[string]any{"conditions": []condition{c}},
	})
	if err != nil {
		return fmt.Errorf("write patch of the status of job %s: %w", ref.Key, err)
	}
	err = w.Patch(ctx, object, client.RawPatch(types.StrategicMergePatchType, data))
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !isAnother(err) {
		return fmt.Errorf("patch the status of job %s: %w", ref.Key, err)
	}
	return nil
}

// status is that of the condition.
func (a Admission) status() corev1.ConditionStatus {
	if a.Admitted {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

// told reads the condition back, and since when it is false.
func told(conditions []batchv1.JobCondition) (said Admission, waits time.Time) {
	for _, c := range conditions {
		if c.Type != v1alpha1.ConditionAdmitted {
			continue
		}
		return saying(c.Status, c.Reason, c.Message, c.LastTransitionTime)
	}
	return Admission{}, time.Time{}
}

// saying is what a condition says, and since when it says no.
func saying(status corev1.ConditionStatus, reason, message string, since metav1.Time) (said Admission, waits time.Time) {
	said = Admission{Admitted: status == corev1.ConditionTrue, Reason: reason, Message: message}
	if !said.Admitted {
		waits = since.UTC()
	}
	return said, waits
}
