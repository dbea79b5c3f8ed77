package lend

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Law 1: a plan lends only units that nobody holds, on schedulable nodes, whole
// gangs in their shape, and never two loans to one job. After it is applied no
// unit is in two hands.
func TestLaw1NoUnitIsInTwoHands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, _ State, in Snapshot, plan Plan) {
			v := look(in, "h100", nil)
			open := map[string]bool{}
			for _, l := range in.Loans {
				open[l.JobUID] = true
			}
			for _, a := range actions(plan, ActionLend) {
				if open[a.JobUID] {
					t.Fatalf("%s gets a second loan", a.Job)
				}
				open[a.JobUID] = true
				checkGang(t, w.training(a.Job), a, &v)
			}
		}, func(t *rapid.T, w *world) {
			for _, broken := range CheckLaws(w.snapshot()) {
				if broken.Law == 1 {
					t.Fatal(broken)
				}
			}
		})
	})
}

// checkGang takes an action's units off the view.
func checkGang(t *rapid.T, j *training, a Action, v *view) {
	perNode := map[string]int64{}
	var sum int64
	for _, g := range a.Grants {
		if g.Count <= 0 || g.Flavor != j.Flavor {
			t.Fatalf("%s is granted %+v", a.Job, g)
		}
		perNode[g.Node] += g.Count
		sum += g.Count
	}
	if sum != j.Pods*j.UnitsPerPod {
		t.Fatalf("%s gets %d units of %d", a.Job, sum, j.Pods*j.UnitsPerPod)
	}
	for node, n := range perNode {
		i := slices.Index(v.nodes, node)
		if i < 0 || n%j.UnitsPerPod != 0 || v.free[i] < n {
			t.Fatalf("%s gets %d units (pods of %d) on %s, where the free units are %v of %v", a.Job, n, j.UnitsPerPod, node, v.free, v.nodes)
		}
		v.free[i] -= n
	}
}

// Law 2: if evicting the loans that have a lender made room for all owned pods
// before the plan, it does so after.
func TestLaw2TheOwnerAlwaysGetsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, _ State, in Snapshot, plan Plan) {
			before := look(in, "h100", nil)
			// A gang that is stopped because it never started comes back, too.
			stopped := map[string]bool{}
			for _, a := range actions(plan, ActionReclaim) {
				stopped[a.Loan] = a.Reason == ReasonNotStarted
			}
			after := granted(in, plan, stopped)
			pods := owned(in, "h100")
			if packs(before.back, pods) && !packs(after.back, pods) {
				t.Fatalf("owned pods %v fitted %v, and do not fit %v", pods, before.back, after.back)
			}
		}, nil)
	})
}

// What is owed now, and needs no eviction before the plan, needs none after.
func TestLaw2LendingLeavesRoomForWhatIsOwed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, _ State, in Snapshot, plan Plan) {
			var pods []int64
			for _, view := range plan.Lenders {
				l := lenderIn(in, view.Name)
				if view.Utilization < 0 {
					continue // what an unknown lender is owed is not in its view
				}
				for range min(up(view.Need+view.Headroom, l.UnitsPerPod), l.Owned/l.UnitsPerPod) - l.Running {
					pods = append(pods, l.UnitsPerPod)
				}
			}
			victims, forOthers := map[string]bool{}, map[string]bool{}
			for _, a := range actions(plan, ActionReclaim) {
				victims[a.Loan] = true
				forOthers[a.Loan] = a.ReclaimedFor == ""
			}
			// What is asked back for a job is that job's: it makes no room for others.
			if before := look(in, "h100", forOthers); !packs(before.soon, pods) {
				return
			}
			after := granted(in, plan, victims)
			if !packs(after.soon, pods) {
				t.Fatalf("owed pods %v do not fit %v any more", pods, after.soon)
			}
		}, nil)
	})
}

// granted is the view with the plan's lends in it. Victims are as in look.
func granted(in Snapshot, plan Plan, victims map[string]bool) view {
	v := look(in, "h100", victims)
	for _, a := range actions(plan, ActionLend) {
		for _, g := range a.Grants {
			i := slices.Index(v.nodes, g.Node)
			v.free[i] -= g.Count
			v.soon[i] -= g.Count
			if !lentTo(&Loan{Grants: a.Grants}) {
				v.back[i] -= g.Count
			}
		}
	}
	return v
}

// Law 3: a pod that waits, within what its lender owns, has its units after the
// grace and a few ticks, provided that the nodes could give them at all. All pods
// have one size here: where a small online pod takes the node that was cleared for a
// large one, it is not a loan that the large one waits for.
func TestLaw3AnOnlinePodDoesNotWait(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawWorld(r)
		for range rapid.IntRange(0, 20).Draw(t, "ticks") {
			w.disturb(r)
			w.step(5 * time.Second)
			w.decide()
		}
		for i := range w.nodes {
			w.nodes[i].Schedulable = true
			w.nodes[i].Units[0].Capacity, w.nodes[i].Units[0].Broken = 8, 0
		}
		for _, s := range w.lenders {
			s.Scale = nil
			s.Desired = s.Owned / s.UnitsPerPod
			if s.UnitsPerPod != w.lenders[0].UnitsPerPod {
				t.Skip("pods of several sizes")
			}
		}
		w.schedule()
		in := w.snapshot()
		pods := owned(in, "h100")
		if !packs(look(in, "h100", nil).back, pods) {
			t.Skip("the nodes cannot hold what is owned")
		}
		// 20 s of grace, and the ticks in which loans are asked back and killed.
		w.policy.MinimumLoan = time.Hour
		for range 7 {
			w.decide()
			w.step(5 * time.Second)
		}
		for _, s := range w.lenders {
			if len(s.waits) > 0 {
				t.Fatalf("%d pods of %s still wait", len(s.waits), s.Name)
			}
		}
	})
}

