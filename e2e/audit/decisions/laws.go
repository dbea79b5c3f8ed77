package decisions

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// broken is a law that a plan breaks.
type broken struct {
	law  int
	text string
}

// judge holds what a plan lends against the laws. asked is when units were last
// asked back for each lender. What the same plan asks back begins a cooldown for the
// next one: units that no owed pod can use may be lent beside it.
//
// Only what the plan brings about is its fault: a node that broke, or an online
// pod that splits one, is not.
func judge(rec *record, plan *lend.Plan, asked map[string]time.Time) []broken {
	var out []broken
	blame := func(law int, format string, args ...any) {
		out = append(out, broken{law, fmt.Sprintf(format, args...)})
	}
	lends := lendsOf(plan)
	if len(lends) == 0 {
		return nil
	}
	handsOf(&rec.Snapshot, lends, blame)
	wayBack(&rec.Snapshot, lends, blame)
	for _, a := range lends {
		for _, name := range lendersOf(a.Grants) {
			if strings.HasPrefix(name, cohorts) {
				mayBorrow(rec, &a, name, blame)
				continue
			}
			mayLend(rec, name, asked, func(law int, format string, args ...any) {
				blame(law, "lends %s from %s: %s", a.Loan, name, fmt.Sprintf(format, args...))
			})
		}
	}
	return out
}

// cohorts begins the name of a lender that is no service: quota that nobody uses.
const cohorts = "cohort:"

// mayBorrow is law 9: unused quota is lent to members of the cohort only.
func mayBorrow(rec *record, a *lend.Action, name string, blame blamer) {
	i := slices.IndexFunc(rec.Snapshot.Jobs, func(j lend.Job) bool { return j.UID == a.JobUID })
	if i < 0 {
		blame(9, "lends %s to a job that does not wait", a.Loan)
		return
	}
	tenant := rec.Snapshot.Jobs[i].Tenant
	if !slices.ContainsFunc(rec.Snapshot.Tenants, func(t lend.Tenant) bool {
		return t.Name == tenant && t.Cohort != "" && cohorts+t.Cohort == name
	}) {
		blame(9, "lends %s quota of %s, which tenant %s is not in", a.Loan, name, tenant)
	}
}

type blamer func(law int, format string, args ...any)

func lendsOf(plan *lend.Plan) []lend.Action {
	return slices.DeleteFunc(slices.Clone(plan.Actions), func(a lend.Action) bool { return a.Kind != lend.ActionLend })
}

