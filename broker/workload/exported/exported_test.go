package exported_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
)

// told is a stream in words: a line for each job, and one for each note.
func told(t *testing.T, file string, o workload.Options) []string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	jobs, err := workload.OpenJobs(file, f, o)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for {
		j, ok, err := jobs.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		line := fmt.Sprintf("%s of %s at %s for %s: %dx%d %s", j.Name, j.Tenant, j.Submit, j.Duration, j.Pods, j.UnitsPerPod, j.Flavor)
		if j.MinPods > 0 {
			line += fmt.Sprintf(" at least %d", j.MinPods)
		}
		if j.Priority != 0 {
			line += fmt.Sprintf(" priority %d", j.Priority)
		}
		lines = append(lines, line)
	}
	return append(lines, jobs.Notes()...)
}

func TestExports(t *testing.T) {
	saves := workload.Options{Flavor: "a100", Costs: sim.Costs{CheckpointEvery: time.Hour}}
	for name, tc := range map[string]struct {
		file    string
		options workload.Options
		want    []string
	}{
		"slurm": {"sacct.txt", workload.Options{}, []string{
			"research/1001 of research at 0s for 26h3m4s: 2x8 h100",
			"vision/1002_1 of vision at 10m0s for 45m0s: 1x1 gpu",
			"vision/1002_2 of vision at 10m0s for 2m30s: 1x1 gpu",
			"vision/1003 of vision at 1h0m0s for 30m0s: 1x8 gpu",
			"research/1005 of research at 1h45m0s for 48h0m0s: 1x3 gpu",
			"research/1006 of research at 1h50m0s for 2m0s: 1x2 gpu",
			"times do not say their zone, and are read as UTC",
			"jobs that failed, were cancelled or ran out of time, counted with the time that they ran: 2",
			"jobs left out because they never ran, so that how long they would have is not known: 2",
			"jobs left out because they asked for no GPU: 1",
			"jobs of pods of different sizes, cut into equal ones: 1",
			"jobs that still ran when the export was made, counted with the time that they had run by then: 1",
			"jobs begun anew, of which only the last run counts as work, since they do not save it: 1",
		}},
		"slurm, jobs that save": {"sacct.txt", saves, []string{
			"research/1001 of research at 0s for 26h3m4s: 2x8 h100",
			"vision/1002_1 of vision at 10m0s for 45m0s: 1x1 a100",
			"vision/1002_2 of vision at 10m0s for 2m30s: 1x1 a100",
			"vision/1003 of vision at 1h0m0s for 1h30m0s: 1x8 a100",
			"research/1005 of research at 1h45m0s for 48h0m0s: 1x3 a100",
			"research/1006 of research at 1h50m0s for 2m0s: 1x2 a100",
			"times do not say their zone, and are read as UTC",
			"jobs that failed, were cancelled or ran out of time, counted with the time that they ran: 2",
			"jobs left out because they never ran, so that how long they would have is not known: 2",
			"jobs left out because they asked for no GPU: 1",
			"jobs of pods of different sizes, cut into equal ones: 1",
			"jobs that still ran when the export was made, counted with the time that they had run by then: 1",
			"jobs begun anew, all of whose runs count as work, since they save it: 1",
		}},
		"slurm from nine on, in another zone": {"sacct.txt", workload.Options{
			Origin: time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC), Zone: time.FixedZone("UTC+8", 8*3600),
		}, []string{
			"vision/1003 of vision at 0s for 30m0s: 1x8 gpu",
			"research/1005 of research at 45m0s for 48h0m0s: 1x3 gpu",
			"research/1006 of research at 50m0s for 2m0s: 1x2 gpu",
			"times do not say their zone, and are read as UTC+8",
			"jobs that failed, were cancelled or ran out of time, counted with the time that they ran: 2",
			"jobs left out because they never ran, so that how long they would have is not known: 2",
			"jobs left out because they asked for no GPU: 1",
			"jobs of pods of different sizes, cut into equal ones: 1",
			"jobs that still ran when the export was made, counted with the time that they had run by then: 1",
			"jobs left out because they were submitted before the beginning: 3",
			"jobs begun anew, of which only the last run counts as work, since they do not save it: 1",
		}},
		"kueue": {"workloads.json", workload.Options{}, []string{
			"vision/job-was-taken-1a2b3 of vision at 0s for 10m0s: 2x4 gpu",
			"vision/job-sweep-77aa0 of vision at 1h30m0s for 20m0s: 4x1 mig-1g.10gb at least 2",
			"research/pytorchjob-bert-4e1f2 of research at 2h0m0s for 3h0m0s: 4x8 h100 priority 10",
			"vision/job-runs-9d8e7 of vision at 5h30m0s for 30m0s: 2x4 gpu",
			"jobs left out because they never ran, so that how long they would have is not known: 1",
			"jobs that waited when the export was made, counted with the time that they had run before they were taken back: 1",
			"jobs begun anew, of which only the last run counts as work, since they do not save it: 1",
			"jobs that still ran when the export was made, counted with the time that they had run by then: 1",
		}},
		"kueue, jobs that save": {"workloads.json", saves, []string{
			"vision/job-was-taken-1a2b3 of vision at 0s for 10m0s: 2x4 a100",
			"vision/job-sweep-77aa0 of vision at 1h30m0s for 20m0s: 4x1 mig-1g.10gb at least 2",
			"research/pytorchjob-bert-4e1f2 of research at 2h0m0s for 3h30m0s: 4x8 h100 priority 10",
			"vision/job-runs-9d8e7 of vision at 5h30m0s for 30m0s: 2x4 a100",
			"jobs left out because they never ran, so that how long they would have is not known: 1",
			"jobs that waited when the export was made, counted with the time that they had run before they were taken back: 1",
			"jobs begun anew, all of whose runs count as work, since they save it: 1",
			"jobs that still ran when the export was made, counted with the time that they had run by then: 1",
		}},
		"volcano jobs": {"vcjobs.json", workload.Options{}, []string{
			"research/tensorflow-dist of research at 0s for 2h0m0s: 4x2 gpu at least 2",
			"research/mpi of research at 30m0s for 1h20m0s: 2x8 gpu",
			"jobs left out because they never ran, so that how long they would have is not known: 1",
			"jobs that still ran when the export was made, counted with the time that they had run by then: 1",
		}},
		"volcano pod groups": {"podgroups.json", workload.Options{}, []string{
			"research/podgroup-a of research at 0s for 2h0m0s: 4x4 gpu",
			"jobs left out because the export does not say when they ended: 1",
			"jobs left out because they never ran, so that how long they would have is not known: 1",
			"jobs that still ran when the export was made, counted with the time that they had run by then: 1",
		}},
		"jobs": {"jobs.json", workload.Options{}, []string{
			"research/train of research at 0s for 1h0m0s: 2x5 gpu",
			"research/fails of research at 10m0s for 15m0s: 1x1 gpu",
			"jobs left out because they asked for no GPU: 1",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, told(t, tc.file, tc.options)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The same objects one by one, as jq gives them, are the same jobs.
func TestObjectsOneByOne(t *testing.T) {
	list, err := os.ReadFile("testdata/workloads.json")
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct{ Items []json.RawMessage }
	if err := json.Unmarshal(list, &parsed); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, item := range parsed.Items {
		lines = append(lines, string(item))
	}
	count := func(content string) (n int) {
		jobs, err := workload.OpenJobs("x.json", strings.NewReader(content), workload.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			_, ok, err := jobs.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return n
			}
			n++
		}
	}
	if got := count(strings.Join(lines, "\n")); got != 4 {
		t.Errorf("%d jobs of objects one by one, want 4", got)
	}
	if got := count(string(list) + lines[0]); got != 5 {
		t.Errorf("%d jobs of a list and an object, want 5", got)
	}
}

func TestExportsThatAreWrong(t *testing.T) {
	const head = "JobID|Account|Submit|Elapsed|State|AllocTRES\n"
	const meta = `"metadata":{"name":"a","namespace":"b","creationTimestamp":"2026-03-02T09:00:00Z"}`
	for name, tc := range map[string]struct{ content, want string }{
		"no state":          {"JobID|Account|State\n1|a|b\n", "x:1: header has no column Submit, Elapsed, AllocTRES"},
		"a time":            {head + "1|a|yesterday|00:10:00|COMPLETED|gres/gpu=1\n", `x:2: Submit is "yesterday", want a time like`},
		"an elapsed time":   {head + "1|a|2026-03-02T09:00:00|10m|COMPLETED|gres/gpu=1\n", `x:2: Elapsed is "10m", want a duration like`},
		"a number of GPUs":  {head + "1|a|2026-03-02T09:00:00|00:10:00|COMPLETED|gres/gpu=many\n", "x:2: AllocTRES is"},
		"a name with a bar": {head + "1|a|b|2026-03-02T09:00:00|00:10:00|COMPLETED|gres/gpu=1\n", "x:2: has 7 fields, want 6"},
		"no account":        {head + "1||2026-03-02T09:00:00|00:10:00|COMPLETED|gres/gpu=1\n", `x:2: Account is "", want a name`},
		"half a list":       {`{"items":[{"apiVersion":"batch/v1","kind":"Job",` + meta + `}`, "x: "},
		"no object":         {`{"items":[1]}`, "x: items[0]: "},
		"another kind":      {`{"items":[{"apiVersion":"v1","kind":"Pod",` + meta + `}]}`, "x: items[0] (Pod b/a): kind: is Pod of v1, want Job (batch)"},
		"two kinds": {
			`{"items":[{"apiVersion":"batch/v1","kind":"Job",` + meta + `},{"apiVersion":"kueue.x-k8s.io/v1beta1","kind":"Workload",` + meta + `}]}`,
			"x: items[1] (Workload b/a): kind: is kueue.x-k8s.io/Workload, and of items before batch/Job",
		},
		"no name":       {`{"apiVersion":"batch/v1","kind":"Job","metadata":{}}`, "metadata: name, namespace"},
		"a count":       {`{"apiVersion":"batch/v1","kind":"Job",` + meta + `,"spec":{"parallelism":"two"}}`, "x: items[0] (Job b/a): spec.parallelism: is string"},
		"a condition":   {`{"apiVersion":"kueue.x-k8s.io/v1beta1","kind":"Workload",` + meta + `,"status":{"conditions":{}}}`, "status.conditions: is object"},
		"an empty list": {`{"items":[],"kind":"List"}`, "x: has no items: want Job"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := workload.OpenJobs("x", strings.NewReader(tc.content), workload.Options{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to contain %q", err, tc.want)
			}
		})
	}
}

// The label by which a Job was submitted to a queue of ours is believed.
func TestQueueOfAJob(t *testing.T) {
	const text = `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","namespace":"b","labels":{"ebbtide.dev/queue":"night"},"creationTimestamp":"2026-03-02T09:00:00Z"},
		"spec":{"template":{"spec":{"containers":[{"name":"c","resources":{"limits":{"nvidia.com/gpu":"1"}}}]}}},
		"status":{"startTime":"2026-03-02T09:00:00Z","completionTime":"2026-03-02T10:00:00Z"}}`
	jobs, err := workload.OpenJobs("x.json", strings.NewReader(text), workload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if j, ok, err := jobs.Next(); err != nil || !ok || j.Queue != "b/night" {
		t.Errorf("%+v, %t, %v, want it in b/night", j, ok, err)
	}
}
