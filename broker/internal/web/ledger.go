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

// fromAndLimit reads where a page begins, and how long it is at most. Where it is false, it
// has answered.
func fromAndLimit(w http.ResponseWriter, r *http.Request, usual, most uint64) (from, limit uint64, ok bool) {
	from, errFrom := number(r, "from", 1, 1<<63)
	limit, errLimit := number(r, "limit", usual, most)
	if err := errors.Join(errFrom, errLimit); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return 0, 0, false
	}
	return from, limit, true
}

func (s *server) entries(w http.ResponseWriter, r *http.Request, l Ledger) {
	from, limit, ok := fromAndLimit(w, r, defaultLimit, maxLimit)
	if !ok {
		return
	}
	loan, tenant := r.URL.Query().Get("loan"), r.URL.Query().Get("tenant")
	see, ok := s.scope(w, r, tenant)
	if !ok {
		return
	}
	body := struct {
		Head    head           `json:"head"`
		Entries []ledger.Entry `json:"entries"`
		Next    uint64         `json:"next,omitempty"`
	}{Head: headOf(l)}
	entries, err := see.query(l, loan, tenant, from, int(limit))
	// The page may be shorter than asked for, because its entries are large. Only
	// the ledger knows whether there are more.
	if n := len(entries); err == nil && n > 0 {
		var rest []ledger.Entry
		if rest, err = see.query(l, loan, tenant, entries[n-1].Seq+1, 1); len(rest) > 0 {
			body.Next = rest[0].Seq
		}
	}
	if err != nil {
		writeError(w, http.StatusInternalServerError, "read the ledger: "+err.Error())
		return
	}
	body.Entries = append([]ledger.Entry{}, see.filter(entries)...)
	write(w, http.StatusOK, body)
}

// query returns up to limit entries from a sequence number on, fewer if they are
// large. Not all that it returns may be shown: filter says what.
func (see *scope) query(l Ledger, loan, tenant string, from uint64, limit int) ([]ledger.Entry, error) {
	switch {
	case loan != "":
		all, err := l.ByLoan(loan)
		var entries []ledger.Entry
		for _, e := range see.filter(all) { // of others' not even the number is told
			if e.Seq >= from && (tenant == "" || e.Borrower == tenant) {
				entries = append(entries, e)
			}
		}
		return entries[:min(limit, len(entries))], err
	case tenant != "":
		return l.ByTenant(tenant, from, limit)
	case !see.all:
		return see.ofTenants(l, from, limit)
	default:
		return l.Read(from, limit)
	}
}

// check verifies the ledger, and that it has ?against=SEQ:HASH.
func (s *server) check(w http.ResponseWriter, r *http.Request, l Ledger) {
	known, err := against(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, "against: "+err.Error())
		return
	}
	if !s.checking.TryLock() {
		writeError(w, http.StatusTooManyRequests, "the ledger is being checked for somebody else; ask again in a moment")
		return
	}
	defer s.checking.Unlock()
	report, err := l.Verify()
	if err == nil && known.Seq > 0 && report.OK() {
		err = report.Against(known, l.Read)
	}
	if err != nil {
		writeError(w, http.StatusInternalServerError, "verify the ledger: "+err.Error())
		return
	}
	body := struct {
		OK       bool     `json:"ok"`
		Head     head     `json:"head"`
		Problems []string `json:"problems"`
		Notes    []string `json:"notes,omitempty"`
		ID       string   `json:"id,omitempty"`
		// Checkpoint is the newest, for whoever has the public key.
		Checkpoint *ledger.CheckpointPayload `json:"checkpoint,omitempty"`
	}{OK: report.OK(), Head: headOf(l), Problems: []string{}, Notes: report.Notes, ID: report.ID}
	if n := len(report.Checkpoints); n > 0 {
		body.Checkpoint = &report.Checkpoints[n-1]
	}
	for _, f := range report.Faults {
		body.Problems = append(body.Problems, f.String())
	}
	write(w, http.StatusOK, body)
}

func against(r *http.Request) (known ledger.Known, err error) {
	if text := r.URL.Query().Get("against"); text != "" {
		known, err = ledger.ParseKnown(text)
	}
	return known, err
}
