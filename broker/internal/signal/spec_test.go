package signal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

func TestSpecs(t *testing.T) {
	yes := true
	second := &metav1.Duration{Duration: time.Second}
	got, err := Specs([]v1alpha1.Signal{
		{Profile: "vllm", Slots: 64, Latency: second, MatchLabels: map[string]string{"model_name": "qwen"}},
		{Profile: "pods-metrics", Scrape: &v1alpha1.Scrape{Port: 9000}},
		{Query: "x", Aggregate: v1alpha1.AggregateMax, LowWater: "1", HighWater: "2.5", PerReplica: "2"},
		{Pods: &v1alpha1.MetricRef{Metric: "p"}, LowWater: "1", HighWater: "2"},
		{Object: &v1alpha1.ObjectMetric{Metric: "o", Object: v1alpha1.TargetRef{Kind: "Service", Name: "chat"}}, LowWater: "1", HighWater: "2"},
		{External: &v1alpha1.MetricRef{Metric: "e"}, MatchLabels: map[string]string{"queue": "q"}, LowWater: "1", HighWater: "2"},
		{Redis: &v1alpha1.RedisList{Backend: "b", List: "l"}, LowWater: "1", HighWater: "5"},
		{Kafka: &v1alpha1.KafkaLag{Backend: "b", Topic: "t", ConsumerGroup: "g"}, LowWater: "1", HighWater: "10"},
		{Autoscaler: &yes},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Spec{
		{Name: "spec.signals[0]", Kind: KindProfile, Profile: "vllm", Slots: 64, Latency: time.Second, MatchLabels: map[string]string{"model_name": "qwen"}},
		{Name: "spec.signals[1]", Kind: KindScrape, Profile: "pods-metrics", Port: 9000, Path: "/metrics"},
		{Name: "spec.signals[2]", Kind: KindQuery, Query: "x", Aggregate: v1alpha1.AggregateMax, Low: 1, High: 2.5, PerReplica: 2},
		{Name: "spec.signals[3]", Kind: KindPods, Metric: "p", Low: 1, High: 2},
		{Name: "spec.signals[4]", Kind: KindObject, Metric: "o", Object: v1alpha1.TargetRef{Kind: "Service", Name: "chat"}, Low: 1, High: 2},
		{Name: "spec.signals[5]", Kind: KindExternal, Metric: "e", MatchLabels: map[string]string{"queue": "q"}, Low: 1, High: 2},
		{Name: "spec.signals[6]", Kind: KindRedis, Redis: v1alpha1.RedisList{Backend: "b", List: "l"}, Low: 1, High: 5},
		{Name: "spec.signals[7]", Kind: KindKafka, Kafka: v1alpha1.KafkaLag{Backend: "b", Topic: "t", ConsumerGroup: "g"}, Low: 1, High: 10},
		{Name: "spec.signals[8]", Kind: KindAutoscaler},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("specs (-want +got):\n%s", diff)
	}
}

func TestSpecsRefused(t *testing.T) {
	second := &metav1.Duration{Duration: time.Second}
	for name, test := range map[string]struct {
		signals []v1alpha1.Signal
		want    string
	}{
		"unknown":          {[]v1alpha1.Signal{{Profile: "magic"}}, `spec.signals[0].profile: "magic" is not a known profile; want ` + strings.Join(ProfileNames(), ", ")},
		"two requests":     {[]v1alpha1.Signal{{Profile: "vllm"}, {Profile: "nim"}}, "spec.signals[1].profile: profile nim gives requests in flight, and so does vllm: a policy can have one such profile"},
		"no slots":         {[]v1alpha1.Signal{{Profile: "triton"}}, "spec.signals[0].slots: must be set: profile triton does not know how many requests one replica serves at once"},
		"slots of a GPU":   {[]v1alpha1.Signal{{Profile: "dcgm", Slots: 4}}, "spec.signals[0].slots: profile dcgm gives no requests in flight"},
		"no latency":       {[]v1alpha1.Signal{{Profile: "llamacpp", Latency: second}}, "spec.signals[0].latency: profile llamacpp has no latency"},
		"scraped exporter": {[]v1alpha1.Signal{{Profile: "dcgm", Scrape: &v1alpha1.Scrape{}}}, "spec.signals[0].scrape: the service's own pods do not serve the metrics of profile dcgm"},
		"no cluster":       {[]v1alpha1.Signal{{Profile: "envoy", Slots: 4}}, "spec.signals[0].matchLabels: profile envoy needs one of envoy_cluster_name, or it would count other services too"},
		"label":            {[]v1alpha1.Signal{{Profile: "vllm", MatchLabels: map[string]string{`a="b",c`: "d"}}}, `spec.signals[0].matchLabels: "a=\"b\",c" is not a label's name in Prometheus: letters, digits and _`},
		"marks":            {[]v1alpha1.Signal{{Profile: "vllm", HighWater: "3"}}, "spec.signals[0]: a profile has marks of its own: lowWater, highWater and perReplica belong to a value"},
		"nothing":          {[]v1alpha1.Signal{{}}, "spec.signals[0]: exactly one of profile, query, pods, object, external, redis, kafka and autoscaler must be set"},
		"two sources":      {[]v1alpha1.Signal{{Profile: "vllm", Query: "x"}}, "spec.signals[0]: exactly one of profile, query, pods, object, external, redis, kafka and autoscaler must be set"},
		"marks reversed":   {[]v1alpha1.Signal{{Query: "x", LowWater: "3", HighWater: "2"}}, "spec.signals[0]: lowWater must be below highWater"},
		"no mark":          {[]v1alpha1.Signal{{Query: "x", LowWater: "3"}}, `spec.signals[0].highWater: "" is not a number from 0 to 1e15`},
		"mark":             {[]v1alpha1.Signal{{Query: "x", LowWater: "NaN", HighWater: "2"}}, `spec.signals[0].lowWater: "NaN" is not a number from 0 to 1e15`},
		"per replica":      {[]v1alpha1.Signal{{Query: "x", LowWater: "1", HighWater: "2", PerReplica: "0"}}, "spec.signals[0].perReplica: must be above 0"},
		"aggregate":        {[]v1alpha1.Signal{{Query: "x", Aggregate: "Median", LowWater: "1", HighWater: "2"}}, `spec.signals[0].aggregate: "Median" is neither Sum nor Max`},
	} {
		if _, err := Specs(test.signals); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}

// TestForeignFields: a field that the source does not have is refused, as the API server
// refuses it, and never ignored; where the source has it, it is taken.
func TestForeignFields(t *testing.T) {
	yes := true
	sources := map[string]v1alpha1.Signal{
		"profile":    {Profile: "vllm"},
		"query":      {Query: "x", LowWater: "1", HighWater: "2"},
		"pods":       {Pods: &v1alpha1.MetricRef{Metric: "p"}, LowWater: "1", HighWater: "2"},
		"object":     {Object: &v1alpha1.ObjectMetric{Metric: "o", Object: v1alpha1.TargetRef{Kind: "Service", Name: "chat"}}, LowWater: "1", HighWater: "2"},
		"external":   {External: &v1alpha1.MetricRef{Metric: "e"}, LowWater: "1", HighWater: "2"},
		"redis":      {Redis: &v1alpha1.RedisList{Backend: "b", List: "l"}, LowWater: "1", HighWater: "2"},
		"kafka":      {Kafka: &v1alpha1.KafkaLag{Backend: "b", Topic: "t", ConsumerGroup: "g"}, LowWater: "1", HighWater: "2"},
		"autoscaler": {Autoscaler: &yes},
	}
	for field, test := range map[string]struct {
		set       func(*v1alpha1.Signal)
		belongsTo []string
		want      string // with the source's name
	}{
		"slots":   {func(s *v1alpha1.Signal) { s.Slots = 4 }, []string{"profile"}, "spec.signals[0].slots: belongs to profile, and the signal's source is %s"},
		"scrape":  {func(s *v1alpha1.Signal) { s.Scrape = &v1alpha1.Scrape{} }, []string{"profile"}, "spec.signals[0].scrape: belongs to profile, and the signal's source is %s"},
		"latency": {func(s *v1alpha1.Signal) { s.Latency = &metav1.Duration{Duration: time.Second} }, []string{"profile"}, "spec.signals[0].latency: belongs to profile, and the signal's source is %s"},
		"aggregate": {func(s *v1alpha1.Signal) { s.Aggregate = v1alpha1.AggregateSum }, []string{"query"},
			"spec.signals[0].aggregate: belongs to query, and the signal's source is %s"},
		"matchLabels": {func(s *v1alpha1.Signal) { s.MatchLabels = map[string]string{"a": "b"} }, []string{"profile", "pods", "external"},
			"spec.signals[0].matchLabels: belongs to profile, pods or external, and the signal's source is %s"},
	} {
		for source, s := range sources {
			test.set(&s)
			_, err := Specs([]v1alpha1.Signal{s})
			if slices.Contains(test.belongsTo, source) {
				if err != nil {
					t.Errorf("%s on %s: %v", field, source, err)
				}
			} else if want := fmt.Sprintf(test.want, source); err == nil || err.Error() != want {
				t.Errorf("%s on %s: got %v, want %s", field, source, err, want)
			}
		}
	}
	for _, s := range []v1alpha1.Signal{{LowWater: "1"}, {HighWater: "2"}, {PerReplica: "1"}} {
		s.Autoscaler = &yes
		want := "spec.signals[0]: an autoscaler has marks of its own: lowWater, highWater and perReplica belong to a value"
		if _, err := Specs([]v1alpha1.Signal{s}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestAggregate: several series become one number, as old as the oldest, only where the
// policy says how.
func TestAggregate(t *testing.T) {
	data := perPod(map[string]string{"a": "3", "b": "4"})
	for how, want := range map[v1alpha1.Aggregate]float64{v1alpha1.AggregateSum: 7, v1alpha1.AggregateMax: 4} {
		specs := []Spec{{Name: "q", Kind: KindQuery, Query: "llm_pending", Aggregate: how, Low: 5, High: 20}}
		sample := fetch(t, &server{answers: []answer{{contains: "llm_pending", data: data}}}, Target{Name: "n/l", Namespace: "n", Specs: specs})
		if got := sample.Values["q"]; got.Value != want || !got.At.Equal(now) {
			t.Errorf("%s: got %+v, want %v", how, got, want)
		}
		sample = fetch(t, &server{answers: []answer{{contains: "llm_pending", data: perPod(map[string]string{"a": "3", "b": "NaN"})}}}, Target{Name: "n/l", Namespace: "n", Specs: specs})
		if why := sample.Missing["q"]; why != "the query returned NaN, want a number from 0 to 1e15" {
			t.Errorf("%s of NaN: got %q", how, why)
		}
	}
}
