// Package segments keeps a ledger in a file per month.
//
// The newest file has the name that the ledger is configured with, NAME.db; those before it
// are NAME-YYYYMM.db beside it, which nobody writes any more. A file begins with SEGMENT_START
// and one CARRIED for each loan and reshape that was open and each balance, so that it can be
// replayed alone, and ends with a CHECKPOINT. The numbers go on, and the chain of hashes:
// the first entry follows a hash that the last entry of the file before is part of.
//
// # What it promises
//
//   - A Set has the methods of a ledger.Ledger, with the same promises, over all files: what
//     is read goes back as far as there are files, and an operation that any of them has is
//     not written again.
//   - Turning over loses nothing at any moment of a crash. The name NAME.db always has a
//     file: first the old one and then the new one, which is complete and on disk before.
//     What is left of a turn that was cut off is undone by the next Open, and the turn is
//     made again; it gives the same file.
//   - It never stops what gives units back: where a new file cannot be made, the old one is
//     written on, and it is tried again a minute later.
//   - Months only go up. While the clock shows an earlier month than the newest file's, that
//     file is written on.
//   - A checkpoint stands after every 10,000 entries, within an hour of any entry, and at the
//     end of a file.
//
// # What it refuses
//
// It opens no set of files that do not follow each other, and puts nothing in place of one
// that is missing in between. Only Prune removes files, and never the one before the newest.
package segments
