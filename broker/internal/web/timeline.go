package web

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

const (
	// A picture of the past is of twelve hours where nobody says of what.
	usualPast   = 12 * time.Hour
	longestPast = 400 * 24 * time.Hour
	// mostSpans and mostPoints bound it: points of one lender, and of all.
	mostSpans     = 10_000
	mostPoints    = 1_000
	mostAllPoints = 20_000
	// mostElsewhere is of how many lenders a past is asked for that is not remembered.
	mostElsewhere = 4
)

// Loads is the past of a lender's load.
type Loads struct {
	// Requests in flight: the highest in each step, no number where nothing was heard.
	Requests []float64
	// Source is Memory or Prometheus, and Note what is not known, and why.
	Source, Note string
}

// times reads from and to, which are at most now.
func times(r *http.Request, now time.Time, usual time.Duration) (from, to time.Time, err error) {
	moment := func(name string, absent time.Time) time.Time {
		text := r.URL.Query().Get(name)
		if text == "" {
			return absent
		}
		t, bad := time.Parse(time.RFC3339, text)
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("%s: %q is no time as in 2026-11-22T12:00:00Z", name, text))
		}
		return t.UTC()
	}
	if to = moment("to", now); to.After(now) {
		to = now
	}
	from = moment("from", to.Add(-usual))
	switch {
	case err != nil:
	case !from.Before(to):
		err = errors.New("from: must be before to, and before now")
	case to.Sub(from) > longestPast:
		err = errors.New("from: is more than 400 days before to")
	}
	return from, to, err
}

type timeline struct {
	From    time.Time       `json:"from"`
	To      time.Time       `json:"to"`
	Head    head            `json:"head"`
	Spans   []view.LoanSpan `json:"spans"`
	Omitted int             `json:"omitted"`
	Loads   []view.LoadLine `json:"loads"`
	Notes   []string        `json:"notes"`
}

func (s *server) timeline(w http.ResponseWriter, r *http.Request, d *Decision, l Ledger) {
	query := r.URL.Query()
	from, to, errTimes := times(r, d.Record.Snapshot.Now, usualPast)
	points, errPoints := number(r, "points", mostPoints, mostPoints)
	if err := errors.Join(errTimes, errPoints); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	lender := query.Get("lender")
	namespace, _, _ := strings.Cut(lender, "/")
	mine, ok := s.rows(w, r, namespace)
	if !ok {
		return
	}
	see, ok := s.scope(w, r, query.Get("tenant"))
	if !ok {
		return
	}
	body := timeline{From: from, To: to, Head: headOf(l), Notes: []string{}}
	// It is drawn while nobody else reads as much: what is kept of the ledger ends with that.
	_, err := reading(r.Context(), s, func() (struct{}, error) {
		past, err := see.stretch(l, query.Get("loan"), query.Get("tenant"), from, to)
		if err == nil {
			body.draw(past, lender)
		}
		return struct{}{}, err
	})
	if err != nil {
		writeError(w, http.StatusInternalServerError, "read the ledger: "+err.Error())
		return
	}
	var of []lend.Lender
	for _, one := range d.Record.Snapshot.Lenders {
		if (lender == "" || one.Name == lender) && mine.shows(one.Name) && (query.Get("loan") == "" && query.Get("tenant") == "" || body.lends(one.Name)) {
			of = append(of, one)
		}
	}
	body.Loads = s.loads(r, of, from, to, int(points))
	mine.answer(w, body)
}

// draw makes spans of the loans, and notes what is missing.
func (t *timeline) draw(past *stretch, lender string) {
	t.Spans = make([]view.LoanSpan, 0, len(past.loans)) // few loans have more than one
	for _, entries := range past.loans {
		for _, span := range view.LoanSpans(entries) {
			ended := !span.To.IsZero() && span.To.Before(t.From)
			if !ended && !span.From.After(t.To) && (lender == "" || slices.Contains(span.Lenders, lender)) {
				t.Spans = append(t.Spans, span)
			}
		}
	}
	slices.SortStableFunc(t.Spans, func(a, b view.LoanSpan) int { return cmp.Or(a.From.Compare(b.From), strings.Compare(a.Name, b.Name)) })
	if n := len(t.Spans) - mostSpans; n > 0 {
		t.Spans, t.Omitted = t.Spans[n:], n
		t.Notes = append(t.Notes, fmt.Sprintf("%d loans that began before the others are left out", n))
	}
	switch {
	case !past.cut.IsZero():
		t.Notes = append(t.Notes, fmt.Sprintf("more than %d entries: what came after %s is left out; ask for a shorter time", mostRead, past.cut.UTC().Format(time.RFC3339)))
	case past.later:
		t.Notes = append(t.Notes, "loans that lasted through all of it and ended long after it may be missing")
	}
}

func (t *timeline) lends(lender string) bool {
	return slices.ContainsFunc(t.Spans, func(s view.LoanSpan) bool { return slices.Contains(s.Lenders, lender) })
}

// loads are the lenders' load lines.
func (s *server) loads(r *http.Request, of []lend.Lender, from, to time.Time, points int) []view.LoadLine {
	lines := []view.LoadLine{}
	if len(of) == 0 {
		return lines
	}
	points = max(min(points, mostAllPoints/len(of)), 1)
	step := max(to.Sub(from)/time.Duration(points), time.Minute)
	if odd := step % time.Minute; odd > 0 {
		step += time.Minute - odd
	}
	begin := from.Truncate(time.Minute)
	count := min(int((to.Sub(begin)+step-1)/step), points)
	for i := range of {
		l := &of[i]
		line := view.LoadLine{
			Lender: l.Name, Tenant: l.Tenant, Flavor: l.Flavor, Owned: l.Owned, LowWater: l.LowWater, HighWater: l.HighWater,
			From: begin, StepSeconds: step.Seconds(), Utilization: view.Values{},
		}
		past := s.source.Loads(r.Context(), l.Name, begin, step, count, len(of) <= mostElsewhere)
		line.Source, line.Note = past.Source, past.Note
		slots := l.Load.Slots * float64(l.Owned) / math.Max(float64(l.UnitsPerPod), 1)
		if slots > 0 {
			for _, requests := range past.Requests {
				line.Utilization = append(line.Utilization, requests/slots)
			}
		} else if line.Note == "" {
			line.Note = "no signal says how many requests a replica serves at once"
		}
		lines = append(lines, line)
	}
	return lines
}
