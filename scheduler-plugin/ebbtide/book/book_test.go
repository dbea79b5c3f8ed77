package book

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

func TestOpen(t *testing.T) {
	with := func(kind string, status metav1.ConditionStatus) *v1alpha1.Loan {
		return &v1alpha1.Loan{Status: v1alpha1.LoanStatus{Conditions: []metav1.Condition{{Type: kind, Status: status}}}}
	}
	for name, tc := range map[string]struct {
		loan *v1alpha1.Loan
		want bool
	}{
		"none":                 {},
		"new":                  {loan: &v1alpha1.Loan{}, want: true},
		"active":               {loan: with(v1alpha1.LoanActive, metav1.ConditionTrue), want: true},
		"activity unknown":     {loan: with(v1alpha1.LoanActive, metav1.ConditionUnknown)},
		"reclaiming":           {loan: with(v1alpha1.LoanReclaiming, metav1.ConditionTrue)},
		"no longer reclaiming": {loan: with(v1alpha1.LoanReclaiming, metav1.ConditionFalse), want: true},
		"returned":             {loan: with(v1alpha1.LoanReturned, metav1.ConditionTrue)},
		"being deleted":        {loan: &v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Open(tc.loan); got != tc.want {
				t.Errorf("open = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestRequestsCountWhatTheSchedulerCounts(t *testing.T) {
	ask := func(n int64) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{
			"nvidia.com/gpu": *resource.NewQuantity(n, resource.DecimalSI), "cpu": *resource.NewQuantity(n, resource.DecimalSI),
		}}
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Resources: ask(4)}},
		Containers:     []corev1.Container{{Resources: ask(2)}, {Resources: ask(1)}},
	}}
	counted := map[corev1.ResourceName]bool{"nvidia.com/gpu": true, "nvidia.com/mig-1g.10gb": true}
	if diff := cmp.Diff([]Request{{Resource: "nvidia.com/gpu", Units: 4}}, Requests(pod, counted)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Request{{Resource: "nvidia.com/gpu", Units: 4}}, Requests(pod, nil)); diff != "" {
		t.Errorf("all requests but for processors (-want +got):\n%s", diff)
	}
	unnamed := map[corev1.ResourceName]bool{"nvidia.com/mig-1g.10gb": true}
	if diff := cmp.Diff([]Request{{Resource: "nvidia.com/gpu", Units: 4}}, Requests(pod, unnamed)); diff != "" {
		t.Errorf("requests of GPUs that no quota names (-want +got):\n%s", diff)
	}
	if got := Requests(pod, map[corev1.ResourceName]bool{}); got != nil {
		t.Errorf("requests without flavors = %v", got)
	}
}

func TestLoansAreIndexedAndOrderedByAge(t *testing.T) {
	start := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	loans := cache.NewIndexer(cache.MetaNamespaceKeyFunc, LoanIndexers())
	b := New(loans, nil, &lineage.Lineage{})
	add := func(name string, attempt int32, age time.Duration, nodes ...string) {
		l := &v1alpha1.Loan{
			ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: name, CreationTimestamp: metav1.NewTime(start.Add(-age))},
			Spec:       v1alpha1.LoanSpec{Job: v1alpha1.JobRef{UID: types.UID(name[:1])}, Attempt: attempt},
		}
		for _, n := range nodes {
			l.Spec.Grants = append(l.Spec.Grants, v1alpha1.Grant{Node: n, Count: 1}, v1alpha1.Grant{Lender: "s/c", Node: n, Count: 2})
		}
		if err := loans.Add(l); err != nil {
			t.Fatal(err)
		}
	}
	add("a-1", 1, time.Hour, "n", "m")
	add("a-2", 2, time.Minute, "n")
	add("b-1", 1, 2*time.Hour, "n")
	add("c-1", 1, time.Hour, "m")
	var on []string
	for _, l := range b.LoansOn("n") {
		on = append(on, l.Name)
	}
	if diff := cmp.Diff([]string{"b-1", "a-1", "a-2"}, on); diff != "" {
		t.Errorf("loans on n (-want +got):\n%s", diff)
	}
	latest := b.LoanOfJob("research", "a")
	if latest == nil || latest.Name != "a-2" {
		t.Fatalf("latest loan of a = %v", latest)
	}
	if got := b.LoanOfJob("serving", "a"); got != nil {
		t.Errorf("the job's loan is found from another namespace: %s", got.Name)
	}
	if GrantedOn(latest, "n") != 3 || GrantedOn(latest, "m") != 0 {
		t.Errorf("granted = %d, %d", GrantedOn(latest, "n"), GrantedOn(latest, "m"))
	}
}

// A pod that asks for units has a loan only if it is in a queue by its own label.
func TestOnlyPodsInQueuesHaveLoans(t *testing.T) {
	loans := cache.NewIndexer(cache.MetaNamespaceKeyFunc, LoanIndexers())
	b := New(loans, nil, &lineage.Lineage{})
	err := loans.Add(&v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "g-1"}, Spec: v1alpha1.LoanSpec{Job: v1alpha1.JobRef{UID: "lead", PodGroup: "g"}}})
	if err != nil {
		t.Fatal(err)
	}
	one := corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")},
	}}}}
	controller := true
	for name, tc := range map[string]struct {
		queue, group, maker string
		spec                corev1.PodSpec
		want                bool
	}{
		"of the group, in a queue":               {queue: "q", group: "g", spec: one, want: true},
		"of the group":                           {group: "g", spec: one},
		"of another group, in a queue":           {queue: "q", group: "h", spec: one},
		"made by the job, in a queue":            {queue: "q", maker: "lead", spec: one, want: true},
		"made by the job":                        {maker: "lead", spec: one},
		"made by the job, with a GPU at first":   {maker: "lead", spec: corev1.PodSpec{InitContainers: one.Containers}},
		"made by the job, asking for nothing":    {maker: "lead", want: true},
		"made by another job, in the same queue": {queue: "q", maker: "other", spec: one},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "research", UID: "p"}, Spec: tc.spec}
		pod.Labels = map[string]string{v1alpha1.LabelPodGroup: tc.group, v1alpha1.LabelQueue: tc.queue}
		if tc.maker != "" {
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "kubeflow.org/v1", Kind: "PyTorchJob", UID: types.UID(tc.maker), Controller: &controller}}
		}
		if got := b.LoanOf(pod); (got != nil) != tc.want {
			t.Errorf("%s: loan = %v, want one: %t", name, got, tc.want)
		}
	}
}
