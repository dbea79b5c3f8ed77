package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/counterfactual"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/internal/turns"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

const (
	// mostAnswers bounds the answers that are kept of one decision.
	mostAnswers = 1000
	// mostPatience is how long somebody waits for the core to be asked for him.
	mostPatience = 10 * time.Second
)

// answers are those to questions about the last decision. One is worked out at a time, and one
// for each caller: what they cost, no decision must wait for.
type answers struct {
	room chan struct{}
	busy *turns.Turns

	mu   sync.Mutex
	of   *Decision
	kept map[string]any
}

func newAnswers() *answers { return &answers{room: make(chan struct{}, 1), busy: turns.New(0, 1)} }

// errBusy: the caller has asked something else, or many have.
type errBusy struct{ text string }

func (e errBusy) Error() string { return e.text }

// about answers a question, with what was found before if the decision is still the same.
func (a *answers) about(ctx context.Context, d *Decision, caller, question string, work func() any) (any, error) {
	if known, ok := a.known(d, question); ok {
		return known, nil
	}
	if !a.busy.Enter(caller) {
		return nil, errBusy{"a question of yours is being worked out; ask again in a moment"}
	}
	defer a.busy.Leave(caller)
	ctx, cancel := context.WithTimeout(ctx, mostPatience)
	defer cancel()
	select {
	case a.room <- struct{}{}:
	case <-ctx.Done():
		return nil, errBusy{"others' questions are being worked out; ask again in a moment"}
	}
	defer func() { <-a.room }()
	if known, ok := a.known(d, question); ok {
		return known, nil
	}
	answer := work()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == d && len(a.kept) < mostAnswers {
		a.kept[question] = answer
	}
	return answer, nil
}

func (a *answers) known(d *Decision, question string) (any, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of != d {
		a.of, a.kept = d, map[string]any{}
	}
	answer, ok := a.kept[question]
	return answer, ok
}

func (s *server) counterfactual(w http.ResponseWriter, r *http.Request, d *Decision) {
	query := r.URL.Query()
	job, lender := query.Get("job"), query.Get("lender")
	name := job + lender
	if (job == "") == (lender == "") || strings.Count(name, "/") != 1 {
		writeError(w, http.StatusBadRequest, "job, or lender: one of them is required, as namespace/name")
		return
	}
	namespace, _, _ := strings.Cut(name, "/")
	mine, ok := s.rows(w, r, namespace)
	if !ok {
		return
	}
	if job != "" {
		s.nearest(w, r, d, mine)
		return
	}
	s.recall(w, r, d, mine)
}

// ask has a question answered. Where it is false, it has answered that it is not.
func (s *server) ask(w http.ResponseWriter, r *http.Request, d *Decision, question string, work func() any) (any, bool) {
	answer, err := s.answers.about(r.Context(), d, access.CallerOf(r.Context()).Name(), question, work)
	if err != nil {
		tooMany(w, err.Error())
		return nil, false
	}
	return answer, true
}

func tooMany(w http.ResponseWriter, text string) {
	w.Header().Set("Retry-After", "1")
	writeError(w, http.StatusTooManyRequests, text)
}

