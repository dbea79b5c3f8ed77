package forecast

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/forecast"
	"github.com/ebbtide/ebbtide/broker/lend"
)

const (
	// owned units of the lender, one for each replica.
	owned = 100
	// slotsEach is how many requests a replica serves at once: the default of vLLM.
	slotsEach = 256
	// offered jobs wait at any time: more than one step lends.
	offered  = 2 * owned / 10
	flavor   = "gpu"
	node     = "node"
	service  = "online/service"
	research = "research"
)

// marks are the water marks of the lender's policy.
type marks struct{ low, high float64 }

// broker plays lend.Decide.
type broker struct {
	policy   lend.Policy
	lender   lend.Lender
	notice   time.Duration
	quantile float64

	now    time.Time
	past   *forecast.Forecaster
	stable *forecast.Window
	spread forecast.Dispersion
	state  lend.State
	loans  []lend.Loan
	// free is when the units of a loan that was asked back are free.
	free map[string]time.Time
	jobs []lend.Job
	made int
	kept kept
}

func newBroker(m marks, notice int, quantile float64) *broker {
	after := time.Duration(notice) * time.Minute
	b := &broker{
		policy: lend.DefaultPolicy(), notice: after, quantile: quantile,
		past: forecast.NewForecaster(), free: map[string]time.Time{},
		lender: lend.Lender{
			Name: service, Tenant: "serving", Flavor: flavor, Owned: owned, UnitsPerPod: 1,
			LowWater: m.low, HighWater: m.high, Dwell: 5 * time.Minute, Cooldown: 5 * time.Minute,
			MaxGrace: after, Notice: after, Warm: 1,
			Steps: lend.Steps{LendUnits: owned / 10, LendEvery: 2 * time.Minute},
		},
	}
	b.stable = forecast.NewWindow(b.policy.StableWindow)
	return b
}

// ours is the broker with given water marks.
func ours(name string, m marks, quantile float64) rule {
	return rule{name, func(c *curve, notice int) []holding {
		b := newBroker(m, notice, quantile)
		out := make([]holding, len(c.minutes))
		for t, load := range c.minutes {
			b.now = time.Unix(0, 0).UTC().Add(time.Duration(t) * time.Minute)
			b.hear(load)
			if t < c.from-60 {
				continue // it learns
			}
			b.decide()
			out[t] = b.holding()
		}
		return out
	}}
}

// requests in flight at a load.
func requests(load float64) float64 {
	return load * owned * slotsEach * lend.DefaultPolicy().TargetUtilization
}

// hear takes in the load of this minute.
func (b *broker) hear(load float64) {
	b.lender.Load = lend.Load{Unknown: "the recording has a hole"}
	if math.IsNaN(load) {
		return
	}
	r := requests(load)
	b.past.Add(b.now, b.now, r)
	b.stable.Add(b.now, b.now, r)
	b.spread.Add(b.now, b.now, r)
	mean, _ := b.stable.Mean()
	b.lender.Load = lend.Load{
		Known: true, ObservedAt: b.now, Coverage: 1, Requests: mean, Panic: r, Slots: slotsEach,
	}
	// An autoscaler that is never late: what it wants is what the load needs.
	b.lender.Desired = int64(math.Ceil(load*owned - 1e-9))
}

// decide makes one decision and does what it says.
func (b *broker) decide() {
	b.endLoans()
	var away int64
	for _, l := range b.loans {
		away += l.Live
	}
	b.lender.Running = min(b.lender.Desired, owned-away)
	b.lender.Ready = b.lender.Running
	b.lender.Pending = nil
	for i := b.lender.Running; i < b.lender.Desired; i++ {
		b.lender.Pending = append(b.lender.Pending, lend.PendingPod{Name: fmt.Sprintf("pod-%03d", i), Since: b.now})
	}
	b.lender.Forecast = b.look()
	b.offer()
	var plan lend.Plan
	plan, b.state = lend.Decide(b.snapshot(), b.state, b.policy)
	for _, a := range plan.Actions {
		b.do(a)
	}
}

