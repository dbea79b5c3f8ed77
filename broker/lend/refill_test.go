package lend

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Law 6: for a lender that grows into what it keeps warm something is taken back exactly
// where something would be if it kept nothing warm: where its need has no room.
func TestRefillWhenUsedTakesForNeedAlone(t *testing.T) {
	taken, spared := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, before State, in Snapshot, _ Plan) {
			pol := w.policy
			pol.BurstSigmas = 0 // which no lender can do without
			pol.MinimumLoan = 0
			for range 3 {
				in := otherLoad(t, in)
				plan, _ := Decide(in, before, pol)
				bare, _ := Decide(withoutBuffers(in, before, pol), before, pol)
				got := slices.ContainsFunc(plan.Actions, forLenders)
				if want := slices.ContainsFunc(bare.Actions, forLenders); got != want {
					t.Fatalf("something is taken back: %v; with nothing kept warm: %v\n%+v\n%+v", got, want, plan.Actions, bare.Actions)
				}
				for i := range in.Lenders {
					in.Lenders[i].Refill = RefillAlways
				}
				always, _ := Decide(in, before, pol)
				switch {
				case got:
					taken++
				case slices.ContainsFunc(always.Actions, forLenders):
					spared++
				}
			}
		}, nil)
	})
	t.Logf("taken back in %d decisions, and in %d more if always refilled", taken, spared)
	if taken == 0 || spared == 0 {
		t.Errorf("taken back in %d decisions, and in %d more if always refilled", taken, spared)
	}
}

// otherLoad is the snapshot with another load below the high water.
func otherLoad(t *rapid.T, in Snapshot) Snapshot {
	r := roll(t)
	in.Lenders = slices.Clone(in.Lenders)
	for i := range in.Lenders {
		l := &in.Lenders[i]
		l.Load.Requests = 0.6 * r.Float64() * l.Load.Slots * float64(l.Owned/l.UnitsPerPod)
		l.Load.Panic = 0
	}
	return in
}

// withoutBuffers is the snapshot in which those that grow into their headroom have none.
func withoutBuffers(in Snapshot, prev State, pol Policy) Snapshot {
	d := begin(in, prev, pol)
	d.followLoans()
	d.drain()
	d.countRooms()
	d.assess()
	in.Lenders = slices.Clone(in.Lenders)
	for i := range in.Lenders {
		l := &in.Lenders[i]
		if !d.byName[l.Name].growsIntoWarm() {
			continue
		}
		l.Warm = 0
		if l.Forecast != nil {
			f := *l.Forecast
			f.Growth = 1
			l.Forecast = &f
		}
	}
	return in
}

// What is taken back for a lender that grows into what it keeps warm makes room for its need
// and its headroom, if any loans that may be taken could.
func TestRefillFillsUp(t *testing.T) {
	filled := 0
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, before State, in Snapshot, _ Plan) {
			in = otherLoad(t, in)
			plan, _ := Decide(in, before, w.policy)
			victims, old := map[string]bool{}, map[string]bool{}
			var asking []string
			for _, a := range actions(plan, ActionReclaim) {
				victims[a.Loan] = true
				asking = append(asking, a.Asking...)
			}
			for _, l := range in.Loans {
				old[l.Name] = victims[l.Name] || lentTo(&l) && in.Now.Sub(l.Since) >= w.policy.MinimumLoan
			}
			var pods []int64
			for _, v := range plan.Lenders {
				l := lenderIn(in, v.Name)
				if l.Refill != RefillWhenUsed || v.Utilization < 0 || !slices.Contains(asking, l.Name) {
					continue
				}
				for range min(up(v.Need+v.Headroom, l.UnitsPerPod), l.Owned/l.UnitsPerPod) - l.Running {
					pods = append(pods, l.UnitsPerPod)
				}
			}
			for _, v := range plan.Lenders {
				l := lenderIn(in, v.Name)
				if len(pods) == 0 || l.Advise || v.Utilization < 0 || l.Refill == RefillWhenUsed && slices.Contains(asking, l.Name) {
					continue
				}
				for range min(up(v.Need, l.UnitsPerPod), l.Owned/l.UnitsPerPod) - l.Running {
					pods = append(pods, l.UnitsPerPod)
				}
			}
			if len(pods) == 0 || !packs(look(in, "h100", old).soon, pods) {
				return
			}
			filled++
			if got := look(in, "h100", victims).soon; !packs(got, pods) {
				t.Fatalf("for %v, %v were taken: pods of %v do not fit %v", asking, victims, pods, got)
			}
		}, nil)
	})
	t.Logf("%d were refilled", filled)
	if filled == 0 {
		t.Error("nobody was refilled")
	}
}

