package web

import (
	"net/http"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/view"
)

func (s *server) nodes(w http.ResponseWriter, r *http.Request, d *Decision) {
	name := r.URL.Query().Get("name")
	part, ok := pageOf(w, r)
	if !ok {
		return
	}
	mine, ok := s.rows(w, r, "")
	if !ok {
		return
	}
	var nodes []view.NodeRow
	if mine.in == nil {
		nodes = view.Nodes(&d.Record.Snapshot)
	} else {
		nodes = view.NodesOf(&d.Record.Snapshot, mine.shows, mine.shows)
	}
	body := struct {
		DecidedAt time.Time       `json:"decidedAt"`
		Totals    []view.UnitsRow `json:"totals"`
		Nodes     []view.NodeRow  `json:"nodes"`
		Next      uint64          `json:"next,omitempty"`
	}{d.Record.Snapshot.Now, view.Totals(nodes), []view.NodeRow{}, 0}
	for i := range nodes {
		if (name == "" || nodes[i].Name == name) && part.takes() {
			body.Nodes = append(body.Nodes, nodes[i])
		}
	}
	body.Next = part.next
	mine.answer(w, body)
}

// quota shows all of the tree, or the tenants whose rows of the ledger the caller sees, and of
// the cohorts above them the names alone: the rest is of others too.
func (s *server) quota(w http.ResponseWriter, r *http.Request, d *Decision) {
	see, ok := s.scope(w, r, "")
	if !ok {
		return
	}
	rows := view.Quotas(&d.Record.Snapshot, &d.Record.Plan)
	if !see.all {
		rows = see.quotas(rows)
	}
	write(w, http.StatusOK, struct {
		DecidedAt time.Time       `json:"decidedAt"`
		Rows      []view.QuotaRow `json:"rows"`
	}{d.Record.Snapshot.Now, rows})
}

func (see *scope) quotas(rows []view.QuotaRow) []view.QuotaRow {
	parents := map[string]string{}
	for i := range rows {
		if rows[i].Kind == view.KindCohort {
			parents[rows[i].Name] = rows[i].Parent
		}
	}
	above := map[string]bool{}
	for i := range rows {
		if rows[i].Kind == view.KindTenant && slices.Contains(see.tenants, rows[i].Name) {
			for c := rows[i].Parent; c != "" && !above[c]; c = parents[c] {
				above[c] = true
			}
		}
	}
	mine := []view.QuotaRow{}
	for _, row := range rows {
		switch {
		case row.Kind == view.KindTenant && slices.Contains(see.tenants, row.Name):
			mine = append(mine, row)
		case row.Kind == view.KindCohort && above[row.Name]:
			mine = append(mine, view.QuotaRow{Name: row.Name, Kind: row.Kind, Parent: row.Parent, Depth: row.Depth, Flavors: []view.QuotaUnits{}})
		}
	}
	return mine
}

// whoami says what somebody sees of the ledger, and of decisions.
func (s *server) whoami(w http.ResponseWriter, r *http.Request) {
	see, ok := s.scope(w, r, "")
	if !ok {
		return
	}
	body := struct {
		User       string   `json:"user"`
		All        bool     `json:"all"`
		Tenants    []string `json:"tenants"`
		Namespaces []string `json:"namespaces"`
	}{access.CallerOf(r.Context()).Name(), see.all, []string{}, []string{}}
	mine, ok := s.rows(w, r, "")
	if !ok {
		return
	}
	for tenant, namespaces := range s.source.Namespaces() {
		if see.all || slices.Contains(see.tenants, tenant) {
			body.Tenants = append(body.Tenants, tenant)
		}
		for _, namespace := range namespaces {
			if mine.shows(namespace + "/") {
				body.Namespaces = append(body.Namespaces, namespace)
			}
		}
	}
	slices.Sort(body.Tenants)
	slices.Sort(body.Namespaces)
	mine.answer(w, body)
}
