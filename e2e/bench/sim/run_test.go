package sim

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestBadConfigurationsNameTheField(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"gpus: 8":       func(c *Config) { c.GPUs = 8 },
		"slice: -1ns":   func(c *Config) { c.Slice = -1 },
		"length: 1464h": func(c *Config) { c.Length = 61 * day },
		"every: 0s":     func(c *Config) { c.Every = 0 },
		"copies: 0":     func(c *Config) { c.Copies = 0 },
		"slice: 1440h":  func(c *Config) { c.Slice = 60 * day },
	} {
		c := Default()
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
}

func TestJobsAreThinnedAndCopied(t *testing.T) {
	names := func(copies float64, from time.Duration) (n int, seen map[string]bool, last time.Duration) {
		town := Town{Copies: copies, From: from}
		jobs, err := town.jobs()
		if err != nil {
			t.Fatal(err)
		}
		seen = map[string]bool{}
		for {
			j, ok, err := jobs.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return n, seen, last
			}
			if seen[j.Name] || j.Submit < last {
				t.Fatalf("job %s at %s, after one at %s: there twice, or out of order", j.Name, j.Submit, last)
			}
			seen[j.Name], last = true, j.Submit
			n++
		}
	}
	all, _, end := names(1, 0)
	if all != 69351 {
		t.Errorf("%d jobs, the trace has 69351", all)
	}
	if half, _, _ := names(0.5, 0); half != all/2 {
		t.Errorf("%d jobs, want half of %d", half, all)
	}
	if more, _, _ := names(2.5, 0); more != all*5/2 {
		t.Errorf("%d jobs, want two and a half times %d", more, all)
	}
	if later, _, last := names(1, 10*day); later >= all || last != end-10*day {
		t.Errorf("from day 10 on there are %d jobs, the last at %s; want fewer than %d, the last at %s", later, last, all, end-10*day)
	}
}

// The last line is a promise to whoever reads it, and the same run gives the same outcome.
func TestTheLastLineIsTheResult(t *testing.T) {
	c := Default()
	c.GPUs, c.From, c.Length, c.Every, c.Copies, c.Slice = 560, Busiest, 6*time.Hour, time.Minute, 1, 6*time.Hour
	var out bytes.Buffer
	c.Out = &out
	if err := Run(c); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var r Result
	dec := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		t.Fatalf("the last line is %s: %v", lines[len(lines)-1], err)
	}
	if r.Jobs == 0 || r.GPUs != 560 || r.EventsPerSecond <= 0 || r.PeakMiB <= 0 {
		t.Errorf("%+v: want jobs, 560 GPUs, events and memory", r)
	}
	a, err := play(c.Town)
	if err != nil {
		t.Fatal(err)
	}
	b, err := play(c.Town)
	if err != nil {
		t.Fatal(err)
	}
	if a.Lent != b.Lent || a.Events != b.Events || a.Evictions != b.Evictions || a.Lent <= 0 {
		t.Errorf("two runs of one town: %v and %v GPU-hours lent, %d and %d events", a.Lent, b.Lent, a.Events, b.Events)
	}
}
