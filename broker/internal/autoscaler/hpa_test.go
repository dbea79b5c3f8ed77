package autoscaler

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

const scalesChat = `
metadata: {name: chat}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}
  minReplicas: 2
  maxReplicas: 20
`

func of(t *testing.T, hpas []autoscalingv2.HorizontalPodAutoscaler, found *Found, ref Ref) Opinion {
	t.Helper()
	return NewSet(hpas, found).Of(ref)
}

// TestHPABounds: what is desired, and how far it goes.
func TestHPABounds(t *testing.T) {
	o := of(t, []autoscalingv2.HorizontalPodAutoscaler{hpa(t, scalesChat+"status: {desiredReplicas: 7}")}, NewFound(), chat)
	if o.Desired != 7 || o.Min != 2 || o.Max != 20 || o.Blind != "" || o.AtMax != nil || o.Paused != nil || len(o.Notes) != 0 {
		t.Errorf("got %+v", o)
	}
	for _, other := range []Ref{
		{"research", "apps", "Deployment", "chat"}, {"serving", "apps", "StatefulSet", "chat"}, {"serving", "", "Deployment", "chat"},
	} {
		if o := of(t, []autoscalingv2.HorizontalPodAutoscaler{hpa(t, scalesChat)}, NewFound(), other); !o.None() {
			t.Errorf("%+v has %s", other, o.Names())
		}
	}
}

// TestHPAConditions: blind, resting and limited are three things.
func TestHPAConditions(t *testing.T) {
	for name, test := range map[string]struct {
		conditions string
		blind      string
		atMax      bool
	}{
		"none":           {"", "", false},
		"sees":           {"{type: ScalingActive, status: 'True', reason: ValidMetricFound}", "", false},
		"scaled to zero": {"{type: ScalingActive, status: 'False', reason: ScalingDisabled}", "", false},
		"blind": {"{type: ScalingActive, status: 'False', reason: FailedGetPodsMetric}",
			"HorizontalPodAutoscaler chat cannot tell how many replicas are needed: FailedGetPodsMetric", false},
		"adapter missing": {"{type: ScalingActive, status: 'False', reason: FailedGetExternalMetric}",
			"HorizontalPodAutoscaler chat cannot tell how many replicas are needed: FailedGetExternalMetric", false},
		"at maximum":  {"{type: ScalingLimited, status: 'True', reason: TooManyReplicas}", "", true},
		"at minimum":  {"{type: ScalingLimited, status: 'True', reason: TooFewReplicas}", "", false},
		"was limited": {"{type: ScalingLimited, status: 'False', reason: TooManyReplicas}", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			o := of(t, []autoscalingv2.HorizontalPodAutoscaler{hpa(t, scalesChat+"status: {desiredReplicas: 3, conditions: ["+test.conditions+"]}")}, NewFound(), chat)
			if o.Blind != test.blind || (o.AtMax != nil) != test.atMax {
				t.Errorf("got blind %q, at maximum: %v", o.Blind, o.AtMax)
			}
		})
	}
}

