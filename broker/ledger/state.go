package ledger

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// state is everything that follows from the log up to one entry, except the
// names of closed loans, which only indexes and a full replay know.
type state struct {
	seq      uint64
	hash     Hash
	epoch    int64
	base     uint64               // number before the file's first
	open     map[string]*OpenLoan // by loan
	byJob    map[string]string    // job UID → its open loan
	balances map[balanceKey]*int64
	months   map[monthKey]*Amounts
	reshapes map[string]*OpenReshape // by ID
	// carry is how many CARRIED must follow before anything else may.
	carry int

	last     *OpenLoan   // that loan returned, for lastName; nil where that is not open
	lastName string      // empty: none
	spare    []*OpenLoan // of loans that are closed, for others
	tenants  tenantCache
	month    monthCache
	next     change // what plan returns; used again
}

func newState(base Hash, baseSeq uint64) *state {
	return &state{
		seq: baseSeq, hash: base, base: baseSeq,
		open:     map[string]*OpenLoan{},
		byJob:    map[string]string{},
		balances: map[balanceKey]*int64{},
		months:   map[monthKey]*Amounts{},
		reshapes: map[string]*OpenReshape{},
	}
}

// loan is the open loan of that name, or nil. One entry asks for it several times.
func (s *state) loan(name string) *OpenLoan {
	if name == "" {
		return nil
	}
	if s.lastName != name {
		s.last, s.lastName = s.open[name], name
	}
	return s.last
}

// change is what one entry does to the state.
type change struct {
	loanState LoanState // of the entry's loan, after it
	moves     bool      // the entry moves a loan
	loan      OpenLoan  // after the entry
	closed    bool
	bookings  []booking
	months    []monthly
	reshape   *OpenReshape // after the entry; nil if it is about none
	undone    bool         // the reshape is over
	carry     int          // CARRIED that must follow
}

func (c *change) reset() {
	// The loan stays as it is: it is large, and means something only where moves is set.
	c.loanState, c.moves, c.closed, c.reshape, c.undone, c.carry = 0, false, false, nil, false, 0
	c.bookings, c.months = c.bookings[:0], c.months[:0]
}

// plan fills in what e may leave out and says what e would change, or which rule
// it breaks. closed tells whether the loan is known to have been closed. The
// state stays as it is; the change is valid until the next call.
func (s *state) plan(e *Entry, closed bool) (*change, error) {
	c := &s.next
	c.reset()
	if e.Epoch < s.epoch {
		return nil, fmt.Errorf("%w: entry has epoch %d, the ledger has seen %d: a newer leader has written; stop",
			ErrStaleEpoch, e.Epoch, s.epoch)
	}
	if e.Corrects > s.seq {
		return nil, invalid("corrects", "%d is after the head %d", e.Corrects, s.seq)
	}
	if s.carry > 0 && e.Kind != Carried {
		return nil, fmt.Errorf("%w: %d CARRIED must follow before %s", ErrTransition, s.carry, e.Kind)
	}
	loan := s.loan(e.Loan)
	switch {
	case loan != nil:
		c.loanState = loan.State
	case closed:
		c.loanState = Closed
	}
	switch {
	case e.Kind.Reshapes():
		return c, s.planReshape(c, e)
	case e.Kind.notes():
		return c, s.planNote(c, e)
	}
	if !e.Kind.moves() {
		return c, nil
	}
	return c, s.planMove(c, e, loan)
}

// planMove is plan for an entry that moves its loan to a state.
func (s *state) planMove(c *change, e *Entry, loan *OpenLoan) error {
	tr, was := &transitions[e.Kind], c.loanState
	if opens(e.Kind) {
		if other := s.byJob[e.JobUID]; other != "" && other != e.Loan {
			return fmt.Errorf("%w: job %s (%s) has loan %s in state %s, so %s for %s is refused",
				ErrOpenLoan, e.Job, e.JobUID, other, s.open[other].State, e.Kind, e.Loan)
		}
	}
	if !slices.Contains(tr.from, was) {
		return fmt.Errorf("%w: loan %s is %s, which %s does not follow", ErrTransition, e.Loan, was, e.Kind)
	}
	to := tr.to
	if to == Unknown {
		to = was
	}
	return s.move(c, e, loan, to)
}

