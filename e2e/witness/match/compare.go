package match

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/e2e/witness/books"
)

// Result is what a comparison found.
type Result struct {
	Findings []Finding
	// Said entries are missing, and the books say so.
	Said int
	// Billed loans were compared with the watch; Worst is how far the accounts were from it
	// at most, per unit.
	Billed int
	Worst  time.Duration
}

// Compare says what of what was shown does not match the books. If the cluster is settled,
// books and Loans must also agree about what is open now.
func (s *Seen) Compare(all []Book, settled bool) Result {
	shelf := newShelf(all)
	var r Result
	s.acks(shelf, &r)
	courses := make([]*Course, 0, len(s.courses))
	for _, c := range s.courses {
		courses = append(courses, c)
	}
	slices.SortFunc(courses, func(a, b *Course) int { return cmp.Or(a.Made.Compare(b.Made.Time), cmp.Compare(a.Name, b.Name)) })
	for _, c := range courses {
		slices.SortFunc(shelf.byLoan[c.Name], func(a, b *books.Record) int { return cmp.Compare(a.Seq, b.Seq) })
		shelf.course(c, settled, &r)
	}
	if settled {
		shelf.openOnly(courses)
	}
	r.Findings = shelf.found
	return r
}

// acks looks for all that was shown.
func (s *Seen) acks(shelf *shelf, r *Result) {
	all := make([]Acked, 0, len(s.acked))
	for _, a := range s.acked {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Acked) int {
		return cmp.Or(cmp.Compare(a.Ledger, b.Ledger), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Hash, b.Hash))
	})
	silent, in := map[string]bool{}, "" // ledgers, and the one in a stretch of which we are
	for i := range all {
		a := &all[i]
		if seq, is := shelf.byHash[a.Hash]; is {
			in = ""
			if seq != a.Seq {
				shelf.find(ChainBreak, "%s showed entry %d, which is %d in the books", a.By, a.Seq, seq)
			}
			continue
		}
		if shelf.said(*a) {
			r.Said++
			continue
		}
		if other, is := shelf.bySeq[a.Ledger][a.Seq]; is {
			shelf.find(ChainBreak, "%s showed entry %d with hash %.16s, and the books have %.16s", a.By, a.Seq, a.Hash, other)
		}
		shelf.find(AckedLost, "%s showed entry %d with hash %.16s, which is in no book", a.By, a.Seq, a.Hash)
		if silent[a.Ledger] = true; a.Ledger != "" && in != a.Ledger {
			shelf.find(SilentGap, "from entry %d of ledger %s on, and no entry says so", a.Seq, a.Ledger)
		}
		in = a.Ledger
	}
	if len(silent) == 1 && silent[""] { // Loans do not tell of which ledger their entries are
		shelf.find(SilentGap, "entries that Loans have shown, and no entry says so")
	}
}

func kinds(entries []*books.Record) map[uint8]*books.Record {
	by := map[uint8]*books.Record{}
	for _, e := range entries {
		by[e.Kind] = e
	}
	return by
}

// closing are the kinds that end a loan.
var closing = []uint8{lendAborted, reclaimDone, released, preempted, lost, unquarantined}

func end(by map[uint8]*books.Record) *books.Record {
	for _, kind := range closing {
		if by[kind] != nil {
			return by[kind]
		}
	}
	return nil
}

// course compares one Loan with the entries about it.
func (s *shelf) course(c *Course, settled bool, r *Result) {
	by := kinds(s.byLoan[c.Name])
	over := !c.Gone.IsZero() || !c.Returned.IsZero()
	if len(by) == 0 {
		s.unknown(c, over, settled, r)
		return
	}
	s.late(c, by)
	told := by[recovered] != nil || len(s.gaps) > 0 || by[preempted] != nil || by[lost] != nil
	if !c.Reclaiming.IsZero() && by[reclaimIntent] == nil && !told {
		s.find(Entries, "loan %s was asked back, and no entry says so", c.Name)
	}
	ended := end(by)
	if !c.Gone.IsZero() || settled {
		s.state(c, by, over, ended)
	}
	if ended != nil && ended.Kind != lendAborted {
		s.bill(c, r)
	}
}

// unknown judges a Loan of which no book has an entry: the last words about one that is over
// may have gone with what a GAP is about.
func (s *shelf) unknown(c *Course, over, settled bool, r *Result) {
	switch {
	case over && len(s.gaps) > 0:
		r.Said++
	case settled || !c.Gone.IsZero():
		s.find(AckedLost, "loan %s was made, and no book has an entry about it", c.Name)
	}
}

// state compares whether a Loan is over with whether its entries are, when both have come to
// rest.
func (s *shelf) state(c *Course, by map[uint8]*books.Record, over bool, ended *books.Record) {
	granted := by[lendGranted] != nil || by[recovered] != nil
	switch {
	case over && ended == nil:
		s.find(Entries, "loan %s is over, and no entry closes it", c.Name)
	case !over && ended != nil:
		s.find(Entries, "loan %s is open, and entry %d closes it", c.Name, ended.Seq)
	case !over && !granted && !c.Active.IsZero():
		s.find(Entries, "loan %s is Active, and no entry grants it", c.Name)
	}
}

// late finds what was written down after it was done.
func (s *shelf) late(c *Course, by map[uint8]*books.Record) {
	if c.Initial || by[recovered] != nil {
		return
	}
	if e := by[lendIntent]; e != nil && time.Unix(0, e.Time).After(c.Made.Time) {
		s.find(Entries, "loan %s was made %s before its LEND_INTENT, entry %d", c.Name, time.Unix(0, e.Time).Sub(c.Made.Time), e.Seq)
	}
	if e := by[reclaimIntent]; e != nil && !c.Reclaiming.IsZero() && time.Unix(0, e.Time).After(c.Reclaiming.Time) {
		s.find(Entries, "loan %s was asked back %s before its RECLAIM_INTENT, entry %d", c.Name, time.Unix(0, e.Time).Sub(c.Reclaiming.Time), e.Seq)
	}
}

// openOnly finds loans that are open in a book only.
func (s *shelf) openOnly(courses []*Course) {
	open := map[string]bool{}
	for _, c := range courses {
		if c.Returned.IsZero() && c.Gone.IsZero() {
			open[c.Name] = true
		}
	}
	var names []string
	for name := range s.open {
		if !open[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		s.find(Entries, "loan %s is open in the books, and there is no Loan", name)
	}
}
