package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// mostTries bounds how often a write is tried again that met another writer.
const mostTries = 4

// again does what met another writer again, on what is there by then.
func again(do func() error) error {
	var err error
	for range mostTries {
		if err = do(); !apierrors.IsConflict(err) {
			return err
		}
	}
	return err
}

// admissible tells whether a job, as it is now, may be admitted as its attempt-th
// admission; done, that it already was.
func admissible(now *Job, ref Ref, attempt int32, gang Gang) (done bool, err error) {
	switch {
	case now.UID != ref.UID:
		return false, fmt.Errorf("%w: it was replaced", ErrChanged)
	case now.Finished:
		return false, fmt.Errorf("%w: it has ended or is being deleted", ErrChanged)
	case !now.Suspended && now.Attempt == attempt:
		return true, nil
	case !now.Suspended:
		return false, fmt.Errorf("%w: it is not suspended", ErrChanged)
	}
	return false, sameGang(now, attempt, gang)
}

// sameGang fails unless the job is at the admission, and asks for the gang, that was
// decided about.
func sameGang(now *Job, attempt int32, gang Gang) error {
	if now.Attempt != attempt-1 {
		return fmt.Errorf("%w: it has been admitted %d times, not %d", ErrChanged, now.Attempt, attempt-1)
	}
	if now.Problem != "" {
		return fmt.Errorf("%w: %s", ErrChanged, now.Problem)
	}
	live := Gang{now.Pods, gang.Resource, UnitsOf(&now.Template.Spec, gang.Resource)}
	if live != gang {
		return fmt.Errorf("%w: it asks for %d pods of %d %s, not %d of %d", ErrChanged,
			live.Pods, live.UnitsPerPod, live.Resource, gang.Pods, gang.UnitsPerPod)
	}
	return nil
}

// resizable tells whether a job, as it is now, may go on with so few pods; done, that
// it does already.
func resizable(now *Job, ref Ref, pods int64) (done bool, err error) {
	switch {
	case now.UID != ref.UID:
		return false, fmt.Errorf("%w: it was replaced", ErrChanged)
	case now.Finished:
		return false, fmt.Errorf("%w: it has ended or is being deleted", ErrChanged)
	case now.Suspended:
		return false, fmt.Errorf("%w: it is suspended", ErrChanged)
	case now.Pods <= pods:
		return true, nil
	case now.MinPods == 0:
		return false, fmt.Errorf("job %s is not elastic", ref.Key)
	case pods < now.MinPods:
		return false, fmt.Errorf("job %s cannot go on with %d pods: its minimum is %d", ref.Key, pods, now.MinPods)
	}
	return false, nil
}

// metadataPatch is the metadata of a merge patch. The UID, and the resourceVersion if
// there is one, are preconditions: the API server refuses to change the one, and
// answers another version with a conflict.
type metadataPatch struct {
	UID             types.UID `json:"uid"`
	ResourceVersion string    `json:"resourceVersion,omitempty"`
	// Annotations that are nil are removed.
	Annotations map[string]*string `json:"annotations,omitempty"`
}

// patcher is what patch needs of a client.
type patcher interface {
	Patch(ctx context.Context, o client.Object, p client.Patch, options ...client.PatchOption) error
}

// patch writes metadata and fields, by a merge.
func patch(ctx context.Context, w patcher, object client.Object, metadata metadataPatch, fields map[string]any) error {
	body := map[string]any{"metadata": metadata}
	for name, value := range fields {
		body[name] = value
	}
	key := client.ObjectKeyFromObject(object)
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("write patch of job %s: %w", key, err)
	}
	err = w.Patch(ctx, object, client.RawPatch(types.MergePatchType, data))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || isAnother(err) {
		return fmt.Errorf("%w: patch job %s: %w", ErrChanged, key, err)
	}
	if err != nil {
		return fmt.Errorf("patch job %s: %w", key, err)
	}
	return nil
}

// isAnother tells whether a patch was refused because the object has another UID.
func isAnother(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}

// annotation is a value to write.
func annotation[N int32 | int64](n N) *string {
	s := strconv.FormatInt(int64(n), 10)
	return &s
}

// sizes are pods by the names of a job's sets of pods.
type sizes map[string]int64

// wholeIn reads how large a job was before it was made smaller; nil if it was not.
func wholeIn(annotations map[string]string) sizes {
	text, small := annotations[v1alpha1.AnnotationWhole]
	if !small {
		return nil
	}
	var whole sizes
	if json.Unmarshal([]byte(text), &whole) != nil || whole == nil {
		return sizes{} // it was, nobody knows from what: the mark is still to be removed
	}
	for name, pods := range whole {
		if pods < 1 || pods > 1<<31-1 {
			delete(whole, name)
		}
	}
	return whole
}

// text is what wholeIn reads.
func (s sizes) text() (*string, error) {
	data, err := json.Marshal(s) // by name
	if err != nil {
		return nil, fmt.Errorf("write annotation %s: %w", v1alpha1.AnnotationWhole, err)
	}
	text := string(data)
	return &text, nil
}

// podTemplate is how pod looks as a template.
func podTemplate(pod *corev1.Pod) corev1.PodTemplateSpec {
	template := corev1.PodTemplateSpec{Spec: pod.Spec}
	template.Labels, template.Annotations = pod.Labels, pod.Annotations
	return template
}
