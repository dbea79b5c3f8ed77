package decisions

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

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
	Text     string
}

// Result is what the audit of a file of records found.
type Result struct {
	Decisions int
	// Reclaims counts distinct reclaims, Victims the loans they took back.
	Reclaims, Victims int
	// Needless lists victims that could have been spared, Differing decisions
	// that do not replay to the recorded plan.
	Needless, Differing []Finding
	// Torn: the last record was cut off, as when the broker was killed.
	Torn bool
}

// Audit reads records, one JSON object per line, and checks each. A line that is
// not a record is an error, unless it is the last and has no end.
func Audit(in io.Reader) (Result, error) {
	var r Result
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
	same, err := replays(rec)
	if err != nil {
		return fmt.Errorf("replay decision %d: %w", n, err)
	}
	if !same {
		r.Differing = append(r.Differing, Finding{n, "replayed to another plan"})
	}
	reclaims := map[string]bool{}
	for _, a := range plan.Actions {
		if a.Kind == lend.ActionReclaim {
			reclaims[a.ReclaimID] = true
			r.Victims++
		}
	}
	r.Reclaims += len(reclaims)
	for _, text := range needless(&rec.Snapshot, &plan) {
		r.Needless = append(r.Needless, Finding{n, text})
	}
	return nil
}

// replays reports whether the recorded arguments give the recorded plan (law 7).
func replays(rec *record) (bool, error) {
	plan, _ := lend.Decide(rec.Snapshot, rec.State, rec.Policy)
	got, err := json.Marshal(plan)
	if err != nil {
		return false, fmt.Errorf("encode the plan: %w", err)
	}
	var want bytes.Buffer
	if err := json.Compact(&want, rec.Plan); err != nil {
		return false, fmt.Errorf("compact the recorded plan: %w", err)
	}
	return bytes.Equal(got, want.Bytes()), nil
}
