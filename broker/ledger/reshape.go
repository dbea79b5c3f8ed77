package ledger

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// OpenReshape is a change of a GPU's layout from RESHAPE_INTENT until RESHAPE_UNDONE or
// RESHAPE_FAILED:
//
//	          RESHAPE_INTENT             RESHAPE_DONE            RESHAPE_UNDONE
//	(unknown) ───────────────► intended ──────────────► made ──────────────────► closed
//	                               │                      │                        ▲
//	                               └──── RESHAPE_UNDONE, RESHAPE_FAILED ───────────┘
//
// An ID is never used again. A reshape books nothing: what was made is lent by loans like
// all else.
type OpenReshape struct {
	// ID is the OpID of all its entries.
	ID                    string
	Job, JobUID, Borrower string
	// Made: RESHAPE_DONE has been written.
	Made bool
	// FirstSeq is the entry that opened it, LastSeq the last about it; Since is when the
	// last one took effect.
	FirstSeq, LastSeq uint64
	Since             time.Time
	// Payload of the entry that opened it.
	Payload json.RawMessage
}

// Reshapes tells whether entries of the kind are about a change of a GPU's layout, and no
// loan.
func (k Kind) Reshapes() bool { return k >= ReshapeIntent && k <= ReshapeFailed }

// planReshape is plan for an entry about a reshape.
func (s *state) planReshape(c *change, e *Entry) error {
	open := s.reshapes[e.OpID]
	if e.Kind == ReshapeIntent {
		// That the ID was never used before follows from OpID and Kind being unique.
		c.reshape = &OpenReshape{
			ID: e.OpID, Job: e.Job, JobUID: e.JobUID, Borrower: e.Borrower, FirstSeq: s.seq + 1, LastSeq: s.seq + 1,
			Since: time.Unix(0, momentOf(e).wall).UTC(), Payload: slices.Clone(e.Payload),
		}
		return nil
	}
	if open == nil {
		return fmt.Errorf("%w: reshape %s is not open, which %s needs", ErrTransition, e.OpID, e.Kind)
	}
	if e.Kind == ReshapeDone && open.Made {
		return fmt.Errorf("%w: reshape %s is made, which %s does not follow", ErrTransition, e.OpID, e.Kind)
	}
	for _, f := range []struct {
		name string
		have *string
		want string
	}{{"job", &e.Job, open.Job}, {"jobUID", &e.JobUID, open.JobUID}, {"borrower", &e.Borrower, open.Borrower}} {
		if *f.have != "" && *f.have != f.want {
			return invalid(f.name, "%q differs from %q in entry %d, which opened reshape %s", *f.have, f.want, open.FirstSeq, open.ID)
		}
		*f.have = f.want
	}
	next := *open
	next.LastSeq, next.Since, next.Made = s.seq+1, time.Unix(0, momentOf(e).wall).UTC(), open.Made || e.Kind == ReshapeDone
	c.reshape, c.undone = &next, e.Kind != ReshapeDone
	return nil
}

func (s *state) applyReshape(c *change) {
	if c.undone {
		delete(s.reshapes, c.reshape.ID)
		return
	}
	s.reshapes[c.reshape.ID] = c.reshape
}

// openReshapes are copies, sorted by ID.
func (s *state) openReshapes() []OpenReshape {
	out := make([]OpenReshape, 0, len(s.reshapes))
	for _, id := range slices.Sorted(maps.Keys(s.reshapes)) {
		out = append(out, *s.reshapes[id])
	}
	return out
}
