package stage

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
)

// openJobs is how many jobs there are after each round's beginning: more than fit.
const openJobs = 10

// shapes are pods and GPUs of each.
var shapes = [][2]int64{{1, 1}, {1, 2}, {1, 4}, {2, 2}, {2, 4}, {1, 8}, {3, 1}, {4, 2}}

// feed lets jobs come and go.
type feed struct {
	town *Town
	next int
	open []string
}

// remove takes a job away.
func (f *feed) remove(ctx context.Context, name string) error {
	err := f.town.Client().BatchV1().Jobs(Training).Delete(ctx, name, metav1.DeleteOptions{
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete job %s: %w", name, err)
	}
	return nil
}

// turn takes some jobs away and brings others, so that there are as many as ever.
func (f *feed) turn(ctx context.Context, random *rand.Rand) error {
	for range min(len(f.open), random.IntN(3)) {
		i := random.IntN(len(f.open))
		if err := f.remove(ctx, f.open[i]); err != nil {
			return err
		}
		f.open = append(f.open[:i], f.open[i+1:]...)
	}
	for len(f.open) < openJobs {
		job := newJob(f.next, random)
		f.next++
		if _, err := f.town.Client().BatchV1().Jobs(Training).Create(ctx, job, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("submit job %s: %w", job.Name, err)
		}
		f.open = append(f.open, job.Name)
	}
	return nil
}

// newJob draws a job that runs until it is stopped. Some do not hear when they are told to.
func newJob(number int, random *rand.Rand) *batchv1.Job {
	shape := shapes[random.IntN(len(shapes))]
	pods, grace := int32(shape[0]), 1+random.Int64N(4)
	exit := time.Duration(100+random.IntN(1500)) * time.Millisecond
	if random.IntN(4) == 0 {
		exit = time.Hour
	}
	spec := podSpec(shape[1], grace)
	spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: Training, Name: fmt.Sprintf("job-%04d", number), Labels: map[string]string{v1alpha1.LabelQueue: queue},
		},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{kubelet.AnnotationExitAfter: exit.String()}},
				Spec:       spec,
			},
		},
	}
}
