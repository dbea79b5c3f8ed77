package signal

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// pods serves one handler as the metrics of several pods, each on an address of its own
// with the same port, as pods have it.
func pods(t *testing.T, handlers ...http.HandlerFunc) (targets []Pod, port int32) {
	t.Helper()
	for attempt := 0; ; attempt++ {
		targets, port = nil, 0
		var servers []*httptest.Server
		for i, h := range handlers {
			ip := fmt.Sprintf("127.0.1.%d", i+1)
			l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(int(port))))
			if err != nil {
				break
			}
			s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
			s.Start()
			servers = append(servers, s)
			port = int32(l.Addr().(*net.TCPAddr).Port)
			targets = append(targets, Pod{Name: string(rune('a' + i)), IP: ip})
		}
		if len(targets) == len(handlers) {
			t.Cleanup(func() {
				for _, s := range servers {
					s.CloseClientConnections()
					s.Close()
				}
			})
			return targets, port
		}
		for _, s := range servers {
			s.Close()
		}
		if attempt == 20 {
			t.Fatal("no port is free on all addresses")
		}
	}
}

func scraped(t *testing.T, s *Scraper, targets []Pod, spec Spec) Sample {
	t.Helper()
	return s.Fetch(t.Context(), Target{Name: "serving/chat", Namespace: "serving", Specs: []Spec{spec}, Pods: targets})
}

const vllmText = `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} %d
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0"} 2
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0"} 0.5
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="1"} %d
vllm:time_to_first_token_seconds_bucket{engine="0",le="2"} %d
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} %d
vllm:time_to_first_token_seconds_count{engine="0"} %d
vllm:time_to_first_token_seconds_sum{engine="0"} 1
`

// TestScraper follows one pod through its life: the percentile is that of what ended
// between two scrapes, and a process that began anew begins anew.
func TestScraper(t *testing.T) {
	clk := clocktesting.NewFakePassiveClock(now)
	running, fast, all := 7, 100, 100
	targets, port := pods(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, vllmText, running, fast, all, all, all)
	})
	spec := Spec{Name: "s", Kind: KindScrape, Profile: "vllm", Slots: 10, Port: port, Path: "/metrics", Latency: 1500 * time.Millisecond}
	s := NewScraper(time.Minute, clk)
	replicas := Replicas{Ready: []string{"a"}, Wanted: 1}
	signals := func(more ...lend.Signal) []lend.Signal {
		return append([]lend.Signal{{Name: "kv", Value: 0.5, Low: 0.8, High: 0.8}}, append(more, lend.Signal{Name: "waiting", Value: 2, Low: 5, High: 20})...)
	}
	ttft := func(value float64) lend.Signal {
		return lend.Signal{Name: "ttft p99", Value: value, Low: 1.5, High: 1.5}
	}
	for _, step := range []struct {
		name      string
		fast, all int
		unknown   string
		signals   []lend.Signal
	}{
		{name: "once", fast: 100, all: 100, unknown: "profile vllm, ttft p99: no pod has been read twice yet"},
		{name: "nothing ended", fast: 100, all: 100, signals: signals()},
		{name: "slow", fast: 100, all: 200, signals: signals(ttft(1.99))},
		{name: "began anew", fast: 3, all: 3, unknown: "profile vllm, ttft p99: no pod has been read twice yet"},
		{name: "fast", fast: 103, all: 103, signals: signals(ttft(0.99))},
	} {
		fast, all = step.fast, step.all
		load := Combine([]Spec{spec}, scraped(t, s, targets, spec), replicas, clk.Now())
		want := lend.Load{Known: true, ObservedAt: clk.Now(), Coverage: 1, Requests: 9, Slots: 10, Signals: step.signals}
		if step.unknown != "" {
			want = lend.Load{Unknown: step.unknown, ObservedAt: clk.Now(), Coverage: 1}
		}
		if diff := cmp.Diff(want, load); diff != "" {
			t.Errorf("%s: load (-want +got):\n%s", step.name, diff)
		}
		clk.SetTime(clk.Now().Add(5 * time.Second))
	}
}

