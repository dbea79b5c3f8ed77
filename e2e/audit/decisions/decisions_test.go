package decisions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
)

var now = time.Date(2025, 2, 28, 6, 0, 0, 0, time.UTC)

// recorded is a decision in which a lender of four nodes, one of which it uses,
// needs more: its pods wait while three gangs of one node each hold the rest.
func recorded(waiting int) lend.Record {
	in := lend.Snapshot{
		Now: now, Epoch: 1,
		Tenants: []lend.Tenant{
			{Name: "research", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "h100"}}},
			{Name: "serving", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 32}}},
		},
		Queues: []lend.Queue{{Name: "research/default", Tenant: "research", Backfill: true}},
		Lenders: []lend.Lender{{
			Name: "serving/chat", Tenant: "serving", Flavor: "h100", Owned: 32, UnitsPerPod: 8,
			Desired: int64(1 + waiting), Running: 1, Ready: 1, LowWater: 0.5, HighWater: 0.8, MaxGrace: time.Minute,
			Load: lend.Load{Known: true, ObservedAt: now, Coverage: 1, Requests: 10, Slots: 32},
		}},
	}
	for i := range 4 {
		u := lend.Units{Flavor: "h100", Capacity: 8}
		if i == 3 {
			u.Online = 8
		}
		in.Nodes = append(in.Nodes, lend.Node{Name: fmt.Sprintf("n%d", i), Schedulable: true, Units: []lend.Units{u}})
	}
	for i := range 3 {
		in.Loans = append(in.Loans, lend.Loan{
			Name: fmt.Sprintf("research/l%d", i), Job: fmt.Sprintf("research/j%d", i), JobUID: fmt.Sprintf("j%d", i),
			Borrower: "research", Queue: "research/default", Attempt: 1, Pods: 1, Live: 1,
			Grants: []lend.Grant{{Lender: "serving/chat", Node: fmt.Sprintf("n%d", i), Flavor: "h100", Count: 8}},
			Since:  now.Add(-time.Hour), Checkpoint: now.Add(-time.Duration(i+1) * time.Minute),
		})
	}
	for i := range waiting {
		in.Lenders[0].Pending = append(in.Lenders[0].Pending, lend.PendingPod{Name: fmt.Sprintf("chat-%d", i), Since: now})
	}
	r := lend.Record{Snapshot: in, Policy: lend.DefaultPolicy()}
	r.Plan, _ = lend.Decide(r.Snapshot, r.State, r.Policy)
	return r
}

func audit(t *testing.T, records ...lend.Record) Result {
	t.Helper()
	var lines bytes.Buffer
	for _, r := range records {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(data, '\n'))
	}
	result, err := Audit(&lines)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestLawfulDecisions(t *testing.T) {
	for waiting := range 4 {
		got := audit(t, recorded(waiting))
		if got.Decisions != 1 || got.Victims != waiting || len(got.Needless) != 0 || len(got.Differing) != 0 {
			t.Errorf("%d pods wait: %+v; want as many victims, none needless", waiting, got)
		}
	}
}

// The negative control: one more victim than the broker chose.
func TestNeedlessVictimIsFound(t *testing.T) {
	r := recorded(1)
	var action lend.Action
	for _, a := range r.Plan.Actions {
		if a.Kind == lend.ActionReclaim {
			action = a
		}
	}
	other := "research/l0"
	if action.Loan == other {
		other = "research/l1"
	}
	action.Loan = other
	r.Plan.Actions = append(r.Plan.Actions, action)
	got := audit(t, r)
	if got.Victims != 2 || len(got.Needless) != 2 {
		t.Errorf("%+v: want two victims, either of which could have been spared", got)
	}
	if len(got.Differing) != 1 {
		t.Errorf("differing %v: want the changed plan", got.Differing)
	}
}

// Units that come free by themselves make a victim needless.
func TestComingFreeCounts(t *testing.T) {
	r := recorded(1)
	r.Snapshot.Nodes[3].Units[0].Leaving = 8
	if got := audit(t, r); len(got.Needless) != 1 {
		t.Errorf("%+v: want the victim needless once the online pod is leaving", got)
	}
	r = recorded(1)
	victim := r.Plan.Actions[0].Loan
	for i := range r.Snapshot.Loans {
		if r.Snapshot.Loans[i].Name != victim {
			r.Snapshot.Loans[i].Reclaiming = true
			break
		}
	}
	if got := audit(t, r); len(got.Needless) != 1 {
		t.Errorf("%+v: want the victim needless beside an earlier reclaim", got)
	}
}

func TestBrokenRecordsAreErrors(t *testing.T) {
	if _, err := Audit(strings.NewReader("{}\nnonsense\n{}\n")); err == nil || !strings.Contains(err.Error(), "decision 1") {
		t.Errorf("no plan: error %v, want it to name decision 1", err)
	}
	data, err := json.Marshal(recorded(1))
	if err != nil {
		t.Fatal(err)
	}
	whole := string(data) + "\n"
	if _, err := Audit(strings.NewReader(whole + "nonsense\n")); err == nil || !strings.Contains(err.Error(), "decision 2") {
		t.Errorf("error %v, want it to name decision 2", err)
	}
	got, err := Audit(strings.NewReader(whole + string(data[:100])))
	if err != nil || !got.Torn || got.Decisions != 1 {
		t.Errorf("%+v, %v: want one decision and a torn end", got, err)
	}
}

// Fits against trying every placement.
func TestFitsIsExactForPowersOfTwo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		free := rapid.SliceOfN(rapid.Int64Range(-2, 8), 0, 4).Draw(t, "free")
		pods := rapid.SliceOfN(rapid.SampledFrom([]int64{1, 2, 4, 8}), 0, 6).Draw(t, "pods")
		var want []Shape
		for _, u := range pods {
			want = append(want, Shape{u, 1})
		}
		if got, truth := Fits(free, want), tryAll(free, pods); got != truth {
			t.Fatalf("Fits(%v, %v) is %v, want %v", free, pods, got, truth)
		}
	})
}

func tryAll(free, pods []int64) bool {
	if len(pods) == 0 {
		return true
	}
	for i := range free {
		if free[i] >= pods[0] {
			free[i] -= pods[0]
			ok := tryAll(free, pods[1:])
			free[i] += pods[0]
			if ok {
				return true
			}
		}
	}
	return false
}
