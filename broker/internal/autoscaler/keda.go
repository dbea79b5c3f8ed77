package autoscaler

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

// Annotations that make KEDA leave the replicas alone.
const (
	annotationPaused         = "autoscaling.keda.sh/paused"
	annotationPausedReplicas = "autoscaling.keda.sh/paused-replicas"
	annotationPausedScaleOut = "autoscaling.keda.sh/paused-scale-out"
)

// KEDA's defaults.
const (
	defaultMaxReplicas  = 100
	defaultListLength   = "5"
	defaultLagThreshold = "10"
)

// ofScaledObject reads one, with the HorizontalPodAutoscaler that KEDA made of it; nil
// while there is none.
func ofScaledObject(o *unstructured.Unstructured, hpa *autoscalingv2.HorizontalPodAutoscaler) (Ref, Autoscaler) {
	a := Autoscaler{Kind: o.GetKind(), Name: o.GetName(), Max: defaultMaxReplicas}
	a.Min, _ = integer(o, "spec", "minReplicaCount")
	if most, ok := integer(o, "spec", "maxReplicaCount"); ok {
		a.Max = most
	}
	a.pause(o)
	a.kedaSees(o)
	a.triggers(o, hpa)
	target := refOf(o.GetNamespace(), cmp.Or(text(o, "spec", "scaleTargetRef", "apiVersion"), "apps/v1"),
		cmp.Or(text(o, "spec", "scaleTargetRef", "kind"), "Deployment"), text(o, "spec", "scaleTargetRef", "name"))
	return target, a
}

func (a *Autoscaler) pause(o *unstructured.Unstructured) {
	annotations := o.GetAnnotations()
	if n, err := strconv.ParseInt(annotations[annotationPausedReplicas], 10, 32); err == nil {
		a.Paused, a.Desired = true, max(n, 0)
	}
	for _, name := range []string{annotationPaused, annotationPausedScaleOut} {
		if v, set := annotations[name]; set && !strings.EqualFold(v, "false") {
			a.Paused = true
		}
	}
}

// kedaSees looks whether KEDA reads the triggers: on its fall-back it scales by what the
// ScaledObject says for the case that it cannot.
func (a *Autoscaler) kedaSees(o *unstructured.Unstructured) {
	if status, reason := Condition(o, "Ready"); status == "False" {
		a.Blind = fmt.Sprintf("%s is not ready: %s", a, cmp.Or(reason, "no reason given"))
	}
	if status, _ := Condition(o, "Fallback"); status == "True" && a.Blind == "" {
		a.Blind = fmt.Sprintf("%s cannot read its triggers and uses its fallback", a)
	}
}

// trigger is one of spec.triggers.
type trigger struct {
	kind       string
	metricType string
	// authenticates: it names a TriggerAuthentication.
	authenticates bool
	metadata      map[string]string
}

func (a *Autoscaler) triggers(o *unstructured.Unstructured, hpa *autoscalingv2.HorizontalPodAutoscaler) {
	value, _, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "triggers")
	list, _ := value.([]any)
	composed := text(o, "spec", "advanced", "scalingModifiers", "formula") != ""
	for i, item := range list {
		raw, ok := item.(map[string]any)
		if !ok {
			continue
		}
		t := newTrigger(raw)
		name := fmt.Sprintf("triggers[%d]", i)
		switch {
		case t.kind == "cron":
			a.cron(name, t)
		case t.kind == "cpu" || t.kind == "memory" || composed:
		default:
			a.metrics = append(a.metrics, t.metric(name, i, hpa))
		}
	}
	if !composed {
		return
	}
	// One number is made of all triggers: only KEDA knows it.
	if m, ok := external(hpa, "composite-metric"); ok {
		a.metrics = append(a.metrics, m)
	} else {
		a.metrics = append(a.metrics, metric{name: "composite-metric", why: "KEDA has made no HorizontalPodAutoscaler for it"})
	}
}

func newTrigger(raw map[string]any) trigger {
	t := trigger{metadata: map[string]string{}}
	t.kind, _ = raw["type"].(string)
	t.metricType, _ = raw["metricType"].(string)
	_, t.authenticates = raw["authenticationRef"]
	metadata, _ := raw["metadata"].(map[string]any)
	for key, value := range metadata {
		t.metadata[key] = fmt.Sprint(value)
	}
	return t
}

