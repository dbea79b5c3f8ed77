package lend

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// twoNodes are b with two small loans, saved a minute ago, and d with a large one, saved two
// minutes ago. A pod of a whole node waits.
func twoNodes() Snapshot {
	in := four()
	in.Nodes = in.Nodes[1:]
	in.Nodes[1].Units[0].Other, in.Nodes[2].Units[0].Online = 4, 0
	in.Lenders = in.Lenders[:1]
	in.Lenders[0].Running, in.Lenders[0].Ready, in.Lenders[0].Desired, in.Lenders[0].Pending = 0, 0, 1, []PendingPod{{Name: "p"}}
	loan := func(name, node string, count int64, saved time.Duration) Loan {
		l := in.Loans[0]
		l.Name, l.Job, l.JobUID, l.Checkpoint, l.Grants = name, name, name, noon.Add(-saved), []Grant{{"chat", node, "h100", count}}
		return l
	}
	in.Loans = []Loan{loan("large", "d", 8, 2*time.Minute), loan("one", "b", 4, time.Minute), loan("two", "b", 4, time.Minute)}
	return in
}

// One job is stopped in place of two if it loses no more than a stop counts beyond them.
func TestStopCost(t *testing.T) {
	for name, tc := range map[string]struct {
		cost time.Duration
		want []string
	}{
		"none":                      {0, []string{"one", "two"}},
		"negative":                  {-time.Hour, []string{"one", "two"}},
		"less than the difference":  {7 * time.Minute, []string{"one", "two"}},
		"more than it":              {9 * time.Minute, []string{"large"}},
		"more than anything counts": {24 * time.Hour, []string{"large"}},
	} {
		t.Run(name, func(t *testing.T) {
			pol := DefaultPolicy()
			pol.StopCost = tc.cost
			plan, _ := Decide(twoNodes(), State{}, pol)
			var got []string
			for _, a := range actions(plan, ActionReclaim) {
				got = append(got, a.Loan)
				if want := 8 * 180.0; a.Loan == "large" && a.LostWork != want {
					t.Errorf("a stop counts as lost work: %g, want %g", a.LostWork, want)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Who sheds is not stopped, and nobody is in its place, whatever a stop counts.
func TestStopCostIsNotForPodsThatAreShed(t *testing.T) {
	in := twoNodes()
	l := &in.Loans[0]
	l.Pods, l.Bound, l.Live, l.MinPods, l.UnitsPerPod = 4, 4, 4, 2, 4
	l.Grants = []Grant{{"chat", "c", "h100", 4}, {"chat", "d", "h100", 8}, {"chat", "e", "h100", 4}}
	in.Nodes = append(in.Nodes, Node{Name: "e", Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8, Other: 4}}})
	for _, cost := range []time.Duration{0, 24 * time.Hour} {
		pol := DefaultPolicy()
		pol.StopCost = cost
		plan, _ := Decide(in, State{}, pol)
		if got := actions(plan, ActionReclaim); len(got) != 1 || len(got[0].Shed) == 0 {
			t.Errorf("a stop counts %s: %+v", cost, got)
		}
	}
}

// Where a stop counts more than all that could be lost, no fewer jobs could have been stopped
// for pods that wait: not more are than where it counts nothing.
func TestStopCostStopsNoMoreJobs(t *testing.T) {
	fewer := 0
	rapid.Check(t, func(t *rapid.T) {
		in := twoNodes()
		in.Nodes, in.Loans = nil, nil
		for n := range rapid.IntRange(1, 5).Draw(t, "nodes") {
			name := fmt.Sprintf("n%d", n)
			in.Nodes = append(in.Nodes, Node{Name: name, Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}}})
			for left, i := int64(8), 0; left > 0; i++ {
				count := min(rapid.SampledFrom([]int64{1, 2, 4, 8}).Draw(t, "units"), left)
				left -= count
				l := twoNodes().Loans[0]
				l.Name = fmt.Sprintf("%s-%d", name, i)
				l.Job, l.JobUID, l.Grants = l.Name, l.Name, []Grant{{"chat", name, "h100", count}}
				l.Checkpoint = noon.Add(-time.Duration(rapid.IntRange(0, 15).Draw(t, "saved")) * time.Minute)
				in.Loans = append(in.Loans, l)
			}
		}
		slices.SortFunc(in.Loans, func(a, b Loan) int { return compareLoans(&loan{Loan: &a}, &loan{Loan: &b}) })
		owned := int64(8 * len(in.Nodes))
		in.Lenders[0].Owned, in.Tenants[0].Quotas[0].Nominal = owned, owned
		in.Lenders[0].UnitsPerPod = rapid.SampledFrom([]int64{1, 2, 4, 8}).Draw(t, "pod")
		stopped := func(cost time.Duration) int {
			pol := DefaultPolicy()
			pol.StopCost = cost
			plan, _ := Decide(in, State{}, pol)
			return len(actions(plan, ActionReclaim))
		}
		least, cheapest := stopped(100*time.Hour), stopped(0)
		if least == 0 || least > cheapest {
			t.Fatalf("%d are stopped where each counts for much, and %d where it counts for nothing", least, cheapest)
		}
		if least < cheapest {
			fewer++
		}
	})
	if fewer == 0 && !testing.Short() { // which tries a fifth as many: of those none may show it
		t.Error("a stop's count never changed anything")
	}
}