// TestScraperBounds: what a pod does must not harm the broker, and is told without
// addresses.
func TestScraperBounds(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("a redirect was followed")
	}))
	defer elsewhere.Close()
	for name, test := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"redirects": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, "pod a: port %d, path /metrics answers with status 302"},
		"fails":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "pod a: port %d, path /metrics answers with status 500"},
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("# x\n", maxBody/4+1))
		}, "pod a: its metrics are longer than 4 MiB"},
		"hangs":      {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "pod a: port %d does not answer in time"},
		"no metrics": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "no pod has a series of vllm:num_requests_running at port %d, path /metrics"},
		"no number":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "vllm:num_requests_running x\n") }, `pod a: read the metrics: text format parsing error in line 1: expected float as value, got "x"`},
		"too many": {func(w http.ResponseWriter, _ *http.Request) {
			for i := range maxSeries + 1 {
				fmt.Fprintf(w, "vllm:num_requests_running{a=\"%d\"} 1\n", i)
			}
		}, "pod a: it has more than 20000 series of what is read"},
		"other metrics": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "up 1\n") }, "no pod has a series of vllm:num_requests_running at port %d, path /metrics"},
	} {
		t.Run(name, func(t *testing.T) {
			targets, port := pods(t, test.serve)
			spec := Spec{Name: "s", Kind: KindScrape, Profile: "vllm", Slots: 10, Port: port, Path: "/metrics"}
			timeout := time.Minute
			if name == "hangs" {
				timeout = 300 * time.Millisecond
			}
			sample := scraped(t, NewScraper(timeout, clocktesting.NewFakePassiveClock(now)), targets, spec)
			want := test.want
			if strings.Contains(want, "%d") {
				want = fmt.Sprintf(want, port)
			}
			if got := sample.Missing[of("s", Running)]; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if strings.Contains(fmt.Sprint(sample.Missing), "127.0.") {
				t.Errorf("an address is told: %v", sample.Missing)
			}
			load := Combine([]Spec{spec}, sample, Replicas{Ready: []string{"a"}, Wanted: 1}, now)
			if load.Known || load.Coverage != 0 {
				t.Errorf("got %+v, want unknown", load)
			}
		})
	}
	spec := Spec{Name: "s", Kind: KindScrape, Profile: "vllm", Port: 8000, Path: "/metrics"}
	s := NewScraper(time.Minute, clocktesting.NewFakePassiveClock(now))
	for why, pod := range map[string][]Pod{
		"there is no pod to read":     nil,
		"pod a: it has no IP address": {{Name: "a", IP: "evil.example"}},
	} {
		if got := scraped(t, s, pod, spec).Missing[of("s", Running)]; got != why {
			t.Errorf("got %q, want %q", got, why)
		}
	}
}

// hangs and answers are pods' metrics.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func answers1(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, vllmText, 1, 0, 0, 0, 0) }

func scrapeSpec(port int32) Spec {
	return Spec{Name: "s", Kind: KindScrape, Profile: "vllm", Slots: 10, Port: port, Path: "/metrics"}
}

