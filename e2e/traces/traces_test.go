package traces

import (
	"math"
	"strings"
	"testing"
	"testing/fstest"
	"time"
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

func TestMalformedRowsNameFileAndLine(t *testing.T) {
	const jobs = "submit_s,duration_s,num_gpu\n"
	const day = "start_utc8,end_utc8,duration_h,inference_nodes,loaned_nodes\n2025-02-27T12:00,2025-02-28T00:00,12,278,0\n"
	itpOf := func(fsys fstest.MapFS) error { _, err := itp(fsys, "x.csv"); return err }
	dayOf := func(fsys fstest.MapFS) error { _, err := deepSeek(fsys, "x.csv"); return err }
	azureOf := func(fsys fstest.MapFS) error { _, err := azure(fsys, "x.csv"); return err }
	for name, tc := range map[string]struct {
		body string
		load func(fstest.MapFS) error
		want string
	}{
		"no header":         {"", itpOf, "x.csv: read header"},
		"other header":      {"a,b\n", itpOf, "x.csv:1: header"},
		"no rows":           {jobs, itpOf, "x.csv: no rows"},
		"missing column":    {jobs + "1,2\n", itpOf, "line 2"},
		"not a number":      {jobs + "1,2,3\n1,x,3\n", itpOf, `x.csv:3: duration_s is "x"`},
		"NaN":               {jobs + "1,NaN,3\n", itpOf, "x.csv:2: duration_s"},
		"no GPU":            {jobs + "1,2,0\n", itpOf, "x.csv:2: num_gpu"},
		"out of order":      {jobs + "5,2,1\n4,2,1\n", itpOf, "x.csv:3: submit_s"},
		"gap in the day":    {day + "2025-02-28T01:00,2025-02-28T02:00,1,218,60\n", dayOf, "x.csv:3: start_utc8"},
		"ends before":       {day + "2025-02-28T00:00,2025-02-27T02:00,1,218,60\n", dayOf, "x.csv:3: end_utc8"},
		"negative rate":     {"time_utc,offset_s,rpm_low,rpm_high,rpm_mid\nx,1,1,1,-1\n", azureOf, "x.csv:2: rpm_mid"},
		"time stands still": {"time_utc,offset_s,rpm_low,rpm_high,rpm_mid\nx,1,1,1,1\nx,1,1,1,1\n", azureOf, "x.csv:3: offset_s"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.load(fstest.MapFS{"x.csv": {Data: []byte(tc.body)}})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to contain %q", err, tc.want)
			}
		})
	}
	if err := itpOf(fstest.MapFS{}); err == nil {
		t.Error("missing file: no error")
	}
}
