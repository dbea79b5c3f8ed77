// Package quota answers whether a tenant may use, borrow or lend units, and how
// many more. It is pure arithmetic: amounts in, verdicts out.
//
// The words mean what they mean in Kueue. A tenant's nominal quota is what it can
// always have. Tenants of one cohort may use each other's idle nominal quota: no
// more than the borrower's borrowing limit beyond its own, and of a lender no more
// than its lending limit; what a lending limit keeps home is never available to
// others. An absent limit is no limit. A tenant without a cohort neither borrows
// nor lends. Cohorts are flat.
//
// What is idle is not known here: loans are booked explicitly, each against the
// tenant that lends. A loan between a tenant's own service and its own job is use
// within the tenant and counts against neither limit, but against its nominal quota:
// what its jobs use, what its other pods hold and what it lends, to itself or to
// others, is together never more than that.
//
// A Book guarantees that room and verdict always agree: n fits exactly when n is
// not above the room. It refuses nothing that is booked, since what exists exists;
// over-use gives a room of 0, never a negative one.
package quota
