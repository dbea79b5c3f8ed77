package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

type head struct {
	Seq  uint64      `json:"seq"`
	Hash ledger.Hash `json:"hash"`
}

func headOf(l Ledger) head {
	seq, hash := l.Head()
	return head{seq, hash}
}

// number reads a query parameter between 1 and most.
func number(r *http.Request, name string, absent, most uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%s: %q is not a number from 1 to %d", name, text, most)
	}
	return n, nil
}

func (s *server) entries(w http.ResponseWriter, r *http.Request, l Ledger) {
	from, errFrom := number(r, "from", 1, 1<<63)
	limit, errLimit := number(r, "limit", defaultLimit, maxLimit)
	if err := errors.Join(errFrom, errLimit); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	loan, tenant := r.URL.Query().Get("loan"), r.URL.Query().Get("tenant")
	body := struct {
		Head    head           `json:"head"`
		Entries []ledger.Entry `json:"entries"`
		Next    uint64         `json:"next,omitempty"`
	}{Head: headOf(l)}
	entries, err := query(l, loan, tenant, from, int(limit))
	// The page may be shorter than asked for, because its entries are large. Only
	// the ledger knows whether there are more.
	if n := len(entries); err == nil && n > 0 {
		var rest []ledger.Entry
		if rest, err = query(l, loan, tenant, entries[n-1].Seq+1, 1); len(rest) > 0 {
			body.Next = rest[0].Seq
		}
	}
	if err != nil {
		writeError(w, http.StatusInternalServerError, "read the ledger: "+err.Error())
		return
	}
	body.Entries = append([]ledger.Entry{}, entries...)
	write(w, http.StatusOK, body)
}

// query returns up to limit entries from a sequence number on, fewer if they are
// large.
func query(l Ledger, loan, tenant string, from uint64, limit int) ([]ledger.Entry, error) {
	switch {
	case loan != "":
		all, err := l.ByLoan(loan)
		var entries []ledger.Entry
		for _, e := range all {
			if e.Seq >= from && (tenant == "" || e.Borrower == tenant) {
				entries = append(entries, e)
			}
		}
		return entries[:min(limit, len(entries))], err
	case tenant != "":
		return l.ByTenant(tenant, from, limit)
	default:
		return l.Read(from, limit)
	}
}

func (s *server) check(w http.ResponseWriter, _ *http.Request, l Ledger) {
	report, err := l.Verify()
	if err != nil {
		writeError(w, http.StatusInternalServerError, "verify the ledger: "+err.Error())
		return
	}
	body := struct {
		OK       bool     `json:"ok"`
		Head     head     `json:"head"`
		Problems []string `json:"problems"`
	}{report.OK(), headOf(l), []string{}}
	for _, f := range report.Faults {
		body.Problems = append(body.Problems, f.String())
	}
	write(w, http.StatusOK, body)
}