// Law 4: an unknown load lends nothing, and neither does one with pods that wait.
// Hiding the metrics of a service that runs never makes it lend more, and neither
// does more load.
func TestLaw4UnknownIsNotIdle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, before State, in Snapshot, plan Plan) {
			for _, s := range w.lenders {
				seen := lenderIn(in, s.Name)
				fresh := s.util >= 0 && s.age >= 0 && s.age <= w.policy.StaleAfter && s.coverage >= 0.9
				if gives := newlyLent(plan, s.Name); gives > 0 && (!fresh || len(seen.Pending) > 0 || s.Advise) {
					t.Fatalf("%s lends %d units on load %+v with %d pods waiting", s.Name, gives, seen.Load, len(seen.Pending))
				}
			}
			i := rapid.IntRange(0, len(in.Lenders)-1).Draw(t, "lender")
			if in.Lenders[i].Running == 0 {
				return
			}
			worse := in
			worse.Lenders = slices.Clone(in.Lenders)
			worsen(t, &worse.Lenders[i])
			again, _ := Decide(worse, before, w.policy)
			name := in.Lenders[i].Name
			if a, b := mayLendIn(plan, name), mayLendIn(again, name); b > a {
				t.Fatalf("%s could lend %d, and %d with more or hidden load %+v", name, a, b, worse.Lenders[i].Load)
			}
		}, nil)
	})
}

func worsen(t *rapid.T, l *Lender) {
	switch rapid.SampledFrom([]string{"hide", "age", "cover", "requests", "panic", "signal", "value", "growing"}).Draw(t, "worsen") {
	case "hide":
		l.Load = Load{Unknown: "gone"}
	case "age":
		l.Load.ObservedAt = l.Load.ObservedAt.Add(-time.Hour)
	case "cover":
		l.Load.Coverage *= rapid.SampledFrom([]float64{0.5, 0.95}).Draw(t, "cover")
	case "requests":
		l.Load.Requests += float64(rapid.IntRange(0, 500).Draw(t, "more"))
	case "panic":
		l.Load.Panic += float64(rapid.IntRange(0, 2000).Draw(t, "more"))
	case "signal":
		l.Load.Signals = append(slices.Clone(l.Load.Signals), Signal{
			Name: "x", Value: rapid.Float64Range(0, 50).Draw(t, "x"), Low: 5, High: 20, PerReplica: rapid.Float64Range(0, 9).Draw(t, "each"),
		})
	default:
		l.Load.Signals = slices.Clone(l.Load.Signals)
		for i := range l.Load.Signals {
			l.Load.Signals[i].Value += rapid.Float64Range(0, 30).Draw(t, "more")
			l.Load.Signals[i].Rising = true
		}
	}
}

func newlyLent(plan Plan, lender string) int64 {
	var n int64
	for _, a := range actions(plan, ActionLend) {
		for _, g := range a.Grants {
			if g.Lender == lender {
				n += g.Count
			}
		}
	}
	return n
}

// mayLendIn is what a lender lends in a plan and could lend besides.
func mayLendIn(plan Plan, lender string) int64 {
	for _, v := range plan.Lenders {
		if v.Name == lender {
			return v.Lendable + newlyLent(plan, lender)
		}
	}
	return 0
}

// Law 4: a load that stays unknown returns loans, and no more than a step at a time.
func TestLaw4LongUnknownReturnsStepByStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawWorld(r)
		w.lenders, w.loans = w.lenders[:1], nil
		s := w.lenders[0]
		s.Desired, s.Advise, s.Warm, s.util = min(1, s.Owned/s.UnitsPerPod), false, 0, 0.01
		for range 8 {
			w.submit(r)
			w.step(10 * time.Second)
			w.decide()
		}
		s.util = -1
		for range 240 {
			w.step(5 * time.Second)
			in, plan := w.decide()
			since := w.now.Sub(w.state.Lenders[0].UnknownSince)
			late := since - w.policy.UnknownGrace
			if late <= 0 && slices.ContainsFunc(actions(plan, ActionReclaim), forLenders) {
				t.Fatalf("a loan is taken back %s after the load became unknown", since)
			}
			if newlyLent(plan, s.Name) > 0 {
				t.Fatal("an unknown lender lends")
			}
			for _, a := range actions(plan, ActionReclaim) {
				for _, o := range a.Owed {
					if most := s.Owned/s.UnitsPerPod - s.running(); o.Pods > most {
						t.Fatalf("owed %d pods of %d that are owned: %s", o.Pods, most, encode(in))
					}
				}
			}
		}
		pods := owned(w.snapshot(), "h100")
		if !packs(look(w.snapshot(), "h100", nil).soon, pods) {
			t.Fatalf("after 20 minutes of unknown load, the %d owned pods that do not run do not fit", len(pods))
		}
	})
}
