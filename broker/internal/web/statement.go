package web

import (
	"errors"
	"net/http"
	"strings"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/statement"
)

// statement is of one tenant, which must be named: an empty name is that of lenders whose
// tenant the ledger was not told, and is for those who may see all.
func (s *server) statement(w http.ResponseWriter, r *http.Request, l Ledger) {
	query := r.URL.Query()
	tenant, month := query.Get("tenant"), query.Get("month")
	if !query.Has("tenant") {
		writeError(w, http.StatusBadRequest, "tenant: is required; empty are lenders whose tenant is not known")
		return
	}
	see, ok := s.scope(w, r, tenant)
	if !ok {
		return
	}
	if tenant == "" && !see.all {
		refuse(w, access.CallerOf(r.Context()), "all namespaces", nil)
		return
	}
	seq, hash := l.Head()
	totals, err := l.Totals(month, tenant)
	switch {
	case errors.Is(err, ledger.ErrInvalid):
		writeError(w, http.StatusBadRequest, strings.TrimPrefix(err.Error(), ledger.ErrInvalid.Error()+": "))
	case err != nil:
		writeError(w, http.StatusInternalServerError, "read the ledger: "+err.Error())
	default:
		write(w, http.StatusOK, statement.Of(tenant, month, statement.Head{Seq: seq, Hash: hash}, totals))
	}
}
