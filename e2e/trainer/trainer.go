package trainer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	ebbtidev1 "github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
)

// AnnotationDuration on a Job is how long its whole gang must run, as a Go
// duration of real time. A Job without it is left alone.
const AnnotationDuration = "lab.ebbtide.dev/duration"

const (
	tick = 50 * time.Millisecond
	// annotateEvery is the least time between two annotations of one job, and
	// annotationsPerSecond bounds those of all jobs together: the rest is late,
	// not lost.
	annotateEvery        = time.Second
	annotationsPerSecond = 15
)

// Trainer runs the training jobs of a cluster.
type Trainer struct {
	client kubernetes.Interface
	log    logr.Logger
	limit  *rate.Limiter

	mu   sync.Mutex
	jobs map[types.UID]*job
	// orphans are pods whose job has not been seen yet.
	orphans map[types.UID][]*corev1.Pod
}

// job is one Job and its pods.
type job struct {
	namespace, name string
	gang            int
	work            work
	pods            map[types.UID]pod
	// finishing: its pods are being marked as succeeded.
	finishing bool
	finished  bool
	// checkpoint is the last one, shown that of the annotation.
	checkpoint, shown time.Time
	annotated         time.Time
}

// pod is what matters of a pod: whether it computes, and whether it would save
// when asked to stop.
type pod struct {
	name, container string
	// running, or done with its part.
	running     bool
	terminating bool
	saves       bool
}

// New returns a Trainer that acts through client, which should not limit its own
// rate.
func New(client kubernetes.Interface, log logr.Logger) *Trainer {
	return &Trainer{
		client: client, log: log,
		limit:   rate.NewLimiter(annotationsPerSecond, annotationsPerSecond),
		jobs:    map[types.UID]*job{},
		orphans: map[types.UID][]*corev1.Pod{},
	}
}

// Stats are counts over the Trainer's life.
type Stats struct {
	Finished int
	// LostSeconds is progress that stops threw away, in seconds of whole jobs.
	LostSeconds float64
	// Running counts jobs whose gang runs now.
	Running int
}

// Stats returns the counts so far.
func (t *Trainer) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	var s Stats
	for _, j := range t.jobs {
		if j.finished {
			s.Finished++
		}
		if j.work.running() {
			s.Running++
		}
		s.LostSeconds += j.work.lost.Seconds()
	}
	return s
}

