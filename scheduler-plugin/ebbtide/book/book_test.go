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
)

func quota(name string, selector metav1.LabelSelector, flavors ...v1alpha1.FlavorQuota) *v1alpha1.TenantQuota {
	return &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TenantQuotaSpec{Namespaces: selector, Flavors: flavors}}
}

func team(names ...string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpIn, Values: names}}}
}

func TestTenantsOf(t *testing.T) {
	unreadable := quota("broken", metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Like"}}})
	all := readTenants([]*v1alpha1.TenantQuota{unreadable, quota("a", team("x", "y")), quota("b", team("y", "z"))})
	for name, tc := range map[string]struct{ team, want, refusal string }{
		"one":  {team: "x", want: "a"},
		"two":  {team: "y", refusal: "namespace n belongs to no tenant: the TenantQuotas a, b all select it"},
		"none": {team: "w", refusal: "namespace n belongs to no tenant: no TenantQuota selects it"},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := all.of(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"team": tc.team}}})
			switch {
			case tc.refusal != "":
				if err == nil || err.Error() != tc.refusal {
					t.Errorf("error = %v, want %q", err, tc.refusal)
				}
			case err != nil || q.Name != tc.want:
				t.Errorf("tenant = %v, %v, want %s", q, err, tc.want)
			}
		})
	}
}

func TestFlavorOf(t *testing.T) {
	q := quota("a", team("x"),
		v1alpha1.FlavorQuota{Name: "mig", Resource: "nvidia.com/mig-1g.10gb"},
		v1alpha1.FlavorQuota{Name: "h100", Resource: "nvidia.com/gpu", NodeSelector: map[string]string{"gpu": "h100"}},
		v1alpha1.FlavorQuota{Name: "any", Resource: "nvidia.com/gpu", NodeSelector: map[string]string{"zone": "z"}},
	)
	for name, tc := range map[string]struct {
		resource corev1.ResourceName
		labels   map[string]string
		want     string
	}{
		"by selector":        {resource: "nvidia.com/gpu", labels: map[string]string{"gpu": "h100"}, want: "h100"},
		"first that matches": {resource: "nvidia.com/gpu", labels: map[string]string{"gpu": "h100", "zone": "z"}, want: "h100"},
		"without selector":   {resource: "nvidia.com/mig-1g.10gb", want: "mig"},
		"no node of it":      {resource: "nvidia.com/gpu", labels: map[string]string{"gpu": "a100"}},
		"no such resource":   {resource: "amd.com/gpu"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if f := FlavorOf(q, tc.resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels}}); f != nil {
				got = f.Name
			}
			if got != tc.want {
				t.Errorf("flavor = %q, want %q", got, tc.want)
			}
		})
	}
}

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
	if got := Requests(pod, nil); got != nil {
		t.Errorf("requests without flavors = %v", got)
	}
}

func TestLoansAreIndexedAndOrderedByAge(t *testing.T) {
	start := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	loans := cache.NewIndexer(cache.MetaNamespaceKeyFunc, LoanIndexers())
	b := New(loans, nil, nil, nil)
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
