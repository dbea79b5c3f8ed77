package workload_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/workload"
	"github.com/ebbtide/ebbtide/broker/workload/recorded"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// loads are in words: a line for each service.
func loads(content string) (said string) {
	all, err := workload.ReadLoad("x", strings.NewReader(content))
	if err != nil {
		return err.Error()
	}
	for _, l := range all {
		said += l.Service + ":"
		if l.Unit != workload.Unsaid {
			said += " " + string(l.Unit) + ","
		}
		if !l.Start.IsZero() {
			said += " from " + l.Start.Format(time.RFC3339)
		}
		for _, p := range l.Curve {
			said += fmt.Sprintf(" %s %.4g", p.At, p.Value)
		}
		said += "\n"
	}
	return said
}

func TestReadLoad(t *testing.T) {
	for name, tc := range map[string]struct{ content, want string }{
		"seconds": {"time,value\n0,1\n60,2\n120,0\n", ": 0s 1 1m0s 2 2m0s 0 3m0s NaN\n"},
		"columns in another order, dates": {
			"value,time\n1,2026-03-02T09:00:00Z\n2,2026-03-02T09:05:00Z\n",
			": from 2026-03-02T09:00:00Z 0s 1 5m0s 2 10m0s NaN\n",
		},
		"Unix time": {"time,value\n1772442000,1\n1772442060,2\n", ": from 2026-03-02T09:00:00Z 0s 1 1m0s 2 2m0s NaN\n"},
		"two services, one after the other, the second later": {
			"time,service,value\n0,a,1\n60,a,2\n600,b,3\n660,b,4\n",
			"a: 0s 1 1m0s 2 2m0s NaN\nb: 0s NaN 10m0s 3 11m0s 4 12m0s NaN\n",
		},
		"a cell without a value": {"time,value\n0,1\n60,\n120,3\n", ": 0s 1 1m0s NaN 2m0s 3 3m0s NaN\n"},
		"a row that is missing": {
			"time,value\n0,1\n60,1\n120,1\n180,1\n240,1\n300,1\n360,1\n420,1\n480,1\n540,1\n900,7\n960,8\n",
			": 0s 1 1m0s 1 2m0s 1 3m0s 1 4m0s 1 5m0s 1 6m0s 1 7m0s 1 8m0s 1 9m0s 1 10m0s NaN 15m0s 7 16m0s 8 17m0s NaN\n",
		},
		"rows at a step that shakes, and a hole": {
			"time,value\n0,1\n59.9,2\n120.2,3\n180,4\n241,5\n300,6\n359.8,7\n420.1,8\n479,9\n540,10\n600.3,11\n4200,12\n",
			": 0s 1 59.9s 2 2m0.2s 3 3m0s 4 4m1s 5 5m0s 6 5m59.8s 7 7m0.1s 8 7m59s 9 9m0s 10 10m0.3s 11 11m0.6s NaN 1h10m0s 12 1h11m0.3s NaN\n",
		},
		"rows when something changes": {"time,value\n0,1\n60,2\n3600,3\n9000,4\n", ": 0s 1 1m0s 2 1h0m0s 3 2h30m0s 4 2h31m0s NaN\n"},
		"one row":                     {"time,value\n30,1\n", ": 30s 1 1m30s NaN\n"},
		"a part of a recording":       {"time,value\n3600,1\n3660,2\n", ": 0s NaN 1h0m0s 1 1h1m0s 2 1h2m0s NaN\n"},
		"a part with dates":           {"time,value\n2026-03-02T09:00:00Z,1\n2026-03-02T09:01:00Z,2\n", ": from 2026-03-02T09:00:00Z 0s 1 1m0s 2 2m0s NaN\n"},
		"the day of DeepSeek": {
			"start_utc8,end_utc8,duration_h,inference_nodes,loaned_nodes\n2025-02-27T12:00,2025-02-28T00:00,12.00,278,0\n2025-02-28T00:00,2025-02-28T01:15,1.25,218,60\n",
			": nodes held, from 2025-02-27T12:00:00+08:00 0s 278 12h0m0s 218 13h15m0s NaN\n",
		},
		"a week of Azure": {
			"time_utc,offset_s,rpm_low,rpm_high,rpm_mid\n2024-05-10T00:07:12Z,433,1152,1666,1200\n2024-05-10T00:14:25Z,866,1152,1666,600\n",
			": requests per second, from 2024-05-10T00:00:00Z 7m13s 20 14m26s 10 21m39s NaN\n",
		},
		"a week of one row": {
			"time_utc,offset_s,rpm_low,rpm_high,rpm_mid\n2024-05-10T00:07:12Z,433,1152,1666,1200\n",
			": requests per second, from 2024-05-10T00:00:00Z 7m13s 20 8m13s NaN\n",
		},
		"holes and their neighbours": {
			"t_s,m_mid,m_small,deepseek_r1,mm_image\n0,500,500,1,1\n600,500,500,1,\n1200,99,500,1,\n1800,500,49,,\n2400,500,500,,\n",
			"m-mid: requests per second, 0s 500 10m0s NaN 20m0s NaN 30m0s NaN 40m0s 500 50m0s NaN\n" +
				"m-small: requests per second, 0s 500 10m0s 500 20m0s NaN 30m0s NaN 40m0s NaN 50m0s NaN\n" +
				"deepseek-r1: requests per second, 0s 1 10m0s 1 20m0s 1 30m0s NaN\n" +
				"mm-image: requests per second, 0s 1 10m0s NaN\n",
		},

		"no header":                {"0,1\n1,2\n", `x:1: header has no column time, value and has unknown columns ["0" "1"]: want time, value; may have service`},
		"another column":           {"time,value,unit\n0,1,rps\n", `x:1: header has unknown columns ["unit"]: want time, value; may have service`},
		"nothing":                  {"time,value\n", "x: no rows after the header"},
		"time stands still":        {"time,value\n60,1\n60,1\n", `x:3: time is "60", want a time after the service's row before`},
		"centuries":                {"time,value\n100000001,1\n8900000000,2\n", `x:3: time is "8900000000", want a time at most 50 years from the first row`},
		"below 0":                  {"time,value\n0,-1\n", `x:2: value is "-1", want a number of at least 0`},
		"text":                     {"time,value\n0,high\n", `x:2: value is "high", want a number of at least 0`},
		"two sorts of times":       {"time,value\n0,1\n2026-03-02T09:00:00Z,1\n", `x:3: time is "2026-03-02T09:00:00Z", want a time with a date in all rows, or in none`},
		"no service":               {"time,service,value\n0,,1\n", `x:2: service is "", want a name`},
		"jobs":                     {"submit_s,duration_s,num_gpu,cluster\n1,2,3,a\n", "x: is in the format itp, which has no load: want time,value or time,service,value, azure-week, azure-requests, servegen, deepseek, openb-pods"},
		"a day with a gap":         {"start_utc8,end_utc8,duration_h,inference_nodes,loaned_nodes\n2025-02-27T12:00,2025-02-28T00:00,12,278,0\n2025-02-28T01:00,2025-02-28T02:00,1,218,60\n", `x:3: start_utc8 is "2025-02-28T01:00", want the end of the row before`},
		"a day that ends before":   {"start_utc8,end_utc8,duration_h,inference_nodes,loaned_nodes\n2025-02-28T01:00,2025-02-28T00:00,1,218,60\n", `x:2: end_utc8 is "2025-02-28T00:00", want a time after start_utc8`},
		"a length that is wrong":   {"start_utc8,end_utc8,duration_h,inference_nodes,loaned_nodes\n2025-02-28T00:00,2025-02-28T01:00,2,218,60\n", `x:2: duration_h is "2", want the hours from start_utc8 to end_utc8`},
		"a bin that is missing":    {"t_s,m_mid,m_small,deepseek_r1,mm_image\n0,1,1,1,1\n1200,1,1,1,1\n", `x:3: t_s is "1200", want 600`},
		"a cell in the middle":     {"t_s,m_mid,m_small,deepseek_r1,mm_image\n0,1,1,1,1\n600,1,1,,1\n1200,1,1,1,1\n", `x:4: deepseek_r1 is "1", want empty, as in the row before`},
		"a week that stands":       {"time_utc,offset_s,rpm_low,rpm_high,rpm_mid\n2024-05-10T00:07:12Z,433,1,1,1\n2024-05-10T00:07:12Z,433,1,1,1\n", `x:3: offset_s is "433", want more than the row before`},
		"requests out of order":    {"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:05.0000000,1,1\n2023-11-16 18:00:00.0000000,1,1\n", `x:3: TIMESTAMP is "2023-11-16 18:00:00.0000000", want no earlier than the row before`},
		"requests of centuries":    {"TIMESTAMP,ContextTokens,GeneratedTokens\n1023-11-16 18:00:00.0000000,1,1\n2023-11-16 18:00:00.0000000,1,1\n", `x:3: TIMESTAMP is "2023-11-16 18:00:00.0000000", want at most 400 days after the first row`},
		"a pod that ends too soon": {"name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\np,1,1,1,1000,,LS,Running,100,50,100\n", `x:2: deletion_time is "50", want a time after creation_time and scheduled_time`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := loads(tc.content); got != tc.want {
				t.Errorf("%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func TestReadLoadOfPodsAndRequests(t *testing.T) {
	for file, want := range map[string]string{
		"openb_pods.csv": ": GPUs held, 0s 1 10m0s 1.46 1h0m0s 1 2h0m0s NaN\n",
		"requests.csv":   ": requests per second, from 2023-11-16T18:00:00Z 0s 0.2 10s 0 20s 0.1 30s NaN\n",
	} {
		content, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		if got := loads(string(content)); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

// As many requests are in flight as Little's law says.
func TestConcurrencyCurve(t *testing.T) {
	f, err := os.Open("testdata/requests.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file, err := rows.Comma("requests.csv", f)
	if err != nil {
		t.Fatal(err)
	}
	requests, err := recorded.AzureRequests(file)
	if err != nil {
		t.Fatal(err)
	}
	takes := func(r recorded.Request) time.Duration { return time.Duration(r.Output) * time.Second }
	var got []float64
	for _, p := range recorded.ConcurrencyCurve(requests, 10*time.Second, takes) {
		got = append(got, p.Value)
	}
	// The first from 0 to 10 s, the second from 5 to 25 s, the third from 25.5 s on.
	if diff := cmp.Diff([]float64{1.5, 1, 0.95, math.NaN()}, got, cmp.Comparer(func(a, b float64) bool {
		return math.Abs(a-b) < 1e-9 || math.IsNaN(a) && math.IsNaN(b)
	})); diff != "" {
		t.Error(diff)
	}
}

// Whatever is written as CSV is read as it was: known values are kept, and nothing that is
// not there is.
func TestLoadIsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-1, 1e6), 1, 50).Draw(t, "values")
		step := rapid.IntRange(1, 3600).Draw(t, "step")
		text := "time,value\n"
		for i, v := range values {
			if v < 0 {
				text += fmt.Sprintf("%d,\n", i*step)
			} else {
				text += fmt.Sprintf("%d,%v\n", i*step, v)
			}
		}
		all, err := workload.ReadLoad("x", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range values {
			for _, into := range []time.Duration{0, time.Second / 2} {
				got := all[0].Curve.At(time.Duration(i*step)*time.Second + into)
				if want < 0 && !math.IsNaN(got) || want >= 0 && got != want {
					t.Fatalf("at row %d %v, want %v", i, got, want)
				}
			}
		}
		if end := all[0].End(); !math.IsNaN(all[0].Curve.At(end)) {
			t.Fatalf("at its end %v, want what is not known", all[0].Curve.At(end))
		}
	})
}

func FuzzReadLoad(f *testing.F) {
	for _, content := range []string{
		"time,value\n0,1\n60,\n", "time,service,value\n2026-03-02T09:00:00Z,a,1\n",
		"t_s,m_mid,m_small,deepseek_r1,mm_image\n0,500,500,1,1\n",
		"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:05.0000000,1,1\n",
		"start_utc8,end_utc8,duration_h,inference_nodes,loaned_nodes\n2025-02-27T12:00,2025-02-28T00:00,12.00,278,0\n",
		"time_utc,offset_s,rpm_low,rpm_high,rpm_mid\n2024-05-10T00:07:12Z,433,1152,1666,1200\n",
		"name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\np,1,1,1,1000,,LS,Running,0,50,0\n",
	} {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content string) {
		all, err := workload.ReadLoad("x", strings.NewReader(content))
		if err != nil {
			return
		}
		for _, l := range all {
			last := time.Duration(-1)
			for _, p := range l.Curve {
				if p.At <= last || p.Value < 0 || math.IsInf(p.Value, 0) {
					t.Fatalf("%s: point %v after %s", l.Service, p, last)
				}
				last = p.At
			}
		}
	})
}
