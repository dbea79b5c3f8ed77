package lend

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// FuzzDecide feeds snapshots that no gatherer would make. A decision on them must
// not panic, must be the same twice, and must not lend what is held.
func FuzzDecide(f *testing.F) {
	for seed := range uint64(400) {
		f.Add(seed, uint64(0))
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		r := dice{rand.New(rand.NewPCG(a, b))}
		in, prev, pol := garbage(r)
		plan, next := Decide(in, prev, pol)
		again, _ := Decide(in, prev, pol)
		if encode(plan) != encode(again) {
			t.Fatal("two plans for one snapshot")
		}
		checkTotals(t, in, plan)
		CheckLaws(in)
		in.Now = in.Now.Add(time.Hour)
		Decide(in, next, pol)
	})
}

// checkTotals holds for any input: no more is lent in a plan than all nodes have.
func checkTotals(t *testing.T, in Snapshot, plan Plan) {
	var has, lent int64
	for _, n := range in.Nodes {
		for _, u := range n.Units {
			has += clamp(u.Capacity)
		}
	}
	for _, a := range actions(plan, ActionLend) {
		for _, g := range a.Grants {
			if g.Count <= 0 {
				t.Fatalf("granted %+v", g)
			}
			lent += g.Count
		}
	}
	if lent > has {
		t.Fatalf("%d units lent of %d", lent, has)
	}
}

// FuzzReadRecord: whatever the bytes, an answer or an error; what can be read can
// be decided on and written again.
func FuzzReadRecord(f *testing.F) {
	r := dice{rand.New(rand.NewPCG(1, 1))}
	w := drawWorld(r)
	in, plan := w.decide()
	data, err := MarshalRecord(Record{in, State{}, w.policy, plan})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"snapshot":{"lenders":[{"load":{"slots":1e-300}}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		record, err := ReadRecord(data)
		if err != nil {
			return
		}
		record.Plan = record.Replay()
		if _, err := json.Marshal(record.Plan); err != nil {
			t.Fatal(err)
		}
	})
}

// garbage draws every number from what is likely to break arithmetic, and every
// name from few, so that things clash.
func garbage(r dice) (Snapshot, State, Policy) {
	now := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	in := Snapshot{Now: now, Epoch: r.number()}
	for range r.IntN(4) {
		n := Node{Name: r.name(), Schedulable: r.yes(), LendLast: int32(r.number())}
		for range r.IntN(3) {
			n.Units = append(n.Units, Units{
				Flavor: r.name(), Capacity: r.number(), Broken: r.number(), Online: r.number(), Leaving: r.number(), Other: r.number(),
			})
		}
		in.Nodes = append(in.Nodes, n)
	}
	for range r.IntN(3) {
		t := Tenant{Name: r.name(), Cohort: pick(r, "", "c", r.name())}
		for range r.IntN(3) {
			n := r.number()
			t.Quotas = append(t.Quotas, Quota{Flavor: r.name(), Nominal: r.number(), Held: r.number(), BorrowingLimit: pick(r, nil, &n), LendingLimit: pick(r, nil, &n)})
		}
		in.Tenants = append(in.Tenants, t)
	}
	for range r.IntN(4) {
		in.Queues = append(in.Queues, Queue{
			Name: r.name(), Tenant: r.name(), FIFO: r.yes(), Backfill: r.yes(), Paused: r.IntN(4) == 0,
			FairShare: r.IntN(3) == 0, Weight: r.number(), Used: r.number(), Drain: r.IntN(5) == 0,
		})
		in.Lenders = append(in.Lenders, r.lender(now))
		in.Jobs = append(in.Jobs, Job{
			Name: r.name(), UID: r.name(), Tenant: r.name(), Queue: r.name(), Flavor: r.name(), Priority: int32(r.number()),
			Created: r.moment(now), Queued: r.moment(now), Pods: r.number(), UnitsPerPod: r.number(), Attempt: int32(r.number()),
			Draws: r.draws(),
		})
		in.Loans = append(in.Loans, r.loan(now))
	}
	for range r.IntN(3) {
		in.Flavors = append(in.Flavors, Flavor{Name: r.name(), SliceOf: r.name(), Compute: r.number(), Memory: r.number()})
		in.Cohorts = append(in.Cohorts, Cohort{Name: r.name(), Parent: r.name(), Weight: r.maybe(), Quotas: []Quota{r.quota(), r.quota()}})
		in.Limits = append(in.Limits, Limit{Name: r.name(), Left: r.number(), Most: r.number()})
	}
	for i := range in.Tenants {
		in.Tenants[i].Weight = r.maybe()
		in.Tenants[i].Borrowed = []History{{Flavor: r.name(), Milli: r.number()}}
	}
	prev := State{Decisions: r.number()}
	for range r.IntN(3) {
		prev.Lenders = append(prev.Lenders, LenderState{
			Name: r.name(), LowSince: r.moment(now), UnknownSince: r.moment(now), LastReclaim: r.moment(now), UnknownLent: r.number(),
			Reclaims: []time.Time{r.moment(now), r.moment(now)}, PanicUntil: r.moment(now), PanicPods: r.number(),
			OpenSince: r.moment(now), OpenLent: r.number(), Peaks: []Peak{{r.moment(now), r.number()}, {r.moment(now), r.number()}}, Scaled: r.moment(now),
			Advice: pick(r, nil, &Advice{Since: r.moment(now), Lent: r.number(), LentAt: r.moment(now), Waiting: r.number(), Leaving: []Leaving{{r.number(), r.moment(now)}}}),
		})
		prev.Jobs = append(prev.Jobs, JobState{UID: r.name(), Evictions: []time.Time{r.moment(now), r.moment(now)}, NotStarted: r.moment(now), Asked: r.moment(now), Expecting: r.yes(), PutOff: int64(r.IntN(3) - 1)})
		prev.Loans = append(prev.Loans, LoanState{Name: r.name(), EndingSince: r.moment(now), WaitingSince: r.moment(now)})
	}
	prev.At, prev.Since = r.moment(now), r.moment(now)
	return in, prev, Policy{
		StaleAfter: r.length(), Quorum: r.float(), UnknownGrace: r.length(), UnknownStep: r.length(), TargetUtilization: r.float(),
		MinimumLoan: r.length(), StartWithin: r.length(), EvictionBudget: int(r.number()), EvictionWindow: r.length(), RestartCost: r.length(), StopCost: r.length(),
		ReserveAfter: r.length(), QuotaGrace: r.length(), FairPreemption: pick(r, nil, DefaultPolicy().FairPreemption, []quota.FairRule{"", "x"}),
		StableWindow: r.length(), PanicThreshold: r.float(), DispersionLimit: r.float(), BurstSigmas: r.float(), FlapBudget: int(r.number()), FlapWindow: r.length(),
	}
}