// TestScraperFairness: pods that hang, of however many policies and namespaces of one
// tenant, keep no other tenant's from being read.
func TestScraperFairness(t *testing.T) {
	hanging, theirs := pods(t, hangs)
	healthy, ours := pods(t, answers1)
	s := NewScraper(time.Minute, clocktesting.NewFakePassiveClock(now))
	ctx, cancel := context.WithCancel(t.Context())
	var fetches sync.WaitGroup
	for i := range 2 * maxScrapes / maxOfTenant {
		fetches.Go(func() {
			s.Fetch(ctx, Target{
				Name: fmt.Sprintf("n%d/hangs", i), Namespace: fmt.Sprintf("n%d", i), Tenant: "greedy",
				Pods: slices.Repeat(hanging, 4*maxScrapes), Specs: []Spec{scrapeSpec(theirs)},
			})
		})
	}
	waitFor(t, func() bool {
		s.turns.mu.Lock()
		defer s.turns.mu.Unlock()
		return len(s.turns.waiting) >= 2*maxScrapes-maxOfTenant
	})
	if s.turns.mu.Lock(); s.turns.has["greedy"] != maxOfTenant || s.turns.free != maxScrapes-maxOfTenant {
		t.Errorf("the greedy tenant has %d places, and %d are free", s.turns.has["greedy"], s.turns.free)
	}
	s.turns.mu.Unlock()
	sample := s.Fetch(t.Context(), Target{Name: "n/serves", Namespace: "n", Tenant: "other", Pods: healthy, Specs: []Spec{scrapeSpec(ours)}})
	if len(sample.Missing) > 0 || len(sample.Profiles["s"][Running]) != 1 {
		t.Errorf("the healthy pod was not heard: %+v", sample)
	}
	cancel()
	fetches.Wait()
}

// wire answers for pods without a network: those that hang do so until they are given up.
type wire map[string]http.HandlerFunc

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	w[r.URL.Hostname()](answer, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return answer.Result(), nil
}

// TestFetchBound: a service whose pods hang, however many, is asked for no longer than
// two timeouts, and the next time they are read after those that answer.
func TestFetchBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 300 * time.Millisecond
		s, network := NewScraper(timeout, clocktesting.NewFakePassiveClock(now)), wire{}
		s.client.Transport = network
		var all []Pod
		// In two timeouts no more than as many pods hang as there are places twice, and it may be
		// at the last moment that others begin to.
		for i := range 3*maxOfTenant + 1 {
			ip := fmt.Sprintf("127.0.1.%d", i+1)
			all, network[ip] = append(all, Pod{IP: ip}), hangs
		}
		network[all[len(all)-1].IP] = answers1
		many := append(slices.Clone(all), slices.Repeat(all[:1], 20*maxOfTenant)...)
		for i := range many {
			many[i].Name = fmt.Sprintf("p%03d", i)
		}
		spec := scrapeSpec(80)
		begin := time.Now()
		sample := s.Fetch(t.Context(), Target{Name: "n/l", Namespace: "n", Specs: []Spec{spec}, Pods: many})
		if took := time.Since(begin); took != fetchTimeouts*timeout {
			t.Errorf("it took %s to ask, want %s", took, fetchTimeouts*timeout)
		}
		if len(sample.Profiles["s"][Running]) > 0 {
			t.Errorf("got %+v, want nothing heard: each of the first that hang takes its timeout", sample)
		}
		sample = s.Fetch(t.Context(), Target{Name: "n/l", Namespace: "n", Specs: []Spec{spec}, Pods: many[:len(all)]})
		if _, heard := sample.Profiles["s"][Running][fmt.Sprintf("p%03d", len(all)-1)]; !heard {
			t.Errorf("got %+v, want the pod heard that answers", sample)
		}
		if s.turns.free != maxScrapes || len(s.turns.has) > 0 || len(s.turns.waiting) > 0 {
			t.Errorf("places are not given back: %+v", s.turns)
		}
	})
}

