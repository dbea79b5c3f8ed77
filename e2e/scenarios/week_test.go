package scenarios

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/traces"
	"github.com/ebbtide/ebbtide/e2e/virtual"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
	// weekSpeed plays the week in five minutes.
	weekSpeed = 2016
	// weekNodes is how many replicas the service has at its peak.
	weekNodes = 12
	// perReplica is what the autoscaler wants in flight at each, fill what the load
	// gives it at the peak, as a share of the slots.
	perReplica = 22
	fill       = 0.65
	// pause is the policy's dwell, and its cooldown.
	pause     = 2 * time.Second
	modelLoad = time.Second
)

// A week of a real service, with weekdays and a weekend, in five minutes. A real
// HorizontalPodAutoscaler scales the service on the requests in flight, and Ebbtide
// lends what that leaves. What is lent follows the tide and nothing else: between
// taking back and lending again there is always the pause, and a day has no more turns
// than its load has. No online pod is late.
//
// Only what is policy can be made as fast as the week: a scrape, a round of the
// autoscaler and a grace take half an hour of it and more, so both see every rise late.
func TestAWeekBesideAnAutoscaler(t *testing.T) {
	t.Parallel()
	s := newSea(t)
	w := s.town
	w.adapt()
	w.autoscale(perReplica, weekNodes)
	w.awaitSight(corev1.ConditionTrue)
	for i := range 2 * weekNodes {
		w.submit(fmt.Sprintf("job-%02d", i), 1, 8, nil)
	}
	clock, rises := s.play(t)
	w.judgeTide(t, clock, s.load, rises)
	w.awaitAgreement()
	w.closeTheBooks()
}

// sea is a town whose load is a recorded one.
type sea struct {
	*town
	fleet *engine.Fleet
	rates []traces.Rate
	peak  float64
}

