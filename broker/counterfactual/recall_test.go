package counterfactual

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// lent is the scene with its job on a loan of both nodes for some time.
func lent(since time.Duration) *town {
	t := scene(func(*lend.Snapshot) {})
	t.decide(since)
	t.state.At = t.in.Now.Add(-15 * time.Second)
	return t
}

func TestRecall(t *testing.T) {
	by := now.Add(time.Hour + 30*time.Second)
	ending := []Ending{{Loan: "research/bert-bert-0", Job: "research/bert", Borrower: "research", Units: 16, By: by}}
	for name, test := range map[string]struct {
		since time.Duration
		keep  int64
		want  Recalled
	}{
		"all":              {time.Hour, -1, Recalled{Keep: 16, Owned: 16, Lent: 16, Loans: ending, Units: 16, By: by}},
		"more than it has": {time.Hour, 99, Recalled{Keep: 16, Owned: 16, Lent: 16, Loans: ending, Units: 16, By: by}},
		"gangs go whole":   {time.Hour, 1, Recalled{Keep: 1, Owned: 16, Lent: 16, Loans: ending, Units: 16, By: by}},
		"none":             {time.Hour, 0, Recalled{Keep: 0, Owned: 16, Lent: 16}},
		"too young":        {time.Minute, -1, Recalled{Keep: 16, Owned: 16, Lent: 16, Short: 16}},
	} {
		t.Run(name, func(t *testing.T) {
			town := lent(test.since)
			if len(town.in.Loans) != 1 {
				t.Fatalf("nothing is lent: %+v", town.in)
			}
			got, known := Recall(town.in, town.state, town.pol, "serving/chat", test.keep)
			if !known {
				t.Fatal("the service is not known")
			}
			for i := range got.Loans {
				got.Loans[i].LostWork = 0
			}
			test.want.Lender = "serving/chat"
			for i := range test.want.Loans {
				test.want.Loans[i].Loan = town.in.Loans[0].Name
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	town := lent(time.Hour)
	town.in.Loans[0].Reclaiming, town.in.Loans[0].ReclaimBy = true, by
	if got, _ := Recall(town.in, town.state, town.pol, "serving/chat", -1); got.Leaving != 16 || got.Units != 0 || got.Short != 0 || len(got.Loans) != 0 {
		t.Errorf("while they are on their way: %+v", got)
	}
	if _, known := Recall(town.in, town.state, town.pol, "serving/none", -1); known {
		t.Error("there is a service that there is not")
	}
}

// What is said to end ends, and nothing else on that account; and where nothing is said to be
// short, the service has what is to be kept once it has gone.
func TestRecallIsWhatHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		carryOut(t, rapid.Uint64().Draw(t, "seed"), rapid.Int64Range(-1, 40).Draw(t, "keep"))
	})
	ended := 0
	for seed := range uint64(100) { // of which some must have something to end
		ended += carryOut(t, seed, -1)
	}
	if ended == 0 {
		t.Error("no recall ended anything")
	}
}

// carryOut compares what is said with what the core does, and returns how many loans ended.
func carryOut(t interface{ Errorf(string, ...any) }, seed uint64, keep int64) int {
	town := newTown(seed, sizes{nodes: 3 + int(seed%9), lenders: 2 + int(seed/9%4), jobs: 12})
	for range 3 {
		town.decide(4 * time.Minute)
	}
	l := &town.in.Lenders[int(seed/36)%len(town.in.Lenders)]
	said, _ := Recall(town.in, town.state, town.pol, l.Name, keep)
	without, _ := lend.Decide(town.in, town.state, town.pol)
	name := l.Name
	l.Floors = append(l.Floors, lend.Floor{Name: "recall", Units: said.Keep, From: town.in.Now, Until: town.in.Now.Add(time.Hour)})
	with := town.decide(time.Minute)
	asked := 0
	for _, a := range with.Actions {
		if a.Kind == lend.ActionReclaim && !reclaims(&without, a.Loan) {
			asked++
		}
	}
	if asked != len(said.Loans) {
		t.Errorf("%d loans are asked back, and %+v was said", asked, said)
	}
	for _, e := range said.Loans {
		if !reclaims(&with, e.Loan) {
			t.Errorf("%s is not asked back", e.Loan)
		}
	}
	town.decide(time.Minute)
	left := int64(0)
	for i := range town.in.Loans {
		if !town.in.Loans[i].Reclaiming {
			left += unitsOf(town.in.Loans[i].Grants, name)
		}
	}
	if said.Short == 0 && left > said.Owned-said.Keep {
		t.Errorf("%d of %d are lent still, %d were to be kept: %+v", left, said.Owned, said.Keep, said)
	}
	return asked
}

func reclaims(plan *lend.Plan, loan string) bool {
	for _, a := range plan.Actions {
		if a.Kind == lend.ActionReclaim && a.Loan == loan {
			return true
		}
	}
	return false
}
