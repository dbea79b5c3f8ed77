package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Signal is one source of load. Exactly one of its sources is set. A profile knows an
// engine's metric names and marks; every other source gives one number, which is
// compared with the signal's own water marks.
//
// +kubebuilder:validation:XValidation:rule="[has(self.profile), has(self.query), has(self.pods), has(self.object), has(self.external), has(self.redis), has(self.kafka), has(self.autoscaler)].filter(x, x).size() == 1",message="exactly one of profile, query, pods, object, external, redis, kafka and autoscaler must be set"
// +kubebuilder:validation:XValidation:rule="has(self.profile) || has(self.autoscaler) || (has(self.lowWater) && has(self.highWater))",message="lowWater and highWater must be set"
// +kubebuilder:validation:XValidation:rule="!(has(self.lowWater) && has(self.highWater)) || quantity(self.lowWater).isLessThan(quantity(self.highWater))",message="lowWater must be below highWater"
// +kubebuilder:validation:XValidation:rule="has(self.profile) || !(has(self.slots) || has(self.scrape) || has(self.latency))",message="slots, scrape and latency belong to a profile"
// +kubebuilder:validation:XValidation:rule="has(self.query) || !has(self.aggregate)",message="aggregate belongs to a query"
// +kubebuilder:validation:XValidation:rule="!has(self.matchLabels) || has(self.profile) || has(self.pods) || has(self.external)",message="matchLabels belong to a profile, pods or external"
// +kubebuilder:validation:XValidation:rule="!(has(self.profile) || has(self.autoscaler)) || !(has(self.lowWater) || has(self.highWater) || has(self.perReplica))",message="a profile and an autoscaler have marks of their own"
type Signal struct {
	// Profile names a built-in profile.
	// +optional
	// +kubebuilder:validation:Enum=arms;dcgm;envoy;epp;istio;knative;kserve;llamacpp;micrometer-llm;nim;nvidia-smi-exporter;pods-metrics;rayserve;sglang;tgi;triton;triton-trtllm;trtllm-serve;vllm;wva
	Profile string `json:"profile,omitempty"`
	// Slots is how many requests one replica serves at once (vLLM:
	// --max-num-seqs). Absent: what the engine says, else the profile's default.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Slots int32 `json:"slots,omitempty"`
	// MatchLabels are labels that the profile's series must have: a model, a pool, a
	// cluster of the mesh. For pods and external, they select as in a
	// HorizontalPodAutoscaler.
	// +optional
	// +kubebuilder:validation:MaxProperties=8
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
	// Scrape reads the profile from the target's ready pods themselves, and not from
	// Prometheus: seconds old instead of a scrape interval.
	// +optional
	Scrape *Scrape `json:"scrape,omitempty"`
	// Latency is the P99 of the profile's latency (time to first token, where the
	// engine has it) above which units are taken back. Absent: latency is not
	// looked at.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1h')",message="latency must be between 1ms and 1h"
	Latency *metav1.Duration `json:"latency,omitempty"`
	// Query is PromQL. Its result must be a scalar or one series, unless aggregate is
	// set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Query string `json:"query,omitempty"`
	// Aggregate is what several series of the query become.
	// +optional
	Aggregate Aggregate `json:"aggregate,omitempty"`
	// Pods is a metric of the target's pods in the custom metrics API; the mean counts.
	// +optional
	Pods *MetricRef `json:"pods,omitempty"`
	// Object is a metric of one object in the custom metrics API.
	// +optional
	Object *ObjectMetric `json:"object,omitempty"`
	// External is a metric of the external metrics API; the sum counts.
	// +optional
	External *MetricRef `json:"external,omitempty"`
	// Redis is the length of a list.
	// +optional
	Redis *RedisList `json:"redis,omitempty"`
	// Kafka is the lag of a consumer group.
	// +optional
	Kafka *KafkaLag `json:"kafka,omitempty"`
	// Autoscaler reuses what the target's autoscaler looks at: the metrics of its
	// HorizontalPodAutoscaler and the triggers of its ScaledObject, with their
	// targets. Its high water is the target for the replicas that there are, its low
	// water half of that.
	// +optional
	// +kubebuilder:validation:Enum=true
	Autoscaler *bool `json:"autoscaler,omitempty"`
	// PerReplica is how much of the value one replica should have. With it, the value
	// says how many replicas are needed; without, only that more are.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	// +kubebuilder:validation:MaxLength=32
	PerReplica string `json:"perReplica,omitempty"`
	// LowWater and HighWater, in the value's own unit.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	// +kubebuilder:validation:MaxLength=32
	LowWater string `json:"lowWater,omitempty"`
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	// +kubebuilder:validation:MaxLength=32
	HighWater string `json:"highWater,omitempty"`
}

// Aggregate joins several series.
//
// +kubebuilder:validation:Enum=Sum;Max
type Aggregate string

const (
	AggregateSum Aggregate = "Sum"
	AggregateMax Aggregate = "Max"
)

// Scrape is where a pod serves its metrics.
type Scrape struct {
	// Port of the pod, by number. Absent: the profile's.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// Path. Absent: the profile's, else /metrics.
	// +optional
	// +kubebuilder:validation:Pattern=`^/[-a-zA-Z0-9/._]*$`
	// +kubebuilder:validation:MaxLength=253
	Path string `json:"path,omitempty"`
}

// MetricRef names a metric of the custom or the external metrics API.
type MetricRef struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Metric string `json:"metric"`
}

// ObjectMetric names a metric of one object in the policy's namespace.
type ObjectMetric struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Metric string `json:"metric"`
	// +required
	Object TargetRef `json:"object"`
}

// RedisList names a list. The server is one that the broker's configuration names:
// a policy cannot make the broker connect to an address of its choice.
type RedisList struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Backend string `json:"backend"`
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	List string `json:"list"`
}

// KafkaLag names a consumer group and its topic, on brokers that the configuration
// names.
type KafkaLag struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Backend string `json:"backend"`
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=249
	Topic string `json:"topic"`
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ConsumerGroup string `json:"consumerGroup"`
}
