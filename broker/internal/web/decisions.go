package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/reasons"
	"github.com/ebbtide/ebbtide/broker/view"
)

func (s *server) snapshot(w http.ResponseWriter, _ *http.Request, d *Decision) {
	data, err := lend.MarshalRecord(d.Record)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	send(w, http.StatusOK, append(data, '\n'))
}

// mostRows bounds an answer about the last decision.
const mostRows = 10000

// page is a run of the rows that a caller may see, counted from 1.
type page struct {
	from, limit, seen, next uint64
}

// pageOf reads from and limit. Where it is false, it has answered.
func pageOf(w http.ResponseWriter, r *http.Request) (*page, bool) {
	from, limit, ok := fromAndLimit(w, r, mostRows, mostRows)
	return &page{from: from, limit: limit}, ok
}

// takes counts a row and reports whether it is on the page.
func (p *page) takes() bool {
	p.seen++
	if p.seen >= p.from+p.limit && p.next == 0 {
		p.next = p.seen
	}
	return p.seen >= p.from && p.seen < p.from+p.limit
}

type verdict struct {
	lend.Verdict
	Since time.Time `json:"since"`
	// Warning: somebody has to do something about it.
	Warning bool `json:"warning,omitempty"`
}

func verdictOf(v lend.Verdict, since time.Time) verdict {
	return verdict{v, since, reasons.Warns(v.Reason)}
}

// about is the verdict on a subject; zero if there is none.
func (d *Decision) about(kind lend.SubjectKind, subject, uid string) verdict {
	return verdictOf(d.About(kind, subject, uid))
}

// lends tells whether there is a lender of this name.
func (d *Decision) lends(name string) bool {
	return slices.ContainsFunc(d.Record.Snapshot.Lenders, func(l lend.Lender) bool { return l.Name == name })
}

// about is which verdicts somebody asks for; what is empty is any.
type about struct{ kind, namespace, subject, uid string }

// aboutOf reads the parameters.
func aboutOf(r *http.Request) (a about, err error) {
	query := r.URL.Query()
	a = about{kind: query.Get("kind"), namespace: query.Get("namespace"), uid: query.Get("uid")}
	if text := query.Get("subject"); text != "" {
		var found bool
		if a.kind, a.subject, found = strings.Cut(text, "/"); !found || strings.Count(a.subject, "/") != 1 {
			return a, fmt.Errorf("subject: %q is not Kind/namespace/name", text)
		}
		a.namespace, _, _ = strings.Cut(a.subject, "/")
	}
	return a, nil
}

func (a *about) is(v *lend.Verdict) bool {
	return (a.kind == "" || strings.EqualFold(a.kind, string(v.Kind))) && (a.subject == "" || a.subject == v.Subject) &&
		(a.uid == "" || a.uid == v.UID) && (a.namespace == "" || strings.HasPrefix(v.Subject, a.namespace+"/"))
}

func (s *server) verdicts(w http.ResponseWriter, r *http.Request, d *Decision) {
	wanted, err := aboutOf(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	part, ok := pageOf(w, r)
	if !ok {
		return
	}
	mine, ok := s.rows(w, r, wanted.namespace)
	if !ok {
		return
	}
	body := struct {
		DecidedAt time.Time `json:"decidedAt"`
		Epoch     int64     `json:"epoch"`
		Verdicts  []verdict `json:"verdicts"`
		Next      uint64    `json:"next,omitempty"`
	}{d.Record.Snapshot.Now, d.Record.Snapshot.Epoch, []verdict{}, 0}
	for i, v := range d.Record.Plan.Verdicts {
		if wanted.is(&v) && mine.shows(v.Subject) && part.takes() {
			v.Message = mine.said(d, v.Message)
			body.Verdicts = append(body.Verdicts, verdictOf(v, d.Since[i]))
		}
	}
	body.Next = part.next
	if wanted.subject != "" && len(body.Verdicts) == 0 && mine.err == nil {
		writeError(w, http.StatusNotFound, fmt.Sprintf("the last decision says nothing about %s: it has no loan, does not wait, or is new", r.URL.Query().Get("subject")))
		return
	}
	mine.answer(w, body)
}

type waiting struct {
	Position    int       `json:"position"`
	Job         string    `json:"job"`
	UID         string    `json:"uid"`
	Queue       string    `json:"queue"`
	Tenant      string    `json:"tenant"`
	Priority    int32     `json:"priority"`
	Created     time.Time `json:"created"`
	Flavor      string    `json:"flavor"`
	Pods        int64     `json:"pods"`
	UnitsPerPod int64     `json:"unitsPerPod"`
	Attempt     int32     `json:"attempt"`
	Reason      string    `json:"reason"`
	Message     string    `json:"message"`
	Since       time.Time `json:"since"`
	Warning     bool      `json:"warning,omitempty"`
	// EstimatedStart is absent where nothing came free lately to judge by.
	EstimatedStart time.Time `json:"estimatedStart,omitzero"`
}

func (s *server) queue(w http.ResponseWriter, r *http.Request, d *Decision) {
	query := r.URL.Query()
	part, ok := pageOf(w, r)
	if !ok {
		return
	}
	within, _, _ := strings.Cut(cmp.Or(query.Get("job"), query.Get("queue")), "/")
	mine, ok := s.rows(w, r, within)
	if !ok {
		return
	}
	body := struct {
		DecidedAt time.Time `json:"decidedAt"`
		Jobs      []waiting `json:"jobs"`
		Next      uint64    `json:"next,omitempty"`
	}{d.Record.Snapshot.Now, []waiting{}, 0}
	outlook := view.NewOutlook(d.Record.Snapshot.Now, &d.Record.Plan, d.Freed, history.Lately)
	for _, p := range d.byQueue(query.Get("queue"), query.Get("job")) {
		if !mine.shows(p.job.Name) || !part.takes() {
			continue
		}
		j, v := p.job, d.about(lend.SubjectJob, p.job.Name, p.job.UID)
		body.Jobs = append(body.Jobs, waiting{
			Position: int(p.Position), Job: j.Name, UID: j.UID, Queue: j.Queue, Tenant: j.Tenant,
			Priority: j.Priority, Created: j.Created, Flavor: j.Flavor, Pods: j.Pods, UnitsPerPod: j.UnitsPerPod,
			Attempt: j.Attempt, Reason: v.Reason, Message: mine.said(d, v.Message), Since: v.Since, Warning: v.Warning,
			EstimatedStart: outlook.Start(j, p.Place, v.Reason),
		})
	}
	body.Next = part.next
	mine.answer(w, body)
}

// placed is a waiting job and its place.
type placed struct {
	lend.Place
	job *lend.Job
}

// job is the place of a waiting job among the snapshot's, which are by UID.
func (d *Decision) job(uid string) (int, bool) {
	return slices.BinarySearchFunc(d.Record.Snapshot.Jobs, uid, func(j lend.Job, uid string) int { return cmp.Compare(j.UID, uid) })
}

// byQueue are the waiting jobs by queue, and within one as they are considered: all,
// or those of one queue or name.
func (d *Decision) byQueue(queue, name string) []placed {
	jobs := d.Record.Snapshot.Jobs
	var list []placed
	for _, p := range d.Record.Plan.Waiting {
		at, found := d.job(p.UID)
		if found && (queue == "" || jobs[at].Queue == queue) && (name == "" || jobs[at].Name == name) {
			list = append(list, placed{p, &jobs[at]})
		}
	}
	slices.SortStableFunc(list, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.job.Queue, b.job.Queue), cmp.Compare(a.Position, b.Position))
	})
	return list
}
