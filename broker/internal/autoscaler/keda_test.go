package autoscaler

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

const scaledObject = `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat, annotations: {ANNOTATIONS}}
spec:
  scaleTargetRef: {name: chat}
  minReplicaCount: 1
  maxReplicaCount: 20
status: {conditions: [CONDITIONS]}
`

func scaled(t *testing.T, annotations, conditions string) Opinion {
	t.Helper()
	text := strings.NewReplacer("ANNOTATIONS", annotations, "CONDITIONS", conditions).Replace(scaledObject)
	return of(t, nil, NewFound(object(t, text)), chat)
}

// TestScaledObjectStates: what its conditions and annotations mean.
func TestScaledObjectStates(t *testing.T) {
	for name, test := range map[string]struct {
		annotations, conditions string
		blind                   string
		paused                  bool
		desired                 int64
	}{
		"new":       {"", "", "", false, 0},
		"ready":     {"", "{type: Ready, status: 'True'}, {type: Fallback, status: 'False'}", "", false, 0},
		"not ready": {"", "{type: Ready, status: 'False', reason: ScaledObjectCheckFailed}", "ScaledObject chat is not ready: ScaledObjectCheckFailed", false, 0},
		"fallback":  {"", "{type: Ready, status: 'True'}, {type: Fallback, status: 'True'}", "ScaledObject chat cannot read its triggers and uses its fallback", false, 0},
		"paused":    {"autoscaling.keda.sh/paused: 'true'", "", "", true, 0},
		"resumed":   {"autoscaling.keda.sh/paused: 'false'", "", "", false, 0},
		"paused at": {"autoscaling.keda.sh/paused-replicas: '6'", "", "", true, 6},
		"paused at nothing": {
			"autoscaling.keda.sh/paused-replicas: many", "", "", false, 0},
		"paused out": {"autoscaling.keda.sh/paused-scale-out: 'true'", "", "", true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := scaled(t, test.annotations, test.conditions)
			if o.Blind != test.blind || (o.Paused != nil) != test.paused || o.Desired != test.desired || o.Max != 20 || o.Min != 1 {
				t.Errorf("got %+v", o)
			}
		})
	}
}

