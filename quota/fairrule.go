package quota

import (
	"cmp"
	"slices"
)

// FairRule is a condition under which a tenant that borrows, or wants to, may take
// units from another that borrows. Both are those of Kueue's fair sharing.
type FairRule string

const (
	// LessThanOrEqualToFinalShare: with the request, the share of who asks is not above
	// what is left to who gives, and below what that had. Who gives with weight 0 need
	// not be left anything.
	LessThanOrEqualToFinalShare FairRule = "LessThanOrEqualToFinalShare"
	// LessThanInitialShare: with the request, the share of who asks is below that of
	// who gives before it gives.
	LessThanInitialShare FairRule = "LessThanInitialShare"
)

// givers are those from whom fair sharing may take, each with what it could give, in
// the order of taking.
type giver struct {
	tenant NodeID
	held   []int
}

// share takes by the fair rules.
func (k *taking) share(rules []FairRule) bool {
	if k.claim.TakenBack {
		return false
	}
	for _, rule := range rules {
		givers := k.givers()
		for len(givers) > 0 {
			g := k.greediest(givers)
			i := k.gives(&givers[g], rule)
			if i < 0 {
				givers = slices.Delete(givers, g, g+1)
				continue
			}
			if k.take(i, FairShare) {
				return true
			}
		}
	}
	return false
}

// givers collects who holds what fair sharing may take.
func (k *taking) givers() []giver {
	var all []giver
	of := map[NodeID]int{}
	for _, i := range k.order {
		h := &k.held[i]
		if k.taken[i] || h.Own || h.Young || h.Tenant == k.claim.Tenant {
			continue
		}
		g, known := of[h.Tenant]
		if !known {
			g = len(all)
			of[h.Tenant] = g
			all = append(all, giver{tenant: h.Tenant})
		}
		all[g].held = append(all[g].held, i)
	}
	slices.SortFunc(all, func(a, b giver) int { return cmp.Compare(a.tenant, b.tenant) })
	return all
}

// greediest is the giver with the largest share, compared from the root down.
func (k *taking) greediest(givers []giver) int {
	best := 0
	for g := range givers {
		a, b := givers[g].tenant, givers[best].tenant
		up, down := k.below(a, b)
		if x, y := k.up(a, up), k.up(b, down); cmp.Or(cmp.Compare(k.Share(x), k.Share(y)), cmp.Compare(y, x)) > 0 {
			best = g
		}
	}
	return best
}

// up is the node so many levels above.
func (k *taking) up(n NodeID, levels int) NodeID {
	for range levels {
		n = k.nodes[n].parent
	}
	return n
}

// gives returns the first of what the giver holds that the rule allows to take, and
// forgets it and all before it; or -1.
func (k *taking) gives(g *giver, rule FairRule) int {
	up, down := k.below(k.claim.Tenant, g.tenant)
	side := k.up(g.tenant, down)
	if !k.borrows[up] || k.shares[up] >= k.Share(side) || !k.lives(g.tenant, down) {
		return -1
	}
	for at, i := range g.held {
		// With weight 0 there is no share that a node could want to keep.
		if rule == LessThanOrEqualToFinalShare && k.nodes[side].weight > 0 {
			mark := len(k.log)
			k.book(i, -1)
			left := k.Share(side)
			k.undo(mark)
			if k.shares[up] > left {
				continue
			}
		}
		g.held = g.held[at+1:]
		return i
	}
	return -1
}

// fair reports whether all that fair sharing took after a victim, the victims from the
// given one on, might be taken from without it: given back, it makes the share of a
// cohort larger that it is in and the claim too.
func (k *taking) fair(spared, from int) bool {
	near, _ := k.below(k.claim.Tenant, k.held[spared].Tenant)
	matters := func(at int) bool {
		up, _ := k.below(k.claim.Tenant, k.held[k.victims[at]].Tenant)
		return k.causes[at] == FairShare && up > near
	}
	for from < len(k.victims) && !matters(from) {
		from++
	}
	mark := len(k.log)
	defer k.undo(mark)
	for at := len(k.victims) - 1; at >= from; at-- {
		i := k.victims[at]
		k.book(i, 1)
		if !matters(at) {
			continue
		}
		up, down := k.below(k.claim.Tenant, k.held[i].Tenant)
		shares := k.sharesWith(k.claim.Tenant, k.claim.Flavor, k.claim.Units, false, nil)
		if shares[up] >= k.Share(k.up(k.held[i].Tenant, down)) {
			return false
		}
	}
	return true
}

// retaker is the first victim of a fair decision that could take back in the next
// one, -1 if there is none: because with it given back alone its side had a smaller
// share than the claim now has, or because what it wants is then within what its
// side was promised.
func (k *taking) retaker() int {
	if !slices.Contains(k.causes, FairShare) {
		return -1
	}
	next := k.afterwards()
	known := map[again]bool{}
	for at, i := range k.victims {
		if k.causes[at] == FairShare && k.outdone(i) {
			return at
		}
		h := &k.held[i]
		like := again{h.Tenant, h.Flavor, h.Units, h.Priority}
		yes, asked := known[like]
		if !asked {
			yes = k.reclaims(h, next)
			known[like] = yes
		}
		if yes {
			return at
		}
	}
	return -1
}

// again is what it depends on whether a victim could take back.
type again struct {
	tenant   NodeID
	flavor   FlavorID
	units    Amount
	priority int32
}

// outdone reports whether the claim's side has a larger share than the victim's would
// have with the victim given back alone.
func (k *taking) outdone(i int) bool {
	h := &k.held[i]
	up, down := k.below(k.claim.Tenant, h.Tenant)
	mark := len(k.log)
	k.book(i, 1)
	back := k.Share(k.up(h.Tenant, down))
	k.undo(mark)
	return back < k.shares[up]
}

// afterwards is what is held with the claim and without the victims.
func (k *taking) afterwards() []Held {
	next := []Held{{Tenant: k.claim.Tenant, Flavor: k.claim.Flavor, Units: k.claim.Units, Priority: k.claim.Priority}}
	for i := range k.held {
		if !k.taken[i] || !slices.Contains(k.victims, i) {
			next = append(next, k.held[i])
		}
	}
	return next
}

// reclaims reports whether what was held, asked for again beside the claim, could take
// from others what its side was promised; be it known or not that it was taken back.
func (k *taking) reclaims(h *Held, next []Held) bool {
	mark := len(k.log)
	k.bookUse(k.claim.Tenant, k.claim.Flavor, k.claim.Units)
	defer k.undo(mark)
	if !k.mightReclaim(h, next) {
		return false
	}
	for _, known := range []bool{true, false} {
		again := Claim{Tenant: h.Tenant, Flavor: h.Flavor, Units: h.Units, Priority: h.Priority, TakenBack: known}
		_, causes, _ := k.TakeBack(again, next, nil, func([]int) bool { return true })
		if slices.Contains(causes, OwnerWants) {
			return true
		}
	}
	return false
}

// mightReclaim reports whether with what was held its tenant, or a cohort above it
// below the root, would be within its quota if the tenant first gave up all that has a
// lower priority. If not, nothing can be taken because it was promised.
func (k *taking) mightReclaim(h *Held, next []Held) bool {
	mark := len(k.log)
	for i := range next {
		if o := &next[i]; o.Tenant == h.Tenant && o.Priority < h.Priority {
			k.bookUse(o.Tenant, o.Flavor, -o.Units)
		}
	}
	k.flags = k.BorrowsWith(h.Tenant, h.Flavor, h.Units, k.flags)
	k.undo(mark)
	return slices.Contains(k.flags[:max(len(k.flags)-1, 0)], false)
}
