package product

import (
	"crypto/sha256"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// The core's own judge finds nothing wrong with what the core is shown, and no plan makes
// it worse. The world's laws hold all the time.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		o := Defaults()
		o.Forecast, o.Relend = seed%3 > 0, time.Duration(seed%2)*5*time.Second
		o.Seen = func(in lend.Snapshot, plan lend.Plan) {
			wrong := lend.CheckLaws(in)
			for _, v := range wrong {
				// An online pod may move to where it splits a node.
				if v.Law == 1 {
					t.Fatalf("at %s the core is shown what cannot be: %+v", in.Now, v)
				}
			}
			after := with(in, plan)
			for _, v := range lend.CheckLaws(after) {
				if v.Law == 1 || !slices.Contains(wrong, v) {
					t.Fatalf("at %s the plan breaks a law: %+v\n%+v", in.Now, v, plan.Actions)
				}
			}
		}
		s := small(seed, false)
		s.Check = true
		if _, err := sim.Run(s, New(roll(seed).rules(), o), nil); err != nil {
			t.Fatal(err)
		}
	})
}

// with is the snapshot as it is once the plan is carried out.
func with(in lend.Snapshot, plan lend.Plan) lend.Snapshot {
	in.Loans = slices.Clone(in.Loans)
	for _, a := range plan.Actions {
		switch i := slices.IndexFunc(in.Loans, func(l lend.Loan) bool { return l.Name == a.Loan }); {
		case a.Kind == lend.ActionLend:
			j := in.Jobs[slices.IndexFunc(in.Jobs, func(j lend.Job) bool { return j.UID == a.JobUID })]
			in.Loans = append(in.Loans, lend.Loan{
				Name: a.Loan, Job: a.Job, JobUID: a.JobUID, Borrower: j.Tenant, Queue: j.Queue, Pods: j.Pods, Bound: j.Pods, Live: j.Pods,
				Grants: a.Grants, Since: in.Now, Checkpoint: in.Now, UnitsPerPod: j.UnitsPerPod,
			})
		case a.Kind == lend.ActionReclaim && len(a.Shed) == 0:
			in.Loans[i].Reclaiming, in.Loans[i].ReclaimBy = true, a.ReclaimBy
		}
	}
	slices.SortFunc(in.Loans, func(a, b lend.Loan) int { return strings.Compare(a.Name, b.Name) })
	return in
}

// Nothing is lent by a service whose load is not known.
func TestUnknownIsNotIdle(t *testing.T) {
	unknown, lent := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		s, o := small(seed, true), Defaults()
		for i := range s.Services {
			blind(roll(seed+uint64(i)), s.Services[i].Load)
		}
		load := func(name string, now time.Time) float64 {
			i := slices.IndexFunc(s.Services, func(v sim.Service) bool { return v.Lender.Name == name })
			every := max(s.Sample, 0)
			if every == 0 {
				every = 15 * time.Second
			}
			return s.Services[i].Load.At(now.Sub(s.Start) / every * every)
		}
		o.Seen = func(in lend.Snapshot, plan lend.Plan) {
			for _, a := range plan.Actions {
				for _, g := range a.Grants {
					if a.Kind != lend.ActionLend || g.Lender == "" || lend.IsCohortLender(g.Lender) {
						continue
					}
					if lent++; math.IsNaN(load(g.Lender, in.Now)) {
						t.Fatalf("at %s %s lends %d units, and nobody knows its load", in.Now, g.Lender, g.Count)
					}
				}
			}
			for _, l := range in.Lenders {
				if !l.Load.Known {
					unknown++
				}
			}
		}
		if _, err := sim.Run(s, New(roll(seed).rules(), o), nil); err != nil {
			t.Fatal(err)
		}
	})
	if unknown == 0 || lent == 0 {
		t.Errorf("loads were not known %d times, and %d grants were made", unknown, lent)
	}
}

// blind makes some of a curve unknown.
func blind(r dice, c sim.Curve) {
	for i := range c {
		if r.IntN(3) == 0 {
			c[i].Value = math.NaN()
		}
	}
}

// alone is a random scenario of one service that owns all nodes, in which nothing fails.
func alone(seed uint64) *sim.Scenario {
	s, r := small(seed, true), roll(seed)
	all := int64(8 * len(s.Nodes))
	v := r.service("online/s0", all, s.Length, true)
	v.Lender.Owned, v.Lender.Warm, v.Lender.Advise, v.Lender.Tenant = all, 0, false, "serving"
	// A pod that waits for a replica of its own service to go waits for no training pod.
	v.Drain = min(v.Drain, v.Lender.MaxGrace)
	for i := range v.Load {
		v.Load[i].Value = float64(all/v.Lender.UnitsPerPod) * v.Slots * pick(r, 0.05, 0.1, 0.2, 0.7)
	}
	s.Services, s.Gap = []sim.Service{v}, 0
	for i := range s.Nodes {
		s.Nodes[i].Home = ""
	}
	for i := range s.Tenants {
		q := &s.Tenants[i].Quotas[0]
		if q.Nominal = 0; s.Tenants[i].Name == "serving" {
			q.Nominal = all
		}
	}
	return s
}

