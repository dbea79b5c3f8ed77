package gather_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/controller"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// withKinds is a cluster that has every kind of job installed. reads may answer in the
// place of the API server; the caches have everything that is not hidden.
func withKinds(reads func(types.NamespacedName, client.Object) error, objects ...client.Object) (*gather.Gatherer, client.Client) {
	known := controller.Scheme()
	for _, f := range jobs.Fields() {
		if f.Kind.Group != "batch" {
			known.AddKnownTypeWithName(f.Kind, &unstructured.Unstructured{})
			known.AddKnownTypeWithName(f.Kind.GroupVersion().WithKind(f.Kind.Kind+"List"), &unstructured.UnstructuredList{})
		}
	}
	builder := fake.NewClientBuilder().WithScheme(known)
	chains := &lineage.Lineage{}
	for _, o := range objects {
		if p, ok := o.(pod); ok {
			o = p.Pod
		}
		o = o.DeepCopyObject().(client.Object)
		builder = builder.WithObjects(o)
		if _, hidden := o.GetAnnotations()["test/hidden"]; !hidden {
			chains.Put(o)
		}
	}
	c := builder.Build()
	live := interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if reads != nil {
				if err := reads(key, o); err != nil {
					return err
				}
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	set := jobs.NewSet(jobs.Clients{Live: live, Client: c, Status: c.Status()}, chains, &jobs.Batch{Live: live, Client: c})
	return &gather.Gatherer{
		Cache: c, Live: live, Scales: c, Jobs: set, Chains: chains, Signals: &silent{}, Disrupted: &gather.Disrupted{},
	}, c
}

func look(t *testing.T, g *gather.Gatherer) *gather.View {
	t.Helper()
	view, err := g.Gather(t.Context(), now, 1)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func owned(apiVersion, kind, uid string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: uid, UID: types.UID(uid), Controller: ptr.To(true)}}
}

// jobSet is a launcher without units beside two workers of four units.
func jobSet(name string, suspended bool) *unstructured.Unstructured {
	part := func(name string, t corev1.PodTemplateSpec) map[string]any {
		template, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&t)
		if err != nil {
			panic(err)
		}
		return map[string]any{"name": name, "replicas": int64(1), "template": map[string]any{"spec": map[string]any{
			"parallelism": int64(2), "completions": int64(2), "template": template,
		}}}
	}
	launcher := template(4)
	launcher.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"suspend": suspended, "replicatedJobs": []any{part("launcher", launcher), part("workers", template(4))},
	}}}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"})
	o.SetNamespace("research")
	o.SetName(name)
	o.SetUID(types.UID(name))
	o.SetCreationTimestamp(metav1.Time{Time: now.Add(-time.Hour)})
	o.SetLabels(map[string]string{v1alpha1.LabelQueue: "default"})
	o.SetAnnotations(map[string]string{v1alpha1.AnnotationAttempt: "4"})
	return o
}

// childJob is a Job that the JobSet has made.
func childJob(name, set string) *batchv1.Job {
	j := training(name, 2, 4)
	j.OwnerReferences = owned("jobset.x-k8s.io/v1alpha2", "JobSet", set)
	j.Spec.Suspend = ptr.To(false)
	return j
}

// ofJob is a pod that a real Job has made.
func ofJob(name, job string) pod {
	return newPod("research", name, 4, owned("batch/v1", "Job", job))
}

func withoutUnits(p pod) pod {
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	return p
}

func loanOf(kind schema.GroupVersionKind, name, node string, pods, count int64) *v1alpha1.Loan {
	l := loan(name, node, pods*count)
	l.Spec.Pods, l.Spec.UnitsPerPod = int32(pods), count
	l.Spec.Job.APIVersion, l.Spec.Job.Kind = kind.GroupVersion().String(), kind.Kind
	return l
}

