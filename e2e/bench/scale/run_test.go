package scale

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func TestTheLastLineIsTheResult(t *testing.T) {
	var out bytes.Buffer
	c := Config{GPUs: []int64{160, 320}, Length: 6 * time.Hour, Every: time.Minute, Waiting: []int{50, 150}, Queued: 160, Out: &out}
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
	if r.GPUs != 320 || r.P50 <= 0 || r.P99 < r.P50 || r.HeapMiB <= 0 {
		t.Errorf("%+v: want 320 GPUs, times and memory", r)
	}
}

func TestBadConfigurationsNameTheField(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"there are 1 clusters": func(c *Config) { c.GPUs = c.GPUs[:1] },
		"gpus: 3000":           func(c *Config) { c.GPUs = []int64{10000, 3000} },
		"waiting: 1000":        func(c *Config) { c.Waiting = []int{3000, 1000} },
		"1 queues":             func(c *Config) { c.Waiting = c.Waiting[:1] },
		"length, every: 1m0s":  func(c *Config) { c.Length = time.Minute },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
}

func TestExponent(t *testing.T) {
	for _, k := range []float64{0, 0.5, 1, 2} {
		var rows []*row
		for _, n := range []int64{1000, 3000, 10000, 30000} {
			rows = append(rows, &row{of: float64(n), cpu50: 0.01 * math.Pow(float64(n), k)})
		}
		if got := exponent(rows); math.Abs(got-k) > 1e-9 {
			t.Errorf("exponent %v, want %v", got, k)
		}
	}
}