// look is what the past says, as package demand has it.
func (b *broker) look() *lend.Forecast {
	o, ok := b.past.Look(b.now, forecast.Rule{
		Horizon: b.notice, Beyond: b.policy.MinimumLoan, Quantile: b.quantile,
	})
	if !ok {
		return nil
	}
	load, _ := b.stable.Mean()
	f := lend.Foresee(o, &b.spread, load, b.now, b.policy.DispersionLimit)
	b.kept = split(o, load, f.Growth).of(requests(1))
	return f
}

// endLoans frees the units of loans whose notice is over.
func (b *broker) endLoans() {
	for i := range b.loans {
		if at, asked := b.free[b.loans[i].Name]; asked && !b.now.Before(at) {
			b.loans[i].Live = 0
		}
	}
}

// offer keeps enough jobs waiting.
func (b *broker) offer() {
	for len(b.jobs) < offered {
		b.made++
		name := fmt.Sprintf("job-%07d", b.made)
		b.jobs = append(b.jobs, lend.Job{
			Name: research + "/" + name, UID: name, Tenant: research, Queue: research + "/queue",
			Created: b.now, Flavor: flavor, Pods: 1, UnitsPerPod: 1,
		})
	}
}

func (b *broker) snapshot() lend.Snapshot {
	return lend.Snapshot{
		Now: b.now, Epoch: 1,
		Nodes: []lend.Node{{Name: node, Schedulable: true, Units: []lend.Units{
			{Flavor: flavor, Capacity: owned, Online: b.lender.Running},
		}}},
		Tenants: []lend.Tenant{
			{Name: research, Cohort: "all", Quotas: []lend.Quota{{Flavor: flavor}}},
			{Name: "serving", Cohort: "all", Quotas: []lend.Quota{{Flavor: flavor, Nominal: owned}}},
		},
		Queues:  []lend.Queue{{Name: research + "/queue", Tenant: research, Backfill: true}},
		Lenders: []lend.Lender{b.lender},
		Jobs:    slices.Clone(b.jobs),
		Loans:   slices.Clone(b.loans),
	}
}

// do what one action says. The job of a loan that was asked back does not come again:
// there are others.
func (b *broker) do(a lend.Action) {
	i := slices.IndexFunc(b.loans, func(l lend.Loan) bool { return l.Name == a.Loan })
	switch a.Kind {
	case lend.ActionLend:
		b.jobs = slices.DeleteFunc(b.jobs, func(j lend.Job) bool { return j.UID == a.JobUID })
		b.loans = append(b.loans, lend.Loan{
			Name: a.Loan, Job: a.Job, JobUID: a.JobUID, Borrower: research, Queue: research + "/queue", Attempt: a.Attempt,
			Pods: 1, Grants: a.Grants, Since: b.now, Checkpoint: b.now, Grace: b.notice, Live: 1, Bound: 1,
		})
		slices.SortFunc(b.loans, func(x, y lend.Loan) int { return strings.Compare(x.Name, y.Name) })
	case lend.ActionReclaim:
		b.loans[i].Reclaiming, b.loans[i].ReclaimBy, b.loans[i].ReclaimID = true, a.ReclaimBy, a.ReclaimID
		b.free[a.Loan] = b.now.Add(b.notice)
	case lend.ActionEvict:
		b.loans[i].Killed = true
	case lend.ActionReturn:
		b.loans = slices.Delete(b.loans, i, i+1)
		delete(b.free, a.Loan)
	}
}

func (b *broker) holding() (h holding) {
	h.kept = b.kept
	for _, l := range b.loans {
		if !l.Reclaiming {
			h.lent += 1.0 / owned
		}
		if l.Live > 0 {
			h.away += 1.0 / owned
		}
	}
	return h
}
