package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
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
	// waitShare is how much must wait at any time, as a multiple of all units.
	waitShare = 1.5
	// largestShare is the largest gang that is submitted, as a share of all units.
	// In a small cluster a few large gangs would be all of the demand, and what they
	// leave over would stay idle for want of smaller ones. From 64 nodes on it keeps
	// every job of the trace, whose largest asks for 64 GPUs.
	largestShare = 0.125
	// feedEvery and feedBatch bound the rate of submissions.
	feedEvery = 250 * time.Millisecond
	feedBatch = 20
	// checkpointInterval of every job, in the time of the day.
	checkpointInterval = time.Hour
	keepFinished       = 30 // seconds
)

// feed submits the jobs of the trace in order, as their teams' own users, so that
// enough of them always wait.
type feed struct {
	config  Config
	jobs    []traces.Job
	clients []kubernetes.Interface // of borrowers
	next    int

	mu      sync.Mutex
	waiting map[types.UID]int64 // units of suspended, unfinished jobs
	count   JobCounts
	seen    map[types.UID]bool // finished ones
}

// JobCounts says where the submitted jobs are.
type JobCounts struct {
	Submitted, Waiting, Finished, Failed int
	// WaitingUnits is what the waiting jobs ask for.
	WaitingUnits int64
}

func newFeed(w *town) (*feed, error) {
	jobs, err := traces.ITPJobs()
	if err != nil {
		return nil, err
	}
	f := &feed{config: w.config, waiting: map[types.UID]int64{}, seen: map[types.UID]bool{}}
	for _, j := range jobs {
		if float64(j.GPUs) <= largestShare*float64(w.config.units()) {
			f.jobs = append(f.jobs, j)
		}
	}
	for _, b := range borrowers {
		config, err := w.UserConfig(b.team)
		if err != nil {
			return nil, err
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return nil, fmt.Errorf("make a client for %s: %w", b.team, err)
		}
		f.clients = append(f.clients, client)
	}
	return f, nil
}

// job makes the i-th job of the trace.
func (f *feed) job(i int) *batchv1.Job {
	t := f.jobs[i%len(f.jobs)]
	random := rand.New(rand.NewPCG(f.config.Seed, uint64(i)))
	pods, units := int32(1), t.GPUs
	if units > gpusPerNode {
		pods, units = int32((units+gpusPerNode-1)/gpusPerNode), gpusPerNode
	}
	spec := podSpec(units, 1+random.Int64N(3))
	spec.RestartPolicy = corev1.RestartPolicyNever
	exit := time.Duration(200+random.IntN(1800)) * time.Millisecond
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("itp-%04d", i+1),
			Labels: map[string]string{v1alpha1.LabelQueue: queue},
			Annotations: map[string]string{
				trainer.AnnotationDuration:            max(f.config.compressed(t.Duration), time.Millisecond).String(),
				v1alpha1.AnnotationCheckpointInterval: f.config.compressed(checkpointInterval).String(),
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
		f.waiting[j.UID] = units(j)
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

func units(j *batchv1.Job) int64 {
	n := int64(0)
	for _, c := range j.Spec.Template.Spec.Containers {
		q := c.Resources.Limits[resourceGPU]
		n += q.Value()
	}
	return n * int64(ptr.Deref(j.Spec.Parallelism, 1))
}

// counts returns where the jobs are now.
func (f *feed) counts() JobCounts {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.count
	c.Submitted, c.Waiting = f.next, len(f.waiting)
	for _, n := range f.waiting {
		c.WaitingUnits += n
	}
	return c
}

// fill submits jobs until enough wait, at most a batch of them, and reports
// whether enough do.
func (f *feed) fill(ctx context.Context) (bool, error) {
	short := int64(waitShare*float64(f.config.units())) - f.counts().WaitingUnits
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for n := 0; short > 0 && n < feedBatch; n++ {
		i := f.next
		job := f.job(i)
		short -= units(job)
		f.mu.Lock()
		f.next++
		f.mu.Unlock()
		group.Go(func() error {
			team := i % len(borrowers)
			_, err := f.clients[team].BatchV1().Jobs(borrowers[team].team).Create(ctx, job, metav1.CreateOptions{})
			if err != nil {
				return fmt.Errorf("submit job %s: %w", job.Name, err)
			}
			return nil
		})
	}
	return short <= 0, group.Wait()
}

// run keeps the queue filled until ctx ends.
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