// move plans the loan's next state.
func (s *state) move(c *change, e *Entry, loan *OpenLoan, to LoanState) error {
	next := &c.loan
	if loan != nil {
		*next = *loan
		if err := fillIn(e, loan); err != nil {
			return err
		}
	} else {
		*next = OpenLoan{
			Loan: e.Loan, Job: e.Job, JobUID: e.JobUID, Borrower: e.Borrower,
			Grants: slices.Clone(e.Grants), FirstSeq: s.seq + 1, Tenants: s.tenants.of(e.Payload),
		}
	}
	c.moves, c.loanState, c.closed = true, to, to == Closed
	ends := next.Grants
	switch {
	case e.Kind.Sheds():
		var err error
		if ends, err = without(next.Grants, e.Grants); err != nil {
			return err
		}
		next.Grants = slices.Clone(e.Grants)
	case e.Kind == ReclaimIntent:
		next.ReclaimID = e.ReclaimID
	case e.Kind == Quarantined:
		next.quarantined = momentOf(e)
	case e.Kind == LendGranted || e.Kind == Recovered:
		next.start, next.StartSeq = momentOf(e), s.seq+1
		next.Since = time.Unix(0, next.start.wall).UTC()
	}
	if next.StartSeq != 0 && (c.closed || e.Kind.Sheds()) {
		if err := s.book(c, e, ends); err != nil {
			return err
		}
	}
	next.State, next.LastSeq = to, s.seq+1
	return nil
}

// apply makes the change of an entry whose Seq and Hash are set.
func (s *state) apply(e *Entry, c *change) {
	s.seq, s.hash, s.epoch, s.carry = e.Seq, e.Hash, e.Epoch, c.carry
	if c.reshape != nil {
		s.applyReshape(c)
	}
	for i := range c.bookings {
		b := &c.bookings[i]
		if b.have == nil {
			b.have = slot(s.balances, &b.key)
		}
		*b.have += b.unitMS
	}
	for i := range c.months {
		slot(s.months, &c.months[i].key).Add(&c.months[i].amounts)
	}
	if !c.moves {
		return
	}
	name := c.loan.Loan
	open := s.loan(name)
	s.last, s.lastName = nil, ""
	switch {
	case c.closed:
		delete(s.open, name)
		delete(s.byJob, c.loan.JobUID)
		if open != nil {
			*open = OpenLoan{}
			s.spare = append(s.spare, open)
		}
	case open == nil:
		if n := len(s.spare); n > 0 {
			open, s.spare = s.spare[n-1], s.spare[:n-1]
		} else {
			open = &OpenLoan{}
		}
		s.open[name], s.byJob[c.loan.JobUID] = open, name
		fallthrough
	default:
		*open = c.loan
		s.last, s.lastName = open, name
	}
}

// openLoans are copies, sorted by name.
func (s *state) openLoans() []OpenLoan {
	out := make([]OpenLoan, 0, len(s.open))
	for _, name := range slices.Sorted(maps.Keys(s.open)) {
		out = append(out, s.open[name].clone())
	}
	return out
}

// slot is where a map keeps the amount of a key, which is 0 at first.
func slot[K comparable, V any](m map[K]*V, key *K) *V {
	v := m[*key]
	if v == nil {
		v = new(V)
		m[*key] = v
	}
	return v
}

// valueAt is what a map has for a key, and 0 where it has none.
func valueAt[K comparable, V any](m map[K]*V, key K) (v V) {
	if have := m[key]; have != nil {
		v = *have
	}
	return v
}
