// Package replica keeps a second copy of the ledger, with a broker that does not lead.
//
// The follower asks the leader for the records after its last one, writes them into a file
// of its own as they are, and tells how far it is. The file belongs to the same ledger: it
// has the same identity, numbers and hashes, and every rule of package ledger is applied to
// each record before it is written.
//
// It promises that a follower acknowledges only what is on its disk and on the leader's
// chain, that it never writes an entry of its own, and that no file is ever deleted: one that
// another takes the place of is kept under a name with its head. Whichever way requests are
// cut, dropped or sent twice, the follower's file is a beginning of the leader's.
//
// It refuses to merge. Two files of one ledger that parted are not made one: the one that
// has the published head is the ledger.
package replica
