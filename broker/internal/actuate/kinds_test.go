package actuate_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

var kindJobSet = schema.GroupVersionKind{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"}

// newJobSet is a JobSet of one worker with four units that waits.
func newJobSet(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	worker := template(4)
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&worker)
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"suspend": true,
		"replicatedJobs": []any{map[string]any{"name": "workers", "replicas": int64(1), "template": map[string]any{
			"spec": map[string]any{"parallelism": int64(1), "completions": int64(1), "template": fields},
		}}},
	}}}
	o.SetGroupVersionKind(kindJobSet)
	o.SetNamespace("research")
	o.SetName("pretrain")
	o.SetLabels(map[string]string{v1alpha1.LabelQueue: "default"})
	return o
}

// withJobSet is the world with a JobSet beside the Job.
func withJobSet(t *testing.T) (*world, *unstructured.Unstructured) {
	t.Helper()
	w := newWorld(t)
	set := newJobSet(t)
	if err := w.api.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	return w, set
}

// installed lets a broker see the JobSets.
func (b *broker) installed() *broker {
	b.gatherer.Jobs.(*jobs.Set).Installed = func(kind schema.GroupVersionKind) bool { return kind == kindJobSet }
	return b
}

// worker runs a pod two steps below the JobSet, as the lineage of b knows.
func (b *broker) worker(set *unstructured.Unstructured, known bool) *corev1.Pod {
	b.t.Helper()
	of := func(apiVersion, kind, name string, uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: uid, Controller: ptr.To(true)}}
	}
	child := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "research", Name: "pretrain-workers-0", OwnerReferences: of("jobset.x-k8s.io/v1alpha2", "JobSet", set.GetName(), set.GetUID()),
	}}
	if err := b.api.Create(b.t.Context(), child); err != nil {
		b.t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "pretrain-workers-0-0", OwnerReferences: of("batch/v1", "Job", child.Name, child.UID)},
		Spec:       template(4).Spec,
	}
	pod.Spec.NodeName, pod.Spec.TerminationGracePeriodSeconds = "gpu-1", ptr.To[int64](5)
	if err := b.api.Create(b.t.Context(), pod); err != nil {
		b.t.Fatal(err)
	}
	if known {
		b.actuator.Chains.Put(child)
		b.actuator.Chains.Put(set)
	}
	return pod
}

func lendTo(set *unstructured.Unstructured) lend.Action {
	return lend.Action{
		Kind: lend.ActionLend, Loan: "research/pretrain-1", Job: "research/pretrain", JobUID: string(set.GetUID()), Attempt: 1,
		Grants:   []lend.Grant{{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 4}},
		MaxGrace: time.Minute, Reason: lend.ReasonLent, Message: "4 units of h100",
	}
}

func of(action lend.Action, set *unstructured.Unstructured) lend.Action {
	action.Job, action.JobUID = "research/pretrain", string(set.GetUID())
	return action
}

func (w *world) suspended(set *unstructured.Unstructured) bool {
	w.t.Helper()
	now := set.DeepCopy()
	if err := w.api.Get(w.t.Context(), client.ObjectKeyFromObject(set), now); err != nil {
		w.t.Fatal(err)
	}
	suspended, _, _ := unstructured.NestedBool(now.Object, "spec", "suspend")
	return suspended
}

// wantCourse is wantKinds, but for the steps within a reclaim.
func wantCourse(t *testing.T, w *world, loan, want string) {
	t.Helper()
	if got := strings.NewReplacer(" STOPPED", "", " KILLED", "").Replace(w.kinds(loan)); got != want {
		t.Errorf("ledger of %s: got %q, want %q", loan, got, want)
	}
}

