package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/gains"
)

// mostTallies bounds how many sums are gone on with: of scopes and beginnings.
const mostTallies = 16

// tallies are sums over the ledger, each of what one scope sees since one time. They are kept,
// so that who asks again has only what was added read.
type tallies struct {
	mu   sync.Mutex
	kept map[string]*tally
	used uint64
}

// tally is one sum.
type tally struct {
	mu   sync.Mutex
	sum  *gains.Tally
	next uint64 // entry to go on from; 0: nothing was read yet
	used uint64
}

// of is the sum by its name. The one that was used longest ago makes room.
func (t *tallies) of(name string, since time.Time) *tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used++
	one := t.kept[name]
	if one == nil {
		if len(t.kept) >= mostTallies {
			oldest := ""
			for other, o := range t.kept {
				if oldest == "" || o.used < t.kept[oldest].used {
					oldest = other
				}
			}
			delete(t.kept, oldest)
		}
		one = &tally{sum: gains.New(since)}
		t.kept[name] = one
	}
	one.used = t.used
	return one
}

func (s *server) gained(w http.ResponseWriter, r *http.Request, d *Decision, l Ledger) {
	now := d.Record.Snapshot.Now
	since := now.UTC().Truncate(24 * time.Hour)
	if text := r.URL.Query().Get("since"); text != "" {
		t, err := time.Parse(time.RFC3339, text)
		switch {
		case err != nil:
			err = fmt.Errorf("since: %q is no time as in 2026-11-22T12:00:00Z", text)
		case t.After(now):
			err = errors.New("since: must not be in the future")
		case now.Sub(t) > longestPast:
			err = errors.New("since: is more than 400 days ago")
		}
		if err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
		since = t.UTC()
	}
	see, ok := s.scope(w, r, "")
	if !ok {
		return
	}
	of := s.tallies.of(fmt.Sprint(since.UnixNano(), see.all, strings.Join(see.tenants, " ")), since)
	until, err := reading(r.Context(), s, func() (gains.Gained, error) { return of.goOn(see, l, since, now) })
	if err != nil {
		writeError(w, http.StatusInternalServerError, "read the ledger: "+err.Error())
		return
	}
	body := struct {
		gains.Gained
		Complete bool `json:"complete"`
		Head     head `json:"head"`
	}{until, until.Until.Equal(now), headOf(l)}
	write(w, http.StatusOK, body)
}

// goOn reads what was added, mostRead entries at most, and returns what it comes to: until
// now, or until where the reading ended.
func (t *tally) goOn(see *scope, l Ledger, since, now time.Time) (gains.Gained, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next == 0 {
		if err := t.begin(see, l, since); err != nil {
			return gains.Gained{}, err
		}
	}
	var last time.Time
	next, err := see.walk(l, "", "", t.next, mostRead, func(page []ledger.Entry) (bool, error) {
		last = page[len(page)-1].Time
		return true, t.page(see, l, page)
	})
	if err != nil {
		return gains.Gained{}, err
	}
	if next != 0 {
		return t.sum.Gained(last), nil
	}
	return t.sum.Gained(now), nil
}

// page adds a page of entries. What is counted is not counted again, also if the next fails.
func (t *tally) page(see *scope, l Ledger, page []ledger.Entry) error {
	for _, e := range see.filter(page) {
		if t.sum.Knows(&e) {
			t.sum.Add(&e)
		} else if err := t.addLoan(see, l, e.Loan, e.Seq); err != nil {
			return err
		}
		t.next = e.Seq + 1
	}
	t.next = page[len(page)-1].Seq + 1
	return nil
}

// begin takes in the loans that are open since before a time.
func (t *tally) begin(see *scope, l Ledger, since time.Time) error {
	first, err := seqAt(l, since)
	if err != nil {
		return err
	}
	for _, open := range l.OpenLoans() {
		if open.FirstSeq >= first || !see.concerns(&open) {
			continue
		}
		if err := t.addLoan(see, l, open.Loan, first-1); err != nil {
			return err
		}
	}
	t.next = first
	return nil
}

// addLoan takes in the entries of a loan up to one.
func (t *tally) addLoan(see *scope, l Ledger, loan string, upTo uint64) error {
	all, err := l.ByLoan(loan)
	if err != nil {
		return err
	}
	for _, e := range see.filter(all) {
		if e.Seq <= upTo {
			t.sum.Add(&e)
		}
	}
	return nil
}
