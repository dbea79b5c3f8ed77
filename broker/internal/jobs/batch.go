package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Batch is the batch/v1 Job.
type Batch struct {
	// Live reads around the caches: a write is never based on a stale view.
	Live client.Reader
	// Client writes, and Status writes what Tell says; without Status there is no
	// telling.
	Client client.Writer
	Status client.SubResourceWriter
	// Store, if set, has all Jobs, and is listed instead of the reader: a reader's list
	// is a copy of every job, also of those that are known.
	Store Store
}

// Store is an informer's.
type Store interface {
	List() []any
}

var _ Kind = (*Batch)(nil)

// List implements Kind.
func (b *Batch) List(ctx context.Context, r client.Reader, known func(types.UID, string) bool) ([]Job, error) {
	var jobs []Job
	see := func(job *batchv1.Job) {
		if _, queued := job.Labels[v1alpha1.LabelQueue]; queued && !known(job.UID, job.ResourceVersion) {
			jobs = append(jobs, fromBatch(job))
		}
	}
	if b.Store != nil {
		for _, object := range b.Store.List() {
			if job, ok := object.(*batchv1.Job); ok {
				see(job)
			}
		}
		return jobs, nil
	}
	var list batchv1.JobList
	if err := r.List(ctx, &list, client.HasLabels{v1alpha1.LabelQueue}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	for i := range list.Items {
		see(&list.Items[i])
	}
	return jobs, nil
}

// Get implements Kind.
func (b *Batch) Get(ctx context.Context, r client.Reader, key types.NamespacedName) (Job, error) {
	var job batchv1.Job
	if err := r.Get(ctx, key, &job); err != nil {
		return Job{}, fmt.Errorf("read job %s: %w", key, err)
	}
	return fromBatch(&job), nil
}

// Resume implements Kind.
func (b *Batch) Resume(ctx context.Context, ref Ref, attempt int32, gang Gang) error {
	var job batchv1.Job
	if err := b.Live.Get(ctx, ref.Key, &job); err != nil {
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("%w: it is gone", ErrChanged)
		}
		return fmt.Errorf("read job %s: %w", ref.Key, err)
	}
	now := fromBatch(&job)
	switch {
	case job.UID != ref.UID:
		return fmt.Errorf("%w: it was replaced", ErrChanged)
	case now.Finished:
		return fmt.Errorf("%w: it has ended or is being deleted", ErrChanged)
	case !now.Suspended && now.Attempt == attempt:
		return nil
	case !now.Suspended:
		return fmt.Errorf("%w: it is not suspended", ErrChanged)
	case now.Attempt != attempt-1:
		return fmt.Errorf("%w: it has been admitted %d times, not %d", ErrChanged, now.Attempt, attempt-1)
	}
	live := Gang{now.Pods, gang.Resource, UnitsOf(&now.Template.Spec, gang.Resource)}
	if live != gang {
		return fmt.Errorf("%w: it asks for %d pods of %d %s, not %d of %d", ErrChanged,
			live.Pods, live.UnitsPerPod, live.Resource, gang.Pods, gang.UnitsPerPod)
	}
	return b.patch(ctx, ref, job.ResourceVersion, ptr.To(false), counted(attempt))
}

// Suspend implements Kind.
func (b *Batch) Suspend(ctx context.Context, ref Ref) error {
	var job batchv1.Job
	if err := b.Live.Get(ctx, ref.Key, &job); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("read job %s: %w", ref.Key, err)
	}
	now := fromBatch(&job)
	if job.UID != ref.UID || now.Finished || (now.Suspended && now.TakenBack == 0) {
		return nil
	}
	annotations := map[string]*string{}
	if now.TakenBack != 0 {
		annotations[v1alpha1.AnnotationTakenBack] = nil
	}
	return b.patch(ctx, ref, "", ptr.To(true), annotations)
}

// SkipAttempt implements Kind.
func (b *Batch) SkipAttempt(ctx context.Context, ref Ref, attempt int32) error {
	var job batchv1.Job
	if err := b.Live.Get(ctx, ref.Key, &job); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("read job %s: %w", ref.Key, err)
	}
	if job.UID != ref.UID || attemptIn(job.Annotations, v1alpha1.AnnotationAttempt) >= attempt {
		return nil
	}
	return b.patch(ctx, ref, job.ResourceVersion, nil, counted(attempt))
}

func counted(attempt int32) map[string]*string {
	return map[string]*string{v1alpha1.AnnotationAttempt: ptr.To(strconv.FormatInt(int64(attempt), 10))}
}

type metadataPatch struct {
	UID             types.UID `json:"uid"`
	ResourceVersion string    `json:"resourceVersion,omitempty"`
	// Annotations that are null are removed.
	Annotations map[string]*string `json:"annotations,omitempty"`
}

type specPatch struct {
	Suspend *bool `json:"suspend"`
}

// patch writes suspend unless it is nil, and the annotations. The UID, and the resourceVersion if there is
// one, are preconditions: the API server answers a mismatch with a conflict.
func (b *Batch) patch(ctx context.Context, ref Ref, resourceVersion string, suspend *bool, annotations map[string]*string) error {
	body := struct {
		Metadata metadataPatch `json:"metadata"`
		Spec     *specPatch    `json:"spec,omitempty"`
	}{Metadata: metadataPatch{UID: ref.UID, ResourceVersion: resourceVersion, Annotations: annotations}}
	if suspend != nil {
		body.Spec = &specPatch{Suspend: suspend}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("write patch of job %s: %w", ref.Key, err)
	}
	job := &batchv1.Job{}
	job.Namespace, job.Name = ref.Key.Namespace, ref.Key.Name
	err = b.Client.Patch(ctx, job, client.RawPatch(types.MergePatchType, data))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: patch job %s: %w", ErrChanged, ref.Key, err)
	}
	if err != nil {
		return fmt.Errorf("patch job %s: %w", ref.Key, err)
	}
	return nil
}

func fromBatch(job *batchv1.Job) Job {
	j := Job{
		Ref:       Ref{Key: types.NamespacedName{Namespace: job.Namespace, Name: job.Name}, UID: job.UID},
		Kind:      batchv1.SchemeGroupVersion.WithKind("Job"),
		Queue:     job.Labels[v1alpha1.LabelQueue],
		Created:   job.CreationTimestamp.UTC(),
		Suspended: ptr.Deref(job.Spec.Suspend, false),
		Version:   job.ResourceVersion,
		Attempt:   attemptIn(job.Annotations, v1alpha1.AnnotationAttempt),
		TakenBack: attemptIn(job.Annotations, v1alpha1.AnnotationTakenBack),
		Pods:      gang(&job.Spec),
		Template:  job.Spec.Template,
	}
	j.Told, j.Waits = told(job.Status.Conditions)
	j.CheckpointEvery, j.LastCheckpoint = checkpoints(job.Annotations)
	j.Finished = !job.DeletionTimestamp.IsZero()
	for _, c := range job.Status.Conditions {
		ended := c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed
		if ended && c.Status == corev1.ConditionTrue {
			j.Finished = true
		}
	}
	return j
}

// gang is how many pods the Job controller runs at once.
func gang(spec *batchv1.JobSpec) int64 {
	pods := int64(ptr.Deref(spec.Parallelism, 1))
	if spec.Completions != nil {
		pods = min(pods, int64(*spec.Completions))
	}
	return pods
}
