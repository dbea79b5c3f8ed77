package decisions

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// victim is a loan that a plan takes back for pods that are owed.
type victim struct {
	loan   string
	grants []lend.Grant
}

// needless returns a sentence for every victim that could have been spared: with
// all other victims of the plan gone, and all that was free or coming free at the
// time, the owed pods still had room in their shapes. A gang is one victim.
//
// Loans taken back because a node of theirs is gone are owed to nobody and are
// not victims in this sense.
func needless(in *lend.Snapshot, plan *lend.Plan) []string {
	victims := victimsOf(in, plan)
	if len(victims) == 0 {
		return nil
	}
	owed := owedOf(in, plan)
	var findings []string
	for _, spared := range victims {
		if fitsSparing(in, plan, victims, spared, owed) {
			findings = append(findings, fmt.Sprintf("%s could have been spared: %s still had room", spared.loan, describe(owed)))
		}
	}
	return findings
}

func victimsOf(in *lend.Snapshot, plan *lend.Plan) []victim {
	var victims []victim
	for _, a := range plan.Actions {
		if a.Kind != lend.ActionReclaim || len(a.Owed) == 0 {
			continue
		}
		for _, l := range in.Loans {
			if l.Name == a.Loan {
				victims = append(victims, victim{l.Name, l.Grants})
			}
		}
	}
	return victims
}

// owedOf sums up what the plan's reclaims make room for, per flavor.
func owedOf(in *lend.Snapshot, plan *lend.Plan) map[string][]Shape {
	owed := map[string][]Shape{}
	seen := map[string]bool{}
	for _, a := range plan.Actions {
		if a.Kind != lend.ActionReclaim || seen[a.ReclaimID] {
			continue
		}
		seen[a.ReclaimID] = true
		for _, o := range a.Owed {
			seen["lender "+o.Lender] = true
			owed[o.Flavor] = append(owed[o.Flavor], Shape{o.UnitsPerPod, o.Pods})
		}
	}
	// A lender that is owed pods but needs no victims for them has its claim too.
	for _, v := range plan.Lenders {
		if seen["lender "+v.Name] {
			continue
		}
		for _, l := range in.Lenders {
			if short := v.Need + v.Headroom - v.Held; l.Name == v.Name && short > 0 && l.UnitsPerPod > 0 {
				owed[l.Flavor] = append(owed[l.Flavor], Shape{l.UnitsPerPod, (short + l.UnitsPerPod - 1) / l.UnitsPerPod})
			}
		}
	}
	return owed
}

func fitsSparing(in *lend.Snapshot, plan *lend.Plan, victims []victim, spared victim, owed map[string][]Shape) bool {
	going := map[string]bool{}
	for _, v := range victims {
		going[v.loan] = v.loan != spared.loan
	}
	for _, a := range plan.Actions { // a broken gang comes free as well
		if a.Kind == lend.ActionReclaim && len(a.Owed) == 0 {
			going[a.Loan] = true
		}
	}
	for flavor, want := range owed {
		helps := slices.ContainsFunc(spared.grants, func(g lend.Grant) bool { return g.Flavor == flavor })
		if helps && !Fits(rooms(in, flavor, going), want) {
			return false
		}
	}
	return true // also where none of its units is of a flavor that is owed
}

// rooms counts per schedulable node what is free, comes free by itself, or is
// held by loans that are going.
func rooms(in *lend.Snapshot, flavor string, going map[string]bool) []int64 {
	free := map[string]int64{}
	var order []string
	for _, n := range in.Nodes {
		for _, u := range n.Units {
			if n.Schedulable && u.Flavor == flavor {
				free[n.Name] = u.Capacity - u.Online - u.Other + u.Leaving
				order = append(order, n.Name)
			}
		}
	}
	for _, l := range in.Loans {
		if going[l.Name] || l.Reclaiming || l.Preempted || l.Finished {
			continue
		}
		for _, g := range l.Grants {
			if g.Flavor == flavor {
				free[g.Node] -= g.Count
			}
		}
	}
	out := make([]int64, 0, len(order))
	for _, name := range order {
		out = append(out, free[name])
	}
	return out
}

func describe(owed map[string][]Shape) string {
	var parts []string
	for _, flavor := range slices.Sorted(maps.Keys(owed)) {
		for _, s := range owed[flavor] {
			parts = append(parts, fmt.Sprintf("%d pods of %d %s", s.Pods, s.Units, flavor))
		}
	}
	return strings.Join(parts, ", ")
}
