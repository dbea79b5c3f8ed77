package cli

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
)

const (
	recorded = " --load testdata/rehearsal-load.csv --jobs testdata/rehearsal-jobs.csv --nodes 8x8 --gpus-per-replica 4"
	ruled    = recorded + " --config testdata/rehearsal-rules.yaml"
)

func TestRehearsals(t *testing.T) {
	for name, args := range map[string]string{
		"simulate":               "simulate" + ruled + " --policy ebbtide,no-lending,oracle",
		"simulate-wide":          "simulate" + ruled + " --warmup 1d --policy quota-cron,stock-preemption -o wide",
		"simulate-json":          "simulate" + ruled + " -o jsonpath={.answer}{\"\\n\"}{.results[0].lentUnitHours}{\"\\n\"}",
		"simulate-assumed":       "simulate" + recorded + " --policy pools-apart",
		"simulate-no-load":       "simulate --jobs testdata/rehearsal-jobs.csv --nodes 8x8",
		"simulate-no-jobs":       "simulate --load testdata/rehearsal-load.csv --nodes 8x8",
		"simulate-no-nodes":      "simulate --load testdata/rehearsal-load.csv --jobs testdata/rehearsal-jobs.csv",
		"simulate-bad-nodes":     "simulate --load testdata/rehearsal-load.csv --jobs testdata/rehearsal-jobs.csv --nodes 8by8",
		"simulate-many-nodes":    "simulate --load testdata/rehearsal-load.csv --jobs testdata/rehearsal-jobs.csv --nodes 800000x8",
		"simulate-few-nodes":     "simulate --load testdata/rehearsal-load.csv --jobs testdata/rehearsal-jobs.csv --nodes 2x8 --config testdata/rehearsal-rules.yaml",
		"simulate-wrong-file":    "simulate --load testdata/rehearsal-jobs.csv --jobs testdata/rehearsal-jobs.csv --nodes 8x8",
		"simulate-lost-file":     "simulate --load testdata/nowhere.csv --jobs testdata/rehearsal-jobs.csv --nodes 8x8",
		"simulate-twice":         "simulate --load chat=testdata/rehearsal-load.csv --jobs testdata/rehearsal-jobs.csv --nodes 8x8",
		"simulate-bad-policy":    "simulate" + recorded + " --policy ebbtide,magic",
		"simulate-policy-twice":  "simulate" + recorded + " --policy ebbtide,ebbtide",
		"simulate-no-past":       "simulate" + ruled + " --policy quota-cron",
		"simulate-bad-length":    "simulate" + recorded + " --length soon",
		"simulate-bad-warmup":    "simulate" + recorded + " --warmup 2d",
		"simulate-bad-share":     "simulate" + recorded + " --owned-share 1.5",
		"simulate-bad-output":    "simulate" + recorded + " -o xml",
		"simulate-bad-rules":     "simulate" + recorded + " --config testdata/rehearsal-bad.yaml",
		"simulate-unquoted":      "simulate" + recorded + " --config testdata/rehearsal-unquoted.yaml",
		"simulate-bad-report":    "simulate" + recorded + " --report nowhere/report.html",
		"simulate-no-report":     "simulate" + recorded + " --report testdata",
		"simulate-ftp":           "simulate --from-prometheus ftp://localhost:9090",
		"simulate-broken-rule":   "simulate" + recorded + " --config testdata/rehearsal-broken.yaml",
		"whatif-broken-rule":     "whatif -f testdata/rehearsal-broken.yaml" + ruled,
		"whatif-another-kind":    "whatif -f testdata/rehearsal-turned.yaml" + ruled,
		"simulate-no-prometheus": "simulate --from-prometheus http://127.0.0.1:1 --config testdata/rehearsal-rules.yaml",
		"simulate-no-policies":   "simulate --from-prometheus http://127.0.0.1:1 --config testdata/rehearsal-load.csv",
		"whatif":                 "whatif -f testdata/rehearsal-change.yaml" + ruled,
		"whatif-yaml":            "whatif -f testdata/rehearsal-change.yaml" + ruled + " -o jsonpath={.changes}{\"\\n\"}",
		"whatif-nothing":         "whatif" + ruled,
		"whatif-no-change":       "whatif -f testdata/rehearsal-rules.yaml" + ruled,
		"whatif-bad-change":      "whatif -f testdata/rehearsal-bad.yaml" + ruled,
	} {
		t.Run(name, func(t *testing.T) {
			in := invocation{args: args}
			stdout, stderr, code := invoke(t, "http://127.0.0.1:1", in)
			golden(t, name, in, "http://127.0.0.1:1", stdout, stderr, code)
		})
	}
}

