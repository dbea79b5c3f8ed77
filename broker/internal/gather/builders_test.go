package gather_test

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

const gpu = "nvidia.com/gpu"

func node(name, product string, gpus int64) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"product": product}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
	if gpus > 0 {
		n.Status.Allocatable = corev1.ResourceList{gpu: *resource.NewQuantity(gpus, resource.DecimalSI)}
	}
	return n
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": name}}}
}

func tenant(name string, flavors ...v1alpha1.FlavorQuota) *v1alpha1.TenantQuota {
	return &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}}, Cohort: "lab", Flavors: flavors,
		},
	}
}

func flavor(name, product string, nominal int64) v1alpha1.FlavorQuota {
	return v1alpha1.FlavorQuota{Name: name, Resource: gpu, NodeSelector: map[string]string{"product": product}, Nominal: nominal}
}

func template(gpus int64) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		SchedulerName: v1alpha1.SchedulerName, NodeSelector: map[string]string{"product": "h100"},
		Containers: []corev1.Container{{
			Name:      "main",
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{gpu: *resource.NewQuantity(gpus, resource.DecimalSI)}},
		}},
	}}
}

func deployment(name string, replicas int32, gpus int64) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: name, UID: types.UID("d-" + name)},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Template: template(gpus)},
		Status:     appsv1.DeploymentStatus{Replicas: replicas, UpdatedReplicas: replicas},
	}
}

func controlledBy(kind string, uid types.UID) []metav1.OwnerReference {
	return []metav1.OwnerReference{{Kind: kind, Name: string(uid), UID: uid, Controller: ptr.To(true)}}
}

func replicaSet(deployment string) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: "serving", Name: deployment + "-rs", UID: types.UID("rs-" + deployment),
		OwnerReferences: controlledBy("Deployment", types.UID("d-"+deployment)),
	}}
}

// pod builds a pod.
type pod struct{ *corev1.Pod }

func (p pod) on(node string) pod {
	p.Spec.NodeName = node
	return p
}

func (p pod) ready() pod {
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
	return p
}

// leaving pods need a finalizer, or the fake client would not keep them.
func (p pod) leaving() pod {
	p.DeletionTimestamp = &metav1.Time{Time: now}
	p.Finalizers = []string{"test/keep"}
	return p
}

// online is a pod of the Deployment chat with two GPUs.
func online(name string) pod {
	p := newPod("serving", name, 2, controlledBy("ReplicaSet", "rs-chat"))
	p.Spec.Priority = ptr.To(v1alpha1.PriorityOnline)
	return p
}

// trainer is a pod of a job with four GPUs.
func trainer(name, job string) pod {
	return newPod("research", name, 4, controlledBy("Job", types.UID(job)))
}

func newPod(namespace, name string, gpus int64, owners []metav1.OwnerReference) pod {
	return pod{&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID(name), OwnerReferences: owners,
			CreationTimestamp: metav1.Time{Time: now.Add(-time.Minute)},
		},
		Spec: template(gpus).Spec,
	}}
}

func policy(name string, owned int64) *v1alpha1.LendingPolicy {
	return &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: name},
		Spec: v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			Mode:      v1alpha1.ModeLend, Owned: &owned, Signals: []v1alpha1.Signal{{Profile: "vllm"}},
			LowWater: "30%", HighWater: "70%",
			Reclaim: v1alpha1.Reclaim{MaxGrace: metav1.Duration{Duration: time.Minute}},
		},
	}
}

func training(name string, pods int32, gpus int64) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "research", Name: name, UID: types.UID(name), CreationTimestamp: metav1.Time{Time: now.Add(-time.Minute)},
			Labels:      map[string]string{v1alpha1.LabelQueue: "default"},
			Annotations: map[string]string{v1alpha1.AnnotationAttempt: "3"},
		},
		Spec: batchv1.JobSpec{Parallelism: &pods, Suspend: ptr.To(true), Template: template(gpus)},
	}
	j.Spec.Template.Spec.PriorityClassName = "ebbtide-borrower"
	return j
}

func done() []batchv1.JobCondition {
	return []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
}

func loan(job, node string, count int64) *v1alpha1.Loan {
	return &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: job + "-1", CreationTimestamp: metav1.Time{Time: now.Add(-40 * time.Minute)}},
		Spec: v1alpha1.LoanSpec{
			Job:     v1alpha1.JobRef{APIVersion: "batch/v1", Kind: "Job", Name: job, UID: types.UID(job)},
			Attempt: 4, Borrower: "research", Queue: "default", Resource: gpu, Pods: 1, UnitsPerPod: count,
			Grants: []v1alpha1.Grant{{Lender: "serving/chat", Node: node, Flavor: "h100", Count: count}},
		},
	}
}

// batchOnly are the kinds of jobs of a cluster that has no others installed.
func batchOnly(c client.Client, store jobs.Store) *jobs.Set {
	set := jobs.NewSet(jobs.Clients{Live: c, Client: c, Status: c.Status()}, &lineage.Lineage{}, &jobs.Batch{Live: c, Client: c, Store: store})
	set.Installed = func(schema.GroupVersionKind) bool { return false }
	return set
}
