package engine

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/e2e/traces"
)

// short is a request that takes exactly 2 virtual seconds.
var short = []traces.Tokens{{Prompt: 1000, Output: 35}}

func testModel() Model {
	m := DefaultModel("chat")
	m.Slots = 16
	return m
}

func steady(rate float64) Traffic { return func(time.Duration) float64 { return rate } }

func newTestFleet(t testing.TB, model Model, sizes []traces.Tokens, traffic Traffic, replicas int) *Fleet {
	t.Helper()
	f, err := NewFleet(model, sizes, traffic, 7)
	if err != nil {
		t.Fatal(err)
	}
	for i := range replicas {
		f.SetReplica(fmt.Sprintf("serving/chat-%d", i), true)
	}
	return f
}

// Little's law: what is in flight is the arrival rate times the mean time in the
// system. With real request sizes it holds within chance.
func TestLittlesLaw(t *testing.T) {
	sizes, err := traces.AzureRequests()
	if err != nil {
		t.Fatal(err)
	}
	const rate = 8.0
	f := newTestFleet(t, testModel(), sizes, steady(rate), 10)
	inFlight, samples := 0.0, 0
	for at := time.Second; at <= 2*time.Hour; at += time.Second {
		f.Advance(at)
		if at > 5*time.Minute {
			inFlight += float64(f.Totals().InFlight)
			samples++
		}
	}
	sum, n := 0.0, uint64(0)
	for _, name := range f.replicaNames() {
		v, _ := f.view(name)
		sum += v.stats.endToEnd.sum
		n += v.stats.endToEnd.n
	}
	got, want := inFlight/float64(samples), rate*sum/float64(n)
	if math.Abs(got-want) > 0.03*want {
		t.Errorf("%.1f requests in flight, want %.1f (rate × mean time)", got, want)
	}
	if got := float64(f.Totals().Arrived) / 7200; math.Abs(got-rate) > 0.05*rate {
		t.Errorf("%.2f arrivals per second, want about %v", got, rate)
	}
}

// Overload fills the slots and then the queue: running is capped, waiting grows.
func TestOverloadWaits(t *testing.T) {
	f := newTestFleet(t, testModel(), short, steady(10), 1) // 16 slots serve 8 per second
	for at := time.Second; at <= time.Minute; at += time.Second {
		f.Advance(at)
	}
	v, _ := f.view("serving/chat-0")
	if v.gauges.running != 16 {
		t.Errorf("running %d, want all 16 slots", v.gauges.running)
	}
	if v.gauges.waiting < 60 || v.gauges.waiting > 180 {
		t.Errorf("waiting %d, want about 120 after a minute of 2 too many per second", v.gauges.waiting)
	}
	if kv := v.gauges.kv; kv < 0.1 || kv > 0.13 {
		t.Errorf("KV use %.3f, want 16 requests of 1000 to 1035 tokens in 131072", kv)
	}
}

func TestQueuedWithin(t *testing.T) {
	f := newTestFleet(t, testModel(), short, steady(4), 1)
	if _, ok := f.QueuedWithin(0.99); ok {
		t.Error("no request yet: want no answer")
	}
	f.Advance(time.Minute)
	if got, ok := f.QueuedWithin(0.99); !ok || got != 300*time.Millisecond {
		t.Errorf("at half load: %s, %v; want the first bucket", got, ok)
	}
	f = newTestFleet(t, testModel(), short, steady(16), 1) // twice what it can serve
	f.Advance(time.Minute)
	if got, ok := f.QueuedWithin(0.5); !ok || got < 10*time.Second || got > 20*time.Second {
		t.Errorf("at twice the load: %s, %v; want about 15s", got, ok)
	}
}

func TestKVCacheBoundsTheBatch(t *testing.T) {
	m := testModel()
	m.KVTokens = 3200 // room for three requests of 1035 tokens
	f := newTestFleet(t, m, short, steady(10), 1)
	f.Advance(30 * time.Second)
	if v, _ := f.view("serving/chat-0"); v.gauges.running != 3 {
		t.Errorf("running %d, want 3", v.gauges.running)
	}
}

