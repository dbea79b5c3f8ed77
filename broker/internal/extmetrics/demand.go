package extmetrics

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/quota"
)

// The metrics, by their names in both APIs.
const (
	// WaitingJobs is the number of jobs that wait and could be admitted; label queue.
	WaitingJobs = "ebbtide_queue_waiting_jobs"
	// WaitingUnits is how many units those wait for; labels queue and flavor.
	WaitingUnits = "ebbtide_queue_waiting_units"
	// LoanUnits is what jobs hold beyond their tenant's own nominal quota; labels state
	// (Active, Reclaiming) and flavor.
	LoanUnits = "ebbtide_loan_units"
	// LendableUnits is how many units the tenant could get on loan now, beyond what is
	// left of its own nominal quota; label flavor. Namespaces of one tenant share them.
	LendableUnits = "ebbtide_lendable_units"
)

// The labels.
const (
	LabelQueue  = "queue"
	LabelFlavor = "flavor"
	LabelState  = "state"
)

// The states of loans.
const (
	StateActive     = "Active"
	StateReclaiming = "Reclaiming"
)

// Metric is one number of one namespace. Labels that its Name has not are empty.
type Metric struct {
	Namespace, Name      string
	Queue, Flavor, State string
	Value                int64
}

func (m Metric) compare(o Metric) int {
	return cmp.Or(cmp.Compare(m.Namespace, o.Namespace), cmp.Compare(m.Name, o.Name), cmp.Compare(m.Queue, o.Queue),
		cmp.Compare(m.Flavor, o.Flavor), cmp.Compare(m.State, o.State))
}

// Demand is what a decision leaves: it counts as if the plan were done. There is a
// number, 0 included, for every namespace with a TrainingQueue or a loan and every
// flavor that its tenant's quota names, and for others that its jobs ask for or hold.
// The result is sorted, and depends on nothing but the arguments.
func Demand(in *lend.Snapshot, plan *lend.Plan) []Metric {
	c := &counter{in: in, numbers: map[Metric]int64{}, tenants: map[string]string{}, promised: map[[2]string]int64{}}
	for _, t := range in.Tenants {
		for _, q := range t.Quotas {
			c.promised[[2]string{t.Name, q.Flavor}] = q.Nominal
		}
	}
	c.namespaces(plan)
	admitted := map[string]*lend.Action{}
	loans := map[string]lend.ActionKind{}
	c.parts = map[string]*lend.Action{}
	for i := range plan.Actions {
		a := &plan.Actions[i]
		switch {
		case a.Kind == lend.ActionLend:
			admitted[a.JobUID] = a
		case len(a.Shed) > 0:
			c.parts[a.Loan] = a
		default:
			loans[a.Loan] = a.Kind
		}
	}
	c.waiting(admitted)
	c.loans(plan, loans)
	c.lendable(plan, loans)
	out := make([]Metric, 0, len(c.numbers))
	for m, n := range c.numbers {
		m.Value = n
		out = append(out, m)
	}
	slices.SortFunc(out, Metric.compare)
	return out
}

type counter struct {
	in *lend.Snapshot
	// numbers by Metric without Value.
	numbers map[Metric]int64
	// tenants by namespace.
	tenants map[string]string
	// promised is the nominal quota by tenant and flavor.
	promised map[[2]string]int64
	// parts are the actions on a part of a loan.
	parts map[string]*lend.Action
}

func namespaceOf(name string) string {
	namespace, _, _ := strings.Cut(name, "/")
	return namespace
}

func (c *counter) add(m Metric, n int64) { c.numbers[m] += n }

// namespaces notes whose each namespace is, and that all its numbers exist.
func (c *counter) namespaces(plan *lend.Plan) {
	for i := range c.in.Loans {
		c.tenants[namespaceOf(c.in.Loans[i].Name)] = c.in.Loans[i].Borrower
	}
	for _, q := range c.in.Queues {
		c.tenants[namespaceOf(q.Name)] = q.Tenant
	}
	flavors := map[string][]string{}
	for _, v := range plan.Tenants {
		flavors[v.Name] = append(flavors[v.Name], v.Flavor)
	}
	for namespace, tenant := range c.tenants {
		for _, f := range flavors[tenant] {
			c.add(Metric{Namespace: namespace, Name: LoanUnits, Flavor: f, State: StateActive}, 0)
			c.add(Metric{Namespace: namespace, Name: LoanUnits, Flavor: f, State: StateReclaiming}, 0)
		}
	}
	for _, q := range c.in.Queues {
		namespace, name, _ := strings.Cut(q.Name, "/")
		c.add(Metric{Namespace: namespace, Name: WaitingJobs, Queue: name}, 0)
		for _, f := range flavors[q.Tenant] {
			c.add(Metric{Namespace: namespace, Name: WaitingUnits, Queue: name, Flavor: f}, 0)
		}
	}
}

