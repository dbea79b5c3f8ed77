package signal

import (
	"context"
	"net/http"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// TestPollerRemembers: what a target's pods told is with the next answers, and gone with
// another question.
func TestPollerRemembers(t *testing.T) {
	clk := clocktesting.NewFakeClock(now)
	poller := NewPoller(nil, time.Second, clk, nil)
	target := Target{Name: "n/l", Specs: []Spec{{Name: "s", Kind: KindProfile, Profile: "nim"}}, Pods: []Pod{{Name: "a"}}}
	both := map[string]float64{"a": 0}
	full := says(map[Measure]map[string]float64{Running: both, Waiting: both, KV: both, Slots: {"a": 8}})
	less := says(map[Measure]map[string]float64{Running: both, Waiting: both, KV: both})
	silent := func() float64 {
		sample, _ := poller.Latest("n/l")
		s, _ := signalOf(Combine(target.Specs, sample, ready("a"), clk.Now()), silentReplicas)
		return s.Value
	}
	poller.Set([]Target{target})
	for step, test := range []struct {
		sample Sample
		want   float64
	}{{less, 0}, {full, 0}, {less, 1}, {less, 1}} {
		poller.store(target, test.sample)
		if got := silent(); got != test.want {
			t.Errorf("step %d: %v silent, want %v", step, got, test.want)
		}
	}
	other := target
	other.Specs = []Spec{{Name: "s", Kind: KindProfile, Profile: "nim", MatchLabels: map[string]string{"model": "x"}}}
	poller.Set([]Target{other})
	poller.store(other, less)
	if got := silent(); got != 0 {
		t.Errorf("another question: %v silent, want 0", got)
	}
}

// TestOptionalAnswers: that nobody tells a measure is another answer than none, and that
// nothing ended is one.
func TestOptionalAnswers(t *testing.T) {
	t.Parallel()
	one, zero, nan := perPod(map[string]string{"a": "1"}), perPod(map[string]string{"a": "0"}), perPod(map[string]string{"a": "NaN"})
	specs := []Spec{{Name: "s", Kind: KindProfile, Profile: "nim"}}
	for name, test := range map[string]struct {
		slots, errors answer
		silent        float64
	}{
		"nobody tells":  {answer{data: perPod(nil)}, answer{data: perPod(nil)}, 0},
		"all is told":   {answer{data: one}, answer{data: zero}, 0},
		"nothing ended": {answer{data: one}, answer{data: nan}, 0},
		"refused":       {answer{status: http.StatusBadRequest}, answer{data: zero}, 1},
		"late":          {answer{data: one}, answer{hang: true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.slots.contains, test.errors.contains = "num_request_max", "request_failure_total"
			taken := perPod(map[string]string{"a": at(0)})
			lately := taken
			if test.slots.data == perPod(nil) {
				lately = perPod(nil)
			}
			server := &server{answers: []answer{
				{contains: "timestamp(num_request_max", data: lately}, {contains: "timestamp(request_failure_total", data: lately},
				{contains: "timestamp(", data: taken}, test.slots, test.errors, {contains: "num_requests", data: zero}, {contains: "cache", data: zero},
			}}
			target := Target{Name: "n/l", Namespace: "n", Specs: specs}
			sample := fetch(t, server, target)
			if test.errors.data == nan { // what failed is told anew when something ends
				sample.Had = map[string]Readings{of("s", Errors): {"a": {At: now}}}
			}
			load := Combine(specs, sample, ready("a"), now)
			if got, _ := signalOf(load, silentReplicas); !load.Known || got.Value != test.silent {
				t.Errorf("got %+v of %+v, want %v silent", load, sample, test.silent)
			}
		})
	}
}

// TestScraperTellsAbsence: pods that answer without a measure say that they do not have
// it, and one that cannot be reached says nothing.
func TestScraperTellsAbsence(t *testing.T) {
	targets, port := pods(t, answers1)
	spec := scrapeSpec(port)
	spec.Profile = "nim"
	sample := NewScraper(time.Minute, clocktesting.NewFakeClock(now)).Fetch(context.Background(), Target{Name: "n/l", Namespace: "n", Specs: []Spec{spec}, Pods: targets})
	if question := of(spec.Name, Slots); !sample.Absent[question] || sample.Missing[question] == "" {
		t.Errorf("got %+v, want slots absent", sample)
	}
	sample = NewScraper(time.Minute, clocktesting.NewFakeClock(now)).Fetch(context.Background(), Target{Name: "n/l", Namespace: "n", Specs: []Spec{spec}, Pods: []Pod{{Name: "a"}}})
	if question := of(spec.Name, Slots); sample.Absent[question] || sample.Missing[question] == "" {
		t.Errorf("got %+v, want slots missing and not absent", sample)
	}
}
