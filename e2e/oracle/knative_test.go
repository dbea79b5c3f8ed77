package oracle

import (
	"math/rand/v2"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/autoscaler/aggregation"
	"knative.dev/serving/pkg/autoscaler/scaling"

	"github.com/ebbtide/ebbtide/broker/lend"
)

const (
	stable = 60 * time.Second
	burst  = 6 * time.Second
	tick   = 2 * time.Second
)

// knative is its autoscaler, fed by its own windows.
type knative struct {
	stable, panic *aggregation.TimedFloat64Buckets
	ready         int
	decider       scaling.UniScaler
}

func newKnative(slots float64) *knative {
	k := &knative{
		stable: aggregation.NewTimedFloat64Buckets(stable, time.Second),
		panic:  aggregation.NewTimedFloat64Buckets(burst, time.Second),
	}
	k.decider = scaling.New(*attribute.EmptySet(), noop.NewMeterProvider(), "serving", "chat", k, k, &scaling.DeciderSpec{
		// Not reachable, it has no lower bound by the pods that are there: what is taken
		// back from a service is bounded by what it owns, and not by a rate.
		Reachable: false, MaxScaleUpRate: 1000, MaxScaleDownRate: 2,
		TargetValue: 0.7 * slots, TotalValue: slots, PanicThreshold: 2, StableWindow: stable, TargetBurstCapacity: 200,
	})
	return k
}

func (k *knative) record(at time.Time, requests float64) {
	k.stable.Record(at, requests)
	k.panic.Record(at, requests)
}

func (k *knative) StableAndPanicConcurrency(_ types.NamespacedName, now time.Time) (float64, float64, error) {
	return k.stable.WindowAverage(now), k.panic.WindowAverage(now), nil
}

func (k *knative) StableAndPanicRPS(types.NamespacedName, time.Time) (float64, float64, error) {
	return 0, 0, nil
}

func (k *knative) ReadyCount() (int, error)    { return k.ready, nil }
func (k *knative) NotReadyCount() (int, error) { return 0, nil }

// ours is the decision core, fed by the broker's windows.
type ours struct {
	windows
	slots float64
	state lend.State
}

const owned = 1 << 20

var owner = []lend.Tenant{{Name: "serving", Quotas: []lend.Quota{{Flavor: "gpu", Nominal: owned}}}}

func (o *ours) pods(now time.Time, ready int) (pods int64, by string) {
	mean, high := o.means()
	plan, next := lend.Decide(lend.Snapshot{Now: now, Tenants: owner, Lenders: []lend.Lender{{
		Name: "serving/chat", Tenant: "serving", Flavor: "gpu", Owned: owned, UnitsPerPod: 1, Ready: int64(ready),
		LowWater: 0.3, HighWater: 0.7,
		Load: lend.Load{Known: true, ObservedAt: now, Coverage: 1, Requests: mean, Panic: high, Slots: o.slots},
	}}}, o.state, lend.DefaultPolicy())
	o.state = next
	return plan.Lenders[0].Need, plan.Lenders[0].NeedBy
}

// The same samples, one a second and none missing, and the same ready pods give the same
// number of pods in every tick: stable, in panic, and after it. Left out are gaps, which
// Knative counts as zero, and its rates of change.
func TestNeedIsKnatives(t *testing.T) {
	panics, falls := 0, 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		slots := []float64{10, 20, 50, 100}[r.IntN(4)]
		k, o := newKnative(slots), &ours{windows: newWindows(), slots: slots}
		now := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
		level, last := 0, int64(0)
		var asked []int64
		for second := range 900 {
			if r.IntN(40) == 0 {
				level = r.IntN(8) * r.IntN(300)
			}
			requests := float64(level + r.IntN(level/4+2))
			now = now.Add(time.Second)
			k.record(now, requests)
			o.record(now, requests)
			if second%int(tick/time.Second) != 0 {
				continue
			}
			want := int64(k.decider.Scale(zap.NewNop().Sugar(), now).DesiredPodCount)
			got, by := o.pods(now, k.ready)
			if got != want {
				t.Fatalf("seed %d, after %ds with %d ready pods: %d pods (%s), Knative wants %d", seed, second, k.ready, got, by, want)
			}
			if by == "panic" {
				panics++
			}
			if got < last {
				falls++
			}
			// Pods serve half a minute after they were wanted.
			last, asked = got, append(asked, got)
			k.ready = int(asked[max(0, len(asked)-15)])
		}
	}
	if panics < 1000 || falls < 1000 {
		t.Errorf("in only %d ticks a panic set the need, and in %d it fell", panics, falls)
	}
}
