package signal

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// stub answers with the number of its call; it can be made to hang.
type stub struct {
	mu    sync.Mutex
	calls map[string]int
	hang  map[string]chan struct{}
}

func (s *stub) Fetch(ctx context.Context, t Target) Sample {
	s.mu.Lock()
	s.calls[t.Name]++
	n, gate := s.calls[t.Name], s.hang[t.Name]
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	return Sample{Values: map[string]Reading{"calls": {Value: float64(n)}}}
}

// TestPollerDoesNotStall: one target's silence delays neither the others nor the
// reader, and it is not asked again meanwhile.
func TestPollerDoesNotStall(t *testing.T) {
	defer goleak.VerifyNone(t)
	clk := clocktesting.NewFakeClock(now)
	source := &stub{calls: map[string]int{}, hang: map[string]chan struct{}{"n/slow": make(chan struct{})}}
	ctx, cancel := context.WithCancel(t.Context())
	poller := NewPoller(source, time.Second, clk, func() {})
	poller.Set([]Target{{Name: "n/slow"}, {Name: "n/fast"}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		poller.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	for want := 1.0; want <= 3; want++ {
		waitFor(t, func() bool {
			if clk.HasWaiters() {
				clk.Step(time.Second)
			}
			s, ok := poller.Latest("n/fast")
			return ok && s.Values["calls"].Value >= want
		})
	}
	if _, ok := poller.Latest("n/slow"); ok {
		t.Error("there is an answer that was never given")
	}
	source.mu.Lock()
	if n := source.calls["n/slow"]; n != 1 {
		t.Errorf("the hanging target was asked %d times", n)
	}
	source.mu.Unlock()
	close(source.hang["n/slow"])
	waitFor(t, func() bool { _, ok := poller.Latest("n/slow"); return ok })

	poller.Set([]Target{{Name: "n/slow", Namespace: "changed"}})
	if _, ok := poller.Latest("n/fast"); ok {
		t.Error("a target that is gone still has answers")
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatal("not within 10s")
		}
	}
}

func TestSpecs(t *testing.T) {
	for name, test := range map[string]struct {
		signals []v1alpha1.Signal
		want    string
	}{
		"default":        {signals: []v1alpha1.Signal{{Profile: "vllm"}}},
		"both kinds":     {signals: []v1alpha1.Signal{{Profile: "vllm", Slots: 64}, {Query: "x", LowWater: "1", HighWater: "2.5"}}},
		"unknown":        {signals: []v1alpha1.Signal{{Profile: "magic"}}, want: `spec.signals[0].profile: "magic" is not a known profile; want ` + strings.Join(ProfileNames(), ", ")},
		"two profiles":   {signals: []v1alpha1.Signal{{Profile: "vllm"}, {Profile: "vllm"}}, want: "spec.signals[1].profile: profile vllm gives requests in flight, and so does vllm: a policy can have one such profile"},
		"marks reversed": {signals: []v1alpha1.Signal{{Query: "x", LowWater: "3", HighWater: "2"}}, want: "spec.signals[0]: lowWater must be below highWater"},
	} {
		got := ""
		if _, err := Specs(test.signals); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got error %q, want %q", name, got, test.want)
		}
	}
	specs, err := Specs([]v1alpha1.Signal{{Profile: "vllm", Slots: 64}})
	if err != nil || specs[0].Slots != 64 {
		t.Errorf("slots: got %v, %v", specs, err)
	}
}
