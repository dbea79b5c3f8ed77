package gather_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

func cohort(name, parent string, flavors ...v1alpha1.FlavorQuota) *v1alpha1.TenantQuota {
	return &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.TenantQuotaSpec{Parent: parent, Flavors: flavors},
	}
}

// slice is a MIG profile of h100.
func slice(name, product string) v1alpha1.FlavorQuota {
	return v1alpha1.FlavorQuota{
		Name: name, Resource: "nvidia.com/mig-1g.10gb", NodeSelector: map[string]string{"product": product},
		SliceOf: "h100", Slices: &v1alpha1.GPUSlices{Compute: 1, Memory: 1},
	}
}

// TestCohorts: TenantQuotas without namespaces are the tree above the others.
func TestCohorts(t *testing.T) {
	lab := cohort("lab", "company", flavor("h100", "h100", 8), slice("mig", "h100"))
	lab.Spec.Weight, lab.Spec.Flavors[0].LendingLimit = ptr.To[int64](3), ptr.To[int64](2)
	view := gatherAll(t, append(cluster(), lab)...)
	if len(view.QuotaProblems) > 0 {
		t.Errorf("problems: %v", view.QuotaProblems)
	}
	wantCohorts := []lend.Cohort{{Name: "lab", Parent: "company", Weight: ptr.To[int64](3), Quotas: []lend.Quota{
		{Flavor: "h100", Nominal: 8, LendingLimit: ptr.To[int64](2)}, {Flavor: "mig"},
	}}}
	if diff := cmp.Diff(wantCohorts, view.Snapshot.Cohorts); diff != "" {
		t.Errorf("cohorts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]lend.Flavor{{Name: "mig", SliceOf: "h100", Compute: 1, Memory: 1, Profile: "1g.10gb"}}, view.Snapshot.Flavors); diff != "" {
		t.Errorf("flavors (-want +got):\n%s", diff)
	}
	var names []string
	for _, tenant := range view.Snapshot.Tenants {
		names = append(names, tenant.Name+" in "+tenant.Cohort)
	}
	if diff := cmp.Diff([]string{"research in lab", "serving in lab"}, names); diff != "" {
		t.Errorf("tenants (-want +got):\n%s", diff)
	}
}

func TestQuotaProblems(t *testing.T) {
	inside := func(name, cohort string) *v1alpha1.TenantQuota {
		q := tenant(name, flavor("h100", "h100", 1))
		q.Spec.Cohort = cohort
		return q
	}
	whole := flavor("h100", "h100", 1)
	ofSlice := slice("half", "h100")
	ofSlice.SliceOf = "mig"
	same := slice("same", "h100")
	same.Resource = gpu
	other := slice("mig", "h100")
	other.Slices = &v1alpha1.GPUSlices{Compute: 2, Memory: 2}
	for name, test := range map[string]struct {
		quotas []*v1alpha1.TenantQuota
		want   map[string]string
	}{
		"two cohorts above each other": {
			[]*v1alpha1.TenantQuota{cohort("a", "b"), cohort("b", "a"), cohort("c", "b"), inside("x", "c"), inside("y", "free")},
			map[string]string{
				"a": "CohortCycle spec.parent: the cohorts above a form a circle of parents: nothing is admitted below it",
				"b": "CohortCycle spec.parent: the cohorts above b form a circle of parents: nothing is admitted below it",
				"c": "CohortCycle spec.parent: the cohorts above c form a circle of parents: nothing is admitted below it",
				"x": "CohortCycle spec.cohort: the cohorts above x form a circle of parents: nothing is admitted below it",
			},
		},
		"a cohort above itself": {
			[]*v1alpha1.TenantQuota{cohort("a", "a")},
			map[string]string{"a": "CohortCycle spec.parent: the cohorts above a form a circle of parents: nothing is admitted below it"},
		},
		"a long chain": {[]*v1alpha1.TenantQuota{cohort("a", "b"), cohort("b", "c"), cohort("c", "d"), inside("x", "a")}, map[string]string{}},
		"a tenant as a cohort": {[]*v1alpha1.TenantQuota{inside("x", ""), inside("y", "x"), cohort("z", "y")}, map[string]string{
			"y": "CohortIsTenant spec.cohort: TenantQuota x has namespaces: it is a tenant, not a cohort",
			"z": "CohortIsTenant spec.parent: TenantQuota y has namespaces: it is a tenant, not a cohort",
		}},
		"a slice of nothing": {[]*v1alpha1.TenantQuota{tenant("x", slice("mig", "h100"))}, map[string]string{
			"x": "InvalidSlice spec.flavors[0].sliceOf: flavor h100 is not listed: a slice needs the flavor that it is a part of",
		}},
		"a slice of a slice": {[]*v1alpha1.TenantQuota{tenant("x", whole, slice("mig", "h100"), ofSlice)}, map[string]string{
			"x": "InvalidSlice spec.flavors[2].sliceOf: flavor mig is itself a slice",
		}},
		"a slice elsewhere": {[]*v1alpha1.TenantQuota{tenant("x", whole, slice("mig", "a100"))}, map[string]string{
			"x": "InvalidSlice spec.flavors[1].sliceOf: flavor h100 has another nodeSelector: a slice is on the same nodes",
		}},
		"a slice of its own resource": {[]*v1alpha1.TenantQuota{tenant("x", whole, same)}, map[string]string{
			"x": "InvalidSlice spec.flavors[1].sliceOf: flavor h100 counts the same resource",
		}},
		"slices of two sizes": {[]*v1alpha1.TenantQuota{tenant("x", whole, slice("mig", "h100")), tenant("y", whole, other)}, map[string]string{
			"y": "FlavorConflict spec.flavors[1]: flavor mig has another sliceOf or slices in TenantQuota x",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []client.Object
			for _, q := range test.quotas {
				objects = append(objects, q)
			}
			got := map[string]string{}
			for name, p := range gatherAll(t, objects...).QuotaProblems {
				got[name] = p.Reason + " " + p.Message
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCircularJobs: nothing waits to be admitted below a circle.
func TestCircularJobs(t *testing.T) {
	view := gatherAll(t, append(cluster(), cohort("lab", "lab"), training("tune", 1, 4))...)
	if p := view.Snapshot.Jobs[0].Problem; p == nil || p.Reason != gather.ReasonCohortCycle {
		t.Errorf("got %+v", p)
	}
}

// TestFlavorOverlap: the first flavor by name has the units, and both owners read it.
func TestFlavorOverlap(t *testing.T) {
	any := v1alpha1.FlavorQuota{Name: "gpu", Resource: gpu}
	view := gatherAll(t, append(without(cluster(), "research", "TenantQuota"), tenant("research", any, flavor("h100", "h100", 1)))...)
	for _, n := range view.Snapshot.Nodes {
		if len(n.Units) != 1 || n.Units[0].Flavor != "gpu" {
			t.Errorf("node %s has %v", n.Name, n.Units)
		}
	}
	want := "flavor h100: flavor gpu, whose name comes first, has the same resource on node gpu-0 and 1 more: its units count as gpu"
	if diff := cmp.Diff(map[string]string{"research": want, "serving": want}, view.QuotaNotes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// entries is a ledger.
type entries []ledger.Entry

func (e entries) Read(from uint64, _ int) ([]ledger.Entry, error) {
	return e[min(int(from)-1, len(e)):], nil
}

// TestBorrowedLately: what a tenant had of its own services is not borrowed.
func TestBorrowedLately(t *testing.T) {
	past := history.New(time.Hour)
	grants := []ledger.Grant{
		{Node: "gpu-0", Flavor: "h100", Count: 1}, {Lender: "cohort:lab", Node: "gpu-0", Flavor: "h100", Count: 2},
		{Lender: "research/own", Node: "gpu-0", Flavor: "h100", Count: 16}, {Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 4},
	}
	err := past.Follow(entries{{
		Seq: 1, Time: now.Add(-time.Hour), Kind: ledger.Recovered, Loan: "research/tune-1", Borrower: "research", Grants: grants,
		Payload: []byte(`{"queue":"research/default"}`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	queue := &v1alpha1.TrainingQueue{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "default"},
		Spec:       v1alpha1.TrainingQueueSpec{Order: v1alpha1.OrderFairShare, Weight: ptr.To[int64](2), Drain: true},
	}
	g, _ := newGatherer(append(without(cluster(), "default", "TrainingQueue"), queue)...)
	g.History = past
	view, err := g.Gather(t.Context(), now, 1)
	if err != nil {
		t.Fatal(err)
	}
	near := func(got, want int64) bool { return got == want || got == want-1 }
	if b := view.Snapshot.Tenants[0].Borrowed; len(b) != 1 || b[0].Flavor != "h100" || !near(b[0].Milli, 3000) {
		t.Errorf("borrowed %v, want half of 6 units of h100", b)
	}
	q := view.Snapshot.Queues[0]
	if !q.FairShare || !q.Drain || q.Weight != 2 || !near(q.Used, 11500) {
		t.Errorf("got %+v, want half of 23 units used", q)
	}
}
