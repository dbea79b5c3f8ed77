package past_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/past"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
)

var start = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// line is a series: value says what it is at an instant; not a number is nothing.
type line struct {
	labels string // name=value,…
	value  func(at time.Time) float64
}

// answer is for queries that contain a text.
type answer struct {
	contains string
	lines    []line
	warns    func(from time.Time) bool
}

// remembers is a server that answers range queries by the first text that they contain,
// and with no series where there is none.
type remembers struct {
	t       *testing.T
	answers []answer
	asked   []string
}

func (p *remembers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/v1/query_range" {
		p.t.Errorf("%s was asked", r.URL.Path)
	}
	query := r.FormValue("query")
	p.asked = append(p.asked, query)
	from, to, step := number(r, "start"), number(r, "end"), number(r, "step")
	if (to-from)/step > signal.MaxPoints {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries"}`)
		return
	}
	result, warnings := []any{}, []string{}
	for _, a := range p.answers {
		if !strings.Contains(query, a.contains) {
			continue
		}
		for _, l := range a.lines {
			if s := l.over(from, to, step); s != nil {
				result = append(result, s)
			}
		}
		if a.warns != nil && a.warns(time.Unix(int64(from), 0)) {
			warnings = append(warnings, "a store did not answer")
		}
		break
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"status": "success", "warnings": warnings, "data": map[string]any{"resultType": "matrix", "result": result},
	})
}

func number(r *http.Request, name string) float64 {
	v, _ := strconv.ParseFloat(r.FormValue(name), 64)
	return v
}

func (l line) over(from, to, step float64) any {
	metric, values := map[string]string{}, [][2]any{}
	for _, pair := range strings.Split(l.labels, ",") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			metric[name] = value
		}
	}
	for at := from; at <= to; at += step {
		if v := l.value(time.Unix(int64(at), 0).UTC()); !math.IsNaN(v) {
			values = append(values, [2]any{at, strconv.FormatFloat(v, 'g', -1, 64)})
		}
	}
	if len(values) == 0 {
		return nil
	}
	return map[string]any{"metric": metric, "values": values}
}

// always is a value at all times, and between one at hours from the start until another.
func always(v float64) func(time.Time) float64 { return func(time.Time) float64 { return v } }

func between(from, until, v float64) func(time.Time) float64 {
	return func(at time.Time) float64 {
		if h := at.Sub(start).Hours(); h > from && h <= until {
			return v
		}
		return math.NaN()
	}
}

// unix is a moment some hours after the start.
func unix(hours float64) float64 { return float64(start.Unix()) + hours*3600 }

// created is when each job of the city was, in hours from the start.
var created = map[string]float64{"a": 1, "b": 2, "c": 3, "early": -5, "cpu": 4}

// job is what Prometheus calls a job of the city.
func job(name string) string { return again(name, created[name]) }

// again is a job of a name that was created at another time.
func again(name string, at float64) string {
	return fmt.Sprintf("namespace=research,job_name=%s,created=%.0f", name, unix(at))
}

