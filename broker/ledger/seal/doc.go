// Package seal signs the ledger's checkpoints, and tells whether those of a ledger are
// signed, and by whom.
//
// A checkpoint says what the head was. Its signature is of the ledger's ID, that number and
// hash, and the balances it states: whoever has the public key can tell that a ledger with
// that head was written by who has the private one. It shows a history that was computed
// anew by somebody who can write the file and does not have the key. It does not show that
// entries at the end were taken away: that takes a head that was kept elsewhere.
//
// The package is pure: it reads no file and no clock.
package seal
