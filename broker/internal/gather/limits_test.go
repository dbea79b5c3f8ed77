package gather_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

// resourceQuota of the namespace research, as its controller has filled it in.
func resourceQuota(hard, used corev1.ResourceList, edit func(*corev1.ResourceQuotaSpec)) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "compute"},
		Spec:       corev1.ResourceQuotaSpec{Hard: hard},
		Status:     corev1.ResourceQuotaStatus{Hard: hard, Used: used},
	}
	if edit != nil {
		edit(&q.Spec)
	}
	return q
}

// asking is a job of three pods of four GPUs, half a CPU and a memory limit.
func asking(edit func(*corev1.PodSpec)) *batchv1.Job {
	j := training("tune", 3, 4)
	r := &j.Spec.Template.Spec.Containers[0].Resources
	r.Requests = list("cpu", "500m", gpu, "4")
	r.Limits = list("memory", "1Gi", gpu, "4")
	if edit != nil {
		edit(&j.Spec.Template.Spec)
	}
	return j
}

func research(t *testing.T, objects ...client.Object) *lend.Snapshot {
	t.Helper()
	return &gatherAll(t, append(cluster(), objects...)...).Snapshot
}

func limitsText(limits []lend.Limit) []string {
	var text []string
	for _, l := range limits {
		text = append(text, fmt.Sprintf("%s: %d of %d", l.Name, l.Left, l.Most))
	}
	return text
}

// TestResourceQuota: what the job's pods would add, against what is left, both in
// thousandths.
func TestResourceQuota(t *testing.T) {
	quota := resourceQuota(
		list("requests.cpu", "4", "cpu", "4", "requests.memory", "8Gi", "limits.memory", "10Gi", "pods", "10", "count/pods", "12",
			"requests.nvidia.com/gpu", "32", "requests.storage", "1Ti", "count/jobs.batch", "5"),
		list("requests.cpu", "1500m", "cpu", "1500m", "requests.memory", "1Gi", "limits.memory", "1Gi", "pods", "9", "count/pods", "9",
			"requests.nvidia.com/gpu", "40", "requests.storage", "0", "count/jobs.batch", "5"), nil)
	s := research(t, quota, asking(nil))
	if p := s.Jobs[0].Problem; p != nil {
		t.Errorf("refused: %+v", p)
	}
	const name = "resourcequota research/compute "
	want := []lend.Draw{
		{Limit: name + "count/pods", Amount: 3000}, {Limit: name + "cpu", Amount: 1500},
		{Limit: name + "limits.memory", Amount: 3 << 30 * 1000}, {Limit: name + "pods", Amount: 3000},
		{Limit: name + "requests.cpu", Amount: 1500}, {Limit: name + "requests.memory", Amount: 3 << 30 * 1000},
		{Limit: name + "requests.nvidia.com/gpu", Amount: 12000},
	}
	if diff := cmp.Diff(want, s.Jobs[0].Draws); diff != "" {
		t.Errorf("draws (-want +got):\n%s", diff)
	}
	left := map[string]int64{}
	for _, l := range s.Limits {
		left[l.Name[len(name):]] = l.Left
	}
	for resource, want := range map[string]int64{"requests.cpu": 2500, "pods": 1000, "requests.nvidia.com/gpu": 0, "limits.memory": 9 << 30 * 1000} {
		if left[resource] != want {
			t.Errorf("%s: %d left, want %d", resource, left[resource], want)
		}
	}
	message := ""
	for _, l := range s.Limits {
		if l.Name == name+"limits.memory" {
			message = l.Reason + ": " + l.Message
		}
	}
	if want := "ResourceQuotaExceeded: ResourceQuota compute has 9Gi of 10Gi limits.memory left, and the job's pods need more"; message != want {
		t.Errorf("says %q, want %q", message, want)
	}
}

