package web

import (
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

type lender struct {
	lend.LenderView
	Tenant      string    `json:"tenant"`
	Flavor      string    `json:"flavor"`
	Advise      bool      `json:"advise"`
	UnitsPerPod int64     `json:"unitsPerPod"`
	Desired     int64     `json:"desired"`
	Running     int64     `json:"running"`
	Ready       int64     `json:"ready"`
	Pending     int       `json:"pending"`
	Load        lend.Load `json:"load"`
	rules
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
	Warning bool      `json:"warning,omitempty"`
}

// rules are what a lender's policy says, and what was remembered for it.
type rules struct {
	LowWater        float64 `json:"lowWater"`
	HighWater       float64 `json:"highWater"`
	DwellSeconds    float64 `json:"dwellSeconds"`
	CooldownSeconds float64 `json:"cooldownSeconds"`
	MaxGraceSeconds float64 `json:"maxGraceSeconds"`
	// Refused: the policy cannot be used as it is written; the reason says why.
	Refused bool `json:"refused,omitempty"`
	// Paused by hand, and Recall: units that are kept by hand.
	Paused bool    `json:"paused,omitempty"`
	Recall *window `json:"recall,omitempty"`
	// Floors are all windows, the recall among them.
	Floors []window `json:"floors,omitempty"`
	// LowSince is since when all signals are low, LastReclaim when units were last asked back.
	LowSince    time.Time `json:"lowSince,omitzero"`
	LastReclaim time.Time `json:"lastReclaim,omitzero"`
}

// window is a time in which units are kept.
type window struct {
	Name  string    `json:"name,omitempty"`
	Keep  int64     `json:"keep"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

func rulesOf(l *lend.Lender, memory *lend.LenderState) rules {
	r := rules{
		LowWater: l.LowWater, HighWater: l.HighWater, DwellSeconds: l.Dwell.Seconds(), CooldownSeconds: l.Cooldown.Seconds(),
		MaxGraceSeconds: l.MaxGrace.Seconds(), Refused: l.Problem != nil, Paused: l.Hold != nil && l.Hold.Reason == lend.ReasonPaused,
	}
	for _, f := range l.Floors {
		kept := window{f.Name, f.Units, f.From, f.Until}
		r.Floors = append(r.Floors, kept)
		if f.Name == lend.FloorRecall {
			r.Recall = &kept
		}
	}
	if memory != nil {
		r.LowSince, r.LastReclaim = memory.LowSince, memory.LastReclaim
	}
	return r
}

func (s *server) lenders(w http.ResponseWriter, r *http.Request, d *Decision) {
	mine, ok := s.rows(w, r, r.URL.Query().Get("namespace"))
	if !ok {
		return
	}
	body := struct {
		DecidedAt time.Time `json:"decidedAt"`
		Lenders   []lender  `json:"lenders"`
	}{d.Record.Snapshot.Now, []lender{}}
	views := map[string]lend.LenderView{}
	for _, v := range d.Record.Plan.Lenders {
		views[v.Name] = v
	}
	memory := map[string]*lend.LenderState{}
	for i := range d.Record.State.Lenders {
		memory[d.Record.State.Lenders[i].Name] = &d.Record.State.Lenders[i]
	}
	for _, l := range d.Record.Snapshot.Lenders {
		if !mine.shows(l.Name) {
			continue
		}
		v := d.about(lend.SubjectLender, l.Name, "")
		body.Lenders = append(body.Lenders, lender{
			LenderView: views[l.Name], Tenant: l.Tenant, Flavor: l.Flavor, Advise: l.Advise, UnitsPerPod: l.UnitsPerPod, rules: rulesOf(&l, memory[l.Name]),
			Desired: l.Desired, Running: l.Running, Ready: l.Ready, Pending: len(l.Pending), Load: l.Load,
			Reason: v.Reason, Message: v.Message, Since: v.Since, Warning: v.Warning,
		})
	}
	mine.answer(w, body)
}
