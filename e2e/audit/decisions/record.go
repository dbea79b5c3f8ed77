package decisions

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// record is lend.Record with the plan kept as written, for the comparison to the
// byte.
type record struct {
	Snapshot lend.Snapshot   `json:"snapshot"`
	State    lend.State      `json:"state"`
	Policy   lend.Policy     `json:"policy"`
	Plan     json.RawMessage `json:"plan"`
}

// Finding is something that should not have been decided.
type Finding struct {
	// Decision is the number of the record, from 1.
	Decision int
	// Law that it breaks.
	Law  int
	Text string
}

// Result is what the audit of a file of records found.
type Result struct {
	Decisions int
	// Reclaims counts distinct reclaims, Victims the loans they took back.
	Reclaims, Victims int
	// Asked are the names of those loans.
	Asked map[string]bool
	// Needless lists victims that could have been spared, Differing decisions
	// that do not replay to the recorded plan, Violations other laws that a plan
	// breaks.
	Needless, Differing, Violations []Finding
	// Missing counts decisions that the broker has taken and that are not recorded.
	Missing int64
	// Torn: the last record was cut off, as when the broker was killed.
	Torn bool

	// What one decision leaves for the next.
	next  *lend.State
	asked map[string]time.Time
}

// Audit reads records, one JSON object per line, and checks each. A line that is
// not a record is an error, unless it is the last and has no end.
func Audit(in io.Reader) (Result, error) {
	r := Result{Asked: map[string]bool{}, asked: map[string]time.Time{}}
	lines := bufio.NewReaderSize(in, 1<<20)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			r.Torn = len(bytes.TrimSpace(line)) > 0
			return r, nil
		}
		if err != nil {
			return r, fmt.Errorf("read decision %d: %w", n, err)
		}
		var rec record
		if err := json.Unmarshal(line, &rec); err != nil {
			return r, fmt.Errorf("parse decision %d: %w", n, err)
		}
		if err := r.add(n, &rec); err != nil {
			return r, err
		}
	}
}

func (r *Result) add(n int, rec *record) error {
	var plan lend.Plan
	if err := json.Unmarshal(rec.Plan, &plan); err != nil {
		return fmt.Errorf("parse the plan of decision %d: %w", n, err)
	}
	r.Decisions++
	if err := r.replay(n, rec); err != nil {
		return fmt.Errorf("replay decision %d: %w", n, err)
	}
	reclaims := map[string]bool{}
	for _, a := range plan.Actions {
		if a.Kind == lend.ActionReclaim {
			reclaims[a.ReclaimID], r.Asked[a.Loan] = true, true
			r.Victims++
		}
	}
	r.Reclaims += len(reclaims)

	back := reclaimOf(rec, &plan)
	for _, text := range back.unfounded {
		r.Violations = append(r.Violations, Finding{n, 5, text})
	}
	for _, text := range back.needless(&rec.Snapshot) {
		r.Needless = append(r.Needless, Finding{n, 5, text})
	}
	takenBack(&rec.Snapshot, r.asked)
	for _, b := range judge(rec, &plan, r.asked) {
		r.Violations = append(r.Violations, Finding{n, b.law, b.text})
	}
	askedFor(&rec.Snapshot, back, r.asked)
	return nil
}

// replay checks that the recorded arguments give the recorded plan (law 7), and
// that the state among them is what the decision before left. A broker that starts
// anew has no state.
func (r *Result) replay(n int, rec *record) error {
	if rec.State.Decisions == 0 {
		r.next, r.asked = nil, map[string]time.Time{}
	}
	expected := int64(0)
	if r.next != nil {
		expected = r.next.Decisions
	}
	if rec.State.Decisions != expected {
		r.Missing += max(1, rec.State.Decisions-expected)
	} else if r.next != nil {
		same, err := equal(r.next, rec.State)
		if err != nil {
			return err
		}
		if !same {
			r.Differing = append(r.Differing, Finding{n, 7, "began with another state than the one before left"})
		}
	}
	plan, next := lend.Decide(rec.Snapshot, rec.State, rec.Policy)
	same, err := equal(plan, rec.Plan)
	if err != nil {
		return err
	}
	if !same {
		r.Differing = append(r.Differing, Finding{n, 7, "replayed to another plan"})
	}
	r.next = &next
	return nil
}

// equal compares what two values are in JSON, to the byte.
func equal(a, b any) (bool, error) {
	x, err := json.Marshal(a)
	if err != nil {
		return false, fmt.Errorf("encode %T: %w", a, err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		return false, fmt.Errorf("encode %T: %w", b, err)
	}
	return bytes.Equal(x, y), nil
}
