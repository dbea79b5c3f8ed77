package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/trainer"
)

// How jobs come and go, in the time of the soak.
const (
	// firstJobs are there when the soak begins, and then one comes in jobEvery on average.
	firstJobs = 24
	jobEvery  = 20 * time.Second
	leastWork = 4 * time.Minute
	meanWork  = 20 * time.Minute
	// deletedShare of jobs are deleted within deletedWithin.
	deletedShare  = 0.08
	deletedWithin = 10 * time.Minute
)

// feed submits jobs, and deletes some of them again.
type feed struct {
	config Config
	town   *town
	random *rand.Rand
	next   int
	doomed []doom
}

// doom is a job that is deleted at a time.
type doom struct {
	team, name string
	at         time.Time
}

func newFeed(c Config, w *town) *feed {
	return &feed{config: c, town: w, random: rand.New(rand.NewPCG(c.Seed, 3))}
}

// run submits and deletes until ctx ends.
func (f *feed) run(ctx context.Context) error {
	for range firstJobs {
		if err := f.submit(ctx); err != nil {
			return ended(ctx, err)
		}
	}
	due := time.Now()
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			for ; due.Before(now); due = due.Add(f.config.real(draw(f.random, jobEvery))) {
				if err := f.submit(ctx); err != nil {
					return ended(ctx, err)
				}
			}
			if err := f.reap(ctx, now); err != nil {
				return ended(ctx, err)
			}
		}
	}
}

// ended drops the error of a context that has ended: that is no failure.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (f *feed) submit(ctx context.Context) error {
	team := borrowers[f.random.IntN(len(borrowers))]
	job := f.job(f.next)
	f.next++
	if f.random.Float64() < deletedShare {
		after := time.Duration(f.random.Float64() * float64(f.config.real(deletedWithin)))
		f.doomed = append(f.doomed, doom{team, job.Name, time.Now().Add(after)})
	}
	if _, err := f.town.Client().BatchV1().Jobs(team).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("submit job %s/%s: %w", team, job.Name, err)
	}
	return nil
}

// reap deletes the jobs whose time has come.
func (f *feed) reap(ctx context.Context, now time.Time) error {
	kept := f.doomed[:0]
	for _, d := range f.doomed {
		if d.at.After(now) {
			kept = append(kept, d)
			continue
		}
		err := f.town.Client().BatchV1().Jobs(d.team).Delete(ctx, d.name, metav1.DeleteOptions{
			PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete job %s/%s: %w", d.team, d.name, err)
		}
	}
	f.doomed = kept
	return nil
}

// job draws one. It draws the same number of times for each, so that one job's shape does
// not depend on another's.
func (f *feed) job(number int) *batchv1.Job {
	random := rand.New(rand.NewPCG(f.config.Seed, 1000+uint64(number)))
	flavor := []string{"h100", "a100"}[random.IntN(2)]
	shape := [][2]int64{{1, 1}, {1, 2}, {1, 4}, {1, 8}, {2, 4}, {2, 8}, {3, 8}, {4, 1}, {4, 2}, {8, 1}}[random.IntN(10)]
	pods := int32(shape[0])
	work := leastWork + draw(random, meanWork)
	grace := 1 + random.Int64N(5) // at times more than is allowed
	exit := time.Duration(100+random.IntN(2500)) * time.Millisecond
	if random.Float64() < 0.1 {
		exit = time.Hour // ignores SIGTERM
	}
	elastic := random.Float64() < 0.4
	annotations := map[string]string{
		trainer.AnnotationDuration:            f.config.real(work).String(),
		v1alpha1.AnnotationCheckpointInterval: f.config.real(time.Duration(1+random.IntN(20)) * time.Minute).String(),
	}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("job-%04d", number), Labels: map[string]string{v1alpha1.LabelQueue: queue}, Annotations: annotations,
		},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods, BackoffLimit: ptr.To[int32](0),
			TTLSecondsAfterFinished: ptr.To[int32](30),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{kubelet.AnnotationExitAfter: exit.String()}},
				Spec:       podSpec(flavor, shape[1], grace),
			},
		},
	}
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	if elastic && pods > 1 {
		annotations[v1alpha1.AnnotationMinPods] = fmt.Sprint(1 + random.Int32N(pods-1))
	}
	return job
}