// link is one of a chain of verdicts.
type link struct {
	Kind    string    `json:"kind"`
	Subject string    `json:"subject"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Since   time.Time `json:"since,omitzero"`
}

type interval struct {
	Earliest time.Time `json:"earliest"`
	Latest   time.Time `json:"latest,omitzero"`
	Returns  int       `json:"returns"`
	Message  string    `json:"message"`
}

type nearest struct {
	DecidedAt   time.Time               `json:"decidedAt"`
	Job         string                  `json:"job"`
	UID         string                  `json:"uid"`
	Sentence    string                  `json:"sentence"`
	Chain       []link                  `json:"chain"`
	Nearest     []counterfactual.Change `json:"nearest"`
	Complete    bool                    `json:"complete"`
	Decisions   int                     `json:"decisions"`
	When        *interval               `json:"when,omitempty"`
	WhenUnknown string                  `json:"whenUnknown,omitempty"`
}

// nearest is why a job waits, what would admit it, and when that may be.
func (s *server) nearest(w http.ResponseWriter, r *http.Request, d *Decision, mine *rows) {
	name, uid := r.URL.Query().Get("job"), r.URL.Query().Get("uid")
	at := slices.IndexFunc(d.byQueue("", name), func(p placed) bool { return uid == "" || p.job.UID == uid })
	if at < 0 {
		writeError(w, http.StatusNotFound, fmt.Sprintf("the last decision knows no job %s that waits: it is admitted, has ended, is in no queue, or is new", name))
		return
	}
	p := d.byQueue("", name)[at]
	found, ok := s.ask(w, r, d, "job "+p.job.UID, func() any {
		rec := &d.Record
		return counterfactual.Nearest(rec.Snapshot, rec.State, rec.Policy, p.job.UID)
	})
	if !ok {
		return
	}
	answer, _ := found.(counterfactual.Answer)
	said := d.about(lend.SubjectJob, p.job.Name, p.job.UID)
	said.Message = mine.said(d, said.Message)
	now := d.Record.Snapshot.Now
	body := nearest{
		DecidedAt: now, Job: p.job.Name, UID: p.job.UID,
		Sentence: view.Answer{Subject: "Job " + p.job.Name, State: "waits in queue " + p.job.Queue, Message: said.Message, Reason: said.Reason, Since: said.Since}.Sentence(now),
		Chain:    d.chain(&p, mine), Nearest: answer.Changes, Complete: answer.Complete, Decisions: answer.Decisions,
	}
	if body.Nearest == nil {
		body.Nearest = []counterfactual.Change{}
	}
	outlook := view.NewOutlook(now, &d.Record.Plan, d.Freed, history.Lately)
	body.When, body.WhenUnknown = when(now, p.job.Flavor, outlook.Missing(p.job, p.Place, said.Reason), d.Returns[p.job.Flavor])
	mine.answer(w, body)
}

// mostLinks bounds the services in a chain.
const mostLinks = 20

// chain is what was said of a job, of what it waits in, and of what it waits for, as far as
// the caller may see that.
func (d *Decision) chain(p *placed, mine *rows) []link {
	in := &d.Record.Snapshot
	said := d.about(lend.SubjectJob, p.job.Name, p.job.UID)
	chain := []link{{"Job", p.job.Name, said.Reason, mine.said(d, said.Message), said.Since}}
	waiting := len(d.byQueue(p.job.Queue, ""))
	queue := link{Kind: "Queue", Subject: p.job.Queue, Message: fmt.Sprintf("%d of %d that wait in it", p.Position, waiting)}
	if i := slices.IndexFunc(in.Queues, func(q lend.Queue) bool { return q.Name == p.job.Queue }); i >= 0 && in.Queues[i].Paused {
		queue.Reason, queue.Message = lend.ReasonQueuePaused, "is paused; "+queue.Message
	}
	chain = append(chain, queue)
	for _, t := range d.Record.Plan.Tenants {
		if t.Name == p.job.Tenant && t.Flavor == p.job.Flavor {
			chain = append(chain, link{Kind: "Tenant", Subject: t.Name, Message: fmt.Sprintf("uses %d of %s, and may have %d more without anything being taken back", t.Used, t.Flavor, t.Available)})
		}
	}
	for i := range in.Lenders {
		l := &in.Lenders[i]
		if l.Flavor == p.job.Flavor && len(chain) < mostLinks && mine.shows(l.Name) {
			v := d.about(lend.SubjectLender, l.Name, "")
			chain = append(chain, link{"Lender", l.Name, v.Reason, v.Message, v.Since})
		}
	}
	return chain
}

// when is the interval, or why there is none.
func when(now time.Time, flavor string, missing int64, returns []counterfactual.Return) (*interval, string) {
	if missing == 0 {
		return nil, "it waits for something else than units that come free"
	}
	i, known := counterfactual.When(now, missing, returns)
	if !known {
		return nil, fmt.Sprintf("less than %d returns of %s in the last week, or fewer units than are missing, say too little", counterfactual.LeastReturns, flavor)
	}
	out := &interval{Earliest: i.Earliest, Latest: i.Latest, Returns: i.Returns}
	out.Message = fmt.Sprintf("when %d units have come free: not before %s, as they came free in the last hour, day and week", missing, clockTime(now, i.Earliest))
	if !i.Latest.IsZero() {
		out.Message = fmt.Sprintf("when %d units have come free: between %s and %s, as they came free in the last hour, day and week",
			missing, clockTime(now, i.Earliest), clockTime(now, i.Latest))
	}
	return out, ""
}

// clockTime is the time of the day, with the date where that is another than today's.
func clockTime(now, t time.Time) string {
	now, t = now.UTC(), t.UTC()
	if now.YearDay() == t.YearDay() && now.Year() == t.Year() {
		return t.Format("15:04 UTC")
	}
	return t.Format("2006-01-02 15:04 UTC")
}

type ending struct {
	Loan     string    `json:"loan"`
	Job      string    `json:"job"`
	Borrower string    `json:"borrower"`
	Units    int64     `json:"units"`
	Part     bool      `json:"part,omitempty"`
	By       time.Time `json:"by"`
	Grace    float64   `json:"graceSeconds"`
	LostWork float64   `json:"lostWorkSeconds"`
}

type recalled struct {
	DecidedAt time.Time `json:"decidedAt"`
	Lender    string    `json:"lender"`
	Keep      int64     `json:"keep"`
	Owned     int64     `json:"owned"`
	Lent      int64     `json:"lent"`
	Loans     []ending  `json:"loans"`
	Units     int64     `json:"units"`
	Leaving   int64     `json:"leaving"`
	Short     int64     `json:"short"`
	Others    int       `json:"others"`
	By        time.Time `json:"by,omitzero"`
}

// recall is what asking a lender's units back would end.
func (s *server) recall(w http.ResponseWriter, r *http.Request, d *Decision, mine *rows) {
	lender, keep := r.URL.Query().Get("lender"), int64(-1)
	if text := r.URL.Query().Get("keep"); text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			writeError(w, http.StatusBadRequest, fmt.Sprintf("keep: %q is not a number of units", text))
			return
		}
		keep = int64(n)
	}
	if !d.lends(lender) {
		writeError(w, http.StatusNotFound, fmt.Sprintf("the last decision knows no lender %s", lender))
		return
	}
	found, ok := s.ask(w, r, d, fmt.Sprintf("lender %s %d", lender, keep), func() any {
		rec := &d.Record
		of, _ := counterfactual.Recall(rec.Snapshot, rec.State, rec.Policy, lender, keep)
		return of
	})
	if !ok {
		return
	}
	of, _ := found.(counterfactual.Recalled)
	body := recalled{
		DecidedAt: d.Record.Snapshot.Now, Lender: lender, Keep: of.Keep, Owned: of.Owned, Lent: of.Lent, Loans: []ending{},
		Units: of.Units, Leaving: of.Leaving, Short: of.Short, By: of.By,
	}
	for _, e := range of.Loans {
		if e.Units == 0 && !mine.shows(e.Loan) { // of others' alone: it is in the way of a pod's shape
			body.Others++
			continue
		}
		body.Loans = append(body.Loans, ending{e.Loan, e.Job, e.Borrower, e.Units, e.Part, e.By, e.By.Sub(body.DecidedAt).Seconds(), e.LostWork})
	}
	mine.answer(w, body)
}
