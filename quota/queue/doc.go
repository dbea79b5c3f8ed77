// Package queue says which waiting job is next, and which need not be tried. It is
// pure: queues and jobs in, an order out; the caller decides what fits.
//
// # The order
//
// Every tenant puts forward one candidate, and the candidates meet in a tournament
// over the cohort tree. At each cohort that child wins whose candidate
//
//  1. leaves the child within its nominal quota, before one that makes it borrow;
//  2. has waited long enough to be aged, before one that has not, and of the aged
//     the one that waits longest; jobs of tenants of weight 0 never age;
//  3. gives the child the smaller share, the job included;
//  4. has the higher priority;
//  5. was created first;
//  6. has the smaller name, then the smaller UID.
//
// Trees of their own have no common share: between roots, rule 3 is left out.
//
// A tenant's candidate is chosen among the first jobs of its queues:
//
//   - the higher priority goes first, whatever the queue;
//   - of the FairShare queues whose first jobs have that priority, only one puts its
//     job forward: the one that used least for its weight, what was admitted in this
//     pass included, and on a tie the one with the older job;
//   - between that job and those of the tenant's other queues, the older goes first,
//     then the smaller name, then the smaller UID.
//
// Within a queue, jobs go by priority, then age, name and UID; in a FIFO queue by age
// alone, and a job's priority counts for no more than that of those ahead of it, so
// that a queue's order never depends on other queues. Age is the time of creation: a
// job that was admitted and taken back has the place it had. A job that comes later
// in a queue's order changes nothing before it.
//
// # What is not offered
//
// A candidate is the first job for which there is quota when the tenant needs a new
// one: at the beginning, and after each turn of its last. One for which there is none
// any more when its turn comes is passed over. A job has quota if it fits into what is
// available to its tenant, or the caller could take something back for it. A queue
// without backfill offers its first job only, or nothing.
//
// Jobs of one queue with the same flavor, shape and priority are a class. A refusal
// can be for all that are alike, so what a pass costs grows with the tenants, what it
// admits, and the classes that fit by quota: not with the number of jobs.
package queue
