package ledger

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxFaults bounds the faults that a Report lists; it counts them all.
const maxFaults = 1000

// Fault is one thing that is wrong with a ledger.
type Fault struct {
	// Seq is the entry concerned; 0 if the fault is not about one.
	Seq uint64
	// Where is "entry 7", "page 12", "header", or the name of a bucket.
	Where string
	// Text says what is wrong.
	Text string

	sentinel error
}

// String is Where and Text.
func (f Fault) String() string { return f.Where + ": " + f.Text }

// Report is the result of a check of the whole ledger.
type Report struct {
	Path string
	// Bytes is the size of the file.
	Bytes int64
	// ID, ClusterUID and Created are those the file was made with.
	ID         string
	ClusterUID string
	Created    time.Time
	// Entries that could be read; HeadSeq, HeadHash and Epoch of the last one.
	Entries  uint64
	HeadSeq  uint64
	HeadHash Hash
	Epoch    int64
	// OpenLoans and Balances follow from the log; empty if it is damaged.
	OpenLoans []OpenLoan
	Balances  []Balance
	// Checkpoints in their order.
	Checkpoints []CheckpointPayload
	// Notes are what is worth knowing and no fault, a line each.
	Notes []string
	// Faults in the order in which they were found, at most 1000; FaultCount has
	// them all.
	Faults     []Fault
	FaultCount int

	schema uint32
}

// OK tells whether nothing is wrong.
func (r *Report) OK() bool { return r.FaultCount == 0 }

func (r *Report) add(faults ...Fault) {
	r.FaultCount += len(faults)
	if room := maxFaults - len(r.Faults); room > 0 {
		r.Faults = append(r.Faults, faults[:min(room, len(faults))]...)
	}
}

// Err is nil if nothing is wrong. Otherwise it wraps the gravest fault's
// sentinel and says what and where it is, and what to do.
func (r *Report) Err() error {
	if r.OK() {
		return nil
	}
	for _, grade := range []struct {
		sentinel error
		advice   string
	}{
		{ErrTruncated, adviceRestore},
		{errLostHeader, adviceRecover},
		{ErrCorrupt, adviceRestore},
		{ErrNewerSchema, adviceNewer},
		{ErrDerived, adviceReindex},
	} {
		for _, f := range r.Faults {
			if errors.Is(f.sentinel, grade.sentinel) {
				return fmt.Errorf("ledger %s: %w: %s%s; %s", r.Path, grade.sentinel, f, r.others(), grade.advice)
			}
		}
	}
	return fmt.Errorf("ledger %s: %w: %s", r.Path, ErrCorrupt, adviceRestore)
}

func (r *Report) others() string {
	if r.FaultCount == 1 {
		return ""
	}
	return fmt.Sprintf(" (and %d more faults)", r.FaultCount-1)
}

// String is the report for people; its last line is "ok" or the error.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "file      %s (%d bytes)\n", r.Path, r.Bytes)
	if r.ID != "" {
		fmt.Fprintf(&b, "ledger    %s of cluster %q, created %s\n", r.ID, r.ClusterUID, r.Created.Format(time.RFC3339))
		fmt.Fprintf(&b, "entries   %d, head %d, epoch %d\nhead hash %s\n", r.Entries, r.HeadSeq, r.Epoch, r.HeadHash)
		fmt.Fprintf(&b, "open      %d loans\n", len(r.OpenLoans))
	}
	for _, bal := range r.Balances {
		fmt.Fprintf(&b, "balance   %-8s %s %s %d unit-ms\n", bal.Account.Side, bal.Account.Name, bal.Flavor, bal.UnitMS)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note      %s\n", note)
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "fault     %s\n", f)
	}
	if err := r.Err(); err != nil {
		fmt.Fprintf(&b, "%v\n", err)
	} else {
		b.WriteString("ok\n")
	}
	return b.String()
}