// lendersOf names each lender once.
func lendersOf(grants []lend.Grant) []string {
	names := map[string]bool{}
	for _, g := range grants {
		if g.Lender != "" {
			names[g.Lender] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// place is one node's units of one flavor.
type place struct{ node, flavor string }

// handsOf is law 1 before the fact: a plan gives only units that nobody holds.
func handsOf(in *lend.Snapshot, lends []lend.Action, blame blamer) {
	free := map[place]int64{}
	for _, n := range in.Nodes {
		for _, u := range n.Units {
			if n.Schedulable {
				free[place{n.Name, u.Flavor}] = u.Capacity - u.Online - u.Other
			}
		}
	}
	for _, l := range in.Loans {
		for _, g := range l.Grants {
			free[place{g.Node, g.Flavor}] -= g.Count
		}
	}
	for _, a := range lends {
		for _, g := range a.Grants {
			at := place{g.Node, g.Flavor}
			if free[at] -= g.Count; free[at] < 0 || g.Count <= 0 {
				blame(1, "lends %s %d %s on %s, %d too many", a.Loan, g.Count, g.Flavor, g.Node, -free[at])
			}
		}
	}
}

// mayLend is law 4, unknown is not idle, and of law 6 the cooldown.
func mayLend(rec *record, name string, asked map[string]time.Time, blame blamer) {
	i := slices.IndexFunc(rec.Snapshot.Lenders, func(l lend.Lender) bool { return l.Name == name })
	if i < 0 {
		blame(4, "nothing is known of it")
		return
	}
	l, now := &rec.Snapshot.Lenders[i], rec.Snapshot.Now
	unknown := loadUnknown(l, now, &rec.Policy)
	switch {
	case l.Advise:
		blame(4, "it only takes advice")
	case l.Problem != nil:
		blame(4, "its policy cannot be used: %s", l.Problem.Message)
	case len(l.Pending) > 0:
		blame(4, "%d of its pods wait", len(l.Pending))
	case unknown != "":
		blame(4, "%s", unknown)
	}
	if at, ok := asked[name]; ok && now.Sub(at) < l.Cooldown {
		blame(6, "units were asked back for it %s ago, and its cooldown is %s", now.Sub(at), l.Cooldown)
	}
}

// takenBack notes whose loans the scheduler has taken back by itself.
func takenBack(in *lend.Snapshot, asked map[string]time.Time) {
	for _, l := range in.Loans {
		if l.Preempted {
			for _, name := range lendersOf(l.Grants) {
				asked[name] = in.Now
			}
		}
	}
}

// askedFor notes for whom a plan asks units back: lenders whose owed pods have no
// room otherwise.
func askedFor(in *lend.Snapshot, r *reclaim, asked map[string]time.Time) {
	for _, l := range in.Lenders {
		owed, ok := r.byLender[l.Name]
		if ok && len(r.victims) > 0 && !Fits(rooms(in, l.Flavor, nil), []Shape{owed}) {
			asked[l.Name] = in.Now
		}
	}
}

// wayBack is law 2: no lender has lent more than it owns, and with every loan that
// has a lender gone, as many of the pods that lenders own find room as before.
func wayBack(in *lend.Snapshot, lends []lend.Action, blame blamer) {
	lent, own := map[string]int64{}, map[place]int64{}
	count := func(grants []lend.Grant) {
		back := len(lendersOf(grants)) > 0
		for _, g := range grants {
			lent[g.Lender] += g.Count
			if !back {
				own[place{g.Node, g.Flavor}] += g.Count
			}
		}
	}
	for _, l := range in.Loans {
		if !l.Reclaiming && !l.Preempted && !l.Finished {
			count(l.Grants)
		}
	}
	before := maps.Clone(own)
	touched := map[string]bool{}
	for _, a := range lends {
		count(a.Grants)
		for _, name := range lendersOf(a.Grants) {
			touched[name] = true
		}
	}
	flavors := map[string]bool{}
	for _, l := range in.Lenders {
		flavors[l.Flavor] = true
		if touched[l.Name] && lent[l.Name] > l.Owned {
			blame(2, "%s lends %d units and owns %d", l.Name, lent[l.Name], l.Owned)
		}
	}
	for _, flavor := range slices.Sorted(maps.Keys(flavors)) {
		rights := rightsOf(in, flavor, roomsBeside(in, flavor, before))
		if !Fits(roomsBeside(in, flavor, own), rights) {
			blame(2, "what is granted of tenants' own %s quota takes the room of pods that lenders own: with all lent units back, %s no longer fit",
				flavor, describe(map[string][]Shape{flavor: rights}))
		}
	}
}

// roomsBeside counts per schedulable node what there is beside online pods, others,
// and what is granted of tenants' own quota.
func roomsBeside(in *lend.Snapshot, flavor string, own map[place]int64) []int64 {
	var out []int64
	for _, n := range in.Nodes {
		for _, u := range n.Units {
			if n.Schedulable && u.Flavor == flavor {
				out = append(out, u.Capacity-u.Online-u.Other+u.Leaving-own[place{n.Name, flavor}])
			}
		}
	}
	return out
}

// rightsOf is as many of the pods that lenders own and do not run as fit, large
// ones first.
func rightsOf(in *lend.Snapshot, flavor string, free []int64) []Shape {
	var rights []Shape
	lenders := slices.Clone(in.Lenders)
	slices.SortStableFunc(lenders, func(a, b lend.Lender) int { return cmp.Compare(b.UnitsPerPod, a.UnitsPerPod) })
	for _, l := range lenders {
		if l.Flavor != flavor || l.UnitsPerPod <= 0 {
			continue
		}
		lo, hi := int64(0), max(0, l.Owned/l.UnitsPerPod-l.Running)
		for lo < hi {
			if mid := (lo + hi + 1) / 2; Fits(free, append(slices.Clone(rights), Shape{l.UnitsPerPod, mid})) {
				lo = mid
			} else {
				hi = mid - 1
			}
		}
		rights = append(rights, Shape{l.UnitsPerPod, lo})
	}
	return rights
}
