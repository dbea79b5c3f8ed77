package view

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// cluster has a node of everything, one with a card, and one that is broken.
func cluster() *lend.Snapshot {
	grant := func(lender, node, flavor string, n int64) lend.Grant {
		return lend.Grant{Lender: lender, Node: node, Flavor: flavor, Count: n}
	}
	loan := func(name, borrower string, grants ...lend.Grant) lend.Loan {
		return lend.Loan{Name: borrower + "/" + name, Job: borrower + "/" + name, JobUID: name, Borrower: borrower, Queue: borrower + "/q",
			Grants: grants, Since: noon.Add(-time.Hour), Checkpoint: noon, Grace: 90 * time.Second, Live: 1}
	}
	ended := loan("c", "vision", grant("serving/chat", "gpu-1", "h100", 4))
	ended.Reclaiming, ended.ReclaimBy, ended.Live = true, noon.Add(time.Minute), 0
	return &lend.Snapshot{
		Now: noon,
		Nodes: []lend.Node{
			{Name: "gpu-0", Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8, Online: 2, Other: 1}}},
			{Name: "gpu-1", Silent: true, Unlendable: "it is old", Units: []lend.Units{{Flavor: "h100", Capacity: 6, Broken: 2, Online: 5}}},
			{Name: "gpu-2", Schedulable: true, Units: []lend.Units{{Flavor: "mig", Capacity: 3}}, Cards: []lend.Card{{
				Board: "b", Fixed: "a process is on it", GPU: mig.GPU{UUID: "GPU-1", Instances: []mig.Instance{
					{Placed: mig.Placed{Profile: 1, Start: 4}, Use: mig.Lent, Owner: "research/a-0"},
					{Placed: mig.Placed{Profile: 1, Start: 0}, Use: mig.Pinned},
					{Placed: mig.Placed{Profile: 2, Start: 7}, Use: mig.Unknown},
				}}}},
				Reshapes: []lend.Reshape{{ID: "r", GPU: "GPU-1", Lender: "serving/chat", From: "mig", Count: 1, To: "small", Made: 2, State: lend.ReshapeMade}}},
		},
		Boards: []mig.Geometry{{Board: "b", Slots: 8, Profiles: []mig.Profile{{ID: 1, Name: "2g.20gb", Memory: 4}}}},
		Cohorts: []lend.Cohort{
			{Name: "lab", Parent: "all", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 4}}}, {Name: "x", Parent: "y"}, {Name: "y", Parent: "x"},
		},
		Tenants: []lend.Tenant{
			{Name: "research", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 2}}},
			{Name: "serving", Cohort: "all", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 8}}},
			{Name: "vision"},
		},
		Lenders: []lend.Lender{{Name: "serving/chat", Tenant: "serving", Flavor: "h100"}},
		Loans: []lend.Loan{
			loan("a", "research", grant("", "gpu-0", "h100", 2), grant("cohort:lab", "gpu-0", "h100", 1), grant("serving/chat", "gpu-0", "h100", 1)),
			loan("b", "serving", grant("serving/chat", "gpu-2", "mig", 1)),
			ended,
		},
	}
}

func TestNodes(t *testing.T) {
	want := []NodeRow{
		{Name: "gpu-0", Schedulable: true, Units: []UnitsRow{{Flavor: "h100", Capacity: 8, Own: 5, Lent: 2, Free: 1, Services: 2, Training: 2, Other: 1}}},
		// The loan that ends has what nobody else has by now, and what is broken and held is held.
		{Name: "gpu-1", Silent: true, Unlendable: "it is old", Units: []UnitsRow{{Flavor: "h100", Capacity: 8, Own: 5, Lent: 3, Services: 5}}},
		{Name: "gpu-2", Schedulable: true, Units: []UnitsRow{{Flavor: "mig", Capacity: 3, Lent: 1, Free: 2}},
			Cards: []CardRow{{UUID: "GPU-1", Board: "b", Slots: 8, Fixed: "a process is on it", Slices: []SliceRow{
				{Profile: "2g.20gb", Start: 0, Size: 4, Hold: HoldKept, Kept: true}, {Profile: "2g.20gb", Start: 4, Size: 4, Hold: HoldLoan, Holder: "research/a-0"},
				{Start: 7, Size: 1, Hold: HoldUnknown},
			}}},
			Reshapes: []ReshapeRow{{GPU: "GPU-1", Lender: "serving/chat", From: "mig", Count: 1, To: "small", Made: 2, State: lend.ReshapeMade}}},
	}
	got := Nodes(cluster())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	sums := []UnitsRow{{Flavor: "h100", Capacity: 16, Own: 10, Lent: 5, Free: 1, Services: 7, Training: 2, Other: 1}, {Flavor: "mig", Capacity: 3, Lent: 1, Free: 2}}
	if diff := cmp.Diff(sums, Totals(got)); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
}

