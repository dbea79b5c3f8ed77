package signal

import (
	stdcmp "cmp"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/lab/prometheus"
)

// example is an exposition as an exporter serves it, what it is a minute later, and
// what both readers must make of it. Its name is the namespace of its target.
type example struct {
	name string
	exampleHead
	before string
	// later has the values a minute later of the lines that change, by what is before
	// the value.
	later map[string]float64
}

type exampleHead struct {
	Profile string                         `json:"profile"`
	Match   map[string]string              `json:"match"`
	Want    map[Measure]map[string]float64 `json:"want"`
	// Where Prometheus scrapes it: by default the namespace of the example and pod a.
	ScrapeNamespace string `json:"scrapeNamespace"`
	ScrapePod       string `json:"scrapePod"`
	HonorLabels     bool   `json:"honorLabels"`
}

const laterBy = time.Minute

func examples(t *testing.T) []example {
	t.Helper()
	paths, err := filepath.Glob("testdata/expositions/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("find examples: %v, %v", paths, err)
	}
	var all []example
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(text), "---\n")
		e := example{name: strings.TrimSuffix(filepath.Base(path), ".txt"), before: parts[1], later: map[string]float64{}}
		if err := yaml.UnmarshalStrict([]byte(parts[0]), &e.exampleHead); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, line := range strings.Split(strings.Join(parts[2:], ""), "\n") {
			if series, value, ok := splitLine(line); ok {
				e.later[series] = value
			}
		}
		all = append(all, e)
	}
	return all
}

func splitLine(line string) (series string, value float64, ok bool) {
	i := strings.LastIndex(line, " ")
	if i < 0 || strings.HasPrefix(line, "#") {
		return line, 0, false
	}
	value, err := strconv.ParseFloat(line[i+1:], 64)
	return line[:i], value, err == nil
}

