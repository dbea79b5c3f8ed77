package ebbtide

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// The whole of a JobSet's loan goes: its job is stopped at the top, then its pods; who
// asks for no units is left to the job.
func TestSweepStopsAJobSet(t *testing.T) {
	w := newWorld(t)
	w.serve(kindJobSet, "jobsets")
	n := w.node("n", 8, 64)
	l := w.jobSet("a", 2, lent("n", 2))
	w.worker(l, "w-0", n)
	w.worker(l, "w-1", n)
	head := w.worker(l, "head", n)
	head.Spec.Containers[0].Resources.Requests = nil
	w.put(head)
	w.calls = nil
	w.reclaim(t.Context(), l, lentMessage)
	must(t, w.sweep(t.Context()))
	var deleted, suspended int
	for i, a := range w.calls {
		switch {
		case a.GetVerb() == "delete":
			if deleted++; suspended == 0 {
				t.Errorf("step %d deletes a pod before the job is suspended", i)
			}
		case a.GetResource() == jobSets && a.GetVerb() == "patch":
			suspended++
		}
	}
	if deleted != 2 || suspended != 1 {
		t.Errorf("%d pods were deleted, want 2; the job was patched %d times, want once", deleted, suspended)
	}
	set := w.object(jobSets, "a")
	if on, _, _ := unstructured.NestedBool(set.Object, "spec", "suspend"); !on || set.GetAnnotations()[v1alpha1.AnnotationTakenBack] != "1" {
		t.Errorf("the JobSet is not suspended with the word why: %v", set.Object)
	}
	if _, err := w.client.CoreV1().Pods("research").Get(t.Context(), "head", metav1.GetOptions{}); err != nil {
		t.Errorf("the head is gone: %v", err)
	}
	w.calls = nil
	must(t, w.sweep(t.Context()))
	if len(w.calls) != 0 {
		t.Errorf("the next sweep did it again: %v", w.calls)
	}
}

func TestSuspendByPath(t *testing.T) {
	one := map[string]string{v1alpha1.AnnotationAttempt: "1"}
	for name, tc := range map[string]struct {
		set  func(w *world, l *v1alpha1.Loan)
		want string // of the field and the mark
		err  string
	}{
		"a nested field": {set: func(w *world, l *v1alpha1.Loan) { w.jobObject(l, torches, one) }, want: "true 1"},
		"no admission is counted yet": {
			set:  func(w *world, l *v1alpha1.Loan) { w.jobObject(l, torches, nil) },
			want: "true 1",
		},
		"a later admission": {
			set: func(w *world, l *v1alpha1.Loan) {
				w.jobObject(l, torches, map[string]string{v1alpha1.AnnotationAttempt: "2"})
			},
			want: "false ",
		},
		"another job of that name": {
			set: func(w *world, l *v1alpha1.Loan) {
				o := w.jobObject(l, torches, one)
				o.SetUID("another")
				w.putObject(torches, o)
			},
			want: "false ",
		},
		"it is gone": {set: func(*world, *v1alpha1.Loan) {}},
		"its kind is gone": {set: func(w *world, l *v1alpha1.Loan) {
			l.Spec.Job.APIVersion = "example.com/v1"
		}},
		"the API server does not want it": {
			set: func(w *world, l *v1alpha1.Loan) {
				w.jobObject(l, torches, one)
				w.dynamic.PrependReactor("patch", "pytorchjobs", func(clienttesting.Action) (bool, runtime.Object, error) {
					return true, nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", "", 0, false)
				})
			},
			want: "false ", err: "the server rejected our request",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.serve(kindTorch, "pytorchjobs")
			l := w.loanOf(kindTorch, "/spec/runPolicy/suspend", "a", 1, lent("n", 1))
			tc.set(w, l)
			err := w.suspend(t.Context(), l)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error = %v, want %q", err, tc.err)
			}
			if tc.want == "" {
				return
			}
			job := w.object(torches, "a")
			on, _, _ := unstructured.NestedBool(job.Object, "spec", "runPolicy", "suspend")
			if got := fmt.Sprint(on, " ", job.GetAnnotations()[v1alpha1.AnnotationTakenBack]); got != tc.want {
				t.Errorf("the job says %q, want %q", got, tc.want)
			}
			if policy, _, _ := unstructured.NestedString(job.Object, "spec", "runPolicy", "cleanPodPolicy"); policy != "All" {
				t.Error("the rest of the job is not as it was")
			}
		})
	}
}

