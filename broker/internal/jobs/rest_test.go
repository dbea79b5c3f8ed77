package jobs

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// leaves deletes an object that stays: what it has made keeps it.
func leaves(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	now := live(t, c, o)
	now.SetFinalizers([]string{"orphan"})
	if err := c.Update(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), now); err != nil {
		t.Fatal(err)
	}
}

// childOf is a Job that an object controls, and which runs.
func childOf(owner types.UID, name string, edit func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "research", Name: name, UID: types.UID(name),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "jobset.x-k8s.io/v1alpha2", Kind: "JobSet", Name: "o", UID: owner, Controller: ptr.To(true)}},
	}}
	if edit != nil {
		edit(j)
	}
	return j
}

// stopped tells of an object whether it is suspended.
func stopped(t *testing.T, c client.Reader, o client.Object) bool {
	t.Helper()
	is, _, _ := unstructured.NestedBool(live(t, c, o).Object, "spec", "suspend")
	return is
}

// TestDeletedJobSet: one that is deleted without its Jobs stays, and its controller does
// nothing any more. Its Jobs are suspended, whatever their labels, and nobody else's.
func TestDeletedJobSet(t *testing.T) {
	over := func(j *batchv1.Job) {
		j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	}
	mine := []*batchv1.Job{childOf("pretrain", "a", nil), childOf("pretrain", "b", nil), childOf("pretrain", "over", over), childOf("another", "others", nil)}
	first := objectsOf(t, "jobset")[0]
	for _, j := range mine[:3] {
		j.OwnerReferences[0].UID = first.GetUID()
	}
	var more []client.Object
	for _, j := range mine {
		j.TypeMeta = metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}
		more = append(more, j)
	}
	s, c, job := admitted(t, "jobset", more...)
	if err := s.Suspend(t.Context(), job.Ref); err != nil {
		t.Fatal(err)
	}
	if stopped(t, c, mine[0]) {
		t.Fatal("a JobSet that is there looks after its Jobs itself")
	}
	leaves(t, c, first)
	for range 2 {
		if err := s.Suspend(t.Context(), job.Ref); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []bool{true, true, false, false} {
		if got := stopped(t, c, mine[i]); got != want {
			t.Errorf("Job %s: suspended %t, want %t", mine[i].Name, got, want)
		}
	}
}

// TestDeletedTrainJob: its JobSet would run on, and its controller would resume it unless
// the TrainJob were suspended. Where the JobSet is being deleted too, its Jobs are.
func TestDeletedTrainJob(t *testing.T) {
	for _, both := range []bool{false, true} {
		child := childOf("part", "node-0", nil)
		child.TypeMeta = metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}
		s, c, job := admitted(t, "trainjob", child)
		train, set := objectsOf(t, "trainjob")[0], objectsOf(t, "trainjob")[1]
		runs := live(t, c, set)
		if err := unstructured.SetNestedField(runs.Object, false, "spec", "suspend"); err != nil {
			t.Fatal(err)
		}
		if err := c.Update(t.Context(), runs); err != nil {
			t.Fatal(err)
		}
		leaves(t, c, train)
		if both {
			leaves(t, c, set)
		}
		for range 2 {
			if err := s.Suspend(t.Context(), job.Ref); err != nil {
				t.Fatal(err)
			}
		}
		if stopped(t, c, train) == both || stopped(t, c, set) == both || stopped(t, c, child) != both {
			t.Errorf("JobSet deleted: %t; suspended: TrainJob %t, JobSet %t, Job %t", both, stopped(t, c, train), stopped(t, c, set), stopped(t, c, child))
		}
	}
}

// TestDeletedRayJob: its cluster is suspended, as that of one that has ended.
func TestDeletedRayJob(t *testing.T) {
	rest := example(t, "raycluster")[0]
	rest.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: "RayJob", Name: "train", UID: "train", Controller: ptr.To(true)}})
	if err := unstructured.SetNestedField(rest.Object, false, "spec", "suspend"); err != nil {
		t.Fatal(err)
	}
	s, c, job := admitted(t, "rayjob", rest)
	o := live(t, c, objectsOf(t, "rayjob")[0])
	o.Object["status"] = map[string]any{"rayClusterName": rest.GetName(), "jobDeploymentStatus": "Running"}
	if err := c.Status().Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	leaves(t, c, o)
	if err := s.Suspend(t.Context(), job.Ref); err != nil {
		t.Fatal(err)
	}
	if !stopped(t, c, rest) {
		t.Error("the cluster runs on")
	}
}