// TestTurns: of those that wait, the one with the fewest places gets the next, and one
// that gives up keeps none.
func TestTurns(t *testing.T) {
	turns := newTurns(3, 2)
	take := func(tenant string) chan bool {
		got, before := make(chan bool, 1), len(turns.waiting)
		go func() { got <- turns.take(t.Context(), tenant) }()
		waitFor(t, func() bool {
			turns.mu.Lock()
			defer turns.mu.Unlock()
			return len(turns.waiting) > before || len(got) > 0
		})
		return got
	}
	got := func(c chan bool) bool {
		select {
		case ok := <-c:
			return ok
		default:
			return false
		}
	}
	a := []chan bool{take("a"), take("a"), take("a")}
	if !got(a[0]) || !got(a[1]) || got(a[2]) {
		t.Error("a tenant has not its share, or more")
	}
	b := []chan bool{take("b"), take("b")}
	c := take("c")
	if !got(b[0]) || got(b[1]) || got(c) {
		t.Error("more places are taken than there are, or none")
	}
	turns.put("a") // a and b have one each and wait for longer, c has none
	waitFor(t, func() bool { return got(c) })
	turns.put("a") // now a has none
	waitFor(t, func() bool { return got(a[2]) })
	if got(b[1]) {
		t.Error("one that has a place got another before its turn")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if turns.take(ended, "d") {
		t.Error("one that gave up has a place")
	}
	turns.put("b")
	for range 20 {
		if turns.take(ended, "d") {
			t.Error("one that came too late has a place")
		}
	}
	waitFor(t, func() bool { return got(b[1]) })
	for _, tenant := range []string{"a", "c", "b"} {
		turns.put(tenant)
	}
	if turns.free != 3 || len(turns.has) != 0 || len(turns.waiting) != 0 {
		t.Errorf("places are lost: %+v", turns)
	}
}

// TestScraperCoverage: one of two pods does not answer. It is counted as busy.
func TestScraperCoverage(t *testing.T) {
	targets, port := pods(t,
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, vllmText, 1, 0, 0, 0, 0) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	spec := Spec{Name: "s", Kind: KindScrape, Profile: "vllm", Slots: 10, Port: port, Path: "/metrics"}
	load := Combine([]Spec{spec}, scraped(t, NewScraper(time.Minute, clocktesting.NewFakePassiveClock(now)), targets, spec),
		Replicas{Ready: []string{"a", "b"}, Wanted: 2}, now)
	if load.Coverage != 0.5 || load.Requests != 3+10 || !load.Known {
		t.Errorf("got %+v, want half heard and 13 requests", load)
	}
}

// TestPrometheusDown: what is read from the pods goes on, and only what Prometheus
// answers for is missing.
func TestPrometheusDown(t *testing.T) {
	down, err := NewPrometheus(nobody, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	targets, port := pods(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, vllmText, 4, 0, 0, 0, 0) })
	direct := Spec{Name: "s", Kind: KindScrape, Profile: "vllm", Slots: 10, Port: port, Path: "/metrics"}
	s := Sources{Prometheus: down, Scraper: NewScraper(time.Minute, clocktesting.NewFakePassiveClock(now))}
	for _, test := range []struct {
		specs    []Spec
		requests float64
		unknown  string
	}{
		{[]Spec{direct}, 6, ""},
		{[]Spec{direct, {Name: "q", Kind: KindQuery, Query: "x", Low: 1, High: 2}}, 0, "q: Prometheus cannot be reached"},
	} {
		sample := s.Fetch(t.Context(), Target{Name: "n/l", Namespace: "n", Specs: test.specs, Pods: targets})
		if load := Combine(test.specs, sample, ready("a"), now); load.Requests != test.requests || load.Unknown != test.unknown {
			t.Errorf("got %+v, want %v requests, unknown %q", load, test.requests, test.unknown)
		}
	}
}

// reader answers for one kind.
type reader struct {
	value float64
	err   error
	hang  bool
	pods  []string
}

func (r *reader) Read(ctx context.Context, namespace string, s Spec) (Reading, error) {
	r.pods = s.Pods
	if r.hang {
		<-ctx.Done()
		return Reading{}, fmt.Errorf("read %s: %w", namespace, ctx.Err())
	}
	return Reading{Value: r.value, At: now}, r.err
}