// Pods that are a job themselves stop by their end, and nothing else is written.
func TestSweepStopsAGroupOfPods(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 64)
	l := w.gatedLoan(w.queuedPod("lead", "g", n), "g", 2, lent("n", 2))
	w.queuedPod("second", "g", n)
	w.queuedPod("stranger", "h", n)
	w.calls = nil
	w.reclaim(t.Context(), l, lentMessage)
	must(t, w.sweep(t.Context()))
	left, err := w.client.CoreV1().Pods("research").List(t.Context(), metav1.ListOptions{})
	must(t, err)
	if len(left.Items) != 1 || left.Items[0].Name != "stranger" {
		t.Errorf("%d pods are left", len(left.Items))
	}
	for _, a := range w.calls {
		if a.GetResource().Resource != "pods" {
			t.Errorf("API call %s %s", a.GetVerb(), a.GetResource().Resource)
		}
	}
}

// After a restart, jobs whose kinds are not watched are read once, and until then no
// pod starts on their loans.
func TestRestartReadsWhatJobsSay(t *testing.T) {
	for _, taken := range []bool{true, false} {
		t.Run(fmt.Sprint("taken back: ", taken), func(t *testing.T) {
			w := newWorld(t)
			w.serve(kindTorch, "pytorchjobs")
			l := w.loanOf(kindTorch, "/spec/runPolicy/suspend", "a", 1, lent("n", 1))
			annotations := map[string]string{v1alpha1.AnnotationAttempt: "1"}
			if taken {
				annotations[v1alpha1.AnnotationTakenBack] = "1"
			}
			w.jobObject(l, torches, annotations)
			p := w.queuedPod("p", "", nil)
			controlledBy(p, kindTorch, "a", l.Spec.Job.UID)
			w.put(p)
			w.restart()
			w.sync()
			w.ready.Store(false)
			must(t, w.awaitStart(t.Context()))
			if _, reason := w.loanFor(p); !strings.Contains(reason, "not known yet whether") {
				t.Fatalf("before it was read: %q", reason)
			}
			broken := true
			w.metadata.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
				return broken, nil, apierrors.NewInternalError(fmt.Errorf("the API server is away"))
			})
			if err := w.readSaid(t.Context()); err == nil || !strings.Contains(err.Error(), "read PyTorchJob research/a: ") {
				t.Errorf("error = %v", err)
			}
			if _, reason := w.loanFor(p); !strings.Contains(reason, "not known yet whether") {
				t.Fatalf("when it could not be read: %q", reason)
			}
			broken, w.activated = false, nil
			must(t, w.readSaid(t.Context()))
			_, reason := w.loanFor(p)
			if taken {
				if w.checkTaken("a-1"); !strings.Contains(reason, "taken back") {
					t.Errorf("reason = %q", reason)
				}
			} else if w.checkTaken(); reason != "" {
				t.Errorf("reason = %q", reason)
			}
			if diff := cmp.Diff([]string{"research/p"}, w.activated); diff != "" {
				t.Errorf("activated (-want +got):\n%s", diff)
			}
			w.calls = nil
			must(t, w.readSaid(t.Context()))
			if len(w.calls) != 0 {
				t.Errorf("it is read again: %v", w.calls)
			}
			w.onLoan(klog.Background()).OnDelete(l)
			if len(w.said.jobs) != 0 {
				t.Error("what a job said outlives its loan")
			}
		})
	}
}

// A kind that cannot be read keeps the pods of no other kind from starting.
func TestOneKindThatCannotBeReadKeepsNoOtherWaiting(t *testing.T) {
	w := newWorld(t)
	var waiting []*corev1.Pod
	for i, kind := range []schema.GroupVersionKind{kindTorch, kindTorch.GroupVersion().WithKind("MPIJob"), kindTorch.GroupVersion().WithKind("XJob")} {
		resource := kindTorch.GroupVersion().WithResource(strings.ToLower(kind.Kind) + "s")
		w.serve(kind, resource.Resource)
		name := fmt.Sprint("a", i)
		l := w.loanOf(kind, "/spec/runPolicy/suspend", name, 1, lent("n", 1))
		w.jobObject(l, resource, map[string]string{v1alpha1.AnnotationAttempt: "1"})
		p := w.queuedPod("p-"+name, "", nil)
		controlledBy(p, kind, name, l.Spec.Job.UID)
		w.put(p)
		waiting = append(waiting, p)
	}
	w.restart()
	w.sync()
	w.ready.Store(false)
	must(t, w.awaitStart(t.Context()))
	reads := 0
	w.metadata.PrependReactor("get", "pytorchjobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		reads++
		return true, nil, apierrors.NewInternalError(fmt.Errorf("its conversion fails"))
	})
	for range 2 {
		if err := w.readSaid(t.Context()); err == nil || !strings.Contains(err.Error(), "read PyTorchJob research/a0: ") {
			t.Errorf("error = %v", err)
		}
	}
	if reads != 2 {
		t.Errorf("what fails was read %d times in two passes", reads)
	}
	for i, p := range waiting {
		if _, reason := w.loanFor(p); strings.Contains(reason, "not known yet whether") != (i == 0) {
			t.Errorf("pod %s: %q", p.Name, reason)
		}
	}
}

