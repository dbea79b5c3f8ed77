package books

import (
	"encoding/hex"
	"encoding/json"
	"strings"
)

// posting is an amount of one account, as payloads have it.
type posting struct {
	Account, Flavor, Tenant string
	UnitMS                  int64
}

func (p posting) account() Account {
	side, name, _ := strings.Cut(p.Account, "/")
	return Account{side, name, p.Flavor}
}

// carriedLoan is a loan that was open when the file before ended.
type carriedLoan struct {
	Loan, JobUID, Borrower      string
	Grants                      []Grant
	State                       State
	FirstSeq, LastSeq, StartSeq uint64
	Start, Quarantined          struct {
		Wall, Mono int64
		Boot       string
	}
	Tenants []struct{ Lender, Tenant string }
}

// note follows an entry that is about no loan and no reshape.
func (r *replay) note(e *Record) {
	switch e.Kind {
	case correction:
		r.corrected(e)
	case checkpoint:
		r.checkpoint(e)
	case segmentStart:
		var p struct{ Open, Accounts int }
		if e.Seq != r.f.Base+1 || json.Unmarshal([]byte(e.Payload), &p) != nil || p.Open < 0 || p.Accounts < 0 {
			r.broken(States, e.Seq, "is a SEGMENT_START that is not first, or does not say what follows")
			return
		}
		if r.carry = p.Open + p.Accounts; r.carry == 0 {
			r.f.began = r.standing()
		}
	case carried:
		r.carried(e)
	}
}

// corrected books what a correction posts.
func (r *replay) corrected(e *Record) {
	var p struct{ Postings []posting }
	if !r.payload(e, "postings", &p) {
		return
	}
	for _, posting := range p.Postings {
		r.post(posting.account(), posting.UnitMS)
		r.correctedMonth(e, posting)
	}
}

// checkpoint compares what a checkpoint says with the entry before it, and the balances.
func (r *replay) checkpoint(e *Record) {
	var p struct {
		Seq    uint64
		Hash   string
		Totals []posting
	}
	if !r.payload(e, "hash", &p) {
		r.broken(Form, e.Seq, "is a checkpoint that says nothing")
		return
	}
	if p.Seq != e.Seq-1 || p.Hash != hex.EncodeToString(e.PrevHash[:]) {
		r.broken(Head, e.Seq, "is a checkpoint of %d with hash %s, which the entry before is not", p.Seq, p.Hash)
	}
	if p.Totals == nil {
		return
	}
	stated := map[Account]int64{}
	for _, t := range p.Totals {
		stated[t.account()] += t.UnitMS
	}
	for a, have := range r.f.Balances {
		if stated[a] != have {
			r.broken(Balances, e.Seq, "states %d of %v, which has %d", stated[a], a, have)
		}
		delete(stated, a)
	}
	for a := range stated {
		r.broken(Balances, e.Seq, "states a balance of %v, which has none", a)
	}
}

// carried takes over one thing that was open at the end of the file before.
func (r *replay) carried(e *Record) {
	if r.carry == 0 {
		r.broken(States, e.Seq, "carries more than the segment's start says")
		return
	}
	r.carry--
	var p struct {
		Loan    *carriedLoan
		Reshape *struct {
			ID   string
			Made bool
		}
		Account *posting
	}
	if err := json.Unmarshal([]byte(e.Payload), &p); err != nil {
		r.broken(Form, e.Seq, "carries what cannot be read: %v", err)
		return
	}
	switch {
	case p.Account != nil:
		r.post(p.Account.account(), p.Account.UnitMS)
	case p.Reshape != nil:
		r.reshapes[p.Reshape.ID] = p.Reshape.Made
	case p.Loan != nil:
		r.carriedLoan(e, p.Loan)
	default:
		r.broken(Form, e.Seq, "carries nothing")
	}
	if r.carry == 0 {
		r.f.began = r.standing()
	}
}

func (r *replay) carriedLoan(e *Record, c *carriedLoan) {
	if r.loans[c.Loan] != nil || r.byJob[c.JobUID] != "" {
		r.broken(OneLoan, e.Seq, "carries loan %q of job %q, one of which is carried already", c.Loan, c.JobUID)
		return
	}
	l := &loan{
		OpenLoan: OpenLoan{Loan: c.Loan, JobUID: c.JobUID, State: c.State, First: c.FirstSeq, Last: c.LastSeq, Start: c.StartSeq, Grants: c.Grants},
		borrower: c.Borrower, tenants: map[string]string{},
		since: moment{c.Start.Wall, c.Start.Mono, c.Start.Boot}, aside: moment{c.Quarantined.Wall, c.Quarantined.Mono, c.Quarantined.Boot},
	}
	for _, t := range c.Tenants {
		l.tenants[t.Lender] = t.Tenant
	}
	r.loans[c.Loan], r.byJob[c.JobUID] = l, c.Loan
}