func (r dice) quota() Quota {
	return Quota{Flavor: r.name(), Nominal: r.number(), Held: r.number(), BorrowingLimit: r.maybe(), LendingLimit: r.maybe()}
}

func (r dice) maybe() *int64 {
	if r.yes() {
		return nil
	}
	n := r.number()
	return &n
}

func (r dice) draws() []Draw {
	if r.yes() {
		return nil
	}
	return []Draw{{Limit: r.name(), Amount: r.number()}}
}

func (r dice) lender(now time.Time) Lender {
	l := Lender{
		Name: r.name(), Tenant: r.name(), Flavor: r.name(), Advise: r.IntN(5) == 0, Owned: r.number(), UnitsPerPod: r.number(),
		Desired: r.number(), Running: r.number(), Ready: r.number(), LowWater: r.float(), HighWater: r.float(),
		Dwell: r.length(), Cooldown: r.length(), MaxGrace: r.length(), Warm: r.number(),
		Load: Load{
			Known: r.yes(), ObservedAt: r.moment(now), Coverage: r.float(), Requests: r.float(), Slots: r.float(),
			Signals: []Signal{{Name: "s", Value: r.float(), Low: r.float(), High: r.float(), PerReplica: r.float(), Rising: r.yes()}},
			Panic:   r.float(),
		},
		Notice:  r.length(),
		Steps:   Steps{LendUnits: r.number(), LendEvery: r.length(), LendAfter: r.length(), Push: r.float(), PushPods: r.number()},
		Floors:  []Floor{{Name: "f", Units: r.number(), From: r.moment(now), Until: r.moment(now), Lead: r.length()}},
		Scale:   pick(r, nil, nil, &Scale{Min: r.number(), Max: r.number(), Replicas: r.number()}),
		Prepare: pick(r, nil, nil, &Preparation{Done: r.yes()}),
		Refill:  pick(r, RefillWhenUsed, Refill(r.name())),
	}
	if r.yes() {
		l.Forecast = &Forecast{Season: r.float(), Growth: r.float(), Dispersion: r.float(), Scatter: r.float(), Floor: r.float()}
	}
	if r.IntN(5) == 0 {
		l.Hold = &Problem{}
	}
	if r.IntN(5) == 0 {
		l.Problem = &Problem{}
	}
	if r.IntN(3) == 0 {
		l.Pending = []PendingPod{{Name: r.name(), Since: r.moment(now)}}
	}
	return l
}

func (r dice) loan(now time.Time) Loan {
	l := Loan{
		Name: r.name(), Job: r.name(), JobUID: r.name(), Borrower: r.name(), Queue: r.name(), Pods: r.number(),
		Since: r.moment(now), Checkpoint: r.moment(now), Grace: r.length(), Reclaiming: r.IntN(3) == 0, ReclaimBy: r.moment(now),
		Preempted: r.IntN(5) == 0, ReclaimedFor: r.name(), Priority: int32(r.number()), Killed: r.yes(), Live: r.number(), Bound: r.number(), Finished: r.IntN(5) == 0,
	}
	for range r.IntN(4) {
		l.Grants = append(l.Grants, Grant{Lender: pick(r, "", r.name(), CohortLender(r.name())), Node: r.name(), Flavor: r.name(), Count: r.number()})
	}
	return l
}

func (r dice) yes() bool    { return r.IntN(2) == 0 }
func (r dice) name() string { return pick(r, "", "a", "a", "b", "x/a", "x/b") }
func (r dice) number() int64 {
	return pick[int64](r, 0, 1, 1, 2, 3, 4, 8, 8, 16, 64, -1, 1000, 1<<20, 1<<62, -1<<63, 1<<63-1)
}
func (r dice) float() float64 {
	zero := 0.0
	return pick[float64](r, 0, 0.1, 0.5, 1, 2, 100, -1, 1e-300, 1e15, 1e300, zero/zero, 1/zero, -1/zero)
}
func (r dice) length() time.Duration {
	return pick[time.Duration](r, 0, 1, time.Second, time.Minute, time.Hour, -time.Hour, 1<<63-1, -1<<63)
}
func (r dice) moment(now time.Time) time.Time {
	return pick(r, time.Time{}, now, now.Add(-time.Second), now.Add(-time.Hour), now.Add(time.Hour), now.AddDate(-900, 0, 0))
}
