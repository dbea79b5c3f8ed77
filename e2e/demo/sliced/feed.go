package sliced

import (
	"context"
	"fmt"
	"math/rand/v2"
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
	"github.com/ebbtide/ebbtide/e2e/traces"
	"github.com/ebbtide/ebbtide/e2e/trainer"
)

const (
	// feedEvery and feedBatch bound the rate of submissions.
	feedEvery = 250 * time.Millisecond
	feedBatch = 8
	// checkpointInterval of every job, in the time of the day.
	checkpointInterval = time.Hour
	// shortest job, in real time: the programs need some for a job, however short.
	shortest     = 2 * time.Second
	keepFinished = 30 // seconds
)

// feed submits jobs of one slice, which last as long as those of the trace, as their
// teams' own users, so that enough of each size always wait.
type feed struct {
	config Config
	// jobs by borrower: those of the trace in turn.
	jobs    [][]traces.Job
	clients []kubernetes.Interface
	next    []int

	mu      sync.Mutex
	waiting map[types.UID]string // namespace of suspended, unfinished jobs
	count   JobCounts
	seen    map[types.UID]bool // finished ones
}

// JobCounts says where the submitted jobs are.
type JobCounts struct{ Submitted, Waiting, Finished, Failed int }

func newFeed(w *town) (*feed, error) {
	all, err := traces.ITPJobs()
	if err != nil {
		return nil, err
	}
	f := &feed{config: w.config, next: make([]int, len(borrowers)), waiting: map[types.UID]string{}, seen: map[types.UID]bool{}}
	for i, b := range borrowers {
		var jobs []traces.Job
		for j := i; j < len(all); j += len(borrowers) {
			jobs = append(jobs, all[j])
		}
		config, err := w.UserConfig(b.team)
		if err != nil {
			return nil, err
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return nil, fmt.Errorf("make a client for %s: %w", b.team, err)
		}
		f.jobs, f.clients = append(f.jobs, jobs), append(f.clients, client)
	}
	return f, nil
}

// job makes the i-th job of a borrower.
func (f *feed) job(b, i int) *batchv1.Job {
	t := f.jobs[b][i%len(f.jobs[b])]
	random := rand.New(rand.NewPCG(f.config.Seed+uint64(b), uint64(i)))
	spec := podSpec(borrowers[b].size, 1+random.Int64N(2))
	spec.RestartPolicy = corev1.RestartPolicyNever
	exit := time.Duration(200+random.IntN(800)) * time.Millisecond
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("itp-%s-%04d", borrowers[b].size.flavor, i+1),
			Labels: map[string]string{v1alpha1.LabelQueue: queue},
			Annotations: map[string]string{
				trainer.AnnotationDuration:            max(f.config.compressed(t.Duration), shortest).String(),
				v1alpha1.AnnotationCheckpointInterval: f.config.compressed(checkpointInterval).String(),
			},
		},
		Spec: batchv1.JobSpec{
			Parallelism: ptr.To[int32](1), Completions: ptr.To[int32](1),
			TTLSecondsAfterFinished: ptr.To(int32(keepFinished)),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{kubelet.AnnotationExitAfter: exit.String()}},
				Spec:       spec,
			},
		},
	}
}

// watch follows the jobs until ctx ends; the returned function waits for that.
func (f *feed) watch(ctx context.Context, client kubernetes.Interface) (func(), error) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = v1alpha1.LabelQueue }))
	jobs := factory.Batch().V1().Jobs().Informer()
	observe := func(obj any) {
		if j, ok := obj.(*batchv1.Job); ok {
			f.observe(j)
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

func (f *feed) observe(j *batchv1.Job) {
	ended := batchv1.JobConditionType("")
	for _, c := range j.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			ended = c.Type
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if ended == "" && ptr.Deref(j.Spec.Suspend, false) {
		f.waiting[j.UID] = j.Namespace
	} else {
		delete(f.waiting, j.UID)
	}
	if ended == "" || f.seen[j.UID] {
		return
	}
	f.seen[j.UID] = true
	if ended == batchv1.JobFailed {
		f.count.Failed++
	} else {
		f.count.Finished++
	}
}

// counts returns where the jobs are now.
func (f *feed) counts() JobCounts {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.count
	c.Waiting = len(f.waiting)
	for _, n := range f.next {
		c.Submitted += n
	}
	return c
}

// waitingOf counts a borrower's waiting jobs.
func (f *feed) waitingOf(b borrower) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, team := range f.waiting {
		if team == b.team {
			n++
		}
	}
	return n
}

// fill submits jobs until enough of each size wait, at most a batch, and reports whether
// enough do.
func (f *feed) fill(ctx context.Context) (bool, error) {
	enough := true
	for i, b := range borrowers {
		short := b.waiting - f.waitingOf(b)
		enough = enough && short <= 0
		for range min(short, feedBatch) {
			job := f.job(i, f.next[i])
			f.mu.Lock()
			f.next[i]++
			f.mu.Unlock()
			if _, err := f.clients[i].BatchV1().Jobs(b.team).Create(ctx, job, metav1.CreateOptions{}); err != nil {
				return false, fmt.Errorf("submit job %s: %w", job.Name, err)
			}
		}
	}
	return enough, nil
}

// run keeps the queues filled until ctx ends.
func (f *feed) run(ctx context.Context) error {
	t := time.NewTicker(feedEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if _, err := f.fill(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}
