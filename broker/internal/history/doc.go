// Package history answers who held what lately: exponentially weighted averages
// over the loans in the ledger, and how fast units came free.
//
// An average at a time t weighs every moment before t by how long ago it was: half
// as much for each half-life. A loan that was held for ever counts as what it holds;
// one that ended a half-life ago counts for half of that.
//
// It promises that the numbers are a function of the ledger's entries, the
// half-life and t alone: the order in which loans are added, and how often anybody
// asked in between, changes nothing, and neither does a restart. All arithmetic is
// on integers. It refuses to know who a lender belongs to: that may change, so it
// tells borrowings apart by the lender's namespace and leaves it to who asks.
package history
