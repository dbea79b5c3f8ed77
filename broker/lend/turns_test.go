package lend

import (
	"fmt"
	"testing"
	"time"
)

// queueFor makes as many decisions, in each of which newcomers and then all claims ask
// for a search in vain, and returns in which decision each claim first had one, by UID.
func queueFor(claims, newcomers, decisions int, grounds chance) map[string]int {
	first := map[string]int{}
	var state []JobState
	for n := 1; n <= decisions; n++ {
		d := &decision{number: int64(n)}
		var order []string
		for i := range newcomers {
			order = append(order, fmt.Sprintf("new-%d-%d", n, i))
		}
		for i := range claims {
			order = append(order, fmt.Sprintf("claim-%04d", i))
		}
		d.crowd = waitingJobs(order)
		d.rememberTurns(state)
		for _, uid := range order {
			if d.turn(uid, grounds) {
				d.foundNothing(grounds)
				if first[uid] == 0 {
					first[uid] = n
				}
			}
		}
		state = history{}.states(nil, nil, nil, d.turns.since)
	}
	return first
}

func waitingJobs(uids []string) *crowd {
	var in Snapshot
	for _, uid := range uids {
		in.Jobs = append(in.Jobs, Job{UID: uid})
	}
	k := new(Decider)
	return k.follow(&in, k.openBooks(&in))
}

// Every claim has its turn, whoever comes before it in every decision: those put off in
// one decision within as many more as it takes by sixteens.
func TestEveryClaimHasItsTurn(t *testing.T) {
	const claims = 200
	for name, grounds := range map[string]chance{"fairness": byShare, "right": byRight} {
		within := 1 + (claims+turnsEach-1)/turnsEach
		first := queueFor(claims, 100, within, grounds)
		for i := range claims {
			uid := fmt.Sprintf("claim-%04d", i)
			if at := first[uid]; at == 0 {
				t.Errorf("%s: %s had no turn in %d decisions", name, uid, within)
			} else if at == 1 {
				t.Errorf("%s: %s was not put off", name, uid)
			}
		}
	}
}

// Who has had its turn waits behind those that have not.
func TestTurnsGoRound(t *testing.T) {
	var jobs []string
	for i := range 3 * turnsEach {
		jobs = append(jobs, fmt.Sprintf("j%03d", i))
	}
	var state []JobState
	had := map[string]int{}
	for n := int64(1); n <= 7; n++ {
		d := &decision{number: n, crowd: waitingJobs(jobs)}
		d.rememberTurns(state)
		d.turns.made[byShare] = firstFair
		for _, uid := range jobs {
			if d.turn(uid, byShare) {
				had[uid]++
				// It asks again in the same decision, and is put off.
				if d.turn(uid, byShare) {
					t.Fatalf("%s has two turns in one decision", uid)
				}
			}
		}
		state = history{}.states(nil, nil, nil, d.turns.since)
	}
	for uid, n := range had {
		if n != 2 {
			t.Errorf("%s had %d turns in two rounds", uid, n)
		}
	}
	if len(had) != 3*turnsEach {
		t.Errorf("%d had turns", len(had))
	}
}

// besieged is a cluster in which so many tenants want a node that they were promised
// and that others hold as their own, and one after them wants the one unit that is
// borrowed.
func besieged(claims int) Snapshot {
	in := Snapshot{
		Now:     noon,
		Epoch:   1,
		Cohorts: []Cohort{{Name: "lab"}},
		Nodes: []Node{
			{Name: "full", Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}}},
			{Name: "split", Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8, Other: 7}}},
		},
		Tenants: []Tenant{
			{Name: "borrower", Cohort: "lab", Quotas: []Quota{{Flavor: "h100"}}},
			{Name: "owner", Cohort: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: 8}}},
		},
		Loans: []Loan{
			heldLoan("borrower/one", "borrower", Grant{Lender: CohortLender("lab"), Node: "split", Flavor: "h100", Count: 1}),
			heldLoan("owner/all", "owner", Grant{Node: "full", Flavor: "h100", Count: 8}),
		},
	}
	want := func(tenant, uid string, units int64, age time.Duration) {
		in.Tenants = append(in.Tenants, Tenant{Name: tenant, Cohort: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: 8}}})
		in.Queues = append(in.Queues, Queue{Name: tenant + "/q", Tenant: tenant, Backfill: true})
		in.Jobs = append(in.Jobs, Job{
			Name: tenant + "/job", UID: uid, Tenant: tenant, Queue: tenant + "/q", Created: noon.Add(-age),
			Flavor: "h100", Pods: 1, UnitsPerPod: units,
		})
	}
	for i := range claims {
		want(fmt.Sprintf("t%03d", i), fmt.Sprintf("u%03d", i), 8, 5*time.Minute)
	}
	want("zeta", "zeta", 1, time.Minute)
	return in
}

func heldLoan(name, tenant string, g Grant) Loan {
	return Loan{
		Name: name, Job: name + "-job", JobUID: name, Borrower: tenant, Pods: 1, Live: 1, Bound: 1,
		Since: noon.Add(-time.Hour), Checkpoint: noon.Add(-time.Hour), Grace: time.Minute, Grants: []Grant{g},
	}
}

// Claims that find nothing do not keep for ever one from its right that comes after
// them and would.
func TestOwnersGetBackBehindManyClaims(t *testing.T) {
	const claims = 200
	in := besieged(claims)
	within := 1 + (claims+1-firstRight+turnsEach-1)/turnsEach
	var state State
	for n := 1; n <= within; n++ {
		var plan Plan
		plan, state = Decide(in, state, DefaultPolicy())
		if taken := actions(plan, ActionReclaim); len(taken) > 0 {
			if a := taken[0]; len(taken) != 1 || a.Loan != "borrower/one" || a.ReclaimedFor != "zeta" || a.Reason != ReasonOwnerWants {
				t.Errorf("takes %+v", taken)
			}
			if n == 1 {
				t.Errorf("it was not put off: nothing is shown")
			}
			return
		}
		in.Now = in.Now.Add(5 * time.Second)
	}
	t.Errorf("takes nothing in %d decisions", within)
}
