package rehearse

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/internal/past"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
)

// write makes files in a folder and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func objects(t *testing.T, text string) *Objects {
	t.Helper()
	o, err := ReadObjects("rules.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

const jobsOfTwo = "name,tenant,submit,duration,gpus\na,research,0,3600,8\nb,research,60,3600,1\nc,vision,120,1800,2\nhuge,vision,130,1800,640\nlate,vision,900000,60,1\n"

// small is four nodes, one service and two tenants.
func small(t *testing.T, rules string) Inputs {
	t.Helper()
	var load strings.Builder
	load.WriteString("time,value\n")
	for i := range 24 * 60 {
		fmt.Fprintf(&load, "%d,%d\n", i*60, 50+i%7)
	}
	dir := write(t, map[string]string{"chat.csv": load.String(), "jobs.csv": jobsOfTwo})
	in := Defaults()
	in.Load, in.Jobs, in.Nodes = []string{dir + "/chat.csv"}, dir+"/jobs.csv", "4x8"
	if rules != "" {
		in.Rules = objects(t, rules)
	}
	return in
}

func prepared(t *testing.T, in Inputs) *Stage {
	t.Helper()
	s, err := Prepare(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const policyOnly = `
apiVersion: ebbtide.dev/v1alpha1
kind: LendingPolicy
metadata: {name: chat, namespace: serving}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}
`

const deployment = `
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat, namespace: serving}
spec:
  template:
    spec:
      containers: [{name: vllm, resources: {limits: {nvidia.com/gpu: 2}}}]
`

const autoscaler = `
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: chat, namespace: serving}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}
  maxReplicas: 6
`

// What is not said has the defaults of the kinds, and sizes follow the most certain source.
func TestSizesOfServices(t *testing.T) {
	for name, tc := range map[string]struct {
		rules      string
		change     func(*Inputs)
		owned, per int64
	}{
		"nothing is said":               {owned: 16, per: 8},
		"a share":                       {change: func(in *Inputs) { in.Services.Share, in.Services.GPUs = 0.75, 4 }, owned: 24, per: 4},
		"a policy":                      {rules: policyOnly, owned: 16, per: 8},
		"a policy that says":            {rules: policyOnly + "  owned: 8\n", owned: 8, per: 8},
		"a workload":                    {rules: policyOnly + deployment, owned: 16, per: 2},
		"an autoscaler and a workload":  {rules: policyOnly + deployment + autoscaler, owned: 12, per: 2},
		"an autoscaler and no workload": {rules: policyOnly + autoscaler, change: func(in *Inputs) { in.Services.GPUs = 4 }, owned: 24, per: 4},
		"homes": {change: func(in *Inputs) {
			in.Nodes = write(t, map[string]string{"n.csv": "name,gpus,home\na,8,serving/chat\nb,4,chat\nc,8,\nd,8,\n"}) + "/n.csv"
			in.Services.GPUs = 4
		}, owned: 12, per: 4},
	} {
		t.Run(name, func(t *testing.T) {
			in := small(t, tc.rules)
			if tc.change != nil {
				tc.change(&in)
			}
			s := prepared(t, in)
			l := s.scenario.Services[0].Lender
			if l.Name != "serving/chat" || l.Owned != tc.owned || l.UnitsPerPod != tc.per {
				t.Errorf("%s owns %d and has %d per replica, want %d and %d", l.Name, l.Owned, l.UnitsPerPod, tc.owned, tc.per)
			}
			if l.LowWater != 0.3 || l.HighWater != 0.7 || l.MaxGrace != time.Minute || l.Warm != 1 || l.Dwell != 5*time.Minute || l.Tenant != "serving" || l.Hold != nil {
				t.Errorf("its rules are not the defaults: %+v", l)
			}
			home, quota := int64(0), int64(0)
			for _, n := range s.scenario.Nodes {
				if n.Home == "serving/chat" {
					home += n.Units[0].Count
				}
			}
			for _, tenant := range s.scenario.Tenants {
				quota += tenant.Quotas[0].Nominal
			}
			if home < tc.owned || quota != s.Input.Units["gpu"] {
				t.Errorf("%d GPUs are its home, and quotas add up to %d of %v", home, quota, s.Input.Units)
			}
		})
	}
}

// At the 99.9th percentile all replicas are as full as they are meant to be; with slots, the
// load means what it says.
func TestWhatALoadMeans(t *testing.T) {
	in := small(t, "")
	v := prepared(t, in).scenario.Services[0]
	if _, top, _ := known(v.Load, 24*time.Hour); math.Abs(top-float64(v.Most())*v.Slots*v.Target) > 1e-9 {
		t.Errorf("the 99.9th percentile is %v of %d replicas with %v slots and target %v", top, v.Most(), v.Slots, v.Target)
	}
	in.Services.Slots = 32
	v = prepared(t, in).scenario.Services[0]
	if v.Slots != 32 || v.Load.At(0) != 50 {
		t.Errorf("with slots: %v, and %v at the beginning", v.Slots, v.Load.At(0))
	}
}

// Jobs go to their tenants' queues; what no node could run and what is late is left out.
// Whatever tenants and services are called, who owns units has them as nominal quota.
func TestAssumedQuotas(t *testing.T) {
	for _, service := range []string{"chat", "alpha/chat", "team/chat"} {
		t.Run(service, func(t *testing.T) {
			in := small(t, "")
			dir := write(t, map[string]string{
				"jobs.csv": "name,tenant,submit,duration,gpus\na,everyone,0,3600,8\nb,serving,0,3600,8\nc,team,0,3600,8\nd,alpha,0,3600,8\n",
			})
			in.Load, in.Jobs = []string{service + "=" + in.Load[0]}, dir+"/jobs.csv"
			s := prepared(t, in)
			nominal := map[string]int64{}
			for _, tenant := range s.scenario.Tenants {
				for _, q := range tenant.Quotas {
					nominal[tenant.Name] += q.Nominal
				}
			}
			l := &s.scenario.Services[0].Lender
			want := map[string]int64{"alpha": 4, "everyone": 4, "serving": 4, "team": 4}
			want[l.Tenant] += l.Owned
			if diff := cmp.Diff(want, nominal); diff != "" || l.Owned != 16 {
				t.Errorf("%s owns %d: %s", l.Tenant, l.Owned, diff)
			}
		})
	}
}

// Of jobs that are all left out, it is said why.
func TestNoJobLeft(t *testing.T) {
	in := small(t, "")
	in.Nodes = "2x8"
	dir := write(t, map[string]string{"jobs.csv": "name,tenant,submit,duration,gpus\na,x,0,3600,800\nb,x,0,3600,900\n"})
	in.Jobs = dir + "/jobs.csv"
	_, err := Prepare(t.Context(), in)
	if want := "2 jobs are larger than these nodes, and are left out"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestJobsFindTheirTenants(t *testing.T) {
	const quotas = policyOnly + `
---
apiVersion: v1
kind: Namespace
metadata: {name: serving, labels: {team: serving}}
---
apiVersion: v1
kind: Namespace
metadata: {name: vision, labels: {team: labs}}
---
apiVersion: ebbtide.dev/v1alpha1
kind: TenantQuota
metadata: {name: serving}
spec: {namespaces: {matchLabels: {team: serving}}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 16}]}
---
apiVersion: ebbtide.dev/v1alpha1
kind: TenantQuota
metadata: {name: research}
spec: {namespaces: {matchLabels: {kubernetes.io/metadata.name: research}}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 9}]}
---
apiVersion: ebbtide.dev/v1alpha1
kind: TenantQuota
metadata: {name: labs}
spec: {namespaces: {matchLabels: {team: labs}}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 7}]}
---
apiVersion: ebbtide.dev/v1alpha1
kind: TrainingQueue
metadata: {name: nightly, namespace: vision}
spec: {order: FIFO}
`
	s := prepared(t, small(t, quotas))
	jobs, err := s.jobs.open()
	if err != nil {
		t.Fatal(err)
	}
	defer jobs.close()
	var got []string
	for {
		j, ok, err := jobs.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		got = append(got, fmt.Sprintf("%s %s %s %s", j.Name, j.Tenant, j.Queue, j.Flavor))
	}
	want := []string{"research/a research research/default h100", "research/b research research/default h100", "vision/c labs vision/nightly h100"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
	tenants := []Demand{{Tenant: "research", Jobs: 2, UnitHours: 9, Nominal: 9}, {Tenant: "vision", Jobs: 1, UnitHours: 1, Nominal: 7}}
	if diff := cmp.Diff(tenants, s.Input.Tenants); diff != "" {
		t.Errorf("demand (-want +got):\n%s", diff)
	}
	if !strings.Contains(strings.Join(s.Assumptions, "\n"), "1 jobs are larger than these nodes, and are left out") {
		t.Errorf("what was left out is not told: %q", s.Assumptions)
	}
	for _, q := range s.scenario.Queues {
		if q.Name == "vision/nightly" && !q.FIFO || q.Name == "research/default" && !q.Backfill {
			t.Errorf("queue %+v", q)
		}
	}
}

func TestLoadsOnOneClock(t *testing.T) {
	unknown := math.NaN()
	begin := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	day := func(start time.Time, name string) load {
		return load{Load: workload.Load{Service: name, Start: start, Unit: workload.GPUs, Curve: sim.Curve{{At: 0, Value: 4}, {At: 12 * time.Hour, Value: 8}, {At: 24 * time.Hour, Value: unknown}}}}
	}
	h := newHistory([]load{day(begin, "a"), day(begin.Add(36*time.Hour), "b"), day(time.Time{}, "c")}, 0, 24*time.Hour)
	if !h.start.Equal(begin) || h.length != 60*time.Hour {
		t.Fatalf("from %s for %s", h.start, h.length)
	}
	for i, want := range []map[time.Duration]float64{
		{0: 4, 12 * time.Hour: 8, 24 * time.Hour: 4, 83 * time.Hour: 4},
		{0: unknown, 35 * time.Hour: unknown, 36 * time.Hour: 4, 59 * time.Hour: 8, 60 * time.Hour: 4},
		{0: 4, 13 * time.Hour: 8, 37 * time.Hour: 8},
	} {
		for at, v := range want {
			if got := h.loads[i].Curve.At(at); got != v && !(math.IsNaN(v) && math.IsNaN(got)) {
				t.Errorf("load %d at %s is %v, want %v", i, at, got, v)
			}
		}
	}
	short := []load{{Load: workload.Load{Service: "short", Curve: sim.Curve{{At: 0, Value: 1}, {At: time.Hour, Value: 2}}}}}
	if h = newHistory(short, 3*time.Hour, 0); !math.IsNaN(h.loads[0].Curve.At(2 * time.Hour)) {
		t.Errorf("after an hour that is known: %v", h.loads[0].Curve.At(2*time.Hour))
	}
}

// A town stands for files: requests where slots are known, else replicas; what is silent is
// told.
func TestTowns(t *testing.T) {
	in := small(t, policyOnly)
	in.Load, in.Jobs, in.Nodes = nil, "", ""
	in.Town = &past.Town{
		Start: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Length: 24 * time.Hour,
		Services: []past.Service{{
			Name: "serving/chat", Most: 3, Flavor: "h100", UnitsPerPod: 4,
			Replicas: sim.Curve{{At: 0, Value: 3}, {At: 6 * time.Hour, Value: 1}, {At: 24 * time.Hour, Value: math.NaN()}},
		}},
		Nodes: []sim.Node{{Name: "n1", Units: []sim.NodeUnits{{Flavor: "h100", Count: 8}}}, {Name: "n2", Units: []sim.NodeUnits{{Flavor: "h100", Count: 8}}}},
		Jobs:  []sim.Job{{Name: "research/a", Tenant: "research", Queue: "research/default", Duration: time.Hour, Flavor: "h100", Pods: 1, UnitsPerPod: 2}},
		Notes: []string{"something is missing"},
	}
	s := prepared(t, in)
	v := s.scenario.Services[0]
	if v.Lender.Owned != 12 || v.Lender.UnitsPerPod != 4 || v.Load.At(0) != 3*v.Slots*v.Target {
		t.Errorf("owns %d, %d per replica, load %v of %v", v.Lender.Owned, v.Lender.UnitsPerPod, v.Load.At(0), v.Slots)
	}
	if s.Missing[0] != "something is missing" {
		t.Errorf("missing: %q", s.Missing)
	}
	for range 2 { // each run has all jobs
		results, err := Play(t.Context(), []Run{{s, NoLending}}, nil)
		if err != nil || results[0].Finished != 1 {
			t.Fatalf("%+v, %v", results, err)
		}
	}
	in.Town.Services[0].Slots, in.Town.Services[0].Load = 256, sim.Curve{{At: 0, Value: 700}, {At: 24 * time.Hour, Value: math.NaN()}}
	if v := prepared(t, in).scenario.Services[0]; v.Slots != 256 || v.Load.At(0) != 700 {
		t.Errorf("with requests: %v of %v slots", v.Load.At(0), v.Slots)
	}
}

// A change of what is owned leaves the load what it was.
func TestChangesLeaveTheLoad(t *testing.T) {
	in := small(t, policyOnly+"  owned: 16\n")
	now := prepared(t, in)
	change := objects(t, policyOnly+"  owned: 24\n  headroom: {warm: 3}\n")
	changes, err := in.Rules.Changes(change)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for i := range changes {
		said = append(said, changes[i].String())
	}
	if diff := cmp.Diff([]string{"LendingPolicy serving/chat: spec.headroom.warm: 1 -> 3", "LendingPolicy serving/chat: spec.owned: 16 -> 24"}, said); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	in.Rules, in.Like = in.Rules.With(change), now
	then := prepared(t, in)
	if a, b := now.scenario.Services[0], then.scenario.Services[0]; b.Lender.Owned != 24 || a.Load.At(0) != b.Load.At(0) || a.Slots != b.Slots {
		t.Errorf("the load was %v and is %v", a.Load.At(0), b.Load.At(0))
	}
}

func TestNodesOfAWord(t *testing.T) {
	for word, want := range map[string]string{
		"2x8": "gpu 16", "2x8:h100,1x4:a100": "a100 4 h100 16", "1x1": "gpu 1", "0x8": "error", "2x0": "error", "2x8:": "error",
		"2 x8": "file", "2x": "file", "x8": "file", "2x8x2": "file", "-1x8": "error", "200000x1": "error", "nodes.csv": "file",
	} {
		nodes, made, err := makeNodes(word)
		got := "file"
		if made {
			names, units := flavorsOf(nodes)
			got = ""
			for _, n := range names {
				got += fmt.Sprintf(" %s %d", n, units[n])
			}
			got = strings.TrimSpace(got)
		}
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q is %s, want %s", word, got, want)
		}
	}
}

func TestObjectsThatAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no kind":       {"metadata: {name: a}\n", "kind and metadata.name must be given"},
		"no namespace":  {"apiVersion: ebbtide.dev/v1alpha1\nkind: TrainingQueue\nmetadata: {name: a}\n", "TrainingQueue a: metadata.namespace must be given"},
		"twice a field": {"kind: Namespace\nkind: Namespace\n", "already set"},
		"another field": {"apiVersion: ebbtide.dev/v1alpha1\nkind: TenantQuota\nmetadata: {name: a}\nspec: {quota: 3}\n", `unknown field "spec.quota"`},
		"a rule broken": {policyOnly + "  lowWater: 80%\n", "document 1: LendingPolicy serving/chat: spec: Invalid value: lowWater must be below highWater"},
		"in a list":     {"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: ebbtide.dev/v1alpha1, kind: TrainingQueue, metadata: {name: a, namespace: b}, spec: {order: LIFO}}\n", "TrainingQueue b/a: spec.order: Unsupported value"},
		"no version":    {"apiVersion: ebbtide.dev/v2\nkind: TenantQuota\nmetadata: {name: a}\n", "TenantQuota a: apiVersion: there is no kind TenantQuota in version ebbtide.dev/v2"},
		"a second one":  {"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\nkind: [\n", "document 2"},
	} {
		if _, err := ReadObjects("rules.yaml", strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "rules.yaml: ") {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	list := objects(t, "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- {apiVersion: v1, kind: Secret, metadata: {name: b, namespace: a}}\n")
	if len(list.all) != 1 || len(list.Notes) != 1 || !strings.Contains(list.Notes[0], "Secret b is left out") {
		t.Errorf("of a list: %v, %q", list.all, list.Notes)
	}
}

const twoQueues = policyOnly + "  owned: 8\n" + `
---
apiVersion: v1
kind: Namespace
metadata: {name: serving, labels: {team: serving}}
---
apiVersion: v1
kind: Namespace
metadata: {name: research, labels: {team: research}}
---
apiVersion: v1
kind: Namespace
metadata: {name: vision, labels: {team: vision}}
---
apiVersion: ebbtide.dev/v1alpha1
kind: TenantQuota
metadata: {name: serving}
spec: {namespaces: {matchLabels: {team: serving}}, flavors: [{name: gpu, resource: nvidia.com/gpu, nominal: 8}]}
---
apiVersion: ebbtide.dev/v1alpha1
kind: TenantQuota
metadata: {name: research}
spec: {namespaces: {matchLabels: {team: research}}, flavors: [{name: gpu, resource: nvidia.com/gpu, nominal: 8}]}
---
apiVersion: ebbtide.dev/v1alpha1
kind: TenantQuota
metadata: {name: vision}
spec: {namespaces: {matchLabels: {team: vision}}, flavors: [{name: gpu, resource: nvidia.com/gpu, nominal: 8}]}
---
apiVersion: ebbtide.dev/v1alpha1
kind: TrainingQueue
metadata: {name: a, namespace: research}
spec: {paused: %t}
---
apiVersion: ebbtide.dev/v1alpha1
kind: TrainingQueue
metadata: {name: b, namespace: research}
spec: {paused: %t}
`

// A job goes to the queue that it names, or else to its tenant's first that is open, and
// whoever asks is told of those that never start.
func TestQueuesOfJobs(t *testing.T) {
	jobs := "name,tenant,submit,duration,gpus,queue\na,research,0,600,1,\nb,research,60,600,1,b\nc,research,70,600,1,research/a\nd,research,80,600,1,lost\ne,vision,90,600,1,\n"
	for name, tc := range map[string]struct {
		a, b  bool // paused
		goes  string
		tells []string
	}{
		"both open":  {false, false, "research/a research/b research/a research/a vision/default", nil},
		"one paused": {true, false, "research/b research/b research/a research/b vision/default", []string{"TrainingQueue research/a is paused or drained: 1 jobs of research never start"}},
		"both paused": {true, true, "research/a research/b research/a research/a vision/default", []string{
			"TrainingQueue research/a is paused or drained: 3 jobs of research never start", "TrainingQueue research/b is paused or drained: 1 jobs of research never start",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in := small(t, fmt.Sprintf(twoQueues, tc.a, tc.b))
			in.Jobs = write(t, map[string]string{"jobs.csv": jobs}) + "/jobs.csv"
			s := prepared(t, in)
			if got := queuesOf(t, s); got != tc.goes {
				t.Errorf("jobs go to %s, want %s", got, tc.goes)
			}
			var told []string
			for _, m := range s.Missing {
				if strings.HasPrefix(m, "TrainingQueue") {
					told = append(told, m)
				}
			}
			if diff := cmp.Diff(tc.tells, told); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			if note := "1 jobs of research name the queue research/lost, which is none of its TrainingQueues, and go to "; !strings.Contains(strings.Join(s.Assumptions, "\n"), note) {
				t.Errorf("not told %q: %q", note, s.Assumptions)
			}
		})
	}
	// What was submitted before a change is where it was.
	in := small(t, fmt.Sprintf(twoQueues, false, false))
	in.Jobs = write(t, map[string]string{"jobs.csv": jobs}) + "/jobs.csv"
	now := prepared(t, in)
	in.Rules, in.Like = objects(t, fmt.Sprintf(twoQueues, true, false)), now
	if got := queuesOf(t, prepared(t, in)); !strings.HasPrefix(got, "research/a research/b") {
		t.Errorf("after a change, jobs go to %s", got)
	}
}

func queuesOf(t *testing.T, s *Stage) string {
	t.Helper()
	jobs, err := s.jobs.open()
	if err != nil {
		t.Fatal(err)
	}
	defer jobs.close()
	var all []string
	for {
		j, ok, err := jobs.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return strings.Join(all, " ")
		}
		all = append(all, j.Queue)
	}
}

// Where nothing was lent, the answer says why in words.
func TestAnswerWithoutLoans(t *testing.T) {
	result := func(lent, wait float64) Result { // of one job
		r := Result{Result: &sim.Result{Policy: Ebbtide}, QueueingP99: wait}
		r.Submitted, r.Started = 1, 1
		r.Lent, r.QueueingMean, r.Services = lent, wait, []sim.ServiceResult{{Idle: 100}}
		return r
	}
	for name, tc := range map[string]struct {
		lent, wait float64
		want       string
	}{
		"nobody waited": {0, 4.2, "Ebbtide would have lent nothing, for nobody needed a loan: of 100 jobs 99 started within 5s. No online pod would have waited for a GPU, of 0."},
		"at once":       {0, 0.4, "Ebbtide would have lent nothing, for nobody needed a loan: of 100 jobs 99 started at once. No online pod would have waited for a GPU, of 0."},
		"jobs waited":   {0, 7200, "Ebbtide would have lent nothing of the 100.0 GPU-hours that services left idle; jobs would have waited 120m on average. No online pod would have waited for a GPU, of 0."},
		"some was lent": {25, 60, "Ebbtide would have lent 25.0 GPU-hours, 25.0% of the 100.0 that services left idle; jobs would have waited 60s on average. No online pod would have waited for a GPU, of 0."},
	} {
		r := Report{Results: []Result{result(tc.lent, tc.wait)}}
		if got := r.answer(); got != tc.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	nobody := Report{Results: []Result{result(0, 0)}}
	nobody.Results[0].Submitted, nobody.Results[0].Started = 0, 0
	if got := nobody.answer(); got != "Ebbtide would have lent nothing: no job was submitted in the time that counts. No online pod would have waited for a GPU, of 0." {
		t.Error(got)
	}
	for _, tc := range []struct {
		now, changed float64
		want         string
	}{
		{0, 0, "With the change, nothing would have been lent, as now; "},
		{5, 5.01, "With the change, 5.0 GPU-hours would have been lent, as now; "},
		{5, 2, "With the change, 3.0 GPU-hours less would have been lent (2.0 instead of 5.0); "},
	} {
		c := Comparison{Now: result(tc.now, 1), Changed: result(tc.changed, 1)}
		if got := c.answer(); !strings.HasPrefix(got, tc.want) || !strings.HasSuffix(got, "and no online pod would have waited for a GPU, as now.") {
			t.Errorf("from %g to %g: %s", tc.now, tc.changed, got)
		}
	}
}

// A change that the API server would refuse is not played.
func TestChangesThatAreRefused(t *testing.T) {
	const quota = "apiVersion: ebbtide.dev/v1alpha1\nkind: TenantQuota\nmetadata: {name: a}\nspec: "
	const flavors = "flavors: [{name: gpu, resource: nvidia.com/gpu, nominal: 8}]}\n"
	now := objects(t, quota+"{namespaces: {}, "+flavors)
	if _, err := now.Changes(objects(t, quota+"{"+flavors)); err == nil || !strings.HasPrefix(err.Error(), "TenantQuota a: spec: Invalid value: namespaces cannot be added or removed") {
		t.Error(err)
	}
	if c, err := now.Changes(objects(t, quota+"{namespaces: {}, weight: 3, "+flavors)); err != nil || len(c) != 1 {
		t.Errorf("%v, %v", c, err)
	}
}

func TestRulesThatAreRefused(t *testing.T) {
	quota := func(spec string) string {
		return "---\napiVersion: ebbtide.dev/v1alpha1\nkind: TenantQuota\nmetadata: {name: serving}\nspec: " + spec + "\n"
	}
	for name, tc := range map[string]struct{ rules, want string }{
		"no tenant":         {policyOnly + quota("{namespaces: {matchLabels: {a: b}}, flavors: [{name: gpu, resource: nvidia.com/gpu, nominal: 8}]}"), "put the Namespace with its labels beside it"},
		"another flavor":    {policyOnly + "  flavor: h200\n", `no node has any of flavor "h200"`},
		"too much":          {policyOnly + "  owned: 64\n", "32 GPUs of gpu, and the services own 64"},
		"less than one":     {policyOnly + "  owned: 4\n", "owns 4 GPUs, which are less than one replica (8)"},
		"another service's": {strings.ReplaceAll(policyOnly, "chat", "code"), "no LendingPolicy is about service chat"},
		"two meanings": {
			policyOnly + quota("{namespaces: {matchLabels: {kubernetes.io/metadata.name: serving}}, flavors: [{name: gpu, resource: nvidia.com/gpu, nominal: 8}]}") +
				strings.ReplaceAll(quota("{namespaces: {matchLabels: {team: nobody}}, flavors: [{name: gpu, resource: nvidia.com/gpu, nodeSelector: {a: b}, nominal: 8}]}"), "name: serving", "name: zz"),
			"--config: TenantQuota ",
		},
		"quotas, no service": {quota("{namespaces: {}, flavors: [{name: gpu, resource: nvidia.com/gpu, nominal: 8}]}"), "no LendingPolicy is about service chat"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Prepare(t.Context(), small(t, tc.rules)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}
