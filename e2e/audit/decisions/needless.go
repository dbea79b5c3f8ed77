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

// reclaim is what a plan takes back, and for whom.
type reclaim struct {
	victims []victim
	// broken are loans that come free for another reason: a node of theirs is gone,
	// some of their pods found none, or a job wants its quota.
	broken []string
	// owed is what the plan makes room for, per flavor, as far as the snapshot's own
	// facts bear it out; byLender the same per lender.
	owed     map[string][]Shape
	byLender map[string]Shape
	// asked are the loans that the plan has asked back so far.
	asked map[string]bool
	// unfounded are sentences about what no fact justifies.
	unfounded []string
}

func (r *reclaim) blame(format string, args ...any) {
	r.unfounded = append(r.unfounded, fmt.Sprintf(format, args...))
}

// reclaimOf reads what the plan takes back and holds it against the snapshot.
func reclaimOf(rec *record, plan *lend.Plan) *reclaim {
	r := &reclaim{owed: map[string][]Shape{}, byLender: map[string]Shape{}, asked: map[string]bool{}}
	claims := map[string]lend.Owed{}
	seen := map[string]bool{}
	for _, a := range plan.Actions {
		if a.Kind != lend.ActionReclaim {
			continue
		}
		r.take(rec, &a)
		r.asked[a.Loan] = r.asked[a.Loan] || len(a.Shed) == 0
		if seen[a.ReclaimID] {
			continue
		}
		seen[a.ReclaimID] = true
		for _, o := range a.Owed {
			o.Pods += claims[o.Lender].Pods
			claims[o.Lender] = o
		}
	}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		r.claim(rec, claims[name])
	}
	r.twice(&rec.Snapshot, plan)
	return r
}

// take sorts one loan that is asked back into victims and broken ones.
func (r *reclaim) take(rec *record, a *lend.Action) {
	i := slices.IndexFunc(rec.Snapshot.Loans, func(l lend.Loan) bool { return l.Name == a.Loan })
	if i < 0 {
		r.blame("%s is asked back and is no open loan", a.Loan)
		return
	}
	l := &rec.Snapshot.Loans[i]
	lent := slices.ContainsFunc(l.Grants, func(g lend.Grant) bool { return g.Lender != "" })
	switch {
	case a.ReclaimedFor != "" || a.Reason == lend.ReasonQueueDraining:
		r.takeForQuota(rec, a, l)
	case len(a.Owed) > 0:
		r.victims = append(r.victims, victim{l.Name, l.Grants})
		if !lent {
			r.blame("%s is asked back and is use of its tenant's own quota", l.Name)
		}
	case nodeGone(&rec.Snapshot, l), a.Reason == lend.ReasonSlicesUndone && undone(&rec.Snapshot, l), a.Reason == lend.ReasonNotStarted && l.Bound < l.Pods,
		a.Reason == lend.ReasonCrowdedOut && l.Bound < l.Pods && crowded(&rec.Snapshot, l, r.asked):
		r.broken = append(r.broken, l.Name)
	default:
		r.blame("%s is asked back for nobody (%s): its nodes are there, and %d of its %d pods have one", l.Name, a.Reason, l.Bound, l.Pods)
	}
}

// nodeGone reports whether a node of the loan is in the snapshot no more. One
// without any node tells nothing.
func nodeGone(in *lend.Snapshot, l *lend.Loan) bool {
	there := map[string]bool{}
	for _, n := range in.Nodes {
		there[n.Name] = true
	}
	return len(there) > 0 && slices.ContainsFunc(l.Grants, func(g lend.Grant) bool { return !there[g.Node] })
}

// undone reports whether slices that were made are being undone where the loan has such.
func undone(in *lend.Snapshot, l *lend.Loan) bool {
	return slices.ContainsFunc(in.Nodes, func(n lend.Node) bool {
		return slices.ContainsFunc(n.Reshapes, func(r lend.Reshape) bool {
			return r.State == lend.ReshapeUndoing && slices.ContainsFunc(l.Grants, func(g lend.Grant) bool {
				return g.Node == n.Name && g.Flavor == r.To && g.Lender == r.Lender
			})
		})
	})
}

// crowded reports whether more is held on a node of the loan than the node has, by pods
// that stay and loans that go on: those that are gone by themselves, or were asked back
// before this one, do not crowd it.
func crowded(in *lend.Snapshot, l *lend.Loan, asked map[string]bool) bool {
	left := map[place]int64{}
	for _, n := range in.Nodes {
		for _, u := range n.Units {
			left[place{n.Name, u.Flavor}] += u.Capacity + u.Broken - u.Other - u.Online + min(u.Leaving, u.Online)
		}
	}
	for _, other := range in.Loans {
		if asked[other.Name] || other.Reclaiming || other.Preempted || other.Finished {
			continue
		}
		for _, g := range other.Grants {
			left[place{g.Node, g.Flavor}] -= g.Count
		}
		for _, g := range other.Shedding {
			left[place{g.Node, g.Flavor}] += g.Count
		}
	}
	return slices.ContainsFunc(l.Grants, func(g lend.Grant) bool { return left[place{g.Node, g.Flavor}] < 0 })
}

// claim takes what a lender is said to be owed, and cuts it to what the facts bear
// out: an inflated claim would make every victim look needed.
func (r *reclaim) claim(rec *record, o lend.Owed) {
	i := slices.IndexFunc(rec.Snapshot.Lenders, func(l lend.Lender) bool { return l.Name == o.Lender })
	if i < 0 {
		r.blame("%d pods are owed to %s, which is no lender", o.Pods, o.Lender)
		return
	}
	l := &rec.Snapshot.Lenders[i]
	if o.Flavor != l.Flavor || o.UnitsPerPod != l.UnitsPerPod {
		r.blame("%s is owed pods of %d %s, and its pods are of %d %s", l.Name, o.UnitsPerPod, o.Flavor, l.UnitsPerPod, l.Flavor)
	}
	upTo := ceiling(l, rec)
	if o.Pods > upTo {
		r.blame("%s is owed %d pods, and all that it runs, waits for and needs makes at most %d", l.Name, o.Pods, upTo)
	}
	s := Shape{l.UnitsPerPod, min(o.Pods, upTo)}
	r.owed[l.Flavor] = append(r.owed[l.Flavor], s)
	r.byLender[l.Name] = s
}

// needless returns a sentence for every victim that could have been spared: with
// all other victims of the plan gone, and all that was free or coming free at the
// time, the owed pods still had room in their shapes. A gang is one victim.
func (r *reclaim) needless(in *lend.Snapshot) []string {
	var findings []string
	for _, spared := range r.victims {
		if r.fitsSparing(in, spared) {
			findings = append(findings, fmt.Sprintf("%s could have been spared: %s still had room", spared.loan, describe(r.owed)))
		}
	}
	return findings
}

func (r *reclaim) fitsSparing(in *lend.Snapshot, spared victim) bool {
	going := map[string]bool{}
	for _, v := range r.victims {
		going[v.loan] = v.loan != spared.loan
	}
	for _, name := range r.broken {
		going[name] = true
	}
	for flavor, want := range r.owed {
		helps := slices.ContainsFunc(spared.grants, func(g lend.Grant) bool { return frees(in, g, flavor) })
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
	back := reshaped(in, flavor, going)
	out := make([]int64, 0, len(order))
	for _, name := range order {
		out = append(out, free[name]+back[name])
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
