package lend

import (
	"cmp"
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// books are the quotas and what is in use of them, seen in four ways.
type books struct {
	// used is what the pods, services and open loans of tenants hold or keep now.
	used *quota.Tree
	// soon is that once what ends has gone, with what is kept for jobs for which
	// units were asked back: what others may still count on.
	soon *quota.Tree
	// own is what nobody else may have of the nominal quotas: what services own, what
	// pods hold, and own-quota grants.
	own *quota.Tree
	// spoken is what nominal quotas are already spoken for: what pods hold, own-quota
	// grants and what services lend, to their own tenant or to others.
	spoken *quota.Tree

	// borrowing and lending are the limits, in units of the flavor, by node × flavor;
	// nil is none.
	borrowing, lending []*int64
	// lentOut is what each tenant's services lend to others, by node × flavor.
	lentOut []int64
	flavors int
	// names of the flavors, of which the first named exist.
	names []string
	named int
	// base is the flavor whose quota each flavor draws on.
	base []quota.FlavorID
	// slices are the names of the flavors of which a unit is a part of a GPU.
	slices map[string]bool
	// changes are those of soon since all was booked; version counts them.
	changes []change
	version int
	totals  map[family]total
	// sums are what is to be booked, by tree and by node × flavor, while it is gathered.
	sums [trees][]int64
	// borrowers and owners are what was last looked for: of a list of loans, most have the
	// same as the one before.
	borrowers, owners lookup
}

// lookup remembers the last answer.
type lookup struct {
	tenant, flavor string
	id             quota.NodeID
	f              quota.FlavorID
	known, named   bool
}

// openBooks reads the quotas. Nothing is used yet.
func openBooks(in *Snapshot) *books {
	flavors := make([]quota.Flavor, 0, len(in.Flavors))
	for _, f := range in.Flavors {
		flavors = append(flavors, quota.Flavor{
			Name: f.Name, SliceOf: f.SliceOf,
			Compute: quota.Amount(clamp(f.Compute)), Memory: quota.Amount(clamp(f.Memory)),
		})
	}
	nodes := make([]quota.Node, 0, len(in.Tenants)+len(in.Cohorts))
	for _, t := range in.Tenants {
		nodes = append(nodes, quota.Node{Name: t.Name, Parent: t.Cohort, Weight: t.Weight, Quotas: promises(t.Quotas)})
	}
	for _, c := range in.Cohorts {
		nodes = append(nodes, quota.Node{Name: c.Name, Cohort: true, Parent: c.Parent, Weight: c.Weight, Quotas: promises(c.Quotas)})
	}
	t := quota.NewTree(flavors, nodes)
	b := &books{used: t, own: t.Clone(), spoken: t.Clone(), totals: map[family]total{}, slices: map[string]bool{}}
	names := map[string]bool{}
	for i := range nodes {
		for _, q := range nodes[i].Quotas {
			names[q.Flavor] = true
		}
	}
	for _, f := range in.Flavors {
		b.slices[f.Name] = f.SliceOf != "" || f.Profile != ""
		if names[f.Name] = true; f.SliceOf != "" {
			names[f.SliceOf] = true
		}
	}
	b.flavors = len(names)
	size := t.Nodes() * b.flavors
	b.borrowing, b.lending, b.lentOut = make([]*int64, size), make([]*int64, size), make([]int64, size)
	b.names = make([]string, b.flavors)
	for name := range names {
		if f, ok := t.Flavor(name); ok {
			b.names[f] = name
			b.named = max(b.named, int(f)+1)
		}
	}
	b.base = make([]quota.FlavorID, b.flavors)
	for i := range b.base {
		b.base[i] = quota.FlavorID(i)
	}
	b.readLimits(nodes)
	for i := len(flavors) - 1; i >= 0; i-- {
		b.sliceLimits(&flavors[i])
	}
	return b
}

// readLimits keeps the limits. Of two entries for one the first counts, as it does
// in the tree.
func (b *books) readLimits(nodes []quota.Node) {
	read := make([]bool, b.used.Nodes())
	for i := range nodes {
		n := &nodes[i]
		id := b.id(n.Name, n.Cohort)
		if read[id] {
			continue
		}
		read[id] = true
		for k := len(n.Quotas) - 1; k >= 0; k-- {
			q := &n.Quotas[k]
			if f, ok := b.used.Flavor(q.Flavor); ok {
				b.borrowing[b.at(id, f)] = (*int64)(q.BorrowingLimit)
				b.lending[b.at(id, f)] = (*int64)(q.LendingLimit)
			}
		}
	}
}

// sliceLimits gives a slice the limits of what it is a slice of, in its own units.
func (b *books) sliceLimits(slice *quota.Flavor) {
	f, ok := b.used.Flavor(slice.Name)
	whole, also := b.used.Flavor(slice.SliceOf)
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
	for i := range b.used.Nodes() {
		n := quota.NodeID(i)
		b.borrowing[b.at(n, f)] = each(b.borrowing[b.at(n, whole)])
		b.lending[b.at(n, f)] = each(b.lending[b.at(n, whole)])
	}
}

func (b *books) id(name string, cohort bool) quota.NodeID {
	find := b.used.Tenant
	if cohort {
		find = b.used.Cohort
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

func (b *books) at(node quota.NodeID, f quota.FlavorID) int { return int(node)*b.flavors + int(f) }

// find looks up a tenant and a flavor; ok is false if there is no such tenant, or no
// quota names the flavor.
func (b *books) find(tenant, flavor string) (id quota.NodeID, f quota.FlavorID, ok bool) {
	return b.borrowers.find(b.used, tenant, flavor)
}

// owner is find for who lends.
func (b *books) owner(tenant, flavor string) (id quota.NodeID, f quota.FlavorID, ok bool) {
	return b.owners.find(b.used, tenant, flavor)
}

func (l *lookup) find(t *quota.Tree, tenant, flavor string) (id quota.NodeID, f quota.FlavorID, ok bool) {
	id, known := l.tenantOf(t, tenant)
	f, named := l.flavorOf(t, flavor)
	return id, f, known && named
}

func (l *lookup) tenantOf(t *quota.Tree, name string) (quota.NodeID, bool) {
	if l.tenant != name || name == "" {
		l.tenant = name
		l.id, l.known = t.Tenant(name)
	}
	return l.id, l.known
}

func (l *lookup) flavorOf(t *quota.Tree, name string) (quota.FlavorID, bool) {
	if l.flavor != name || name == "" {
		l.flavor = name
		l.f, l.named = t.Flavor(name)
	}
	return l.f, l.named
}

// known reports whether the tenant exists, lists whether its quota names the flavor.
func (b *books) known(tenant string) bool {
	_, ok := b.used.Tenant(tenant)
	return ok
}

func (b *books) lists(tenant, flavor string) bool {
	id, f, ok := b.find(tenant, flavor)
	return ok && b.used.Lists(id, f)
}

// akin: units of both flavors are slices of the same GPUs, by their quota.
func (b *books) akin(x, y string) bool {
	f, known := b.used.Flavor(x)
	g, also := b.used.Flavor(y)
	return known && also && b.base[f] == b.base[g] && b.base[f] != f && b.base[g] != g
}

// family is a flavor at a node: at a root, it stands for the whole tree.
type family struct {
	node   quota.NodeID
	flavor quota.FlavorID
}

type total struct {
	version int
	idle    int64
}

// idle is what the whole tree above the tenant leaves unused, limits aside.
func (b *books) idle(tenant quota.NodeID, f quota.FlavorID) int64 {
	of := family{b.used.Root(tenant), f}
	if t, ok := b.totals[of]; ok && t.version == b.version {
		return t.idle
	}
	var n quota.Amount
	for i := range b.used.Nodes() {
		id := quota.NodeID(i)
		if b.used.Root(id) != of.node {
			continue
		}
		n = n.Add(b.used.Nominal(id, f))
		if _, cohort := b.used.Name(id); !cohort {
			n = n.Sub(b.used.Used(id, f))
		}
	}
	b.totals[of] = total{b.version, int64(n)}
	return int64(n)
}

// nominals are what is left of nominal quotas for services to own: by tenant and flavor,
// in sevenths of a unit's compute and eighths of its memory.
type nominals struct {
	left   map[[2]string][2]int64
	slices map[string]Flavor
}

// nominal is what each tenant was promised of each flavor. Of two entries for one
// the first counts, as it does in the tree.
func (d *decision) nominal() nominals {
	out := nominals{left: map[[2]string][2]int64{}, slices: map[string]Flavor{}}
	described := map[string]Flavor{}
	for i := len(d.in.Flavors) - 1; i >= 0; i-- {
		described[d.in.Flavors[i].Name] = d.in.Flavors[i]
	}
	for name, f := range described {
		if f.SliceOf != "" && described[f.SliceOf].SliceOf == "" { // else there are no cards behind it
			out.slices[name] = f
		}
	}
	known := map[string]bool{}
	for _, t := range d.in.Tenants {
		if known[t.Name] {
			continue
		}
		known[t.Name] = true
		for _, q := range t.Quotas {
			of := [2]string{t.Name, q.Flavor}
			if _, twice := out.left[of]; !twice {
				n := clamp(q.Nominal)
				out.left[of] = [2]int64{n * int64(quota.ComputeSlices), n * int64(quota.MemorySlices)}
			}
		}
	}
	return out
}

// own makes the lender own no more than is left, and takes that off. A slice is of the
// quota of what it is a slice of.
func (n nominals) own(l *lender) {
	of, compute, memory := [2]string{l.Tenant, l.Flavor}, int64(quota.ComputeSlices), int64(quota.MemorySlices)
	if f, slice := n.slices[l.Flavor]; slice {
		of[1], compute, memory = f.SliceOf, max(f.Compute, 1), max(f.Memory, 1)
	}
	left := n.left[of]
	l.own(min(left[0]/compute, left[1]/memory))
	n.left[of] = [2]int64{left[0] - l.Owned*compute, left[1] - l.Owned*memory}
}

// tenantViews is what quotas say of each tenant and cohort after the plan.
func (d *decision) tenantViews() []TenantView {
	var out []TenantView
	b := d.books
	for _, t := range d.in.Tenants {
		id, ok := b.used.Tenant(t.Name)
		if ok {
			out = d.viewNode(out, id, t.Name)
		}
	}
	for _, c := range d.in.Cohorts {
		if id, ok := b.used.Cohort(c.Name); ok {
			out = d.viewNode(out, id, CohortLender(c.Name))
		}
	}
	slices.SortStableFunc(out, func(x, y TenantView) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Flavor, y.Flavor))
	})
	return slices.CompactFunc(out, func(x, y TenantView) bool { return x.Name == y.Name && x.Flavor == y.Flavor })
}

func (d *decision) viewNode(out []TenantView, id quota.NodeID, name string) []TenantView {
	t := d.books.used
	share := min(t.Share(id)/1000, 1<<40)
	for i := range d.books.flavors {
		f := quota.FlavorID(i)
		if i >= d.books.named || !t.Lists(id, f) && t.Used(id, f) == 0 {
			continue
		}
		out = append(out, TenantView{
			Name: name, Flavor: d.books.names[i], Used: int64(t.Used(id, f)),
			Available: int64(min(t.Available(id, f), 1<<50)), Share: int64(share),
		})
	}
	return out
}
