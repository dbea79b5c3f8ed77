package reclaim

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// at is a time in seconds after the cluster was full.
func at(seconds float64) time.Time {
	return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

func online(made, bound float64) sighting {
	return sighting{online: true, made: at(made), bound: at(bound)}
}

func victim(job string, asked, gone float64) sighting {
	return sighting{job: job, bound: at(-10), running: at(-9), asked: at(asked), gone: at(gone)}
}

func seconds(values ...float64) []time.Duration {
	var out []time.Duration
	for _, v := range values {
		out = append(out, time.Duration(v*float64(time.Second)))
	}
	return out
}

// Every number of a row comes from what was seen, and falls to the right wave.
func TestRows(t *testing.T) {
	x := trial{
		gangs: []gang{{name: "two", pods: 2, age: 100 * time.Second}, {name: "four", pods: 4, age: 70 * time.Second, every: 60 * time.Second}},
		waves: []wave{{2, 1}, {1, 4}, {1, 4}},
	}
	p := played{
		full: at(0), began: []time.Time{at(10), at(20), at(30)},
		pods: []sighting{
			online(10.5, 12), online(10.1, 13),
			victim("two", 10.5, 11.5), victim("four", 11, 12.25), victim("four", 11.5, 12),
			online(20.5, 22.5),
			victim("two", 21, 22), // of a gang that is broken already
			{job: "two", bound: at(-10), running: at(-9)},
			online(30.5, 31), // there was room
		},
	}
	want := []row{
		{
			wave: wave{2, 1}, waves: 1, evicted: 3, broken: 2, lost: 2*110.5 + 4*21,
			asked: 1500 * time.Millisecond, gone: 2250 * time.Millisecond, took: 3 * time.Second,
			waits: seconds(1.5, 2.9), net: seconds(0.25, 1.65), // less 1.25, the slowest
		},
		{
			wave: wave{1, 4}, waves: 2, evicted: 1, broken: 0, lost: 0,
			asked: time.Second, gone: 2 * time.Second, took: 2500 * time.Millisecond,
			waits: seconds(0.5, 2), net: seconds(0.5, 1),
		},
	}
	got := p.rows(x)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{}, wave{})); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	sum := row{
		waves: 3, evicted: 4, broken: 2, lost: 305, asked: 1500 * time.Millisecond, gone: 2250 * time.Millisecond, took: 3 * time.Second,
		waits: seconds(0.5, 1.5, 2, 2.9), net: seconds(0.25, 0.5, 1, 1.65),
	}
	if diff := cmp.Diff(sum, total(got), cmp.AllowUnexported(row{}, wave{})); diff != "" {
		t.Errorf("total (-want +got):\n%s", diff)
	}
}

func TestQuantile(t *testing.T) {
	values := seconds(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	for q, want := range map[float64]float64{0.99: 10, 0.9: 9, 0.91: 10, 0.5: 5, 0: 1, 1: 10} {
		if got := quantile(values, q).Seconds(); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := quantile(nil, 0.99); got != 0 {
		t.Errorf("quantile of nothing is %s", got)
	}
	if got := mean(values); got != 5500*time.Millisecond {
		t.Errorf("mean %s, want 5.5s", got)
	}
}
