package actuate_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// A pod that asks for GPUs through another scheduler is told of once, by a warning that
// names the scheduler and the node.
func TestStrangersAreTold(t *testing.T) {
	w := newWorld(t)
	for name, scheduler := range map[string]string{"plugin": "default-scheduler", "own": v1alpha1.SchedulerName} {
		units := corev1.ResourceList{gpu: resource.MustParse("2")}
		if err := w.api.Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name},
			Spec: corev1.PodSpec{
				SchedulerName: scheduler, NodeName: "gpu-1",
				Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: units, Limits: units}}},
			},
		}); err != nil {
			t.Fatal(err)
		}
	}
	b := w.broker(&fuse{left: -1})
	recorder := events.NewFakeRecorder(100)
	b.actuator.Events.Recorder = recorder
	for range 3 {
		if err := b.apply(); err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	for len(recorder.Events) > 0 {
		if e := <-recorder.Events; strings.Contains(e, "OtherScheduler") {
			told = append(told, e)
		}
	}
	if len(told) != 1 {
		t.Fatalf("told %q, want one warning", told)
	}
	for _, part := range []string{"Warning OtherScheduler", "2 nvidia.com/gpu", "default-scheduler", "gpu-1"} {
		if !strings.Contains(told[0], part) {
			t.Errorf("told %q, which does not say %q", told[0], part)
		}
	}
}
