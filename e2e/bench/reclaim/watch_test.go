package reclaim

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/google/go-cmp/cmp"
)

func newObserver() *observer {
	return &observer{pods: map[types.UID]*sighting{}, onNode: map[string]int64{}, news: make(chan struct{})}
}

func seenPod(namespace, name, node string, phase corev1.PodPhase, asked bool) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name), Labels: map[string]string{batchv1.JobNameLabel: "gang"}},
		Spec:       podSpec(4), Status: corev1.PodStatus{Phase: phase},
	}
	pod.Spec.NodeName = node
	if asked {
		pod.DeletionTimestamp = &metav1.Time{Time: at(0)}
	}
	return pod
}

// A pod is a victim if it was bound and had not ended when it was asked to stop.
func TestSee(t *testing.T) {
	o := newObserver()
	type step struct {
		pod     *corev1.Pod
		deleted bool
		want    counts
	}
	for i, s := range []step{
		{seenPod(trainingNamespace, "a", "", corev1.PodPending, false), false, counts{}},
		{seenPod(trainingNamespace, "a", "n", corev1.PodPending, false), false, counts{}},
		{seenPod(trainingNamespace, "a", "n", corev1.PodRunning, false), false, counts{running: 1}},
		{seenPod(onlineNamespace, "o", "", corev1.PodPending, false), false, counts{running: 1}},
		{seenPod(trainingNamespace, "a", "n", corev1.PodRunning, true), false, counts{ending: 1}},
		{seenPod(trainingNamespace, "a", "n", corev1.PodFailed, true), false, counts{}},
		{seenPod(trainingNamespace, "a", "n", corev1.PodFailed, true), true, counts{}},
		{seenPod(onlineNamespace, "o", "n", corev1.PodPending, false), false, counts{bound: 1}},
		{seenPod(trainingNamespace, "waits", "", corev1.PodPending, true), false, counts{bound: 1}},
		{seenPod(trainingNamespace, "waits", "", corev1.PodPending, true), true, counts{bound: 1}},
		{seenPod(trainingNamespace, "ended", "n", corev1.PodSucceeded, true), false, counts{bound: 1}},
	} {
		o.see(s.pod, s.deleted, at(float64(i)))
		if diff := cmp.Diff(s.want, o.counts, cmp.AllowUnexported(counts{})); diff != "" {
			t.Errorf("after event %d (-want +got):\n%s", i, diff)
		}
	}
	want := sighting{job: "gang", units: 4, node: "n", made: at(0), bound: at(1), running: at(2), asked: at(4), gone: at(5)}
	if diff := cmp.Diff(want, *o.pods["a"], cmp.AllowUnexported(sighting{})); diff != "" {
		t.Errorf("the victim (-want +got):\n%s", diff)
	}
	for _, name := range []types.UID{"waits", "ended"} {
		if !o.pods[name].asked.IsZero() {
			t.Errorf("pod %s counts as a victim", name)
		}
	}
	// Two events may come at one moment, as far as the clock can tell.
	o.see(seenPod(onlineNamespace, "o", "n", corev1.PodRunning, false), false, at(7))
	if o.err != nil || o.onNode["n"] != 4 {
		t.Errorf("node n holds %d, error %v; want 4", o.onNode["n"], o.err)
	}
}

// A node that is given more than it has is an error, whoever gave it.
func TestSeeTooMuch(t *testing.T) {
	o := newObserver()
	for i, name := range []string{"a", "b", "c"} {
		o.see(seenPod(onlineNamespace, name, "n", corev1.PodRunning, false), false, at(float64(i)))
	}
	if o.err == nil || !strings.Contains(o.err.Error(), "node n was given 12 GPUs") {
		t.Errorf("error %v", o.err)
	}
}

// Who waits is told of a change, however it comes about.
func TestTell(t *testing.T) {
	o := newObserver()
	news := o.news
	o.see(seenPod(onlineNamespace, "a", "n", corev1.PodRunning, false), false, at(0))
	select {
	case <-news:
	case <-time.After(time.Minute):
		t.Error("nobody was told")
	}
}
