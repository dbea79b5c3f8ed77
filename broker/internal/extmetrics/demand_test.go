package extmetrics

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/lend"
)

var now = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// town is one service with 16 GPUs, of which 8 are lendable, and two tenants that train.
func town() (*lend.Snapshot, *lend.Plan) {
	in := &lend.Snapshot{
		Now: now,
		Nodes: []lend.Node{
			{Name: "gpu-1", Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8, Online: 4}}},
			{Name: "gpu-2", Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8}}},
			{Name: "gpu-3", Schedulable: false, Units: []lend.Units{{Flavor: "h100", Capacity: 8}}},
		},
		Tenants: []lend.Tenant{
			{Name: "chat", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 14}}},
			{Name: "research", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 2}}},
		},
		Queues: []lend.Queue{
			{Name: "research/default", Tenant: "research"}, {Name: "research/night", Tenant: "research"},
			{Name: "robotics/default", Tenant: "robotics"},
		},
		Lenders: []lend.Lender{{Name: "serving/chat", Tenant: "chat", Flavor: "h100"}},
		Jobs: []lend.Job{
			{Name: "research/a", UID: "a", Queue: "research/default", Flavor: "h100", Pods: 2, UnitsPerPod: 4},
			{Name: "research/b", UID: "b", Queue: "research/default", Flavor: "h100", Pods: 1, UnitsPerPod: 2},
			{Name: "research/c", UID: "c", Queue: "research/default", Flavor: "h100", Pods: 1, UnitsPerPod: 1, Problem: &lend.Problem{}},
		},
		Loans: []lend.Loan{
			{Name: "research/back", Borrower: "research", Grants: []lend.Grant{{Lender: "serving/chat", Node: "gpu-2", Flavor: "h100", Count: 1}}},
			{Name: "research/kept", Borrower: "research", Grants: []lend.Grant{
				{Node: "gpu-2", Flavor: "h100", Count: 1}, {Lender: "serving/chat", Node: "gpu-2", Flavor: "h100", Count: 2},
			}},
			{Name: "robotics/asked", Borrower: "robotics", Grants: []lend.Grant{{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 1}}},
		},
	}
	plan := &lend.Plan{
		Actions: []lend.Action{
			{Kind: lend.ActionReturn, Loan: "research/back"},
			{Kind: lend.ActionReclaim, Loan: "robotics/asked"},
			{Kind: lend.ActionLend, Loan: "research/b-1", JobUID: "b", Grants: []lend.Grant{{Lender: "serving/chat", Node: "gpu-2", Flavor: "h100", Count: 2}}},
		},
		Lenders: []lend.LenderView{{Name: "serving/chat", Owned: 14, Held: 4, Need: 4, Headroom: 1, Lent: 5, Lendable: 4}},
		Tenants: []lend.TenantView{
			{Name: "research", Flavor: "h100", Used: 1, Available: 5}, {Name: "robotics", Flavor: "h100", Available: 9},
		},
	}
	return in, plan
}

