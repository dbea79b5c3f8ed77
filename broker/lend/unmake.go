package lend

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// forgottenAfter is for how long a GPU's layout stays as it is after a change whose lender
// is gone.
const forgottenAfter = 10 * time.Minute

// callBack has a change undone for somebody who needs the units.
func (d *decision) callBack(r *reshape, reason, message string) {
	if r.goesBack() || r.broken != "" {
		return
	}
	r.back = &ReshapeAction{Kind: ReshapeUndo, ID: r.ID, Node: r.node.Name, Lender: r.Lender, Reason: reason, Message: message}
	if r.standIn != nil {
		r.standIn.ending = true
	}
}

// reshapeActions are those of this decision: what is undone first.
func (d *decision) reshapeActions() []ReshapeAction {
	if d.reshapes == nil {
		return nil
	}
	var out []ReshapeAction
	for _, r := range d.reshapes.list {
		if r.broken == "" && !r.goesBack() {
			if reason, message := d.uses(r); reason != "" {
				d.callBack(r, reason, message)
			}
		}
		if r.back != nil {
			out = append(out, *r.back)
		}
	}
	return append(out, d.reshapes.makes...)
}

// uses says why a change is of no more use; an empty reason means that it is of some.
func (d *decision) uses(r *reshape) (reason, message string) {
	if l := r.holder; l != nil && !r.leaving {
		if l.askedBack() {
			return ReasonReclaiming, "the loan of what was made is asked back"
		}
		return "", ""
	}
	if reason, message = d.doomed(r, r.kept); reason != "" || r.leaving {
		return reason, message
	}
	return d.idles(r)
}

// askedBack: the loan is, or was now.
func (l *loan) askedBack() bool {
	return l.Reclaiming || l.Preempted || l.action != nil && l.action.Kind == ActionReclaim
}

// idles says why nobody can use what was made, or is being made.
func (d *decision) idles(r *reshape) (reason, message string) {
	switch {
	case r.State == ReshapeMaking && d.now.Sub(d.reshapes.since(d, &r.Reshape)) > r.late():
		return ReasonReshapeUnused, "it was not made in time"
	case d.useless(r):
		return ReasonReshapeUnused, "what was made could not be lent since " + stamp(d.reshapes.memory[r.GPU].IdleSince)
	case r.kept: // for a job that waits for more
	case !d.isWanted(r.To):
		return ReasonReshapeUnused, "no job waits for what was made"
	case r.State == ReshapeMade && d.ready(r):
		return ReasonReshapeUnused, "no job that waits can have what was made"
	case r.State == ReshapeMade && r.node.Unlendable != "" && r.idle():
		return ReasonReshapeUnused, "nothing new is lent on the node: " + r.node.Unlendable
	}
	return "", ""
}

// late is how long making it may take: as long as it would have to last to pay.
func (r *reshape) late() time.Duration { return begunWithin + quietTimes*r.lender.MIG.takes() }

// isWanted: some job waits for units of the flavor, and for nothing else.
func (d *decision) isWanted(flavor string) bool {
	s := d.reshapes
	if s.wanted == nil && d.line != nil {
		s.wanted = map[int32]bool{}
		for slot := range d.line.briefs {
			b := &d.line.briefs[slot]
			if !d.line.alive[slot] || b.refused {
				continue
			}
			switch d.line.texts[d.line.said[slot]].reason {
			case ReasonNoRoomForGang, ReasonNoLendableUnits, ReasonReshaping, ReasonReservedForEarlier, ReasonBehindInQueue:
				s.wanted[b.kind] = true
			}
		}
	}
	if d.line == nil {
		return false
	}
	kind, known := d.line.kinds[flavor]
	return known && s.wanted[kind]
}

// reshapeMemory is what the next decision has to know.
func (d *decision) reshapeMemory() []ReshapeMemory {
	if d.reshapes == nil {
		return nil
	}
	memory := d.reshapes.memory
	seen := map[string]bool{}
	for _, r := range d.reshapes.list {
		m := memory[r.GPU]
		m.GPU = r.GPU
		switch {
		case r.begun && r.back != nil:
			undone := *m.Begun
			undone.State, undone.Since = ReshapeUndoing, d.now
			m.Begun = &undone
		case !r.begun:
			m.Begun, m.Node = nil, ""
			if m.At.IsZero() {
				m.At = d.now
			}
			seen[r.GPU] = true
			track(&m.IdleSince, d.barred(r), d.now)
			m.State, m.Entered = r.State, d.reshapes.since(d, &r.Reshape)
			quiet := forgottenAfter
			if r.lender != nil && r.lender.MIG != nil {
				quiet = quietTimes * r.lender.MIG.takes()
			}
			m.Quiet = d.now.Add(quiet)
		}
		memory[r.GPU] = m
	}
	var out []ReshapeMemory
	for _, gpu := range slices.Sorted(maps.Keys(memory)) {
		m := memory[gpu]
		if !seen[gpu] {
			m.State, m.Entered, m.IdleSince = "", time.Time{}, time.Time{}
		}
		if m.Begun != nil || m.Quiet.After(d.now) {
			out = append(out, m)
		}
	}
	return out
}

// stuckText says which units of the lender are lost in changes that go neither on nor back.
func (l *lender) stuckText() string {
	text := ""
	for _, r := range l.stuck {
		text += fmt.Sprintf("; %s of GPU %s on %s cannot be had back: %s", plural(r.Count, "unit"), r.GPU, r.node.Name, cmp.Or(r.broken, "unknown"))
	}
	return text
}