// TestJobSetCourse: a JobSet is admitted and taken back as a Job is. It is over when no
// pod two steps below it is left, and not before that is known.
func TestJobSetCourse(t *testing.T) {
	for _, known := range []bool{true, false} {
		w, set := withJobSet(t)
		b := alive(w).installed()
		if err := b.apply(lendTo(set)); err != nil {
			t.Fatal(err)
		}
		wantCourse(t, w, "research/pretrain-1", "LEND_INTENT LEND_GRANTED")
		job := w.loans()[0].Spec.Job
		if w.suspended(set) || job.Kind != "JobSet" || job.APIVersion != "jobset.x-k8s.io/v1alpha2" || job.SuspendPath != "/spec/suspend" {
			t.Fatalf("suspended %t, loan of %+v", w.suspended(set), job)
		}
		pod := b.worker(set, known)
		if err := b.apply(of(reclaiming("research/pretrain-1"), set)); err != nil {
			t.Fatal(err)
		}
		if !w.suspended(set) {
			t.Fatal("the JobSet runs on")
		}
		var told corev1.Pod
		if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(pod), &told); err != nil || told.Annotations[v1alpha1.AnnotationReclaimBy] == "" {
			t.Errorf("known %t: the pod was not told: %v", known, err)
		}
		back := of(lend.Action{Kind: lend.ActionReturn, Loan: "research/pretrain-1", Reason: lend.ReasonReturned}, set)
		if err := b.apply(back); err != nil {
			t.Fatal(err)
		}
		if len(w.loans()) != 1 {
			t.Fatalf("known %t: the loan is over, and a pod runs", known)
		}
		// Another leader, who has seen nobody's owners yet.
		blind := w.broker(&fuse{left: -1}).installed()
		view := blind.gather()
		if err := w.api.Delete(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		again := pod.DeepCopy()
		again.ResourceVersion, again.Name = "", "pretrain-workers-0-1"
		if err := w.api.Create(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		blind.actuator.Chains = &lineage.Lineage{}
		if err := blind.actuator.Apply(b.context(), view, &lend.Plan{Actions: []lend.Action{back}}); err != nil {
			t.Fatal(err)
		}
		if len(w.loans()) != 1 {
			t.Fatal("the loan is over, and it is not known whose a pod is that holds units")
		}
		if err := w.api.Delete(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		if err := b.apply(back); err != nil {
			t.Fatal(err)
		}
		wantCourse(t, w, "research/pretrain-1", "LEND_INTENT LEND_GRANTED RECLAIM_INTENT RECLAIM_DONE")
		if view := b.gather(); len(view.Snapshot.Jobs) != 2 { // and tune
			t.Errorf("%d jobs wait in their queue", len(view.Snapshot.Jobs))
		}
	}
}

// TestLedgerKnowsKind: a loan of which only the ledger knows is closed by what its job
// is.
func TestLedgerKnowsKind(t *testing.T) {
	w, set := withJobSet(t)
	b := alive(w).installed()
	if err := b.apply(lendTo(set)); err != nil {
		t.Fatal(err)
	}
	pod := b.worker(set, true)
	object := w.loans()[0]
	object.Finalizers = nil
	if err := w.api.Update(t.Context(), &object); err != nil {
		t.Fatal(err)
	}
	if err := w.api.Delete(t.Context(), &object); err != nil {
		t.Fatal(err)
	}
	if err := b.actuator.Start(b.context()); err != nil {
		t.Fatal(err)
	}
	if !w.suspended(set) {
		t.Error("the JobSet runs without a Loan")
	}
	wantCourse(t, w, "research/pretrain-1", "LEND_INTENT LEND_GRANTED")
	if err := w.api.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if err := b.actuator.Start(b.context()); err != nil {
		t.Fatal(err)
	}
	wantCourse(t, w, "research/pretrain-1", "LEND_INTENT LEND_GRANTED LOST")
	entries, err := w.book.ByLoan("research/pretrain-1")
	if err != nil {
		t.Fatal(err)
	}
	var said map[string]any
	if err := json.Unmarshal(entries[0].Payload, &said); err != nil || said["queue"] != "research/default" {
		t.Errorf("payload %s, %v", entries[0].Payload, err)
	}
	if want := `"job":{"group":"jobset.x-k8s.io","kind":"JobSet"}`; !strings.Contains(string(entries[0].Payload), want) {
		t.Errorf("payload %s, want %s", entries[0].Payload, want)
	}
}

// TestFinishedLeavesPods: what a job leaves running that has ended is killed within the
// bound, though it cannot be suspended.
func TestFinishedLeavesPods(t *testing.T) {
	w, set := withJobSet(t)
	b := alive(w).installed()
	if err := b.apply(lendTo(set)); err != nil {
		t.Fatal(err)
	}
	b.worker(set, true)
	over := set.DeepCopy()
	if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(set), over); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedSlice(over.Object, []any{map[string]any{"type": "Completed", "status": "True"}}, "status", "conditions"); err != nil {
		t.Fatal(err)
	}
	if err := w.api.Update(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	state := lend.State{}
	for _, after := range []time.Duration{0, 30 * time.Second, time.Minute, time.Minute + time.Second} {
		view, err := b.gatherer.Gather(t.Context(), now.Add(after), b.epoch)
		if err != nil {
			t.Fatal(err)
		}
		var plan lend.Plan
		plan, state = lend.Decide(view.Snapshot, state, lend.DefaultPolicy())
		w.clock.SetTime(now.Add(after))
		if err := b.actuator.Apply(b.context(), view, &plan); err != nil {
			t.Fatal(err)
		}
		if left := len(w.pods()); (left == 0) != (after >= time.Minute) {
			t.Fatalf("after %s %d pods are left", after, left)
		}
	}
	wantCourse(t, w, "research/pretrain-1", "LEND_INTENT LEND_GRANTED RELEASED")
	if w.suspended(set) {
		t.Error("a JobSet that has ended was suspended")
	}
}

// TestPodGroupCourse: a group of pods is admitted by its Loan, and its end is its stop.
func TestPodGroupCourse(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	for _, name := range []string{"a", "b"} {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "research", Name: name, Labels: map[string]string{v1alpha1.LabelQueue: "default", v1alpha1.LabelPodGroup: "gang"},
				Annotations: map[string]string{v1alpha1.AnnotationPodGroupSize: "2"},
			},
			Spec: template(2).Spec,
		}
		if err := w.api.Create(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	view := b.gather()
	lead := view.Snapshot.Jobs[1] // tune is the other
	if lead.UID == "tune" {
		lead = view.Snapshot.Jobs[0]
	}
	action := lend.Action{
		Kind: lend.ActionLend, Loan: "research/gang-1", Job: lead.Name, JobUID: lead.UID, Attempt: 1,
		Grants: []lend.Grant{{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 4}}, MaxGrace: time.Minute, Reason: lend.ReasonLent,
	}
	if err := b.actuator.Apply(b.context(), view, &lend.Plan{Actions: []lend.Action{action}}); err != nil {
		t.Fatal(err)
	}
	if job := w.loans()[0].Spec.Job; job.PodGroup != "gang" || job.Kind != "Pod" || w.loans()[0].Spec.Pods != 2 {
		t.Fatalf("loan of %+v", job)
	}
	for _, p := range w.pods() {
		if p.Annotations[v1alpha1.AnnotationAttempt] != "1" {
			t.Errorf("%s is not admitted", p.Name)
		}
	}
	// Nothing is lost if the leader changes between the two.
	if got := alive(w).gather().Snapshot.Loans[0]; got.Live != 2 || got.Finished {
		t.Errorf("loan: %+v", got)
	}
	take := reclaiming("research/gang-1")
	take.Job, take.JobUID = lead.Name, lead.UID
	if err := b.apply(take); err != nil {
		t.Fatal(err)
	}
	if n := len(w.pods()); n != 0 {
		t.Errorf("%d pods are left", n)
	}
	if err := b.apply(lend.Action{Kind: lend.ActionReturn, Loan: "research/gang-1", Job: lead.Name, JobUID: lead.UID, Reason: lend.ReasonReturned}); err != nil {
		t.Fatal(err)
	}
	wantCourse(t, w, "research/gang-1", "LEND_INTENT LEND_GRANTED RECLAIM_INTENT RECLAIM_DONE")
}
