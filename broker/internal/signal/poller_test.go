package signal

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	clocktesting "k8s.io/utils/clock/testing"
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
	timeout := time.After(time.Minute)
	for !condition() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatal("not within a minute")
		}
	}
}

// TestPollerPace: targets whose pods are read are asked about more often, and pods that
// come and go, or marks that change, are no other question.
func TestPollerPace(t *testing.T) {
	defer goleak.VerifyNone(t)
	clk := clocktesting.NewFakeClock(now)
	source := &stub{calls: map[string]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	poller := NewPoller(source, 15*time.Second, clk, func() {})
	poller.Scrape(5 * time.Second)
	read := Target{Name: "n/read", Specs: []Spec{{Name: "s", Kind: KindScrape, Profile: "vllm", High: 1}}}
	asked := Target{Name: "n/asked", Specs: []Spec{{Name: "s", Kind: KindQuery, Query: "x"}}}
	poller.Set([]Target{read, asked})
	done := make(chan struct{})
	go func() {
		defer close(done)
		poller.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	answers := func(name string) float64 {
		s, _ := poller.Latest(name)
		return s.Values["calls"].Value
	}
	waitFor(t, func() bool { return answers("n/read") == 1 && answers("n/asked") == 1 && clk.HasWaiters() })
	for second := 5; second <= 30; second += 5 {
		clk.Step(5 * time.Second)
		waitFor(t, func() bool {
			return answers("n/read") == float64(1+second/5) && answers("n/asked") == float64(1+second/15)
		})
	}
	read.Pods = []Pod{{Name: "a", IP: "10.0.0.1"}}
	read.Specs = []Spec{{Name: "s", Kind: KindScrape, Profile: "vllm", High: 2}}
	poller.Set([]Target{read, asked})
	if answers("n/read") != 7 {
		t.Error("a new pod made the poller forget")
	}
	read.Specs = []Spec{{Name: "s", Kind: KindScrape, Profile: "sglang"}}
	poller.Set([]Target{read, asked})
	if got := answers("n/read"); got != 0 && got != 8 {
		t.Errorf("got answer %v to another question", got)
	}
}