// city is what the Prometheus of a small cluster has of 36 hours.
func city() []answer {
	const pods = "namespace=%s,pod=%s,node=%s,resource=nvidia_com_gpu"
	pod := func(namespace, name, node string) string { return fmt.Sprintf(pods, namespace, name, node) }
	owner := func(namespace, name, kind, owner string) string {
		return fmt.Sprintf("namespace=%s,pod=%s,owner_kind=%s,owner_name=%s", namespace, name, kind, owner)
	}
	return []answer{
		{contains: "kube_node_status_allocatable", lines: []line{
			{"node=n1,resource=nvidia_com_gpu", always(8)},
			{"node=n2,resource=nvidia_com_gpu", between(0, 24, 8)}, // gone on the second day
			{"node=n3,resource=nvidia_com_mig_1g_10gb", always(14)},
		}},
		{contains: "kube_node_labels", lines: []line{
			{"node=n1,label_nvidia_com_gpu_product=NVIDIA-H100-80GB-HBM3,label_pool=serving", always(1)},
			{"node=n2,label_nvidia_com_gpu_product=NVIDIA-H100-80GB-HBM3", always(1)},
		}},
		{contains: "kube_pod_owner", lines: []line{
			{owner("serving", "chat-5d9c-x1", "ReplicaSet", "chat-5d9c"), always(1)},
			{owner("research", "a-0", "Job", "a"), between(0, 24, 1)},
			{owner("research", "b-0", "Job", "b"), always(1)},
			{owner("research", "c-0", "Job", "c"), always(1)},
			{owner("research", "torch-0", "PyTorchJob", "torch"), always(1)},
			{owner("serving", "other-7f-z", "ReplicaSet", "other-7f"), always(1)},
		}},
		{contains: "kube_pod_container_resource_requests", lines: []line{
			{pod("serving", "chat-5d9c-x1", "n1"), always(2)},
			{pod("research", "a-0", "n2"), between(0, 24, 4)},
			{pod("research", "b-0", "n1"), always(1)},
			{pod("research", "c-0", "n1"), always(1)},
			{pod("research", "torch-0", "n1"), always(1)},
			{pod("serving", "other-7f-z", "n1"), always(1)},
		}},
		{contains: "kube_job_status_start_time", lines: []line{{job("a"), always(unix(1.5))}, {job("b"), always(unix(30))}, {job("c"), always(unix(3))}}},
		{contains: "kube_job_status_completion_time", lines: []line{{job("a"), always(unix(4))}, {job("b"), between(24, 36, unix(32))}}},
		{contains: "kube_job_spec_parallelism", lines: []line{{job("a"), always(2)}, {job("b"), always(1)}}},
		{contains: "kube_job_status_active", lines: []line{
			{job("a"), between(0, 24, 150)}, {job("b"), always(300)}, {job("c"), always(60)},
		}},
		{contains: "kube_job_created", lines: []line{{job("a"), always(1)}, {job("b"), always(1)}, {job("c"), always(1)}, {job("early"), always(1)}, {job("cpu"), always(1)}}},
		{contains: "count(sum by (pod)", lines: []line{{"", func(at time.Time) float64 {
			if h := at.Sub(start).Hours(); h > 10 && h <= 12 {
				return 1 // of two
			}
			return 2
		}}}},
		{contains: "vllm:num_requests_running", lines: []line{{"", func(at time.Time) float64 {
			switch h := at.Sub(start).Hours(); {
			case h > 20 && h <= 21:
				return math.NaN() // Prometheus was down
			case h > 30:
				return 50
			}
			return 100
		}}}},
		{contains: "kube_deployment_status_replicas_ready", lines: []line{{"", always(2)}}},
		{contains: "kube_deployment_status_replicas", lines: []line{{"", func(at time.Time) float64 {
			if at.Sub(start) < 24*time.Hour {
				return 2
			}
			return 1
		}}}},
	}
}

var chat = v1alpha1.LendingPolicy{
	ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat-policy"},
	Spec: v1alpha1.LendingPolicySpec{
		TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"},
		Signals:   []v1alpha1.Signal{{Profile: "vllm"}},
	},
}

func window() past.Window {
	return past.Window{
		Start: start, End: start.Add(36 * time.Hour), Step: 10 * time.Minute, Policies: []v1alpha1.LendingPolicy{chat},
		Flavors: []past.Flavor{{Name: "h100", Resource: "nvidia.com/gpu", NodeSelector: map[string]string{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}}},
	}
}

func ask(t *testing.T, w past.Window, answers []answer) (*past.Town, *remembers, error) {
	t.Helper()
	fake := &remembers{t: t, answers: answers}
	server := httptest.NewServer(fake)
	defer server.Close()
	p, err := signal.NewPrometheus(server.URL, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	town, err := past.Ask(t.Context(), p, w)
	return town, fake, err
}

func TestAsk(t *testing.T) {
	town, _, err := ask(t, window(), city())
	if err != nil {
		t.Fatal(err)
	}
	unknown := math.NaN()
	job := func(name string, submit, ran time.Duration, pods, each int64) sim.Job {
		return sim.Job{Name: "research/" + name, Tenant: "research", Queue: "research/default", Submit: submit, Duration: ran, Flavor: "h100", Pods: pods, UnitsPerPod: each}
	}
	want := &past.Town{
		Start: start, Length: 36 * time.Hour,
		Services: []past.Service{{
			Name: "serving/chat-policy", Slots: 256, Most: 2, Flavor: "h100", UnitsPerPod: 2,
			// What a step's value is said at its end.
			Load: sim.Curve{
				{At: 0, Value: 100}, {At: 10 * time.Hour, Value: unknown}, {At: 12 * time.Hour, Value: 100},
				{At: 20 * time.Hour, Value: unknown}, {At: 21 * time.Hour, Value: 100}, {At: 30 * time.Hour, Value: 50}, {At: 36 * time.Hour, Value: unknown},
			},
			Replicas: sim.Curve{{At: 0, Value: 2}, {At: 24 * time.Hour, Value: 1}, {At: 36 * time.Hour, Value: unknown}},
		}},
		Nodes: []sim.Node{
			{Name: "n1", Units: []sim.NodeUnits{{Flavor: "h100", Count: 8}}},
			{Name: "n2", Units: []sim.NodeUnits{{Flavor: "h100", Count: 8}}},
			{Name: "n3", Units: []sim.NodeUnits{{Flavor: "mig-1g.10gb", Count: 14}}},
		},
		Jobs: []sim.Job{
			job("a", time.Hour, 150*time.Minute, 2, 4), job("b", 2*time.Hour, 2*time.Hour, 1, 1), job("c", 3*time.Hour, 2*time.Hour, 1, 1),
		},
		Notes: []string{
			"nodes that were not there every day, counted as if they always were: 1",
			"pods with GPUs that belong to a PyTorchJob, left out: export the history of these jobs from Kueue or Volcano: 1",
			"pods with GPUs of services that no LendingPolicy names, left out: what they held counts as free: 1",
			"serving/chat-policy: its load is not known for 2h0m0s, in which too few of its replicas were heard, or how many were ready is not known",
			"serving/chat-policy: Prometheus has the load for all but 3h0m0s of 36h0m0s",
			"jobs left out because no pod of theirs was seen to ask for GPUs: 2",
			"jobs that had not completed, or failed, counted with the minutes that they ran in the window: 1",
		},
	}
	same := cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })
	if diff := cmp.Diff(want, town, same); diff != "" {
		t.Error(diff)
	}
}

