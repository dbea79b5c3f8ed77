package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

func asks(name corev1.ResourceName, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "gpu-0", Containers: []corev1.Container{{
		Name: "main", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{name: resource.MustParse("1")}},
	}}}}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

// TestUrgency: most changes of a cluster concern no decision; those that somebody
// waits for are not put off.
func TestUrgency(t *testing.T) {
	const gpu = "nvidia.com/gpu"
	online := func(p *corev1.Pod) { p.Spec.NodeName, p.Spec.Priority = "", ptr.To(v1alpha1.PriorityOnline) }
	low := func(p *corev1.Pod) { p.Spec.NodeName = "" }
	ready := func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	ended := func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
	queued := func(p *corev1.Pod) { p.Labels = map[string]string{v1alpha1.LabelQueue: "default"} }
	gated := func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "later"}} }
	marked := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", UID: "tune", Controller: ptr.To(true)}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: v1alpha1.ReasonPreempted}}
	}
	job := &batchv1.Job{}
	failed := &batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed}}}}
	counted := &batchv1.Job{Status: batchv1.JobStatus{Active: 1}}
	taken := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Generation: 2, Annotations: map[string]string{v1alpha1.AnnotationTakenBack: "1"}}}
	rule := func(hard, used string) *corev1.ResourceQuota {
		return &corev1.ResourceQuota{Status: corev1.ResourceQuotaStatus{
			Hard: corev1.ResourceList{gpu: resource.MustParse(hard)}, Used: corev1.ResourceList{gpu: resource.MustParse(used)},
		}}
	}
	node, cordoned := &corev1.Node{}, &corev1.Node{Spec: corev1.NodeSpec{Unschedulable: true}}
	policy, edited := &v1alpha1.LendingPolicy{}, &v1alpha1.LendingPolicy{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	for name, test := range map[string]struct {
		before, after any // one of them is nil for an addition or a deletion
		want          urgency
	}{
		"pod that asks for nothing":     {nil, asks("cpu", online), never},
		"pod that asks for another":     {nil, asks("example.com/fpga", online), never},
		"such a pod ends":               {asks("cpu"), asks("cpu", ended), never},
		"such a pod goes":               {asks("cpu"), nil, never},
		"online pod waits":              {nil, asks(gpu, online), crowd},
		"online pod is let go":          {asks(gpu, online, gated), asks(gpu, online), crowd},
		"gated pod":                     {nil, asks(gpu, online, gated), soon},
		"training pod waits":            {nil, asks(gpu, low), soon},
		"pod is ready":                  {asks(gpu), asks(gpu, ready), soon},
		"pod's heartbeat":               {asks(gpu, ready), asks(gpu, ready), never},
		"pod ends":                      {asks(gpu), asks(gpu, ended), atOnce},
		"pod goes":                      {asks(gpu), nil, atOnce},
		"pod of a queued job ends":      {asks("cpu", queued), asks("cpu", queued, ended), atOnce},
		"scheduler takes a pod":         {asks(gpu), asks(gpu, marked), atOnce},
		"job is made":                   {nil, job, soon},
		"job is suspended":              {job, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Generation: 2}}, soon},
		"job ends":                      {job, failed, atOnce},
		"job counts its pods":           {job, counted, never},
		"job goes":                      {job, nil, atOnce},
		"scheduler stops a job":         {job, taken, atOnce},
		"such a job goes on":            {taken, taken.DeepCopy(), never},
		"resource quota is used":        {rule("4", "1"), rule("4", "2"), never},
		"resource quota comes free":     {rule("4", "2"), rule("4", "1"), soon},
		"resource quota grows":          {rule("4", "2"), rule("5", "2"), soon},
		"resource quota is counted":     {&corev1.ResourceQuota{}, rule("4", "2"), soon},
		"limit range is edited":         {&corev1.LimitRange{}, &corev1.LimitRange{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{}}}}, soon},
		"node is cordoned":              {node, cordoned, atOnce},
		"node's heartbeat":              {node, node.DeepCopy(), never},
		"policy is edited":              {policy, edited, soon},
		"policy's status":               {policy, policy.DeepCopy(), never},
		"pod goes unseen":               {toolscache.DeletedFinalStateUnknown{Obj: asks(gpu)}, nil, atOnce},
		"pod that asks for none, alike": {toolscache.DeletedFinalStateUnknown{Obj: asks("cpu")}, nil, never},
	} {
		t.Run(name, func(t *testing.T) {
			w := &watcher{disrupted: &gather.Disrupted{}, resources: &resources{}, chains: &lineage.Lineage{}}
			w.resources.set(map[string]corev1.ResourceName{"h100": gpu})
			var got urgency
			switch {
			case test.before == nil:
				got = w.added(test.after)
			case test.after == nil:
				got = w.deleted(test.before)
			default:
				got = w.changed(test.before, test.after)
			}
			if got != test.want {
				t.Errorf("urgency %d, want %d", got, test.want)
			}
		})
	}
	blind := &watcher{disrupted: &gather.Disrupted{}, resources: &resources{}, chains: &lineage.Lineage{}}
	if got := blind.added(asks("example.com/fpga", online)); got != crowd {
		t.Errorf("before the first decision: urgency %d, want %d", got, crowd)
	}
}

// TestSlimKeepsRestarts: that a container began anew is all that is kept of its status.
// What such a pod took until it was ready is no start to learn from.
func TestSlimKeepsRestarts(t *testing.T) {
	p := asks("nvidia.com/gpu", func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{
			{Name: "proxy", Image: "proxy:1", ContainerID: "containerd://1", Ready: true},
			{Name: "main", Image: "model:1", ContainerID: "containerd://2", RestartCount: 2},
		}
	})
	got, err := slim(p)
	if err != nil {
		t.Fatal(err)
	}
	want := []corev1.ContainerStatus{{Name: "proxy"}, {Name: "main", RestartCount: 2}}
	if diff := cmp.Diff(want, got.(*corev1.Pod).Status.ContainerStatuses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
