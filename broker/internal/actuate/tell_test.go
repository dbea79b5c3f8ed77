package actuate_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// teller is a broker that tells jobs; fuse f sees what it writes.
func (w *world) teller(f *fuse) *broker {
	b := w.broker(f)
	b.actuator.Teller = &jobs.Batch{Live: w.api, Client: b.actuator.Client, Status: b.actuator.Client.Status()}
	return b
}

// decide carries out a plan that only says something about the job.
func (b *broker) decide(reason, message string) {
	b.t.Helper()
	verdict := lend.Verdict{Kind: lend.SubjectJob, Subject: "research/tune", UID: "tune", Reason: reason, Message: message}
	if err := b.actuator.Apply(b.context(), b.gather(), &lend.Plan{Verdicts: []lend.Verdict{verdict}}); err != nil {
		b.t.Fatal(err)
	}
}

// says is the job's condition.
func (w *world) says() string {
	w.t.Helper()
	for _, c := range w.job().Status.Conditions {
		if c.Type == v1alpha1.ConditionAdmitted {
			return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
		}
	}
	return ""
}

// step is what is said some time after what was said before, and what stands then.
type step struct {
	after           time.Duration
	reason, message string
	want            string
}

// follow says one after the other, and looks each time at what stands. It returns when the
// last was said.
func (w *world) follow(steps []step, say func(reason, message string), stands func() string) time.Time {
	w.t.Helper()
	at := now
	for _, s := range steps {
		at = at.Add(s.after)
		w.clock.SetTime(at)
		say(s.reason, s.message)
		if got := stands(); got != s.want {
			w.t.Errorf("at %s, after %s %s: %q, want %q", at.Sub(now), s.reason, s.message, got, s.want)
		}
	}
	return at
}

// TestTell: a job's condition follows the reason at once and its message now and
// then, and nobody else's condition is touched.
func TestTell(t *testing.T) {
	w := newWorld(t)
	job := w.job()
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue, Reason: "JobSuspended"}}
	if err := w.api.Status().Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	f := &fuse{left: -1}
	b := w.teller(f)
	at := w.follow([]step{
		{0, "NoLendableUnits", "3 are lendable", "False NoLendableUnits: 3 are lendable"},
		{time.Second, "NoLendableUnits", "3 are lendable", "False NoLendableUnits: 3 are lendable"},
		{time.Second, "NoLendableUnits", "2 are lendable", "False NoLendableUnits: 3 are lendable"},
		{time.Second, "UnknownQueue", "there is no queue x", "False UnknownQueue: there is no queue x"},
		{9 * time.Second, "UnknownQueue", "there is no queue y", "False UnknownQueue: there is no queue x"},
		{time.Second, "UnknownQueue", "there is no queue y", "False UnknownQueue: there is no queue y"},
		// An admission that is only planned is none.
		{time.Second, lend.ReasonLent, "4 units of h100", "False UnknownQueue: there is no queue y"},
	}, b.decide, w.says)
	if n := strings.Count(strings.Join(f.writes, "\n"), "patch status tune"); n != 3 {
		t.Errorf("%d writes, want 3", n)
	}
	first := transition(w.job())
	if !first.Equal(now) {
		t.Errorf("since %s: it was never admitted", first)
	}

	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	if err := b.apply(); err != nil {
		t.Fatal(err)
	}
	if got := w.says(); got != "True Lent: 4 units of h100" {
		t.Errorf("an admitted job says %q", got)
	}
	if got := transition(w.job()); !got.Equal(at) {
		t.Errorf("since %s, want %s", got, at)
	}
	if !slices.Contains(w.job().Status.Conditions, batchv1.JobCondition{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue, Reason: "JobSuspended"}) {
		t.Errorf("the Job controller's condition is gone: %+v", w.job().Status.Conditions)
	}
	// A new broker knows what was said before.
	f = &fuse{left: -1}
	if err := w.teller(f).apply(); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(f.writes, "patch status tune") {
		t.Errorf("the same was said again: %v", f.writes)
	}
}

func transition(job *batchv1.Job) time.Time {
	for _, c := range job.Status.Conditions {
		if c.Type == v1alpha1.ConditionAdmitted {
			return c.LastTransitionTime.UTC()
		}
	}
	return time.Time{}
}

