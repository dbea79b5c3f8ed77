package web

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/internal/discreet"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// atOnce bounds the questions to the API server that one request has open.
const atOnce = 16

// refuse answers for the API server: that it says no, or nothing. The words are the same
// for what is not there.
func refuse(w http.ResponseWriter, caller *access.Caller, where string, err error) {
	if err != nil {
		writeError(w, http.StatusServiceUnavailable, "the API server does not say what you may see; ask again in a moment")
		return
	}
	writeError(w, http.StatusForbidden, fmt.Sprintf("user %q may not list loans.ebbtide.dev in %s", caller.Name(), where))
}

// scope is whose rows of the ledger a caller sees.
type scope struct {
	all bool
	// tenants, sorted, and their namespaces.
	tenants    []string
	namespaces map[string]bool
}

// scope is what the caller may see: of one tenant, or of all that he may. Where it is false,
// it has answered.
func (s *server) scope(w http.ResponseWriter, r *http.Request, tenant string) (*scope, bool) {
	caller := access.CallerOf(r.Context())
	everywhere, err := caller.MayList(r.Context(), access.Everywhere)
	if err != nil {
		refuse(w, caller, "", err)
		return nil, false
	}
	if everywhere {
		return &scope{all: true}, true
	}
	owned := s.source.Namespaces()
	if tenant != "" {
		owned = map[string][]string{tenant: owned[tenant]}
	}
	see, err := within(r.Context(), caller, owned)
	if err != nil || tenant != "" && len(see.tenants) == 0 {
		refuse(w, caller, "all namespaces of tenant "+tenant, err)
		return nil, false
	}
	return see, true
}

// within are those of the tenants in all of whose namespaces the caller may list Loans.
func within(ctx context.Context, caller *access.Caller, owned map[string][]string) (*scope, error) {
	see := &scope{namespaces: map[string]bool{}}
	var mu sync.Mutex
	var failed error
	var asking sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for _, tenant := range slices.Sorted(maps.Keys(owned)) {
		room <- struct{}{}
		asking.Go(func() {
			defer func() { <-room }()
			may, err := mayAll(ctx, caller, owned[tenant])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
			if may {
				see.tenants = append(see.tenants, tenant)
				for _, namespace := range owned[tenant] {
					see.namespaces[namespace] = true
				}
			}
		})
	}
	asking.Wait()
	slices.Sort(see.tenants)
	return see, failed
}

// mayAll reports whether there are namespaces and the caller may list Loans in each.
func mayAll(ctx context.Context, caller *access.Caller, namespaces []string) (bool, error) {
	for _, namespace := range namespaces {
		if may, err := caller.MayList(ctx, namespace); err != nil || !may {
			return false, err
		}
	}
	return len(namespaces) > 0, nil
}

// ofTenants returns up to limit of the entries about the tenants, in order.
func (see *scope) ofTenants(l Ledger, from uint64, limit int) ([]ledger.Entry, error) {
	var all []ledger.Entry
	end := ^uint64(0) // up to where all tenants' entries are known
	for _, tenant := range see.tenants {
		page, err := l.ByTenant(tenant, from, limit)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			continue
		}
		all = append(all, page...)
		last := page[len(page)-1].Seq
		more, err := l.ByTenant(tenant, last+1, 1)
		if err != nil {
			return nil, err
		}
		if len(more) > 0 {
			end = min(end, last)
		}
	}
	slices.SortFunc(all, func(a, b ledger.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	all = slices.CompactFunc(all, func(a, b ledger.Entry) bool { return a.Seq == b.Seq })
	all = slices.DeleteFunc(all, func(e ledger.Entry) bool { return e.Seq > end })
	return all[:min(limit, len(all))], nil
}

// filter leaves what the caller may see. An entry of which he sees a part is no longer what
// its hash is of.
func (see *scope) filter(entries []ledger.Entry) []ledger.Entry {
	if see.all {
		return entries
	}
	var shown []ledger.Entry
	for _, e := range entries {
		if see.reduce(&e) {
			shown = append(shown, e)
		}
	}
	return shown
}

// reduce takes off an entry what is others', and reports whether anything is left. The
// borrower sees all of it. A lender sees what is lent of its own; where others lend too, or
// ask for units too, what is said in words is not shown, as it may be about them.
func (see *scope) reduce(e *ledger.Entry) bool {
	if e.Borrower != "" && slices.Contains(see.tenants, e.Borrower) {
		return true
	}
	own := slices.DeleteFunc(slices.Clone(e.Grants), func(g ledger.Grant) bool { return !see.lends(g.Lender) })
	if len(own) == 0 {
		return false
	}
	if len(own) < len(e.Grants) {
		e.Grants, e.Payload, e.Signals, e.Message = own, nil, nil, ""
	}
	see.withoutOthers(e)
	return true
}

// rows tells which rows of the last decision a caller sees.
type rows struct {
	// in has what was asked about each namespace; nil: he sees all.
	in  map[string]bool
	ask func(namespace string) (bool, error)
	// err is the first answer that the API server did not give.
	err error
}

// rows is what the caller may see: of one namespace, or of all that he may. Where it is
// false, it has answered.
func (s *server) rows(w http.ResponseWriter, r *http.Request, namespace string) (*rows, bool) {
	caller := access.CallerOf(r.Context())
	everywhere, err := caller.MayList(r.Context(), access.Everywhere)
	if err == nil && everywhere {
		return &rows{}, true
	}
	if namespace != "" && err == nil {
		var may bool
		if may, err = caller.MayList(r.Context(), namespace); err == nil && !may {
			refuse(w, caller, "namespace "+namespace, nil)
			return nil, false
		}
	}
	if err != nil {
		refuse(w, caller, "", err)
		return nil, false
	}
	return &rows{in: map[string]bool{}, ask: func(namespace string) (bool, error) { return caller.MayList(r.Context(), namespace) }}, true
}

// answer writes what was found, unless it is not known whether that is all.
func (v *rows) answer(w http.ResponseWriter, body any) {
	if v.err != nil {
		refuse(w, nil, "", v.err)
		return
	}
	write(w, http.StatusOK, body)
}

// shows reports whether the caller sees a row about namespace/name.
func (v *rows) shows(subject string) bool {
	if v.in == nil {
		return true
	}
	namespace, _, found := strings.Cut(subject, "/")
	if !found || namespace == "" {
		return false // of no namespace, and so of all
	}
	may, known := v.in[namespace]
	if !known && v.err == nil {
		may, v.err = v.ask(namespace)
		v.in[namespace] = may
	}
	return may
}

// said is what a verdict says, without the names of services that the caller may not see.
func (v *rows) said(d *Decision, message string) string {
	if v.in == nil {
		return message
	}
	text, _ := discreet.Text(message, func(name string) bool { return d.lends(name) && !v.shows(name) })
	return text
}
