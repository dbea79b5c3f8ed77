package ebbtide

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

var (
	kindJobSet = schema.GroupVersionKind{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"}
	jobSets    = kindJobSet.GroupVersion().WithResource("jobsets")
	kindTorch  = schema.GroupVersionKind{Group: "kubeflow.org", Version: "v1", Kind: "PyTorchJob"}
	torches    = kindTorch.GroupVersion().WithResource("pytorchjobs")
)

func controlledBy(o metav1.Object, kind schema.GroupVersionKind, name string, uid types.UID) {
	controller := true
	o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Name: name, UID: uid, Controller: &controller}})
}

// loanOf lends to a job of any kind; the job is where the API server has it.
func (w *world) loanOf(kind schema.GroupVersionKind, path, name string, pods int32, grants ...v1alpha1.Grant) *v1alpha1.Loan {
	l := w.loan(name, pods, 1, grants...)
	w.forJob(l, v1alpha1.JobRef{APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Name: name, UID: types.UID(kind.Kind + "-" + name), SuspendPath: path})
	return l
}

// forJob makes the loan one of another job.
func (w *world) forJob(l *v1alpha1.Loan, job v1alpha1.JobRef) {
	must(w.t, w.loans.Delete(l))
	l.Spec.Job = job
	must(w.t, w.loans.Add(l))
}

// jobObject stores a job of a loan, with annotations.
func (w *world) jobObject(l *v1alpha1.Loan, resource schema.GroupVersionResource, annotations map[string]string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"runPolicy": map[string]any{"cleanPodPolicy": "All"}}}}
	o.SetGroupVersionKind(kindOf(l))
	o.SetNamespace(l.Namespace)
	o.SetName(l.Spec.Job.Name)
	o.SetUID(l.Spec.Job.UID)
	o.SetAnnotations(annotations)
	w.putObject(resource, o)
	return o
}

// jobSet lends to a JobSet, whose child Job is known; the JobSet itself is not.
func (w *world) jobSet(name string, pods int32, grants ...v1alpha1.Grant) *v1alpha1.Loan {
	l := w.loanOf(kindJobSet, "/spec/suspend", name, pods, grants...)
	w.jobObject(l, jobSets, map[string]string{v1alpha1.AnnotationAttempt: "1"})
	child := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: l.Namespace, Name: name + "-workers-0", UID: types.UID("child-" + name)}}
	controlledBy(child, kindJobSet, name, l.Spec.Job.UID)
	w.know(child)
	return l
}

// worker makes a pod of the JobSet's child.
func (w *world) worker(l *v1alpha1.Loan, name string, on *node) *corev1.Pod {
	p := w.pod(name, "research", -100, 1, on)
	p.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
	controlledBy(p, kindJob, l.Spec.Job.Name+"-workers-0", types.UID("child-"+l.Spec.Job.Name))
	w.put(p)
	return p
}