func TestNodesOfOne(t *testing.T) {
	of := func(name string) func(string) bool { return func(s string) bool { return s == name } }
	nobody := func(string) bool { return false }
	for name, test := range map[string]struct {
		borrows, lends func(string) bool
		want           []NodeRow
	}{
		"a borrower": {of("research/a"), nobody, []NodeRow{{Name: "gpu-0", Schedulable: true, Part: true, Units: []UnitsRow{{Flavor: "h100", Own: 2, Training: 2, Borrowed: 2}}}}},
		"a lender": {nobody, of("serving/chat"), []NodeRow{
			{Name: "gpu-0", Schedulable: true, Part: true, Units: []UnitsRow{{Flavor: "h100", Lent: 1}}},
			{Name: "gpu-1", Part: true, Units: []UnitsRow{{Flavor: "h100", Lent: 4}}},
			{Name: "gpu-2", Schedulable: true, Part: true, Units: []UnitsRow{{Flavor: "mig", Lent: 1}}},
		}},
		"nobody": {nobody, nobody, []NodeRow{}},
	} {
		if diff := cmp.Diff(test.want, NodesOf(cluster(), test.borrows, test.lends)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestQuotas(t *testing.T) {
	plan := &lend.Plan{Tenants: []lend.TenantView{
		{Name: "cohort:lab", Flavor: "h100", Used: 4}, {Name: "research", Flavor: "h100", Used: 4, Available: 2, Share: 7},
		{Name: "vision", Flavor: "a100"}, {Name: "vision", Flavor: "h100", Used: 4},
	}}
	want := []QuotaRow{
		{Name: "all", Kind: KindCohort, Weight: 1, Flavors: []QuotaUnits{}},
		{Name: "lab", Kind: KindCohort, Parent: "all", Depth: 1, Weight: 1, Flavors: []QuotaUnits{{Flavor: "h100", Nominal: 4, Used: 4, Lent: 1}}},
		{Name: "research", Kind: KindTenant, Parent: "lab", Depth: 2, Weight: 1, Share: 7, Flavors: []QuotaUnits{{Flavor: "h100", Nominal: 2, Used: 4, Available: 2, Borrowed: 2}}},
		{Name: "serving", Kind: KindTenant, Parent: "all", Depth: 1, Weight: 1, Flavors: []QuotaUnits{{Flavor: "h100", Nominal: 8, Lent: 5}}},
		{Name: "x", Kind: KindCohort, Parent: "y", Weight: 1, Flavors: []QuotaUnits{}},
		{Name: "y", Kind: KindCohort, Parent: "x", Depth: 1, Weight: 1, Flavors: []QuotaUnits{}},
		{Name: "vision", Kind: KindTenant, Weight: 1, Flavors: []QuotaUnits{{Flavor: "h100", Used: 4, Borrowed: 4}}},
	}
	if diff := cmp.Diff(want, Quotas(cluster(), plan)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOpenLoans(t *testing.T) {
	rows := OpenLoans(cluster())
	var states []string
	for _, r := range rows {
		states = append(states, r.State)
	}
	if diff := cmp.Diff([]string{StateActive, StateActive, StateReclaiming}, states); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	row := rows[0]
	if row.Units != 4 || row.GraceSeconds != 90 || row.UID != "a" {
		t.Errorf("got %+v", row)
	}
	if !row.Lent(func(lender string) bool { return lender == "serving/chat" }) || row.Units != 1 || row.UID != "" || row.Queue != "" || !row.Checkpoint.IsZero() || !row.Part {
		t.Errorf("of the lender's: %+v", row)
	}
	if rows[0].Units != 4 {
		t.Error("the row itself was changed")
	}
	if row.Lent(func(string) bool { return false }) {
		t.Error("somebody lends who does not")
	}
}

// Spans say how a loan got smaller, and why it was asked back rather than that it returned.
func TestSpansOfAnElasticLoan(t *testing.T) {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	both := []lend.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 8}, {Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 8}}
	spans := LoanSpans([]Entry{
		{Time: at(0), Kind: "LEND_INTENT", Loan: "r/a-1", Job: "r/a", Borrower: "r", Units: 16, Grants: both},
		{Time: at(5), Kind: "SHED", Loan: "r/a-1", Units: 8, Grants: both[:1]},
		{Time: at(7), Kind: "RECLAIM_INTENT", Loan: "r/a-1", Reason: "NeedRose", Message: "its owner needs it"},
		{Time: at(8), Kind: "RECLAIM_DONE", Loan: "r/a-1", Reason: "Returned"},
	})
	want := []LoanSpan{{
		Name: "r/a-1", Label: "a", Job: "r/a", Borrower: "r", Lenders: []string{"serving/chat"}, Nodes: []string{"gpu-0", "gpu-1"}, Flavors: []string{"h100"},
		Units: 16, Changes: []UnitsChange{{at(5), 8}}, From: at(0), ReclaimAt: at(7), To: at(8), Ended: "RECLAIM_DONE", End: 'x', Reason: "NeedRose", Message: "its owner needs it",
	}}
	if diff := cmp.Diff(want, spans); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text, err := json.Marshal(spans)
	if err != nil {
		t.Fatal(err)
	}
	var again []LoanSpan
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	want[0].Label = ""
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("read again from %s (-want +got):\n%s", text, diff)
	}
}

func TestValues(t *testing.T) {
	text, err := json.Marshal(Values{0.12344999, math.NaN(), 2, math.Inf(1)})
	if err != nil || string(text) != "[0.1234,null,2,null]" {
		t.Errorf("got %s, %v", text, err)
	}
	var v Values
	if err := json.Unmarshal(text, &v); err != nil || len(v) != 4 || v[2] != 2 || !math.IsNaN(v[3]) {
		t.Errorf("read again: %v, %v", v, err)
	}
	if json.Unmarshal([]byte(`["x"]`), &v) == nil {
		t.Error("a text is a number")
	}
}
