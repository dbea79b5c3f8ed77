package agreement

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/demo"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

var (
	update = flag.String("update", "", "with LONG=1, the file in testdata to which is written what the lab's day was given, and what came of it: day-1.json")
	played = flag.String("played", "", "with LONG=1, a lab's folder in which the demo was played, with what it wrote in out.txt, in place of a new one")
)

// How close the simulator is to come: in hours to each day, in evictions to the days together.
// One day in the lab differs by more than that from the next.
const hoursWithin, evictionsWithin = 0.05, 0.10

// plays of each day in the simulator.
const plays = 16

// The days in the simulator agree with those that were recorded in the lab.
func TestTheSimulatorAgreesWithRecordedDays(t *testing.T) {
	files, err := filepath.Glob("testdata/day-*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("recorded days: %v, error %v; must be several", files, err)
	}
	var lab, sim float64
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d Day
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		t.Log(file)
		lab += float64(d.Outcome.EvictedPods) / float64(len(files))
		sim += compare(t, &d).mean / float64(len(files))
	}
	if by := off(t, "evicted pods in a day", lab, sim); !(by <= evictionsWithin) {
		t.Errorf("evicted pods differ by %.1f%%, must be at most %.0f%%", 100*by, 100*evictionsWithin)
	}
}

// The day in the simulator agrees with one in the lab that is played now. That takes minutes,
// and a machine with nothing else to do: LONG=1 does it.
func TestTheSimulatorAgreesWithTheLab(t *testing.T) {
	if os.Getenv("LONG") == "" {
		t.Skip("LONG=1 plays a whole day in a lab")
	}
	d, err := labsDay(t)
	if err != nil {
		t.Fatal(err)
	}
	if *update != "" {
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetIndent("", " ")
		if err := enc.Encode(d); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("testdata", *update), out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// By chance alone, hardly one day in a hundred is further off.
	if s, n := compare(t, d), float64(d.Outcome.EvictedPods); !(math.Abs(n-s.mean) <= 3*s.deviation) {
		t.Errorf("%.0f pods were evicted in the lab, and %.1f ± %.1f in the simulator", n, s.mean, s.deviation)
	}
}

func labsDay(t *testing.T) (*Day, error) {
	if *played != "" {
		out, err := os.ReadFile(filepath.Join(*played, "out.txt"))
		if err != nil {
			return nil, err
		}
		return Read(demo.Default(), *played, out)
	}
	if _, err := lab.Programs(t.Context(), lab.Options{Scheduler: &lab.Program{}, Broker: &lab.Program{}, Logf: t.Logf}); err != nil {
		return nil, err
	}
	return Record(t.Context(), t.TempDir(), t.Output())
}

// compare plays the day and returns how many pods were evicted. It fails if hours differ.
func compare(t *testing.T, d *Day) (evicted spread) {
	t.Helper()
	t.Logf("lab:       %+v", d.Outcome)
	var hours, pods, reclaims, loans, finished []float64
	for seed := range uint64(plays) {
		o, err := d.Play(seed)
		if err != nil {
			t.Fatal(err)
		}
		hours, pods = append(hours, o.LentGPUHours), append(pods, float64(o.EvictedPods))
		reclaims, loans, finished = append(reclaims, float64(o.Reclaims)), append(loans, float64(o.Loans)), append(finished, float64(o.JobsFinished))
	}
	t.Logf("simulator: hours %s, pods %s, reclaims %s, loans %s, jobs finished %s", of(hours), of(pods), of(reclaims), of(loans), of(finished))
	if by := off(t, "lent GPU-hours", d.Outcome.LentGPUHours, of(hours).mean); !(by <= hoursWithin) {
		t.Errorf("lent GPU-hours differ by %.1f%%, must be at most %.0f%%", 100*by, 100*hoursWithin)
	}
	evicted = of(pods)
	off(t, "evicted pods", float64(d.Outcome.EvictedPods), evicted.mean)
	return evicted
}

// spread is of several plays.
type spread struct{ mean, deviation float64 }

func (s spread) String() string { return fmt.Sprintf("%.1f ± %.1f", s.mean, s.deviation) }

func of(values []float64) spread {
	var s spread
	for _, v := range values {
		s.mean += v / float64(len(values))
	}
	for _, v := range values {
		s.deviation += (v - s.mean) * (v - s.mean) / float64(len(values)-1)
	}
	s.deviation = math.Sqrt(s.deviation)
	return s
}

// off is by how much of what the lab has the two differ.
func off(t *testing.T, what string, lab, sim float64) float64 {
	t.Helper()
	by := sim/lab - 1
	t.Logf("%s: %.1f in the lab, %.1f in the simulator, %+.1f%%", what, lab, sim, 100*by)
	return math.Abs(by)
}

func TestTheDayBeganWhenItWasSeenSoonest(t *testing.T) {
	noon := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	steps := []Point{{At: 0, Value: 70}, {At: 10 * time.Second, Value: 55}, {At: 20 * time.Second, Value: 48}, {At: 30 * time.Second, Value: 55}}
	type seen struct {
		after    time.Duration
		replicas int64
	}
	for name, c := range map[string]struct {
		seen []seen
		want time.Duration // after noon; below 0: never
	}{
		"the second number":   {[]seen{{0, 70}, {10400 * time.Millisecond, 55}}, 400 * time.Millisecond},
		"a later one":         {[]seen{{0, 70}, {10400 * time.Millisecond, 55}, {20100 * time.Millisecond, 48}, {30300 * time.Millisecond, 55}}, 100 * time.Millisecond},
		"one was not seen":    {[]seen{{0, 70}, {20200 * time.Millisecond, 48}}, 200 * time.Millisecond},
		"one stays":           {[]seen{{0, 70}, {10400 * time.Millisecond, 55}, {15 * time.Second, 55}}, 400 * time.Millisecond},
		"before the day":      {[]seen{{-5 * time.Second, 55}, {0, 70}, {10300 * time.Millisecond, 55}}, 300 * time.Millisecond},
		"none but the first":  {[]seen{{0, 70}, {5 * time.Second, 70}}, -1},
		"none of the curve's": {[]seen{{0, 70}, {5 * time.Second, 3}}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			b := beginning{steps: steps}
			for _, s := range c.seen {
				b.read(&lend.Record{Snapshot: lend.Snapshot{Now: noon.Add(s.after), Lenders: []lend.Lender{{Desired: s.replicas}}}})
			}
			var want time.Time
			if c.want >= 0 {
				want = noon.Add(c.want)
			}
			if !b.at.Equal(want) {
				t.Errorf("it began at %s, want %s", b.at, want)
			}
		})
	}
}