// TestHPAMetrics: the metrics become signals with the autoscaler's own targets, and the
// formula of an HPA is that of a signal: ceil(N·value/high) for a mean and a value,
// ceil(value/perReplica) for an average. CPU and memory say nothing about GPUs.
func TestHPAMetrics(t *testing.T) {
	h := hpa(t, scalesChat+`
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}
  - {type: Resource, resource: {name: memory, target: {type: Utilization, averageUtilization: 80}}}
  - {type: Pods, pods: {metric: {name: gpu_utilization}, target: {type: AverageValue, averageValue: "70"}}}
  - {type: Pods, pods: {metric: {name: request_queue_size, selector: {matchLabels: {model: a}}}, target: {type: AverageValue, averageValue: "10"}}}
  - type: Object
    object:
      metric: {name: requests}
      describedObject: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: front}
      target: {type: Value, value: 2k}
  - {type: External, external: {metric: {name: backlog}, target: {type: AverageValue, averageValue: 500m}}}
  - {type: External, external: {metric: {name: other, selector: {matchExpressions: [{key: a, operator: Exists}]}}, target: {type: Value, value: "1"}}}
`)
	o := of(t, []autoscalingv2.HorizontalPodAutoscaler{h}, NewFound(), chat)
	specs, missing := o.Signals("spec.signals[1]", 4, nil)
	object := signal.Spec{Name: "spec.signals[1] (HorizontalPodAutoscaler chat, requests)", Kind: signal.KindObject, Metric: "requests", Low: 1000, High: 2000}
	object.Object.APIVersion, object.Object.Kind, object.Object.Name = "networking.k8s.io/v1", "Ingress", "front"
	want := []signal.Spec{
		{Name: "spec.signals[1] (HorizontalPodAutoscaler chat, gpu_utilization)", Kind: signal.KindPods, Metric: "gpu_utilization", Low: 35, High: 70},
		{Name: "spec.signals[1] (HorizontalPodAutoscaler chat, request_queue_size)", Kind: signal.KindPods, Metric: "request_queue_size",
			MatchLabels: map[string]string{"model": "a"}, Low: 5, High: 10},
		object,
		{Name: "spec.signals[1] (HorizontalPodAutoscaler chat, backlog)", Kind: signal.KindExternal, Metric: "backlog", Low: 1, High: 2, PerReplica: 0.5},
		{Name: "spec.signals[1] (HorizontalPodAutoscaler chat, other)", Kind: signal.KindGiven, Metric: "other", Low: 0.5, High: 1},
	}
	if diff := cmp.Diff(want, specs); diff != "" {
		t.Errorf("specs (-want +got):\n%s", diff)
	}
	if why := missing["spec.signals[1] (HorizontalPodAutoscaler chat, other)"]; why != "its selector has matchExpressions, which are not supported" || len(missing) != 1 {
		t.Errorf("missing: %v", missing)
	}
	if o.All[0].CPUOnly {
		t.Error("it looks at more than CPU")
	}
	if specs, _ := o.Signals("x", 0, nil); specs[3].High != 0.5 {
		t.Errorf("without a replica: high water %v, want that of one", specs[3].High)
	}
}

// TestCPUOnly: an autoscaler that looks at CPU only is no evidence, and its owner hears
// of it.
func TestCPUOnly(t *testing.T) {
	for metrics, want := range map[string]bool{
		"[{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]":                                true,
		"[{type: ContainerResource, containerResource: {name: cpu, container: main, target: {type: Utilization}}}]":                     true,
		"[{type: Resource, resource: {name: memory, target: {type: Utilization, averageUtilization: 80}}}]":                             false,
		"[{type: Resource, resource: {name: cpu, target: {}}}, {type: Pods, pods: {metric: {name: q}, target: {averageValue: \"1\"}}}]": false,
	} {
		o := of(t, []autoscalingv2.HorizontalPodAutoscaler{hpa(t, scalesChat+"  metrics: "+metrics+"\n")}, NewFound(), chat)
		if o.All[0].CPUOnly != want || (len(o.Notes) == 1) != want {
			t.Errorf("%s: CPU only: %t, notes %q", metrics, o.All[0].CPUOnly, o.Notes)
		}
		if specs, _ := o.Signals("x", 1, nil); want && len(specs) != 0 {
			t.Errorf("%s: CPU became a signal: %+v", metrics, specs)
		}
	}
}

// TestHighestWins: of two autoscalers on one target the highest counts, whatever their
// order.
func TestHighestWins(t *testing.T) {
	a, b := hpa(t, scalesChat+"status: {desiredReplicas: 3}"), hpa(t, scalesChat+"status: {desiredReplicas: 9}")
	b.Name, b.Spec.MaxReplicas = "chat-2", 12
	list := []autoscalingv2.HorizontalPodAutoscaler{a, b}
	first := of(t, list, NewFound(), chat)
	slices.Reverse(list)
	second := of(t, list, NewFound(), chat)
	if first.Desired != 9 || first.Max != 20 || first.Names() != "HorizontalPodAutoscaler chat and HorizontalPodAutoscaler chat-2" {
		t.Errorf("got %d of %d by %s", first.Desired, first.Max, first.Names())
	}
	if diff := cmp.Diff(first, second, cmp.AllowUnexported(Autoscaler{}, metric{})); diff != "" {
		t.Errorf("the order matters:\n%s", diff)
	}
}
