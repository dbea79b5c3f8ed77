// Package gather turns what the API server and the signals say into a
// lend.Snapshot.
//
// It promises facts only: what exists, who owns it and how many units it holds,
// sorted so that equal clusters give equal snapshots. What it cannot resolve (an
// unknown target, queue or flavor) becomes a Problem on the object, never a
// guess and never an error.
//
// It refuses to apply rules: nothing in here says what may be lent. Loans and
// LendingPolicies are read live, because a decision that missed the last one's
// loans would lend twice; everything else comes from the informers' caches, and
// a stale one costs at most a pod that waits, since placement is checked again
// by the scheduler.
package gather
