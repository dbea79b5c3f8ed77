package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Amount is a sum over loans.
type Amount struct {
	// UnitMS is units × milliseconds, in the month in which they passed.
	UnitMS int64
	// Units that came back and Loans that ended, in the month of their end. What an
	// elastic job gave back is units without a loan.
	Units, Loans int64
}

// Amounts are what a tenant lent and borrowed of one flavor in one month.
type Amounts struct {
	// Lent by the tenant's LendingPolicies, whatever became of it, and Borrowed by its
	// jobs. Reclaimed is the part of Borrowed whose loans were taken back.
	Lent, Borrowed, Reclaimed Amount
	// Lost and Quarantined are not in Borrowed: the time of the tenant's loans for which no
	// borrower is asked. Over all tenants Lent is Borrowed, Lost and Quarantined together.
	Lost, Quarantined Amount
	// LentLost and LentQuarantined are the parts of Lent for which no borrower is asked.
	LentLost, LentQuarantined Amount
}

func (a *Amounts) each() [7]*Amount {
	return [...]*Amount{&a.Lent, &a.Borrowed, &a.Reclaimed, &a.Lost, &a.Quarantined, &a.LentLost, &a.LentQuarantined}
}

// Add adds the other's amounts, as where a month is spread over several files.
func (a *Amounts) Add(b *Amounts) {
	from := b.each()
	for i, to := range a.each() {
		to.UnitMS += from[i].UnitMS
		to.Units += from[i].Units
		to.Loans += from[i].Loans
	}
}

// Total is a row of a month's statement.
type Total struct {
	// Tenant is empty for lenders whose tenant the ledger was not told.
	Tenant, Flavor string
	Amounts
	// Open are loans that have not ended: their units, and the time until now that lies
	// in the month. It is in no other amount. What is in quarantine is in OpenQuarantined
	// from there on, and not in OpenBorrowed.
	OpenLent, OpenBorrowed, OpenQuarantined Amount
	// Until is until when the open ones count; zero where there are none.
	Until time.Time
}

type monthKey struct {
	tenant, flavor string
	month          int32 // 202611
}

// monthly is what one entry adds to a row.
type monthly struct {
	key     monthKey
	amounts Amounts
}

// LenderTenant says whose a LendingPolicy is.
type LenderTenant struct{ Lender, Tenant string }

// OpeningPayload is the part of the payload of LEND_INTENT and RECOVERED that the ledger
// itself reads: the tenants of the lenders (LendingPolicy, namespace/name).
type OpeningPayload struct {
	Lenders map[string]string `json:"lenders,omitempty"`
}

func readLenders(payload []byte) ([]LenderTenant, error) {
	if !bytes.Contains(payload, []byte(`"lenders":`)) {
		return nil, nil
	}
	var p OpeningPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, invalid("payload", "lenders cannot be read: %v", err)
	}
	var out []LenderTenant
	for _, lender := range slices.Sorted(maps.Keys(p.Lenders)) {
		tenant := p.Lenders[lender]
		if err := cmp.Or(checkName("payload.lenders", lender), checkName("payload.lenders", tenant)); err != nil {
			return nil, err
		}
		if tenant != "" {
			out = append(out, LenderTenant{lender, tenant})
		}
	}
	return out, nil
}

// tenantCache remembers what payloads say: few differ from each other.
type tenantCache map[string][]LenderTenant

// of is what the payload says about lenders. One that cannot be read, which Append refuses,
// says nothing.
func (c *tenantCache) of(payload []byte) []LenderTenant {
	if len(payload) == 0 {
		return nil
	}
	if out, ok := (*c)[string(payload)]; ok {
		return out
	}
	out, err := readLenders(payload)
	if err != nil {
		out = nil
	}
	if len(*c) >= 1024 || *c == nil {
		*c = tenantCache{}
	}
	(*c)[string(payload)] = out
	return out
}