// TestResourceQuotaScopes: a quota counts only the pods in all its scopes.
func TestResourceQuotaScopes(t *testing.T) {
	classes := func(op corev1.ScopeSelectorOperator, values ...string) func(*corev1.ResourceQuotaSpec) {
		return func(s *corev1.ResourceQuotaSpec) {
			s.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
				{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: op, Values: values},
			}}
		}
	}
	scopes := func(scopes ...corev1.ResourceQuotaScope) func(*corev1.ResourceQuotaSpec) {
		return func(s *corev1.ResourceQuotaSpec) { s.Scopes = scopes }
	}
	deadline := func(s *corev1.PodSpec) { s.ActiveDeadlineSeconds = ptr.To[int64](60) }
	nothing := func(s *corev1.PodSpec) {
		s.Containers[0].Resources = corev1.ResourceRequirements{Limits: list(gpu, "4")}
	}
	classless := func(s *corev1.PodSpec) { s.PriorityClassName = "" }
	far := func(s *corev1.PodSpec) {
		s.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{PodAffinityTerm: corev1.PodAffinityTerm{Namespaces: []string{"other"}}}},
		}}
	}
	for name, test := range map[string]struct {
		quota func(*corev1.ResourceQuotaSpec)
		pod   func(*corev1.PodSpec)
		want  bool
	}{
		"no scope":                       {nil, nil, true},
		"terminating":                    {scopes(corev1.ResourceQuotaScopeTerminating), deadline, true},
		"terminating without a deadline": {scopes(corev1.ResourceQuotaScopeTerminating), nil, false},
		"not terminating":                {scopes(corev1.ResourceQuotaScopeNotTerminating), nil, true},
		"best effort":                    {scopes(corev1.ResourceQuotaScopeBestEffort), nothing, true},
		"best effort with a request":     {scopes(corev1.ResourceQuotaScopeBestEffort), nil, false},
		"not best effort":                {scopes(corev1.ResourceQuotaScopeNotBestEffort), nil, true},
		"both":                           {scopes(corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeTerminating), nil, false},
		"some class":                     {scopes(corev1.ResourceQuotaScopePriorityClass), nil, true},
		"some class without one":         {scopes(corev1.ResourceQuotaScopePriorityClass), classless, false},
		"its class":                      {classes(corev1.ScopeSelectorOpIn, "ebbtide-borrower", "x"), nil, true},
		"another class":                  {classes(corev1.ScopeSelectorOpIn, "x"), nil, false},
		"not its class":                  {classes(corev1.ScopeSelectorOpNotIn, "ebbtide-borrower"), nil, false},
		"not another class":              {classes(corev1.ScopeSelectorOpNotIn, "x"), nil, true},
		"no class, and it has one":       {classes(corev1.ScopeSelectorOpDoesNotExist), nil, false},
		"no class":                       {classes(corev1.ScopeSelectorOpDoesNotExist), classless, true},
		"affinity":                       {scopes(corev1.ResourceQuotaScopeCrossNamespacePodAffinity), nil, false},
		"affinity to another namespace":  {scopes(corev1.ResourceQuotaScopeCrossNamespacePodAffinity), far, true},
		"of volumes":                     {scopes(corev1.ResourceQuotaScopeVolumeAttributesClass), nil, false},
	} {
		s := research(t, resourceQuota(list("pods", "9"), list("pods", "0"), test.quota), asking(test.pod))
		if got := len(s.Jobs[0].Draws) > 0; got != test.want {
			t.Errorf("%s: counted is %t, want %t", name, got, test.want)
		}
	}
	// A pod without a class gets the default one.
	byDefault := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, GlobalDefault: true}
	s := research(t, byDefault, resourceQuota(list("pods", "9"), list("pods", "0"), classes(corev1.ScopeSelectorOpIn, "usual")), asking(classless))
	if len(s.Jobs[0].Draws) == 0 {
		t.Error("the default class does not count")
	}
}