// A job that saves its work has done all that it ran, one that does not its last run.
func TestAskOfJobsThatSave(t *testing.T) {
	w := window()
	w.Jobs = gang.Options{Costs: sim.Costs{CheckpointEvery: time.Hour}}
	w.Tenant = func(namespace string) string { return "team-" + namespace }
	town, _, err := ask(t, w, city())
	if err != nil {
		t.Fatal(err)
	}
	if got := town.Jobs[1]; got.Duration != 10*time.Hour || got.Tenant != "team-research" || got.Name != "research/b" {
		t.Errorf("%+v, want the 10 hours of all runs, of team-research", got)
	}
}

// change has an answer of the city's say something else.
func change(answers []answer, contains string, lines ...line) {
	for i := range answers {
		if answers[i].contains == contains {
			answers[i].lines = lines
		}
	}
}

// What tenants write spoils no answer: two jobs of one name are two, and one of more GPUs
// than there can be is left out.
func TestAskOfOddJobs(t *testing.T) {
	answers := city()
	change(answers, "kube_job_status_start_time", line{job("b"), always(unix(2))}, line{again("b", 29), between(24, 36, unix(30))})
	change(answers, "kube_job_status_completion_time", line{job("b"), always(unix(7))})
	change(answers, "kube_job_spec_parallelism", line{job("a"), always(1 << 31)}, line{job("b"), always(1)}, line{again("b", 29), always(3)},
		line{"namespace=research,job_name=nameless", always(1)})
	change(answers, "kube_job_status_active", line{job("b"), between(0, 24, 300)}, line{again("b", 29), between(24, 36, 40)}, line{job("c"), always(60)})
	town, _, err := ask(t, window(), answers)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, j := range town.Jobs {
		said = append(said, fmt.Sprintf("%s at %s for %s in %d", j.Name, j.Submit, j.Duration, j.Pods))
	}
	if diff := cmp.Diff([]string{"research/b at 2h0m0s for 5h0m0s in 1", "research/c at 3h0m0s for 2h0m0s in 1", "research/b#2 at 29h0m0s for 40m0s in 3"}, said); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
	for _, want := range []string{"jobs left out because their pods ask for more than a million GPUs together: 1", "jobs left out because Prometheus does not say when they were created: 1"} {
		if notes := strings.Join(town.Notes, "\n"); !strings.Contains(notes, want) {
			t.Errorf("notes are %q, want %q", notes, want)
		}
	}
}

// Where it is not known how many replicas were ready, a load may be that of a part of them.
func TestAskWhereReadyIsNotKnown(t *testing.T) {
	for name, tc := range map[string]struct {
		ready []line
		want  float64
		note  string
	}{
		"for a while": {[]line{{"", between(-1, 4, 2)}}, math.NaN(), "its load is not known for 30h50m0s"},
		"never":       {nil, 100, "how many of its replicas were ready is not known"},
	} {
		answers := city()
		change(answers, "kube_deployment_status_replicas_ready", tc.ready...)
		town, _, err := ask(t, window(), answers)
		if err != nil {
			t.Fatal(err)
		}
		load := town.Services[0].Load
		if before, after := load.At(3*time.Hour), load.At(5*time.Hour); before != 100 || after != tc.want && !math.IsNaN(tc.want) || math.IsNaN(tc.want) != math.IsNaN(after) {
			t.Errorf("%s: %v, then %v; want 100, then %v", name, before, after, tc.want)
		}
		if notes := strings.Join(town.Notes, "\n"); !strings.Contains(notes, tc.note) {
			t.Errorf("%s: notes are %q, want %q", name, notes, tc.note)
		}
	}
}

