package signal

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// says has measures of a profile, all taken now.
func says(measures map[Measure]map[string]float64) Sample {
	profile := map[Measure]Readings{}
	for m, values := range measures {
		profile[m] = Readings{}
		for key, v := range values {
			profile[m][key] = Reading{Value: v, At: now}
		}
	}
	return Sample{Profiles: map[string]map[Measure]Readings{"s": profile}}
}

func profileSpec(name string) Spec {
	return Spec{Name: "s", Kind: KindProfile, Profile: name, Slots: 10}
}

func ready(names ...string) Replicas {
	return Replicas{Ready: names, Wanted: int64(len(names))}
}

func signalOf(l lend.Load, name string) (lend.Signal, bool) {
	for _, s := range l.Signals {
		if s.Name == name {
			return s, true
		}
	}
	return lend.Signal{}, false
}

// query is the PromQL that a profile makes of a measure.
func query(t *testing.T, profile string, m Measure) string {
	t.Helper()
	metric := profiles[profile].metric(m)
	if metric == nil {
		t.Fatalf("profile %s has no %s", profile, m)
	}
	return promQL{profile: profiles[profile], metric: metric, namespace: "serving"}.value()
}

// TestTraps has the ways in which engines and exporters are known to lie, one a row.
// Where a row needs the numbers of real expositions, TestProfilesScraped and
// TestProfilesAskedOfPrometheus have it too; the row names the example.
func TestTraps(t *testing.T) {
	for _, trap := range []struct {
		name  string
		check func(t *testing.T)
	}{
		{"1 GPU_UTIL is 0 on a MIG slice: GR_ENGINE_ACTIVE counts (example dcgm-mig)", func(t *testing.T) {
			q := query(t, "dcgm", Utilization)
			if first, second := strings.Index(q, "GR_ENGINE_ACTIVE"), strings.Index(q, "DEV_GPU_UTIL"); first < 0 || second < first {
				t.Errorf("GPU_UTIL comes first: %s", q)
			}
		}},
		{"2 the pod label is the exporter's, or renamed; a borrower's GPU use is not the lender's (example dcgm)", func(t *testing.T) {
			sample := says(map[Measure]map[string]float64{Utilization: {"chat-1": 0.1, "train-1": 1, "dcgm-x": 1}})
			load := Combine([]Spec{profileSpec("dcgm")}, sample, ready("chat-1"), now)
			if s, _ := signalOf(load, "utilization"); s.Value != 0.1 || load.Slots != 0 || load.Requests != 0 {
				t.Errorf("got %+v, want the utilization of chat-1 only, and no requests", load)
			}
			load = Combine([]Spec{profileSpec("dcgm")}, sample, ready("chat-2"), now)
			if want := "profile dcgm: there are series of 3 pods, but none of them is a ready replica"; load.Unknown != want {
				t.Errorf("got %q, want %q", load.Unknown, want)
			}
		}},
		{"3 a gauge is 0 before the first step: a young replica's 0 is unknown", func(t *testing.T) {
			idle := says(map[Measure]map[string]float64{Running: {"a": 0}, Waiting: {"a": 0}, KV: {"a": 0}})
			young := ready("a")
			young.Young = []string{"a"}
			if load := Combine([]Spec{profileSpec("vllm")}, idle, young, now); load.Requests != 10 || load.Assumed != 10 {
				t.Errorf("got %v requests, %v of them assumed, want all slots busy", load.Requests, load.Assumed)
			}
			if load := Combine([]Spec{profileSpec("vllm")}, idle, ready("a"), now); load.Requests != 0 || load.Assumed != 0 {
				t.Errorf("got %v requests, %v of them assumed, of a replica that is not young, want 0", load.Requests, load.Assumed)
			}
		}},
		{"4 several processes or ranks report one number (examples vllm-v1, sglang)", func(t *testing.T) {
			for profile, part := range map[string]string{"vllm": "max by (pod, engine)", "sglang": "max by (pod, dp_rank)"} {
				if q := query(t, profile, Running); !strings.HasPrefix(q, "sum by (pod) ("+part) {
					t.Errorf("%s: duplicates are not dropped before the sum: %s", profile, q)
				}
			}
		}},
		{"5 a counter gains _total, or a metric another name: what was looked for is told", func(t *testing.T) {
			sample := Sample{
				Profiles: map[string]map[Measure]Readings{"s": {}},
				Missing:  Missing{of("s", KV): promQL{profile: profiles["vllm"], metric: profiles["vllm"].metric(KV), namespace: "serving"}.nothing(false).Error()},
			}
			want := "profile vllm, KV cache use: Prometheus has no series of vllm:kv_cache_usage_perc, vllm:gpu_cache_usage_perc in namespace serving"
			if load := Combine([]Spec{profileSpec("vllm")}, sample, ready("a"), now); load.Unknown != want {
				t.Errorf("got %q, want %q", load.Unknown, want)
			}
		}},
		{"6 a percentile is NaN while nothing ends: no signal, and not idle either (example vllm-v0)", func(t *testing.T) {
			spec := profileSpec("vllm")
			spec.Latency = time.Second
			sample := says(map[Measure]map[string]float64{Running: {"a": 4}, Waiting: {"a": 0}, KV: {"a": 0.1}, TTFT: {"a": math.NaN()}})
			load := Combine([]Spec{spec}, sample, ready("a"), now)
			if _, has := signalOf(load, "ttft p99"); has || !load.Known || load.Requests != 4 {
				t.Errorf("got %+v, want 4 requests and no latency", load)
			}
		}},
		{"7 running ends at the slots, and waiting is 0 in normal operation: both count", func(t *testing.T) {
			sample := says(map[Measure]map[string]float64{Running: {"a": 10}, Waiting: {"a": 30}, KV: {"a": 0.1}})
			load := Combine([]Spec{profileSpec("vllm")}, sample, ready("a"), now)
			if s, _ := signalOf(load, "waiting"); load.Requests != 40 || s.Value <= s.High {
				t.Errorf("got %+v, want 40 requests and a queue above its high water", load)
			}
		}},
		{"8 a hung service's latency falls: its requests still count", func(t *testing.T) {
			spec := profileSpec("vllm")
			spec.Latency = time.Second
			sample := says(map[Measure]map[string]float64{Running: {"a": 10}, Waiting: {"a": 25}, KV: {"a": 1}, TTFT: {"a": 0.01}})
			load := Combine([]Spec{spec}, sample, ready("a"), now)
			waiting, _ := signalOf(load, "waiting")
			kv, _ := signalOf(load, "kv")
			if ttft, has := signalOf(load, "ttft p99"); !has || ttft.Value >= ttft.High || waiting.Value <= waiting.High || kv.Value <= kv.High || load.Requests != 35 {
				t.Errorf("got %+v", load)
			}
		}},
		{"9 a rate stays low after an outage: it needs a whole window (TestOutage)", func(t *testing.T) {
			for profile, m := range map[string]Measure{"triton": Running, "vllm": TTFT, "tgi": Errors} {
				if q := query(t, profile, m); !strings.Contains(q, "count_over_time") || !strings.Contains(q, "0.9 *") {
					t.Errorf("%s, %s is believed at once: %s", profile, m, q)
				}
			}
			if q := query(t, "vllm", Running); strings.Contains(q, "_over_time") {
				t.Errorf("a gauge looks back: %s", q)
			}
		}},
		{"10 series outlive their pods: only live pods count", func(t *testing.T) {
			sample := says(map[Measure]map[string]float64{Running: {"a": 1, "dead": 900}, Waiting: {"a": 0, "dead": 900}, KV: {"a": 0.1, "dead": 1}})
			load := Combine([]Spec{profileSpec("vllm")}, sample, ready("a"), now)
			if kv, _ := signalOf(load, "kv"); load.Requests != 1 || kv.Value != 0.1 || load.Coverage != 1 {
				t.Errorf("got %+v, want what pod a says", load)
			}
		}},
		{"11 percent or share, ms, us or s, MiB or bytes (examples dcgm, envoy, triton, pods-metrics)", func(t *testing.T) {
			for _, unit := range []struct {
				profile string
				m       Measure
				want    string
			}{
				{"dcgm", Utilization, "* 0.01"}, {"envoy", Latency, "* 0.001"}, {"triton", Running, "* 1e-06"}, {"pods-metrics", Utilization, "* 0.01"},
			} {
				if q := query(t, unit.profile, unit.m); !strings.Contains(q, unit.want) {
					t.Errorf("%s, %s: no %s in %s", unit.profile, unit.m, unit.want, q)
				}
			}
			if q := query(t, "vllm", KV); strings.Contains(q, "*") {
				t.Errorf("gpu_cache_usage_perc is a share: %s", q)
			}
		}},
		{"12 one model or pool in two namespaces: series are told apart", func(t *testing.T) {
			for profile, want := range map[string]string{
				"vllm": `namespace="serving"`, "epp": `namespace="serving"`, "istio": `destination_workload_namespace="serving"`,
				"knative": `namespace_name="serving"`, "wva": `exported_namespace="serving"`,
			} {
				m := profiles[profile].Measures[0].Measure
				if q := query(t, profile, m); !strings.Contains(q, want) {
					t.Errorf("%s: no %s in %s", profile, want, q)
				}
			}
			_, err := Specs([]v1alpha1.Signal{{Profile: "epp"}})
			if want := "spec.signals[0].matchLabels: profile epp needs one of name, or it would count other services too"; err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}},
	} {
		t.Run(trap.name, trap.check)
	}
}

