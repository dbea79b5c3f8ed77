package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// GapPayload says which numbers are in no file although they were published, or carried by
// a Loan. The numbers are of the history that was lost; this one goes on from its own head.
type GapPayload struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	// Head is the hash that To had, as far as it is known.
	Head string `json:"head,omitempty"`
	Why  string `json:"why"`
}

// CheckpointPayload says what the head was when the checkpoint was written: the entry just
// before it.
type CheckpointPayload struct {
	Seq  uint64 `json:"seq"`
	Hash Hash   `json:"hash"`
	// Totals are the balances at that number; absent where they are not stated.
	Totals []Posting `json:"totals,omitempty"`
	// Key and Signature are of whoever signs; this package does not verify them.
	Key       string `json:"key,omitempty"`
	Signature string `json:"signature,omitempty"`
}

// SegmentPayload is the start of a file that goes on where another ended. Open and Accounts
// say how many CARRIED follow, and nothing else comes before they have.
type SegmentPayload struct {
	Month string `json:"month"`
	Of    string `json:"of,omitempty"`
	// Open loans and reshapes.
	Open     int `json:"open"`
	Accounts int `json:"accounts"`
}

// CarriedPayload is one of the three.
type CarriedPayload struct {
	Loan    *CarriedLoan `json:"loan,omitempty"`
	Reshape *OpenReshape `json:"reshape,omitempty"`
	Account *Posting     `json:"account,omitempty"`
}

// CarriedLoan is an open loan with what its accounts need.
type CarriedLoan struct {
	OpenLoan
	Start       CarriedMoment `json:"start,omitzero"`
	Quarantined CarriedMoment `json:"quarantined,omitzero"`
}

// CarriedMoment is a moment of both clocks.
type CarriedMoment struct {
	Wall int64  `json:"wall"`
	Mono int64  `json:"mono,omitempty"`
	Boot string `json:"boot,omitempty"`
}

// Carry is what a new file needs to know about a loan that is open.
func Carry(l OpenLoan) *CarriedLoan {
	out := &CarriedLoan{OpenLoan: l.clone()}
	out.Start = CarriedMoment{l.start.wall, l.start.mono, l.start.boot}
	out.Quarantined = CarriedMoment{l.quarantined.wall, l.quarantined.mono, l.quarantined.boot}
	return out
}

// CorrectionPayload moves balances. Per flavor the postings add up to 0.
type CorrectionPayload struct {
	// Actor is who corrects.
	Actor    string    `json:"actor,omitempty"`
	Postings []Posting `json:"postings,omitempty"`
}

// Posting is an amount of one account.
type Posting struct {
	Account Account `json:"account"`
	Flavor  string  `json:"flavor"`
	UnitMS  int64   `json:"unitMS"`
	// Tenant whose statement a posting to another account than a borrower's is in.
	Tenant string `json:"tenant,omitempty"`
}

// notes tells whether entries of the kind are about no loan and no reshape, and have a
// payload with rules.
func (k Kind) notes() bool {
	return k == Gap || k == Checkpoint || k == SegmentStart || k == Carried || k == Correction
}

