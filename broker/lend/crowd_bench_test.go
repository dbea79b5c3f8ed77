package lend

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// crowded is a cluster of 1,000 nodes of 8 with 1,000 tenants in cohorts three deep, and
// so many waiting jobs. The nodes are empty (none), or loans hold all of them: of tenants
// that borrow much (borrowed), or such that each tenant has what it was promised, so that
// nothing can move (promised).
func crowded(jobs int, held string) Snapshot {
	r := dice{rand.New(rand.NewPCG(3, 3))}
	flavors := []string{"a100", "h100"}
	in := Snapshot{Now: noon, Epoch: 1}
	for i := range 1000 {
		in.Nodes = append(in.Nodes, Node{
			Name: fmt.Sprintf("node-%04d", i), Schedulable: true, Units: []Units{{Flavor: flavors[i%2], Capacity: 8}},
		})
	}
	in.Cohorts = append(in.Cohorts, Cohort{Name: "all"})
	for i := range 10 {
		in.Cohorts = append(in.Cohorts, Cohort{Name: fmt.Sprintf("division-%d", i), Parent: "all"})
	}
	for i := range 100 {
		in.Cohorts = append(in.Cohorts, Cohort{Name: fmt.Sprintf("team-%02d", i), Parent: fmt.Sprintf("division-%d", i%10)})
	}
	for i := range 1000 {
		t := Tenant{Name: fmt.Sprintf("t%04d", i), Cohort: fmt.Sprintf("team-%02d", i%100)}
		for _, f := range flavors {
			t.Quotas = append(t.Quotas, Quota{Flavor: f, Nominal: 4})
		}
		in.Tenants = append(in.Tenants, t)
		in.Queues = append(in.Queues, Queue{Name: t.Name + "/q", Tenant: t.Name, Backfill: true, FIFO: i%2 == 0})
	}
	for i := range jobs {
		t := r.IntN(1000)
		in.Jobs = append(in.Jobs, Job{
			Name: fmt.Sprintf("t%04d/j%06d", t, i), UID: fmt.Sprintf("u%06d", i), Tenant: in.Tenants[t].Name, Queue: in.Queues[t].Name,
			Priority: int32(r.IntN(3)), Created: noon.Add(-time.Duration(r.IntN(7200)) * time.Second),
			Flavor: pick(r, flavors...), Pods: pick[int64](r, 1, 1, 2, 4, 8), UnitsPerPod: pick[int64](r, 1, 2, 4, 8), Grace: pick(r, 30*time.Second, 5*time.Minute),
		})
	}
	if held != "none" {
		fill(r, &in, held == "promised")
	}
	return in
}

// fill gives every node to a loan: each tenant one on its own quota, or some tenants
// many that are not.
func fill(r dice, in *Snapshot, promised bool) {
	for i, n := range in.Nodes {
		t := r.IntN(300)
		if promised {
			t = i
			in.Tenants[t].Quotas[i%2].Nominal, in.Tenants[t].Quotas[1-i%2].Nominal = 8, 0
		}
		l := Loan{
			Name: fmt.Sprintf("t%04d/loan-%04d", t, i), Job: fmt.Sprintf("t%04d/run-%04d", t, i), JobUID: fmt.Sprintf("run-%04d", i),
			Borrower: in.Tenants[t].Name, Queue: in.Queues[t].Name, Priority: int32(r.IntN(3)), Pods: 1, Live: 1, Bound: 1,
			Since: noon.Add(-time.Duration(r.IntN(7200)) * time.Second), Grace: time.Minute,
			Grants: []Grant{{Lender: CohortLender(in.Tenants[t].Cohort), Node: n.Name, Flavor: n.Units[0].Flavor, Count: 8}},
		}
		if promised {
			l.Grants[0].Lender = ""
		}
		in.Loans = append(in.Loans, l)
	}
	slices.SortFunc(in.Loans, func(a, b Loan) int { return strings.Compare(a.Name, b.Name) })
}

func BenchmarkDecideCrowd(b *testing.B) {
	for _, held := range []string{"none", "borrowed", "promised"} {
		for _, jobs := range []int{1000, 100000} {
			in := crowded(jobs, held)
			b.Run(fmt.Sprintf("held=%s/jobs=%d", held, jobs), func(b *testing.B) {
				b.ReportAllocs()
				var did int
				for b.Loop() {
					plan, _ := Decide(in, State{}, DefaultPolicy())
					did = len(plan.Actions)
				}
				b.ReportMetric(float64(did), "actions")
			})
		}
	}
}