// TestTriggers: the triggers of the usual kinds become signals with their thresholds,
// read from the broker's own sources; those that only KEDA can read are read through the
// HorizontalPodAutoscaler that it made. A cron is a window and no signal.
func TestTriggers(t *testing.T) {
	so := object(t, `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat}
spec:
  scaleTargetRef: {name: chat}
  triggers:
  - {type: prometheus, metadata: {serverAddress: "http://elsewhere:9090", query: "sum(rate(http_requests_total[2m]))", threshold: "10"}}
  - {type: prometheus, metricType: Value, metadata: {query: sum(llm_pending_requests), threshold: "5"}}
  - {type: cron, metadata: {timezone: Asia/Shanghai, start: "0 8 * * 1-5", end: "0 18 * * 1-5", desiredReplicas: "5"}}
  - {type: redis, metadata: {address: "redis.serving.svc:6379", listName: inference_tasks}}
  - {type: kafka, metadata: {bootstrapServers: "kafka-0:9092,kafka-1:9092", consumerGroup: infer, topic: requests}}
  - {type: rabbitmq, metadata: {queueName: q, value: "20"}}
  - {type: redis, metadata: {addressFromEnv: REDIS, listName: other}}
  - {type: aws-sqs-queue, metadata: {queueURL: "https://example.com/q"}}
  - {type: cpu, metadata: {value: "70"}}
  - {type: prometheus, metadata: {query: up, threshold: many}}
`)
	made := hpa(t, `
metadata:
  name: keda-hpa-chat
  ownerReferences: [{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: chat, uid: so, controller: true}]
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}
  maxReplicas: 100
  metrics:
  - {type: External, external: {metric: {name: s0-prometheus}, target: {type: AverageValue, averageValue: "10"}}}
  - {type: External, external: {metric: {name: s5-rabbitmq-q, selector: {matchLabels: {scaledobject.keda.sh/name: chat}}}, target: {type: AverageValue, averageValue: "20"}}}
status: {desiredReplicas: 3}
`)
	o := of(t, []autoscalingv2.HorizontalPodAutoscaler{made}, NewFound(so), chat)
	if o.Desired != 3 || o.Max != 100 {
		t.Errorf("desired %d of %d", o.Desired, o.Max)
	}
	specs, missing := o.Signals("spec.signals[0]", 2, backends{})
	name := func(i string) string { return "spec.signals[0] (ScaledObject chat, triggers[" + i + "])" }
	redis := signal.Spec{Name: name("3"), Kind: signal.KindRedis, Low: 5, High: 10, PerReplica: 5}
	redis.Redis.Backend, redis.Redis.List = "tasks", "inference_tasks"
	kafka := signal.Spec{Name: name("4"), Kind: signal.KindKafka, Low: 10, High: 20, PerReplica: 10}
	kafka.Kafka.Backend, kafka.Kafka.Topic, kafka.Kafka.ConsumerGroup = "events", "requests", "infer"
	unknown := signal.Spec{Name: name("6"), Kind: signal.KindGiven, Low: 5, High: 10, PerReplica: 5}
	unknown.Redis.List = "other"
	want := []signal.Spec{
		{Name: name("0"), Kind: signal.KindQuery, Query: "sum(rate(http_requests_total[2m]))", Low: 10, High: 20, PerReplica: 10},
		{Name: name("1"), Kind: signal.KindQuery, Query: "sum(llm_pending_requests)", Low: 2.5, High: 5},
		redis, kafka,
		{Name: name("5"), Kind: signal.KindExternal, Metric: "s5-rabbitmq-q", MatchLabels: map[string]string{"scaledobject.keda.sh/name": "chat"}, Low: 20, High: 40, PerReplica: 20},
		unknown,
		{Name: name("7"), Kind: signal.KindGiven},
		{Name: name("9"), Kind: signal.KindGiven, Query: "up"},
	}
	if diff := cmp.Diff(want, specs); diff != "" {
		t.Errorf("specs (-want +got):\n%s", diff)
	}
	wantMissing := signal.Missing{
		name("6"): "no Redis backend of the broker's configuration has the address and the database 0 that it names",
		name("7"): "triggers of type aws-sqs-queue are read through KEDA's HorizontalPodAutoscaler, and there is none with it",
		name("9"): `its threshold "many" is not a number above 0`,
	}
	if diff := cmp.Diff(wantMissing, missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	var crons []Cron
	for i := range o.All {
		crons = append(crons, o.All[i].Crons...)
	}
	wantCrons := []Cron{{Name: "ScaledObject chat triggers[2]", Start: "0 8 * * 1-5", End: "0 18 * * 1-5", Timezone: "Asia/Shanghai", Replicas: 5}}
	if diff := cmp.Diff(wantCrons, crons); diff != "" {
		t.Errorf("crons (-want +got):\n%s", diff)
	}
}

// TestComposed: a formula over all triggers is read as the one number that KEDA makes.
func TestComposed(t *testing.T) {
	so := object(t, `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat}
spec:
  scaleTargetRef: {name: chat}
  advanced: {scalingModifiers: {formula: "a + b", target: "2"}}
  triggers:
  - {type: prometheus, name: a, metadata: {query: up, threshold: "1"}}
`)
	o := of(t, nil, NewFound(so), chat)
	_, missing := o.Signals("x", 1, nil)
	if why := missing["x (ScaledObject chat, composite-metric)"]; why != "KEDA has made no HorizontalPodAutoscaler for it" || len(missing) != 1 {
		t.Errorf("missing: %v", missing)
	}
}

// TestForeignTriggers: a trigger whose number elsewhere would be another is not read, and
// says why.
func TestForeignTriggers(t *testing.T) {
	for name, test := range map[string]struct{ trigger, why string }{
		"plain": {`{type: prometheus, metadata: {serverAddress: "http://elsewhere:9090", query: up, threshold: "5"}}`, ""},
		"tenant": {`{type: prometheus, metadata: {namespace: a, query: up, threshold: "5"}}`,
			"its query is asked with namespace of its own, and the broker's Prometheus would be asked without"},
		"headers": {`{type: prometheus, metadata: {customHeaders: X-Scope-OrgID=a, query: up, threshold: "5"}}`,
			"its query is asked with customHeaders of its own, and the broker's Prometheus would be asked without"},
		"parameters": {`{type: prometheus, metadata: {queryParameters: tenant=a, query: up, threshold: "5"}}`,
			"its query is asked with queryParameters of its own, and the broker's Prometheus would be asked without"},
		"modes": {`{type: prometheus, metadata: {authModes: bearer, query: up, threshold: "5"}}`,
			"its query is asked with authModes of its own, and the broker's Prometheus would be asked without"},
		"authentication": {`{type: prometheus, metadata: {query: up, threshold: "5"}, authenticationRef: {name: a}}`,
			"its query is asked with an authentication of its own, and the broker's Prometheus would be asked without"},
		"database 0": {`{type: redis, metadata: {address: "redis.serving.svc:6379", listName: l, databaseIndex: "0"}}`, ""},
		"database 3": {`{type: redis, metadata: {address: "redis.serving.svc:6379", listName: l, databaseIndex: "3"}}`,
			"no Redis backend of the broker's configuration has the address and the database 3 that it names"},
		"no database": {`{type: redis, metadata: {address: "redis.serving.svc:6379", listName: l, databaseIndex: "x"}}`,
			`its databaseIndex "x" is not a number of a database`},
	} {
		t.Run(name, func(t *testing.T) {
			so := object(t, `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat}
spec:
  scaleTargetRef: {name: chat}
  triggers: [`+test.trigger+`]
`)
			o := of(t, nil, NewFound(so), chat)
			specs, missing := o.Signals("x", 1, backends{})
			if len(specs) != 1 || missing[specs[0].Name] != test.why || (specs[0].Kind == signal.KindGiven) != (test.why != "") {
				t.Errorf("got %+v, missing %v", specs, missing)
			}
		})
	}
}
