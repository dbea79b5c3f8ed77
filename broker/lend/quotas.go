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

	*ground
	// lentOut is what each tenant's services lend to others, by node × flavor.
	lentOut []int64
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
