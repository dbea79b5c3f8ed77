package web

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

func (s *server) snapshot(w http.ResponseWriter, _ *http.Request, d *Decision) {
	data, err := lend.MarshalRecord(d.Record)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n')) // the client has gone if this fails
}

type verdict struct {
	lend.Verdict
	Since time.Time `json:"since"`
}

// about is the verdict on a subject; zero if there is none.
func (d *Decision) about(kind lend.SubjectKind, subject, uid string) verdict {
	v, since := d.About(kind, subject, uid)
	return verdict{v, since}
}

func (s *server) verdicts(w http.ResponseWriter, r *http.Request, d *Decision) {
	query := r.URL.Query()
	kind, subject := query.Get("kind"), query.Get("subject")
	if subject != "" {
		var found bool
		if kind, subject, found = strings.Cut(subject, "/"); !found || strings.Count(subject, "/") != 1 {
			writeError(w, http.StatusBadRequest, fmt.Sprintf("subject: %q is not Kind/namespace/name", query.Get("subject")))
			return
		}
	}
	body := struct {
		DecidedAt time.Time `json:"decidedAt"`
		Epoch     int64     `json:"epoch"`
		Verdicts  []verdict `json:"verdicts"`
	}{d.Record.Snapshot.Now, d.Record.Snapshot.Epoch, []verdict{}}
	for i, v := range d.Record.Plan.Verdicts {
		if (kind == "" || strings.EqualFold(kind, string(v.Kind))) && (subject == "" || subject == v.Subject) &&
			(query.Get("uid") == "" || v.UID == query.Get("uid")) &&
			(query.Get("namespace") == "" || strings.HasPrefix(v.Subject, query.Get("namespace")+"/")) {
			body.Verdicts = append(body.Verdicts, verdict{v, d.Since[i]})
		}
	}
	if subject != "" && len(body.Verdicts) == 0 {
		writeError(w, http.StatusNotFound, fmt.Sprintf("the last decision says nothing about %s: it has no loan, does not wait, or is new", query.Get("subject")))
		return
	}
	write(w, http.StatusOK, body)
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
	// EstimatedStart is absent where nothing came free lately to judge by.
	EstimatedStart time.Time `json:"estimatedStart,omitzero"`
}

func (s *server) queue(w http.ResponseWriter, r *http.Request, d *Decision) {
	query := r.URL.Query()
	limit := math.MaxInt
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			writeError(w, http.StatusBadRequest, fmt.Sprintf("limit: %q is not a number above 0", text))
			return
		}
		limit = n
	}
	body := struct {
		DecidedAt time.Time `json:"decidedAt"`
		Jobs      []waiting `json:"jobs"`
	}{d.Record.Snapshot.Now, []waiting{}}
	outlook := view.NewOutlook(d.Record.Snapshot.Now, &d.Record.Plan, d.Freed, history.Lately)
	for _, p := range d.byQueue(query.Get("queue"), query.Get("job")) {
		if len(body.Jobs) == limit {
			break
		}
		j, v := p.job, d.about(lend.SubjectJob, p.job.Name, p.job.UID)
		body.Jobs = append(body.Jobs, waiting{
			Position: int(p.Position), Job: j.Name, UID: j.UID, Queue: j.Queue, Tenant: j.Tenant,
			Priority: j.Priority, Created: j.Created, Flavor: j.Flavor, Pods: j.Pods, UnitsPerPod: j.UnitsPerPod,
			Attempt: j.Attempt, Reason: v.Reason, Message: v.Message, Since: v.Since,
			EstimatedStart: outlook.Start(j, p.Place, v.Reason),
		})
	}
	write(w, http.StatusOK, body)
}

// placed is a waiting job and its place.
type placed struct {
	lend.Place
	job *lend.Job
}

// byQueue are the waiting jobs by queue, and within one as they are considered: all,
// or those of one queue or name.
func (d *Decision) byQueue(queue, name string) []placed {
	jobs := d.Record.Snapshot.Jobs // by UID
	var list []placed
	for _, p := range d.Record.Plan.Waiting {
		at, found := slices.BinarySearchFunc(jobs, p.UID, func(j lend.Job, uid string) int { return cmp.Compare(j.UID, uid) })
		if found && (queue == "" || jobs[at].Queue == queue) && (name == "" || jobs[at].Name == name) {
			list = append(list, placed{p, &jobs[at]})
		}
	}
	slices.SortStableFunc(list, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.job.Queue, b.job.Queue), cmp.Compare(a.Position, b.Position))
	})
	return list
}

type lender struct {
	lend.LenderView
	Tenant  string    `json:"tenant"`
	Flavor  string    `json:"flavor"`
	Advise  bool      `json:"advise"`
	Desired int64     `json:"desired"`
	Running int64     `json:"running"`
	Ready   int64     `json:"ready"`
	Pending int       `json:"pending"`
	Load    lend.Load `json:"load"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
}

func (s *server) lenders(w http.ResponseWriter, _ *http.Request, d *Decision) {
	body := struct {
		DecidedAt time.Time `json:"decidedAt"`
		Lenders   []lender  `json:"lenders"`
	}{d.Record.Snapshot.Now, []lender{}}
	views := map[string]lend.LenderView{}
	for _, v := range d.Record.Plan.Lenders {
		views[v.Name] = v
	}
	for _, l := range d.Record.Snapshot.Lenders {
		v := d.about(lend.SubjectLender, l.Name, "")
		body.Lenders = append(body.Lenders, lender{
			LenderView: views[l.Name], Tenant: l.Tenant, Flavor: l.Flavor, Advise: l.Advise,
			Desired: l.Desired, Running: l.Running, Ready: l.Ready, Pending: len(l.Pending), Load: l.Load,
			Reason: v.Reason, Message: v.Message, Since: v.Since,
		})
	}
	write(w, http.StatusOK, body)
}
