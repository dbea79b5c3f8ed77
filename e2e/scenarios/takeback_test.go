package scenarios

import (
	"context"
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// An elastic job gives back as many workers as an online service needs, and goes on with
// the rest: it is never suspended. When even its least is too much it stops whole, and
// when the service has shrunk it is admitted again at its whole size.
func TestElasticJobShrinks(t *testing.T) {
	t.Parallel()
	w := newPatientTown(t, 2)
	w.dial.set(1, 0)
	w.serve(1, 4, 16)
	w.awaitBound(onlineNamespace, 1)
	w.create(elastic("grow", 12, 4))
	w.awaitLoans("grow")
	w.awaitBound(trainingNamespace, 12)
	attempt := w.job("grow").Annotations[v1alpha1.AnnotationAttempt]

	w.scale(2) // it is the pods that ask, and no load beside them
	w.awaitBound(onlineNamespace, 2)
	w.awaitHeld("grow", 8)
	w.awaitBound(trainingNamespace, 8)
	w.awaitEntry("grow", "SHED")
	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	w.awaitHeld("grow", 4)
	if job := w.job("grow"); *job.Spec.Suspend || job.Annotations[v1alpha1.AnnotationAttempt] != attempt || *job.Spec.Parallelism != 4 {
		t.Errorf("the job is suspended: %v, at attempt %s of %s, with %d pods; want it to go on with 4",
			*job.Spec.Suspend, job.Annotations[v1alpha1.AnnotationAttempt], attempt, *job.Spec.Parallelism)
	}

	w.scale(4)
	w.awaitBound(onlineNamespace, 4)
	w.awaitLoans()
	w.awaitBound(trainingNamespace, 0)
	w.scale(1)
	w.awaitHeld("grow", 12)
	w.awaitBound(trainingNamespace, 12)
	w.closeTheBooks()
}

// A job that is taken back twenty times has not failed once, and finishes. That it goes
// round is said on the job.
func TestTakenBackTwentyTimes(t *testing.T) {
	t.Parallel()
	w := newTown(t, 1)
	w.dial.set(1, 0)
	w.serve(0, 8, 8)
	job := elastic("tune", 2, 0)
	job.Annotations = nil
	job.Spec.Completions, job.Spec.BackoffLimit = ptr.To[int32](2), ptr.To[int32](0)
	w.create(job)
	for range 20 {
		w.awaitBound(trainingNamespace, 2)
		w.scale(1)
		w.awaitBound(onlineNamespace, 1)
		w.scale(0)
	}
	w.awaitBound(trainingNamespace, 2)
	w.finish("tune")
	labtest.Eventually(t, patience, func(context.Context) (bool, string) {
		status := w.job("tune").Status
		done := false
		for _, c := range status.Conditions {
			done = done || c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue
		}
		return done && status.Failed == 0, fmt.Sprintf("the job is %+v, want it complete with no pod failed", status)
	})
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		found, err := w.events(ctx, trainingNamespace, "Job", "tune")
		return err == nil && found[lend.ReasonCycling] != "", fmt.Sprintf("events %v (%v), want %s", found, err, lend.ReasonCycling)
	})
	w.closeTheBooks()
}

// elastic is a job of one-GPU pods that run until they are stopped, of which it can do
// with a few; 0: with none of them.
func elastic(name string, pods, least int32) *batchv1.Job {
	spec := podSpec("", 1, 2)
	spec.SchedulerName = "" // the admission policy sets it
	spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: trainingNamespace, Name: name, Labels: map[string]string{v1alpha1.LabelQueue: "default"},
			Annotations: map[string]string{v1alpha1.AnnotationMinPods: fmt.Sprint(least)},
		},
		Spec: batchv1.JobSpec{Parallelism: &pods, Template: corev1.PodTemplateSpec{Spec: spec}},
	}
}

func (w *town) job(name string) *batchv1.Job {
	w.t.Helper()
	job, err := w.Client().BatchV1().Jobs(trainingNamespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return job
}

// awaitHeld waits until the job's loan holds so many units, and asks for none of them.
func (w *town) awaitHeld(job string, units int64) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		loan := loans[job]
		held := v1alpha1.Units(loan.Held())
		return err == nil && held == units && len(loan.Status.Shedding) == 0,
			fmt.Sprintf("the loan holds %d units and sheds %v, want %d (%v)", held, loan.Status.Shedding, units, err)
	})
}

// finish lets the pods of a job succeed.
func (w *town) finish(job string) {
	w.t.Helper()
	var pods *corev1.PodList
	// Of one that is only bound, the kubelet would say next that it runs.
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		var err error
		pods, err = w.Client().CoreV1().Pods(trainingNamespace).List(ctx, metav1.ListOptions{LabelSelector: "job-name=" + job})
		if err != nil {
			return false, err.Error()
		}
		for i := range pods.Items {
			if p := &pods.Items[i]; p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil {
				return false, fmt.Sprintf("pod %s is %s, want it to run", p.Name, p.Status.Phase)
			}
		}
		return len(pods.Items) > 0, "there are no pods"
	})
	for _, pod := range pods.Items {
		succeed(w.t, w.Lab, pod.Name)
	}
}

// succeed lets a pod that trains end well, as its kubelet would.
func succeed(t *testing.T, l *lab.Lab, pod string) {
	t.Helper()
	_, err := l.Client().CoreV1().Pods(trainingNamespace).Patch(t.Context(), pod, types.MergePatchType,
		[]byte(`{"status":{"phase":"Succeeded"}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
}