// TestResourceQuotaRefuses: pods that would be refused whatever is free.
func TestResourceQuotaRefuses(t *testing.T) {
	containers := func(r *corev1.LimitRangeItem) *corev1.LimitRange {
		r.Type = corev1.LimitTypeContainer
		return &corev1.LimitRange{
			ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "usual"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{*r}},
		}
	}
	second := func(s *corev1.PodSpec) { s.Containers = append(s.Containers, corev1.Container{Name: "sidecar"}) }
	for name, test := range map[string]struct {
		hard   corev1.ResourceList
		edit   func(*corev1.PodSpec)
		ranges *corev1.LimitRange
		want   string
	}{
		"fits":               {hard: list("requests.cpu", "1500m")},
		"too large":          {hard: list("requests.cpu", "1499m"), want: "ResourceQuota compute allows 1499m of requests.cpu, and the job's pods need 1500m"},
		"too many GPUs":      {hard: list("requests.nvidia.com/gpu", "8"), want: "ResourceQuota compute allows 8 of requests.nvidia.com/gpu, and the job's pods need 12"},
		"a limit missing":    {hard: list("limits.cpu", "64"), want: "ResourceQuota compute demands that each container says its limits.cpu"},
		"of one container":   {hard: list("requests.cpu", "64", "limits.memory", "1Ti"), edit: second, want: "ResourceQuota compute demands that each container says its limits.memory, requests.cpu"},
		"filled in":          {hard: list("limits.cpu", "64"), ranges: containers(&corev1.LimitRangeItem{Default: list("cpu", "2")})},
		"filled in too much": {hard: list("limits.cpu", "5"), ranges: containers(&corev1.LimitRangeItem{Default: list("cpu", "2")}), want: "ResourceQuota compute allows 5 of limits.cpu, and the job's pods need 6"},
		"request given":      {hard: list("requests.cpu", "2"), ranges: containers(&corev1.LimitRangeItem{DefaultRequest: list("cpu", "2")})},
		"by the pod": {hard: list("limits.cpu", "64"), edit: func(s *corev1.PodSpec) {
			s.Resources = &corev1.ResourceRequirements{Limits: list("cpu", "2")}
		}},
	} {
		objects := []client.Object{resourceQuota(test.hard, corev1.ResourceList{}, nil), asking(test.edit)}
		if test.ranges != nil {
			objects = append(objects, test.ranges)
		}
		got := ""
		if p := research(t, objects...).Jobs[0].Problem; p != nil && p.Reason == lend.ReasonResourceQuota {
			got = p.Message
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// TestComingPods: an admitted job's pods count before they exist, and not twice.
func TestComingPods(t *testing.T) {
	admitted := training("run", 3, 4)
	admitted.Spec.Suspend = ptr.To(false)
	for made, want := range map[int]int64{0: 4000, 1: 5000, 3: 7000} {
		granted := loan("run", "gpu-1", 12)
		granted.Spec.Pods, granted.Spec.UnitsPerPod = 3, 4
		granted.CreationTimestamp = metav1.Time{Time: now.Add(-2 * time.Minute)}
		objects := []client.Object{admitted, granted, resourceQuota(list("pods", "10"), list("pods", "3"), nil)}
		for i := range made {
			p := trainer(fmt.Sprintf("run-%d", i), "run").on("gpu-1")
			if i == 0 {
				p.Status.Phase = corev1.PodSucceeded // it was made, and is over
			}
			objects = append(objects, p)
		}
		s := research(t, objects...)
		if len(s.Limits) != 1 || s.Limits[0].Left != want {
			t.Errorf("%d of 3 pods made: %+v, want %d left", made, s.Limits, want)
		}
	}
	unknown := research(t, resourceQuota(list("pods", "10"), nil, nil))
	if l := unknown.Limits[0]; l.Left != 0 || l.Message != "what is used of ResourceQuota compute is not known yet" {
		t.Errorf("a quota that nobody has counted yet leaves %+v", l)
	}
}

// TestQueueLimits: what a queue's loans hold counts, whoever lent it.
func TestQueueLimits(t *testing.T) {
	queue := func(limits *v1alpha1.QueueLimits) *v1alpha1.TrainingQueue {
		return &v1alpha1.TrainingQueue{
			ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "default"}, Spec: v1alpha1.TrainingQueueSpec{Limits: limits},
		}
	}
	admitted := training("run", 1, 4)
	admitted.Spec.Suspend = ptr.To(false)
	base := append(without(cluster(), "default", "TrainingQueue"), admitted, loan("run", "gpu-1", 4), training("tune", 2, 4))

	limits := &v1alpha1.QueueLimits{Jobs: ptr.To[int32](3), Flavors: []v1alpha1.FlavorLimit{{Name: "a100", Units: 1}, {Name: "h100", Units: 10}}}
	s := gatherAll(t, append(base, queue(limits))...).Snapshot
	want := []string{
		"queue research/default jobs: 2 of 3", "queue research/default units of a100: 1 of 1", "queue research/default units of h100: 6 of 10",
	}
	if diff := cmp.Diff(want, limitsText(s.Limits)); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	draws := []lend.Draw{{Limit: "queue research/default jobs", Amount: 1}, {Limit: "queue research/default units of h100", Amount: 8}}
	if diff := cmp.Diff(draws, s.Jobs[0].Draws); diff != "" || s.Jobs[0].Problem != nil {
		t.Errorf("draws (-want +got):\n%s problem %v", diff, s.Jobs[0].Problem)
	}
	if got := s.Limits[2]; got.Reason != lend.ReasonLimitReached || got.Message != "queue default allows 10 units of h100 at once, and 4 are held" {
		t.Errorf("says %+v", got)
	}
	for name, test := range map[string]struct {
		limits v1alpha1.QueueLimits
		want   string
	}{
		"too large": {v1alpha1.QueueLimits{Flavors: []v1alpha1.FlavorLimit{{Name: "h100", Units: 7}}}, "the job needs 8 units of h100, and queue default allows 7"},
		"no jobs":   {v1alpha1.QueueLimits{Jobs: ptr.To[int32](0)}, "queue default admits no jobs: its limits.jobs is 0"},
	} {
		p := gatherAll(t, append(base, queue(&test.limits))...).Snapshot.Jobs[0].Problem
		if p == nil || p.Reason != lend.ReasonLimitReached || p.Message != test.want {
			t.Errorf("%s: got %+v, want %q", name, p, test.want)
		}
	}
}
