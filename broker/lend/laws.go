package lend

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// Violation is a law that a snapshot breaks.
type Violation struct {
	// Law is its number: 1 (no unit is in two hands) or 2 (the owner always gets
	// back).
	Law     int    `json:"law"`
	Subject string `json:"subject"`
	Message string `json:"message"`
}

// CheckLaws reports what in the snapshot should never be, sorted by law and
// subject; nil if nothing is.
//
// Law 1: per node and flavor, online pods, loans and others hold no more than the
// node has; nothing is negative; no job has two open loans. A loan that ends is not
// counted: its pods may be gone, and an online pod in their place, before it is
// closed.
//
// Law 2: evicting the loans that have a lender makes room for as many owned pods
// as evicting every loan would. What own-quota use was granted must never be what
// an owner lacks; where pods outside Ebbtide or a lost node are in the way, no loan
// is to blame, so a flavor is only checked while its nodes carry all nominal quota
// that tenants were promised. Cordoned nodes count as usable: cordoning breaks no
// promise. An online pod that moves to where it splits a node can bring a violation
// about without any decision being wrong.
//
// A card's owners must be able to have their slices in their shape: undoing all changes of
// its layout gives one that the board allows, and so does some layout beside all that
// evicting loans does not move. Units in a change of which nobody knows how it could go on
// or back count as broken.
//
// Quotas are not among what is checked: who lowers one, or a weight, breaks no promise,
// and what was granted before stands.
func CheckLaws(in Snapshot) []Violation {
	d := begin(wholeCluster(in), State{}, DefaultPolicy())
	d.countRooms()
	out := append(d.twoHands(), d.twoLoans()...)
	out = append(out, d.noWayBack()...)
	out = append(out, d.noShapeBack()...)
	slices.SortStableFunc(out, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Law, b.Law), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}

func wholeCluster(in Snapshot) Snapshot {
	in.Nodes = slices.Clone(in.Nodes)
	for i := range in.Nodes {
		in.Nodes[i].Schedulable = true
	}
	return in
}

// twoHands finds units that are held twice, and counts that cannot be.
func (d *decision) twoHands() []Violation {
	var out []Violation
	report := func(subject, format string, args ...any) {
		out = append(out, Violation{1, subject, fmt.Sprintf(format, args...)})
	}
	lent := map[[2]string]int64{}
	for l := range d.holders() {
		for _, g := range l.frees() {
			if !l.ending {
				lent[[2]string{g.Node, g.Flavor}] += g.Count
			}
		}
	}
	for _, l := range d.in.Loans {
		for _, g := range l.Grants {
			if g.Count <= 0 {
				report(l.Name, "grants %d units of %s on %s", g.Count, g.Flavor, g.Node)
			}
		}
	}
	for _, n := range d.in.Nodes {
		for _, u := range n.Units {
			subject := n.Name + "/" + u.Flavor
			if min(u.Capacity, u.Broken, u.Online, u.Leaving, u.Other) < 0 || u.Leaving > u.Online {
				report(subject, "capacity %d, broken %d, online %d (leaving %d) and other %d cannot be",
					u.Capacity, u.Broken, u.Online, u.Leaving, u.Other)
			}
			held := clamp(u.Online) + clamp(u.Other) + lent[[2]string{n.Name, u.Flavor}]
			if has := clamp(u.Capacity) + clamp(u.Broken); held > has {
				report(subject, "%d units are held of %d: %d online, %d other, %d lent",
					held, has, u.Online, u.Other, lent[[2]string{n.Name, u.Flavor}])
			}
		}
	}
	return out
}

// twoLoans finds jobs with more than one open loan.
func (d *decision) twoLoans() []Violation {
	var out []Violation
	first := map[string]string{}
	for _, l := range d.loans {
		if l.part {
			continue
		}
		if other, twice := first[l.JobUID]; twice {
			out = append(out, Violation{1, l.Job, fmt.Sprintf("has two open loans, %s and %s", other, l.Name)})
			continue
		}
		first[l.JobUID] = l.Name
	}
	return out
}

// noWayBack finds flavors in which own-quota use keeps owners from their units.
func (d *decision) noWayBack() []Violation {
	var out []Violation
	for _, flavor := range d.flavors {
		p := d.pools[flavor]
		if d.promised(flavor) > d.usable(flavor) {
			continue
		}
		empty := p.withoutLoans(d.loans)
		var rights []shape
		for _, l := range p.lenders {
			if l.UnitsPerPod == 0 {
				continue
			}
			if n := empty.reach(rights, shape{l.UnitsPerPod, l.ownedPods - l.Running}); n > 0 {
				rights = with(rights, shape{l.UnitsPerPod, n})
			}
		}
		if !p.back.fits(rights) {
			out = append(out, Violation{2, flavor, "evicting all loans that have a lender does not make room for the pods that lenders own"})
		}
	}
	return out
}

// kin are the flavors that draw on one quota, by how many compute slices a unit takes; of
// GPUs that are not cut a unit is one.
func (d *decision) kin(flavor string) (base string, weights map[string]int64) {
	base = flavor
	for _, f := range d.in.Flavors {
		if f.Name == flavor && f.SliceOf != "" {
			base = f.SliceOf
		}
	}
	weights = map[string]int64{base: 1}
	for _, f := range d.in.Flavors {
		if f.SliceOf == base {
			weights[base] = int64(quota.ComputeSlices)
			weights[f.Name] = max(f.Compute, 1)
		}
	}
	return base, weights
}

// promised is the nominal quota of all tenants and cohorts, usable what nodes have but
// for what others than Ebbtide hold; both of all flavors of the same quota.
func (d *decision) promised(flavor string) (n int64) {
	base, weights := d.kin(flavor)
	sum := func(quotas []Quota) {
		for _, q := range quotas {
			if q.Flavor == base {
				n += clamp(q.Nominal) * weights[base]
			}
		}
	}
	for _, t := range d.in.Tenants {
		sum(t.Quotas)
	}
	for _, c := range d.in.Cohorts {
		sum(c.Quotas)
	}
	return n
}

func (d *decision) usable(flavor string) (n int64) {
	_, weights := d.kin(flavor)
	for _, node := range d.in.Nodes {
		for _, u := range node.Units {
			n += weights[u.Flavor] * (clamp(u.Capacity) - clamp(u.Other))
		}
	}
	return n
}

// withoutLoans is what the nodes could give if there were no loan at all.
func (p *pool) withoutLoans(loans []*loan) bins {
	free := make([]int64, len(p.rooms))
	for i := range p.rooms {
		free[i] = p.rooms[i].back
	}
	for _, l := range loans {
		for _, g := range l.Grants {
			if i, ok := p.room(g.Node); ok && g.Flavor == p.flavor && !l.ending && !l.lent {
				free[i] += g.Count
			}
		}
	}
	var b bins
	for _, n := range free {
		b.add(n, 1)
	}
	return b
}