func newSea(t *testing.T) *sea {
	t.Helper()
	rates, err := traces.AzureWeek("code")
	if err != nil {
		t.Fatal(err)
	}
	sizes, err := traces.AzureRequests()
	if err != nil {
		t.Fatal(err)
	}
	s := &sea{rates: rates}
	for _, r := range rates {
		s.peak = max(s.peak, r.PerMinute)
	}
	model := engine.DefaultModel("chat")
	seconds := 0.0
	for _, size := range sizes {
		seconds += model.ServiceSeconds(size.Prompt, size.Output) / float64(len(sizes))
	}
	atPeak := weekNodes * fill * float64(model.Slots) / seconds
	s.fleet, err = engine.NewFleet(model, sizes, func(at time.Duration) float64 { return atPeak * s.load(at) }, 1)
	if err != nil {
		t.Fatal(err)
	}
	server, err := engine.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	server.Add(s.fleet)
	var players errgroup.Group
	ctx, cancel := context.WithCancel(t.Context())
	players.Go(func() error { return server.Serve(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := players.Wait(); err != nil {
			t.Error(err)
		}
	})
	s.town = raise(t, weekNodes, lab.Options{
		SDURL: server.TargetsURL(), Autoscaler: &lab.Autoscaler{SyncPeriod: time.Second},
		Broker: brokerWith("{youngReplica: 1s, stableWindow: 2s, panicWindow: 1s, forecast: false}",
			"{staleAfter: 5s, unknownGrace: 20s, unknownStep: 5s, minimumLoan: 1s, evictionBudget: 1000, flapBudget: 4, flapWindow: 2s}"),
	})
	players.Go(func() error { return engine.Follow(ctx, s.Client(), onlineNamespace, "app=chat", s.fleet) })
	s.settle(weekNodes * 8)
	s.open(model.Slots)
	return s
}

// open starts the service with the replicas that the week's first load asks for.
func (s *sea) open(slots int) {
	s.t.Helper()
	first := int32(math.Ceil(s.load(0) * weekNodes))
	d := service(first, 8)
	d.Spec.Template.Annotations = map[string]string{kubelet.AnnotationModelLoad: modelLoad.String()}
	s.create(d)
	policy := lends(weekNodes * 8)
	policy.Spec.Signals[0].Slots = int32(slots)
	policy.Spec.Dwell = &metav1.Duration{Duration: pause}
	policy.Spec.Cooldown = &metav1.Duration{Duration: pause}
	policy.Spec.Headroom.Warm = ptr.To[int64](1)
	policy.Spec.Behavior.Lend.StabilizationWindowSeconds = ptr.To[int32](3) // as long as the autoscaler's
	s.create(policy)
	s.awaitBound(onlineNamespace, int(first))
}

// load is the recorded load at a moment of the week, as a share of its peak; after
// the week it stays as it was.
func (s *sea) load(at time.Duration) float64 {
	last := s.rates[0].PerMinute
	for _, r := range s.rates {
		if r.At > at {
			break
		}
		last = r.PerMinute
	}
	return last / s.peak
}

// play plays the week, and goes on with its last load until the test ends. It returns
// the week's clock, and how often on each day the autoscaler turned to more replicas
// after it had turned to fewer.
func (s *sea) play(t *testing.T) (clock virtual.Clock, rises [7]int) {
	t.Helper()
	var err error
	if clock, err = virtual.NewClock(time.Now(), 0, weekSpeed); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); <-done })
	go func() { defer close(done); engine.Play(ctx, s.fleet, clock) }()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last, err := s.replicas(ctx)
	for falling := true; err == nil && clock.At(time.Now()) < week; {
		select {
		case <-s.Failed():
			t.Fatal(s.Err())
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case now := <-tick.C:
			before := last
			last, err = s.replicas(ctx)
			if last > before && falling {
				rises[min(clock.At(now), week-1)/day]++
			}
			falling = last < before || last == before && falling
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return clock, rises
}

// turn is what the ledger says of one direction of the tide.
type turn struct {
	out      bool // lent; otherwise taken back
	from, to time.Time
	loans    int
}

// turns joins what was lent, or taken back, without the other in between.
func turns(entries []ledgerEntry) []turn {
	var list []turn
	for _, e := range entries {
		var out bool
		switch e.Kind {
		case "LEND_GRANTED":
			out = true
		case "RECLAIM_INTENT", "PREEMPTED":
		default:
			continue
		}
		if n := len(list); n == 0 || list[n-1].out != out {
			list = append(list, turn{out: out, from: e.Time})
		}
		last := &list[len(list)-1]
		last.to = e.Time
		last.loans++
	}
	return list
}

// judgeTide holds what was lent against the load.
func (w *town) judgeTide(t *testing.T, clock virtual.Clock, load func(time.Duration) float64, rises [7]int) {
	t.Helper()
	entries, err := w.entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := turns(entries)
	var cycles [8]int
	var hours [24]int
	for i, now := range list {
		at := clock.At(now.from)
		if now.out {
			if i > 0 && now.from.Sub(list[i-1].to) < pause {
				t.Errorf("day %d: lent again %s after taking back, want %s", at/day, now.from.Sub(list[i-1].to), pause)
			}
			if i > 1 && now.from.Sub(list[i-2].to) < 2*pause {
				t.Errorf("day %d: lent, taken back and lent again within %s", at/day, now.from.Sub(list[i-2].to))
			}
			continue
		}
		cycles[at/day]++
		hours[at%day/time.Hour]++
	}
	flips, swings := flipsOf(load), swingsOf(load)
	for d := range 7 {
		limit := flips[d]
		if limit == 0 { // low tide all day: ripples of one replica, and one by chance
			limit = max(swings[d], rises[d]) + 1
		}
		if cycles[d] > limit {
			t.Errorf("day %d: units were taken back in %d turns, want at most %d", d, cycles[d], limit)
		}
	}
	if taken, rose := sum(cycles[:]), sum(swings[:]); taken > rose {
		t.Errorf("units were taken back in %d turns, but the load rose by a replica only %d times", taken, rose)
	}
	if cycles[0]+cycles[3]+cycles[4]+cycles[5]+cycles[6] < 5 {
		t.Errorf("turns of taking back per day: %v, want one on each weekday at least", cycles)
	}
	for _, now := range list {
		t.Logf("day %.2f: %s %d loans in %s", float64(clock.At(now.from))/float64(day),
			map[bool]string{true: "lent", false: "took back"}[now.out], now.loans, now.to.Sub(now.from).Round(100*time.Millisecond))
	}
	t.Logf("took back in turns per day %v, by hour of the day %v; the load flips 30↔70 %v and rises by a replica %v times, the autoscaler turns up %v times", cycles[:7], hours, flips, swings, rises)
	report := w.auditor.Report()
	t.Logf("%d loans, %d reclaimed, %d take-backs; %d online pods waited, the longest %s; %.1f%% of all units on loan",
		report.Loans, report.Reclaimed, report.TakeBacks, len(report.Waits), report.WaitQuantile(1).Round(time.Millisecond),
		100*report.LoanUnits.Seconds()/(week.Seconds()/weekSpeed*weekNodes*8))
}

func sum(values []int) (total int) {
	for _, v := range values {
		total += v
	}
	return total
}

// flipsOf counts, for each day, how often the load goes from below 30% to above 70% or
// back.
func flipsOf(load func(time.Duration) float64) (flips [7]int) {
	low := load(0) < 0.5
	for at := time.Duration(0); at < week; at += time.Minute {
		if now := load(at); low && now > 0.7 || !low && now < 0.3 {
			low = !low
			flips[at/day]++
		}
	}
	return flips
}

// swingsOf counts, for each day, how often the load rises by at least a replica's worth
// from its lowest since it last fell by as much.
func swingsOf(load func(time.Duration) float64) (swings [7]int) {
	const replica = 1.0 / weekNodes
	low, high, rising := load(0), load(0), false
	for at := time.Duration(0); at < week; at += time.Minute {
		now := load(at)
		if rising {
			high = max(high, now)
			if now <= high-replica {
				rising, low = false, now
			}
			continue
		}
		low = min(low, now)
		if now >= low+replica {
			rising, high = true, now
			swings[at/day]++
		}
	}
	return swings
}