// rulesServer lists the objects of the rules, as an API server does.
func rulesServer(t *testing.T) *httptest.Server {
	t.Helper()
	text, err := os.ReadFile("testdata/rehearsal-rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	items := map[string][]any{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(string(text)), 4096)
	for {
		var u unstructured.Unstructured
		if err := decoder.Decode(&u.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		items[u.GetKind()] = append(items[u.GetKind()], u.Object)
	}
	kinds := map[string]string{
		"lendingpolicies": "LendingPolicy", "tenantquotas": "TenantQuota", "trainingqueues": "TrainingQueue", "namespaces": "Namespace",
		"deployments": "Deployment", "statefulsets": "StatefulSet", "horizontalpodautoscalers": "HorizontalPodAutoscaler",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		kind := kinds[parts[len(parts)-1]]
		version := strings.Join(parts[1:len(parts)-1], "/")
		if kind == "" || r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": kind + "List", "apiVersion": version, "metadata": map[string]any{}, "items": append([]any{}, items[kind]...)})
	}))
	t.Cleanup(server.Close)
	return server
}

// Without --config, the rules are the cluster's, and the comparison is the same.
func TestWhatifOfTheCluster(t *testing.T) {
	change := "whatif -f testdata/rehearsal-change.yaml"
	want, _, _ := invoke(t, "http://127.0.0.1:1", invocation{args: change + ruled})
	got, stderr, code := invoke(t, rulesServer(t).URL, invocation{args: change + recorded})
	if diff := cmp.Diff(want, got); diff != "" || code != ExitOK {
		t.Errorf("exit %d, stderr %s; (-by --config +by the cluster):\n%s", code, stderr, diff)
	}
}

func TestWhatifWithoutAnyRules(t *testing.T) {
	_, stderr, code := invoke(t, "http://127.0.0.1:1", invocation{args: "whatif -f testdata/rehearsal-change.yaml" + recorded})
	if code != ExitError || !strings.Contains(stderr, "list all of kind LendingPolicy") || !strings.Contains(stderr, "--config may have the rules instead") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// memory is a Prometheus of a small cluster: by the text in a question, the series that
// answer it.
func memory(t *testing.T, now time.Time) *httptest.Server {
	t.Helper()
	start := float64(now.Add(-24 * time.Hour).Unix())
	always := func(v float64) func(float64) float64 { return func(float64) float64 { return v } }
	type line struct {
		labels string
		value  func(at float64) float64
	}
	job := func(name string) string {
		return fmt.Sprintf("namespace=research,job_name=%s,created=%.0f", name, start+3600)
	}
	answers := []struct {
		about string
		lines []line
	}{
		{"kube_node_status_allocatable", []line{{"node=n1,resource=nvidia_com_gpu", always(8)}, {"node=n2,resource=nvidia_com_gpu", always(8)},
			{"node=n3,resource=nvidia_com_gpu", always(8)}, {"node=n4,resource=nvidia_com_gpu", always(8)},
			{"node=n5,resource=nvidia_com_gpu", always(8)}, {"node=n6,resource=nvidia_com_gpu", always(8)}, {"node=n7,resource=nvidia_com_gpu", always(8)}}},
		{"kube_pod_owner", []line{
			{"namespace=serving,pod=chat-5d9c-x1,owner_kind=ReplicaSet,owner_name=chat-5d9c", always(1)},
			{"namespace=research,pod=a-0,owner_kind=Job,owner_name=a", always(1)},
		}},
		{"kube_pod_container_resource_requests", []line{
			{"namespace=serving,pod=chat-5d9c-x1,node=n1,resource=nvidia_com_gpu", always(4)},
			{"namespace=research,pod=a-0,node=n7,resource=nvidia_com_gpu", always(4)},
		}},
		{"kube_job_status_start_time", []line{{job("a"), always(start + 7200)}}},
		{"kube_job_status_completion_time", []line{{job("a"), always(start + 5*3600)}}},
		{"kube_job_spec_parallelism", []line{{job("a"), always(1)}}},
		{"kube_job_status_active", []line{{job("a"), always(180)}}},
		{"kube_job_created", []line{{job("a"), always(1)}}}, // which the others name too
		{"vllm:num_requests_running", []line{{"", func(at float64) float64 { return 600 + 500*math.Cos((at-start)/43200*math.Pi) }}}},
		{"kube_deployment_status_replicas", []line{{"", always(8)}}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number := func(name string) float64 {
			v, _ := strconv.ParseFloat(r.FormValue(name), 64)
			return v
		}
		result := []any{}
		for _, a := range answers {
			if !strings.Contains(r.FormValue("query"), a.about) {
				continue
			}
			for _, l := range a.lines {
				metric, values := map[string]string{}, [][2]any{}
				for _, pair := range strings.Split(l.labels, ",") {
					if name, value, ok := strings.Cut(pair, "="); ok {
						metric[name] = value
					}
				}
				for at := number("start"); at <= number("end"); at += number("step") {
					values = append(values, [2]any{at, strconv.FormatFloat(l.value(at), 'g', -1, 64)})
				}
				result = append(result, map[string]any{"metric": metric, "values": values})
			}
			break
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "matrix", "result": result}})
	}))
	t.Cleanup(server.Close)
	return server
}

