package web

import (
	"net/http"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
)

// mostScanned bounds how many entries one question about reclaims looks at.
const mostScanned = 10000

func (s *server) reclaims(w http.ResponseWriter, r *http.Request, l Ledger) {
	from, limit, ok := fromAndLimit(w, r, mostScanned, mostScanned)
	if !ok {
		return
	}
	see, ok := s.scope(w, r, r.URL.Query().Get("tenant"))
	if !ok {
		return
	}
	body := struct {
		Head     head             `json:"head"`
		Reclaims []course.Reclaim `json:"reclaims"`
		Next     uint64           `json:"next,omitempty"`
	}{Head: headOf(l)}
	entries, next, err := see.scan(l, r.URL.Query().Get("loan"), r.URL.Query().Get("tenant"), from, int(limit))
	body.Reclaims, body.Next = append([]course.Reclaim{}, course.Of(see.filter(entries))...), next
	for i := range body.Reclaims {
		if next != 0 && err == nil && body.Reclaims[i].End == "" {
			err = see.complete(l, &body.Reclaims[i])
		}
	}
	if err != nil {
		writeError(w, http.StatusInternalServerError, "read the ledger: "+err.Error())
		return
	}
	write(w, http.StatusOK, body)
}

// walk is query beyond one page of the ledger, and keeps no more of it than that. take says
// whether it wants the next page; next is 0 at the end, and where it wanted no more.
func (see *scope) walk(l Ledger, loan, tenant string, from uint64, limit int, take func(page []ledger.Entry) (bool, error)) (next uint64, err error) {
	for {
		page, err := see.query(l, loan, tenant, from, min(max(limit, 1), maxLimit))
		if err != nil || len(page) == 0 {
			return 0, err
		}
		if limit == 0 { // one more was asked for, to tell whether there is one
			return page[0].Seq, nil
		}
		limit -= len(page)
		from = page[len(page)-1].Seq + 1
		if more, err := take(page); err != nil || !more {
			return 0, err
		}
	}
}

// scan is walk for who needs all pages.
func (see *scope) scan(l Ledger, loan, tenant string, from uint64, limit int) (entries []ledger.Entry, next uint64, err error) {
	next, err = see.walk(l, loan, tenant, from, limit, func(page []ledger.Entry) (bool, error) {
		entries = append(entries, page...)
		return true, nil
	})
	return entries, next, err
}

// complete adds to a reclaim what entries after those that were looked at say.
func (see *scope) complete(l Ledger, r *course.Reclaim) error {
	entries, err := l.ByLoan(r.Loan)
	for _, whole := range course.Of(see.filter(entries)) {
		if whole.Seq == r.Seq {
			*r = whole
		}
	}
	return err
}
