package segments

import (
	"io"
	"maps"
	"slices"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Head is ledger.Ledger's.
func (s *Set) Head() (uint64, ledger.Hash) { return s.newest().Head() }

// Epoch is ledger.Ledger's.
func (s *Set) Epoch() int64 { return s.newest().Epoch() }

// ID is ledger.Ledger's; all files have the same.
func (s *Set) ID() (string, error) { return s.newest().ID() }

// OpenLoans is ledger.Ledger's.
func (s *Set) OpenLoans() []ledger.OpenLoan { return s.newest().OpenLoans() }

// OpenReshapes is ledger.Ledger's.
func (s *Set) OpenReshapes() []ledger.OpenReshape { return s.newest().OpenReshapes() }

// Reshape is ledger.Ledger's.
func (s *Set) Reshape(id string) (ledger.OpenReshape, bool) { return s.newest().Reshape(id) }

// Loan is ledger.Ledger's.
func (s *Set) Loan(name string) (ledger.OpenLoan, bool) { return s.newest().Loan(name) }

// Balances is ledger.Ledger's.
func (s *Set) Balances() []ledger.Balance { return s.newest().Balances() }

// Read is ledger.Ledger's, over all files. A page has entries of one file.
func (s *Set) Read(from uint64, limit int) ([]ledger.Entry, error) {
	return first(s.from(from), func(f *ledger.Ledger) ([]ledger.Entry, error) { return f.Read(from, limit) })
}

// ByTenant is ledger.Ledger's, over all files. A page has entries of one file.
func (s *Set) ByTenant(tenant string, from uint64, limit int) ([]ledger.Entry, error) {
	return first(s.from(from), func(f *ledger.Ledger) ([]ledger.Entry, error) { return f.ByTenant(tenant, from, limit) })
}

// from are the files that have entries from that number on.
func (s *Set) from(seq uint64) []*ledger.Ledger {
	files := s.all()
	for len(files) > 1 {
		if head, _ := files[0].Head(); head >= seq {
			break
		}
		files = files[1:]
	}
	return files
}

// first is the first page that is not empty.
func first[T any](files []*ledger.Ledger, read func(*ledger.Ledger) ([]T, error)) ([]T, error) {
	for _, f := range files {
		if page, err := read(f); err != nil || len(page) > 0 {
			return page, err
		}
	}
	return nil, nil
}

// ByLoan is ledger.Ledger's, over all files.
func (s *Set) ByLoan(loan string) ([]ledger.Entry, error) {
	var all []ledger.Entry
	for _, f := range s.all() {
		entries, err := f.ByLoan(loan)
		if err != nil {
			return all, err
		}
		all = append(all, entries...)
	}
	return all[:min(len(all), ledger.MaxPage)], nil
}

// Totals is ledger.Ledger's, over all files: a month may be in several, since time is counted
// where it ends.
func (s *Set) Totals(month, tenant string) ([]ledger.Total, error) {
	rows := map[string]ledger.Total{}
	for _, f := range s.all() {
		totals, err := f.Totals(month, tenant)
		if err != nil {
			return nil, err
		}
		for _, t := range totals {
			before := rows[t.Flavor] // of older files, in which nothing is open
			t.Amounts.Add(&before.Amounts)
			rows[t.Flavor] = t
		}
	}
	out := make([]ledger.Total, 0, len(rows))
	for _, flavor := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, rows[flavor])
	}
	return out, nil
}

// Export is ledger.Ledger's, over all files.
func (s *Set) Export(w io.Writer, from uint64) (int, error) {
	return ledger.ExportPages(w, from, s.Read)
}

// Identity is ledger.Ledger's, of the oldest file: whoever begins with it and takes all that
// Raw returns has the same files.
func (s *Set) Identity() ([]byte, error) { return s.all()[0].Identity() }

// Raw is ledger.Ledger's, over all files. A page has records of one file.
func (s *Set) Raw(from uint64, limit int) ([][]byte, error) {
	return first(s.from(from), func(f *ledger.Ledger) ([][]byte, error) { return f.Raw(from, limit) })
}
