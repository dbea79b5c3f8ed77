// Package web is the broker's HTTP API: what was decided last and why, the
// queues, and the ledger, as JSON. It only reads.
//
// It promises that every answer comes from one decision, which decidedAt names,
// that nothing it does can change or delay a decision, and that nobody sees rows that
// are not his: Routes says by which rule each route is served, and package access keeps
// it. It refuses to answer for somebody else: a replica that does not lead says so with
// status 503.
//
// Of what is decided now, a caller sees the rows of the namespaces in which he may list
// Loans; of the ledger, those of which the borrower or a lender is a tenant in all of whose
// namespaces he may. Who may list Loans everywhere sees all. Who asks for a namespace, or a
// tenant, by name needs the right there, and is refused in the same words whether it
// exists or not. Of a loan by several lenders, a lender sees its own part.
//
// A page of anything has ?from= and ?limit=, and next is where the one after it begins. Durations
// are in seconds; what is not known is absent. Of what is now:
//
//	GET /verdicts           {decidedAt, epoch, verdicts: [{kind, subject, reason, message, since, warning}], next}
//	                        ?subject=Kind/namespace/name, ?kind=, ?namespace=
//	GET /queue              {decidedAt, jobs: [{position, job, uid, queue, tenant, priority, created, flavor, pods,
//	                        unitsPerPod, attempt, reason, message, since, warning, estimatedStart}], next};
//	                        ?queue=namespace/name, ?job=namespace/name
//	GET /lenders            {decidedAt, lenders: [{name, tenant, flavor, advise, owned, held, need, needBy, headroom, lent, lendable,
//	                        utilization, unitsPerPod, desired, running, ready, pending, load, lowWater, highWater, dwellSeconds,
//	                        cooldownSeconds, maxGraceSeconds, refused, paused, recall, floors: [{name, keep, from, until}], lowSince,
//	                        lastReclaim, reason, message, since, warning}]}
//	GET /loans              {decidedAt, loans: [view.LoanRow and warning], next}; ?namespace=, ?name=, ?job=, ?lender=, each of those
//	                        namespace/name. Of a loan that is not his, who lends sees what he lends, with part: true
//	GET /nodes              {decidedAt, totals: [view.UnitsRow], nodes: [view.NodeRow], next}; ?name=. Who does not see all sees
//	                        what his services lend and his jobs have there, with part: true
//	GET /quota              {decidedAt, rows: [view.QuotaRow]}; of the cohorts above one's tenants the names alone
//	GET /counterfactual     ?job=namespace/name, &uid=: {decidedAt, job, uid, sentence, chain: [{kind, subject, reason, message, since}],
//	                        nearest: [counterfactual.Change], complete, decisions, when: {earliest, latest, returns, message}, or
//	                        whenUnknown}. ?lender=namespace/name, &keep=: {decidedAt, lender, keep, owned, lent, loans: [{loan, job,
//	                        borrower, units, part, by, graceSeconds, lostWorkSeconds}], units, leaving, short, others, by}.
//	                        One at a time, and one for each caller; others are told 429
//	GET /watch              server-sent events: {decidedAt, changed}, of lenders, queue, loans and ledger those of which what he
//	                        sees is otherwise. 100 at a time, 8 of one user; a line every 15 s; for an hour
//	GET /whoami             {user, all, tenants, namespaces}
//
// Of what was:
//
//	GET /ledger             {head: {seq, hash}, entries: [ledger.Entry], next}; ?loan=, ?tenant=
//	GET /ledger/reclaims    {head, reclaims: [course.Reclaim], next}: those asked for among the entries from ?from= on,
//	                        of which ?limit= are looked at; ?loan=, ?tenant=
//	GET /ledger/statement   statement.Statement of ?tenant=, which is required, and ?month= (2026-11)
//	GET /timeline           {from, to, head, spans: [view.LoanSpan], omitted, loads: [view.LoadLine], notes}; ?from=, ?to=, the last
//	                        twelve hours without; ?lender=, ?loan=, ?tenant=, ?points= of each load. 50,000 entries are read,
//	                        10,000 spans and 20,000 points shown, 1,000 of one load; the notes say what is missing
//	GET /gained             gains.Gained and {complete, head}; ?since=, today without. Where more than 50,000 entries are to be read
//	                        it is complete until "until", and goes on from there when it is asked for again.
//	                        Of /timeline and /gained one user may ask for 16 at a time; more are told 429
//	GET /ledger/check       {ok, head, problems, notes, id, checkpoint: the newest ledger.CheckpointPayload};
//	                        it must have ?against=SEQ:HASH; one at a time
//
// And for who keeps it running:
//
//	GET /healthz, /readyz   "ok", or 503 and "not ready"; for anybody
//	GET /ui/…               the dashboard, which shows nothing until somebody signs in; / leads there; for anybody
//	GET /debug/health       {ready, leads, leader, problem}
//	GET /metrics            Prometheus text
//	GET /debug/snapshot     lend.Record of the last decision
//
// An error is {"error": text}, with {"leader": identity} where another leads. Answers are packed
// for who takes gzip.
package web

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/counterfactual"
	"github.com/ebbtide/ebbtide/broker/internal/turns"
	"github.com/ebbtide/ebbtide/broker/internal/web/ui"
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
	// Returns are those of the last week, by flavor and in the order of their times.
	Returns map[string][]counterfactual.Return
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
	Entries
	Totals(month, tenant string) ([]ledger.Total, error)
	Verify() (*ledger.Report, error)
	OpenLoans() []ledger.OpenLoan
}

