// Package books reads a file of the ledger, and judges it, by code of its own.
//
// It was written from the tables in docs/reference/ledger.md and from the description of
// bbolt's file format, and imports nothing of the product, not even bbolt: a mistake in
// the product's decoder, rules or storage is not repeated here.
//
// It promises that no byte of a file, however wrong, ends the process: it maps nothing,
// follows no page twice and allocates no more than the file is long. It judges everything
// that the page says of a sound ledger: page structure, checksums, numbers without gaps,
// the chain of hashes, epochs that never fall, operations that are written once, the states
// of loans and reshapes, one open loan per job, double entry, and the tables that follow
// from the log. It reads bytes, so it never takes a lock and never changes a file; of a file
// that is being written to it must be given a copy.
package books

import "fmt"

// Law is one of the things that a sound ledger keeps.
type Law string

// The laws, in the order in which a fault is searched for.
const (
	// Structure: header, pages and tables can be read.
	Structure Law = "structure"
	// Checksum: each record, the identity and the head have theirs.
	Checksum Law = "checksum"
	// Form: a record has the fields of its version, in order, and nothing after them.
	Form Law = "form"
	// Numbers: entries are numbered without gaps.
	Numbers Law = "numbers"
	// Chain: each entry has the hash of the one before.
	Chain Law = "chain"
	// Epochs never fall.
	Epochs Law = "epochs"
	// Operations are written once per kind.
	Operations Law = "operations"
	// States: loans and reshapes go through theirs in order.
	States Law = "states"
	// OneLoan: a job has at most one open loan.
	OneLoan Law = "one loan"
	// Balances: per flavor they add up to 0 at every number.
	Balances Law = "balances"
	// Head: it says what the last entry says.
	Head Law = "head"
	// Derived: the tables beside the log follow from it.
	Derived Law = "derived"
)

// Verdict is one breach of a law.
type Verdict struct {
	Law Law
	// Seq is the number of the record; 0 if it is about none.
	Seq  uint64
	What string
}

// String is the verdict in one line.
func (v Verdict) String() string {
	if v.Seq == 0 {
		return fmt.Sprintf("%s: %s", v.Law, v.What)
	}
	return fmt.Sprintf("%s: entry %d: %s", v.Law, v.Seq, v.What)
}
