package gather_test

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

// TestFailingReplica: a replica that has ceased to be ready is busy; one that
// starts, or ends, neither serves nor counts.
func TestFailingReplica(t *testing.T) {
	at := func(ago time.Duration) metav1.Time { return metav1.Time{Time: now.Add(-ago)} }
	for name, test := range map[string]struct {
		edit     func(*corev1.Pod)
		requests float64
		coverage float64
	}{
		"failing":       {func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = at(time.Minute) }, 1 + 256, 0.5},
		"unknown since": {func(p *corev1.Pod) { p.Status.StartTime = nil }, 1 + 256, 0.5},
		"node not heard": {func(p *corev1.Pod) {
			p.Status.Conditions[0].Status, p.Status.Conditions[0].LastTransitionTime = corev1.ConditionUnknown, at(0)
		}, 1 + 256, 0.5},
		"starting":          {func(*corev1.Pod) {}, 1, 1},
		"starting, rounded": {func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = at(time.Hour - time.Second) }, 1, 1},
		"just bound":        {func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }, 1, 1},
		"leaving": {func(p *corev1.Pod) {
			pod{p}.leaving()
			p.Status.Conditions[0].LastTransitionTime = at(0)
		}, 1, 1},
		"ended": {func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Conditions[0].LastTransitionTime = corev1.PodFailed, at(0)
		}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			replica := online("chat-9").on("gpu-1")
			started := at(time.Hour)
			replica.Status.StartTime = &started
			replica.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: started}}
			test.edit(replica.Pod)
			g, signals := newGatherer(append(cluster(), replica)...)
			says := func(value float64) signal.Readings {
				return signal.Readings{"chat-1": {Value: value, At: now}}
			}
			signals.sample = heard(says(1), says(0), says(0))
			view, err := g.Gather(t.Context(), now, 1)
			if err != nil {
				t.Fatal(err)
			}
			if load := view.Snapshot.Lenders[0].Load; !load.Known || load.Requests != test.requests || load.Coverage != test.coverage {
				t.Errorf("got %+v, want %v requests and coverage %v", load, test.requests, test.coverage)
			}
		})
	}
}

// TestPendingPriority: only a pod of the online class waits for units.
func TestPendingPriority(t *testing.T) {
	for name, test := range map[string]struct {
		priority *int32
		want     int
	}{
		"none":   {nil, 0},
		"below":  {ptr.To(v1alpha1.PriorityOnline - 1), 0},
		"online": {ptr.To(v1alpha1.PriorityOnline), 1},
		"above":  {ptr.To(v1alpha1.PriorityOnline + 1), 1},
	} {
		waits := online("chat-7")
		waits.Spec.Priority = test.priority
		view := gatherAll(t, append(without(cluster(), "chat-3", ""), waits)...)
		if got := len(view.Snapshot.Lenders[0].Pending); got != test.want {
			t.Errorf("%s: %d pods wait, want %d", name, got, test.want)
		}
	}
}

// TestForeignPods: a pod of another namespace is in no job here, whatever it says,
// and a mark counts only on a pod that the job controls.
func TestForeignPods(t *testing.T) {
	running := training("tune", 1, 4)
	running.Spec.Suspend = ptr.To(false)
	labelled := func(name, namespace string) pod {
		p := newPod(namespace, name, 4, nil).on("gpu-1")
		p.Labels = map[string]string{batchv1.ControllerUidLabel: "tune"}
		return p
	}
	owned := trainer("owned", "tune").on("gpu-1")
	owned.Namespace = "serving"
	merely := trainer("merely", "tune").on("gpu-1")
	merely.OwnerReferences[0].Controller = nil
	for name, test := range map[string]struct {
		pod  pod
		live int64
	}{
		"labelled elsewhere": {labelled("a", "serving"), 0},
		"owned elsewhere":    {owned, 0},
		"labelled":           {labelled("b", "research"), 1},
		"merely owned":       {merely, 1},
	} {
		t.Run(name, func(t *testing.T) {
			test.pod.Status.Conditions = disrupted(v1alpha1.ReasonPreempted)
			g, _ := newGatherer(append(cluster(), running, loan("tune", "gpu-1", 4), client.Object(test.pod))...)
			g.Disrupted.Note(test.pod.Pod)
			view, err := g.Gather(t.Context(), now, 1)
			if err != nil {
				t.Fatal(err)
			}
			if l := view.Snapshot.Loans[0]; l.Live != test.live || l.Preempted {
				t.Errorf("%d pods, preempted: %t, want %d and false", l.Live, l.Preempted, test.live)
			}
		})
	}
}

// TestStrays: queued jobs that run without an open loan are reported.
func TestStrays(t *testing.T) {
	runs := func(name string, edit func(*batchv1.Job)) *batchv1.Job {
		j := training(name, 1, 4)
		j.Spec.Suspend = ptr.To(false)
		edit(j)
		return j
	}
	returned := loan("over", "gpu-1", 4)
	returned.Status.Conditions = []metav1.Condition{{Type: v1alpha1.LoanReturned, Status: metav1.ConditionTrue}}
	view := gatherAll(t, append(cluster(), training("waits", 1, 4), loan("lent", "gpu-1", 4), returned,
		runs("stray", func(*batchv1.Job) {}), runs("lent", func(*batchv1.Job) {}), runs("over", func(*batchv1.Job) {}),
		runs("ended", func(j *batchv1.Job) { j.Status.Conditions = done() }),
		runs("free", func(j *batchv1.Job) { j.Labels = nil }))...)
	got := map[string]bool{}
	for _, j := range view.Strays {
		got[j.Key.Name] = true
	}
	if len(got) != 2 || !got["stray"] || !got["over"] {
		t.Errorf("strays: %v, want stray and over", got)
	}
}
