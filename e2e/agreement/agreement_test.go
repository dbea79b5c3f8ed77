package agreement

import (
	"bytes"
	"encoding/json"
	"flag"
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
	update = flag.Bool("update", false, "write what the lab's day was given, and what came of it, to testdata; with LONG=1")
	played = flag.String("played", "", "with LONG=1, a lab's folder in which the demo was played, with what it wrote in out.txt, in place of a new one")
)

const recorded = "testdata/day.json"

// How close the simulator is to come.
const hoursWithin, evictionsWithin = 0.05, 0.10

// evictionsMissed declares by how much evictions differ from the recorded day, which is more
// than evictionsWithin, and must not become more. Package documentation says why. Who meets
// the target takes this away.
const evictionsMissed = 0.70

// The day in the simulator agrees with the one that was recorded in the lab.
func TestTheSimulatorAgreesWithARecordedDay(t *testing.T) {
	data, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	var d Day
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatalf("%s: %v", recorded, err)
	}
	switch by := compare(t, &d); {
	case by <= evictionsWithin:
		t.Error("evictions agree with the recorded day: nothing is to be declared as missed any more")
	case !(by <= evictionsMissed):
		t.Errorf("evicted pods differ by %.1f%%, more than the %.0f%% that are declared as missed", 100*by, 100*evictionsMissed)
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
	if *update {
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetIndent("", " ")
		if err := enc.Encode(d); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(recorded, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, d)
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

// compare returns by how much evictions differ.
func compare(t *testing.T, d *Day) float64 {
	t.Helper()
	got, err := d.Play()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("lab:       %+v", d.Outcome)
	t.Logf("simulator: %+v", got)
	off := func(what string, lab, sim float64) float64 {
		by := sim/lab - 1
		t.Logf("%s: %.1f in the lab, %.1f in the simulator, %+.1f%%", what, lab, sim, 100*by)
		return math.Abs(by)
	}
	if by := off("lent GPU-hours", d.Outcome.LentGPUHours, got.LentGPUHours); !(by <= hoursWithin) {
		t.Errorf("lent GPU-hours differ by %.1f%%, must be at most %.0f%%", 100*by, 100*hoursWithin)
	}
	by := off("evicted pods", float64(d.Outcome.EvictedPods), float64(got.EvictedPods))
	if !(by <= evictionsWithin) {
		t.Logf("evicted pods differ by %.1f%%, which is declared as missed: the aim is %.0f%%", 100*by, 100*evictionsWithin)
	}
	return by
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
