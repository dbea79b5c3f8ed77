package witness

import (
	"fmt"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/e2e/witness/laws"
	"github.com/ebbtide/ebbtide/e2e/witness/match"
)

// Report is what was found, since the witness began.
type Report struct {
	// AckedLost are entries that somebody other than the ledger's volume was shown, and that
	// are in no book, without a word.
	AckedLost int
	// Duplicates are things done twice: an operation, a loan's name, an entry.
	Duplicates int
	// DoubleLent are units, or jobs, in two hands.
	DoubleLent int
	// SilentGaps are stretches of a ledger that are missing and of which no entry says so.
	SilentGaps int
	// ChainBreaks are places where a book is not what was written.
	ChainBreaks int
	// Others are breaches of the other laws, by law.
	Others map[string]int
	// Findings say each of them in a line, Histories where drawings of histories are that
	// cannot have been.
	Findings  []string
	Histories []string

	// What was looked at: none of it is a witness that saw nothing.
	Events, Loans, Acked, Entries, Writes int
	// Late events were told of after later ones had been looked at; Said entries are missing from the
	// books, which say so; Undecided are histories for which the search took too long.
	Late, Said, Undecided int
	// Billed loans were compared with the watch, and Worst is how far the accounts were from
	// it at most, per unit.
	Billed int
	Worst  time.Duration
	// Settled: when it was judged, the cluster was as it should be, so that Loans and books
	// had to agree about what is open.
	Settled bool
}

// find adds a finding under the count that it belongs to.
func (r *Report) find(law, text string) {
	switch law {
	case string(match.AckedLost):
		r.AckedLost++
	case string(match.Duplicate), string(laws.OneName):
		r.Duplicates++
	case string(match.DoubleLent), string(laws.OneHolder):
		r.DoubleLent++
	case string(match.SilentGap):
		r.SilentGaps++
	case string(match.ChainBreak):
		r.ChainBreaks++
	default:
		r.Others[law]++
	}
	r.Findings = append(r.Findings, text)
}

// Err is nil if nothing was found.
func (r *Report) Err() error {
	if len(r.Findings) == 0 {
		return nil
	}
	return fmt.Errorf("%d findings:\n%s", len(r.Findings), strings.Join(r.Findings, "\n"))
}
