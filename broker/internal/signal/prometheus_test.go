package signal

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/lend"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// server answers queries by the first key that they contain. An answer is the
// "data" of a Prometheus reply, or an HTTP status.
type server struct {
	answers  []answer
	warnings []string
}

type answer struct {
	contains string
	data     string
	status   int
	hang     bool
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.FormValue("query")
	if r.FormValue("time") != "" {
		w.WriteHeader(http.StatusUnprocessableEntity) // the broker's clock is nobody's business
		return
	}
	for _, a := range s.answers {
		if !strings.Contains(query, a.contains) {
			continue
		}
		if a.hang {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if a.status != 0 {
			w.WriteHeader(a.status)
			fmt.Fprint(w, `{"status":"error","errorType":"bad_data","error":"parse error"}`)
			return
		}
		warnings, _ := json.Marshal(s.warnings)
		fmt.Fprintf(w, `{"status":"success","data":%s,"warnings":%s}`, a.data, warnings)
		return
	}
	w.WriteHeader(http.StatusInternalServerError)
}

// perPod is a vector with a value for each pod.
func perPod(values map[string]string) string {
	var series []string
	for pod, value := range values {
		series = append(series, fmt.Sprintf(`{"metric":{"pod":%q},"value":[%d,%q]}`, pod, now.Unix(), value))
	}
	return `{"resultType":"vector","result":[` + strings.Join(series, ",") + `]}`
}

func at(ago time.Duration) string { return fmt.Sprint(now.Add(-ago).Unix()) }

func ahead(by time.Duration) string {
	return fmt.Sprintf("%.3f", float64(now.Add(by).UnixMilli())/1000)
}

// healthy answers for two pods; overrides come first.
func healthy(overrides ...answer) *server {
	return &server{answers: append(overrides,
		answer{contains: "timestamp(", data: perPod(map[string]string{"a": at(3 * time.Second), "b": at(5 * time.Second)})},
		answer{contains: "num_requests_running", data: perPod(map[string]string{"a": "10", "b": "20"})},
		answer{contains: "num_requests_waiting", data: perPod(map[string]string{"a": "0", "b": "4"})},
		answer{contains: "kv_cache_usage_perc", data: perPod(map[string]string{"a": "0.25", "b": "0.5"})},
	)}
}

var vllm = []Spec{{Name: "spec.signals[0]", Kind: KindProfile, Profile: "vllm", Slots: 256}}

func profileSignals(kv, waiting float64, more ...lend.Signal) []lend.Signal {
	return append(append([]lend.Signal{{Name: "kv", Value: kv, Low: 0.8, High: 0.8}}, more...), lend.Signal{Name: "waiting", Value: waiting, Low: 5, High: 20})
}

// silent is the signal that there is while n replicas are not heard.
func silent(n float64) lend.Signal {
	return lend.Signal{Name: "silent replicas", Value: n, Low: n, High: n}
}

func TestProfile(t *testing.T) {
	both := Replicas{Ready: []string{"a", "b"}, Wanted: 2}
	for name, test := range map[string]struct {
		server   *server
		replicas Replicas
		want     lend.Load
	}{
		"all heard": {
			server: healthy(), replicas: both,
			want: lend.Load{Known: true, ObservedAt: now.Add(-5 * time.Second), Coverage: 1, Requests: 34, Slots: 256, Signals: profileSignals(0.5, 2)},
		},
		"a partial answer is unknown": {
			server: &server{answers: healthy().answers, warnings: []string{"no StoreAPIs matched for this query"}}, replicas: both,
			want: lend.Load{Unknown: "profile vllm, running requests: Prometheus answered with warnings, so that the answer may be partial; the broker's log has them"},
		},
		"a replica that fails is busy": {
			server: healthy(), replicas: Replicas{Ready: []string{"a"}, Failing: []string{"b"}, Wanted: 2},
			want: lend.Load{Known: true, ObservedAt: now.Add(-5 * time.Second), Coverage: 1, Requests: 10 + 256, Slots: 256, Signals: profileSignals(0.5, 2)},
		},
		"a replica that fails silently is busy and not heard": {
			server: healthy(), replicas: Replicas{Ready: []string{"a"}, Failing: []string{"c", "d", "e"}, Wanted: 4},
			want: lend.Load{Known: true, ObservedAt: now.Add(-3 * time.Second), Coverage: 0.25, Requests: 10 + 3*256, Slots: 256, Signals: profileSignals(0.25, 0, silent(3))},
		},
		"only failing replicas are unknown": {
			server: healthy(), replicas: Replicas{Failing: []string{"a", "b"}, Wanted: 2},
			want: lend.Load{Unknown: "no replica is ready"},
		},
		"series of a dead pod are dropped": {
			server: healthy(), replicas: Replicas{Ready: []string{"a"}, Wanted: 1},
			want: lend.Load{Known: true, ObservedAt: now.Add(-3 * time.Second), Coverage: 1, Requests: 10, Slots: 256, Signals: profileSignals(0.25, 0)},
		},
		"a silent replica counts as busy": {
			server: healthy(), replicas: Replicas{Ready: []string{"a", "b", "c"}, Wanted: 3},
			want: lend.Load{Known: true, ObservedAt: now.Add(-5 * time.Second), Coverage: 2.0 / 3, Requests: 34 + 256, Slots: 256, Signals: profileSignals(0.5, 2, silent(1))},
		},
		"NaN is not heard": {
			server:   healthy(answer{contains: "(max by (pod, engine) (vllm:num_requests_running", data: perPod(map[string]string{"a": "10", "b": "NaN"})}),
			replicas: both,
			want:     lend.Load{Known: true, ObservedAt: now.Add(-3 * time.Second), Coverage: 0.5, Requests: 10 + 256, Slots: 256, Signals: profileSignals(0.25, 0, silent(1))},
		},
		"infinite, negative and blank are not heard": {
			server: healthy(
				answer{contains: "(max by (pod, engine) (vllm:num_requests_running", data: perPod(map[string]string{"a": "+Inf", "b": "3", "c": "1"})},
				answer{contains: "(max by (pod, engine) (vllm:num_requests_waiting", data: perPod(map[string]string{"a": "0", "b": "-1", "c": "0"})},
				answer{contains: "max by (pod) (vllm:kv", data: perPod(map[string]string{"a": "0", "b": "0", "c": "9223372036854775794"})}),
			replicas: Replicas{Ready: []string{"a", "b", "c"}, Wanted: 3},
			want:     lend.Load{Unknown: "profile vllm: no ready replica has all of running requests, waiting requests and KV cache use"},
		},
		"an old sample keeps its age": {
			server:   healthy(answer{contains: "timestamp(", data: perPod(map[string]string{"a": at(4 * time.Minute), "b": at(0)})}),
			replicas: both,
			want:     lend.Load{Known: true, ObservedAt: now.Add(-4 * time.Minute), Coverage: 1, Requests: 34, Slots: 256, Signals: profileSignals(0.5, 2)},
		},
		"a sample from the future is not heard": {
			server:   healthy(answer{contains: "timestamp(", data: perPod(map[string]string{"a": at(-time.Hour), "b": at(0)})}),
			replicas: both,
			want:     lend.Load{Known: true, ObservedAt: now, Coverage: 0.5, Requests: 24 + 256, Slots: 256, Signals: profileSignals(0.5, 4, silent(1))},
		},
		"a sample 1 ms ahead is from now": {
			server:   healthy(answer{contains: "timestamp(", data: perPod(map[string]string{"a": ahead(time.Millisecond), "b": ahead(time.Millisecond)})}),
			replicas: both,
			want:     lend.Load{Known: true, ObservedAt: now, Coverage: 1, Requests: 34, Slots: 256, Signals: profileSignals(0.5, 2)},
		},
		"a sample 4 s ahead is from now": {
			server:   healthy(answer{contains: "timestamp(", data: perPod(map[string]string{"a": ahead(4 * time.Second), "b": ahead(4 * time.Second)})}),
			replicas: both,
			want:     lend.Load{Known: true, ObservedAt: now, Coverage: 1, Requests: 34, Slots: 256, Signals: profileSignals(0.5, 2)},
		},
		"a sample 6 s ahead is dropped": {
			server:   healthy(answer{contains: "timestamp(", data: perPod(map[string]string{"a": ahead(6 * time.Second), "b": at(0)})}),
			replicas: both,
			want:     lend.Load{Known: true, ObservedAt: now, Coverage: 0.5, Requests: 24 + 256, Slots: 256, Signals: profileSignals(0.5, 4, silent(1))},
		},
		"a young replica's zeros say nothing": {
			server: healthy(
				answer{contains: "(max by (pod, engine) (vllm:num_requests_running", data: perPod(map[string]string{"a": "10", "b": "0"})},
				answer{contains: "(max by (pod, engine) (vllm:num_requests_waiting", data: perPod(map[string]string{"a": "3", "b": "0"})}),
			replicas: Replicas{Ready: []string{"a", "b"}, Young: []string{"b"}, Wanted: 2},
			want:     lend.Load{Known: true, ObservedAt: now.Add(-5 * time.Second), Coverage: 1, Requests: 13 + 256, Assumed: 256, Slots: 256, Signals: profileSignals(0.5, 3)},
		},
		"all replicas young and blank are busy": {
			server: healthy(
				answer{contains: "(max by (pod, engine) (vllm:num_requests_running", data: perPod(map[string]string{"a": "0", "b": "0"})},
				answer{contains: "(max by (pod, engine) (vllm:num_requests_waiting", data: perPod(map[string]string{"a": "0", "b": "0"})}),
			replicas: Replicas{Ready: []string{"a", "b"}, Young: []string{"a", "b"}, Wanted: 2},
			want:     lend.Load{Known: true, ObservedAt: now.Add(-5 * time.Second), Coverage: 1, Requests: 2 * 256, Assumed: 2 * 256, Slots: 256, Signals: profileSignals(0.5, 0)},
		},
		"a young replica with a request is believed": {
			server: healthy(), replicas: Replicas{Ready: []string{"a", "b"}, Young: []string{"a", "b"}, Wanted: 2},
			want: lend.Load{Known: true, ObservedAt: now.Add(-5 * time.Second), Coverage: 1, Requests: 34, Slots: 256, Signals: profileSignals(0.5, 2)},
		},
		"nothing is unknown, not idle": {
			server:   healthy(answer{contains: "num_requests_running", data: perPod(nil)}),
			replicas: both,
			want:     lend.Load{Unknown: "profile vllm, running requests: Prometheus has no series of vllm:num_requests_running in namespace serving"},
		},
		"a refused query is unknown": {
			server:   healthy(answer{contains: "kv_cache", status: http.StatusBadRequest}),
			replicas: both,
			want:     lend.Load{Unknown: "profile vllm, KV cache use: Prometheus refused the query: parse error"},
		},
		"a hanging server is unknown": {
			server:   healthy(answer{contains: "waiting", hang: true}),
			replicas: both,
			want:     lend.Load{Unknown: "profile vllm, waiting requests: Prometheus did not answer in time"},
		},
		"scaled to zero is idle": {
			server: healthy(), replicas: Replicas{},
			want: lend.Load{Known: true, ObservedAt: now, Coverage: 1, Slots: 256},
		},
		"no ready replica is unknown": {
			server: healthy(), replicas: Replicas{Wanted: 2},
			want: lend.Load{Unknown: "no replica is ready"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sample := fetch(t, test.server, Target{Name: "serving/chat", Namespace: "serving", Specs: vllm})
			got := Combine(vllm, sample, test.replicas, now)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("load (-want +got):\n%s", diff)
			}
		})
	}
}

