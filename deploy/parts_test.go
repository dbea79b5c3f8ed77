package deploy_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// What a job of another kind has made is no job of its own, whatever labels were copied:
// it is not suspended again by itself, and whoever made it resumes it.
func TestPartsAreLeftToWhatMadeThem(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	owner := c.jobOf(t, "jobset", namespace, "waiting")
	child := func(apiVersion, kind string) func(*batchv1.Job) {
		return func(job *batchv1.Job) {
			job.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: ptr.To(true)}}
			job.Spec.Suspend = ptr.To(false)
			job.Spec.Template.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
			job.Spec.Template.Spec.SchedulerName = "ebbtide"
			job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		}
	}
	unlabelled := func(job *batchv1.Job) { delete(job.Labels, v1alpha1.LabelQueue) }
	for _, test := range []struct {
		name   string
		change []func(*batchv1.Job)
		part   bool
	}{
		{"a JobSet's", []func(*batchv1.Job){child("jobset.x-k8s.io/v1alpha2", "JobSet")}, true},
		{"a JobSet's, the label on its pods only", []func(*batchv1.Job){child("jobset.x-k8s.io/v1alpha2", "JobSet"), unlabelled}, true},
		{"a RayJob's submitter", []func(*batchv1.Job){child("ray.io/v1", "RayJob")}, true},
		{"a CronJob's", []func(*batchv1.Job){child("batch/v1", "CronJob"), func(job *batchv1.Job) {
			job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		}}, false},
		{"of something like a JobSet", []func(*batchv1.Job){child("example.com/v1", "JobSet"), func(job *batchv1.Job) {
			job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			made, err := c.client(t, operator).BatchV1().Jobs(namespace).Create(t.Context(), trainingJob(test.change...),
				metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				t.Fatal(err)
			}
			if made.Spec.Suspend == nil || *made.Spec.Suspend == test.part {
				t.Errorf("suspended: %v; a part of another job: %v", ptr.Deref(made.Spec.Suspend, false), test.part)
			}
		})
	}
}

