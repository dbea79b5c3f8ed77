package book

import (
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Priority returns the pod's priority, 0 where it has none.
func Priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// Online reports whether the pod is online inference.
func Online(pod *corev1.Pod) bool { return Priority(pod) >= v1alpha1.PriorityOnline }

// Request is a number of units of one resource.
type Request struct {
	Resource corev1.ResourceName
	Units    int64
}

// mostUnits is more than any cluster has, and little enough that no sum of what
// pods ask for overflows.
const mostUnits = 1 << 36

// Requests returns what the pod asks for of the given resources (nil: of all but
// the processors, memory and storage that every pod has), by resource. Where any
// resource is given, GPUs count also if they are not: what no quota names is nobody's.
// Init containers and overhead count as the scheduler counts them, and claims by what
// their templates are for.
func Requests(pod *corev1.Pod, resources map[corev1.ResourceName]bool) []Request {
	var out []Request
	for name, quantity := range requests(pod) {
		if resources == nil && Ordinary(name) || resources != nil && !resources[name] && (len(resources) == 0 || !v1alpha1.GPU(name)) {
			continue
		}
		if units := quantity.Value(); units > 0 {
			out = append(out, Request{Resource: name, Units: min(units, mostUnits)})
		}
	}
	slices.SortFunc(out, func(a, b Request) int { return strings.Compare(string(a.Resource), string(b.Resource)) })
	return out
}

// requests is what the pod asks for, and what it claims.
func requests(pod *corev1.Pod) corev1.ResourceList {
	list := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range v1alpha1.ClaimedResources(&pod.Spec) {
		more := list[name]
		more.Add(*resource.NewQuantity(1, resource.DecimalSI))
		list[name] = more
	}
	return list
}

// Ordinary reports whether the resource is none that a device plugin offers, but one
// like cpu or memory.
func Ordinary(name corev1.ResourceName) bool { return !strings.Contains(string(name), "/") }

// Queued reports whether the pod says of itself that it is of a queued job.
func Queued(pod *corev1.Pod) bool { return pod.Labels[v1alpha1.LabelQueue] != "" }

// Units returns what the pod asks for of one resource.
func Units(pod *corev1.Pod, resource corev1.ResourceName) int64 {
	quantity := requests(pod)[resource]
	return quantity.Value()
}

// Open reports whether pods may be started on the loan: it was neither asked
// back, returned nor deleted, and the broker did not withdraw it. A loan without
// conditions is new and open.
func Open(loan *v1alpha1.Loan) bool {
	if loan == nil || loan.DeletionTimestamp != nil {
		return false
	}
	conditions := loan.Status.Conditions
	if meta.IsStatusConditionTrue(conditions, v1alpha1.LoanReclaiming) || meta.IsStatusConditionTrue(conditions, v1alpha1.LoanReturned) {
		return false
	}
	active := meta.FindStatusCondition(conditions, v1alpha1.LoanActive)
	return active == nil || active.Status == metav1.ConditionTrue
}

// ReclaimingSince returns when the broker asked the loan back, and whether it
// did.
func ReclaimingSince(loan *v1alpha1.Loan) (time.Time, bool) {
	c := meta.FindStatusCondition(loan.Status.Conditions, v1alpha1.LoanReclaiming)
	if c == nil || c.Status != metav1.ConditionTrue {
		return time.Time{}, false
	}
	return c.LastTransitionTime.Time, true
}

// Lent reports whether any of the loan's units are a lender's. Units within the
// borrower's own nominal quota are never taken back.
func Lent(loan *v1alpha1.Loan) bool {
	for i := range loan.Spec.Grants {
		if loan.Spec.Grants[i].Lender != "" {
			return true
		}
	}
	return false
}

// Nodes returns the nodes that the loan was made for, sorted, each once. It may have
// shed all that it held on some.
func Nodes(loan *v1alpha1.Loan) []string {
	seen := map[string]bool{}
	var out []string
	for i := range loan.Spec.Grants {
		if node := loan.Spec.Grants[i].Node; !seen[node] {
			seen[node] = true
			out = append(out, node)
		}
	}
	sort.Strings(out)
	return out
}

// GrantedOn returns the units that the loan may use on the node: not what it is to
// shed.
func GrantedOn(loan *v1alpha1.Loan, node string) int64 {
	var units int64
	grants := loan.Keeps()
	for i := range grants {
		if grants[i].Node == node {
			units += grants[i].Count
		}
	}
	return units
}

// Before orders loans by age, then name: the older one is served first.
func Before(a, b *v1alpha1.Loan) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	if a.Namespace != b.Namespace {
		return a.Namespace < b.Namespace
	}
	return a.Name < b.Name
}

// Returned reports whether all of the loan's units are proven free.
func Returned(loan *v1alpha1.Loan) bool {
	return meta.IsStatusConditionTrue(loan.Status.Conditions, v1alpha1.LoanReturned)
}