// readPayload reads a note's payload, strictly.
func readPayload(e *Entry, into any) error {
	dec := json.NewDecoder(bytes.NewReader(e.Payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return invalid("payload", "of %s cannot be read: %v", e.Kind, err)
	}
	return nil
}

// planNote is plan for what is about no loan.
func (s *state) planNote(c *change, e *Entry) error {
	switch e.Kind {
	case Gap:
		var p GapPayload
		if err := readPayload(e, &p); err != nil {
			return err
		}
		if p.From == 0 || p.To < p.From || p.Why == "" {
			return invalid("payload", "of GAP needs from, to (not before it) and why")
		}
		return nil
	case Checkpoint:
		return s.planCheckpoint(e)
	case SegmentStart:
		return s.planSegment(c, e)
	case Carried:
		return s.planCarried(c, e)
	default:
		return s.planCorrection(c, e)
	}
}

func (s *state) planCheckpoint(e *Entry) error {
	var p CheckpointPayload
	if err := readPayload(e, &p); err != nil {
		return err
	}
	if p.Seq != s.seq || p.Hash != s.hash {
		return invalid("payload", "is of entry %d with hash %s, but the head is %d with %s", p.Seq, p.Hash, s.seq, s.hash)
	}
	if p.Totals == nil {
		return nil
	}
	stated := map[balanceKey]int64{}
	for _, t := range p.Totals {
		stated[balanceKey{t.Account, t.Flavor}] += t.UnitMS
	}
	for key, have := range s.balances {
		if stated[key] != *have {
			return invalid("payload.totals", "say %d of %s %s %s, the balance is %d", stated[key], key.account.Side, key.account.Name, key.flavor, *have)
		}
		delete(stated, key)
	}
	if len(stated) > 0 {
		return invalid("payload.totals", "have %d accounts more than there are", len(stated))
	}
	return nil
}

func (s *state) planSegment(c *change, e *Entry) error {
	var p SegmentPayload
	if err := readPayload(e, &p); err != nil {
		return err
	}
	if _, err := time.Parse("2006-01", p.Month); err != nil {
		return invalid("payload.month", "%q is not of the form 2026-11", p.Month)
	}
	if p.Open < 0 || p.Accounts < 0 || p.Open > math.MaxInt32 || p.Accounts > math.MaxInt32 {
		return invalid("payload", "%d open and %d accounts cannot be", p.Open, p.Accounts)
	}
	if s.seq != s.base {
		return fmt.Errorf("%w: SEGMENT_START is the first entry of a file, and this one has some", ErrTransition)
	}
	c.carry = p.Open + p.Accounts
	return nil
}

func (s *state) planCarried(c *change, e *Entry) error {
	if s.carry == 0 {
		return fmt.Errorf("%w: CARRIED follows SEGMENT_START, as often as that says", ErrTransition)
	}
	c.carry = s.carry - 1
	var p CarriedPayload
	if err := readPayload(e, &p); err != nil {
		return err
	}
	given := 0
	for _, has := range []bool{p.Loan != nil, p.Reshape != nil, p.Account != nil} {
		if has {
			given++
		}
	}
	switch {
	case given != 1:
		return invalid("payload", "of CARRIED is one loan, reshape or account")
	case p.Loan != nil:
		return s.carryLoan(c, p.Loan)
	case p.Reshape != nil:
		if p.Reshape.ID == "" || s.reshapes[p.Reshape.ID] != nil {
			return invalid("payload.reshape", "has no ID, or one that is there already")
		}
		c.reshape = p.Reshape
	default:
		if _, there := s.balances[balanceKey{p.Account.Account, p.Account.Flavor}]; there {
			return invalid("payload.account", "%s %s has a balance already", p.Account.Account.Side, p.Account.Account.Name)
		}
		c.post(p.Account.Account, p.Account.Flavor, p.Account.UnitMS)
	}
	if c.carry > 0 {
		return nil
	}
	return s.balanced(c)
}

// balanced refuses carried accounts that do not add up to 0 when all are there.
func (s *state) balanced(c *change) error {
	sums := s.sums()
	for _, b := range c.bookings {
		sums[b.key.flavor] += b.unitMS
	}
	for flavor, sum := range sums {
		if sum != 0 {
			return invalid("payload.account", "what was carried of %s adds up to %d, not to 0", flavor, sum)
		}
	}
	return nil
}

func (s *state) carryLoan(c *change, l *CarriedLoan) error {
	holds := []LoanState{Intended, Granted, Reclaiming, InQuarantine}
	switch {
	case l.Loan == "" || l.JobUID == "" || len(l.Grants) == 0 || !slices.Contains(holds, l.State):
		return invalid("payload.loan", "needs a name, a job's UID, grants and a state that holds units")
	case s.open[l.Loan] != nil || s.byJob[l.JobUID] != "":
		return fmt.Errorf("%w: %s, or one of job %s, is carried already", ErrOpenLoan, l.Loan, l.JobUID)
	case (l.State == Intended) != (l.StartSeq == 0):
		return invalid("payload.loan", "%s is %s, and its time began with entry %d", l.Loan, l.State, l.StartSeq)
	}
	c.loan, c.moves, c.loanState = l.OpenLoan, true, l.State
	c.loan.start = moment{l.Start.Wall, l.Start.Mono, l.Start.Boot}
	c.loan.quarantined = moment{l.Quarantined.Wall, l.Quarantined.Mono, l.Quarantined.Boot}
	if c.carry == 0 {
		return s.balanced(c)
	}
	return nil
}

// planCorrection books what a correction posts. The state of the loan that it names, if
// any, stays.
func (s *state) planCorrection(c *change, e *Entry) error {
	postings, err := readPostings(e.Payload)
	if err != nil {
		return err
	}
	month, _ := s.month.at(e.Time.UnixNano())
	for _, p := range postings {
		c.post(p.Account, p.Flavor, p.UnitMS)
		tenant := p.Tenant
		if p.Account.Side == BorrowerAccount {
			tenant = p.Account.Name
		}
		row := c.row(monthKey{tenant, p.Flavor, month})
		switch p.Account.Side {
		case LenderAccount:
			row.Lent.UnitMS += p.UnitMS
		case BorrowerAccount:
			row.Borrowed.UnitMS -= p.UnitMS
		case QuarantineAccount:
			row.Quarantined.UnitMS -= p.UnitMS
		case LostAccount:
			row.Lost.UnitMS -= p.UnitMS
		}
	}
	return s.fits(c.bookings)
}

// readPostings reads and adds up what a correction's payload posts; a payload without the
// word is another one.
func readPostings(payload []byte) ([]Posting, error) {
	if !bytes.Contains(payload, []byte(`"postings":`)) {
		return nil, nil
	}
	var p CorrectionPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, invalid("payload.postings", "cannot be read: %v", err)
	}
	sums := map[string]int64{}
	for i, posting := range p.Postings {
		at := fmt.Sprintf("payload.postings[%d]", i)
		if posting.Account.Side == "" || posting.Flavor == "" {
			return nil, invalid(at, "account and flavor are required")
		}
		if err := errors.Join(checkName(at+".flavor", posting.Flavor), checkName(at+".tenant", posting.Tenant)); err != nil {
			return nil, err
		}
		if posting.UnitMS > math.MaxInt64>>10 || posting.UnitMS < math.MinInt64>>10 || len(p.Postings) > MaxGrants {
			return nil, invalid(at, "%d unit-milliseconds, or %d postings, are too many", posting.UnitMS, len(p.Postings))
		}
		sums[posting.Flavor] += posting.UnitMS
	}
	for flavor, sum := range sums {
		if sum != 0 {
			return nil, invalid("payload.postings", "of %s add up to %d, not to 0", flavor, sum)
		}
	}
	return p.Postings, nil
}
