package jobs

import (
	"context"
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

var (
	_ Kind    = (*Batch)(nil)
	_ Resizer = (*Batch)(nil)
	_ Teller  = (*Batch)(nil)
)

var kindJob = batchv1.SchemeGroupVersion.WithKind("Job")

// List implements Kind.
func (b *Batch) List(ctx context.Context, r client.Reader, known func(types.UID, string) bool) ([]Job, error) {
	var jobs []Job
	see := func(job *batchv1.Job) {
		if _, queued := job.Labels[v1alpha1.LabelQueue]; queued && !partOfJob(job) && !known(job.UID, job.ResourceVersion) {
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
	job, err := b.live(ctx, ref)
	if err != nil {
		return err
	}
	now := fromBatch(job)
	if done, err := admissible(&now, ref, attempt, gang); done || err != nil {
		return err
	}
	spec := map[string]any{"suspend": false}
	annotations := map[string]*string{v1alpha1.AnnotationAttempt: annotation(attempt)}
	restoreBatch(job, spec, annotations)
	return b.patch(ctx, ref, job.ResourceVersion, annotations, spec)
}

// live reads a job that must be there.
func (b *Batch) live(ctx context.Context, ref Ref) (*batchv1.Job, error) {
	var job batchv1.Job
	err := b.Live.Get(ctx, ref.Key, &job)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%w: it is gone", ErrChanged)
	case err != nil:
		return nil, fmt.Errorf("read job %s: %w", ref.Key, err)
	}
	return &job, nil
}

// Suspend implements Kind.
func (b *Batch) Suspend(ctx context.Context, ref Ref) error {
	return again(func() error {
		var job batchv1.Job
		if err := b.Live.Get(ctx, ref.Key, &job); err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("read job %s: %w", ref.Key, err)
		}
		now, whole := fromBatch(&job), wholeIn(job.Annotations)
		if job.UID != ref.UID || now.Finished || (now.Suspended && now.TakenBack == 0 && whole == nil) {
			return nil
		}
		spec, annotations := map[string]any{"suspend": true}, map[string]*string{}
		if now.TakenBack != 0 {
			annotations[v1alpha1.AnnotationTakenBack] = nil
		}
		version := ""
		if restoreBatch(&job, spec, annotations) {
			version = job.ResourceVersion
		}
		return b.patch(ctx, ref, version, annotations, spec)
	})
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
	return b.patch(ctx, ref, job.ResourceVersion, map[string]*string{v1alpha1.AnnotationAttempt: annotation(attempt)}, nil)
}

// Resize implements Resizer. The Job controller cannot be told who goes.
func (b *Batch) Resize(ctx context.Context, ref Ref, pods int64, _ ...string) error {
	return again(func() error {
		job, err := b.live(ctx, ref)
		if err != nil {
			return err
		}
		now := fromBatch(job)
		if done, err := resizable(&now, ref, pods); done || err != nil {
			return err
		}
		annotations := map[string]*string{}
		if wholeIn(job.Annotations) == nil {
			text, err := sizes{batchPods: int64(ptr.Deref(job.Spec.Parallelism, 1))}.text()
			if err != nil {
				return err
			}
			annotations[v1alpha1.AnnotationWhole] = text
		}
		spec := map[string]any{}
		sizeBatch(&job.Spec, spec, pods)
		return b.patch(ctx, ref, job.ResourceVersion, annotations, spec)
	})
}

// batchPods is the name of a Job's only set of pods.
const batchPods = "pods"

// sizeBatch writes how many pods are to run. Where every index is a pod that runs all
// the time, it is the number of the indexes as well: the API allows to change both
// together only, and the others would be run later, by themselves.
func sizeBatch(old *batchv1.JobSpec, spec map[string]any, pods int64) {
	spec["parallelism"] = pods
	if allAtOnce(old) {
		spec["completions"] = pods
	}
}

// allAtOnce: every index is a pod that runs all the time.
func allAtOnce(spec *batchv1.JobSpec) bool {
	indexed := spec.CompletionMode != nil && *spec.CompletionMode == batchv1.IndexedCompletion
	return indexed && spec.Completions != nil && *spec.Completions == ptr.Deref(spec.Parallelism, 1)
}

// restoreBatch makes a job whole that was made smaller.
func restoreBatch(job *batchv1.Job, spec map[string]any, annotations map[string]*string) (restored bool) {
	whole := wholeIn(job.Annotations)
	if whole == nil {
		return false
	}
	annotations[v1alpha1.AnnotationWhole] = nil
	if pods, known := whole[batchPods]; known {
		sizeBatch(&job.Spec, spec, pods)
	}
	return true
}

func (b *Batch) patch(ctx context.Context, ref Ref, version string, annotations map[string]*string, spec map[string]any) error {
	job := &batchv1.Job{}
	job.Namespace, job.Name = ref.Key.Namespace, ref.Key.Name
	fields := map[string]any{}
	if len(spec) > 0 {
		fields["spec"] = spec
	}
	return patch(ctx, b.Client, job, metadataPatch{UID: ref.UID, ResourceVersion: version, Annotations: annotations}, fields)
}

func fromBatch(job *batchv1.Job) Job {
	j := Job{
		Ref: Ref{
			Key: types.NamespacedName{Namespace: job.Namespace, Name: job.Name}, UID: job.UID, GroupKind: kindJob.GroupKind(),
		},
		Kind:        kindJob,
		SuspendPath: "/spec/suspend",
		Queue:       job.Labels[v1alpha1.LabelQueue],
		Created:     job.CreationTimestamp.UTC(),
		Suspended:   ptr.Deref(job.Spec.Suspend, false),
		Version:     job.ResourceVersion,
		Attempt:     attemptIn(job.Annotations, v1alpha1.AnnotationAttempt),
		TakenBack:   attemptIn(job.Annotations, v1alpha1.AnnotationTakenBack),
		Pods:        gang(&job.Spec),
		Template:    job.Spec.Template,
	}
	if pods, small := wholeIn(job.Annotations)[batchPods]; small && j.Suspended {
		j.Pods = pods // it is made whole when it is admitted
	}
	j.setMinimum(job.Annotations)
	if allAtOnce(&job.Spec) {
		// Of fewer indexes the first remain; other pods that were stopped are made again.
		j.IndexLabel = batchv1.JobCompletionIndexAnnotation
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

// setMinimum reads how few pods the job says it can go on with.
func (j *Job) setMinimum(annotations map[string]string) {
	text, says := annotations[v1alpha1.AnnotationMinPods]
	if !says {
		return
	}
	n, err := strconv.ParseInt(text, 10, 32)
	switch {
	case err != nil || n < 1 || n > j.Pods:
		j.problem("annotation %s: %q is not a number from 1 to %d, the job's pods", v1alpha1.AnnotationMinPods, text, j.Pods)
	case n < j.Pods:
		j.MinPods = n
	}
}
