package stage

import (
	"context"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/trainer"
)

const (
	// feedEvery is how often it is looked whether enough jobs wait.
	feedEvery = 250 * time.Millisecond
	// checkpointInterval of every job, in the time of the day.
	checkpointInterval = time.Hour
	keepFinished       = 30 // seconds
)

// Job makes a job of equal pods that lasts for a while in real time, and whose pods need a
// moment to end when they are told to.
func (c Config) Job(name string, pods int32, spec corev1.PodSpec, lasts, exit time.Duration) *batchv1.Job {
	spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: map[string]string{v1alpha1.LabelQueue: Queue},
			Annotations: map[string]string{
				trainer.AnnotationDuration:            lasts.String(),
				v1alpha1.AnnotationCheckpointInterval: c.Compressed(checkpointInterval).String(),
			},
		},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods,
			TTLSecondsAfterFinished: ptr.To(int32(keepFinished)),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{kubelet.AnnotationExitAfter: exit.String()}},
				Spec:       spec,
			},
		},
	}
}

// Units is how many of the resource all pods of a job ask for.
func Units(j *batchv1.Job, name corev1.ResourceName) int64 {
	n := int64(0)
	for _, c := range j.Spec.Template.Spec.Containers {
		q := c.Resources.Limits[name]
		n += q.Value()
	}
	return n * int64(ptr.Deref(j.Spec.Parallelism, 1))
}

// Jobs counts the jobs of all queues.
type Jobs struct {
	mu      sync.Mutex
	waiting map[types.UID]*batchv1.Job // suspended, unfinished ones
	ended   map[types.UID]bool
	count   JobCounts
}

// JobCounts says where the submitted jobs are.
type JobCounts struct{ Submitted, Waiting, Finished, Failed int }

// NewJobs returns a count of none.
func NewJobs() *Jobs {
	return &Jobs{waiting: map[types.UID]*batchv1.Job{}, ended: map[types.UID]bool{}}
}

// Watch follows the jobs until ctx ends; the returned function waits for that.
func (j *Jobs) Watch(ctx context.Context, client kubernetes.Interface) (func(), error) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = v1alpha1.LabelQueue }))
	jobs := factory.Batch().V1().Jobs().Informer()
	observe := func(obj any) {
		if job, ok := obj.(*batchv1.Job); ok {
			j.Observe(job)
		}
	}
	if _, err := jobs.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: observe, UpdateFunc: func(_, obj any) { observe(obj) },
	}); err != nil {
		return nil, fmt.Errorf("watch the jobs: %w", err)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), jobs.HasSynced) {
		factory.Shutdown()
		return nil, fmt.Errorf("list the jobs: %w", context.Cause(ctx))
	}
	return factory.Shutdown, nil
}

// Observe takes in how a job is now.
func (j *Jobs) Observe(job *batchv1.Job) {
	ended := batchv1.JobConditionType("")
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			ended = c.Type
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if ended == "" && ptr.Deref(job.Spec.Suspend, false) {
		j.waiting[job.UID] = job
	} else {
		delete(j.waiting, job.UID)
	}
	if ended == "" || j.ended[job.UID] {
		return
	}
	j.ended[job.UID] = true
	if ended == batchv1.JobFailed {
		j.count.Failed++
	} else {
		j.count.Finished++
	}
}

// Counts returns where the jobs are now.
func (j *Jobs) Counts() JobCounts {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.count
	c.Waiting = len(j.waiting)
	return c
}

// Waiting sums up something of the jobs that wait.
func (j *Jobs) Waiting(of func(*batchv1.Job) int64) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := int64(0)
	for _, job := range j.waiting {
		n += of(job)
	}
	return n
}

// Submit creates a job in the namespace of a team, as its user, and counts it.
func (j *Jobs) Submit(ctx context.Context, user kubernetes.Interface, team string, job *batchv1.Job) error {
	j.mu.Lock()
	j.count.Submitted++
	j.mu.Unlock()
	if _, err := user.BatchV1().Jobs(team).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("submit job %s: %w", job.Name, err)
	}
	return nil
}

// Fill calls fill, which submits a batch of jobs and tells whether enough wait, until they
// do.
func Fill(ctx context.Context, fill func(context.Context) (bool, error)) error {
	for {
		if enough, err := fill(ctx); err != nil || enough {
			return err
		}
	}
}

// KeepFilled calls fill now and then until ctx ends.
func KeepFilled(ctx context.Context, fill func(context.Context) (bool, error)) error {
	t := time.NewTicker(feedEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if _, err := fill(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}