// What jobs that are watched say needs no reading.
func TestKinSaysThatALoanWasTakenBack(t *testing.T) {
	w := newWorld(t)
	l := w.jobSet("a", 1, lent("n", 1))
	set := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a", UID: l.Spec.Job.UID}}
	w.onKin(klog.Background())(nil, set)
	w.checkTaken()
	w.said.ask(l, false)
	w.said.hear(l.UID, map[string]string{v1alpha1.AnnotationTakenBack: "1"})
	w.onKin(klog.Background())(set, set)
	w.checkTaken("a-1")
}

// The choice for pods that wait together, of jobs of any kind: the least is lost, whole
// loans go, and nothing for a pod that would not fit anyway.
func TestTakeBackFromOtherKinds(t *testing.T) {
	t.Run("one choice for all", func(t *testing.T) {
		w := newWorld(t)
		small := w.node("small", 8, 64)
		for i := range 8 {
			l := w.jobSet(fmt.Sprint("s", i), 1, lent("small", 1))
			w.worker(l, fmt.Sprint("s", i, "-0"), small)
		}
		w.time.Step(time.Minute)
		l, large := w.jobSet("large", 8, lent("large", 8)), w.node("large", 8, 64)
		for i := range 8 {
			w.worker(l, fmt.Sprint("large-", i), large)
		}
		var pods []*corev1.Pod
		for i := range 8 {
			pods = append(pods, w.online(fmt.Sprint("chat-", i), 1, nil))
			w.schedule(pods[i])
		}
		w.time.Step(w.args.TakeBackAfter)
		for _, p := range pods {
			_, result, status := w.schedule(p)
			w.checkNominated(result, status, "large")
		}
		w.checkTaken("large-1")
	})
	t.Run("nothing in vain", func(t *testing.T) {
		w := newWorld(t)
		n := w.node("n", 8, 64)
		l := w.jobSet("a", 4, lent("n", 4))
		for i := range 4 {
			w.worker(l, fmt.Sprint("w-", i), n)
		}
		w.online("x", 4, n)
		p := w.online("p", 8, nil)
		w.schedule(p)
		w.time.Step(w.args.TakeBackAfter)
		_, _, status := w.schedule(p)
		if w.checkTaken(); !strings.Contains(status.Message(), "would not fit") {
			t.Errorf("status = %q", status.Message())
		}
	})
	t.Run("not from pods of unknown jobs", func(t *testing.T) {
		w := newWorld(t)
		n := w.node("n", 1, 64)
		hidden := w.worker(w.jobSet("a", 1, lent("n", 1)), "hidden", n)
		hidden.OwnerReferences[0].UID = "unknown"
		w.put(hidden)
		p := w.online("p", 1, nil)
		w.schedule(p)
		w.time.Step(w.args.TakeBackAfter)
		w.schedule(p)
		if w.checkTaken(); len(w.taken.allPods()) > 0 {
			t.Errorf("%d pods are told to go", len(w.taken.allPods()))
		}
	})
	t.Run("a restart's cost is as it is set", func(t *testing.T) {
		w := newWorld(t)
		l := w.jobSet("a", 2, lent("n", 2))
		w.time.Step(time.Minute)
		w.args.RestartCost = 10 * time.Minute
		if got, want := w.lostWork(l, w.time.Now()), 2*(11*time.Minute).Seconds(); got != want {
			t.Errorf("lost work = %v, want %v", got, want)
		}
		w.said.ask(l, false)
		w.said.hear(l.UID, map[string]string{v1alpha1.AnnotationLastCheckpoint: w.time.Now().Format(time.RFC3339)})
		if got, want := w.lostWork(l, w.time.Now()), 2*(10*time.Minute).Seconds(); got != want {
			t.Errorf("lost work, with what the job says = %v, want %v", got, want)
		}
	})
}