// Where nothing fails, no online pod waits for a training pod longer than its service
// allows.
func TestOnlinePodsWaitNoLongerThanTheirGrace(t *testing.T) {
	pods, waited := int64(0), int64(0)
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		s, o := alone(seed), Defaults()
		o.Forecast = seed%3 == 0
		r, err := sim.Run(s, New(roll(seed).rules(), o), nil)
		if err != nil {
			t.Fatal(err)
		}
		pods, waited = pods+r.OnlinePods, waited+r.OnlineWaited
		// The sketch knows durations to within one percent.
		if allowed, longest := s.Services[0].Lender.MaxGrace, r.OnlineWait.Quantile(1); longest > allowed*102/100 {
			t.Fatalf("a pod of a service that allows %s waited for %s", allowed, longest)
		}
	})
	t.Logf("%d of %d online pods waited", waited, pods)
	if waited == 0 {
		t.Error("no online pod ever waited: this shows nothing")
	}
}

// beside is a random scenario of one service that owns half of the nodes, each replica one;
// the other half is the quota of a tenant without jobs, which others' jobs borrow.
func beside(seed uint64) *sim.Scenario {
	s, r := alone(seed), roll(seed)
	v := &s.Services[0]
	half := int64(len(s.Nodes)) / 2 * 8
	v.Lender.Owned, v.Lender.UnitsPerPod = half, 8
	for i := range v.Load {
		v.Load[i].Value = float64(half/8) * v.Slots * pick(r, 0, 0.3, 0.7)
	}
	jobs := r.jobs(s.Length)
	for i := range jobs {
		jobs[i].UnitsPerPod = min(jobs[i].UnitsPerPod, 2)
	}
	s.Jobs = sim.List(jobs)
	s.Tenants = append(s.Tenants, lend.Tenant{Name: "zoo", Cohort: "all", Quotas: []lend.Quota{{Flavor: "h100", Nominal: half}}})
	for i := range s.Tenants {
		if q := &s.Tenants[i].Quotas[0]; s.Tenants[i].Name == "serving" {
			q.Nominal = half
		}
		s.Tenants[i].Quotas[0].BorrowingLimit, s.Tenants[i].Quotas[0].LendingLimit = nil, nil
	}
	return s
}

// Nor does one of a service that only advises: where others borrow unused quota, their jobs
// may stand where its pods would.
func TestOnlinePodsOfAdvisersWaitNoLonger(t *testing.T) {
	waited := int64(0)
	for seed := range uint64(40) { // always the same, so that some wait
		waited += adviserWaits(t, seed)
	}
	if waited == 0 {
		t.Error("no online pod ever waited: this shows nothing")
	}
	rapid.Check(t, func(t *rapid.T) { adviserWaits(t, rapid.Uint64().Draw(t, "seed")) })
}

// adviserWaits plays a service that only advises, and tells how many of its pods waited.
func adviserWaits(t rapid.TB, seed uint64) int64 {
	s := beside(seed)
	r, err := sim.Run(s, NoLending(roll(seed).rules(), Defaults()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Lent != 0 {
		t.Fatalf("seed %d: %g unit-hours of an adviser are lent", seed, r.Lent)
	}
	if allowed, longest := s.Services[0].Lender.MaxGrace, r.OnlineWait.Quantile(1); longest > allowed*102/100 {
		t.Fatalf("seed %d: a pod of a service that allows %s waited for %s", seed, allowed, longest)
	}
	return r.OnlineWaited
}

// Equal scenarios give equal runs, decision by decision.
func TestRunsRepeat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		run := func() (string, [sha256.Size]byte) {
			sum := sha256.New()
			o := Defaults()
			o.Seen = func(_ lend.Snapshot, plan lend.Plan) {
				if err := json.NewEncoder(sum).Encode(plan); err != nil {
					t.Fatal(err)
				}
			}
			out := results(t, small(seed, false), New(roll(seed).rules(), o))
			return out, [sha256.Size]byte(sum.Sum(nil))
		}
		first, plans := run()
		if again, same := run(); again != first || same != plans {
			t.Fatalf("once:\n%s\nagain:\n%s\nequal plans: %v", first, again, same == plans)
		}
	})
}