func (w *world) names(pods []*corev1.Pod) []string {
	var names []string
	for _, p := range pods {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

// gatedLoan lends to a pod, or to the group that it is of.
func (w *world) gatedLoan(lead *corev1.Pod, group string, pods int32, grants ...v1alpha1.Grant) *v1alpha1.Loan {
	l := w.loanOf(corev1.SchemeGroupVersion.WithKind("Pod"), "", lead.Name, pods, grants...)
	job := l.Spec.Job
	job.UID, job.PodGroup = lead.UID, group
	l.CreationTimestamp = metav1.NewTime(lead.CreationTimestamp.Add(time.Minute))
	w.forJob(l, job)
	return l
}

func (w *world) queuedPod(name, group string, on *node) *corev1.Pod {
	p := w.pod(name, "research", -100, 1, on)
	p.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
	if group != "" {
		p.Labels[v1alpha1.LabelPodGroup] = group
	}
	w.put(p)
	return p
}

// Pods of every kind wait until it is known whose they are, and then for their loan.
func TestPodsOfAnyKindWaitForTheirLoan(t *testing.T) {
	for name, tc := range map[string]struct {
		pod  func(w *world) *corev1.Pod
		want string
	}{
		"of a JobSet": {pod: func(w *world) *corev1.Pod { return w.worker(w.jobSet("a", 1, lent("n", 1)), "p", nil) }},
		"of a JobSet whose child is not known": {
			pod: func(w *world) *corev1.Pod {
				p := w.worker(w.jobSet("a", 1, lent("n", 1)), "p", nil)
				p.OwnerReferences[0].UID = "later"
				return p
			},
			want: "not known yet",
		},
		"of a JobSet without a loan, which is not known": {
			pod: func(w *world) *corev1.Pod {
				l := w.jobSet("a", 1, lent("n", 1))
				must(w.t, w.loans.Delete(l))
				return w.worker(l, "p", nil)
			},
			want: "not known yet",
		},
		"of a JobSet with a queue, without the label itself": {
			pod: func(w *world) *corev1.Pod {
				l := w.jobSet("a", 1, lent("n", 1))
				must(w.t, w.loans.Delete(l))
				w.know(&metav1.ObjectMeta{Namespace: "research", UID: l.Spec.Job.UID, Labels: map[string]string{v1alpha1.LabelQueue: "q"}})
				p := w.worker(l, "p", nil)
				p.Labels = nil
				return p
			},
			want: "need a loan",
		},
		"of a JobSet with a queue that was deleted before its pods": {
			pod: func(w *world) *corev1.Pod {
				l := w.jobSet("a", 1, lent("n", 1))
				must(w.t, w.loans.Delete(l))
				set := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "research", UID: l.Spec.Job.UID, Labels: map[string]string{v1alpha1.LabelQueue: "q"}}}
				w.onKin(klog.Background())(nil, set)
				w.onKin(klog.Background())(set, nil)
				p := w.worker(l, "p", nil)
				p.Labels = nil
				return p
			},
			want: "need a loan",
		},
		"of a JobSet without a queue": {
			pod: func(w *world) *corev1.Pod {
				l := w.jobSet("a", 1, lent("n", 1))
				must(w.t, w.loans.Delete(l))
				w.know(&metav1.ObjectMeta{Namespace: "research", UID: l.Spec.Job.UID})
				p := w.worker(l, "p", nil)
				p.Labels = nil
				return p
			},
		},
		"of a PyTorchJob": {pod: func(w *world) *corev1.Pod {
			l := w.loanOf(kindTorch, "/spec/runPolicy/suspend", "a", 1, lent("n", 1))
			p := w.queuedPod("p", "", nil)
			controlledBy(p, kindTorch, "a", l.Spec.Job.UID)
			return p
		}},
		"a pod by itself, without a loan": {
			pod:  func(w *world) *corev1.Pod { return w.queuedPod("p", "", nil) },
			want: "need a loan",
		},
		"a pod by itself": {pod: func(w *world) *corev1.Pod {
			p := w.queuedPod("p", "", nil)
			w.gatedLoan(p, "", 1, lent("n", 1))
			return p
		}},
		"a pod of a Deployment": {pod: func(w *world) *corev1.Pod {
			p := w.queuedPod("p", "", nil)
			controlledBy(p, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), "d-5f", "rs")
			w.gatedLoan(p, "", 1, lent("n", 1))
			return p
		}},
		"another pod of that Deployment": {
			pod: func(w *world) *corev1.Pod {
				replicas := appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
				p, q := w.queuedPod("p", "", nil), w.queuedPod("q", "", nil)
				controlledBy(p, replicas, "d-5f", "rs")
				controlledBy(q, replicas, "d-5f", "rs")
				w.gatedLoan(p, "", 1, lent("n", 1))
				return q
			},
			want: "need a loan",
		},
		"of a group": {pod: func(w *world) *corev1.Pod {
			w.gatedLoan(w.queuedPod("lead", "g", nil), "g", 2, lent("n", 2))
			return w.queuedPod("p", "g", nil)
		}},
		"of another group": {
			pod: func(w *world) *corev1.Pod {
				w.gatedLoan(w.queuedPod("lead", "g", nil), "g", 2, lent("n", 2))
				return w.queuedPod("p", "h", nil)
			},
			want: "need a loan",
		},
		"of a group whose first pod is gone": {
			pod: func(w *world) *corev1.Pod {
				lead := w.queuedPod("lead", "g", nil)
				w.gatedLoan(lead, "g", 2, lent("n", 2))
				must(w.t, w.pods.Delete(lead))
				return w.queuedPod("p", "g", nil)
			},
			want: "the pod that stands for this pod's gang has ended",
		},
		"of a group that was taken back in an earlier life": {
			pod: func(w *world) *corev1.Pod {
				lead := w.queuedPod("lead", "g", w.node("n", 8, 8))
				w.gatedLoan(lead, "g", 2, lent("n", 2))
				w.put(victim(lead))
				return w.queuedPod("p", "g", nil)
			},
			want: "taken back",
		},
		"a worker of a leader": {pod: func(w *world) *corev1.Pod {
			leader := w.queuedPod("lws-0", "", nil)
			controlledBy(leader, appsv1.SchemeGroupVersion.WithKind("StatefulSet"), "lws", "sts")
			w.put(leader)
			w.know(&metav1.ObjectMeta{Namespace: "research", UID: "sts"})
			w.follow(klog.Background(), nil, leader)
			workers := &metav1.ObjectMeta{Namespace: "research", UID: "sts-0"}
			controlledBy(workers, corev1.SchemeGroupVersion.WithKind("Pod"), "lws-0", leader.UID)
			w.know(workers)
			w.gatedLoan(leader, "", 2, lent("n", 2))
			p := w.queuedPod("p", "", nil)
			controlledBy(p, appsv1.SchemeGroupVersion.WithKind("StatefulSet"), "lws-0", "sts-0")
			return p
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			got := w.PreEnqueue(t.Context(), tc.pod(w))
			if tc.want == "" && got != nil || tc.want != "" && !strings.Contains(got.Message(), tc.want) {
				t.Errorf("status = %q, want %q", got.Message(), tc.want)
			}
		})
	}
}

