// Package laws judges a cluster's history, change by change, and says what is not yet as it
// should be.
//
// It is pure: it has no clock and watches nothing. What must hold at every revision is judged
// at every revision:
//
//	one holder  the units of the pods bound to a node, and those of the open loans on it,
//	            never exceed what it had within the last Lag; a job has at most one open loan;
//	            what is returned no pod holds any more
//	one name    a loan's name is used once
//	phases      a loan becomes Active, Reclaiming, Returned, in this order and never back; its
//	            spec stays; what it has shed it does not get back
//	epochs      they never fall, neither of an object nor of the published head, nor is
//	            anything written by a leader after another with a higher one has written
//	finalizer   it goes only when the loan has been returned, or its job runs nowhere
//	lent        a lender's status.lent is no less than what open loans hold of it
//	quota       when a loan is made, its tenant's loans are within nominal quota and
//	            borrowing limit, as they were within the last Lag
//
// Units of slices (nvidia.com/mig-*) come and go with a GPU's layout, and a node says so later
// than who has made them: pods must not have more than the node ever had, nor two of them the
// same slice, and of loans this package knows no bound. Units that are allocated by claims are
// not counted.
package laws

import (
	"fmt"
	"time"
)

// Law is one of those above.
type Law string

// The laws.
const (
	OneHolder Law = "one holder"
	OneName   Law = "one name"
	Phases    Law = "phases"
	Epochs    Law = "epochs"
	Finalizer Law = "finalizer"
	Lent      Law = "lent"
	Quota     Law = "quota"
)

// Lag is how long a program may act on what was true before: what a node has, and what a
// tenant was promised.
const Lag = 10 * time.Second

// Breach is a law that was broken.
type Breach struct {
	Law      Law
	At       time.Time
	Revision uint64
	Text     string
}

// String is the breach in one line.
func (b Breach) String() string {
	return fmt.Sprintf("%s, revision %d: %s: %s", b.At.UTC().Format("15:04:05.000"), b.Revision, b.Law, b.Text)
}
