package lend

import (
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// ground is what the quotas promise, whoever uses them. It is kept as long as they stay as
// they are.
type ground struct {
	// described are the flavors, tenants and cohorts as they were read, and promised the tree
	// of them, in which nothing is used.
	described []Flavor
	tenants   []Tenant
	cohorts   []Cohort
	promised  *quota.Tree

	// borrowing and lending are the limits, in units of the flavor, by node × flavor;
	// nil is none.
	borrowing, lending []*int64
	flavors            int
	// names of the flavors, of which the first named exist.
	names []string
	named int
	// base is the flavor whose quota each flavor draws on.
	base []quota.FlavorID
	// slices are the names of the flavors of which a unit is a part of a GPU.
	slices map[string]bool
	// nominal quotas by tenant and flavor, in sevenths of a unit's compute and eighths of its
	// memory; cards are the flavors that are slices of others.
	nominal map[[2]string][2]int64
	cards   map[string]Flavor
}

// openBooks reads the quotas, if they are not as they were. Nothing is used until all is
// booked, and until then all trees are the one that is kept.
func (k *Decider) openBooks(in *Snapshot) *books {
	if k.ground == nil || !k.ground.same(in) {
		k.ground = newGround(in)
	}
	t := k.ground.promised
	return &books{
		ground: k.ground, used: t, own: t, spoken: t, totals: map[family]total{},
		lentOut: make([]int64, t.Nodes()*k.ground.flavors),
	}
}

func (g *ground) same(in *Snapshot) bool {
	return slices.Equal(g.described, in.Flavors) &&
		slices.EqualFunc(g.tenants, in.Tenants, func(a, b Tenant) bool {
			return a.Name == b.Name && a.Cohort == b.Cohort && sameCount(a.Weight, b.Weight) && slices.EqualFunc(a.Quotas, b.Quotas, samePromise)
		}) &&
		slices.EqualFunc(g.cohorts, in.Cohorts, func(a, b Cohort) bool {
			return a.Name == b.Name && a.Parent == b.Parent && sameCount(a.Weight, b.Weight) && slices.EqualFunc(a.Quotas, b.Quotas, samePromise)
		})
}

func samePromise(a, b Quota) bool {
	return a.Flavor == b.Flavor && a.Nominal == b.Nominal && sameCount(a.BorrowingLimit, b.BorrowingLimit) && sameCount(a.LendingLimit, b.LendingLimit)
}

func sameCount(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }

// copied is a count of its own.
func copied(n *int64) *int64 {
	if n == nil {
		return nil
	}
	own := *n
	return &own
}

func copiedQuotas(in []Quota) []Quota {
	out := slices.Clone(in)
	for i := range out {
		out[i].BorrowingLimit, out[i].LendingLimit = copied(out[i].BorrowingLimit), copied(out[i].LendingLimit)
	}
	return out
}

func newGround(in *Snapshot) *ground {
	b := &ground{
		described: slices.Clone(in.Flavors), tenants: slices.Clone(in.Tenants), cohorts: slices.Clone(in.Cohorts), slices: map[string]bool{},
	}
	for i := range b.tenants {
		t := &b.tenants[i]
		t.Weight, t.Quotas, t.Borrowed = copied(t.Weight), copiedQuotas(t.Quotas), nil
	}
	for i := range b.cohorts {
		c := &b.cohorts[i]
		c.Weight, c.Quotas = copied(c.Weight), copiedQuotas(c.Quotas)
	}
	flavors := make([]quota.Flavor, 0, len(in.Flavors))
	for _, f := range b.described {
		flavors = append(flavors, quota.Flavor{
			Name: f.Name, SliceOf: f.SliceOf,
			Compute: quota.Amount(clamp(f.Compute)), Memory: quota.Amount(clamp(f.Memory)),
		})
	}
	nodes := make([]quota.Node, 0, len(in.Tenants)+len(in.Cohorts))
	for _, t := range b.tenants {
		nodes = append(nodes, quota.Node{Name: t.Name, Parent: t.Cohort, Weight: t.Weight, Quotas: promises(t.Quotas)})
	}
	for _, c := range b.cohorts {
		nodes = append(nodes, quota.Node{Name: c.Name, Cohort: true, Parent: c.Parent, Weight: c.Weight, Quotas: promises(c.Quotas)})
	}
	b.promised = quota.NewTree(flavors, nodes)
	b.nameFlavors(nodes)
	b.readLimits(nodes)
	for i := len(flavors) - 1; i >= 0; i-- {
		b.sliceLimits(&flavors[i])
	}
	b.readNominal()
	return b
}

// nameFlavors numbers the flavors as the tree does.
func (b *ground) nameFlavors(nodes []quota.Node) {
	names := map[string]bool{}
	for i := range nodes {
		for _, q := range nodes[i].Quotas {
			names[q.Flavor] = true
		}
	}
	for _, f := range b.described {
		b.slices[f.Name] = f.SliceOf != "" || f.Profile != ""
		if names[f.Name] = true; f.SliceOf != "" {
			names[f.SliceOf] = true
		}
	}
	b.flavors = len(names)
	b.names = make([]string, b.flavors)
	for name := range names {
		if f, ok := b.promised.Flavor(name); ok {
			b.names[f] = name
			b.named = max(b.named, int(f)+1)
		}
	}
	b.base = make([]quota.FlavorID, b.flavors)
	for i := range b.base {
		b.base[i] = quota.FlavorID(i)
	}
}

// readLimits keeps the limits. Of two entries for one the first counts, as it does
// in the tree.
func (b *ground) readLimits(nodes []quota.Node) {
	size := b.promised.Nodes() * b.flavors
	b.borrowing, b.lending = make([]*int64, size), make([]*int64, size)
	read := make([]bool, b.promised.Nodes())
	for i := range nodes {
		n := &nodes[i]
		id := b.id(n.Name, n.Cohort)
		if read[id] {
			continue
		}
		read[id] = true
		for k := len(n.Quotas) - 1; k >= 0; k-- {
			q := &n.Quotas[k]
			if f, ok := b.promised.Flavor(q.Flavor); ok {
				b.borrowing[b.at(id, f)] = (*int64)(q.BorrowingLimit)
				b.lending[b.at(id, f)] = (*int64)(q.LendingLimit)
			}
		}
	}
}

// sliceLimits gives a slice the limits of what it is a slice of, in its own units.
func (b *ground) sliceLimits(slice *quota.Flavor) {
	f, ok := b.promised.Flavor(slice.Name)
	whole, also := b.promised.Flavor(slice.SliceOf)
	if !ok || !also || f == whole {
		return
	}
	b.base[f] = whole
	each := func(limit *int64) *int64 {
		if limit == nil {
			return nil
		}
		n := min(quota.Amount(clamp(*limit))*quota.ComputeSlices/max(slice.Compute, 1), quota.Amount(clamp(*limit))*quota.MemorySlices/max(slice.Memory, 1))
		return (*int64)(&n)
	}
	for i := range b.promised.Nodes() {
		n := quota.NodeID(i)
		b.borrowing[b.at(n, f)] = each(b.borrowing[b.at(n, whole)])
		b.lending[b.at(n, f)] = each(b.lending[b.at(n, whole)])
	}
}

func (b *ground) id(name string, cohort bool) quota.NodeID {
	find := b.promised.Tenant
	if cohort {
		find = b.promised.Cohort
	}
	id, _ := find(name)
	return id
}

func promises(in []Quota) []quota.Quota {
	out := make([]quota.Quota, 0, len(in))
	for _, q := range in {
		out = append(out, quota.Quota{
			Flavor: q.Flavor, Nominal: quota.Amount(clamp(q.Nominal)),
			BorrowingLimit: (*quota.Amount)(q.BorrowingLimit), LendingLimit: (*quota.Amount)(q.LendingLimit),
		})
	}
	return out
}

func (b *ground) at(node quota.NodeID, f quota.FlavorID) int { return int(node)*b.flavors + int(f) }

// readNominal is what each tenant was promised of each flavor. Of two entries for one the
// first counts, as it does in the tree.
func (b *ground) readNominal() {
	b.nominal, b.cards = map[[2]string][2]int64{}, map[string]Flavor{}
	described := map[string]Flavor{}
	for i := len(b.described) - 1; i >= 0; i-- {
		described[b.described[i].Name] = b.described[i]
	}
	for name, f := range described {
		if f.SliceOf != "" && described[f.SliceOf].SliceOf == "" { // else there are no cards behind it
			b.cards[name] = f
		}
	}
	known := map[string]bool{}
	for _, t := range b.tenants {
		if known[t.Name] {
			continue
		}
		known[t.Name] = true
		for _, q := range t.Quotas {
			of := [2]string{t.Name, q.Flavor}
			if _, twice := b.nominal[of]; !twice {
				n := clamp(q.Nominal)
				b.nominal[of] = [2]int64{n * int64(quota.ComputeSlices), n * int64(quota.MemorySlices)}
			}
		}
	}
}

// nominals are what is left of nominal quotas for services to own.
type nominals struct {
	*ground
	taken map[[2]string][2]int64
}

// own makes the lender own no more than is left, and takes that off. A slice is of the
// quota of what it is a slice of.
func (n nominals) own(l *lender) {
	of, compute, memory := [2]string{l.Tenant, l.Flavor}, int64(quota.ComputeSlices), int64(quota.MemorySlices)
	if f, slice := n.cards[l.Flavor]; slice {
		of[1], compute, memory = f.SliceOf, max(f.Compute, 1), max(f.Memory, 1)
	}
	all, taken := n.nominal[of], n.taken[of]
	l.own(min((all[0]-taken[0])/compute, (all[1]-taken[1])/memory))
	n.taken[of] = [2]int64{taken[0] + l.Owned*compute, taken[1] + l.Owned*memory}
}