// What is owed of each class, and how much lending leaves.
func TestRefillOwes(t *testing.T) {
	base := Lender{
		Owned: 40, UnitsPerPod: 2, Desired: 4, Running: 4, Ready: 4, LowWater: 0.3, HighWater: 0.7, Warm: 3, Refill: RefillWhenUsed,
		Load: Load{Known: true, ObservedAt: noon, Coverage: 1, Requests: 42, Slots: 10}, // 6 replicas
	}
	season := func(l *Lender) { l.Forecast = &Forecast{Season: 56, Growth: 1} } // 8 replicas
	for name, tc := range map[string]struct {
		change func(l *Lender)
		want   [classes]int64
	}{
		"always":                          {func(l *Lender) { l.Refill = RefillAlways }, [classes]int64{classNeed: 2, classHeadroom: 2}},
		"what is not said":                {func(l *Lender) { l.Refill = "" }, [classes]int64{classNeed: 2, classHeadroom: 2}},
		"what nobody knows":               {func(l *Lender) { l.Refill = "Sometimes" }, [classes]int64{classNeed: 2, classHeadroom: 2}},
		"when used":                       {func(*Lender) {}, [classes]int64{classNeed: 2, classRefill: 2}},
		"a pod waits":                     {func(l *Lender) { l.Pending = []PendingPod{{Name: "p"}} }, [classes]int64{classPending: 1, classNeed: 1, classRefill: 2}},
		"always, with a season":           {func(l *Lender) { season(l); l.Refill = "" }, [classes]int64{classNeed: 2, classHeadroom: 2, classSeason: 2}},
		"when used, with a season":        {season, [classes]int64{classNeed: 2, classSeason: 2, classRefill: 2}},
		"growth is kept warm":             {func(l *Lender) { l.Forecast = &Forecast{Growth: 2} }, [classes]int64{classNeed: 2, classRefill: 6}},
		"a window of the schedule is not": {func(l *Lender) { l.Floors = []Floor{{Name: "f", Units: 16, From: noon, Until: noon.Add(time.Hour)}} }, [classes]int64{classNeed: 4, classRefill: 2}},
		"above the high water":            {func(l *Lender) { l.HighWater = 0.1 }, [classes]int64{classHigh: 2, classHeadroom: 2}},
		"unknown":                         {func(l *Lender) { l.Load.Known = false }, [classes]int64{}},
		"no more than is owned":           {func(l *Lender) { l.Warm = 99 }, [classes]int64{classNeed: 2, classRefill: 14}},
	} {
		t.Run(name, func(t *testing.T) {
			in := base
			tc.change(&in)
			pol := DefaultPolicy()
			pol.BurstSigmas = 0
			l := newLender(in, LenderState{})
			l.load = readLoad(l, noon, pol)
			l.size(noon, pol)
			l.owe(noon, pol)
			if diff := cmp.Diff(tc.want, l.owed); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var sum int64
			for _, n := range l.owed {
				sum += n
			}
			if l.load.mark != markUnknown && l.claim != sum {
				t.Errorf("lending leaves room for %d pods, and %d are owed", l.claim, sum)
			}
		})
	}
}

// What is free of one's headroom is not taken to refill another's: then the job that stands
// beside it would go, and more would be missing than before.
func TestRefillLeavesWhatOthersKeepWarm(t *testing.T) {
	in := four()
	node := func(name string, online int64) Node {
		return Node{Name: name, Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8, Online: online}}}
	}
	in.Nodes = []Node{node("a", 0), node("b", 0), node("c", 0), node("d", 2)}
	in.Nodes[3].Units[0].Other = 6
	chat, code := &in.Lenders[0], &in.Lenders[1]
	chat.Running, chat.Ready, chat.Desired, chat.Warm, chat.Pending, chat.Load.Requests = 0, 0, 0, 8, []PendingPod{{Name: "p"}}, 0
	code.UnitsPerPod, code.Warm = 1, 3
	in.Loans = nil
	for _, l := range []struct {
		name, node, lender string
		units              int64
		lost               time.Duration
	}{{"beside", "a", "code", 5, 10 * time.Minute}, {"cheap", "b", "chat", 8, time.Minute}, {"dear", "c", "chat", 8, time.Hour}} {
		in.Loans = append(in.Loans, Loan{
			Name: l.name, Job: l.name, JobUID: l.name, Borrower: "research", Pods: 1, Live: 1, Grace: time.Second,
			Grants: []Grant{{l.lender, l.node, "h100", l.units}}, Since: noon.Add(-2 * time.Hour), Checkpoint: noon.Add(-l.lost),
		})
	}
	want := []string{"cheap " + ReasonLenderPodPending, "dear " + ReasonNeedRose}
	for _, refill := range []Refill{RefillAlways, RefillWhenUsed} {
		chat.Refill, code.Refill = refill, refill
		plan, _ := Decide(in, State{At: in.Now}, DefaultPolicy())
		if diff := cmp.Diff(want, reclaimed(plan)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", refill, diff)
		}
	}
}
