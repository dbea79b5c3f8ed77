package engine

import (
	"fmt"
	"io"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Descriptions of the metrics, by vLLM's names.
var (
	descRunning    = describe("num_requests_running", "Number of requests in model execution batches.")
	descWaiting    = describe("num_requests_waiting", "Number of requests waiting to be processed.")
	descKV         = describe("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.")
	descPreempted  = describe("num_preemptions_total", "Cumulative number of preemption from the engine.")
	descPrompt     = describe("prompt_tokens_total", "Number of prefill tokens processed.")
	descGeneration = describe("generation_tokens_total", "Number of generation tokens processed.")
	descSuccess    = describe("request_success_total", "Count of successfully processed requests.", "finished_reason")
	descTTFT       = describe("time_to_first_token_seconds", "Histogram of time to first token in seconds.")
	descITL        = describe("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.")
	descE2E        = describe("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.")
	descQueue      = describe("request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.")
	descCache      = describe("cache_config_info", "Information of the LLMEngine CacheConfig", "block_size", "num_gpu_blocks")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("vllm:"+name, help, append([]string{"model_name", "engine"}, labels...), nil)
}

// collector turns a view into metrics.
type collector struct{ view view }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descRunning, descWaiting, descKV, descPreempted, descPrompt, descGeneration,
		descSuccess, descTTFT, descITL, descE2E, descQueue, descCache,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	const engine = "0" // one engine core per replica
	model := c.view.model.Name
	value := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, append([]string{model, engine}, labels...)...)
	}
	distribution := func(d *prometheus.Desc, h histogram) {
		ch <- prometheus.MustNewConstHistogram(d, h.n, h.sum, h.cumulative(), model, engine)
	}
	g, s := c.view.gauges, c.view.stats
	value(descRunning, prometheus.GaugeValue, float64(g.running))
	value(descWaiting, prometheus.GaugeValue, float64(g.waiting))
	value(descKV, prometheus.GaugeValue, g.kv)
	value(descPreempted, prometheus.CounterValue, 0)
	value(descPrompt, prometheus.CounterValue, float64(s.promptTokens))
	value(descGeneration, prometheus.CounterValue, float64(s.outputTokens))
	value(descSuccess, prometheus.CounterValue, float64(s.stopped), "stop")
	value(descSuccess, prometheus.CounterValue, 0, "length")
	value(descSuccess, prometheus.CounterValue, 0, "abort")
	distribution(descTTFT, s.firstToken)
	distribution(descITL, s.interToken)
	distribution(descE2E, s.endToEnd)
	distribution(descQueue, s.queued)
	value(descCache, prometheus.GaugeValue, 1,
		strconv.Itoa(blockSize), strconv.FormatInt(c.view.model.KVTokens/blockSize, 10))
}

// WriteGauges writes what a replica says of this moment alone, under vLLM's names: for those
// who set a load by hand and have no engine.
func WriteGauges(w io.Writer, model string, running, waiting, kv float64) {
	for _, gauge := range []struct {
		name  string
		value float64
	}{
		{"vllm:num_requests_running", running},
		{"vllm:num_requests_waiting", waiting},
		{"vllm:kv_cache_usage_perc", kv},
	} {
		fmt.Fprintf(w, "# TYPE %s gauge\n%s{model_name=%q,engine=\"0\"} %g\n", gauge.name, gauge.name, model, gauge.value)
	}
}
