package town

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Tokens that the town knows: who sees all, a tenant, and one who sees nothing.
const (
	Everybody = "auditor-token"
	Tenant    = "research-token"
	Nobody    = "stranger-token"
)

// Handler answers as a broker would. files serves the dashboard.
func (t *Town) Handler(files http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /ui/", http.StripPrefix("/ui", files))
	for pattern, answer := range map[string]func(*http.Request, caller) (any, error){
		"GET /whoami":           t.whoami,
		"GET /loans":            t.getLoans,
		"GET /nodes":            t.getNodes,
		"GET /lenders":          t.getLenders,
		"GET /queue":            t.getQueue,
		"GET /quota":            t.getQuota,
		"GET /gained":           t.getGained,
		"GET /timeline":         t.getTimeline,
		"GET /counterfactual":   t.getCounterfactual,
		"GET /ledger":           t.getLedger,
		"GET /ledger/reclaims":  t.getReclaims,
		"GET /ledger/statement": t.getStatement,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c, ok := known(w, r)
			if !ok {
				return
			}
			t.mu.Lock()
			body, err := answer(r, c)
			t.mu.Unlock()
			if err != nil {
				write(w, http.StatusForbidden, map[string]string{"error": err.Error()})
				return
			}
			write(w, http.StatusOK, body)
		})
	}
	mux.HandleFunc("GET /watch", t.watch)
	return mux
}

// caller is who asks: all, or a tenant by name.
type caller struct {
	all    bool
	tenant string
}

func (c caller) sees(tenant string) bool { return c.all || c.tenant != "" && c.tenant == tenant }

func known(w http.ResponseWriter, r *http.Request) (caller, bool) {
	switch strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") {
	case Everybody:
		return caller{all: true}, true
	case Tenant:
		return caller{tenant: "research"}, true
	case Nobody:
		return caller{}, true
	}
	write(w, http.StatusUnauthorized, map[string]string{"error": "who asks is not known: show a token or a client certificate that the API server accepts"})
	return caller{}, false
}

func write(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client has gone if this fails
}

func (t *Town) whoami(_ *http.Request, c caller) (any, error) {
	body := map[string]any{"user": "system:serviceaccount:research:viewer", "all": c.all, "tenants": []string{}, "namespaces": []string{}}
	switch {
	case c.all:
		body["user"] = "system:serviceaccount:ebbtide-system:auditor"
	case c.tenant != "":
		body["tenants"], body["namespaces"] = []string{c.tenant}, []string{c.tenant}
	}
	return body, nil
}

// paged is a part of the rows, by from and limit.
func paged[T any](r *http.Request, field string, rows []T, more map[string]any) map[string]any {
	from, limit := 1, 10000
	if n, err := strconv.Atoi(r.URL.Query().Get("from")); err == nil {
		from = n
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil {
		limit = n
	}
	start := min(from-1, len(rows))
	end := min(start+limit, len(rows))
	more[field] = append([]T{}, rows[start:end]...)
	if end < len(rows) {
		more["next"] = end + 1
	}
	return more
}

func (t *Town) decided() map[string]any { return map[string]any{"decidedAt": t.now} }

func (t *Town) getLoans(r *http.Request, c caller) (any, error) {
	q := r.URL.Query()
	rows := filtered(t.loans, func(l Loan) bool {
		return c.sees(l.Borrower) && is(q.Get("name"), l.Name) && is(q.Get("job"), l.Job) &&
			(q.Get("lender") == "" || slices.ContainsFunc(l.Grants, func(g Grant) bool { return g.Lender == q.Get("lender") }))
	})
	return paged(r, "loans", rows, t.decided()), nil
}

func is(wanted, got string) bool { return wanted == "" || wanted == got }

func filtered[T any](rows []T, keep func(T) bool) []T {
	var kept []T
	for _, row := range rows {
		if keep(row) {
			kept = append(kept, row)
		}
	}
	return kept
}

func (t *Town) getNodes(r *http.Request, c caller) (any, error) {
	if !c.all {
		return t.part(r, c), nil
	}
	var totals []Units
	for _, n := range t.nodes {
		for _, u := range n.Units {
			at := slices.IndexFunc(totals, func(have Units) bool { return have.Flavor == u.Flavor })
			if at < 0 {
				totals, at = append(totals, Units{Flavor: u.Flavor}), len(totals)
			}
			sum := &totals[at]
			sum.Capacity, sum.Own, sum.Lent, sum.Free, sum.Broken = sum.Capacity+u.Capacity, sum.Own+u.Own, sum.Lent+u.Lent, sum.Free+u.Free, sum.Broken+u.Broken
			sum.Services += u.Services
		}
	}
	body := t.decided()
	body["totals"] = totals
	rows := filtered(t.nodes, func(n Node) bool { return is(r.URL.Query().Get("name"), n.Name) })
	return paged(r, "nodes", rows, body), nil
}

// part is what a tenant sees of the nodes: what its jobs have borrowed there.
func (t *Town) part(r *http.Request, c caller) any {
	type units struct {
		Flavor   string `json:"flavor"`
		Borrowed int64  `json:"borrowed"`
	}
	type row struct {
		Name        string  `json:"name"`
		Schedulable bool    `json:"schedulable"`
		Part        bool    `json:"part"`
		Units       []units `json:"units"`
	}
	var rows []row
	totals := []units{}
	for _, l := range t.loans {
		for _, g := range l.Grants {
			if !c.sees(l.Borrower) || !is(r.URL.Query().Get("name"), g.Node) {
				continue
			}
			rows = append(rows, row{g.Node, true, true, []units{{g.Flavor, g.Count}}})
			if len(totals) == 0 {
				totals = append(totals, units{Flavor: g.Flavor})
			}
			totals[0].Borrowed += g.Count
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Name, b.Name) })
	rows = slices.CompactFunc(rows, func(a, b row) bool { return a.Name == b.Name })
	body := t.decided()
	body["totals"] = totals
	return paged(r, "nodes", rows, body)
}

func (t *Town) getLenders(_ *http.Request, c caller) (any, error) {
	body := t.decided()
	rows := []Lender{}
	for _, s := range t.lenders {
		if c.sees(s.Tenant) {
			rows = append(rows, s.Lender)
		}
	}
	body["lenders"] = rows
	return body, nil
}

func (t *Town) getQueue(r *http.Request, c caller) (any, error) {
	q := r.URL.Query()
	rows := filtered(t.jobs, func(j Job) bool {
		return c.sees(j.Tenant) && is(q.Get("job"), j.Job) && is(q.Get("queue"), j.Queue)
	})
	return paged(r, "jobs", rows, t.decided()), nil
}

// watch tells of every change, and says something every few seconds in between.
func (t *Town) watch(w http.ResponseWriter, r *http.Request) {
	if _, ok := known(w, r); !ok {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	heard := make(chan []string, 64)
	t.mu.Lock()
	t.watchers[heard] = true
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.watchers, heard)
		t.mu.Unlock()
	}()
	heard <- []string{"lenders", "queue", "loans", "ledger"}
	quiet := time.NewTicker(5 * time.Second)
	defer quiet.Stop()
	for {
		text := ": \n\n"
		select {
		case <-r.Context().Done():
			return
		case <-quiet.C:
		case changed := <-heard:
			data, err := json.Marshal(map[string]any{"decidedAt": t.now, "changed": changed})
			if err != nil {
				panic(err)
			}
			text = fmt.Sprintf("event: change\ndata: %s\n\n", data)
		}
		if _, err := fmt.Fprint(w, text); err != nil {
			return
		}
		w.(http.Flusher).Flush()
	}
}