// waiting counts the jobs that are not admitted now. One that cannot be admitted
// whatever is free is nobody's demand.
func (c *counter) waiting(admitted map[string]*lend.Action) {
	for i := range c.in.Jobs {
		j := &c.in.Jobs[i]
		if j.Problem != nil || admitted[j.UID] != nil {
			continue
		}
		namespace, queue, _ := strings.Cut(j.Queue, "/")
		c.add(Metric{Namespace: namespace, Name: WaitingJobs, Queue: queue}, 1)
		c.add(Metric{Namespace: namespace, Name: WaitingUnits, Queue: queue, Flavor: j.Flavor}, j.Pods*j.UnitsPerPod)
	}
}

// loans counts what is held of others. A loan that is asked back is held until it is
// returned.
func (c *counter) loans(plan *lend.Plan, done map[string]lend.ActionKind) {
	for i := range c.in.Loans {
		l := &c.in.Loans[i]
		state := StateActive
		switch done[l.Name] {
		case lend.ActionReturn:
			continue
		case lend.ActionReclaim, lend.ActionEvict:
			state = StateReclaiming
		}
		if l.Reclaiming || l.Preempted || l.Killed {
			state = StateReclaiming
		}
		c.hold(l.Name, state, l.Grants, 1)
		shed, returned := c.shed(l)
		c.hold(l.Name, state, shed, -1)
		if !returned {
			c.hold(l.Name, StateReclaiming, shed, 1)
		}
	}
	for i := range plan.Actions {
		if a := &plan.Actions[i]; a.Kind == lend.ActionLend {
			c.hold(a.Loan, StateActive, a.Grants, 1)
		}
	}
}

func (c *counter) hold(loan, state string, grants []lend.Grant, sign int64) {
	for _, g := range grants {
		if g.Lender != "" {
			c.add(Metric{Namespace: namespaceOf(loan), Name: LoanUnits, Flavor: g.Flavor, State: state}, sign*g.Count)
		}
	}
}

// shed is what an elastic loan gives back, and whether it has.
func (c *counter) shed(l *lend.Loan) (grants []lend.Grant, returned bool) {
	if a := c.parts[l.Name]; a != nil {
		return a.Shed, a.Kind == lend.ActionReturn
	}
	return l.Shedding, false
}

// lendable is what quotas allow each tenant and the nodes have room for, without what
// is the tenant's own.
func (c *counter) lendable(plan *lend.Plan, done map[string]lend.ActionKind) {
	free := c.free(plan, done)
	could := map[string][]Metric{}
	for _, v := range plan.Tenants {
		n := max(min(v.Available, free[v.Flavor])-max(c.nominal(v.Name, v.Flavor)-v.Used, 0), 0)
		could[v.Name] = append(could[v.Name], Metric{Name: LendableUnits, Flavor: v.Flavor, Value: n})
	}
	for namespace, tenant := range c.tenants {
		for _, m := range could[tenant] {
			n := m.Value
			m.Namespace, m.Value = namespace, 0
			c.add(m, n)
		}
	}
}

// free is how many units of each flavor pods could have on nodes, without what
// services keep and do not hold yet.
func (c *counter) free(plan *lend.Plan, done map[string]lend.ActionKind) map[string]int64 {
	type place struct{ node, flavor string }
	held := map[place]int64{}
	hold := func(grants []lend.Grant, sign int64) {
		for _, g := range grants {
			held[place{g.Node, g.Flavor}] += sign * g.Count
		}
	}
	for i := range c.in.Loans {
		l := &c.in.Loans[i]
		if done[l.Name] == lend.ActionReturn {
			continue
		}
		hold(l.Grants, 1)
		if shed, returned := c.shed(l); returned {
			hold(shed, -1)
		}
	}
	for i := range plan.Actions {
		hold(plan.Actions[i].Grants, 1) // only those of ActionLend have some
	}
	free := map[string]int64{}
	for i := range c.in.Nodes {
		n := &c.in.Nodes[i]
		if !n.Schedulable {
			continue
		}
		for _, u := range n.Units {
			free[u.Flavor] += max(u.Capacity-u.Online-u.Other-u.Promised-held[place{n.Name, u.Flavor}], 0)
		}
	}
	flavor := map[string]string{}
	for i := range c.in.Lenders {
		flavor[c.in.Lenders[i].Name] = c.in.Lenders[i].Flavor
	}
	for _, v := range plan.Lenders {
		free[flavor[v.Name]] -= max(v.Owned-v.Lent-v.Lendable-v.Held, 0)
	}
	return free
}

// nominal is what a tenant was promised of a flavor: of one that draws on the quota of
// whole GPUs, as many as its share of these makes.
func (c *counter) nominal(tenant, flavor string) int64 {
	of := func(name string) int64 { return c.promised[[2]string{tenant, name}] }
	for _, f := range c.in.Flavors {
		if f.Name == flavor && f.SliceOf != "" {
			whole := quota.Amount(of(f.SliceOf))
			return int64(min(whole*quota.ComputeSlices/quota.Amount(max(f.Compute, 1)), whole*quota.MemorySlices/quota.Amount(max(f.Memory, 1))))
		}
	}
	return of(flavor)
}
