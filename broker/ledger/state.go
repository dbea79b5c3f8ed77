package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/grants"
)

// LoanState is where a loan stands:
//
//	          LEND_INTENT             LEND_GRANTED            RECLAIM_INTENT
//	(unknown) ──────────► Intended ──────────────► Granted ──────────────► Reclaiming
//	    │                    │ LEND_ABORTED           │ ▲                      │
//	    │ RECOVERED          ▼                        │ └─ (unknown)           │ RECLAIM_DONE
//	    └──────────────►  Closed ◄────────────────────┴────────────────────────┤
//	       to Granted        RELEASED, PREEMPTED, LOST                         ▼
//	                                                                        Closed
//
// SHED_INTENT, SHED and SHED_LOST leave a granted loan Granted, the latter two with fewer
// units. STOPPED and KILLED leave a granted or reclaiming loan as it is. RELEASED,
// PREEMPTED and LOST close a granted loan and a reclaiming one alike.
// A closed loan's name is never used again.
type LoanState uint8

// The states of a loan.
const (
	Unknown    LoanState = 0
	Intended   LoanState = 1
	Granted    LoanState = 2
	Reclaiming LoanState = 3
	Closed     LoanState = 4
)

// String is the state's name.
func (s LoanState) String() string {
	names := [...]string{"Unknown", "Intended", "Granted", "Reclaiming", "Closed"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("LoanState(%d)", uint8(s))
}

type transition struct {
	from []LoanState
	to   LoanState // Unknown: the state stays
}

// transitions has an entry for each kind that moves a loan.
var transitions = map[Kind]transition{
	LendIntent:    {[]LoanState{Unknown}, Intended},
	Recovered:     {[]LoanState{Unknown}, Granted},
	LendGranted:   {[]LoanState{Intended}, Granted},
	LendAborted:   {[]LoanState{Intended}, Closed},
	ShedIntent:    {[]LoanState{Granted}, Unknown},
	Shed:          {[]LoanState{Granted}, Unknown},
	ShedLost:      {[]LoanState{Granted}, Unknown},
	Stopped:       {[]LoanState{Granted, Reclaiming}, Unknown},
	Killed:        {[]LoanState{Granted, Reclaiming}, Unknown},
	ReclaimIntent: {[]LoanState{Granted}, Reclaiming},
	ReclaimDone:   {[]LoanState{Reclaiming}, Closed},
	Released:      {[]LoanState{Granted, Reclaiming}, Closed},
	Preempted:     {[]LoanState{Granted, Reclaiming}, Closed},
	Lost:          {[]LoanState{Granted, Reclaiming}, Closed},
}

// OpenLoan is a loan that is Intended, Granted or Reclaiming. All three hold
// their units.
type OpenLoan struct {
	Loan     string
	Job      string
	JobUID   string
	Borrower string
	Grants   []Grant // without what was shed
	State    LoanState
	// FirstSeq is the entry that opened the loan, LastSeq the last that moved it.
	FirstSeq, LastSeq uint64
	// StartSeq and Since are when the loan's time began to count; 0 while Intended.
	StartSeq uint64
	Since    time.Time
	// ReclaimID is set while Reclaiming.
	ReclaimID string

	start moment
}

// Account owns units: a lender is credited what it lent, a borrower debited.
type Account struct {
	Side AccountSide
	Name string // LendingPolicy (namespace/name) or tenant
}

// AccountSide tells lenders from borrowers, which may share names.
type AccountSide string

// The two sides of every booking.
const (
	LenderAccount   AccountSide = "lender"
	BorrowerAccount AccountSide = "borrower"
)

// Balance is what one account has lent (positive) or borrowed (negative) over
// all closed loans, in unit-milliseconds of one flavor. Over all accounts the
// balances of a flavor add up to 0.
type Balance struct {
	Account Account
	Flavor  string
	UnitMS  int64
}

type balanceKey struct {
	account Account
	flavor  string
}

// moment is a point of time on up to two clocks.
type moment struct {
	wall int64 // ns since 1970
	mono int64 // ns since the start of boot; meaningless if boot is empty
	boot string
}

// momentOf is when e took effect. A time told in At is on the wall clock only,
// and never later than the entry.
func momentOf(e *Entry) moment {
	if e.At.IsZero() || e.At.After(e.Time) {
		return moment{wall: e.Time.UnixNano(), mono: e.MonoNS, boot: e.BootID}
	}
	return moment{wall: e.At.UnixNano()}
}

// between is the time from a to b in whole milliseconds, never negative: by the
// monotonic clock if both have the same one, otherwise by the wall clock.
func between(a, b moment) int64 {
	ns := b.wall - a.wall
	if a.boot != "" && a.boot == b.boot {
		ns = b.mono - a.mono
	}
	return max(ns, 0) / int64(time.Millisecond)
}

// After is how long after an earlier entry this one took effect, in whole milliseconds and
// never negative, by the clocks that accounts use.
func (e *Entry) After(earlier *Entry) time.Duration {
	return time.Duration(between(momentOf(earlier), momentOf(e))) * time.Millisecond
}

// state is everything that follows from the log up to one entry, except the
// names of closed loans, which only indexes and a full replay know.
type state struct {
	seq      uint64
	hash     Hash
	epoch    int64
	open     map[string]*OpenLoan // by loan
	byJob    map[string]string    // job UID → its open loan
	balances map[balanceKey]int64
	reshapes map[string]*OpenReshape // by ID
}

func newState(base Hash) *state {
	return &state{
		hash:     base,
		open:     map[string]*OpenLoan{},
		byJob:    map[string]string{},
		balances: map[balanceKey]int64{},
		reshapes: map[string]*OpenReshape{},
	}
}

// change is what one entry does to the state.
type change struct {
	loanState LoanState // of the entry's loan, after it
	loan      *OpenLoan // after the entry; nil if the entry moves no loan
	closed    bool
	bookings  map[balanceKey]int64
	reshape   *OpenReshape // after the entry; nil if it is about none
	undone    bool         // the reshape is over
}

// plan fills in what e may leave out and says what e would change, or which rule
// it breaks. closed tells whether the loan is known to have been closed. The
// state stays as it is.
func (s *state) plan(e *Entry, closed bool) (change, error) {
	if e.Epoch < s.epoch {
		return change{}, fmt.Errorf("%w: entry has epoch %d, the ledger has seen %d: a newer leader has written; stop",
			ErrStaleEpoch, e.Epoch, s.epoch)
	}
	if e.Corrects > s.seq {
		return change{}, invalid("corrects", "%d is after the head %d", e.Corrects, s.seq)
	}
	if e.Kind.Reshapes() {
		return s.planReshape(e)
	}
	was := Unknown
	loan := s.open[e.Loan]
	switch {
	case loan != nil:
		was = loan.State
	case closed:
		was = Closed
	}
	tr, moves := transitions[e.Kind]
	if !moves {
		return change{loanState: was}, nil
	}
	if other := s.byJob[e.JobUID]; other != "" && other != e.Loan && opens(e.Kind) {
		return change{}, fmt.Errorf("%w: job %s (%s) has loan %s in state %s, so %s for %s is refused",
			ErrOpenLoan, e.Job, e.JobUID, other, s.open[other].State, e.Kind, e.Loan)
	}
	if !slices.Contains(tr.from, was) {
		return change{}, fmt.Errorf("%w: loan %s is %s, which %s does not follow", ErrTransition, e.Loan, was, e.Kind)
	}
	to := tr.to
	if to == Unknown {
		to = was
	}
	return s.move(e, loan, to)
}

func opens(k Kind) bool { return k == LendIntent || k == Recovered }

// move is plan for an entry that moves its loan to a state.
func (s *state) move(e *Entry, loan *OpenLoan, to LoanState) (change, error) {
	next := OpenLoan{
		Loan: e.Loan, Job: e.Job, JobUID: e.JobUID, Borrower: e.Borrower,
		Grants: slices.Clone(e.Grants), FirstSeq: s.seq + 1,
	}
	if loan != nil {
		next = *loan
		if err := fillIn(e, loan); err != nil {
			return change{}, err
		}
	}
	next.State, next.LastSeq = to, s.seq+1
	c := change{loanState: to, loan: &next, closed: to == Closed}
	ends := next.Grants
	switch {
	case e.Kind.Sheds():
		var err error
		if ends, err = without(next.Grants, e.Grants); err != nil {
			return change{}, err
		}
		next.Grants = slices.Clone(e.Grants)
	case e.Kind == ReclaimIntent:
		next.ReclaimID = e.ReclaimID
	case e.Kind == LendGranted || e.Kind == Recovered:
		next.start, next.StartSeq = momentOf(e), s.seq+1
		next.Since = time.Unix(0, next.start.wall).UTC()
	}
	if next.StartSeq != 0 && (c.closed || e.Kind.Sheds()) {
		var err error
		if c.bookings, err = s.book(&next, ends, momentOf(e)); err != nil {
			return change{}, err
		}
	}
	return c, nil
}

// without is what a loan gives back that holds less from now on.
func without(held, kept []Grant) ([]Grant, error) {
	if more := grants.Without(kept, held); len(more) > 0 {
		at := slices.IndexFunc(kept, func(g Grant) bool {
			return g.Lender == more[0].Lender && g.Node == more[0].Node && g.Flavor == more[0].Flavor
		})
		return nil, invalid(fmt.Sprintf("grants[%d].count", at), "is more than the loan holds of %s on %s", more[0].Flavor, more[0].Node)
	}
	out := grants.Without(held, kept)
	if len(out) == 0 {
		return nil, invalid("grants", "are all that the loan holds, so nothing is shed")
	}
	return out, nil
}

// fillIn copies what a later entry of a loan may leave out, and refuses what
// contradicts the first.
func fillIn(e *Entry, loan *OpenLoan) error {
	for _, f := range []struct {
		name string
		have *string
		want string
	}{{"job", &e.Job, loan.Job}, {"jobUID", &e.JobUID, loan.JobUID}, {"borrower", &e.Borrower, loan.Borrower}} {
		if *f.have != "" && *f.have != f.want {
			return invalid(f.name, "%q differs from %q in entry %d, which opened loan %s", *f.have, f.want, loan.FirstSeq, loan.Loan)
		}
		*f.have = f.want
	}
	if !e.Kind.Sheds() {
		if len(e.Grants) > 0 && !slices.Equal(e.Grants, loan.Grants) {
			return invalid("grants", "differ from those in entry %d of loan %s", loan.LastSeq, loan.Loan)
		}
		e.Grants = slices.Clone(loan.Grants)
	}
	if e.ReclaimID == "" {
		e.ReclaimID = loan.ReclaimID
	}
	return nil
}

// book credits every lender and debits the borrower for the time that the loan had
// the grants. Own quota moves nothing.
func (s *state) book(loan *OpenLoan, held []Grant, end moment) (map[balanceKey]int64, error) {
	ms := between(loan.start, end)
	var units int64
	for _, g := range held {
		units += g.Count // at most MaxGrants × MaxCount
	}
	if units > 0 && ms > math.MaxInt64/units {
		return nil, invalid("time", "%d units for %d ms are more than an account can hold", units, ms)
	}
	out := map[balanceKey]int64{}
	for _, g := range held {
		if g.Lender == "" {
			continue
		}
		out[balanceKey{Account{LenderAccount, g.Lender}, g.Flavor}] += g.Count * ms
		out[balanceKey{Account{BorrowerAccount, loan.Borrower}, g.Flavor}] -= g.Count * ms
	}
	for key, amount := range out {
		if have := s.balances[key]; (amount > 0 && have > math.MaxInt64-amount) || (amount < 0 && have < math.MinInt64-amount) {
			return nil, invalid("time", "the balance of %s %s would overflow", key.account.Side, key.account.Name)
		}
	}
	return out, nil
}

// apply makes the change of an entry whose Seq and Hash are set.
func (s *state) apply(e *Entry, c change) {
	s.seq, s.hash, s.epoch = e.Seq, e.Hash, e.Epoch
	if c.reshape != nil {
		s.applyReshape(c)
	}
	if c.loan == nil {
		return
	}
	if c.closed {
		delete(s.open, e.Loan)
		delete(s.byJob, c.loan.JobUID)
	} else {
		s.open[e.Loan] = c.loan
		s.byJob[c.loan.JobUID] = e.Loan
	}
	for key, amount := range c.bookings {
		s.balances[key] += amount
	}
}

// openLoans are copies, sorted by name.
func (s *state) openLoans() []OpenLoan {
	out := make([]OpenLoan, 0, len(s.open))
	for _, name := range slices.Sorted(maps.Keys(s.open)) {
		loan := *s.open[name]
		loan.Grants = slices.Clone(loan.Grants)
		out = append(out, loan)
	}
	return out
}

// sortedBalances are ordered by side (borrowers first), name and flavor.
func (s *state) sortedBalances() []Balance {
	out := make([]Balance, 0, len(s.balances))
	for key, amount := range s.balances {
		out = append(out, Balance{key.account, key.flavor, amount})
	}
	slices.SortFunc(out, func(a, b Balance) int {
		return cmp.Or(cmp.Compare(a.Account.Side, b.Account.Side),
			cmp.Compare(a.Account.Name, b.Account.Name), cmp.Compare(a.Flavor, b.Flavor))
	})
	return out
}
