// Package match compares what everybody was shown with what the ledger's books say.
//
// What was shown is what others may have acted on: heads that were published, entries that a
// Loan carried, Loans and their conditions. It must stand in the books, or the books must say
// that it is missing: by a GAP, or by a RECOVERED that has it.
//
//	acked lost    something that was shown is in no book, and no entry says so
//	silent gap    a stretch of such numbers
//	chain break   a book is damaged, does not go on where another ends, or has another entry
//	              under a number that was shown
//	duplicate     one operation was written twice
//	double lent   a job has two open loans in a book
//	entries       a Loan's entries are not those of its course: asked back without an entry
//	              that says so, gone without one that closes it, or written down only after
//	              it was done
//	billing       the accounts have another time for a loan than the watch saw, by more than
//	              a second; where the API server was silent meanwhile, than it can have been
//	books         another law of the ledger
package match

// Kind is one of those above.
type Kind string

// The kinds.
const (
	AckedLost  Kind = "acked lost"
	SilentGap  Kind = "silent gap"
	ChainBreak Kind = "chain break"
	Duplicate  Kind = "duplicate"
	DoubleLent Kind = "double lent"
	Entries    Kind = "entries"
	Billing    Kind = "billing"
	Books      Kind = "books"
)

// Finding is one thing that does not match.
type Finding struct {
	Kind Kind
	Text string
}

// String is the finding in one line.
func (f Finding) String() string { return string(f.Kind) + ": " + f.Text }