// Entries are the ledger's own.
type Entries interface {
	Head() (uint64, ledger.Hash)
	Read(from uint64, limit int) ([]ledger.Entry, error)
	ByLoan(loan string) ([]ledger.Entry, error)
	ByTenant(tenant string, from uint64, limit int) ([]ledger.Entry, error)
}

// Source is where the answers come from.
type Source interface {
	Decisions
	// Ledger is nil where it is not open.
	Ledger() Ledger
	// Leader is the identity of who leads, empty if it is not known.
	Leader() string
	// Ready says why the process cannot serve, nil if it can.
	Ready() error
	// Namespaces are those of each tenant, as of the last decision. They are not changed.
	Namespaces() map[string][]string
}

// Decisions are what is decided, and what it went by.
type Decisions interface {
	// Decision is the last one, nil before the first and on a replica that does not
	// lead. It is not changed afterwards.
	Decision() *Decision
	// Changed is closed when there is another decision than when it was asked for.
	Changed() <-chan struct{}
	// Loads is the past of a lender's load: so many steps from a time on. Where it is not
	// remembered, it is asked for elsewhere if elsewhere is true.
	Loads(ctx context.Context, lender string, from time.Time, step time.Duration, count int, elsewhere bool) Loads
}

type server struct {
	source Source
	// checking is held while the ledger is checked.
	checking sync.Mutex
	// readers has one for each who reads much of the ledger.
	readers  chan struct{}
	packers  chan struct{}
	answers  *answers
	tallies  tallies
	digests  digests
	watchers *turns.Turns
	pictures *turns.Turns
	pulse    pulse
}

func newServer(source Source) *server {
	return &server{
		source: source, readers: make(chan struct{}, readers), packers: make(chan struct{}, packers), answers: newAnswers(), tallies: tallies{kept: map[string]*tally{}},
		watchers: turns.New(mostWatchers, mostOfOne), pictures: turns.New(0, mostPictures),
		pulse: pulse{watched: watchedFor, heartbeat: heartbeat, again: againEvery, rights: rightsFor},
	}
}

// Routes are the API's, and who may use each. metrics serves /metrics.
func Routes(source Source, metrics http.Handler) []access.Route {
	return newServer(source).routes(metrics)
}

