// Package baseline has the policies that Ebbtide is compared with, each a [sim.Policy]:
// what clusters do today, what papers propose, and bounds that nobody can reach.
//
// Each is put together from few parts:
//
//	place     where a job's pods go: best fit, gangs whole
//	line      which job is next
//	lendable  for how many replicas a service keeps room now
//	takeback  who stops when a service wants its units
//
// The page docs/reference/baselines.md says of each what it is, what was assumed, and what
// it cannot do. All are deterministic, and none sees more of the world than it says: only
// the oracle reads the load that is to come.
package baseline
