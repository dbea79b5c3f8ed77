package quota

import (
	"cmp"
	"slices"
	"time"
)

// Claim is what a waiting job asks for.
type Claim struct {
	Tenant   NodeID
	Flavor   FlavorID
	Units    Amount
	Priority int32
	// TakenBack: the job held units before and they were taken back. It still gets
	// what was promised, but takes nothing in order to borrow: see TakeBack.
	TakenBack bool
}

// Held is an open loan, or what else a job holds that could be taken back.
type Held struct {
	Name   string
	Tenant NodeID
	Flavor FlavorID
	Units  Amount
	// Own: all of it is the tenant's own nominal quota. Other tenants never take it.
	Own bool
	// Young: held for too short a time to be taken for fair sharing.
	Young    bool
	Priority int32
	Since    time.Time
}

// Cause is why something is taken back.
type Cause int8

const (
	// OwnerWants: the claim is within what its tenant, or a cohort above it, was
	// promised, and the victim's side borrows.
	OwnerWants Cause = iota
	// FairShare: the claim borrows as the victim does, and its share is smaller.
	FairShare
	// Outranked: a job of the same tenant has a higher priority.
	Outranked
)

// String is the cause in one word.
func (c Cause) String() string {
	switch c {
	case OwnerWants:
		return "OwnerWants"
	case FairShare:
		return "FairShare"
	default:
		return "Outranked"
	}
}

// TakeBack finds what must be taken back before the claim fits: indexes into held,
// in the order in which they were chosen, and the cause of each. It is ok with none
// if the claim fits as it is; if all that may be taken is not enough, it is not ok
// and takes nothing. None of the victims can be spared.
//
// The quota's part, that the units are available, is checked here; fits is asked, with
// the victims' units given back in the tree, whether everything else allows it. With
// more victims fits must not turn false, and it must not keep the slice. The tree is
// afterwards as it was.
//
// Let a and b be the children, on the claim's side and on a victim's, of the lowest
// common ancestor of the two tenants. A victim is taken in one of these ways, in
// this order, and of each way's candidates the lowest priority first, then the
// newest, then by name:
//
//  1. OwnerWants: a does not borrow for the claim, and the victim's tenant and all
//     above it up to b borrow. Victims that would leave their side below its quota,
//     as a gang can that holds more than was borrowed, come after all others.
//  2. FairShare: a borrows for the claim, the victim's side borrows as above, and
//     one of the rules allows it; the tenant with the largest shares from the root
//     down gives first. All is tried with the first rule before the next is tried.
//  3. Outranked: the victim's tenant is the claim's, and its priority is lower. A
//     claim that was taken back itself must then be within its tenant's quota.
//
// A victim that is wholly its tenant's own quota is only taken in the last way.
//
// It comes to rest. By fair sharing the claim's share is, with the claim, below the
// victim's side before, and at the end each victim's side, with that victim given
// back alone, has at least the claim's share, and no victim could have back from
// others what it was promised: so the next decision takes nothing back. What was
// taken back once takes nothing any more in order to borrow: a job does so at most
// once, and what is left are claims within what was promised.
//
// A victim that could take back is done without, and others are looked for. After eight
// such the claim takes nothing by fair sharing, though it might with a ninth; what it was
// promised, and what it outranks, it still takes.
func (t *Tree) TakeBack(c Claim, held []Held, rules []FairRule, fits func(victims []int) bool) (victims []int, causes []Cause, ok bool) {
	if c.Units <= 0 || c.Units > t.Potential(c.Tenant, c.Flavor) || t.nodes[c.Tenant].stray {
		return nil, nil, c.Units <= 0 && fits(nil)
	}
	k := newTaking(t, c, held, fits)
	if k.enough() {
		return nil, nil, true
	}
	for drops := 0; len(k.order) > 0; drops++ {
		if drops == mostDrops {
			k.reset()
			rules = nil
		}
		if !k.choose(rules) {
			break
		}
		k.spare()
		retaker := k.retaker()
		if retaker < 0 {
			k.undo(0)
			return k.victims, k.causes, true
		}
		// Without the victim that could take back, others may do.
		k.undo(0)
		k.drop(k.victims[retaker])
	}
	k.undo(0)
	return nil, nil, false
}

// mostDrops is how many fair decisions that do not come to rest are tried another way.
const mostDrops = 8

// taking is one search for victims.
type taking struct {
	*Tree
	claim Claim
	held  []Held
	fits  func([]int) bool
	order []int  // candidates, in the order of taking
	taken []bool // by index into held

	victims []int
	causes  []Cause
	log     []was

	// As they are with the claim and without the victims so far: of the claim's
	// tenant and of each cohort above it.
	borrows []bool
	shares  []Share
	flags   []bool
}

// was is a node's usage in one dimension before a change.
type was struct {
	node  NodeID
	dim   int
	usage Amount
}

func newTaking(t *Tree, c Claim, held []Held, fits func([]int) bool) *taking {
	k := &taking{Tree: t, claim: c, held: held, fits: fits, taken: make([]bool, len(held))}
	k.reset()
	k.measure()
	return k
}

// reset makes candidates of all that draws on the same quota.
func (k *taking) reset() {
	k.order = k.order[:0]
	root := k.Root(k.claim.Tenant)
	for i := range k.held {
		h := &k.held[i]
		if h.Units > 0 && k.flavors[h.Flavor].draws[0].dim == k.flavors[k.claim.Flavor].draws[0].dim && k.Root(h.Tenant) == root {
			k.order = append(k.order, i)
		}
	}
	slices.SortStableFunc(k.order, func(a, b int) int { return k.held[a].compare(&k.held[b]) })
}