// What Prometheus remembers and what the API server has is enough.
func TestSimulateFromPrometheus(t *testing.T) {
	prometheus := memory(t, testNow)
	in := invocation{args: "simulate --last 1d --from-prometheus " + prometheus.URL}
	stdout, stderr, code := invoke(t, rulesServer(t).URL, in)
	golden(t, "simulate-from-prometheus", in, prometheus.URL, stdout, stderr, code)
}

func TestCompletionOfPolicies(t *testing.T) {
	stdout, _, _ := invokeWith(t, "http://127.0.0.1:1", "__complete simulate --policy")
	for _, name := range []string{"ebbtide", "no-lending", "oracle", "lyra"} {
		if !slices.Contains(strings.Split(stdout, "\n"), name) {
			t.Errorf("%s is not suggested among %q", name, stdout)
		}
	}
	stdout, _, _ = invoke(t, "http://127.0.0.1:1", invocation{args: "__complete simulate --policy ebbtide,o"})
	if !strings.Contains(stdout, "ebbtide,oracle\n") || strings.Contains(stdout, "ebbtide,ebbtide") {
		t.Errorf("after ebbtide, suggested are %q", stdout)
	}
}

// The fields that docs/reference/simulation.md promises are there, of these types.
func TestSimulationAsJSON(t *testing.T) {
	stdout, stderr, code := invoke(t, "http://127.0.0.1:1", invocation{args: "simulate" + ruled + " --policy ebbtide,oracle -o json"})
	if code != ExitOK {
		t.Fatal(stderr)
	}
	var value map[string]any
	if err := json.Unmarshal([]byte(stdout), &value); err != nil {
		t.Fatal(err)
	}
	shape := map[string]string{}
	describe(shape, "", value)
	page, err := os.ReadFile("../../../docs/reference/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	for path, kind := range shape {
		if !strings.Contains(string(page), fmt.Sprintf("| `%s` | %s |", path, kind)) {
			t.Errorf("docs/reference/simulation.md has no row | `%s` | %s |", path, kind)
		}
	}
	if value["kind"] != "Simulation" || value["apiVersion"] != "cli.ebbtide.dev/v1alpha1" {
		t.Errorf("it is %v of %v", value["kind"], value["apiVersion"])
	}
}

// describe notes the kind of each value below one, lists by their first.
func describe(shape map[string]string, path string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			if path == "input.units" {
				key = "FLAVOR"
			}
			describe(shape, strings.TrimPrefix(path+"."+key, "."), below)
		}
	case []any:
		if len(value) > 0 {
			describe(shape, path+"[]", value[0])
		}
	case string:
		shape[path] = "text"
	default:
		shape[path] = "number"
	}
}

