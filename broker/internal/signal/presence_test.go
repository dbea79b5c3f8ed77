package signal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/e2e/lab/prometheus"
)

// TestSelectors: what a query reads is found in its text.
func TestSelectors(t *testing.T) {
	for query, want := range map[string][]string{
		"x":                                  {"x"},
		"vector(0)":                          nil,
		"1 + Inf":                            nil,
		"sum(x)":                             {"x"},
		"sum by (pod) (x)":                   {"x"},
		"sum (x) by (pod, y)":                {"x"},
		"sum without(z)(x{a=\"b(c)\"})":      {`x{a="b(c)"}`},
		"topk(3, x) or vector(0)":            {"x"},
		`sum(rate(x{a="}"} [5m]))`:           {`x{a="}"}`},
		`x {a="b"} / y`:                      {`x {a="b"}`, "y"},
		`{__name__="x"} * 2 # z`:             {`{__name__="x"}`},
		"x + on (pod) group_left (z) y > 3":  {"x", "y"},
		"x offset 5m unless x @ 17":          {"x"},
		"max_over_time(sum(job:x:sum)[9m:])": {"job:x:sum"},
		"histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m]))) and bool": {"x_bucket"},
	} {
		if diff := cmp.Diff(want, selectors(query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
}

// TestQueryOfPods has series of a query vanish: the pods whose they were are silent.
func TestQueryOfPods(t *testing.T) {
	seen := func(entries ...string) string {
		var series []string
		for _, e := range entries {
			which, label, _ := strings.Cut(e, ":")
			name, value, _ := strings.Cut(label, "=")
			series = append(series, fmt.Sprintf(`{"metric":{"ebbtide_seen":%q,%q:%q},"value":[%d,"1"]}`, which, name, value, now.Unix()))
		}
		return `{"resultType":"vector","result":[` + strings.Join(series, ",") + `]}`
	}
	target := Target{Name: "n/l", Namespace: "n", Pods: []Pod{{Name: "a", IP: "10.0.0.1"}, {Name: "b", IP: "10.0.0.2"}}}
	target.Specs = []Spec{{Name: "q", Kind: KindQuery, Query: "sum(x) / sum(y)", Low: 5, High: 20}}
	for name, test := range map[string]struct {
		seen   []string
		silent float64
	}{
		"of no pod":                  {[]string{"lately 0:job=x", "now 0:job=x", "lately 1:pod=router"}, 0},
		"all there":                  {[]string{"lately 0:pod=a", "lately 0:pod=b", "now 0:pod=a", "now 0:pod=b"}, 0},
		"one is gone":                {[]string{"lately 0:pod=a", "lately 0:pod=b", "now 0:pod=a"}, 1},
		"by its address":             {[]string{"lately 0:instance=10.0.0.1:8000", "lately 0:instance=10.0.0.2:8000", "now 0:instance=10.0.0.2:8000"}, 1},
		"by another label":           {[]string{"lately 0:exported_pod=a", "lately 0:exported_pod=b", "now 0:exported_pod=b"}, 1},
		"in one selector":            {[]string{"lately 0:pod=a", "now 0:pod=a", "lately 1:pod=a", "lately 1:pod=b", "now 1:pod=b"}, 1},
		"both, each in one selector": {[]string{"lately 0:pod=a", "now 1:pod=a", "lately 1:pod=b", "lately 0:pod=b", "now 0:pod=b"}, 2},
		"a pod that is gone":         {[]string{"lately 0:pod=z", "lately 0:pod=a", "now 0:pod=a"}, 0},
		"one that never had any":     {[]string{"lately 0:pod=a", "now 0:pod=a"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sample := fetch(t, &server{answers: []answer{
				{contains: "ebbtide_seen", data: seen(test.seen...)}, {contains: "sum(x)", data: perPod(map[string]string{"": "1"})},
			}}, target)
			load := Combine(target.Specs, sample, ready("a", "b"), now)
			if got, _ := signalOf(load, silentReplicas); !load.Known || got.Value != test.silent || load.Coverage != 1-test.silent/2 {
				t.Errorf("got %+v, want %v silent", load, test.silent)
			}
		})
	}
	t.Run("no answer", func(t *testing.T) {
		sample := fetch(t, &server{answers: []answer{
			{contains: "ebbtide_seen", status: 400}, {contains: "sum(x)", data: perPod(map[string]string{"": "1"})},
		}}, target)
		if load := Combine(target.Specs, sample, ready("a", "b"), now); load.Known {
			t.Errorf("got %+v, want it unknown", load)
		}
	})
}

// TestQueryLosesPod asks a real Prometheus for a sum over two pods, of which one falls
// silent.
func TestQueryLosesPod(t *testing.T) {
	t.Parallel()
	var two []example
	for _, e := range examples(t) {
		if e.name == "vllm-v1" {
			e.ScrapeNamespace, e.ScrapePod = "both", "a"
			other := e
			other.name, other.ScrapePod = "other", "b"
			two = append(two, e, other)
		}
	}
	f := newFarm(two)
	url := f.prometheus(t)
	source, err := NewPrometheus(url, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	f.wait(t, source)
	spec := Spec{Name: "q", Kind: KindQuery, Query: `sum(vllm:num_requests_running{namespace="both"}) or vector(0)`, Low: 5, High: 20}
	target := Target{Name: "n/l", Namespace: "both", Specs: []Spec{spec}, Pods: []Pod{{Name: "a"}, {Name: "b"}}}
	// On a busy machine a scrape may come too late, and its pod is silent until the next: that
	// may also be between the question for the sum and the one for whose series there are.
	await := func(sum float64, silent int) {
		t.Helper()
		var r Reading
		defer func() {
			if t.Failed() {
				t.Logf("want %g, and %d silent, got %+v", sum, silent, r)
			}
		}()
		prometheus.Wait(t, func() bool {
			r = source.Fetch(t.Context(), target).Values["q"]
			return r.Value == sum && r.Silent == silent
		})
	}
	await(56, 0)
	f.mu.Lock()
	f.lost = "/other"
	f.mu.Unlock()
	await(28, 1)
}
