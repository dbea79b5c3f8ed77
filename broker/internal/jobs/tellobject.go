package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// AnnotationAdmission on a job of a kind without conditions of the usual form says what
// the condition ebbtide.dev/Admitted says on others, as JSON. Only the broker writes it.
const AnnotationAdmission = "ebbtide.dev/admission"

// admissionNote is the annotation's value.
type admissionNote struct {
	Admitted bool      `json:"admitted"`
	Reason   string    `json:"reason"`
	Message  string    `json:"message,omitempty"`
	Since    time.Time `json:"since"`
}

// told reads back what Tell has written, and since when it says that the job is not
// admitted.
func (s *Suspendable) told(o *unstructured.Unstructured) (said Admission, waits time.Time) {
	note := s.note(o)
	if note == nil {
		return Admission{}, time.Time{}
	}
	if !note.Admitted {
		waits = note.Since.UTC()
	}
	return Admission{Admitted: note.Admitted, Reason: note.Reason, Message: note.Message}, waits
}

// note is what the object says; nil if nothing that can be read.
func (s *Suspendable) note(o *unstructured.Unstructured) *admissionNote {
	if !s.about.conditions {
		note := &admissionNote{}
		if json.Unmarshal([]byte(o.GetAnnotations()[AnnotationAdmission]), note) != nil {
			return nil
		}
		return note
	}
	for _, item := range itemsIn(o.Object, "status", "conditions") {
		var c metav1.Condition
		if item["type"] != v1alpha1.ConditionAdmitted || runtime.DefaultUnstructuredConverter.FromUnstructured(item, &c) != nil {
			continue
		}
		return &admissionNote{
			Admitted: c.Status == metav1.ConditionTrue, Reason: c.Reason, Message: c.Message, Since: c.LastTransitionTime.Time,
		}
	}
	return nil
}

// Tell implements Teller: by the condition ebbtide.dev/Admitted, or, where the kind has
// no conditions that would stay, by the annotation ebbtide.dev/admission. What the
// object says is read anew, so that the time since when stays.
func (s *Suspendable) Tell(ctx context.Context, ref Ref, _, a Admission, now time.Time) error {
	err := again(func() error {
		o, err := s.get(ctx, s.Live, s.about.kind, ref.Key)
		if err != nil || o.GetUID() != ref.UID {
			return client.IgnoreNotFound(err)
		}
		note := admissionNote{Admitted: a.Admitted, Reason: a.Reason, Message: a.Message, Since: now.UTC()}
		if last := s.note(o); last != nil && last.Admitted == a.Admitted && !last.Since.IsZero() {
			note.Since = last.Since
		}
		if s.about.conditions {
			return s.tellCondition(ctx, o, note)
		}
		data, err := json.Marshal(note)
		if err != nil {
			return fmt.Errorf("write annotation %s: %w", AnnotationAdmission, err)
		}
		text := string(data)
		return s.patch(ctx, o, map[string]*string{AnnotationAdmission: &text}, nil, false)
	})
	if isAnother(err) {
		return nil // it was replaced meanwhile
	}
	return client.IgnoreNotFound(err)
}

// tellCondition writes the conditions with ours. Other writers' changes since they were
// read are a conflict; the version stands for the UID too, which a write of the status of
// these kinds does not look at.
func (s *Suspendable) tellCondition(ctx context.Context, o *unstructured.Unstructured, note admissionNote) error {
	status := Admission{Admitted: note.Admitted}.status()
	ours := map[string]any{
		"type": v1alpha1.ConditionAdmitted, "status": string(status), "reason": note.Reason, "message": note.Message,
		"lastTransitionTime": note.Since.UTC().Format(time.RFC3339),
	}
	var conditions []any
	for _, c := range itemsIn(o.Object, "status", "conditions") {
		if c["type"] != v1alpha1.ConditionAdmitted {
			conditions = append(conditions, c)
		}
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(o.GroupVersionKind())
	object.SetNamespace(o.GetNamespace())
	object.SetName(o.GetName())
	metadata := metadataPatch{UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()}
	fields := map[string]any{"status": map[string]any{"conditions": append(conditions, ours)}}
	return patch(ctx, statusWriter{s.Status}, object, metadata, fields)
}

// statusWriter writes the status.
type statusWriter struct{ client.SubResourceWriter }

// Patch implements patcher.
func (w statusWriter) Patch(ctx context.Context, o client.Object, p client.Patch, _ ...client.PatchOption) error {
	return w.SubResourceWriter.Patch(ctx, o, p)
}
