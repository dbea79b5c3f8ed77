package reclaim

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
)

const (
	onlineNamespace   = "serving"
	trainingNamespace = "research"
	queue             = "default"
	flavor            = "h100"
	// exitAfter is how long a training pod takes to stop.
	exitAfter = time.Second
	// mostFailures that a stock Job forgives: as many as it likes.
	mostFailures = 1 << 20
)

func tenant(team string, nominal int64) *v1alpha1.TenantQuota {
	return &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: team},
		Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}},
			Cohort:     "lab",
			Flavors: []v1alpha1.FlavorQuota{{
				Name: flavor, Resource: lab.DefaultResource, Nominal: nominal,
				NodeSelector: map[string]string{lab.LabelProduct: lab.DefaultProduct},
			}},
		},
	}
}

func trainingQueue() *v1alpha1.TrainingQueue {
	return &v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: queue}}
}

// lends is a service's policy. Its load is always low, so that nothing but waiting pods
// takes units back, and it lends all that it owns at once.
func lends(units, owned int64) *v1alpha1.LendingPolicy {
	return &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: onlineNamespace, Name: serviceOf(units)},
		Spec: v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: serviceOf(units)},
			Owned:     &owned,
			Signals:   []v1alpha1.Signal{{Query: "vector(0)", LowWater: "1", HighWater: "2"}},
			Dwell:     &metav1.Duration{},
			Behavior: &v1alpha1.Behavior{Lend: &autoscalingv2.HPAScalingRules{
				StabilizationWindowSeconds: ptr.To[int32](0),
				Policies:                   []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 1}},
			}},
			Headroom: v1alpha1.Headroom{Warm: ptr.To[int64](0)},
		},
	}
}

// serviceOf names the service whose pods have so many GPUs each.
func serviceOf(units int64) string { return fmt.Sprintf("chat-%d", units) }

// service is the online service whose pods have so many GPUs each, scaled to zero.
func (w *cluster) service(units int64) *appsv1.Deployment {
	labels := map[string]string{"app": serviceOf(units)}
	spec := podSpec(units)
	spec.PriorityClassName = v1alpha1.PriorityClassOnline
	if w.system == ebbtide {
		spec.SchedulerName = v1alpha1.SchedulerName
	}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: onlineNamespace, Name: serviceOf(units)},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}
}

// job is a gang as a user would submit it to the system.
func (w *cluster) job(g gang) *batchv1.Job {
	pods := int32(g.pods)
	spec := podSpec(1)
	spec.RestartPolicy = corev1.RestartPolicyNever
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: g.name},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{kubelet.AnnotationExitAfter: exitAfter.String()}},
				Spec:       spec,
			},
		},
	}
	if w.system == ebbtide {
		job.Labels = map[string]string{v1alpha1.LabelQueue: queue}
		return job
	}
	job.Spec.Template.Spec.PriorityClassName = v1alpha1.PriorityClassBorrower
	job.Spec.BackoffLimit = ptr.To[int32](mostFailures)
	job.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action:          batchv1.PodFailurePolicyActionIgnore,
		OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
	}}}
	return job
}

func podSpec(units int64) corev1.PodSpec {
	resources := corev1.ResourceList{lab.DefaultResource: *resource.NewQuantity(units, resource.DecimalSI)}
	return corev1.PodSpec{
		AutomountServiceAccountToken: ptr.To(false),
		EnableServiceLinks:           ptr.To(false),
		Containers: []corev1.Container{{
			Name: "main", Image: "registry.invalid/none",
			Resources: corev1.ResourceRequirements{Limits: resources, Requests: resources},
		}},
	}
}