// TestSources: every kind reaches its part, and each part's failure is its own.
func TestSources(t *testing.T) {
	pods := &reader{value: 7}
	s := Sources{
		Prometheus: fixed{Sample{Values: map[string]Reading{"query": {Value: 1, At: now}}}},
		Readers: map[Kind]ValueReader{
			KindPods: pods, KindObject: &reader{value: -1}, KindExternal: &reader{err: fmt.Errorf("the external metrics API is not served")},
			KindRedis: &reader{hang: true},
		},
		Timeout: 50 * time.Millisecond,
	}
	var specs []Spec
	for name, kind := range map[string]Kind{
		"query": KindQuery, "pods": KindPods, "object": KindObject, "external": KindExternal, "redis": KindRedis,
		"kafka": KindKafka, "scrape": KindScrape, "given": KindGiven,
	} {
		specs = append(specs, Spec{Name: name, Kind: kind})
	}
	got := s.Fetch(t.Context(), Target{Name: "n/l", Namespace: "n", Specs: specs, Pods: []Pod{{Name: "a"}}})
	got = got.With(map[string]Reading{"given": {Value: 3, At: now}}, nil)
	want := Sample{
		Profiles: map[string]map[Measure]Readings{},
		Values:   map[string]Reading{"query": {Value: 1, At: now}, "pods": {Value: 7, At: now}, "given": {Value: 3, At: now}},
		Missing: Missing{
			"object":   "the value is -1, want a number from 0 to 1e15",
			"external": "the external metrics API is not served",
			"redis":    "there was no answer in time",
			"kafka":    "the broker reads no signals of kind Kafka",
			"scrape":   "the broker does not read pods",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sample (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a"}, pods.pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}

type fixed struct{ sample Sample }

func (f fixed) Fetch(context.Context, Target) Sample { return f.sample }

// TestValues: marks and what one replica should have reach the load, and what is not
// known makes the load unknown.
func TestValues(t *testing.T) {
	specs, err := Specs([]v1alpha1.Signal{
		{External: &v1alpha1.MetricRef{Metric: "queue"}, LowWater: "5", HighWater: "20", PerReplica: "2.5"},
		{Redis: &v1alpha1.RedisList{Backend: "b", List: "inference_tasks"}, LowWater: "1", HighWater: "5"},
	})
	if err != nil {
		t.Fatal(err)
	}
	sample := Sample{Values: map[string]Reading{"spec.signals[0]": {Value: 10, At: now}, "spec.signals[1]": {Value: 3, At: now.Add(-time.Second)}}}
	want := lend.Load{Known: true, Coverage: 1, ObservedAt: now.Add(-time.Second), Signals: []lend.Signal{
		{Name: "spec.signals[0]", Value: 10, Low: 5, High: 20, PerReplica: 2.5},
		{Name: "spec.signals[1]", Value: 3, Low: 1, High: 5},
	}}
	if diff := cmp.Diff(want, Combine(specs, sample, Replicas{}, now)); diff != "" {
		t.Errorf("load (-want +got):\n%s", diff)
	}
	delete(sample.Values, "spec.signals[1]")
	if got := Combine(specs, sample, Replicas{}, now); got.Known || got.Unknown != "spec.signals[1]: not asked yet" {
		t.Errorf("got %+v, want unknown", got)
	}
	yes := true
	auto, err := Specs([]v1alpha1.Signal{{Autoscaler: &yes}})
	if err != nil {
		t.Fatal(err)
	}
	if got := Combine(auto, Sample{}, Replicas{}, now); got.Unknown != "spec.signals[0]: the target has no autoscaler whose metrics can be read" {
		t.Errorf("an autoscaler that is not there: got %+v", got)
	}
	given := Expand(auto, []Spec{{Name: "spec.signals[0] external queue", Kind: KindGiven, Low: 5, High: 10, PerReplica: 10}})
	s := Sample{}.With(map[string]Reading{"spec.signals[0] external queue": {Value: 30, At: now}}, nil)
	if got := Combine(given, s, Replicas{}, now); !got.Known || got.Signals[0].PerReplica != 10 || got.Signals[0].Value != 30 {
		t.Errorf("an autoscaler's metric: got %+v", got)
	}
}