// at is the exposition so long after the first, with timestamps if stamp is not zero.
// What changes does so evenly.
func (e example) at(since time.Duration, stamp time.Time) string {
	var b strings.Builder
	for _, line := range strings.Split(e.before, "\n") {
		series, value, ok := splitLine(line)
		if !ok {
			fmt.Fprintln(&b, line)
			continue
		}
		if later, changes := e.later[series]; changes {
			value += (later - value) * since.Seconds() / laterBy.Seconds()
		}
		fmt.Fprintf(&b, "%s %g", series, value)
		if !stamp.IsZero() {
			fmt.Fprintf(&b, " %d", stamp.UnixMilli())
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// TestEveryProfileHasAnExample: and every measure of it is in one.
func TestEveryProfileHasAnExample(t *testing.T) {
	shown := map[string]map[Measure]bool{}
	for _, e := range examples(t) {
		for m := range e.Want {
			if shown[e.Profile] == nil {
				shown[e.Profile] = map[Measure]bool{}
			}
			shown[e.Profile][m] = true
		}
	}
	for _, name := range ProfileNames() {
		for _, m := range profiles[name].Measures {
			if !shown[name][m.Measure] && (name != "knative" || m.Measure != Latency) {
				t.Errorf("no example of profile %s shows its %s", name, m.Measure)
			}
		}
	}
}

// TestProfilesScraped reads every example as the scraper does.
func TestProfilesScraped(t *testing.T) {
	for _, e := range examples(t) {
		t.Run(e.name, func(t *testing.T) {
			before, err := parse(strings.NewReader(e.at(0, time.Time{})), now)
			if err != nil {
				t.Fatal(err)
			}
			after, err := parse(strings.NewReader(e.at(laterBy, time.Time{})), now.Add(laterBy))
			if err != nil {
				t.Fatal(err)
			}
			profile := profiles[e.Profile]
			got := map[Measure]map[string]float64{}
			for i := range profile.Measures {
				m := &profile.Measures[i]
				values, found := evaluation{metric: m, match: e.Match, now: after, before: &before, whose: e.whose}.read()
				if found {
					got[m.Measure] = values
				}
			}
			e.compare(t, got, 1e-6)
		})
	}
}

// whose is what Prometheus's labels and the target's would say. What Prometheus would
// call exported_namespace is the metric's own namespace.
func (e example) whose(labels map[string]string) (string, bool) {
	profile := profiles[e.Profile]
	for _, l := range append(profile.Labels, Labels{Namespace: "namespace"}) {
		if namespace, has := labels[l.Namespace]; has && namespace != e.name {
			return "", false
		}
	}
	switch {
	case profile.Scope == ScopeService:
		return "", true
	case e.ScrapePod == "":
		return "a", true
	}
	return stdcmp.Or(labels["pod_name"], labels["pod"]), true
}

func (e example) compare(t *testing.T, got map[Measure]map[string]float64, fraction float64) {
	t.Helper()
	got = maps.Clone(got)
	for m, values := range got {
		maps.DeleteFunc(values, func(_ string, v float64) bool { return math.IsNaN(v) }) // nothing ended
		if len(values) == 0 {
			got[m] = map[string]float64{}
		}
	}
	if diff := cmp.Diff(e.Want, got, cmpopts.EquateApprox(fraction, 1e-9), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("measures (-want +got):\n%s", diff)
	}
}

// TestProfilesAskedOfPrometheus has a real Prometheus scrape what every example was for more
// than a window, in seconds: the expositions have timestamps. What the generated PromQL then
// says must be what the scraper says.
func TestProfilesAskedOfPrometheus(t *testing.T) {
	t.Parallel()
	all := examples(t)
	f := newFarm(all)
	url := f.prometheus(t)
	source, err := NewPrometheus(url, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	f.wait(t, source)
	for _, e := range all {
		t.Run(e.name, func(t *testing.T) {
			spec := Spec{Name: "s", Kind: KindProfile, Profile: e.Profile, MatchLabels: e.Match, Latency: time.Second}
			sample := source.Fetch(t.Context(), Target{Name: e.name + "/x", Namespace: e.name, Specs: []Spec{spec}})
			got := map[Measure]map[string]float64{}
			for m, readings := range sample.Profiles["s"] {
				got[m] = map[string]float64{}
				for key, r := range readings {
					got[m][key] = r.Value
					if age := time.Since(r.At); age > time.Minute || age < -time.Second {
						t.Errorf("%s of %q is %s old", m, key, age)
					}
				}
			}
			// A rate's window begins and ends between scrapes.
			e.compare(t, got, 0.05)
			for question, why := range sample.Missing {
				for m := range e.Want {
					if question == of("s", m) {
						t.Errorf("%s is missing: %s", m, why)
					}
				}
			}
		})
	}
	t.Run("what is missing names the metrics", func(t *testing.T) {
		specs := []Spec{{Name: "s", Kind: KindProfile, Profile: "vllm", Slots: 1}}
		sample := source.Fetch(t.Context(), Target{Namespace: "tgi", Specs: specs})
		load := Combine(specs, sample, Replicas{Ready: []string{"a"}, Wanted: 1}, time.Now())
		if want := "profile vllm, running requests: Prometheus has no series of vllm:num_requests_running in namespace tgi"; load.Unknown != want {
			t.Errorf("got %q, want %q", load.Unknown, want)
		}
		if want := "Prometheus has no series of vllm:num_requests_waiting_by_reason, vllm:num_requests_waiting in namespace tgi"; sample.Missing[of("s", Waiting)] != want {
			t.Errorf("got %q, want %q", sample.Missing[of("s", Waiting)], want)
		}
	})
}

const (
	farmSpan = 150 * time.Second
	farmStep = 5 * time.Second
)

// farm serves the examples: to each scrape all that there was so far, by steps. What comes too
// late for one is made up for by the next.
type farm struct {
	examples []example
	start    time.Time
	// gap, if set, says what is not served at all.
	gap func(since time.Duration) bool

	mu sync.Mutex
	// lost is the path of what is not there any more.
	lost string
}

func newFarm(all []example) *farm {
	return &farm{examples: all, start: time.Now().Add(-farmSpan)}
}

func (f *farm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(f.examples, func(e example) bool { return "/"+e.name == r.URL.Path })
	f.mu.Lock()
	lost := f.lost == r.URL.Path
	f.mu.Unlock()
	if i < 0 || lost {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	for at := time.Duration(0); at <= time.Since(f.start); at += farmStep {
		if f.gap == nil || !f.gap(at) {
			fmt.Fprint(w, f.examples[i].at(at, f.start.Add(at)))
		}
	}
}

// wait returns once everything was scraped up to now: a scrape is taken in whole.
func (f *farm) wait(t *testing.T, source *Prometheus) {
	t.Helper()
	prometheus.Wait(t, func() bool {
		answer, err := source.query(t.Context(), "count(max_over_time(up[5m]) == 1)")
		up, is := answer.(model.Vector)
		return err == nil && is && len(up) == 1 && int(up[0].Value) == len(f.examples)
	})
}

// prometheus starts one that scrapes the farm, and returns its URL.
func (f *farm) prometheus(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	var jobs []any
	for _, e := range f.examples {
		labels := map[string]string{"namespace": e.name, "pod": "a"}
		if e.ScrapeNamespace != "" {
			labels["namespace"] = e.ScrapeNamespace
		}
		if e.ScrapePod != "" {
			labels["pod"] = e.ScrapePod
		}
		jobs = append(jobs, map[string]any{
			"job_name": e.name, "metrics_path": "/" + e.name, "honor_labels": e.HonorLabels,
			"track_timestamps_staleness": e.ScrapeNamespace == "both",
			"static_configs":             []any{map[string]any{"targets": []string{server.Listener.Addr().String()}, "labels": labels}},
		})
	}
	return prometheus.Start(t, map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s"},
		"scrape_configs": jobs,
	})
}

// TestPercentile against values worked out by hand.
func TestPercentile(t *testing.T) {
	bucket := func(le string, n float64) point { return point{labels: map[string]string{"le": le}, value: n} }
	for name, test := range map[string]struct {
		buckets []point
		want    float64
	}{
		"none":            {nil, math.NaN()},
		"nothing ended":   {[]point{bucket("1", 0), bucket("+Inf", 0)}, math.NaN()},
		"within a bucket": {[]point{bucket("1", 0), bucket("2", 100), bucket("+Inf", 100)}, 1.99},
		"in the first":    {[]point{bucket("1", 100), bucket("+Inf", 100)}, 0.99},
		"beyond all":      {[]point{bucket("1", 0), bucket("2", 1), bucket("+Inf", 100)}, 2},
		"no last bucket":  {[]point{bucket("1", 1), bucket("2", 2)}, math.NaN()},
	} {
		if got := percentile(0.99, test.buckets); math.Abs(got-test.want) > 1e-9 || math.IsNaN(got) != math.IsNaN(test.want) {
			t.Errorf("%s: got %g, want %g", name, got, test.want)
		}
	}
}
