package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// A scheduler that is killed while a gang has half of its places binds nothing of it;
// the next one places the gang whole, on the same loan.
func TestSchedulerKilledInMidGang(t *testing.T) {
	t.Parallel()
	w := twoTeams(t)
	if err := w.Part(lab.Scheduler).Stop(); err != nil {
		t.Fatal(err)
	}
	w.create(thirstyJob("biology", "gang", 2))
	w.awaitLoans("gang")
	before, err := w.loans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.awaitPods("biology", func(pods []corev1.Pod) bool { return len(pods) == 2 })

	// It takes the processors that the gang needs on one of its two nodes, and no GPU.
	hog := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "physics", Name: "hog"},
		Spec:       podSpec("", 0, 0),
	}
	hog.Spec.NodeName = before["gang"].Spec.Grants[0].Node
	hog.Spec.Containers[0].Resources = processors(resource.MustParse("150"))
	w.create(hog)
	w.startScheduler()
	w.awaitPods("biology", func(pods []corev1.Pod) bool {
		var refused int
		for i := range pods {
			if pods[i].Spec.NodeName != "" {
				t.Fatalf("pod %s is bound without its gang", pods[i].Name)
			}
			if strings.Contains(scheduled(&pods[i]).Message, "Insufficient cpu") {
				refused++
			}
		}
		return len(pods) == 2 && refused > 0 // each may have been the one, when it was tried again
	})

	if err := w.Part(lab.Scheduler).Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.Client().CoreV1().Pods("physics").Delete(t.Context(), "hog", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	w.awaitPods("physics", func(pods []corev1.Pod) bool { return len(pods) == 0 })
	if n, err := w.bound(t.Context(), "biology"); err != nil || n != 0 {
		t.Fatalf("%d pods of the gang are bound (%v)", n, err)
	}
	w.startScheduler()
	w.awaitBound("biology", 2)
	after, err := w.loans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if was, is := before["gang"].UID, after["gang"].UID; was != is {
		t.Errorf("the gang's loan was %s and is %s: it should have kept it", was, is)
	}
	w.closeTheBooks()
}

// thirstyJob is a queued job of pods with 8 GPUs and 64 processors each.
func thirstyJob(namespace, name string, pods int32) *batchv1.Job {
	spec := podSpec("", 8, 2)
	spec.SchedulerName, spec.RestartPolicy = "", corev1.RestartPolicyNever
	own := processors(resource.MustParse("64"))
	spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = own.Requests[corev1.ResourceCPU]
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.LabelQueue: "default"}},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods,
			Template: corev1.PodTemplateSpec{Spec: spec},
		},
	}
}

func processors(n resource.Quantity) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: n}}
}

// scheduled is what the scheduler says of the pod.
func scheduled(pod *corev1.Pod) corev1.PodCondition {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c
		}
	}
	return corev1.PodCondition{}
}

// awaitPods waits until the pods of a namespace are as they should be.
func (w *town) awaitPods(namespace string, as func([]corev1.Pod) bool) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		pods, err := w.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		var says []string
		for i := range pods.Items {
			says = append(says, fmt.Sprintf("%s: on %q, %s", pods.Items[i].Name, pods.Items[i].Spec.NodeName, scheduled(&pods.Items[i]).Message))
		}
		return as(pods.Items), strings.Join(says, "; ")
	})
}

func (w *town) startScheduler() {
	w.t.Helper()
	if err := w.Part(lab.Scheduler).Start(); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := w.Part(lab.Scheduler).WaitReady(ctx); err != nil {
		w.t.Fatal(err)
	}
}
