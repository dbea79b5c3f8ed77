package lend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// promising is a cluster of nodes of 8 in one tree of cohorts, with so many jobs of 100
// tenants for each of which a guest was asked for a node of 8. Of every of those one has all
// that it asked for back, at 0 none. Besides there are nodes with so many units free, and
// jobs of ten other tenants that want them and what they cannot have.
func promising(promises, tenants, of int, free int64) (Snapshot, State) {
	const others, nodes = 10, 50
	in := Snapshot{Now: noon, Epoch: 1, Cohorts: []Cohort{{Name: "all"}}}
	state := State{At: noon.Add(-time.Second), Since: noon.Add(-time.Hour)}
	for i := range 10 {
		in.Cohorts = append(in.Cohorts, Cohort{Name: fmt.Sprintf("team-%d", i), Parent: "all"})
	}
	tenant := func(name string, at int, nominal int64) {
		in.Tenants = append(in.Tenants, Tenant{
			Name: name, Cohort: fmt.Sprintf("team-%d", at%10), Quotas: []Quota{{Flavor: "h100", Nominal: nominal}},
		})
		in.Queues = append(in.Queues, Queue{Name: name + "/q", Tenant: name, Backfill: true})
	}
	for i := range tenants {
		tenant(fmt.Sprintf("t%02d", i), i, int64(8*((promises+tenants-1)/tenants)))
	}
	for i := range others {
		tenant(fmt.Sprintf("other%d", i), i, 8*nodes/others)
		tenant(fmt.Sprintf("guest%d", i), i, 0)
	}
	for i := range promises + nodes {
		in.Nodes = append(in.Nodes, Node{Name: fmt.Sprintf("n%04d", i), Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}}})
		if i >= promises {
			in.Nodes[i].Units[0].Other = 8 - free
		}
	}
	job := func(tenant string, i int, pods int64) {
		uid := fmt.Sprintf("%s-%04d", tenant, i)
		in.Jobs = append(in.Jobs, Job{
			Name: tenant + "/" + uid, UID: uid, Tenant: tenant, Queue: tenant + "/q", Created: noon.Add(-time.Hour),
			Flavor: "h100", Pods: pods, UnitsPerPod: 4,
		})
	}
	for i := range promises {
		job(fmt.Sprintf("t%02d", i%tenants), i, 2)
		uid := in.Jobs[len(in.Jobs)-1].UID
		state.Jobs = append(state.Jobs, JobState{UID: uid, Asked: noon.Add(time.Duration(i-promises-1) * time.Millisecond), Expecting: true})
		if of > 0 && i%of == 0 {
			continue
		}
		guest, uidOf := fmt.Sprintf("guest%d", i%others), fmt.Sprintf("run-%04d", i)
		in.Loans = append(in.Loans, Loan{
			Name: guest + "/" + uidOf, Job: guest + "/" + uidOf, JobUID: uidOf, Borrower: guest, Queue: guest + "/q", Pods: 1, Live: 1, Bound: 1,
			Since: noon.Add(-time.Hour), Grants: []Grant{{Lender: CohortLender("team-0"), Node: in.Nodes[i].Name, Flavor: "h100", Count: 8}},
			Reclaiming: true, ReclaimBy: noon.Add(time.Minute), ReclaimID: "r", ReclaimedFor: uid,
		})
	}
	for i := range 10 * others {
		job(fmt.Sprintf("other%d", i%others), i, int64(1+i%7))
	}
	slices.SortFunc(in.Jobs, func(a, b Job) int { return strings.Compare(a.UID, b.UID) })
	slices.SortFunc(in.Loans, func(a, b Loan) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(state.Jobs, func(a, b JobState) int { return strings.Compare(a.UID, b.UID) })
	return in, state
}

// BenchmarkDecidePromised measures decisions while much was asked back for jobs that wait: all
// of it is still to come, and other nodes are free (free) or have less than a pod needs
// (short), or every other job has all of its own (half).
func BenchmarkDecidePromised(b *testing.B) {
	for _, c := range []struct {
		name string
		of   int
		free int64
	}{{"free", 0, 8}, {"short", 0, 2}, {"half", 2, 8}} {
		for _, promises := range []int{0, 10, 100, 1000} {
			in, state := promising(promises, 100, c.of, c.free)
			b.Run(fmt.Sprintf("%s/promises=%d", c.name, promises), func(b *testing.B) {
				b.ReportAllocs()
				k := new(Decider)
				var did int
				n, used := 0, processor()
				for b.Loop() {
					plan, _ := k.Decide(in, state, DefaultPolicy())
					did = len(actions(plan, ActionLend))
					n++
				}
				b.ReportMetric(float64((processor()-used).Microseconds())/float64(n)/1000, "cpu-ms/op")
				b.ReportMetric(float64(did), "lends")
			})
		}
	}
}
