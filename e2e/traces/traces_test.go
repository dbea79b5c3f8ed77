package traces

import (
	stdcmp "cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
)

func TestDeepSeekDayMatchesThePublishedAverage(t *testing.T) {
	steps, err := DeepSeekDay()
	if err != nil {
		t.Fatal(err)
	}
	var end time.Duration
	var nodeHours float64
	peak := int64(0)
	for i, s := range steps {
		if s.Start != end {
			t.Errorf("step %d starts at %s, want %s", i, s.Start, end)
		}
		end = s.Start + s.Length
		nodeHours += float64(s.Nodes) * s.Length.Hours()
		peak = max(peak, s.Nodes)
	}
	if end != 24*time.Hour || peak != 278 {
		t.Errorf("day is %s with peak %d, want 24h with 278", end, peak)
	}
	if got := nodeHours / 24; math.Abs(got-226.75) > 1e-9 {
		t.Errorf("average is %v nodes, want the published 226.75", got)
	}
}

func TestAzureWeeks(t *testing.T) {
	for _, service := range []string{"code", "conv"} {
		rates, err := AzureWeek(service)
		if err != nil {
			t.Fatal(err)
		}
		if len(rates) != 1396 {
			t.Errorf("%s: %d points, want 1396", service, len(rates))
		}
		if last := rates[len(rates)-1].At; last < 166*time.Hour || last > 169*time.Hour {
			t.Errorf("%s: ends at %s, want about a week", service, last)
		}
	}
	if _, err := AzureWeek("chat"); err == nil {
		t.Error("unknown service: no error")
	}
}

func TestAzureRequests(t *testing.T) {
	sizes, err := AzureRequests()
	if err != nil {
		t.Fatal(err)
	}
	if len(sizes) != 4000 || sizes[0] != (Tokens{Prompt: 374, Output: 44}) {
		t.Errorf("%d requests, first %+v; want 4000, first 374 and 44 tokens", len(sizes), sizes[0])
	}
}

func TestITPJobs(t *testing.T) {
	jobs, err := ITPJobs()
	if err != nil {
		t.Fatal(err)
	}
	var hours float64
	for _, j := range jobs {
		hours += j.Duration.Hours() * float64(j.GPUs)
	}
	if len(jobs) != 3011 || math.Round(hours) != 165443 {
		t.Errorf("%d jobs, %.0f GPU-hours; want 3011 and 165443", len(jobs), hours)
	}
}

func TestOpenbNodes(t *testing.T) {
	nodes, err := OpenbNodes()
	if err != nil {
		t.Fatal(err)
	}
	gpus := int64(0)
	for _, n := range nodes {
		gpus += n.GPUs
	}
	if len(nodes) != 1213 || gpus != 6212 {
		t.Errorf("%d nodes, %d GPUs; want 1213 and 6212", len(nodes), gpus)
	}
}

// cluster is what prior work counts of one: jobs, GPU-hours, how many GPUs its jobs would
// use at once if none waited, and how many they use on average from its first to its last
// submission.
type cluster struct {
	jobs                int
	hours, peak, steady int64
}