func TestDemand(t *testing.T) {
	in, plan := town()
	var got []string
	for _, m := range Demand(in, plan) {
		got = append(got, strings.Join(strings.Fields(fmt.Sprintln(m.Namespace, m.Name, m.Queue, m.Flavor, m.State, m.Value)), " "))
	}
	want := []string{
		// 16 schedulable units: 4 online, 1 asked back, 1+2 kept and 2 lent now leave 6, of
		// which the service keeps 1. Of the 5 that research could have, 1 is its own.
		"research ebbtide_lendable_units h100 4",
		"research ebbtide_loan_units h100 Active 4", // 2 kept and 2 new; not its own
		"research ebbtide_loan_units h100 Reclaiming 0",
		"research ebbtide_queue_waiting_jobs default 1", // not the admitted, nor the impossible one
		"research ebbtide_queue_waiting_jobs night 0",
		"research ebbtide_queue_waiting_units default h100 8",
		"research ebbtide_queue_waiting_units night h100 0",
		"robotics ebbtide_lendable_units h100 5", // 9 by quota
		"robotics ebbtide_loan_units h100 Active 0",
		"robotics ebbtide_loan_units h100 Reclaiming 1", // until it is returned
		"robotics ebbtide_queue_waiting_jobs default 0",
		"robotics ebbtide_queue_waiting_units default h100 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// TestDemandOrder: the same decision gives the same numbers in the same order, however
// its parts are ordered and in each of many tries.
func TestDemandOrder(t *testing.T) {
	in, plan := town()
	want := Demand(in, plan)
	for range 50 {
		rand.Shuffle(len(in.Loans), func(i, j int) { in.Loans[i], in.Loans[j] = in.Loans[j], in.Loans[i] })
		rand.Shuffle(len(in.Queues), func(i, j int) { in.Queues[i], in.Queues[j] = in.Queues[j], in.Queues[i] })
		rand.Shuffle(len(in.Jobs), func(i, j int) { in.Jobs[i], in.Jobs[j] = in.Jobs[j], in.Jobs[i] })
		if diff := cmp.Diff(want, Demand(in, plan)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
}

// TestNothingLendable: neither quota beyond what is free, nor free units beyond the
// quota, nor what a closed lender keeps is lendable.
func TestNothingLendable(t *testing.T) {
	for name, change := range map[string]func(in *lend.Snapshot, plan *lend.Plan){
		"no quota":               func(_ *lend.Snapshot, plan *lend.Plan) { plan.Tenants[0].Available = 0 },
		"only its own quota":     func(_ *lend.Snapshot, plan *lend.Plan) { plan.Tenants[0].Available = 1 },
		"no node is schedulable": func(in *lend.Snapshot, _ *lend.Plan) { in.Nodes[0].Schedulable, in.Nodes[1].Schedulable = false, false },
		"others hold the nodes":  func(in *lend.Snapshot, _ *lend.Plan) { in.Nodes[0].Units[0].Other, in.Nodes[1].Units[0].Other = 4, 8 },
		"promised": func(in *lend.Snapshot, _ *lend.Plan) {
			in.Nodes[0].Units[0].Promised, in.Nodes[1].Units[0].Promised = 4, 8
		},
		"the lender closed": func(_ *lend.Snapshot, plan *lend.Plan) { plan.Lenders[0].Lendable = 0; plan.Lenders[0].Headroom = 5 },
	} {
		in, plan := town()
		change(in, plan)
		for _, m := range Demand(in, plan) {
			if m.Namespace == "research" && m.Name == LendableUnits && m.Value > 0 {
				t.Errorf("%s: %d units are lendable", name, m.Value)
			}
		}
	}
}

// TestSlices: a tenant's own quota of whole GPUs is its own in slices too.
func TestSlices(t *testing.T) {
	for name, tc := range map[string]struct {
		flavor lend.Flavor
		quotas []lend.Quota
		want   int64
	}{
		"of whole GPUs' quota": { // 12, of which 7 - 2 are its own
			lend.Flavor{Name: "1g", SliceOf: "h100", Compute: 1, Memory: 1, Profile: "1g.10gb"}, []lend.Quota{{Flavor: "h100", Nominal: 1}}, 7,
		},
		"of quota of their own": { // 12, of which 5 - 2 are its own
			lend.Flavor{Name: "1g", Profile: "1g.10gb"}, []lend.Quota{{Flavor: "1g", Nominal: 5}}, 9,
		},
	} {
		in := &lend.Snapshot{
			Flavors: []lend.Flavor{tc.flavor},
			Nodes:   []lend.Node{{Name: "gpu-1", Schedulable: true, Units: []lend.Units{{Flavor: "1g", Capacity: 14}}}},
			Tenants: []lend.Tenant{{Name: "research", Quotas: tc.quotas}},
			Queues:  []lend.Queue{{Name: "research/default", Tenant: "research"}},
		}
		plan := &lend.Plan{Tenants: []lend.TenantView{{Name: "research", Flavor: "1g", Used: 2, Available: 12}}}
		at := slices.IndexFunc(Demand(in, plan), func(m Metric) bool { return m.Name == LendableUnits })
		if at < 0 || Demand(in, plan)[at].Value != tc.want {
			t.Errorf("%s: %+v, want %d lendable slices", name, Demand(in, plan), tc.want)
		}
	}
}

func TestCollector(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(now)
	b := &Board{Clock: clock, Interval: 15 * time.Second}
	if n := testutil.CollectAndCount(b); n != 0 {
		t.Errorf("%d metrics before the first decision", n)
	}
	b.Publish(now, []Metric{
		{Namespace: "research", Name: LendableUnits, Flavor: "h100", Value: 3},
		{Namespace: "research", Name: LoanUnits, Flavor: "h100", State: StateActive, Value: 4},
		{Namespace: "research", Name: WaitingJobs, Queue: "default", Value: 1},
		{Namespace: "research", Name: WaitingUnits, Queue: "default", Flavor: "h100", Value: 8},
	})
	want := `
# HELP ebbtide_lendable_units Units that the namespace's tenant could get on loan now, by flavor. Namespaces of one tenant share them: do not add them up.
# TYPE ebbtide_lendable_units gauge
ebbtide_lendable_units{flavor="h100",queue_namespace="research"} 3
# HELP ebbtide_loan_units Units that jobs hold beyond their tenant's nominal quota, by flavor and state: Active, Reclaiming.
# TYPE ebbtide_loan_units gauge
ebbtide_loan_units{flavor="h100",queue_namespace="research",state="Active"} 4
# HELP ebbtide_queue_waiting_jobs Jobs that wait and could be admitted, by queue.
# TYPE ebbtide_queue_waiting_jobs gauge
ebbtide_queue_waiting_jobs{queue="default",queue_namespace="research"} 1
# HELP ebbtide_queue_waiting_units Units that those jobs wait for, by queue and flavor.
# TYPE ebbtide_queue_waiting_units gauge
ebbtide_queue_waiting_units{flavor="h100",queue="default",queue_namespace="research"} 8
`
	if err := testutil.CollectAndCompare(b, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(b)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	for _, test := range []struct {
		at   time.Duration
		want int
	}{{time.Minute, 4}, {time.Minute + 1, 0}, {-time.Minute, 4}, {-time.Minute - 1, 0}} {
		clock.SetTime(now.Add(test.at))
		if n := testutil.CollectAndCount(b); n != test.want {
			t.Errorf("%d metrics at %s, want %d", n, test.at, test.want)
		}
	}
}

// TestShedding: of an elastic loan only what it gives back is asked back, and comes free.
func TestShedding(t *testing.T) {
	part := []lend.Grant{{Lender: "serving/chat", Node: "gpu-2", Flavor: "h100", Count: 1}}
	for name, tc := range map[string]struct {
		edit                   func(in *lend.Snapshot, plan *lend.Plan)
		active, asked, offered int64
	}{
		"as before": {func(*lend.Snapshot, *lend.Plan) {}, 4, 0, 4},
		"asked": {func(_ *lend.Snapshot, plan *lend.Plan) {
			plan.Actions = append(plan.Actions, lend.Action{Kind: lend.ActionReclaim, Loan: "research/kept", Shed: part})
		}, 3, 1, 4},
		"shedding": {func(in *lend.Snapshot, _ *lend.Plan) { in.Loans[1].Shedding = part }, 3, 1, 4},
		"overdue": {func(in *lend.Snapshot, plan *lend.Plan) {
			in.Loans[1].Shedding = part
			plan.Actions = append(plan.Actions, lend.Action{Kind: lend.ActionEvict, Loan: "research/kept", Shed: part})
		}, 3, 1, 4},
		"returned": {func(in *lend.Snapshot, plan *lend.Plan) {
			in.Loans[1].Shedding = part
			plan.Actions = append(plan.Actions, lend.Action{Kind: lend.ActionReturn, Loan: "research/kept", Shed: part})
		}, 3, 0, 4},
	} {
		t.Run(name, func(t *testing.T) {
			in, plan := town()
			tc.edit(in, plan)
			var active, asked, offered int64
			for _, m := range Demand(in, plan) {
				switch {
				case m.Namespace != "research":
				case m.Name == LoanUnits && m.State == StateActive:
					active = m.Value
				case m.Name == LoanUnits:
					asked = m.Value
				case m.Name == LendableUnits:
					offered = m.Value
				}
			}
			if active != tc.active || asked != tc.asked || offered != tc.offered {
				t.Errorf("%d active, %d asked back, %d lendable; want %d, %d, %d", active, asked, offered, tc.active, tc.asked, tc.offered)
			}
		})
	}
}