// TestJobSet: its pods are two steps below it. The Jobs that it makes are no jobs of
// their own, and a launcher that asks for no units is no part of the gang.
func TestJobSet(t *testing.T) {
	waiting, running := jobSet("waits", true), jobSet("runs", false)
	launcher := withoutUnits(ofJob("launcher-0", "runs-launcher").on("gpu-0"))
	launcher.Annotations = map[string]string{v1alpha1.AnnotationLastCheckpoint: now.Add(-time.Minute).Format(time.RFC3339)}
	g, _ := withKinds(nil, append(cluster(), waiting, running, loanOf(running.GroupVersionKind(), "runs", "gpu-1", 2, 4),
		childJob("runs-workers", "runs"), childJob("runs-launcher", "runs"), launcher,
		ofJob("worker-0", "runs-workers").on("gpu-1"), ofJob("worker-1", "runs-workers"))...)
	view := look(t, g)
	if n := len(view.Snapshot.Jobs); n != 1 || len(view.Strays) != 0 {
		t.Fatalf("%d jobs wait, and %v are astray", n, view.Strays)
	}
	if j := view.Snapshot.Jobs[0]; j.UID != "waits" || j.Problem != nil || j.Pods != 2 || j.UnitsPerPod != 4 || j.Flavor != "h100" {
		t.Errorf("waiting: %+v", j)
	}
	l := view.Snapshot.Loans[0]
	if l.Live != 2 || l.Bound != 1 || l.Finished || !l.Checkpoint.Equal(now.Add(-time.Minute)) {
		t.Errorf("loan: %+v", l)
	}
	if len(view.Pods[l.Name]) != 2 || len(view.Beside[l.Name]) != 1 {
		t.Errorf("%d pods, and %d beside them", len(view.Pods[l.Name]), len(view.Beside[l.Name]))
	}
	for _, node := range view.Snapshot.Nodes {
		for _, u := range node.Units {
			if u.Other != 0 {
				t.Errorf("on %s %d units are others'", node.Name, u.Other)
			}
		}
	}

	// The scheduler took one of them, and it is gone by now.
	marked := ofJob("worker-0", "runs-workers").on("gpu-1")
	marked.Status.Conditions = disrupted(v1alpha1.ReasonPreempted)
	beside := withoutUnits(ofJob("launcher-0", "runs-launcher"))
	beside.Status.Conditions = disrupted(v1alpha1.ReasonPreempted)
	g.Disrupted.Note(beside.Pod)
	if look(t, g).Snapshot.Loans[0].Preempted {
		t.Error("a launcher without units was taken, and the loan counts as preempted")
	}
	g.Disrupted.Note(marked.Pod)
	if !look(t, g).Snapshot.Loans[0].Preempted {
		t.Error("a worker was taken, and the loan does not count as preempted")
	}
}

// grouped is a pod of the group that waits for an admission.
func grouped(name string) pod {
	p := newPod("research", name, 4, nil)
	p.Labels = map[string]string{v1alpha1.LabelQueue: "default", v1alpha1.LabelPodGroup: "gang"}
	p.Annotations = map[string]string{v1alpha1.AnnotationPodGroupSize: "2"}
	p.CreationTimestamp = metav1.Time{Time: now.Add(-time.Hour)} // before its loan
	return p
}

func admitted(p pod) pod {
	p.Annotations[v1alpha1.AnnotationAttempt] = "1"
	return p
}