// Whatever becomes known of chains in whatever order, the pods of a loan are those of
// which it is the loan.
func TestPodsOfAreThoseWhoseLoanItIs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		pick := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, what) }
		kinds := map[string]schema.GroupVersionKind{
			"Job": kindJob, "JobSet": kindJobSet, "Pod": corev1.SchemeGroupVersion.WithKind("Pod"),
			"StatefulSet": appsv1.SchemeGroupVersion.WithKind("StatefulSet"), "PyTorchJob": kindTorch,
		}
		owned := func(o metav1.Object) {
			if owner := pick("owner", "", "o1", "o2", "o3", "o4", "research-p1"); owner != "" {
				controlledBy(o, kinds[pick("kind", "Job", "JobSet", "Pod", "StatefulSet", "PyTorchJob")], owner, types.UID(owner))
			}
		}
		for i := range 5 {
			p := w.queuedPod(fmt.Sprint("p", i), pick("group", "", "g"), nil)
			owned(p)
			w.put(p)
		}
		for i := range 3 {
			l := w.loan(fmt.Sprint("l", i), 1, 1, lent("n", 1))
			l.Spec.Attempt = int32(i)
			job := v1alpha1.JobRef{APIVersion: "batch/v1", Kind: "Job", Name: "x", UID: types.UID(pick("job", "o1", "o2", "o3"))}
			if pick("what", "job", "pod") == "pod" {
				name := pick("lead", "p1", "p2")
				job = v1alpha1.JobRef{APIVersion: "v1", Kind: "Pod", Name: name, UID: types.UID("research-" + name)}
				if name == "p2" {
					job.PodGroup = "g"
				}
			}
			w.forJob(l, job)
		}
		for range rapid.IntRange(0, 10).Draw(rt, "events") {
			o := &metav1.ObjectMeta{Namespace: "research", UID: types.UID(pick("object", "o1", "o2", "o3", "o4", "research-p1"))}
			owned(o)
			if w.linked(klog.Background(), o); pick("then", "stays", "goes") == "goes" {
				w.chains.Delete(o.Namespace, o.UID)
			}
		}
		for _, l := range w.book.Loans() {
			var want []string
			for _, obj := range w.pods.List() {
				if of := w.book.LoanOf(obj.(*corev1.Pod)); of != nil && of.Spec.Job.UID == l.Spec.Job.UID {
					want = append(want, obj.(*corev1.Pod).Name)
				}
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, w.names(w.podsOf(l))); diff != "" {
				rt.Fatalf("pods of loan %s of %+v (-want +got):\n%s", l.Name, l.Spec.Job, diff)
			}
		}
	})
}

// When it becomes known whose the pods are, they are tried again, and those that are
// bound count for the gang.
func TestWhatBecomesKnownWakes(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 64)
	l := w.loanOf(kindJobSet, "/spec/suspend", "a", 2, lent("n", 2))
	w.worker(l, "bound", n)
	p := w.worker(l, "p", nil)
	other := w.worker(l, "other", nil)
	other.OwnerReferences[0].UID = "another"
	w.put(other)
	w.sync()
	if _, reason := w.loanFor(p); !strings.Contains(reason, "not known yet") {
		t.Errorf("reason = %q", reason)
	}
	tenant, err := w.account.Tenant("research")
	must(t, err)
	if used := w.account.Used(tenant, "", 0)[0].Compute; used == 0 {
		t.Error("the bound pod counts nowhere before its job is known")
	}
	child := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a-workers-0", UID: "child-a"}}
	controlledBy(child, kindJobSet, "a", l.Spec.Job.UID)
	w.activated = nil
	w.onJob(klog.Background()).OnAdd(child, false)
	if !slices.Contains(w.activated, "research/p") {
		t.Errorf("activated %v", w.activated)
	}
	if used := w.account.Used(tenant, "", 0)[0].Compute; used != 0 {
		t.Errorf("%d slices are used besides the loan", used)
	}
	if diff := cmp.Diff([]string{"bound", "p"}, w.names(w.podsOf(l))); diff != "" {
		t.Errorf("pods of the loan (-want +got):\n%s", diff)
	}
	if _, _, s := w.admitPod(p); !s.IsSuccess() {
		t.Errorf("the gang of two is not complete: %s", s.Message())
	}
}