// The whole trace, and the table of its clusters as prior work counts it.
func TestAllITPJobs(t *testing.T) {
	jobs, err := AllITPJobs(workload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tenants, all, total := map[string][]sim.Job{}, 0, 0.0
	for {
		j, ok, err := jobs.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if j.UnitsPerPod > 8 || j.Name == "" {
			t.Fatalf("%+v, want pods of at most 8 GPUs and a name", j)
		}
		tenants[j.Tenant] = append(tenants[j.Tenant], j)
		total += j.Duration.Hours() * float64(j.Units())
		all++
	}
	got := map[string]cluster{}
	for tenant, jobs := range tenants {
		got[tenant] = counted(jobs)
	}
	want := map[string]cluster{
		"cluster01": {1595, 22740, 330, 28}, "cluster02": {5778, 123748, 346, 86}, "cluster03": {3011, 165443, 1379, 140},
		"cluster04": {15802, 705683, 2025, 495}, "cluster05": {3629, 14303, 341, 10}, "cluster06": {2396, 123879, 516, 87},
		"cluster07": {12699, 366800, 1903, 257}, "cluster08": {13047, 67100, 282, 66}, "cluster09": {11134, 39001, 118, 31},
		"cluster10": {260, 4023, 52, 5},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(cluster{})); diff != "" {
		t.Error(diff)
	}
	if all != 69351 || math.Round(total) != 1632720 {
		t.Errorf("%d jobs of %.0f GPU-hours, want 69351 of 1632720", all, total)
	}
	if notes := jobs.Notes(); len(notes) != 1 {
		t.Errorf("notes are %q, want only that jobs were cut", notes)
	}
}

func counted(jobs []sim.Job) cluster {
	type change struct {
		at    time.Duration
		units int64
	}
	var changes []change
	var hours float64
	for _, j := range jobs {
		changes = append(changes, change{j.Submit, j.Units()}, change{j.Submit + j.Duration, -j.Units()})
		hours += j.Duration.Hours() * float64(j.Units())
	}
	slices.SortFunc(changes, func(a, b change) int { return stdcmp.Or(stdcmp.Compare(a.at, b.at), stdcmp.Compare(a.units, b.units)) })
	var now, peak int64
	for _, c := range changes {
		now += c.units
		peak = max(peak, now)
	}
	span := jobs[len(jobs)-1].Submit - jobs[0].Submit
	return cluster{len(jobs), int64(math.Round(hours)), peak, int64(math.Round(hours / span.Hours()))}
}

func TestLoads(t *testing.T) {
	loads, err := Loads()
	if err != nil {
		t.Fatal(err)
	}
	type shape struct {
		unit            workload.Unit
		points, unknown int // the point after the end included
		end             time.Duration
	}
	got := map[string]shape{}
	for _, l := range loads {
		s := shape{l.Unit, len(l.Curve), 0, l.End()}
		for _, p := range l.Curve {
			if math.IsNaN(p.Value) {
				s.unknown++
			}
		}
		got[l.Service] = s
	}
	week, day := 7*24*time.Hour, 24*time.Hour
	want := map[string]shape{
		"azure-code": {workload.PerSecond, 1397, 1, week}, "azure-conv": {workload.PerSecond, 1397, 1, week},
		"m-mid": {workload.PerSecond, 2017, 118 + 1, 2 * week}, "m-small": {workload.PerSecond, 2017, 61 + 1, 2 * week},
		"deepseek-r1": {workload.PerSecond, 145, 1, day}, "mm-image": {workload.PerSecond, 145, 1, day},
		"deepseek": {workload.Nodes, 13, 1, day},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(shape{})); diff != "" {
		t.Error(diff)
	}
}

// What is embedded is what was published or processed, to the byte.
func TestChecksums(t *testing.T) {
	for file, want := range map[string]string{
		"data/alibaba-openb-2023/openb_node_list_gpu_node.csv": "2beca64b4d3dfa342036a34b56a495c6cef9225db836c81f541282cb1df320b5",
		"data/azure-llm-2023/conv_tokens.csv":                  "de55f963b2327172580936b7cb3a89cb99e0df13c4ecd4b8ee5abed4dd53c7d4",
		"data/azure-llm-2024/code_week_rpm.csv":                "cb74805412319d9181f02167b56f7ac713cbcd6b8fc6d5870e3bdea8c6c7cf88",
		"data/azure-llm-2024/conv_week_rpm.csv":                "3760b1eb95b1ff062a5c632dc752c5a3910f2e8384706aed1f5365ae099aeaf9",
		"data/deepseek-2025/h800_inference_nodes_24h.csv":      "3bf0b25406598fb1e6ed2147d97e3fdd57ac87dcf95da357c60f5ccd398597f0",
		"data/ms-itp-2021/itp_all_jobs.csv":                    "b4332986372fd7edccc1a71f7b6ba0067431be7ddc574457080ccf1a6f374dbc",
		"data/servegen/model_rps_10min.csv":                    "3fc3af09a0e76d185ea628e6d75a15cf6f371e707b26d36e6ab88c1a3027314a",
	} {
		content, err := files.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(content)); got != want {
			t.Errorf("%s: sha256 is %s, want %s", file, got, want)
		}
	}
}

func TestModelRates(t *testing.T) {
	for service, want := range map[string]struct {
		bins, gaps int
		first      float64
	}{
		"m-mid": {2016, 102, 986.5650}, "m-small": {2016, 37, 809.7617},
		"deepseek-r1": {144, 0, 14.8633}, "mm-image": {144, 0, 5.5583},
	} {
		bins, err := ModelRates(service)
		if err != nil {
			t.Fatal(err)
		}
		gaps := 0
		for _, b := range bins {
			if b.Gap {
				gaps++
			}
		}
		if len(bins) != want.bins || gaps != want.gaps || bins[0].PerSecond != want.first {
			t.Errorf("%s: %d bins with %d gaps from %v, want %+v", service, len(bins), gaps, bins[0].PerSecond, want)
		}
	}
	if _, err := ModelRates("gpt"); err == nil {
		t.Error("unknown service: no error")
	}
}
