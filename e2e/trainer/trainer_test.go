package trainer

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

func TestWorkKeepsWhatWasSaved(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(0, 0).Add(time.Duration(s * float64(time.Second))) }
	w := work{duration: 100 * time.Second, interval: 10 * time.Second}
	w.start(at(0))
	if !w.checkpoint(at(25)) || w.saved != 20*time.Second {
		t.Errorf("after 25s %s is saved, want 20s", w.saved)
	}
	w.stop(at(37), false)
	if w.saved != 30*time.Second || w.lost != 7*time.Second {
		t.Errorf("killed at 37s: saved %s and lost %s, want 30s and 7s", w.saved, w.lost)
	}
	w.start(at(50))
	w.stop(at(55), true)
	if w.saved != 35*time.Second {
		t.Errorf("stopped with saving: %s, want 35s", w.saved)
	}
	w.start(at(100))
	if w.done(at(164.9)) || !w.done(at(165)) {
		t.Error("want it to be done after 65 more seconds, not before")
	}
}

// Over any course of runs, saved and lost progress add up to the time run.
func TestWorkAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := work{duration: time.Hour, interval: time.Duration(rapid.IntRange(0, 20).Draw(t, "interval")) * time.Second}
		now, ran := time.Unix(0, 0), time.Duration(0)
		for range rapid.IntRange(1, 20).Draw(t, "runs") {
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "idle")) * time.Second)
			w.start(now)
			run := time.Duration(rapid.IntRange(0, 90).Draw(t, "run")) * time.Second
			if rapid.Bool().Draw(t, "looked at") {
				w.checkpoint(now.Add(run / 2))
			}
			now = now.Add(run)
			saving := rapid.Bool().Draw(t, "saving")
			before := w.lost
			w.stop(now, saving)
			if saving && w.lost != before {
				t.Fatalf("a stop that saved lost %s", w.lost-before)
			}
			if w.interval > 0 && w.lost-before >= w.interval {
				t.Fatalf("lost %s with a checkpoint every %s", w.lost-before, w.interval)
			}
			ran += run
		}
		if w.saved+w.lost != ran {
			t.Fatalf("saved %s and lost %s, but ran %s", w.saved, w.lost, ran)
		}
	})
}

func testJob(gang int32, annotations map[string]string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a", UID: "job-a", Annotations: annotations},
		Spec:       batchv1.JobSpec{Parallelism: &gang},
	}
}

func testPod(i int, phase corev1.PodPhase) *corev1.Pod {
	grace := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "research", Name: fmt.Sprintf("a-%d", i), UID: types.UID(fmt.Sprintf("pod-%d", i)),
			Annotations:     map[string]string{"lab.ebbtide.dev/exit-after": "500ms"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Job", UID: "job-a"}},
		},
		Spec:   corev1.PodSpec{TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "main"}}},
		Status: corev1.PodStatus{Phase: phase},
	}
}

func terminating(p *corev1.Pod, now time.Time, grace int64) *corev1.Pod {
	p.DeletionTimestamp = &metav1.Time{Time: now}
	p.DeletionGracePeriodSeconds = &grace
	return p
}

func TestProgressNeedsTheWholeGang(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := New(nil, logr.Discard())
	tr.observePod(testPod(0, corev1.PodRunning), now) // before its job is seen
	tr.observeJob(testJob(2, map[string]string{AnnotationDuration: "10s"}))
	j := tr.jobs["job-a"]
	if len(j.pods) != 1 || j.work.running() {
		t.Fatalf("%d pods known, running %v; want one and not running", len(j.pods), j.work.running())
	}
	tr.observePod(testPod(1, corev1.PodRunning), now)
	if d := tr.step(now.Add(9 * time.Second)); len(d.succeed) != 0 {
		t.Error("finished too early")
	}
	tr.forgetPod(testPod(1, corev1.PodRunning), now.Add(9*time.Second)) // vanished: nothing was saved
	if d := tr.step(now.Add(time.Minute)); len(d.succeed) != 0 || j.work.saved != 0 {
		t.Errorf("with half the gang: %d to finish, %s saved", len(d.succeed), j.work.saved)
	}
	tr.observePod(testPod(1, corev1.PodRunning), now.Add(time.Minute))
	if d := tr.step(now.Add(70 * time.Second)); len(d.succeed) != 1 {
		t.Error("want it to finish after ten seconds of the whole gang")
	}
}