func TestWithoutReadyReplicaRequestsWaitAtTheGateway(t *testing.T) {
	f := newTestFleet(t, testModel(), short, steady(5), 0)
	f.SetReplica("serving/chat-0", false)
	f.Advance(10 * time.Second)
	before := f.Totals()
	if before.Waiting == 0 || before.Waiting != before.Arrived {
		t.Errorf("%+v: want all that arrived to wait", before)
	}
	f.SetReplica("serving/chat-0", true)
	if got := f.Totals(); got.Waiting != 0 || got.InFlight != before.Waiting {
		t.Errorf("%+v: want all of the gateway's at the replica", got)
	}
}

func TestLeastLoadedReplicaIsChosen(t *testing.T) {
	f := newTestFleet(t, testModel(), short, steady(40), 7)
	for at := time.Second; at <= 20*time.Second; at += time.Second {
		f.Advance(at)
		least, most := math.MaxInt, 0
		for _, r := range f.routable {
			least, most = min(least, r.inFlight()), max(most, r.inFlight())
		}
		if most-least > 7 {
			t.Fatalf("at %s between %d and %d in flight", at, least, most)
		}
	}
}

// Whatever comes and goes, every request is somewhere, and equal calls give
// equal results.
func TestNoRequestIsLost(t *testing.T) {
	sizes, err := traces.AzureRequests()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rate := rapid.Float64Range(0, 60).Draw(t, "rate")
		a, err := NewFleet(testModel(), sizes, steady(rate), seed)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := NewFleet(testModel(), sizes, steady(rate), seed)
		at := time.Duration(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			name := fmt.Sprintf("serving/chat-%d", rapid.IntRange(0, 4).Draw(t, "replica"))
			what := rapid.IntRange(0, 3).Draw(t, "what")
			at += time.Duration(rapid.IntRange(0, 20).Draw(t, "wait")) * time.Second
			for _, f := range []*Fleet{a, b} {
				switch what {
				case 0:
					f.SetReplica(name, true)
				case 1:
					f.SetReplica(name, false)
				case 2:
					f.RemoveReplica(name)
				}
				f.Advance(at)
			}
			got := a.Totals()
			if got.Arrived != got.Finished+got.InFlight+got.Waiting+got.TurnedAway {
				t.Fatalf("%+v does not add up", got)
			}
			if other := b.Totals(); got != other {
				t.Fatalf("equal calls gave %+v and %+v", got, other)
			}
		}
	})
}

func TestBadModelsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Model){
		"Name":                  func(m *Model) { m.Name = "" },
		"Slots":                 func(m *Model) { m.Slots = 0 },
		"PromptSecondsPerToken": func(m *Model) { m.PromptSecondsPerToken = math.NaN() },
		"DecodeSecondsPerToken": func(m *Model) { m.DecodeSecondsPerToken = -1 },
		"KVTokens":              func(m *Model) { m.KVTokens = 1 },
	} {
		m := testModel()
		change(&m)
		if _, err := NewFleet(m, short, steady(1), 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	m := testModel()
	m.KVTokens = 1000
	if _, err := NewFleet(m, short, steady(1), 1); err == nil {
		t.Error("a request larger than the KV cache: no error")
	}
}

// One iteration is one virtual second of 60 requests over 70 replicas.
func BenchmarkAdvance(b *testing.B) {
	sizes, err := traces.AzureRequests()
	if err != nil {
		b.Fatal(err)
	}
	f := newTestFleet(b, DefaultModel("chat"), sizes, steady(60), 70)
	f.Advance(time.Minute)
	at := time.Minute
	for b.Loop() {
		at += time.Second
		f.Advance(at)
	}
	b.ReportMetric(60*float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
