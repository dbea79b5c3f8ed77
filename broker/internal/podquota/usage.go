package podquota

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/quota"
)

// Rules are what the API server holds a namespace's pods to. They are not changed by
// any method; nil are no rules.
type Rules struct {
	Quotas []*corev1.ResourceQuota // by name
	Ranges []*corev1.LimitRange    // by name
	// DefaultClass is the PriorityClass of a pod that names none.
	DefaultClass string
}

// pod is the pod that the API server would make from a template: a limit is a
// request where none is given, and LimitRanges fill in what is missing after that.
func (n *Rules) pod(template *corev1.PodTemplateSpec) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	if pod.Spec.PriorityClassName == "" {
		pod.Spec.PriorityClassName = n.DefaultClass
	}
	podLevel := resourcehelper.IsPodLevelResourcesSet(pod)
	fill := func(containers []corev1.Container) []corev1.Container {
		containers = slices.Clone(containers)
		for i := range containers {
			r := &containers[i].Resources
			requests, limits := maps.Clone(r.Requests), maps.Clone(r.Limits)
			requests = fillIn(requests, limits)
			for _, item := range n.defaults() {
				if !podLevel {
					limits, requests = fillIn(limits, item.Default), fillIn(requests, item.DefaultRequest)
				}
			}
			r.Requests, r.Limits = requests, limits
		}
		return containers
	}
	pod.Spec.Containers, pod.Spec.InitContainers = fill(pod.Spec.Containers), fill(pod.Spec.InitContainers)
	return pod
}

// defaults are the LimitRanges' rules for containers.
func (n *Rules) defaults() []*corev1.LimitRangeItem {
	var items []*corev1.LimitRangeItem
	for _, r := range n.Ranges {
		for i := range r.Spec.Limits {
			if r.Spec.Limits[i].Type == corev1.LimitTypeContainer {
				items = append(items, &r.Spec.Limits[i])
			}
		}
	}
	return items
}

func fillIn(list, missing corev1.ResourceList) corev1.ResourceList {
	for name, amount := range missing {
		if _, given := list[name]; given {
			continue
		}
		if list == nil {
			list = corev1.ResourceList{}
		}
		list[name] = amount
	}
	return list
}

// Draws is what a number of pods from a template use of the namespace's ResourceQuotas,
// by quota and resource, and why they would be refused whatever else there is.
func (n *Rules) Draws(template *corev1.PodTemplateSpec, pods int64) (draws []lend.Draw, refused string) {
	if n == nil || len(n.Quotas) == 0 {
		return nil, ""
	}
	pod := n.pod(template)
	usage := podUsage(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}), resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{}))
	for _, q := range n.Quotas {
		if !inScope(q, pod) {
			continue
		}
		hard := hardOf(q)
		if missing := missing(pod, hard); missing != "" && refused == "" {
			refused = fmt.Sprintf("ResourceQuota %s demands that each container says its %s", q.Name, missing)
		}
		for _, name := range slices.Sorted(maps.Keys(hard)) {
			amount := int64(quota.Amount(milli(usage[name])).Times(pods))
			if amount == 0 {
				continue
			}
			if most := hard[name]; amount > milli(most) && refused == "" {
				refused = fmt.Sprintf("ResourceQuota %s allows %s of %s, and the job's pods need %s", q.Name, most.String(), name, format(amount, most))
			}
			draws = append(draws, lend.Draw{Limit: limitName(q, name), Amount: amount})
		}
	}
	return draws, refused
}

// Limits are what is left of the namespace's ResourceQuotas once what is coming has
// been drawn: what pods that are admitted, and do not exist yet, need, by limit.
func (n *Rules) Limits(coming map[string]int64) []lend.Limit {
	if n == nil {
		return nil
	}
	var limits []lend.Limit
	for _, q := range n.Quotas {
		hard := hardOf(q)
		for _, name := range slices.Sorted(maps.Keys(hard)) {
			most := hard[name]
			limit := lend.Limit{Name: limitName(q, name), Most: milli(most), Reason: lend.ReasonResourceQuota}
			used, known := q.Status.Used[name]
			if known {
				limit.Left = max(0, limit.Most-milli(used)-coming[limit.Name])
			}
			limit.Message = fmt.Sprintf("ResourceQuota %s has %s of %s %s left, and the job's pods need more", q.Name, format(limit.Left, most), most.String(), name)
			if !known {
				limit.Message = fmt.Sprintf("what is used of ResourceQuota %s is not known yet", q.Name)
			}
			limits = append(limits, limit)
		}
	}
	return limits
}

func limitName(q *corev1.ResourceQuota, resource corev1.ResourceName) string {
	return fmt.Sprintf("resourcequota %s/%s %s", q.Namespace, q.Name, resource)
}

// hardOf is what the API server enforces: the status, once there is one.
func hardOf(q *corev1.ResourceQuota) corev1.ResourceList {
	if q.Status.Hard != nil {
		return q.Status.Hard
	}
	return q.Spec.Hard
}

// milli is a quantity in thousandths, the largest number if that has no room.
func milli(q resource.Quantity) int64 {
	if q.CmpInt64(math.MaxInt64/1000) >= 0 {
		return math.MaxInt64
	}
	return q.MilliValue()
}

// format writes thousandths as the quantity like was written.
func format(thousandths int64, like resource.Quantity) string {
	if thousandths%1000 == 0 {
		return resource.NewQuantity(thousandths/1000, like.Format).String()
	}
	return resource.NewMilliQuantity(thousandths, resource.DecimalSI).String()
}

const (
	requestsPrefix = "requests."
	countPods      = "count/pods"
)

// podUsage is what a pod, or a container, that asks for so much counts as.
func podUsage(requests, limits corev1.ResourceList) corev1.ResourceList {
	usage := corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1"), countPods: resource.MustParse("1")}
	for name, amount := range requests {
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage,
			strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			usage[name], usage[requestsPrefix+name] = amount, amount
		case extended(name):
			usage[requestsPrefix+name] = amount
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if amount, given := limits[name]; given {
			usage["limits."+name] = amount
		}
	}
	return usage
}

// extended resources are those of others than Kubernetes.
func extended(name corev1.ResourceName) bool {
	domain, _, found := strings.Cut(string(name), "/")
	return found && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io")
}

// demanded are the resources that each container must name if they are limited.
var demanded = map[corev1.ResourceName]bool{
	corev1.ResourceCPU: true, corev1.ResourceMemory: true, corev1.ResourceRequestsCPU: true, corev1.ResourceRequestsMemory: true,
	corev1.ResourceLimitsCPU: true, corev1.ResourceLimitsMemory: true,
}

// missing are the limited resources that some container, or the pod if it speaks for
// all of them, does not name.
func missing(pod *corev1.Pod, hard corev1.ResourceList) string {
	asked := []corev1.ResourceRequirements{}
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		asked = append(asked, *pod.Spec.Resources)
	} else {
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range containers {
				asked = append(asked, containers[i].Resources)
			}
		}
	}
	lacking := map[string]bool{}
	for _, r := range asked {
		usage := podUsage(r.Requests, r.Limits)
		for name := range hard {
			if _, named := usage[name]; demanded[name] && !named {
				lacking[string(name)] = true
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(lacking)), ", ")
}