// TestPodGroup: the pods of a group are older than their loan, and theirs nevertheless.
// What waits for an admission holds nothing.
func TestPodGroup(t *testing.T) {
	group := func(lead string) *v1alpha1.Loan {
		l := loanOf(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, lead, "gpu-1", 2, 4)
		l.Spec.Job.PodGroup = "gang"
		return l
	}
	// A ResourceQuota counts the pods already.
	quota := resourceQuota(list("pods", "2"), list("pods", "2"), nil)
	g, _ := withKinds(nil, append(cluster(), grouped("a"), grouped("b"), quota)...)
	view := look(t, g)
	if n := len(view.Snapshot.Jobs); n != 1 || view.Snapshot.Jobs[0].UID != "a" || view.Snapshot.Jobs[0].Pods != 2 || view.Snapshot.Jobs[0].Problem != nil || len(view.Snapshot.Jobs[0].Draws) != 0 {
		t.Fatalf("waiting: %+v", view.Snapshot.Jobs)
	}
	for name, test := range map[string]struct {
		pods     []client.Object
		live     int64
		bound    int64
		finished bool
	}{
		"admitted":                {[]client.Object{admitted(grouped("a")), admitted(grouped("b"))}, 2, 0, false},
		"runs":                    {[]client.Object{admitted(grouped("a")).on("gpu-1"), admitted(grouped("b")).on("gpu-1")}, 2, 2, false},
		"one runs":                {[]client.Object{admitted(grouped("a")).on("gpu-1"), admitted(grouped("b"))}, 2, 1, false},
		"the admission was lost":  {[]client.Object{grouped("a"), grouped("b")}, 0, 0, true},
		"who stands for it left":  {[]client.Object{admitted(grouped("b")).on("gpu-1")}, 1, 2, true},
		"it was made anew":        {[]client.Object{admitted(grouped("a")).on("gpu-1").leaving(), grouped("c"), grouped("d")}, 1, 2, true},
		"a helper beside it runs": {[]client.Object{admitted(grouped("a")).on("gpu-1"), withoutUnits(admitted(grouped("b"))).on("gpu-0")}, 1, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := withKinds(nil, append(append(cluster(), group("a")), test.pods...)...)
			view := look(t, g)
			if l := view.Snapshot.Loans[0]; l.Live != test.live || l.Bound != test.bound || l.Finished != test.finished {
				t.Errorf("live %d, bound %d, finished %t, want %d, %d, %t", l.Live, l.Bound, l.Finished, test.live, test.bound, test.finished)
			}
			if len(view.Snapshot.Jobs) != 0 || len(view.Strays) != 0 {
				t.Errorf("%d wait and %d are astray beside the group's loan", len(view.Snapshot.Jobs), len(view.Strays))
			}
		})
	}
}