// The report is one page that stands alone, and the same for the same input.
func TestReportStandsAlone(t *testing.T) {
	write := func() string {
		file := filepath.Join(t.TempDir(), "report.html")
		_, stderr, code := invoke(t, "http://127.0.0.1:1", invocation{args: "simulate" + ruled + " --policy ebbtide,no-lending,oracle --report " + file})
		if code != ExitOK {
			t.Fatal(stderr)
		}
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(page)
	}
	page := write()
	if page != write() {
		t.Error("the same input gives another page")
	}
	checkAlone(t, page)
	for _, want := range []string{
		"prefers-color-scheme: dark", "@media print", `<html lang="en">`, "What was assumed", "the load of chat is not known in 2.1% of the time",
		"held-0-t", "held-1-t", "held-2-t", "waiting-t", "evictions-t", "lost-t",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

// checkAlone: well-formed, no script, nothing from elsewhere, no id twice, and every figure
// with a table.
func checkAlone(t *testing.T, page string) {
	t.Helper()
	text := strings.ReplaceAll(page, `xmlns="http://www.w3.org/2000/svg"`, "")
	for _, outside := range []string{"http:", "https:", "//www", "<script", "<link", "<img", "@import", "src=", "href="} {
		if strings.Contains(text, outside) {
			t.Errorf("the page has %s", outside)
		}
	}
	decoder := xml.NewDecoder(strings.NewReader(page))
	ids, elements := map[string]int{}, map[string]int{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		if start, is := token.(xml.StartElement); is {
			elements[start.Name.Local]++
			for _, a := range start.Attr {
				if a.Name.Local == "id" {
					ids[a.Value]++
				}
			}
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("%d elements are %s", n, id)
		}
	}
	if elements["figure"] == 0 || elements["figure"] != elements["svg"] || elements["figcaption"] != elements["figure"] || elements["table"] < elements["figure"] {
		t.Errorf("figures, drawings, captions and tables: %d, %d, %d, %d", elements["figure"], elements["svg"], elements["figcaption"], elements["table"])
	}
}

// An interrupt ends the command at once, with no report left behind.
func TestInterruptedSimulation(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var errs strings.Builder
	args := strings.Fields("simulate" + ruled + " --policy ebbtide,oracle,no-lending --report " + filepath.Join(dir, "r.html"))
	code := Run(ctx, Env{
		Streams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: &errs},
		Clock:   clocktesting.NewFakePassiveClock(testNow), Getenv: func(string) string { return "" },
	}, args)
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if code != ExitError || !strings.Contains(errs.String(), "interrupted") || len(left) != 0 {
		t.Errorf("exit %d, %q, %d files left", code, errs.String(), len(left))
	}
}

// pagesWithSessions show sessions of simulate and whatif. -update writes them anew.
var pagesWithSessions = []string{"../../../docs/tasks/simulate-last-week.md", "../../../docs/reference/cli.md"}

func TestPagesShowRealSessions(t *testing.T) {
	sessions := map[string]string{} // by their first line
	for _, pattern := range []string{"testdata/simulate*.golden", "testdata/whatif*.golden"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text := strings.TrimRight(sessionMarks.ReplaceAllString(read(t, file), ""), "\n")
			command, _, _ := strings.Cut(text, "\n")
			sessions[command] = text
		}
	}
	for _, page := range pagesWithSessions {
		shown := 0
		text := consoleBlock.ReplaceAllStringFunc(read(t, page), func(block string) string {
			session := strings.TrimRight(consoleBlock.FindStringSubmatch(block)[1], "\n")
			command, _, _ := strings.Cut(session, "\n")
			if !strings.HasPrefix(command, "$ kubectl ebbtide simulate") && !strings.HasPrefix(command, "$ kubectl ebbtide whatif") {
				return block
			}
			shown++
			if sessions[command] != session && !*update {
				t.Errorf("no golden file has this session of %s:\n%s", page, session)
			}
			return "```console\n" + sessions[command] + "\n```"
		})
		if shown != 2 {
			t.Errorf("%s has %d sessions, want 2", page, shown)
		}
		if *update {
			if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	manifest := yamlBlock.FindStringSubmatch(read(t, pagesWithSessions[0]))
	if manifest == nil || !strings.Contains(read(t, "testdata/rehearsal-change.yaml"), manifest[1]) {
		t.Errorf("the page's manifest is not the one that is played: %q", manifest)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
