package autoscaler

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

const kindHPA = "HorizontalPodAutoscaler"

const (
	// scalingDisabled is the reason of an autoscaler that rests because its target is
	// scaled to zero: nothing is wrong with it.
	scalingDisabled = "ScalingDisabled"
	// tooMany is the reason of one that would want more replicas than it may.
	tooMany = "TooManyReplicas"
)

func ofHPA(hpa *autoscalingv2.HorizontalPodAutoscaler) Autoscaler {
	a := Autoscaler{
		Kind: kindHPA, Name: hpa.Name, Desired: int64(hpa.Status.DesiredReplicas),
		Min: int64(ptr.Deref(hpa.Spec.MinReplicas, 1)), Max: int64(hpa.Spec.MaxReplicas), CPUOnly: cpuOnly(hpa),
	}
	for _, c := range hpa.Status.Conditions {
		switch {
		case c.Type == autoscalingv2.ScalingActive && c.Status == corev1.ConditionFalse && c.Reason != scalingDisabled:
			a.Blind = fmt.Sprintf("%s cannot tell how many replicas are needed: %s", &a, c.Reason)
		case c.Type == autoscalingv2.ScalingLimited && c.Status == corev1.ConditionTrue:
			a.AtMax = c.Reason == tooMany
		}
	}
	if scaledObjectOf(hpa) == "" { // else the ScaledObject knows better where its numbers come from
		for i := range hpa.Spec.Metrics {
			if m, ok := ofMetric(&hpa.Spec.Metrics[i]); ok {
				a.metrics = append(a.metrics, m)
			}
		}
	}
	return a
}

// cpuOnly: all that it looks at is CPU. So it is where it names nothing.
func cpuOnly(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	for i := range hpa.Spec.Metrics {
		m := &hpa.Spec.Metrics[i]
		switch {
		case m.Resource != nil && m.Resource.Name == corev1.ResourceCPU:
		case m.ContainerResource != nil && m.ContainerResource.Name == corev1.ResourceCPU:
		default:
			return false
		}
	}
	return len(hpa.Spec.Metrics) > 0
}

// ofMetric is a metric of load; ok is false for CPU and memory.
func ofMetric(m *autoscalingv2.MetricSpec) (_ metric, ok bool) {
	switch {
	case m.Pods != nil:
		return identified(signal.Spec{Kind: signal.KindPods}, &m.Pods.Metric, &m.Pods.Target, true), true
	case m.Object != nil:
		spec := signal.Spec{Kind: signal.KindObject}
		o := m.Object.DescribedObject
		spec.Object.APIVersion, spec.Object.Kind, spec.Object.Name = o.APIVersion, o.Kind, o.Name
		return identified(spec, &m.Object.Metric, &m.Object.Target, false), true
	case m.External != nil:
		return identified(signal.Spec{Kind: signal.KindExternal}, &m.External.Metric, &m.External.Target, false), true
	}
	return metric{}, false
}

// identified adds the metric's name, selector and target. The value of one of pods is
// already their mean.
func identified(spec signal.Spec, id *autoscalingv2.MetricIdentifier, target *autoscalingv2.MetricTarget, mean bool) metric {
	m := metric{name: id.Name, spec: spec}
	m.spec.Metric = id.Name
	switch {
	case target.Value != nil:
		m.target = target.Value.AsApproximateFloat64()
	case target.AverageValue != nil:
		m.target, m.perReplica = target.AverageValue.AsApproximateFloat64(), !mean
	}
	if m.target <= 0 {
		m.why = "its target is not a number above 0"
	}
	if s := id.Selector; s != nil {
		m.spec.MatchLabels = s.MatchLabels
		if len(s.MatchExpressions) > 0 {
			m.why = "its selector has matchExpressions, which are not supported"
		}
	}
	return m
}

// scaledObjectOf is the ScaledObject that made it; empty if none did.
func scaledObjectOf(hpa *autoscalingv2.HorizontalPodAutoscaler) string {
	ref := metav1.GetControllerOf(hpa)
	if ref == nil || ref.Kind != ScaledObjects.Kind || !strings.HasPrefix(ref.APIVersion, ScaledObjects.Group+"/") {
		return ""
	}
	return ref.Name
}
