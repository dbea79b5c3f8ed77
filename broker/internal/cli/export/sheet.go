package export

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// sheet has a row for each grant of an entry, and one for an entry without any.
type sheet struct {
	w     *csv.Writer
	begun bool
}

func newSheet(w io.Writer) Writer { return &sheet{w: csv.NewWriter(w)} }

var sheetColumns = []string{
	"seq", "time", "at", "epoch", "kind", "opID", "loan", "job", "jobUID", "borrower",
	"lender", "node", "flavor", "count", "reason", "message", "reclaimID", "corrects", "hash",
}

func (s *sheet) Write(raw json.RawMessage) error {
	if err := s.begin(); err != nil {
		return err
	}
	var e ledger.Entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("read a ledger entry: %w", err)
	}
	grants := e.Grants
	if len(grants) == 0 {
		grants = []ledger.Grant{{}}
	}
	for _, g := range grants {
		if err := s.w.Write(sheetRow(&e, g)); err != nil {
			return err
		}
	}
	return s.w.Error()
}

func (s *sheet) begin() error {
	if s.begun {
		return nil
	}
	s.begun = true
	return s.w.Write(sheetColumns)
}

func sheetRow(e *ledger.Entry, g ledger.Grant) []string {
	return []string{
		strconv.FormatUint(e.Seq, 10), stamp(e.Time), stamp(e.At), strconv.FormatInt(e.Epoch, 10), e.Kind.String(), Cell(e.OpID),
		Cell(e.Loan), Cell(e.Job), Cell(e.JobUID), Cell(e.Borrower), Cell(g.Lender), Cell(g.Node), Cell(g.Flavor), positive(g.Count),
		Cell(e.Reason), Cell(e.Message), Cell(e.ReclaimID), positive(int64(e.Corrects)), e.Hash.String(),
	}
}

func (s *sheet) Close() error {
	if err := s.begin(); err != nil {
		return err
	}
	s.w.Flush()
	return s.w.Error()
}

// Cell is a text that no spreadsheet takes for a formula.
func Cell(text string) string {
	if text != "" && strings.IndexByte("=+-@\t\r", text[0]) >= 0 {
		return "'" + text
	}
	return text
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// positive leaves a cell empty where there is nothing.
func positive(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
