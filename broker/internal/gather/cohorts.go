package gather

import (
	"cmp"
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/quota"
)

// findCircles marks cohorts that are above themselves, and all below them.
func (t *tenancy) findCircles() {
	parents := map[string]string{}
	for _, c := range t.cohorts {
		parents[c.Name] = c.Parent
	}
	// Whoever climbs more often than there are cohorts and is not above a root goes round.
	circular := func(cohort string) bool {
		for range len(t.cohorts) + 1 {
			if cohort == "" {
				return false
			}
			cohort = parents[cohort]
		}
		return cohort != ""
	}
	const why = "%s: the cohorts above %s form a circle of parents: nothing is admitted below it"
	for _, c := range t.cohorts {
		if circular(c.Name) {
			t.problem(c.Name, ReasonCohortCycle, why, "spec.parent", c.Name)
		}
	}
	for _, tenant := range t.tenants {
		if circular(tenant.Cohort) {
			t.circular[tenant.Name] = true
			t.problem(tenant.Name, ReasonCohortCycle, why, "spec.cohort", tenant.Name)
		}
	}
}

// slices are the flavors that are parts of others or MIG profiles, or both, by name: of the
// latter the cards say which may be lent, whatever their quota draws on.
func (t *tenancy) slices() []lend.Flavor {
	var list []lend.Flavor
	for _, f := range t.flavors {
		if profile := profileOf(f.Resource); f.SliceOf != "" || profile != "" {
			list = append(list, lend.Flavor{Name: f.Name, SliceOf: f.SliceOf, Compute: f.Slices.Compute, Memory: f.Slices.Memory, Profile: profile})
		}
	}
	slices.SortFunc(list, func(a, b lend.Flavor) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// sumUp works out what each cohort has together with all below it.
func (t *tenancy) sumUp() {
	t.subtrees = map[string]map[string]int64{}
	var flavors []quota.Flavor
	for _, f := range t.slices() {
		flavors = append(flavors, quota.Flavor{Name: f.Name, SliceOf: f.SliceOf, Compute: quota.Amount(f.Compute), Memory: quota.Amount(f.Memory)})
	}
	var nodes []quota.Node
	for _, c := range t.cohorts {
		nodes = append(nodes, quota.Node{Name: c.Name, Cohort: true, Parent: c.Parent, Quotas: promises(c.Quotas)})
	}
	for _, tenant := range t.tenants {
		nodes = append(nodes, quota.Node{Name: tenant.Name, Parent: tenant.Cohort, Quotas: promises(tenant.Quotas)})
	}
	tree := quota.NewTree(flavors, nodes)
	for _, c := range t.cohorts {
		id, known := tree.Cohort(c.Name)
		for _, q := range c.Quotas {
			f, named := tree.Flavor(q.Flavor)
			if !known || !named {
				continue
			}
			if t.subtrees[c.Name] == nil {
				t.subtrees[c.Name] = map[string]int64{}
			}
			t.subtrees[c.Name][q.Flavor] = int64(tree.Subtree(id, f))
		}
	}
}

func promises(quotas []lend.Quota) []quota.Quota {
	promised := make([]quota.Quota, len(quotas))
	for i, q := range quotas {
		promised[i] = quota.Quota{
			Flavor: q.Flavor, Nominal: quota.Amount(q.Nominal),
			BorrowingLimit: (*quota.Amount)(q.BorrowingLimit), LendingLimit: (*quota.Amount)(q.LendingLimit),
		}
	}
	return promised
}
