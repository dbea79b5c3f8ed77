package past_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/past"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/e2e/lab/prometheus"
)

// raw are the series that the exporters of a small cluster told, by the minute of six hours.
func raw() map[string]func(time.Time) float64 {
	const gpu = `resource="nvidia_com_gpu",unit="integer"`
	series := map[string]func(time.Time) float64{
		`kube_node_status_allocatable{node="n1",` + gpu + `}`:                                                               always(8),
		`kube_node_status_allocatable{node="n1",resource="cpu",unit="core"}`:                                                always(96),
		`kube_node_status_allocatable{node="n2",` + gpu + `}`:                                                               between(-1, 3, 8),
		`kube_node_status_allocatable{node="n3",resource="nvidia_com_mig_1g_10gb",unit="integer"}`:                          always(14),
		`kube_node_labels{node="n1",label_nvidia_com_gpu_product="NVIDIA-H100-80GB-HBM3"}`:                                  always(1),
		`kube_node_labels{node="n2",label_nvidia_com_gpu_product="NVIDIA-H100-80GB-HBM3"}`:                                  always(1),
		`kube_deployment_status_replicas{namespace="serving",deployment="chat"}`:                                            always(2),
		`kube_deployment_status_replicas_ready{namespace="serving",deployment="chat"}`:                                      always(2),
		`kube_job_created{namespace="research",job_name="a"}`:                                                               always(unix(1)),
		`kube_job_status_start_time{namespace="research",job_name="a"}`:                                                     between(1, 6, unix(1.5)),
		`kube_job_status_completion_time{namespace="research",job_name="a"}`:                                                between(3, 6, unix(3)),
		`kube_job_spec_parallelism{namespace="research",job_name="a"}`:                                                      between(1, 6, 2),
		`kube_job_status_active{namespace="research",job_name="fails"}`:                                                     between(2, 3, 1),
		`kube_pod_container_resource_requests{namespace="research",pod="fails-0",container="c",node="n1",` + gpu + `}`:      between(2, 3, 1),
		`kube_pod_owner{namespace="research",pod="fails-0",owner_kind="Job",owner_name="fails",owner_is_controller="true"}`: between(2, 3, 1),
	}
	// A job of a name that another had before, which is gone.
	series[`kube_job_created{namespace="research",job_name="fails"}`] = func(at time.Time) float64 {
		switch h := at.Sub(start).Hours(); {
		case h > 2 && h <= 4:
			return unix(2)
		case h > 4.5 && h <= 6:
			return unix(4.5)
		}
		return math.NaN()
	}
	series[`kube_job_status_start_time{namespace="research",job_name="fails"}`] = between(4.5, 6, unix(4.75))
	series[`kube_job_status_completion_time{namespace="research",job_name="fails"}`] = between(5.5, 6, unix(5.5))
	// Two of kube-state-metrics tell of this pod.
	series[`kube_pod_container_resource_requests{namespace="research",pod="a-0",container="a",node="n1",instance="2",`+gpu+`}`] = between(1.5, 3, 3)
	for i, node := range []string{"n1", "n2"} {
		pod, chat := fmt.Sprintf("a-%d", i), fmt.Sprintf("chat-5d9c-x%d", i)
		series[`kube_pod_container_resource_requests{namespace="research",pod="`+pod+`",container="a",node="`+node+`",`+gpu+`}`] = between(1.5, 3, 3)
		series[`kube_pod_container_resource_requests{namespace="research",pod="`+pod+`",container="b",node="`+node+`",`+gpu+`}`] = between(1.5, 3, 1)
		series[`kube_pod_owner{namespace="research",pod="`+pod+`",owner_kind="Job",owner_name="a",owner_is_controller="true"}`] = between(1, 3, 1)
		series[`kube_pod_container_resource_requests{namespace="serving",pod="`+chat+`",container="vllm",node="n1",`+gpu+`}`] = always(2)
		series[`kube_pod_owner{namespace="serving",pod="`+chat+`",owner_kind="ReplicaSet",owner_name="chat-5d9c",owner_is_controller="true"}`] = always(1)
		// Each replica says 10, and 20 from the second hour on; the second is silent in the
		// fourth, and both are in the fifth.
		silent := 3 + float64(1-i)
		told := func(at time.Time) float64 {
			switch h := at.Sub(start).Hours(); {
			case h >= silent && h < 5:
				return math.NaN()
			case h >= 2:
				return 20
			}
			return 10
		}
		series[`vllm:num_requests_running{namespace="serving",pod="`+chat+`",engine="0"}`] = told
		series[`vllm:num_requests_waiting{namespace="serving",pod="`+chat+`",engine="0"}`] = func(at time.Time) float64 { return told(at) / 10 }
	}
	return series
}