func TestGraceDecidesWhatIsSaved(t *testing.T) {
	for _, tc := range []struct {
		name  string
		grace int64
		want  time.Duration
	}{
		{"enough grace saves all", 1, 8 * time.Second},
		{"too little falls back to the checkpoint", 0, 6 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			tr := New(nil, logr.Discard())
			tr.observeJob(testJob(1, map[string]string{AnnotationDuration: "60s", "ebbtide.dev/checkpoint-interval": "3s"}))
			tr.observePod(testPod(0, corev1.PodRunning), now)
			tr.observePod(terminating(testPod(0, corev1.PodRunning), now, tc.grace), now.Add(8*time.Second))
			if got := tr.jobs["job-a"].work.saved; got != tc.want {
				t.Errorf("saved %s, want %s", got, tc.want)
			}
		})
	}
}

func TestCheckpointsAreAnnotatedAtMostOncePerSecond(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := New(nil, logr.Discard())
	tr.observeJob(testJob(1, map[string]string{AnnotationDuration: "1h", "ebbtide.dev/checkpoint-interval": "100ms"}))
	tr.observePod(testPod(0, corev1.PodRunning), now)
	written := 0
	for i := range 200 {
		at := now.Add(time.Duration(i) * tick)
		for _, j := range tr.step(at).annotate {
			j.shown, j.annotated = j.checkpoint, at
			written++
		}
	}
	if written < 9 || written > 11 {
		t.Errorf("%d annotations in ten seconds, want about 10", written)
	}
}

func TestAFinishedJobLosesNothingWhenItsPodsAreCleanedUp(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := New(nil, logr.Discard())
	tr.observeJob(testJob(1, map[string]string{AnnotationDuration: "10s"}))
	tr.observePod(testPod(0, corev1.PodRunning), now)
	j := tr.jobs["job-a"]
	if d := tr.step(now.Add(10 * time.Second)); len(d.succeed) != 1 {
		t.Fatal("want it to finish")
	}
	j.finished, j.finishing = true, false
	j.work.stop(now.Add(10*time.Second), true)
	tr.observePod(testPod(0, corev1.PodSucceeded), now.Add(11*time.Second))
	tr.forgetPod(testPod(0, corev1.PodSucceeded), now.Add(time.Minute))
	if s := tr.Stats(); s.LostSeconds != 0 || s.Running != 0 || s.Finished != 1 {
		t.Errorf("%+v: want one finished job that lost nothing", s)
	}
}

func TestJobsWithoutAUsableDurationAreLeftAlone(t *testing.T) {
	for _, text := range []string{"", "soon", "-1s", "0s"} {
		tr := New(nil, logr.Discard())
		tr.observeJob(testJob(1, map[string]string{AnnotationDuration: text}))
		if len(tr.jobs) != 0 {
			t.Errorf("duration %q: job is trained", text)
		}
	}
}

func TestSucceededPatchIsForThatPodOnly(t *testing.T) {
	patch, err := succeeded("pod-0", "main", metav1.Now())
	if err != nil {
		t.Fatal(err)
	}
	var got corev1.Pod
	if err := json.Unmarshal(patch, &got); err != nil {
		t.Fatal(err)
	}
	c := got.Status.ContainerStatuses
	if got.UID != "pod-0" || got.Status.Phase != corev1.PodSucceeded || len(c) != 1 || c[0].Name != "main" || c[0].State.Terminated == nil {
		t.Errorf("patch is %s", patch)
	}
}
