// Package baseline has the policies that Ebbtide is compared with, each a [sim.Policy]:
// what clusters do today, what papers propose, and bounds that nobody can reach.
//
// Each is put together from few parts:
//
//	place, desk       where a job's pods go: best fit, gangs whole; what is kept for whom
//	line, books       which job is next, and what its tenant's quota is
//	lendable, past    for how many replicas a service keeps room now, and by what past
//	takeback          who stops when a service wants its units:
//	choose, stock     Kueue's order, every set, kube-scheduler's order
//	policy, registry  how these make a policy, and all of them by name
//	lyra…, gfs…,      three published systems, which have lines, quotas or victims of
//	deepboot…         their own
//
// The page docs/reference/baselines.md says of each what it is, what was assumed, and what
// it cannot do. All are deterministic, and none sees more of the world than it says: only
// the oracle reads the load that is to come.
package baseline
