package install_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const (
	serving, research = "serving", "research"
	gpu               = "nvidia.com/gpu"
)

// work is a service that is idle on all its GPUs but a few, and a team that trains.
type work struct {
	*site
	jobs []string
}

// lend has the service lend, by pods of a scheduler, and submits a job.
func (s *site) lend(t *testing.T, scheduler string) *work {
	t.Helper()
	w := &work{site: s}
	for team, nominal := range map[string]int64{serving: 24, research: 0} {
		w.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team, Labels: map[string]string{"team": team}}})
		w.create(t, &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: team}, Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}}, Cohort: "town",
			Flavors: []v1alpha1.FlavorQuota{{Name: "h100", Resource: gpu, Nominal: nominal}},
		}})
	}
	w.create(t, &v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: research, Name: "default"}})
	labels := map[string]string{"app": "chat"}
	w.create(t, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: serving, Name: "chat"}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod(scheduler, v1alpha1.PriorityClassOnline)},
	}})
	w.create(t, &v1alpha1.LendingPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: serving, Name: "chat"}, Spec: v1alpha1.LendingPolicySpec{
		TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"},
		Mode:      v1alpha1.ModeLend, Owned: ptr.To[int64](24),
		Signals: []v1alpha1.Signal{{Query: "vector(0)", LowWater: "1", HighWater: "2"}},
		Dwell:   &metav1.Duration{Duration: time.Second}, Cooldown: &metav1.Duration{Duration: time.Second},
		Behavior: &v1alpha1.Behavior{Lend: &autoscalingv2.HPAScalingRules{
			StabilizationWindowSeconds: ptr.To[int32](0),
			Policies:                   []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 1}},
		}},
		Headroom: v1alpha1.Headroom{Warm: ptr.To[int64](0)},
		Reclaim:  v1alpha1.Reclaim{MaxGrace: metav1.Duration{Duration: 3 * time.Second}},
	}})
	if scheduler == v1alpha1.SchedulerName {
		w.submit(t, "first")
	}
	return w
}

func (w *work) create(t *testing.T, object client.Object) {
	t.Helper()
	labtest.Create(t, w.api, object)
}

func pod(scheduler, class string) corev1.PodSpec {
	return corev1.PodSpec{
		SchedulerName: scheduler, PriorityClassName: class, TerminationGracePeriodSeconds: ptr.To[int64](1),
		Containers: []corev1.Container{{
			Name: "main", Image: "registry.invalid/none",
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{gpu: resource.MustParse("8")}},
		}},
	}
}

// submit queues a job of a pod with 8 GPUs.
func (w *work) submit(t *testing.T, name string) {
	t.Helper()
	spec := pod("", "")
	spec.RestartPolicy = corev1.RestartPolicyNever
	w.create(t, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: research, Name: name, Labels: map[string]string{v1alpha1.LabelQueue: "default"}},
		Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: spec}},
	})
	w.jobs = append(w.jobs, name)
}

// held is a loan with the pods that run on it.
type held struct {
	Loan  types.UID
	Pods  []types.UID
	Since metav1.Time
}

// loan waits until the first job runs on a loan, and says which.
func (w *work) loan(t *testing.T) (h held) {
	t.Helper()
	return w.loanOf(t, "first")
}

func (w *work) loanOf(t *testing.T, job string) (h held) {
	t.Helper()
	w.eventually(t, func() (bool, string) {
		h = held{}
		loans := &v1alpha1.LoanList{}
		if err := w.api.List(t.Context(), loans, client.InNamespace(research)); err != nil {
			return false, err.Error()
		}
		for _, loan := range loans.Items {
			active := meta.FindStatusCondition(loan.Status.Conditions, v1alpha1.LoanActive)
			if loan.Spec.Job.Name == job && active != nil && active.Status == metav1.ConditionTrue {
				h.Loan, h.Since = loan.UID, loan.CreationTimestamp
			}
		}
		pods := &corev1.PodList{}
		if err := w.api.List(t.Context(), pods, client.InNamespace(research), client.MatchingLabels{"batch.kubernetes.io/job-name": job}); err != nil {
			return false, err.Error()
		}
		for _, pod := range pods.Items {
			if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
				h.Pods = append(h.Pods, pod.UID)
			}
		}
		slices.Sort(h.Pods)
		return h.Loan != "" && len(h.Pods) == 1, fmt.Sprintf("job %s: %d loans, its own is %q, %d pods of which run %v", job, len(loans.Items), h.Loan, len(pods.Items), h.Pods)
	})
	return h
}

// another submits a second job, and waits until it runs on a loan.
func (w *work) another(t *testing.T) {
	t.Helper()
	w.submit(t, "second")
	w.loanOf(t, "second")
}

// end ends all jobs and, when their loans are returned, takes away what lend made.
func (w *work) end(t *testing.T) {
	t.Helper()
	for _, name := range w.jobs {
		w.vanish(t, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: research, Name: name}})
	}
	w.eventually(t, func() (bool, string) {
		loans := &v1alpha1.LoanList{}
		err := w.api.List(t.Context(), loans)
		return err == nil && len(loans.Items) == 0, fmt.Sprintf("%d loans are left, %v", len(loans.Items), err)
	})
	for _, team := range []string{serving, research} {
		w.vanish(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team}})
		w.vanish(t, &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: team}})
	}
}