// leaderWorkerSet is one group of the set: a leader and its worker.
func leaderWorkerSet(edit func(pod) pod) []client.Object {
	set := func(name string, owner []metav1.OwnerReference) *appsv1.StatefulSet {
		return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: name, UID: types.UID(name), OwnerReferences: owner}}
	}
	member := func(name, set string) pod {
		p := newPod("research", name, 4, owned("apps/v1", "StatefulSet", set))
		p.Labels = map[string]string{v1alpha1.LabelQueue: "default", "leaderworkerset.sigs.k8s.io/name": "lws"}
		p.Annotations = map[string]string{"leaderworkerset.sigs.k8s.io/size": "2"}
		p.CreationTimestamp = metav1.Time{Time: now.Add(-time.Hour)}
		return edit(p)
	}
	return []client.Object{
		set("lws", owned("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "the-lws")), member("lws-0", "lws"),
		set("lws-0-workers", owned("v1", "Pod", "lws-0")), member("lws-0-1", "lws-0-workers"),
	}
}

// TestLeaderWorkerGroup: a group of it is one job, for which its leader stands.
func TestLeaderWorkerGroup(t *testing.T) {
	g, _ := withKinds(nil, append(cluster(), leaderWorkerSet(func(p pod) pod { return p })...)...)
	if waiting := look(t, g).Snapshot.Jobs; len(waiting) != 1 || waiting[0].UID != "lws-0" || waiting[0].Pods != 2 || waiting[0].Problem != nil {
		t.Fatalf("waiting: %+v", waiting)
	}
	l := loanOf(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "lws-0", "gpu-1", 2, 4)
	g, _ = withKinds(nil, append(append(cluster(), l), leaderWorkerSet(func(p pod) pod { return admitted(p).on("gpu-1") })...)...)
	view := look(t, g)
	if got := view.Snapshot.Loans[0]; got.Live != 2 || got.Bound != 2 || got.Finished {
		t.Errorf("loan: %+v", got)
	}
}

// TestIncompleteChain: while it is not known whose a pod is, no loan of its namespace is
// over. The API server is asked; who was made by nobody that exists ends with the loan
// whose units it holds.
func TestIncompleteChain(t *testing.T) {
	hidden := func(o client.Object) client.Object {
		o.SetAnnotations(map[string]string{"test/hidden": "yes"})
		return o
	}
	over := jobSet("runs", false)
	if err := unstructured.SetNestedSlice(over.Object, []any{map[string]any{"type": "Completed", "status": "True"}}, "status", "conditions"); err != nil {
		t.Fatal(err)
	}
	open := loanOf(over.GroupVersionKind(), "runs", "gpu-1", 2, 4)
	reads := func(wrong error) func(types.NamespacedName, client.Object) error {
		return func(_ types.NamespacedName, o client.Object) error {
			if _, is := o.(*metav1.PartialObjectMetadata); is {
				return wrong
			}
			return nil
		}
	}
	for name, test := range map[string]struct {
		objects []client.Object
		err     error
		live    int64
		pods    int
		killed  bool
	}{
		"known":               {[]client.Object{childJob("workers", "runs"), ofJob("w", "workers").on("gpu-1")}, nil, 1, 1, false},
		"another's":           {[]client.Object{childJob("workers", "other"), jobSet("other", true), ofJob("w", "workers").on("gpu-1")}, nil, 0, 0, false},
		"known to others":     {[]client.Object{hidden(childJob("workers", "runs")), ofJob("w", "workers").on("gpu-1")}, nil, 1, 1, false},
		"cannot be asked":     {[]client.Object{hidden(childJob("workers", "runs")), ofJob("w", "workers").on("gpu-1")}, errors.New("overloaded"), 1, 0, true},
		"asks for none":       {[]client.Object{withoutUnits(ofJob("w", "workers").on("gpu-1"))}, errors.New("overloaded"), 0, 0, false},
		"is nowhere":          {[]client.Object{ofJob("w", "workers")}, errors.New("overloaded"), 0, 0, false},
		"not asked, not here": {[]client.Object{hidden(childJob("workers", "runs")), ofJob("w", "workers").on("gpu-0")}, errors.New("overloaded"), 0, 0, false},
		"elsewhere":           {[]client.Object{newPod("serving", "w", 4, owned("batch/v1", "Job", "workers")).on("gpu-1")}, errors.New("overloaded"), 0, 0, false},
		"made by nobody":      {[]client.Object{ofJob("w", "workers").on("gpu-1")}, nil, 1, 1, false},
		"on another node":     {[]client.Object{ofJob("w", "workers").on("gpu-0")}, nil, 0, 0, false},
		"kind is not there":   {[]client.Object{ofJob("w", "workers").on("gpu-1")}, &meta.NoKindMatchError{}, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := withKinds(reads(test.err), append(append(cluster(), over, open), test.objects...)...)
			view := look(t, g)
			l := view.Snapshot.Loans[0]
			if !l.Finished || l.Live != test.live || l.Killed != test.killed || len(view.Pods[l.Name]) != test.pods {
				t.Errorf("finished %t, live %d, killed %t, %d pods", l.Finished, l.Live, l.Killed, len(view.Pods[l.Name]))
			}
			plan, _ := lend.Decide(view.Snapshot, lend.State{}, lend.DefaultPolicy())
			returns := slices.ContainsFunc(plan.Actions, func(a lend.Action) bool { return a.Kind == lend.ActionReturn })
			if returns != (test.live == 0) {
				t.Errorf("actions: %+v", plan.Actions)
			}
		})
	}
}

// TestUnreadKind: a kind that cannot be read leaves its loans as they are, and the
// decision goes on.
func TestUnreadKind(t *testing.T) {
	running := jobSet("runs", false)
	kind := running.GroupVersionKind()
	for name, test := range map[string]struct {
		err      error
		finished bool
	}{
		"cannot be read":   {errors.New("conversion webhook: connection refused"), false},
		"is gone":          {apierrors.NewNotFound(schema.GroupResource{Resource: "jobsets"}, "runs"), true},
		"is not installed": {&meta.NoKindMatchError{GroupKind: kind.GroupKind()}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := withKinds(func(_ types.NamespacedName, o client.Object) error {
				if o.GetObjectKind().GroupVersionKind() == kind {
					return test.err
				}
				return nil
			}, append(cluster(), loanOf(kind, "runs", "gpu-1", 2, 4), loan("tune", "gpu-1", 4), training("waits", 1, 4))...)
			g.Jobs.(*jobs.Set).Installed = func(schema.GroupVersionKind) bool { return false }
			view := look(t, g)
			if len(view.Snapshot.Loans) != 2 || view.Snapshot.Loans[0].Finished != test.finished || !view.Snapshot.Loans[1].Finished || len(view.Snapshot.Jobs) != 1 {
				t.Errorf("loans: %+v, jobs: %+v", view.Snapshot.Loans, view.Snapshot.Jobs)
			}
		})
	}
}