// observeJob learns of a Job. What it says about itself is read once.
func (t *Trainer) observeJob(obj *batchv1.Job) {
	text, ours := obj.Annotations[AnnotationDuration]
	if !ours {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.jobs[obj.UID]; known != nil {
		return
	}
	duration, err := time.ParseDuration(text)
	if err != nil || duration <= 0 {
		t.log.Info("Job is not trained: its duration is not a positive duration", "job", obj.Namespace+"/"+obj.Name, "annotation", text)
		return
	}
	j := &job{namespace: obj.Namespace, name: obj.Name, gang: 1, pods: map[types.UID]pod{}}
	if obj.Spec.Parallelism != nil {
		j.gang = int(*obj.Spec.Parallelism)
	}
	j.work.duration = duration
	if interval, err := time.ParseDuration(obj.Annotations[ebbtidev1.AnnotationCheckpointInterval]); err == nil {
		j.work.interval = interval
	}
	t.jobs[obj.UID] = j
	for _, p := range t.orphans[obj.UID] {
		j.observe(p, time.Now())
	}
	delete(t.orphans, obj.UID)
}

// observePod learns of a pod's state, now.
func (t *Trainer) observePod(obj *corev1.Pod, now time.Time) {
	owner, ok := jobOf(obj)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if j := t.jobs[owner]; j != nil {
		j.observe(obj, now)
		return
	}
	t.orphans[owner] = append(t.orphans[owner], obj)
}

// forgetPod learns that a pod is gone.
func (t *Trainer) forgetPod(obj *corev1.Pod, now time.Time) {
	owner, ok := jobOf(obj)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.orphans[owner] = slices.DeleteFunc(t.orphans[owner], func(p *corev1.Pod) bool { return p.UID == obj.UID })
	if len(t.orphans[owner]) == 0 {
		delete(t.orphans, owner)
	}
	if j := t.jobs[owner]; j != nil {
		delete(j.pods, obj.UID)
		j.settle(now, false)
	}
}

func jobOf(obj *corev1.Pod) (types.UID, bool) {
	for _, o := range obj.OwnerReferences {
		if o.Kind == "Job" {
			return o.UID, true
		}
	}
	return "", false
}

func (j *job) observe(obj *corev1.Pod, now time.Time) {
	p := pod{
		name:        obj.Name,
		running:     obj.DeletionTimestamp == nil && (obj.Status.Phase == corev1.PodRunning || obj.Status.Phase == corev1.PodSucceeded),
		terminating: obj.DeletionTimestamp != nil,
		saves:       savesInTime(obj),
	}
	if len(obj.Spec.Containers) > 0 {
		p.container = obj.Spec.Containers[0].Name
	}
	before, known := j.pods[obj.UID]
	if known && before.terminating && !p.terminating {
		return
	}
	j.pods[obj.UID] = p
	// The gang saves together: one member that is killed first loses it for all.
	saving := p.terminating && p.saves
	j.settle(now, saving)
}

// settle starts or stops the work according to whether the whole gang runs.
func (j *job) settle(now time.Time, saving bool) {
	if j.finishing || j.finished {
		return
	}
	running := 0
	for _, p := range j.pods {
		if p.running {
			running++
		}
	}
	if running >= j.gang {
		j.work.start(now)
		return
	}
	if j.work.running() {
		j.work.stop(now, saving)
		if saving {
			j.checkpoint = now
		}
	}
}

// savesInTime reports whether the pod exits by itself before it would be killed.
func savesInTime(obj *corev1.Pod) bool {
	grace := int64(30)
	if obj.Spec.TerminationGracePeriodSeconds != nil {
		grace = *obj.Spec.TerminationGracePeriodSeconds
	}
	if obj.DeletionGracePeriodSeconds != nil {
		grace = *obj.DeletionGracePeriodSeconds
	}
	exit := kubelet.DefaultExitAfter
	if text, found := obj.Annotations[kubelet.AnnotationExitAfter]; found {
		d, err := time.ParseDuration(text)
		if err != nil {
			return false
		}
		exit = d
	}
	return exit <= time.Duration(grace)*time.Second
}

// due is what one tick has to write to the cluster.
type due struct {
	succeed  []*job
	annotate []*job
}

// step moves all jobs on to now.
func (t *Trainer) step(now time.Time) due {
	t.mu.Lock()
	defer t.mu.Unlock()
	var d due
	for _, j := range t.jobs {
		if !j.finished && j.work.done(now) {
			j.finishing = true
			d.succeed = append(d.succeed, j)
			continue
		}
		if j.work.checkpoint(now) {
			j.checkpoint = j.work.since
		}
		if !j.finished && j.checkpoint.After(j.shown) && now.Sub(j.annotated) >= annotateEvery {
			d.annotate = append(d.annotate, j)
		}
	}
	byName := func(a, b *job) int { return strings.Compare(a.namespace+"/"+a.name, b.namespace+"/"+b.name) }
	slices.SortFunc(d.succeed, byName)
	slices.SortFunc(d.annotate, func(a, b *job) int { return a.shown.Compare(b.shown) })
	return d
}

// Run trains until ctx ends.
func (t *Trainer) Run(ctx context.Context) error {
	stop, err := t.watch(ctx)
	if err != nil {
		return fmt.Errorf("watch the training jobs: %w", err)
	}
	defer stop()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			t.write(ctx, t.step(now), now)
		}
	}
}
