package baseline

import (
	"math"
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/quota"
)

// books are the quotas of those who train, as Kueue has them: what is in the pool is
// theirs, each the nominal quota of its own and what others of its cohort leave unused.
// What services own is nobody's but as a loan, for which a tenant's borrowing limit counts
// alone. A scenario without tenants has no quotas.
type books struct {
	tree    *quota.Tree // nil: no quotas
	tenants map[string]quota.NodeID
	limits  map[limitKey]int64
	lent    map[limitKey]int64 // units on loan to a tenant
	booked  []booking
}

type limitKey struct {
	node   quota.NodeID
	flavor quota.FlavorID
}

// booking is what one start of a job holds.
type booking struct {
	job       *sim.JobState
	attempt   int32
	key       limitKey
	own, lent int64
}

// openBooks reads the quotas of a scenario. What services own of their tenants' is in use
// from the beginning.
func openBooks(w *sim.World) books {
	s := w.Scenario()
	if len(s.Tenants) == 0 {
		return books{}
	}
	var nodes []quota.Node
	for _, t := range s.Tenants {
		nodes = append(nodes, quota.Node{Name: t.Name, Parent: t.Cohort, Weight: t.Weight, Quotas: promises(t.Quotas)})
	}
	for _, c := range s.Cohorts {
		nodes = append(nodes, quota.Node{Name: c.Name, Cohort: true, Parent: c.Parent, Weight: c.Weight, Quotas: promises(c.Quotas)})
	}
	var flavors []quota.Flavor
	for _, f := range s.Flavors {
		flavors = append(flavors, quota.Flavor{
			Name: f.Name, SliceOf: f.SliceOf, Compute: quota.Amount(f.Compute), Memory: quota.Amount(f.Memory),
		})
	}
	b := books{tree: quota.NewTree(flavors, nodes), tenants: map[string]quota.NodeID{}, limits: map[limitKey]int64{}, lent: map[limitKey]int64{}}
	for _, t := range s.Tenants {
		node, _ := b.tree.Tenant(t.Name)
		b.tenants[t.Name] = node
		for _, q := range t.Quotas {
			if f, ok := b.tree.Flavor(q.Flavor); ok && q.BorrowingLimit != nil {
				b.limits[limitKey{node, f}] = *q.BorrowingLimit
			}
		}
	}
	for i := range s.Services {
		l := &s.Services[i].Lender
		a, ok := b.tenants[l.Tenant]
		if f, known := b.tree.Flavor(l.Flavor); ok && known {
			b.tree.Use(a, f, min(quota.Amount(l.Owned), b.tree.NominalRoom(a, f)))
		}
	}
	return b
}

func promises(list []lend.Quota) []quota.Quota {
	var out []quota.Quota
	for _, q := range list {
		out = append(out, quota.Quota{
			Flavor: q.Flavor, Nominal: quota.Amount(q.Nominal),
			BorrowingLimit: (*quota.Amount)(q.BorrowingLimit), LendingLimit: (*quota.Amount)(q.LendingLimit),
		})
	}
	return out
}

// sweep gives back what jobs no longer hold.
func (b *books) sweep() {
	if b.tree == nil {
		return
	}
	b.booked = slices.DeleteFunc(b.booked, func(k booking) bool {
		if k.job.Attempt == k.attempt && (k.job.Phase == sim.Running || k.job.Phase == sim.Stopping) {
			return false
		}
		b.tree.Use(k.key.node, k.key.flavor, quota.Amount(-k.own))
		b.lent[k.key] -= k.lent
		return true
	})
}

// book notes what a running job was given, or gave up (-1).
func (b *books) book(j *sim.JobState, places []sim.Place, sign int64) {
	if b.tree == nil {
		return
	}
	key, ok := b.key(j)
	if !ok {
		return
	}
	k := booking{job: j, attempt: j.Attempt, key: key}
	for _, p := range places {
		if p.Lender == sim.Nobody {
			k.own += sign * p.Pods * j.UnitsPerPod
		} else {
			k.lent += sign * p.Pods * j.UnitsPerPod
		}
	}
	b.tree.Use(key.node, key.flavor, quota.Amount(k.own))
	b.lent[key] += k.lent
	b.booked = append(b.booked, k)
}

func (b *books) key(j *sim.JobState) (limitKey, bool) {
	a, ok := b.tenants[j.Tenant]
	f, known := b.tree.Flavor(j.Flavor)
	return limitKey{a, f}, ok && known
}

// room is how many units the job's tenant may have: of its own nominal quota, of that and
// what its cohort leaves unused of theirs, and on loan. Who has no quota may have loans.
func (b *books) room(j *sim.JobState) (nominal, cohort, loans int64) {
	if b.tree == nil {
		return math.MaxInt64, math.MaxInt64, math.MaxInt64
	}
	key, ok := b.key(j)
	if !ok {
		return 0, 0, math.MaxInt64
	}
	loans = math.MaxInt64
	if limit, limited := b.limits[key]; limited {
		held := int64(b.tree.Used(key.node, key.flavor)) + b.lent[key]
		loans = limit + int64(b.tree.Nominal(key.node, key.flavor)) - held
	}
	return int64(b.tree.NominalRoom(key.node, key.flavor)), int64(b.tree.Available(key.node, key.flavor)), loans
}