// exposition of six hours, in the format of Prometheus, with times.
func exposition() []byte {
	var text bytes.Buffer
	for series, value := range raw() {
		for minute := range 6*60 + 1 {
			at := start.Add(time.Duration(minute) * time.Minute)
			if v := value(at); !math.IsNaN(v) {
				fmt.Fprintf(&text, "%s %g %d\n", series, v, at.UnixMilli())
			}
		}
	}
	return text.Bytes()
}

// What a real Prometheus says of a small cluster is what the cluster was, but for the five
// minutes for which it takes a series to go on that ends without a word.
func TestAskOfPrometheus(t *testing.T) {
	p, err := signal.NewPrometheus(remembering(t, exposition()), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	w := window()
	w.End, w.Step, w.Policies = start.Add(6*time.Hour), 10*time.Minute, []v1alpha1.LendingPolicy{chat}
	town, err := past.Ask(t.Context(), p, w)
	if err != nil {
		t.Fatal(err)
	}
	unknown := math.NaN()
	want := &past.Town{
		Start: start, Length: 6 * time.Hour,
		Services: []past.Service{{
			Name: "serving/chat-policy", Slots: 256, Most: 2, Flavor: "h100", UnitsPerPod: 2,
			Load: sim.Curve{
				{At: 0, Value: 22}, {At: 110 * time.Minute, Value: 44}, {At: 3 * time.Hour, Value: unknown},
				{At: 290 * time.Minute, Value: 44}, {At: 6 * time.Hour, Value: unknown},
			},
			Replicas: sim.Curve{{At: 0, Value: 2}, {At: 6 * time.Hour, Value: unknown}},
		}},
		Nodes: []sim.Node{
			{Name: "n1", Units: []sim.NodeUnits{{Flavor: "h100", Count: 8}}},
			{Name: "n2", Units: []sim.NodeUnits{{Flavor: "h100", Count: 8}}},
			{Name: "n3", Units: []sim.NodeUnits{{Flavor: "mig-1g.10gb", Count: 14}}},
		},
		Jobs: []sim.Job{
			{Name: "research/a", Tenant: "research", Queue: "research/default", Submit: time.Hour, Duration: 90 * time.Minute, Flavor: "h100", Pods: 2, UnitsPerPod: 4},
			{Name: "research/fails", Tenant: "research", Queue: "research/default", Submit: 2 * time.Hour, Duration: 64 * time.Minute, Flavor: "h100", Pods: 1, UnitsPerPod: 1},
			{Name: "research/fails#2", Tenant: "research", Queue: "research/default", Submit: 270 * time.Minute, Duration: 45 * time.Minute, Flavor: "h100", Pods: 1, UnitsPerPod: 1},
		},
	}
	same := cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })
	got := *town
	got.Notes = nil
	if diff := cmp.Diff(want, &got, same); diff != "" {
		t.Error(diff)
	}
	t.Logf("notes: %s", strings.Join(town.Notes, "\n"))
}

// remembering starts a Prometheus that has read an exposition of the past, and returns its
// URL.
func remembering(t *testing.T, text []byte) string {
	t.Helper()
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write(text)
	}))
	t.Cleanup(exporter.Close)
	url := prometheus.Start(t, map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s"},
		"storage":        map[string]any{"tsdb": map[string]any{"out_of_order_time_window": "2000d"}},
		"scrape_configs": []any{map[string]any{"job_name": "past", "honor_labels": true, "static_configs": []any{map[string]any{"targets": []string{exporter.Listener.Addr().String()}}}}},
	}, "--storage.tsdb.retention.time=100y")
	// The last sample is there when all are: a scrape is taken in whole.
	asked := url + "/api/v1/query?query=kube_node_status_allocatable&time=" + start.Add(6*time.Hour).Format(time.RFC3339)
	prometheus.Wait(t, func() bool { return says(t.Context(), asked, `"n1"`) })
	return url
}

// says tells whether an answer has a text in it.
func says(ctx context.Context, url, text string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	return err == nil && strings.Contains(body.String(), text)
}