// compare orders by what is taken first.
func (h *Held) compare(o *Held) int {
	return cmp.Or(cmp.Compare(h.Priority, o.Priority), o.Since.Compare(h.Since), cmp.Compare(h.Name, o.Name))
}

// measure brings what is known of the claim's side up to date.
func (k *taking) measure() {
	c := &k.claim
	k.shares = k.sharesWith(c.Tenant, c.Flavor, c.Units, false, k.shares)
	k.borrows = k.BorrowsWith(c.Tenant, c.Flavor, c.Units, k.borrows)
}

func (k *taking) enough() bool {
	return k.claim.Units <= k.Available(k.claim.Tenant, k.claim.Flavor) && k.allowed() && k.fits(k.victims)
}

// choose takes victims until it is enough.
func (k *taking) choose(rules []FairRule) bool {
	k.victims, k.causes = nil, nil
	clear(k.taken)
	k.measure()
	if k.reclaim() || k.share(rules) || k.reclaim() {
		return true
	}
	for _, i := range k.order {
		if h := &k.held[i]; h.Tenant == k.claim.Tenant && h.Priority < k.claim.Priority {
			// With less of its own, the claim may come within what was promised.
			if k.take(i, Outranked) || k.reclaim() {
				return true
			}
		}
	}
	return false
}

// reclaim takes what others borrow for as long as the claim borrows nothing. What is
// taken on the claim's own side can bring it within its quota further up, so that
// it looks again until there is nothing more.
func (k *taking) reclaim() bool {
	for _, cut := range []bool{false, true} {
		for again := true; again; {
			again = false
			for _, i := range k.order {
				if k.taken[i] || !k.promised(i) || !cut && k.cuts(i) {
					continue
				}
				if k.take(i, OwnerWants) {
					return true
				}
				again = true
			}
		}
	}
	return false
}

// promised reports whether what is held may be taken because the claim does not
// borrow where the holder does.
func (k *taking) promised(i int) bool {
	h := &k.held[i]
	if h.Own || h.Tenant == k.claim.Tenant {
		return false
	}
	up, down := k.below(k.claim.Tenant, h.Tenant)
	return !k.borrows[up] && k.lives(h.Tenant, down)
}

// lives reports whether the tenant and so many above it all borrow in one of the
// dimensions that the claim asks for.
func (k *taking) lives(tenant NodeID, levels int) bool {
	for _, d := range k.flavors[k.claim.Flavor].draws {
		all := true
		for i, n := 0, tenant; i <= levels && all; i, n = i+1, k.nodes[n].parent {
			c := k.cell(n, d.dim)
			all = c.usage > c.subtree
		}
		if all {
			return true
		}
	}
	return false
}

// cuts reports whether taking it leaves its tenant, or one above it that borrows, with
// less than its quota.
func (k *taking) cuts(i int) bool {
	h := &k.held[i]
	_, levels := k.below(k.claim.Tenant, h.Tenant)
	for _, d := range k.flavors[h.Flavor].draws {
		v := h.Units.Times(int64(d.per))
		for i, n := 0, h.Tenant; i <= levels; i, n = i+1, k.nodes[n].parent {
			c := k.cell(n, d.dim)
			if c.usage > c.subtree && c.usage.Sub(v) < c.subtree {
				return true
			}
			v = min(v, c.usage.Sub(c.local).AtLeastZero())
		}
	}
	return false
}

// take makes it a victim and reports whether that is enough.
func (k *taking) take(i int, why Cause) bool {
	k.book(i, -1)
	k.taken[i] = true
	k.victims, k.causes = append(k.victims, i), append(k.causes, why)
	k.measure()
	return k.enough()
}

// book gives back what is held, or books it again, and remembers how it was.
func (k *taking) book(i int, sign Amount) {
	h := &k.held[i]
	k.bookUse(h.Tenant, h.Flavor, sign*h.Units)
}

func (k *taking) bookUse(tenant NodeID, f FlavorID, units Amount) {
	for _, d := range k.flavors[f].draws {
		for n := tenant; n != None; n = k.nodes[n].parent {
			k.log = append(k.log, was{n, d.dim, k.cell(n, d.dim).usage})
		}
	}
	k.Use(tenant, f, units)
}

// undo takes back all bookings after the first so many log entries.
func (k *taking) undo(mark int) {
	for i := len(k.log) - 1; i >= mark; i-- {
		w := k.log[i]
		k.cell(w.node, w.dim).usage = w.usage
		k.Tree.shares[w.node] = shares{}
	}
	k.log = k.log[:mark]
}

// spare gives each victim back, the last first, if the rest is enough and still
// allowed, and fair, without it.
func (k *taking) spare() {
	for at := len(k.victims) - 1; at >= 0; at-- {
		i, why, mark := k.victims[at], k.causes[at], len(k.log)
		k.book(i, 1)
		k.victims, k.causes = slices.Delete(k.victims, at, at+1), slices.Delete(k.causes, at, at+1)
		k.measure()
		if k.enough() && k.fair(i, at) {
			continue
		}
		k.undo(mark)
		k.victims, k.causes = slices.Insert(k.victims, at, i), slices.Insert(k.causes, at, why)
		k.measure()
	}
}

// allowed reports whether the claim borrows nothing where it takes from who does, nor
// where it takes from its own tenant after it was taken back itself.
func (k *taking) allowed() bool {
	for at, i := range k.victims {
		up, _ := k.below(k.claim.Tenant, k.held[i].Tenant)
		if k.borrows[up] && (k.causes[at] == OwnerWants || k.causes[at] == Outranked && k.claim.TakenBack) {
			return false
		}
	}
	return true
}

// drop makes what is held no candidate.
func (k *taking) drop(i int) {
	k.order = slices.DeleteFunc(k.order, func(o int) bool { return o == i })
}