// A TrainJob's JobSet runs when its controller says so. Its pods wait for a Loan
// nevertheless, and its controller may write it again.
func TestTrainJobsJobSet(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	k := kinds["jobset"]
	train := c.jobOf(t, "trainjob", namespace, "waiting")
	of := controlledBy("trainer.kubeflow.org/v1alpha1", "TrainJob", train.GetName(), train.GetUID())
	asOperator := k.as(t, c, operator, namespace)
	check := func(t *testing.T, o *unstructured.Unstructured) {
		t.Helper()
		for _, template := range k.templates {
			if queue, scheduler := readLabel(o.Object, template+".metadata.labels."+labelInPath), read(o.Object, template+".spec.schedulerName"); queue != "default" || scheduler != "ebbtide" {
				t.Errorf("%s: queue %v, scheduler %v", template, queue, scheduler)
			}
		}
	}
	made, err := asOperator.Create(t.Context(), short(t, "jobset", of), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	check(t, made)
	if read(made.Object, k.suspend) == true {
		t.Error("it is suspended by itself")
	}
	again := made.DeepCopy()
	all(inPods("metadata.labels", nil), inPods("spec.schedulerName", nil), suspended(true))(k, again)
	if made, err = asOperator.Update(t.Context(), again, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	check(t, made)
	if _, err = asOperator.Create(t.Context(), short(t, "jobset", of, inPods("spec.terminationGracePeriodSeconds", int64(864000))), metav1.CreateOptions{}); err == nil {
		t.Error("ten days of grace by way of a runtime")
	}
}

// Nobody takes what a queued job has made out of it: its pods would run on, and count for
// no Loan.
func TestPartsStay(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	const (
		stays      = "metadata.ownerReferences: what a job in a queue has made stays a part of it"
		labelStays = "metadata.labels[ebbtide.dev/queue]: stays as it is on what a job in a queue has made"
	)
	set := c.jobOf(t, "jobset", namespace, "waiting")
	ownedBySet := []metav1.OwnerReference{{APIVersion: "jobset.x-k8s.io/v1alpha2", Kind: "JobSet", Name: set.GetName(), UID: set.GetUID(), Controller: ptr.To(true)}}
	client := c.client(t, operator)
	job, err := client.BatchV1().Jobs(namespace).Create(t.Context(), trainingJob(func(job *batchv1.Job) {
		job.Labels, job.OwnerReferences = nil, ownedBySet
		job.Spec.Suspend, job.Spec.ManagedBy = ptr.To(true), ptr.To("example.com/nobody")
		job.Spec.Template.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
		job.Spec.Template.Spec.SchedulerName = "ebbtide"
	}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	leader := create(t, client, namespace, onlinePod(barePod))
	ofLeader := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: leader.Name, UID: leader.UID, Controller: ptr.To(true)}}
	workers, alone := statefulSet(t, client, namespace, ofLeader), statefulSet(t, client, namespace, nil)
	train := c.jobOf(t, "rayjob", namespace, "waiting")
	cluster, err := kinds["raycluster"].as(t, c, operator, namespace).Create(t.Context(),
		short(t, "raycluster", controlledBy("ray.io/v1", "RayJob", train.GetName(), train.GetUID())), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	orphan := []byte(`{"metadata": {"ownerReferences": null}}`)
	mereOwner := []byte(`[{"op": "replace", "path": "/metadata/ownerReferences/0/controller", "value": false}]`)
	dryRun := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}
	for _, user := range []string{tenant, collector, administrator} {
		t.Run(who(user), func(t *testing.T) {
			as := c.client(t, user)
			_, err := as.BatchV1().Jobs(namespace).Patch(t.Context(), job.Name, types.MergePatchType, orphan, dryRun)
			wantOutcome(t, err, stays)
			_, err = as.BatchV1().Jobs(namespace).Patch(t.Context(), job.Name, types.JSONPatchType, mereOwner, dryRun)
			wantOutcome(t, err, stays)
			_, err = as.AppsV1().StatefulSets(namespace).Patch(t.Context(), workers.Name, types.MergePatchType, orphan, dryRun)
			wantOutcome(t, err, stays)
			_, err = as.AppsV1().StatefulSets(namespace).Patch(t.Context(), alone.Name, types.MergePatchType, orphan, dryRun)
			wantOutcome(t, err, "")
			_, err = kinds["raycluster"].as(t, c, user, namespace).Patch(t.Context(), cluster.GetName(), types.MergePatchType, orphan, dryRun)
			wantOutcome(t, err, "metadata.ownerReferences: ") // by either policy
		})
	}
	_, err = c.client(t, tenant).BatchV1().Jobs(namespace).Patch(t.Context(), job.Name, types.MergePatchType,
		[]byte(`{"spec": {"template": {"metadata": {"labels": {"ebbtide.dev/queue": null}}}}}`), dryRun)
	wantOutcome(t, err, labelStays)
	_, err = kinds["raycluster"].as(t, c, tenant, namespace).Patch(t.Context(), cluster.GetName(), types.MergePatchType,
		[]byte(`{"metadata": {"labels": null}}`), dryRun)
	wantOutcome(t, err, labelStays)
	_, err = c.client(t, tenant).BatchV1().Jobs(namespace).Patch(t.Context(), job.Name, types.MergePatchType,
		[]byte(`{"metadata": {"labels": {"team": "vision"}}}`), dryRun)
	wantOutcome(t, err, "")
}

// statefulSet makes one of no pods, in a queue.
func statefulSet(t *testing.T, client kubernetes.Interface, namespace string, owners []metav1.OwnerReference) *appsv1.StatefulSet {
	t.Helper()
	labels := map[string]string{v1alpha1.LabelQueue: "default", "example.com/run": "12"}
	made, err := client.AppsV1().StatefulSets(namespace).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "set-", OwnerReferences: owners},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{gpuContainer("1")}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}