func (s *server) routes(metrics http.Handler) []access.Route {
	page := http.StripPrefix("/ui", ui.Handler())
	all := append(Probes(s.source),
		access.Route{Pattern: "GET /{$}", Rule: access.Files, Handler: http.RedirectHandler("/ui/", http.StatusTemporaryRedirect)},
		access.Route{Pattern: "GET /ui/", Rule: access.Files, Handler: page},
		access.Route{Pattern: "GET /whoami", Rule: access.Rows, Handler: http.HandlerFunc(s.whoami)},
		access.Route{Pattern: "GET /loans", Rule: access.Rows, Handler: s.decided(s.loans)},
		access.Route{Pattern: "GET /nodes", Rule: access.Rows, Handler: s.decided(s.nodes)},
		access.Route{Pattern: "GET /quota", Rule: access.Rows, Handler: s.decided(s.quota)},
		access.Route{Pattern: "GET /counterfactual", Rule: access.Rows, Handler: s.decided(s.counterfactual)},
		access.Route{Pattern: "GET /timeline", Rule: access.Rows, Handler: s.byTurns(s.booked(s.timeline))},
		access.Route{Pattern: "GET /gained", Rule: access.Rows, Handler: s.byTurns(s.booked(s.gained))},
		access.Route{Pattern: "GET /watch", Rule: access.Rows, Handler: s.decided(s.watch)},
		access.Route{Pattern: "GET /debug/health", Rule: access.Path, Handler: http.HandlerFunc(s.health)},
		access.Route{Pattern: "GET /metrics", Rule: access.Path, Handler: metrics},
		access.Route{Pattern: "GET /debug/snapshot", Rule: access.Path, Handler: s.decided(s.snapshot)},
		access.Route{Pattern: "GET /verdicts", Rule: access.Rows, Handler: s.decided(s.verdicts)},
		access.Route{Pattern: "GET /queue", Rule: access.Rows, Handler: s.decided(s.queue)},
		access.Route{Pattern: "GET /lenders", Rule: access.Rows, Handler: s.decided(s.lenders)},
		access.Route{Pattern: "GET /ledger", Rule: access.Rows, Handler: s.ledgered(s.entries)},
		access.Route{Pattern: "GET /ledger/reclaims", Rule: access.Rows, Handler: s.ledgered(s.reclaims)},
		access.Route{Pattern: "GET /ledger/statement", Rule: access.Rows, Handler: s.ledgered(s.statement)},
		access.Route{Pattern: "GET /ledger/check", Rule: access.Path, Handler: s.ledgered(s.check)},
	)
	for i := range all {
		all[i].Handler = packed(s.packers, all[i].Handler)
	}
	return all
}

// Probes are for a kubelet: they say whether, and never why not.
func Probes(source Source) []access.Route {
	ready := func(w http.ResponseWriter, _ *http.Request) {
		if source.Ready() != nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		writeOK(w)
	}
	return []access.Route{
		{Pattern: "GET /healthz", Rule: access.Probe, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeOK(w) })},
		{Pattern: "GET /readyz", Rule: access.Probe, Handler: http.HandlerFunc(ready)},
	}
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
	send(w, status, append(data, '\n'))
}

func writeError(w http.ResponseWriter, status int, text string) {
	write(w, status, errorBody{Error: text})
}

// health is what a probe does not say.
func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	body := struct {
		Ready   bool   `json:"ready"`
		Leads   bool   `json:"leads"`
		Leader  string `json:"leader,omitempty"`
		Problem string `json:"problem,omitempty"`
	}{Ready: true, Leads: s.source.Ledger() != nil, Leader: s.source.Leader()}
	if err := s.source.Ready(); err != nil {
		body.Ready, body.Problem = false, err.Error()
	}
	write(w, http.StatusOK, body)
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

// booked is for what needs both.
func (s *server) booked(serve func(http.ResponseWriter, *http.Request, *Decision, Ledger)) http.HandlerFunc {
	return s.decided(func(w http.ResponseWriter, r *http.Request, d *Decision) {
		s.ledgered(func(w http.ResponseWriter, r *http.Request, l Ledger) { serve(w, r, d, l) })(w, r)
	})
}
