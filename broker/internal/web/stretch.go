package web

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

const (
	// mostRead bounds how many entries one picture of the past looks at, and mostAfter how
	// many of those are after it.
	mostRead  = 50_000
	mostAfter = 10_000
	// readers is how many read so much at a time.
	readers = 2
)

// reading waits until not too many others read, and returns what ends it; nil if the caller
// has gone.
func (s *server) reading(ctx context.Context) (done func()) {
	select {
	case s.readers <- struct{}{}:
		return func() { <-s.readers }
	case <-ctx.Done():
		return nil
	}
}

// seqAt is the number of the first entry that was written at a time or later; one more than
// there are if there is none. Where the clock was set back it is one of several.
func seqAt(l Ledger, t time.Time) (uint64, error) {
	head, _ := l.Head()
	var failed error
	at := sort.Search(int(head), func(i int) bool {
		entries, err := l.Read(uint64(i)+1, 1)
		if err != nil {
			failed = err
		}
		return failed != nil || len(entries) == 0 || !entries[0].Time.Before(t)
	})
	return uint64(at) + 1, failed
}

// stretch is what a scope may see of a time: the entries of each loan that was open within it.
type stretch struct {
	loans [][]ledger.Entry // in the order in which they were come upon
	// cut is where the reading ended before the end of the time; zero: it did not. later:
	// what came after the time was not read to its end.
	cut   time.Time
	later bool
}

// stretch reads the loans that were open between two times. What lasted through all of it and
// has ended since is found as far as entries after it are read.
func (see *scope) stretch(l Ledger, loan, tenant string, from, to time.Time) (*stretch, error) {
	out := &stretch{}
	if loan != "" {
		all, err := l.ByLoan(loan)
		if all = see.filter(all); len(all) > 0 {
			out.loans = [][]ledger.Entry{all}
		}
		return out, err
	}
	first, err := seqAt(l, from)
	if err != nil {
		return nil, err
	}
	after, err := seqAt(l, to.Add(time.Nanosecond))
	if err != nil {
		return nil, err
	}
	entries, next, err := see.scan(l, "", tenant, first, mostRead)
	if err != nil {
		return nil, err
	}
	if next != 0 {
		if end := entries[len(entries)-1]; end.Seq < after {
			out.cut = end.Time
		}
		out.later = true
	}
	if n := slices.IndexFunc(entries, func(e ledger.Entry) bool { return e.Seq >= after }); n >= 0 && len(entries)-n > mostAfter {
		entries, out.later = entries[:n+mostAfter], true
	}
	return out, see.gather(l, out, entries, first, after, tenant)
}

// gather puts the entries together by loan, and adds what is not among them: what came before
// of the loans that they are about, and those that were open all the time and are so still.
func (see *scope) gather(l Ledger, out *stretch, entries []ledger.Entry, first, after uint64, tenant string) error {
	at := map[string]int{}
	for _, e := range see.filter(entries) {
		if e.Loan == "" {
			continue
		}
		i, known := at[e.Loan]
		switch {
		case known && i < 0:
		case known:
			out.loans[i] = append(out.loans[i], e)
		case begins(&e) && e.Seq >= after:
			at[e.Loan] = -1 // it came after
		case begins(&e):
			at[e.Loan] = len(out.loans)
			out.loans = append(out.loans, []ledger.Entry{e})
		default:
			all, err := see.whole(l, e.Loan)
			if err != nil {
				return err
			}
			at[e.Loan] = -1 // all of it is there
			if len(all) > 0 && all[0].Seq < after {
				out.loans = append(out.loans, all)
			}
		}
	}
	for _, open := range l.OpenLoans() {
		if _, known := at[open.Loan]; known || open.FirstSeq >= first || tenant != "" && !isAbout(&open, tenant) || !see.concerns(&open) {
			continue
		}
		all, err := see.whole(l, open.Loan)
		if err != nil {
			return err
		}
		if len(all) > 0 {
			out.loans = append(out.loans, all)
		}
	}
	slices.SortStableFunc(out.loans, func(a, b []ledger.Entry) int { return cmp.Compare(a[0].Seq, b[0].Seq) })
	return nil
}

// whole is all that a scope may see of a loan.
func (see *scope) whole(l Ledger, loan string) ([]ledger.Entry, error) {
	all, err := l.ByLoan(loan)
	return see.filter(all), err
}

func begins(e *ledger.Entry) bool { return e.Kind == ledger.LendIntent || e.Kind == ledger.Recovered }

// isAbout: the tenant has the loan, or lends to it.
func isAbout(open *ledger.OpenLoan, tenant string) bool {
	return open.Borrower == tenant || slices.ContainsFunc(open.Tenants, func(t ledger.LenderTenant) bool { return t.Tenant == tenant })
}

// concerns: there may be something of the loan that the scope sees.
func (see *scope) concerns(open *ledger.OpenLoan) bool {
	return see.all || slices.Contains(see.tenants, open.Borrower) ||
		slices.ContainsFunc(open.Grants, func(g ledger.Grant) bool { return see.lends(g.Lender) })
}