func fetch(t *testing.T, s *server, target Target) Sample {
	t.Helper()
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	timeout := time.Minute
	if slices.ContainsFunc(s.answers, func(a answer) bool { return a.hang }) {
		timeout = 3 * time.Second // the others answer by then
	}
	source, err := NewPrometheus(h.URL, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return source.Fetch(t.Context(), target)
}

func TestQuery(t *testing.T) {
	vector := func(values ...string) string {
		byPod := map[string]string{}
		for i, v := range values {
			byPod[fmt.Sprint(i)] = v
		}
		return perPod(byPod)
	}
	for name, test := range map[string]struct {
		data    string
		value   float64
		unknown string
	}{
		"one element": {data: vector("12"), value: 12},
		"scalar":      {data: fmt.Sprintf(`{"resultType":"scalar","result":[%d,"3.5"]}`, now.Unix()), value: 3.5},
		"zero":        {data: vector("0"), value: 0},
		"empty":       {data: vector(), unknown: "the query returned no series"},
		"two":         {data: vector("1", "2"), unknown: "the query returned 2 series, want 1: aggregate with sum or max"},
		"NaN":         {data: vector("NaN"), unknown: "the query returned NaN, want a number from 0 to 1e15"},
		"negative":    {data: vector("-1"), unknown: "the query returned -1, want a number from 0 to 1e15"},
		"matrix":      {data: `{"resultType":"matrix","result":[]}`, unknown: "the query returned a matrix, want a scalar or a vector of one series"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			specs := []Spec{{Name: "spec.signals[0]", Kind: KindQuery, Query: "sum(llm_pending)", Low: 5, High: 20}}
			sample := fetch(t, &server{answers: []answer{{contains: "sum(llm_pending)", data: test.data}}}, Target{Name: "n/l", Namespace: "n", Specs: specs})
			got := Combine(specs, sample, Replicas{}, now)
			want := lend.Load{Known: true, Coverage: 1, ObservedAt: now,
				Signals: []lend.Signal{{Name: "spec.signals[0]", Value: test.value, Low: 5, High: 20}}}
			if test.unknown != "" {
				want = lend.Load{Unknown: "spec.signals[0]: " + test.unknown, Coverage: 1}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("load (-want +got):\n%s", diff)
			}
		})
	}
}