// TestManyUnclear: pods whose owners are gone, or cannot be read, do not keep the API from
// being asked about all others, and hold up no loan that has no units on their nodes.
func TestManyUnclear(t *testing.T) {
	over := jobSet("runs", false)
	if err := unstructured.SetNestedSlice(over.Object, []any{map[string]any{"type": "Completed", "status": "True"}}, "status", "conditions"); err != nil {
		t.Fatal(err)
	}
	here := loanOf(over.GroupVersionKind(), "runs", "gpu-1", 2, 4)
	there := loanOf(schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}, "tune", "gpu-0", 1, 4)
	objects := append(cluster(), over, here, there)
	for i := range 40 {
		name := fmt.Sprintf("gone-%02d", i)
		objects = append(objects, ofJob("a-"+name, name).on("gpu-1"))
		objects = append(objects, newPod("research", "b-"+name, 4, owned("ray.io/v1", "RayCluster", name)).on("gpu-1"))
	}
	child := childJob("workers", "other")
	child.SetAnnotations(map[string]string{"test/hidden": "yes"})
	objects = append(objects, child, jobSet("other", true), ofJob("z", "workers").on("gpu-1"))
	asked := map[string]int{}
	g, _ := withKinds(func(key types.NamespacedName, o client.Object) error {
		if _, is := o.(*metav1.PartialObjectMetadata); !is {
			return nil
		}
		asked[key.Name]++
		if o.GetObjectKind().GroupVersionKind().Kind == "RayCluster" {
			return errors.New("conversion webhook: connection refused")
		}
		return nil
	}, objects...)
	for range 2 {
		view := look(t, g)
		if l := view.Snapshot.Loans[1]; l.JobUID != "tune" || l.Live != 0 || !l.Finished {
			t.Errorf("the loan with units elsewhere: %+v", l)
		}
		if l := view.Snapshot.Loans[0]; l.Live == 0 {
			t.Errorf("the loan with units there: %+v", l)
		}
	}
	if asked["workers"] != 1 || asked["gone-00"] > 3 || len(asked) > 43 {
		t.Errorf("asked: %v", asked)
	}
}

// TestLate: a pod that was made when its loan was closed, and has no node, holds nothing.
func TestLate(t *testing.T) {
	for name, test := range map[string]struct {
		condition string
		status    metav1.ConditionStatus
		after     time.Duration // when the pod was made
		node      string
		live      int64
	}{
		"made before":      {v1alpha1.LoanReclaiming, metav1.ConditionTrue, -time.Second, "", 1},
		"made just then":   {v1alpha1.LoanReclaiming, metav1.ConditionTrue, 40 * time.Second, "", 1},
		"made later":       {v1alpha1.LoanReclaiming, metav1.ConditionTrue, 50 * time.Second, "", 0},
		"has a node":       {v1alpha1.LoanReclaiming, metav1.ConditionTrue, 50 * time.Second, "gpu-1", 1},
		"no more active":   {v1alpha1.LoanActive, metav1.ConditionFalse, 50 * time.Second, "", 0},
		"active":           {v1alpha1.LoanActive, metav1.ConditionTrue, 50 * time.Second, "", 1},
		"not asked back":   {v1alpha1.LoanReclaiming, metav1.ConditionFalse, 50 * time.Second, "", 1},
		"some other thing": {"Other", metav1.ConditionTrue, 50 * time.Second, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			at := now.Add(-time.Minute)
			l := loan("tune", "gpu-1", 4)
			l.Status.Conditions = []metav1.Condition{{Type: test.condition, Status: test.status, LastTransitionTime: metav1.Time{Time: at}}}
			// A Job below the loan's job, which nobody has suspended.
			foreign := childJob("foreign", "tune")
			p := ofJob("p", "foreign").on(test.node)
			p.CreationTimestamp = metav1.Time{Time: at.Add(test.after)}
			g, _ := withKinds(nil, append(cluster(), l, foreign, p)...)
			view := look(t, g)
			if got := view.Snapshot.Loans[0]; got.Live != test.live || int64(len(view.Pods[got.Name])) != test.live {
				t.Errorf("live %d, %d pods, want %d", got.Live, len(view.Pods[got.Name]), test.live)
			}
		})
	}
}
