package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sort"
	"time"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/shown"
	"github.com/ebbtide/ebbtide/broker/view"
)

const (
	// mostRead bounds how many entries one picture of the past looks at, and mostAfter how
	// many of those are after it.
	mostRead  = 50_000
	mostAfter = 10_000
	// readers is how many read so much at a time: what one has in hand is tens of MiB.
	readers = 1
	// mostPictures is how many pictures of the past one caller may have asked for, of which the
	// others wait: a page that is open asks for two, and he may watch by mostOfOne of them.
	mostPictures = 2 * mostOfOne
)

// byTurns serves a caller of whose pictures of the past not too many are being made. Until he
// has the answer it counts, so that he can have no more of the ledger in memory, nor more asked
// of a Prometheus.
func (s *server) byTurns(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller := access.CallerOf(r.Context()).Name()
		if !s.pictures.Enter(caller) {
			tooMany(w, "too much of the past is being read for you; ask again in a moment")
			return
		}
		defer s.pictures.Leave(caller)
		serve(w, r)
	}
}

// reading reads when not too many others do. Who takes an answer slowly, or waits for a
// Prometheus, does so afterwards, and keeps nobody from reading.
func reading[T any](ctx context.Context, s *server, read func() (T, error)) (T, error) {
	select {
	case s.readers <- struct{}{}:
		defer func() { <-s.readers }()
		if ctx.Err() == nil {
			return read()
		}
	case <-ctx.Done():
	}
	var none T
	return none, ctx.Err() // who asked has gone
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

// stretch is what a scope may see of a time: the entries of each loan that was open within it,
// of each no more than is shown.
type stretch struct {
	loans [][]view.Entry // in the order in which they were come upon
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
		all, err := see.whole(l, loan)
		if len(all) > 0 {
			out.loans = [][]view.Entry{all}
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
	g := &gathering{scope: see, ledger: l, stretch: out, at: map[string]int{}, first: first, after: after}
	next, err := see.walk(l, "", tenant, first, mostRead, g.page)
	if err != nil {
		return nil, err
	}
	if next != 0 {
		out.later = true
		if next < after {
			out.cut = g.last
		}
	}
	return out, g.addOpen(tenant)
}

// gathering puts entries together by loan, and adds what is not among them.
type gathering struct {
	*scope
	*stretch
	ledger Ledger
	// at is the place of a loan in the stretch; -1 if all of it is there, or nothing is to be.
	at map[string]int
	// first is the first entry of the time, after the first one that is after it.
	first, after uint64
	// past is how many of those were taken in, last the time of the last of all.
	past int
	last time.Time
}

// page takes in a page of entries, and says whether there is need of another.
func (g *gathering) page(entries []ledger.Entry) (bool, error) {
	if n := slices.IndexFunc(entries, func(e ledger.Entry) bool { return e.Seq >= g.after }); n >= 0 {
		if room := mostAfter - g.past; len(entries)-n > room {
			entries, g.later = entries[:n+room], true
		}
		g.past += len(entries) - n
	}
	if n := len(entries); n > 0 {
		g.last = entries[n-1].Time
	}
	for _, e := range g.filter(entries) {
		if err := g.add(&e); err != nil {
			return false, err
		}
	}
	return !g.later, nil
}

// usualEntries is how many a loan has: intended, granted and ended.
const usualEntries = 3

// add takes the next entry in. Of a loan that began before, all is read.
func (g *gathering) add(e *ledger.Entry) error {
	if e.Loan == "" {
		return nil
	}
	i, known := g.at[e.Loan]
	switch {
	case known && i >= 0:
		g.loans[i] = append(g.loans[i], shown.Entry(e))
	case known:
	case !begins(e):
		return g.addWhole(e.Loan)
	case e.Seq >= g.after: // it came after
		g.at[e.Loan] = -1
	default:
		g.at[e.Loan] = len(g.loans)
		g.loans = append(g.loans, append(make([]view.Entry, 0, usualEntries), shown.Entry(e)))
	}
	return nil
}

// addWhole takes in a loan that began before the time's end.
func (g *gathering) addWhole(loan string) error {
	g.at[loan] = -1
	all, err := g.whole(g.ledger, loan)
	if len(all) > 0 && all[0].Seq < g.after {
		g.loans = append(g.loans, all)
	}
	return err
}

// addOpen takes in the loans that were open all the time, and are so still.
func (g *gathering) addOpen(tenant string) error {
	for _, open := range g.ledger.OpenLoans() {
		_, known := g.at[open.Loan]
		if known || open.FirstSeq >= g.first || !g.concerns(&open) || tenant != "" && !isAbout(&open, tenant) {
			continue
		}
		if err := g.addWhole(open.Loan); err != nil {
			return err
		}
	}
	slices.SortStableFunc(g.loans, func(a, b []view.Entry) int { return cmp.Compare(a[0].Seq, b[0].Seq) })
	return nil
}

// whole is all that a scope may see of a loan, as it is shown.
func (see *scope) whole(l Ledger, loan string) ([]view.Entry, error) {
	all, err := l.ByLoan(loan)
	return shown.Entries(see.filter(all)), err
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