// TestQuerySkew: a server whose clock differs says so by the time of its answer.
func TestQuerySkew(t *testing.T) {
	specs := []Spec{{Name: "spec.signals[0]", Kind: KindQuery, Query: "sum(llm_pending)", Low: 5, High: 20}}
	s := &server{answers: []answer{{contains: "sum(llm_pending)", data: perPod(map[string]string{"": "1"})}}}
	sample := fetch(t, s, Target{Name: "n/l", Namespace: "n", Specs: specs})
	if got := Combine(specs, sample, Replicas{}, now.Add(-time.Minute)); got.Known || got.Unknown != "spec.signals[0]: the sample is from the future" {
		t.Errorf("the broker's clock is behind: got %+v", got)
	}
	if got := Combine(specs, sample, Replicas{}, now.Add(10*time.Minute)); !got.ObservedAt.Equal(now) {
		t.Errorf("the broker's clock is ahead: got %+v, want the server's time", got)
	}
	s.warnings = []string{"partial response"}
	sample = fetch(t, s, Target{Name: "n/l", Namespace: "n", Specs: specs})
	if got := Combine(specs, sample, Replicas{}, now); got.Known || len(got.Signals) > 0 {
		t.Errorf("a partial answer counts: %+v", got)
	}
}

// nobody listens there; a port that somebody gave back may be another's by now.
const nobody = "http://127.0.0.1:1"

func TestUnreachable(t *testing.T) {
	source, err := NewPrometheus(nobody, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]struct {
		source Source
		want   string
	}{
		"closed port":    {source, "profile vllm, running requests: Prometheus cannot be reached"},
		"not configured": {Sources{}, "profile vllm, spec.signals[0]: the broker has no prometheus.url"},
	} {
		sample := s.source.Fetch(t.Context(), Target{Name: "n/l", Namespace: "n", Specs: vllm})
		if got := Combine(vllm, sample, Replicas{Ready: []string{"a"}}, now); got.Known || got.Unknown != s.want {
			t.Errorf("%s: got %+v, want unknown: %s", name, got, s.want)
		}
	}
	if got := Combine(vllm, Sample{}, Replicas{Ready: []string{"a"}}, now); got.Known || got.Unknown != "profile vllm: not asked yet" {
		t.Errorf("before the first answer: got %+v", got)
	}
}
