package ledger

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Account owns units: a lender is credited what it lent, a borrower debited. What no
// borrower can be asked for is debited to quarantine and lost, of which there is one each.
type Account struct {
	Side AccountSide
	Name string // LendingPolicy (namespace/name) or tenant; empty for quarantine and lost
}

// AccountSide tells lenders from borrowers, which may share names.
type AccountSide string

// The sides of bookings.
const (
	LenderAccount     AccountSide = "lender"
	BorrowerAccount   AccountSide = "borrower"
	QuarantineAccount AccountSide = "quarantine"
	LostAccount       AccountSide = "lost"
)

// MarshalText is SIDE/NAME, or SIDE alone where there is no name.
func (a Account) MarshalText() ([]byte, error) {
	if a.Name == "" {
		return []byte(a.Side), nil
	}
	return []byte(string(a.Side) + "/" + a.Name), nil
}

// UnmarshalText reads what MarshalText wrote, and nothing else.
func (a *Account) UnmarshalText(text []byte) error {
	side, name, named := strings.Cut(string(text), "/")
	out := Account{AccountSide(side), name}
	switch out.Side {
	case LenderAccount, BorrowerAccount:
		if name == "" {
			return fmt.Errorf("account %q has no name", text)
		}
	case QuarantineAccount, LostAccount:
		if named {
			return fmt.Errorf("account %q has a name, and there is one only", text)
		}
	default:
		return fmt.Errorf("account %q is none of lender/NAME, borrower/NAME, quarantine and lost", text)
	}
	if err := checkName("account", name); err != nil {
		return err
	}
	*a = out
	return nil
}

// Balance is what one account has lent (positive) or used (negative) over
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

// booking moves one balance.
type booking struct {
	key    balanceKey
	unitMS int64
	have   *int64 // the balance, once fits has looked it up; nil where there is none yet
}

// shares are how long units were whose, one after the other, in milliseconds.
type shares struct{ borrower, quarantine, lost int64 }

func (s shares) total() int64 { return s.borrower + s.quarantine + s.lost }

// divide cuts a loan's time at the moment from which on it is in quarantine, and at the
// last one at which its node was heard of.
func divide(e *Entry, loan *OpenLoan, end *moment) (shares, error) {
	total := between(&loan.start, end)
	quarantine, heard := total, total
	if loan.State == InQuarantine {
		quarantine = min(total, between(&loan.start, &loan.quarantined))
	}
	if e.Kind == Lost || e.Kind == ShedLost {
		at, err := lastHeard(e.Payload)
		if err != nil {
			return shares{}, err
		}
		if !at.IsZero() {
			heard = min(total, between(&loan.start, &moment{wall: at.UnixNano()}))
		}
	}
	s := shares{borrower: min(quarantine, heard), lost: total - heard}
	s.quarantine = total - s.borrower - s.lost
	return s, nil
}

// LostPayload is what LOST and SHED_LOST may say: the time after LastHeard is booked to the
// account lost. Without it all is the borrower's.
type LostPayload struct {
	LastHeard time.Time `json:"lastHeard,omitzero"`
}

func lastHeard(payload []byte) (time.Time, error) {
	if !bytes.Contains(payload, []byte(`"lastHeard":`)) {
		return time.Time{}, nil
	}
	var p LostPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return time.Time{}, invalid("payload", "lastHeard cannot be read: %v", err)
	}
	return p.LastHeard, checkYear("payload.lastHeard", p.LastHeard)
}

// book credits every lender for the time that the loan had the grants, and debits the
// borrower, quarantine and lost with their shares of it. Own quota moves nothing.
func (s *state) book(c *change, e *Entry, held []Grant) error {
	loan, end := &c.loan, momentOf(e)
	share, err := divide(e, loan, &end)
	if err != nil {
		return err
	}
	var units int64
	for _, g := range held {
		units += g.Count // at most MaxGrants × MaxCount
	}
	if total := share.total(); units > 0 && total > math.MaxInt64/units {
		return invalid("time", "%d units for %d ms are more than an account can hold", units, total)
	}
	for _, g := range held {
		if g.Lender == "" {
			continue
		}
		c.post(Account{LenderAccount, g.Lender}, g.Flavor, g.Count*share.total())
		c.post(Account{BorrowerAccount, loan.Borrower}, g.Flavor, -g.Count*share.borrower)
		if share.quarantine > 0 {
			c.post(Account{Side: QuarantineAccount}, g.Flavor, -g.Count*share.quarantine)
		}
		if share.lost > 0 {
			c.post(Account{Side: LostAccount}, g.Flavor, -g.Count*share.lost)
		}
	}
	s.monthly(c, e, held, share)
	return s.fits(c.bookings)
}

// fits refuses what no balance can hold.
func (s *state) fits(bookings []booking) error {
	for i := range bookings {
		b, have := &bookings[i], int64(0)
		if b.have = s.balances[b.key]; b.have != nil {
			have = *b.have
		}
		if (b.unitMS > 0 && have > math.MaxInt64-b.unitMS) || (b.unitMS < 0 && have < math.MinInt64-b.unitMS) {
			return invalid("time", "the balance of %s %s would overflow", b.key.account.Side, b.key.account.Name)
		}
	}
	return nil
}

// post adds to what the entry books.
func (c *change) post(account Account, flavor string, unitMS int64) {
	key := balanceKey{account, flavor}
	for i := range c.bookings {
		if c.bookings[i].key == key {
			c.bookings[i].unitMS += unitMS
			return
		}
	}
	c.bookings = append(c.bookings, booking{key: key, unitMS: unitMS})
}

// sortedBalances are ordered by side (borrowers first), name and flavor.
func (s *state) sortedBalances() []Balance {
	out := make([]Balance, 0, len(s.balances))
	for key, amount := range s.balances {
		out = append(out, Balance{key.account, key.flavor, *amount})
	}
	slices.SortFunc(out, func(a, b Balance) int {
		return cmp.Or(cmp.Compare(a.Account.Side, b.Account.Side),
			cmp.Compare(a.Account.Name, b.Account.Name), cmp.Compare(a.Flavor, b.Flavor))
	})
	return out
}

// sums are what the balances of each flavor add up to.
func (s *state) sums() map[string]int64 {
	out := map[string]int64{}
	for key, amount := range s.balances {
		out[key.flavor] += *amount
	}
	return out
}
