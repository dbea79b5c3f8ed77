// Package scale measures what one decision of the core takes and needs in clusters of
// different sizes. The simulator plays a day of each, and the snapshots that its broker
// decides on are decided on once more, by a Decider of which nothing else makes use.
//
// What the live broker needs besides is not in it: caches of API objects, the ledger and
// what is heard of loads.
//
// The files:
//
//	run: the table and the last line    watch: what one decision took    size: of what is kept
package scale