// monthCache is the month that a moment was last in.
type monthCache struct {
	from, to int64 // ns
	month    int32
}

// at is the month of a moment, and where it ends.
func (m *monthCache) at(wall int64) (month int32, end int64) {
	if wall < m.from || wall >= m.to {
		t := time.Unix(0, wall).UTC()
		first := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		*m = monthCache{first.UnixNano(), first.AddDate(0, 1, 0).UnixNano(), int32(t.Year()*100 + int(t.Month()))}
	}
	return m.month, m.to
}

// split cuts ms milliseconds from a moment on into months.
func (m *monthCache) split(wall, ms int64, take func(month int32, ms int64)) (last int32) {
	for {
		month, end := m.at(wall)
		part := min(ms, (end-wall+int64(time.Millisecond)-1)/int64(time.Millisecond))
		if part > 0 {
			take(month, part)
		}
		if ms -= part; ms == 0 {
			return month
		}
		wall += part * int64(time.Millisecond)
	}
}

// takes tells whether an entry of the kind takes units back from a borrower.
func (k Kind) takes() bool {
	return k == ReclaimDone || k == Preempted || k == Shed || k == Unquarantined
}

// monthly adds what a loan's end, or a part's, moves in the rows of its tenants.
func (s *state) monthly(c *change, e *Entry, held []Grant, share shares) {
	loan := &c.loan
	quarantined := loan.start.wall + share.borrower*int64(time.Millisecond)
	lost := quarantined + share.quarantine*int64(time.Millisecond)
	if share.quarantine == 0 {
		quarantined = lost
	}
	for _, g := range held {
		if g.Lender == "" {
			continue
		}
		lender := loan.tenantOf(g.Lender)
		row := func(tenant string, month int32) *Amounts { return c.row(monthKey{tenant, g.Flavor, month}) }
		sum := func(tenant string, wall, ms int64, pick func(*Amounts) *Amount) {
			last := s.month.split(wall, ms, func(month int32, ms int64) { pick(row(tenant, month)).UnitMS += g.Count * ms })
			a := pick(row(tenant, last))
			a.Units += g.Count
			if c.closed {
				a.Loans = 1
			}
		}
		sum(lender, loan.start.wall, share.total(), func(a *Amounts) *Amount { return &a.Lent })
		sum(loan.Borrower, loan.start.wall, share.borrower, func(a *Amounts) *Amount { return &a.Borrowed })
		if e.Kind.takes() {
			sum(loan.Borrower, loan.start.wall, share.borrower, func(a *Amounts) *Amount { return &a.Reclaimed })
		}
		if share.quarantine > 0 {
			sum(loan.Borrower, quarantined, share.quarantine, func(a *Amounts) *Amount { return &a.Quarantined })
			sum(lender, quarantined, share.quarantine, func(a *Amounts) *Amount { return &a.LentQuarantined })
		}
		if share.lost > 0 {
			sum(loan.Borrower, lost, share.lost, func(a *Amounts) *Amount { return &a.Lost })
			sum(lender, lost, share.lost, func(a *Amounts) *Amount { return &a.LentLost })
		}
	}
}

// row is what the entry adds to one row so far.
func (c *change) row(key monthKey) *Amounts {
	for i := range c.months {
		if c.months[i].key == key {
			return &c.months[i].amounts
		}
	}
	c.months = append(c.months, monthly{key: key})
	return &c.months[len(c.months)-1].amounts
}

// monthRow stands under tenant, month and flavor, so that a statement reads rows that lie
// side by side.
func monthRow(key monthKey, a *Amounts) row {
	k := strconv.AppendInt(prefixKey(key.tenant), int64(key.month), 10)
	var v []byte
	for _, amount := range a.each() {
		v = binary.AppendVarint(v, amount.UnitMS)
		v = binary.AppendVarint(v, amount.Units)
		v = binary.AppendVarint(v, amount.Loans)
	}
	return row{bucketMonth, append(append(k, 0), key.flavor...), v}
}

