// Package web is the broker's HTTP API: what was decided last and why, the
// queues, and the ledger, as JSON. It only reads.
//
// It promises that every answer comes from one decision, which decidedAt names,
// and that nothing it does can change or delay a decision. It refuses to answer
// for somebody else: a replica that does not lead says so with status 503. It
// knows no users, so it is bound to the loopback interface by default, where
// kubectl port-forward, and with it RBAC, stands in front of it.
//
//	GET /healthz, /readyz   "ok", or 503 and why not
//	GET /metrics            Prometheus text
//	GET /debug/snapshot     lend.Record of the last decision
//	GET /verdicts           {decidedAt, epoch, verdicts: [{kind, subject, reason, message, since}]}
//	                        ?subject=Kind/namespace/name, ?kind=, ?namespace=
//	GET /queue              {decidedAt, jobs: [{position, job, uid, queue, tenant, priority, created, flavor, pods,
//	                        unitsPerPod, attempt, reason, message, since, estimatedStart}]}; ?queue=namespace/name,
//	                        ?job=namespace/name, ?limit=
//	GET /lenders            {decidedAt, lenders: [{name, tenant, flavor, advise, owned, held, need, headroom, lent, lendable,
//	                        utilization, desired, running, ready, pending, load, reason, message, since}]}
//	GET /ledger             {head: {seq, hash}, entries: [ledger.Entry], next}; ?from=, ?limit=, ?loan=, ?tenant=
//	GET /ledger/reclaims    {head, reclaims: [course.Reclaim], next}: those asked for among the entries from ?from= on,
//	                        of which ?limit= are looked at; ?loan=, ?tenant=
//	GET /ledger/check       {ok, head, problems}
//
// An error is {"error": text}, with {"leader": identity} where another leads.
package web

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Decision is a finished decision, and since when each verdict stands.
type Decision struct {
	Record lend.Record
	// Since is when each of the plan's verdicts came up with its reason.
	Since []time.Time
	// Freed units of each flavor came free in the time history.Lately before it.
	Freed map[string]int64
}

// NewDecision follows on before, which is nil for the first. The verdicts of both are
// by subject, as a plan has them.
func NewDecision(r lend.Record, freed map[string]int64, before *Decision) *Decision {
	d := &Decision{Record: r, Since: make([]time.Time, len(r.Plan.Verdicts)), Freed: freed}
	var last []lend.Verdict
	var since []time.Time
	if before != nil {
		last, since = before.Record.Plan.Verdicts, before.Since
	}
	for i := range r.Plan.Verdicts {
		v := &r.Plan.Verdicts[i]
		for len(last) > 0 && compare(&last[0], v) < 0 {
			last, since = last[1:], since[1:]
		}
		d.Since[i] = r.Snapshot.Now
		if len(last) > 0 && compare(&last[0], v) == 0 && last[0].Reason == v.Reason {
			d.Since[i] = since[0]
		}
	}
	return d
}

func compare(a, b *lend.Verdict) int {
	return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.UID, b.UID))
}

// About is the verdict on a subject, and since when it stands; zero if there is none. uid
// is that of a waiting job, and empty for others.
func (d *Decision) About(kind lend.SubjectKind, subject, uid string) (lend.Verdict, time.Time) {
	verdicts := d.Record.Plan.Verdicts
	at, found := slices.BinarySearchFunc(verdicts, &lend.Verdict{Kind: kind, Subject: subject, UID: uid},
		func(v lend.Verdict, want *lend.Verdict) int { return compare(&v, want) })
	if !found {
		return lend.Verdict{}, time.Time{}
	}
	return verdicts[at], d.Since[at]
}

// Ledger is what the API shows of the ledger.
type Ledger interface {
	Head() (uint64, ledger.Hash)
	Read(from uint64, limit int) ([]ledger.Entry, error)
	ByLoan(loan string) ([]ledger.Entry, error)
	ByTenant(tenant string, from uint64, limit int) ([]ledger.Entry, error)
	Verify() (*ledger.Report, error)
}

// Source is where the answers come from.
type Source interface {
	// Decision is the last one, nil before the first and on a replica that does not
	// lead. It is not changed afterwards.
	Decision() *Decision
	// Ledger is nil where it is not open.
	Ledger() Ledger
	// Leader is the identity of who leads, empty if it is not known.
	Leader() string
	// Ready says why the process cannot serve, nil if it can.
	Ready() error
}

type server struct{ source Source }

// Handler serves the API. metrics serves /metrics.
func Handler(source Source, metrics http.Handler) http.Handler {
	s := &server{source: source}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeOK(w) })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/snapshot", s.decided(s.snapshot))
	mux.HandleFunc("GET /verdicts", s.decided(s.verdicts))
	mux.HandleFunc("GET /queue", s.decided(s.queue))
	mux.HandleFunc("GET /lenders", s.decided(s.lenders))
	mux.HandleFunc("GET /ledger", s.ledgered(s.entries))
	mux.HandleFunc("GET /ledger/reclaims", s.ledgered(s.reclaims))
	mux.HandleFunc("GET /ledger/check", s.ledgered(s.check))
	return mux
}

type errorBody struct {
	Error  string  `json:"error"`
	Leader *string `json:"leader,omitempty"`
}

func writeOK(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n")) // the client has gone if this fails
}

func write(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":"the answer has a number that JSON cannot hold"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // as above
}

func writeError(w http.ResponseWriter, status int, text string) {
	write(w, status, errorBody{Error: text})
}

func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.source.Ready(); err != nil {
		writeError(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	writeOK(w)
}

func (s *server) notLeading(w http.ResponseWriter, text string) {
	leader := s.source.Leader()
	write(w, http.StatusServiceUnavailable, errorBody{Error: text, Leader: &leader})
}

func (s *server) decided(serve func(http.ResponseWriter, *http.Request, *Decision)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d := s.source.Decision()
		if d == nil {
			s.notLeading(w, "this broker has made no decision yet: it does not lead, or has just started; ask the leader, or again in a moment")
			return
		}
		serve(w, r, d)
	}
}

func (s *server) ledgered(serve func(http.ResponseWriter, *http.Request, Ledger)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		l := s.source.Ledger()
		if l == nil {
			s.notLeading(w, "this broker has no ledger open: only the leader has; ask the leader")
			return
		}
		serve(w, r, l)
	}
}