// A window that ends in the midst of a second asks over no range of nothing, which
// Prometheus refuses.
func TestAskUntilAMomentInASecond(t *testing.T) {
	w := window()
	w.End = start.Add(48*time.Hour + 600*time.Millisecond)
	town, fake, err := ask(t, w, city())
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range fake.asked {
		if strings.Contains(query, "[0s") {
			t.Errorf("asked %s", query)
		}
	}
	if town.Length != 48*time.Hour {
		t.Errorf("is %s long, want 48h", town.Length)
	}
}

// A long window by the minute is asked for in parts that Prometheus answers, and a part
// that may be partial is not known.
func TestAskInParts(t *testing.T) {
	w := window()
	w.Step, w.End = time.Minute, start.Add(14*24*time.Hour)
	answers := city()
	for i := range answers {
		if answers[i].contains == "vllm:num_requests_running" {
			answers[i].lines[0].value = always(7)
			answers[i].warns = func(from time.Time) bool { return from.After(start.Add(24 * time.Hour)) }
		}
		if strings.HasPrefix(answers[i].contains, "count(") {
			answers[i].lines[0].value = always(2)
		}
	}
	town, _, err := ask(t, w, answers)
	if err != nil {
		t.Fatal(err)
	}
	load, edge := town.Services[0].Load, 10_000*time.Minute
	if before, after := load.At(edge-time.Minute), load.At(edge); before != 7 || !math.IsNaN(after) {
		t.Errorf("%v, and from %s on %v; want 7, and what is not known", before, edge, after)
	}
	note := "the load of serving/chat-policy is not known from 2026-03-08T22:40:00Z to 2026-03-15T21:20:00Z: Prometheus warned that its answer may be partial"
	if !strings.Contains(strings.Join(town.Notes, "\n"), note) {
		t.Errorf("notes are %q, want %q", town.Notes, note)
	}
}

func TestAskWhereLittleIsKnown(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*past.Window)
		only   string // answers that contain it
		err    string
		note   string
	}{
		"no kube-state-metrics": {only: "nothing", err: "it has no kube_node_status_allocatable of GPUs"},
		"no end":                {change: func(w *past.Window) { w.End = w.Start }, err: "must be at least a step of 10m0s"},
		"steps of seconds":      {change: func(w *past.Window) { w.Step = 30 * time.Second }, err: "the step: is 30s, must be at least a minute"},
		"a policy that is wrong": {
			change: func(w *past.Window) { w.Policies[0].Spec.Signals = []v1alpha1.Signal{{Profile: "gpt"}} },
			only:   "kube_node_status", err: `LendingPolicy serving/chat-policy: spec.signals[0].profile: "gpt" is not a known profile`,
		},
		"no load":        {only: "kube_node_status", note: "serving/chat-policy: Prometheus has nothing about the load"},
		"no replicas":    {only: "kube_node_status", note: "serving/chat-policy: Prometheus has nothing about the replicas"},
		"no pods":        {only: "kube_node_status", note: "serving/chat-policy: no pod of Deployment chat was seen to ask for GPUs"},
		"no node labels": {only: "kube_node_status", note: "start kube-state-metrics with --metric-labels-allowlist=nodes=[nvidia.com/gpu.product]"},
		"another kind of target": {
			change: func(w *past.Window) { w.Policies[0].Spec.TargetRef.Kind = "LeaderWorkerSet" },
			only:   "kube_node_status", note: "serving/chat-policy: how many replicas a LeaderWorkerSet had is not known",
		},
		"a value of the policy's own": {
			change: func(w *past.Window) {
				w.Policies[0].Spec.Signals = []v1alpha1.Signal{{Query: "sum(pending)", LowWater: "1", HighWater: "2"}}
			},
			only: "kube_node_status", note: "serving/chat-policy: no signal of its policy has a past of requests in flight; only its replicas are known",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := window()
			w.Policies = []v1alpha1.LendingPolicy{*chat.DeepCopy()}
			if tc.change != nil {
				tc.change(&w)
			}
			var answers []answer
			for _, a := range city() {
				if strings.Contains(a.contains, tc.only) {
					answers = append(answers, a)
				}
			}
			town, _, err := ask(t, w, answers)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(town.Notes, "\n"), tc.note) {
				t.Errorf("notes are %q, want one with %q", town.Notes, tc.note)
			}
		})
	}
}

// A server that is not there is an error that says so, without its address.
func TestAskNobody(t *testing.T) {
	p, err := signal.NewPrometheus("http://127.0.0.1:1", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, err = past.Ask(t.Context(), p, window())
	if want := "asking Prometheus about nodes from 2026-03-02T00:00:00Z on: Prometheus cannot be reached"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}
