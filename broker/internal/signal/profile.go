package signal

import "strings"

// Profile is what one inference engine calls its load, as PromQL with the result
// labels {pod}. $ns stands for the namespace.
type Profile struct {
	// Name as in a LendingPolicy.
	Name string
	// Slots is how many requests one replica serves at once, unless the policy
	// says otherwise.
	Slots int32
	// Running, Waiting and KV are values per pod: requests in the batch, requests
	// that queue, and the used share of the KV cache, 0 to 1.
	Running, Waiting, KV Series
	// WaitingLow and WaitingHigh are the water marks of the mean number of waiting
	// requests per ready replica; KVMark is both marks of the fullest KV cache.
	WaitingLow, WaitingHigh float64
	KVMark                  float64
}

// Series is one value per pod, and the time at which it was scraped. An
// aggregation has the time of its evaluation, so the time is asked for apart.
type Series struct {
	Value string
	Time  string
}

// VLLM is the profile of vLLM, V0 and V1. Data-parallel engines of one pod add
// up; several API server processes of one engine report the same gauge, of which
// the highest counts. Old releases call the KV cache gpu_cache_usage_perc.
var VLLM = Profile{
	Name:  "vllm",
	Slots: 256,
	Running: Series{
		Value: `sum by (pod) (max by (pod, engine) (vllm:num_requests_running{namespace="$ns"}))`,
		Time:  `min by (pod) (timestamp(vllm:num_requests_running{namespace="$ns"}))`,
	},
	Waiting: Series{
		Value: `sum by (pod) (max by (pod, engine) (vllm:num_requests_waiting{namespace="$ns"}))`,
		Time:  `min by (pod) (timestamp(vllm:num_requests_waiting{namespace="$ns"}))`,
	},
	KV: Series{
		Value: `max by (pod) (vllm:kv_cache_usage_perc{namespace="$ns"} or vllm:gpu_cache_usage_perc{namespace="$ns"})`,
		Time:  `min by (pod) (timestamp(vllm:kv_cache_usage_perc{namespace="$ns"}) or timestamp(vllm:gpu_cache_usage_perc{namespace="$ns"}))`,
	},
	WaitingLow: 5, WaitingHigh: 20,
	KVMark: 0.8,
}

var profiles = map[string]Profile{VLLM.Name: VLLM}

// LookupProfile returns a built-in profile by its name.
func LookupProfile(name string) (Profile, bool) {
	p, ok := profiles[name]
	return p, ok
}

// in returns the query for a namespace. A namespace's name needs no quoting.
func in(query, namespace string) string {
	return strings.ReplaceAll(query, "$ns", namespace)
}
