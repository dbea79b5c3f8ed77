package gather_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
)

// Pods that ask for GPUs and name another scheduler are told by name, wherever they come
// from, and still count for what they hold.
func TestStrangers(t *testing.T) {
	from := func(namespace, name, scheduler string, gpus int64) pod {
		p := newPod(namespace, name, gpus, nil)
		p.Spec.SchedulerName = scheduler
		return p
	}
	over := from("kube-system", "over", "default-scheduler", 4).on("gpu-1")
	over.Status.Phase = corev1.PodSucceeded
	initial := from("kube-system", "initial", "other", 0)
	initial.Spec.InitContainers = []corev1.Container{initial.Spec.Containers[0]}
	initial.Spec.InitContainers[0].Resources.Limits = corev1.ResourceList{gpu: resource.MustParse("2")}
	objects := []pod{
		from("kube-system", "plugin", "default-scheduler", 3).on("gpu-1"),
		from("kube-system", "waits", "default-scheduler", 1),
		initial,
		from("kube-system", "dns", "default-scheduler", 0).on("gpu-1"), // asks for none
		over,
		from("research", "own", v1alpha1.SchedulerName, 1).on("gpu-1"),
	}
	all := cluster()
	for _, p := range objects {
		all = append(all, p)
	}
	view := gatherAll(t, all...)
	want := []gather.Stranger{
		{Namespace: "kube-system", Name: "initial", UID: "initial", Scheduler: "other", Resource: gpu, Units: 2},
		{Namespace: "kube-system", Name: "plugin", UID: "plugin", Scheduler: "default-scheduler", Node: "gpu-1", Resource: gpu, Units: 3},
		{Namespace: "kube-system", Name: "waits", UID: "waits", Scheduler: "default-scheduler", Resource: gpu, Units: 1},
	}
	if diff := cmp.Diff(want, view.Strangers); diff != "" {
		t.Errorf("strangers (-want +got):\n%s", diff)
	}
	if n := view.Snapshot.Nodes[1].Units[0].Other; n != 4 {
		t.Errorf("%d units of gpu-1 are others', want 4", n)
	}
}
