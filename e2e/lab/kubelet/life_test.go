package kubelet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

// pod returns a running pod; annotations are given as pairs.
func pod(ready bool, annotations ...string) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p := &corev1.Pod{Status: corev1.PodStatus{
		Phase:      corev1.PodRunning,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
	}}
	p.Annotations = map[string]string{}
	for i := 0; i < len(annotations); i += 2 {
		p.Annotations[annotations[i]] = annotations[i+1]
	}
	return p
}

func deleted(p *corev1.Pod, grace int64) *corev1.Pod {
	p = p.DeepCopy()
	p.DeletionTimestamp = &metav1.Time{Time: epoch}
	p.DeletionGracePeriodSeconds = &grace
	return p
}

func phase(p *corev1.Pod, phase corev1.PodPhase) *corev1.Pod {
	p = p.DeepCopy()
	p.Status.Phase = phase
	return p
}

func TestNext(t *testing.T) {
	type sight struct {
		at  float64
		pod *corev1.Pod
	}
	tests := []struct {
		name   string
		sights []sight // the last pod seen is the present one
		want   step
	}{
		{
			name:   "a pod that has not started",
			sights: []sight{{0, phase(pod(false, AnnotationModelLoad, "2s"), corev1.PodPending)}},
		},
		{
			name:   "loads its model",
			sights: []sight{{1, pod(false, AnnotationModelLoad, "2s")}},
			want:   step{act: actReady, at: at(3)},
		},
		{
			name: "a patch does not start the load anew",
			sights: []sight{
				{1, pod(false, AnnotationModelLoad, "2s")},
				{2, pod(false, AnnotationModelLoad, "2s", "ebbtide.dev/reclaim-by", "soon")},
			},
			want: step{act: actReady, at: at(3)},
		},
		{
			name:   "runs for ever",
			sights: []sight{{1, pod(true)}},
		},
		{
			name: "completes, counted from ready",
			sights: []sight{
				{1, pod(false, AnnotationModelLoad, "2s", AnnotationCompleteAfter, "5s")},
				{3, pod(true, AnnotationModelLoad, "2s", AnnotationCompleteAfter, "5s")},
				{4, pod(true, AnnotationModelLoad, "2s", AnnotationCompleteAfter, "5s")},
			},
			want: step{act: actComplete, at: at(8)},
		},
		{
			name:   "an unreadable load time",
			sights: []sight{{1, pod(false, AnnotationModelLoad, "soon")}},
			want: step{act: actReject, at: at(1),
				problem: `annotation lab.ebbtide.dev/model-load: time: invalid duration "soon"`},
		},
		{
			name:   "a negative time to completion",
			sights: []sight{{1, pod(true, AnnotationCompleteAfter, "-1s")}},
			want: step{act: actReject, at: at(1),
				problem: `annotation lab.ebbtide.dev/complete-after: "-1s" must not be negative`},
		},
		{
			name:   "exits on SIGTERM",
			sights: []sight{{1, deleted(pod(true), 30)}},
			want:   step{act: actExit, at: at(1.3), exitCode: 143},
		},
		{
			name:   "saves a checkpoint and exits well",
			sights: []sight{{1, deleted(pod(true, AnnotationExitAfter, "4s", AnnotationExitCode, "0"), 30)}},
			want:   step{act: actExit, at: at(5), exitCode: 0},
		},
		{
			name:   "ignores SIGTERM",
			sights: []sight{{1, deleted(pod(true, AnnotationExitAfter, "1h"), 30)}},
			want:   step{act: actKill, at: at(31), exitCode: 137},
		},
		{
			name:   "hangs in the kernel",
			sights: []sight{{1, deleted(pod(true, AnnotationUnkillable, ""), 30)}, {100, deleted(pod(true, AnnotationUnkillable, ""), 1)}},
		},
		{
			name:   "wakes up again",
			sights: []sight{{1, deleted(pod(true, AnnotationUnkillable, ""), 30)}, {100, deleted(pod(true, AnnotationExitAfter, "1h"), 1)}},
			want:   step{act: actKill, at: at(31), exitCode: 137},
		},
		{
			name: "a shortened grace counts from when it is seen",
			sights: []sight{
				{1, deleted(pod(true, AnnotationExitAfter, "1h"), 30)},
				{4, deleted(pod(true, AnnotationExitAfter, "1h"), 5)},
			},
			want: step{act: actKill, at: at(9), exitCode: 137},
		},
		{
			name: "a shortened grace never lengthens the wait",
			sights: []sight{
				{1, deleted(pod(true, AnnotationExitAfter, "1h"), 30)},
				{29, deleted(pod(true, AnnotationExitAfter, "1h"), 20)},
			},
			want: step{act: actKill, at: at(31), exitCode: 137},
		},
		{
			name: "a longer grace changes nothing",
			sights: []sight{
				{1, deleted(pod(true, AnnotationExitAfter, "1h"), 5)},
				{2, deleted(pod(true, AnnotationExitAfter, "1h"), 60)},
			},
			want: step{act: actKill, at: at(6), exitCode: 137},
		},
		{
			name: "seeing the same deletion again changes nothing",
			sights: []sight{
				{1, deleted(pod(true, AnnotationExitAfter, "1h"), 5)},
				{3, deleted(pod(true, AnnotationExitAfter, "1h"), 5)},
			},
			want: step{act: actKill, at: at(6), exitCode: 137},
		},
		{
			name:   "an unreadable exit time does not keep a pod alive",
			sights: []sight{{1, deleted(pod(true, AnnotationExitAfter, "never"), 30)}},
			want:   step{act: actExit, at: at(1.3), exitCode: 143},
		},
		{
			name:   "deleted before it ran",
			sights: []sight{{1, deleted(phase(pod(false), corev1.PodPending), 30)}},
			want:   step{act: actExit, at: at(1.3), exitCode: 143},
		},
		{
			name:   "deleted after it ended",
			sights: []sight{{0, pod(true)}, {1, deleted(phase(pod(false), corev1.PodSucceeded), 30)}},
			want:   step{act: actRemove, at: at(1)},
		},
		{
			name:   "ended and not deleted",
			sights: []sight{{0, pod(true)}, {1, phase(pod(false, AnnotationModelLoad, "1s"), corev1.PodFailed)}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var l life
			for _, s := range test.sights {
				l = l.observe(s.pod, at(s.at))
			}
			got := l.next(test.sights[len(test.sights)-1].pod)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(step{})); diff != "" {
				t.Errorf("next step (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEndedStatus(t *testing.T) {
	now := metav1.NewTime(at(10))
	began := metav1.NewTime(at(2))
	p := pod(true)
	p.Spec.Containers = []corev1.Container{{Name: "a", Image: "x"}, {Name: "b", Image: "y"}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "a", Image: "x", Ready: true,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}},
	}}
	got := step{act: actKill, exitCode: 137}.status(p, now)
	if got.Phase != corev1.PodFailed {
		t.Errorf("phase %s, want Failed", got.Phase)
	}
	if len(got.ContainerStatuses) != 2 {
		t.Fatalf("%d container statuses, want one for each container", len(got.ContainerStatuses))
	}
	want := &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error", StartedAt: began, FinishedAt: now}
	if diff := cmp.Diff(want, got.ContainerStatuses[0].State.Terminated); diff != "" {
		t.Errorf("end of a container that ran (-want +got):\n%s", diff)
	}
	if got.ContainerStatuses[0].State.Running != nil || got.ContainerStatuses[0].Ready {
		t.Error("an ended container still runs or is ready")
	}
	if end := got.ContainerStatuses[1].State.Terminated; end == nil || end.ExitCode != 137 {
		t.Errorf("end of a container that never ran: %v, want exit code 137", end)
	}
}