// TestOutage stops a real Prometheus's scrapes for as long as a window takes, and lets
// them come again: what needs a window is not known until one has passed, and what does
// not is.
func TestOutage(t *testing.T) {
	t.Parallel()
	var vllmExample []example
	for _, e := range examples(t) {
		if e.name == "vllm-v1" || e.name == "triton" {
			vllmExample = append(vllmExample, e)
		}
	}
	const down = 3 * time.Minute // since the first sample
	f := newFarm(vllmExample)
	f.start = time.Now().Add(-15 * time.Minute)
	// Down from 12 minutes ago to half a minute before the first scrape: what a profile looks back
	// over is two minutes, and a busy machine may take most of them from then on. In half a minute
	// there is one of the times at which a subquery of 15 s looks, also where the test is quick.
	var first sync.Once
	var back time.Duration
	f.gap = func(since time.Duration) bool {
		first.Do(func() { back = time.Since(f.start) - 30*time.Second })
		return since > down && since < back
	}
	url := f.prometheus(t)
	source, err := NewPrometheus(url, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	f.wait(t, source)
	spec := Spec{Name: "s", Kind: KindProfile, Profile: "vllm", Slots: 10, Latency: time.Second}
	sample := source.Fetch(t.Context(), Target{Name: "n/l", Namespace: "vllm-v1", Specs: []Spec{spec}})
	if r := sample.Profiles["s"][Running]["a"]; r.Value != 17 {
		t.Errorf("got %+v running requests, want 17", sample)
	}
	if got, want := sample.Missing[of("s", TTFT)], "Prometheus has vllm:time_to_first_token_seconds_count in namespace vllm-v1, but not for the whole of the last 2m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	load := Combine([]Spec{spec}, sample, ready("a"), time.Now())
	if load.Known {
		t.Errorf("the load is believed: %+v", load)
	}
	const series = `vllm:time_to_first_token_seconds_count{namespace="vllm-v1"}`
	// ago is how long ago that was since the first sample.
	ago := func(since time.Duration) model.Duration {
		return model.Duration((time.Since(f.start) - since).Truncate(time.Second))
	}
	into := ago(down + 30*time.Second)
	for query, want := range map[string]string{
		"sum(rate(" + series + "[2m]))":              "the query looks back over 2m, and Prometheus has not the whole of it",
		"max_over_time(sum(" + series + ")[4m:15s])": "the query looks back over 4m, and Prometheus has not the whole of it",
		"sum(" + series + ")":                        "", // no range: true at once
		"sum(rate(" + series + "[1m] offset " + ago(down-time.Minute).String() + "))": "", // before the gap
		"sum(rate(" + series + "[1m] offset " + into.String() + "))":                  fmt.Sprintf("the query looks back over %s, and Prometheus has not the whole of it", into+model.Duration(time.Minute)),
		"sum(count_over_time(" + series + "[2h])) or sum(" + series + ")":             "the query looks back over 2h, and Prometheus has not the whole of it",
	} {
		own := Spec{Name: "q", Kind: KindQuery, Query: query, Low: 1, High: 2}
		sample := source.Fetch(t.Context(), Target{Name: "n/l", Namespace: "vllm-v1", Specs: []Spec{own}})
		if got := sample.Missing["q"]; got != want {
			t.Errorf("%s: got %q and %+v, want %q", query, got, sample.Values, want)
		}
	}
	triton := Spec{Name: "s", Kind: KindProfile, Profile: "triton", Slots: 10}
	sample = source.Fetch(t.Context(), Target{Name: "n/l", Namespace: "triton", Specs: []Spec{triton}})
	if load := Combine([]Spec{triton}, sample, ready("a"), time.Now()); load.Known {
		t.Errorf("a rate is believed: %+v", load)
	}
}

// TestService: one series speaks for all replicas, and is heard or not.
func TestService(t *testing.T) {
	for name, test := range map[string]struct {
		spec     Spec
		sample   Sample
		replicas Replicas
		want     lend.Load
	}{
		"a gateway's requests": {
			spec:     profileSpec("envoy"),
			sample:   says(map[Measure]map[string]float64{Running: {"": 12}, Waiting: {"": 6}}),
			replicas: ready("a", "b"),
			want:     lend.Load{Known: true, Coverage: 1, ObservedAt: now, Requests: 18, Slots: 10, Signals: []lend.Signal{{Name: "waiting", Value: 3, Low: 5, High: 20}}},
		},
		"a mean over replicas": {
			spec:     profileSpec("epp"),
			sample:   says(map[Measure]map[string]float64{Running: {"": 12}, Waiting: {"": 1}, KV: {"": 0.9}}),
			replicas: ready("a", "b"),
			want: lend.Load{Known: true, Coverage: 1, ObservedAt: now, Requests: 26, Slots: 10, Signals: []lend.Signal{
				{Name: "kv", Value: 0.9, Low: 0.8, High: 0.8}, {Name: "waiting", Value: 1, Low: 5, High: 20}}},
		},
		"half of it is nothing": {
			spec: profileSpec("envoy"), sample: says(map[Measure]map[string]float64{Running: {"": 12}}), replicas: ready("a"),
			want: lend.Load{Unknown: "profile envoy: no plausible value of running requests and waiting requests"},
		},
		"what an autoscaler wants": {
			spec: Spec{Name: "s", Kind: KindProfile, Profile: "wva"}, sample: says(map[Measure]map[string]float64{Desired: {"": 4}}), replicas: ready("a"),
			want: lend.Load{Known: true, Coverage: 1, ObservedAt: now, Signals: []lend.Signal{{Name: "desired", Value: 4, Low: maxPlausible, High: maxPlausible, PerReplica: 1}}},
		},
		"the engine's own slots": {
			spec:     Spec{Name: "s", Kind: KindProfile, Profile: "knative"},
			sample:   says(map[Measure]map[string]float64{Running: {"": 20}, Slots: {"": 7}}),
			replicas: ready("a"),
			want:     lend.Load{Known: true, Coverage: 1, ObservedAt: now, Requests: 20, Slots: 7},
		},
		"no more slots than a platform lets through": {
			spec:     Spec{Name: "s", Kind: KindProfile, Profile: "knative", SlotsMost: 5},
			sample:   says(map[Measure]map[string]float64{Running: {"": 20}, Slots: {"": 7}}),
			replicas: ready("a"),
			want:     lend.Load{Known: true, Coverage: 1, ObservedAt: now, Requests: 20, Slots: 5},
		},
		"no fewer slots than the engine has": {
			spec:     Spec{Name: "s", Kind: KindProfile, Profile: "knative", SlotsMost: 50},
			sample:   says(map[Measure]map[string]float64{Running: {"": 20}, Slots: {"": 7}}),
			replicas: ready("a"),
			want:     lend.Load{Known: true, Coverage: 1, ObservedAt: now, Requests: 20, Slots: 7},
		},
		"asleep and heard of": {
			spec: profileSpec("envoy"), sample: says(map[Measure]map[string]float64{Running: {"": 0}, Waiting: {"": 3}}),
			want: lend.Load{Known: true, Coverage: 1, ObservedAt: now, Requests: 3, Slots: 10, Signals: []lend.Signal{{Name: "waiting", Value: 3, Low: 5, High: 20}}},
		},
		"asleep and not heard of": {
			spec: profileSpec("envoy"), sample: Sample{},
			want: lend.Load{Unknown: "profile envoy: not asked yet"},
		},
		"asleep, and the gateway has no series": {
			spec:   profileSpec("envoy"),
			sample: Sample{Missing: Missing{of("s", Waiting): "no series"}, Absent: map[string]bool{of("s", Waiting): true}},
			want:   lend.Load{Unknown: "profile envoy, waiting requests: no series"},
		},
		"asleep, and only the replicas would tell": {
			spec: profileSpec("vllm"), sample: Sample{Missing: Missing{of("s", Running): "timeout"}},
			want: lend.Load{Known: true, Coverage: 1, ObservedAt: now, Slots: 10},
		},
		"asleep, and only the replicas' proxies would tell": {
			spec:   profileSpec("istio"),
			sample: Sample{Missing: Missing{of("s", Running): "no series"}, Absent: map[string]bool{of("s", Running): true}},
			want:   lend.Load{Known: true, Coverage: 1, ObservedAt: now, Slots: 10},
		},
		"asleep, and the replicas' proxies were not asked": {
			spec: profileSpec("istio"), sample: Sample{Missing: Missing{of("s", Running): "timeout"}},
			want: lend.Load{Unknown: "profile istio, running requests: timeout"},
		},
		"a gateway that no longer tells all": {
			spec: Spec{Name: "s", Kind: KindProfile, Profile: "knative"},
			sample: func() Sample {
				s := says(map[Measure]map[string]float64{Running: {"": 20}})
				s.Had = map[string]Readings{of("s", Slots): {"": {Value: 7, At: now}}}
				return s
			}(),
			replicas: ready("a", "b"),
			want:     lend.Load{Known: true, Coverage: 1, ObservedAt: now, Requests: 20, Slots: 7, Signals: []lend.Signal{silent(2)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Combine([]Spec{test.spec}, test.sample, test.replicas, now)); diff != "" {
				t.Errorf("load (-want +got):\n%s", diff)
			}
		})
	}
}

// TestImplausible has the rows of what cannot be true: none of them counts, whatever
// reads it, and the replica is busy.
func TestImplausible(t *testing.T) {
	for name, r := range map[string]Reading{
		"NaN": {Value: math.NaN(), At: now}, "infinite": {Value: math.Inf(1), At: now}, "negative": {Value: -1, At: now},
		"blank": {Value: 9.223372036854775794e18, At: now}, "from the future": {Value: 1, At: now.Add(time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			sample := says(map[Measure]map[string]float64{Running: {"b": 2}, Waiting: {"a": 0, "b": 0}, KV: {"a": 0, "b": 0}})
			sample.Profiles["s"][Running]["a"] = r
			load := Combine([]Spec{profileSpec("vllm")}, sample, ready("a", "b"), now)
			if !load.Known || load.Coverage != 0.5 || load.Requests != 12 {
				t.Errorf("got %+v, want half heard and 12 requests", load)
			}
			value := []Spec{{Name: "v", Kind: KindRedis, Low: 1, High: 2}}
			if load := Combine(value, Sample{Values: map[string]Reading{"v": r}}, ready("a"), now); load.Known {
				t.Errorf("a value counts: %+v", load)
			}
		})
	}
}

// TestTwoProfiles: the second corroborates, under names of its own, and the load is heard
// as far as the one that was heard the least.
func TestTwoProfiles(t *testing.T) {
	specs, err := Specs([]v1alpha1.Signal{{Profile: "vllm", Slots: 10}, {Profile: "dcgm"}, {Profile: "pods-metrics"}})
	if err != nil {
		t.Fatal(err)
	}
	vllm := says(map[Measure]map[string]float64{Running: {"a": 1, "b": 1}, Waiting: {"a": 0, "b": 0}, KV: {"a": 0, "b": 0}})
	dcgm := says(map[Measure]map[string]float64{Utilization: {"a": 0.9}, Memory: {"a": 0.95}})
	own := says(map[Measure]map[string]float64{Utilization: {"a": 0.2, "b": 0.4}, Waiting: {"a": 8, "b": 0}})
	sample := Sample{Profiles: map[string]map[Measure]Readings{
		"spec.signals[0]": vllm.Profiles["s"], "spec.signals[1]": dcgm.Profiles["s"], "spec.signals[2]": own.Profiles["s"],
	}}
	want := lend.Load{Known: true, Coverage: 0.5, ObservedAt: now, Requests: 2, Slots: 10, Signals: []lend.Signal{
		{Name: "kv", Value: 0, Low: 0.8, High: 0.8},
		{Name: "memory", Value: 0.95, Low: 0.9, High: 1},
		{Name: "pods-metrics utilization", Value: 0.30000000000000004, Low: 0.3, High: 0.7},
		{Name: "pods-metrics waiting", Value: 4, Low: 5, High: 20},
		silent(1),
		{Name: "utilization", Value: 0.9, Low: 0.3, High: 0.7},
		{Name: "waiting", Value: 0, Low: 5, High: 20},
	}}
	if diff := cmp.Diff(want, Combine(specs, sample, ready("a", "b"), now)); diff != "" {
		t.Errorf("load (-want +got):\n%s", diff)
	}
}
