// Package published keeps what the ledger's file cannot tell about itself: how far it had
// come.
//
// A file that is put back from a copy is sound in itself; only somebody else can know that
// it once went further. So the head is published in a Lease of its own, whose annotations
// neither tenants nor whoever owns the volume write, and a leader compares its file with it
// before it lends.
//
// It promises that a published head never falls back within one ledger and epoch, and that
// a leader that was overtaken does not overwrite what the newer one published. It does not
// know entries that were written after the last publishing: at most those of the last
// decision, or of one second.
package published
