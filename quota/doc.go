// Package quota answers what a tenant may use, what it may borrow from whom, who
// comes first, and what is taken back from whom. It is pure arithmetic on whole
// numbers: the same input gives the same answer on every machine.
//
// The words mean what they mean in Kueue. A tenant's nominal quota is what it can
// always have. Cohorts of tenants and cohorts form a tree. What a node does not keep
// home by its lending limit, others of its cohort may use, and through the cohort
// those above and beside it: each no more than its borrowing limit beyond its own. An
// absent limit is no limit. docs/reference/quota.md has the rules with examples,
// which this package's tests run.
//
// A Tree guarantees that room and use agree: n fits exactly when n is not above what
// is available, in each dimension of the flavor. It refuses nothing that is booked,
// since what exists exists; over-use gives a room of 0, never a negative one. Taking
// back guarantees that whoever stays within its quota gets it, as long as others
// hold beyond theirs only what can be taken, that nothing is taken which could be
// spared, and that it comes to rest.
//
// What nodes have room for, whose units a loan's are, and when anything happens, is
// not known here.
package quota