func (a *Autoscaler) cron(name string, t trigger) {
	n, err := strconv.ParseInt(t.metadata["desiredReplicas"], 10, 32)
	if err != nil || n <= 0 {
		return // KEDA refuses it, too, and says so in its condition Ready
	}
	a.Crons = append(a.Crons, Cron{
		Name: fmt.Sprintf("%s %s", a, name), Start: t.metadata["start"], End: t.metadata["end"],
		Timezone: t.metadata["timezone"], Replicas: n,
	})
}

// metric is what the trigger looks at. What we can read ourselves is not read from KEDA,
// which takes a metric that is missing for 0.
func (t trigger) metric(name string, index int, hpa *autoscalingv2.HorizontalPodAutoscaler) metric {
	m := metric{name: name, perReplica: t.metricType != string(autoscalingv2.ValueMetricType)}
	threshold := ""
	switch t.kind {
	case "prometheus":
		m.spec = signal.Spec{Kind: signal.KindQuery, Query: t.metadata["query"]}
		m.why, threshold = t.foreign(), t.metadata["threshold"]
	case "redis":
		m.spec = signal.Spec{Kind: signal.KindRedis}
		m.spec.Redis.List = t.metadata["listName"]
		m.address, threshold = t.redisAddress(), cmp.Or(t.metadata["listLength"], defaultListLength)
		m.database, m.why = t.database()
	case "kafka":
		m.spec = signal.Spec{Kind: signal.KindKafka}
		m.spec.Kafka.Topic, m.spec.Kafka.ConsumerGroup = t.metadata["topic"], t.metadata["consumerGroup"]
		m.address, threshold = cmp.Or(t.metadata["bootstrapServers"], "unknown"), cmp.Or(t.metadata["lagThreshold"], defaultLagThreshold)
		if m.spec.Kafka.Topic == "" {
			m.why = "it names no topic"
		}
	default:
		if e, ok := external(hpa, fmt.Sprintf("s%d-", index)); ok {
			e.name = name
			return e
		}
		m.why = fmt.Sprintf("triggers of type %s are read through KEDA's HorizontalPodAutoscaler, and there is none with it", t.kind)
		return m
	}
	target, err := strconv.ParseFloat(threshold, 64)
	if m.why == "" && (err != nil || !(target > 0)) {
		m.why = fmt.Sprintf("its threshold %q is not a number above 0", threshold)
	}
	m.target = target
	return m
}

// foreign says why the broker's own Prometheus would not answer the query of a trigger as
// the trigger's does; empty if it would. What the trigger sends with the query, or who it
// is for its server, can choose whose series are looked at.
func (t trigger) foreign() string {
	for _, key := range []string{"namespace", "customHeaders", "queryParameters", "authModes"} {
		if t.metadata[key] != "" {
			return fmt.Sprintf("its query is asked with %s of its own, and the broker's Prometheus would be asked without", key)
		}
	}
	if t.authenticates {
		return "its query is asked with an authentication of its own, and the broker's Prometheus would be asked without"
	}
	return ""
}

// database is the number of a Redis database, and why it cannot be told.
func (t trigger) database() (n int, why string) {
	index := cmp.Or(t.metadata["databaseIndex"], "0")
	n, err := strconv.Atoi(index)
	if err != nil || n < 0 {
		return 0, fmt.Sprintf("its databaseIndex %q is not a number of a database", index)
	}
	return n, ""
}

// redisAddress: one that is only in the target's environment is not known.
func (t trigger) redisAddress() string {
	if host := t.metadata["host"]; host != "" {
		return host + ":" + cmp.Or(t.metadata["port"], "6379")
	}
	return cmp.Or(t.metadata["address"], "unknown")
}

// external is the first external metric of KEDA's HorizontalPodAutoscaler whose name
// starts so.
func external(hpa *autoscalingv2.HorizontalPodAutoscaler, prefix string) (metric, bool) {
	if hpa == nil {
		return metric{}, false
	}
	for i := range hpa.Spec.Metrics {
		if e := hpa.Spec.Metrics[i].External; e != nil && strings.HasPrefix(e.Metric.Name, prefix) {
			return identified(signal.Spec{Kind: signal.KindExternal}, &e.Metric, &e.Target, false), true
		}
	}
	return metric{}, false
}