// A gang whose pods are bound before their chain is known is let go when it is.
func TestGangIsCompletedByWhatBecomesKnown(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 64)
	l := w.jobSet("a", 2, lent("n", 2))
	hidden := w.worker(l, "hidden", n)
	hidden.OwnerReferences[0].UID = "second-child"
	w.put(hidden)
	p := w.worker(l, "p", nil)
	if _, _, s := w.admitPod(p); !s.IsWait() {
		t.Fatalf("one of two goes: %v", s.Code())
	}
	child := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a-workers-1", UID: "second-child"}}
	controlledBy(child, kindJobSet, "a", l.Spec.Job.UID)
	w.onJob(klog.Background()).OnAdd(child, false)
	if got := w.permits[p.UID].verdict; got != "allowed" {
		t.Errorf("the waiting pod: %q", got)
	}
}

// When the pod ends that stands for a group, those that wait for the rest are let go of.
func TestGroupBreaksUpWithTheOneThatStandsForIt(t *testing.T) {
	w := newWorld(t)
	lead := w.queuedPod("lead", "g", w.node("n", 8, 64))
	w.gatedLoan(lead, "g", 3, lent("n", 3))
	p := w.queuedPod("p", "g", nil)
	if _, _, s := w.admitPod(p); !s.IsWait() {
		t.Fatalf("two of three go: %v", s.Code())
	}
	over := lead.DeepCopy()
	over.Status.Phase = corev1.PodFailed
	w.put(over)
	w.onPod(klog.Background()).OnUpdate(lead, over)
	if got := w.permits[p.UID].verdict; !strings.Contains(got, "stands for the gang has ended") {
		t.Errorf("the waiting pod: %q", got)
	}
	if _, reason := w.loanFor(p); !strings.Contains(reason, "the gang ends") {
		t.Errorf("reason = %q", reason)
	}
}

// A pod is not judged before it is known whose it is, and not spared for ever for naming
// a controller that there never was.
func TestPodsOfUnknownJobsAreNoStrays(t *testing.T) {
	w := newWorld(t)
	w.sync()
	p := w.queuedPod("p", "", w.node("n", 8, 64))
	ownedBy(p, "later", "job-later")
	w.put(p)
	if got := w.fateOf(p, nil, epoch); got != stays {
		t.Errorf("fate = %v of a pod that has just come", got)
	}
	if got := w.fateOf(p, nil, epoch.Add(2*settledAfter)); got != strays {
		t.Errorf("fate = %v of one whose Job there is not", got)
	}
	controlledBy(p, kindJobSet, "a", "set")
	w.kin.Resources = append(w.kin.Resources, schema.GroupVersionResource{Group: "jobset.x-k8s.io", Version: "v1", Resource: "unknown"})
	if got := w.fateOf(p, nil, epoch.Add(2*settledAfter)); got != stays {
		t.Errorf("fate = %v of one whose kind could not be read", got)
	}
}

// Quota is not given up as long as pods hold units that may be the loan's.
func TestQuotaIsNotReleasedWhilePodsAreUnknown(t *testing.T) {
	w := newWorld(t)
	w.tenant("research", 4)
	n := w.node("n", 8, 64)
	l := w.jobSet("a", 1, own("n", 1))
	hidden := w.worker(l, "hidden", n)
	hidden.OwnerReferences[0].UID = "unknown"
	w.put(hidden)
	w.sync()
	w.reclaim(t.Context(), l, outrankedJob)
	must(t, w.sweep(t.Context()))
	tenant, err := w.account.Tenant("research")
	must(t, err)
	if w.account.TakenBy(tenant, l.UID) == nil {
		t.Fatal("released although a pod may be its own")
	}
	must(t, w.pods.Delete(hidden))
	must(t, w.sweep(t.Context()))
	if w.account.TakenBy(tenant, l.UID) != nil {
		t.Error("not released when the last pod has gone")
	}
}