// TestTellFails: what cannot be written stops nothing, and is tried again later.
func TestTellFails(t *testing.T) {
	w := newWorld(t)
	f := &fuse{left: 1, hiccup: true}
	b := w.teller(&fuse{left: -1})
	b.actuator.Teller = w.teller(f).actuator.Teller
	for range 2 {
		b.decide("UnknownQueue", "there is no queue x")
		if got := w.says(); got != "" {
			t.Fatalf("says %q", got)
		}
	}
	w.clock.SetTime(now.Add(10 * time.Second))
	b.decide("UnknownQueue", "there is no queue x")
	if got := w.says(); got != "False UnknownQueue: there is no queue x" {
		t.Errorf("says %q", got)
	}
}

// lost is a teller of which nobody hears whether it wrote.
type lost struct {
	actuate.Teller
	write []func() error
}

func (l *lost) Tell(ctx context.Context, job jobs.Ref, last, a jobs.Admission, now time.Time) error {
	l.write = append(l.write, func() error { return l.Teller.Tell(ctx, job, last, a, now) })
	return context.DeadlineExceeded
}

// TestTellUnheard: a write that failed may have been carried out, or be carried out later.
// What stands in the job is found out, and put right.
func TestTellUnheard(t *testing.T) {
	const first, second = "False NoLendableUnits: 3 are lendable", "False NoNodeFits: 8 on one node"
	for name, course := range map[string]struct {
		// lands is after how many more decisions the write is carried out.
		lands  int
		reason string // what holds then
		want   string
	}{
		"at once, what stood before holds again": {0, "NoLendableUnits", first},
		"later, what stood before holds again":   {1, "NoLendableUnits", first},
		"at once, another holds":                 {0, "NoNodeFits", second},
		"later, another holds":                   {1, "NoNodeFits", second},
		"after another was told, which holds":    {15, "NoNodeFits", second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.teller(&fuse{left: -1})
			messages := map[string]string{"NoLendableUnits": "3 are lendable", "NoNodeFits": "8 on one node"}
			b.decide("NoLendableUnits", messages["NoLendableUnits"])
			real := b.actuator.Teller
			unheard := &lost{Teller: real}
			b.actuator.Teller = unheard
			w.clock.SetTime(now.Add(10 * time.Second))
			b.decide("UnknownQueue", "there is no queue x")
			b.actuator.Teller = real
			for i := range 30 {
				if i == course.lands {
					for _, write := range unheard.write {
						if err := write(); err != nil {
							t.Fatal(err)
						}
					}
					if got := w.says(); got != "False UnknownQueue: there is no queue x" {
						t.Fatalf("%q is what was written last", got)
					}
				}
				w.clock.SetTime(w.clock.Now().Add(time.Second))
				b.decide(course.reason, messages[course.reason])
			}
			if got := w.says(); got != course.want {
				t.Errorf("says %q, want %q", got, course.want)
			}
		})
	}
}

// TestTellMany: a round tells a bounded number of jobs, those with problems first,
// and the next rounds the others.
func TestTellMany(t *testing.T) {
	w := newWorld(t)
	var verdicts []lend.Verdict
	for i := range 80 {
		job := w.job()
		job.ResourceVersion, job.UID, job.Name = "", "", fmt.Sprintf("job-%02d", i)
		if err := w.api.Create(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		v := lend.Verdict{Kind: lend.SubjectJob, Subject: "research/" + job.Name, UID: string(job.UID), Reason: lend.ReasonNoLendableUnits, Message: "waits"}
		if i%8 == 7 {
			v.Reason = lend.ReasonUnknownQueue
		}
		verdicts = append(verdicts, v)
	}
	b := w.teller(&fuse{left: -1})
	var got []string
	for range 4 {
		if err := b.actuator.Apply(b.context(), b.gather(), &lend.Plan{Verdicts: verdicts}); err != nil {
			t.Fatal(err)
		}
		var list batchv1.JobList
		if err := w.api.List(t.Context(), &list, client.InNamespace("research")); err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, job := range list.Items {
			for _, c := range job.Status.Conditions {
				count[c.Reason]++
			}
		}
		got = append(got, fmt.Sprintf("%d problems, %d others", count[lend.ReasonUnknownQueue], count[lend.ReasonNoLendableUnits]))
	}
	want := []string{"10 problems, 22 others", "10 problems, 54 others", "10 problems, 70 others", "10 problems, 70 others"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