func readAmounts(v []byte) (Amounts, error) {
	var a Amounts
	for _, amount := range a.each() {
		for _, n := range [...]*int64{&amount.UnitMS, &amount.Units, &amount.Loans} {
			x, size := binary.Varint(v)
			if size <= 0 {
				return a, errShort
			}
			*n, v = x, v[size:]
		}
	}
	if len(v) > 0 {
		return a, errTrailing
	}
	return a, nil
}

// Totals are what a tenant lent, borrowed, had reclaimed and lost in one month (in UTC, as
// 2026-11), a row per flavor in their order. It reads the rows and the open loans, not the
// history. A tenant that the ledger does not know has none.
func (l *Ledger) Totals(month, tenant string) ([]Total, error) {
	from, err := time.Parse("2006-01", month)
	if err != nil {
		return nil, invalid("month", "%q is not of the form 2026-11", month)
	}
	if err := checkName("tenant", tenant); err != nil {
		return nil, err
	}
	rows := map[string]*Total{}
	at := func(flavor string) *Total {
		if rows[flavor] == nil {
			rows[flavor] = &Total{Tenant: tenant, Flavor: flavor}
		}
		return rows[flavor]
	}
	prefix := prefixKey(string(append(prefixKey(tenant), from.Format("200601")...)))
	err = l.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketMonth).Cursor()
		for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
			amounts, err := readAmounts(v)
			if err != nil {
				return fmt.Errorf("%w: the row of %s in %s: %w: %s", ErrDerived, tenant, month, err, adviceReindex)
			}
			at(string(k[len(prefix):])).Amounts = amounts
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	l.running(tenant, from, at)
	out := make([]Total, 0, len(rows))
	for _, flavor := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, *rows[flavor])
	}
	return out, nil
}

// running adds what is open to a month's rows.
func (l *Ledger) running(tenant string, from time.Time, at func(flavor string) *Total) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.retired {
		return // the file that follows has it
	}
	wall := l.opts.Clock.Now()
	now := moment{wall: wall.UnixNano(), mono: max(0, int64(l.opts.Clock.Since(l.start))), boot: l.opts.BootID}
	want := int32(from.Year()*100 + int(from.Month()))
	var months monthCache
	// within is how much of a period lies in the month.
	within := func(wall, ms int64) (in int64) {
		months.split(wall, ms, func(month int32, part int64) {
			if month == want {
				in += part
			}
		})
		return in
	}
	for _, loan := range l.state.open {
		if loan.StartSeq == 0 {
			continue
		}
		all := between(&loan.start, &now)
		borrowed := all
		if loan.State == InQuarantine {
			borrowed = min(all, between(&loan.start, &loan.quarantined))
		}
		used, kept := within(loan.start.wall, borrowed), within(loan.start.wall+borrowed*int64(time.Millisecond), all-borrowed)
		if used+kept > 0 {
			loan.running(tenant, used, kept, func(flavor string) *Total {
				row := at(flavor)
				row.Until = wall.UTC()
				return row
			})
		}
	}
}

// running adds the loan to the rows of a tenant: used milliseconds are the borrower's, kept
// ones nobody's.
func (l *OpenLoan) running(tenant string, used, kept int64, at func(flavor string) *Total) {
	for _, g := range l.Grants {
		if g.Lender == "" {
			continue
		}
		if l.tenantOf(g.Lender) == tenant {
			at(g.Flavor).OpenLent.addOpen(g.Count, used+kept)
		}
		if l.Borrower != tenant {
			continue
		}
		if used > 0 {
			at(g.Flavor).OpenBorrowed.addOpen(g.Count, used)
		}
		if kept > 0 {
			at(g.Flavor).OpenQuarantined.addOpen(g.Count, kept)
		}
	}
}

func (a *Amount) addOpen(units, ms int64) {
	a.UnitMS += units * ms
	a.Units += units
}
