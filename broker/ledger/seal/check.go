package seal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Summary is what the checkpoints of a ledger say together.
type Summary struct {
	// Checkpoints there are, and how many of them are signed by a key that was asked for,
	// or, if none was, by any.
	Checkpoints, Signed int
	// Unsigned ones, by number of what they are of.
	Unsigned []uint64
	// Keys that signed, each once.
	Keys []string
	// Wrong are signatures that do not hold, or are by other keys than were asked for, a
	// line each.
	Wrong []string
	// Last is the number and hash of the newest signed one.
	Last  ledger.CheckpointPayload
	asked bool
}

// Check looks at all checkpoints of a ledger, in their order. The zero key: at their
// signatures only, not at whose they are.
func Check(ledgerID string, checkpoints []ledger.CheckpointPayload, by PublicKey) Summary {
	s := Summary{Checkpoints: len(checkpoints), asked: !by.IsZero()}
	for i := range checkpoints {
		p := &checkpoints[i]
		err := Verify(ledgerID, p, by)
		switch {
		case errors.Is(err, ErrUnsigned):
			s.Unsigned = append(s.Unsigned, p.Seq)
		case err != nil:
			s.Wrong = append(s.Wrong, fmt.Sprintf("the checkpoint of entry %d: %v", p.Seq, err))
		default:
			s.Signed++
			s.Last = *p
			if !slices.Contains(s.Keys, p.Key) {
				s.Keys = append(s.Keys, p.Key)
			}
		}
	}
	return s
}

// Err is what is wrong: signatures that do not hold, and, where a key was asked for, that
// nothing is signed by it.
func (s *Summary) Err() error {
	switch {
	case len(s.Wrong) > 0:
		return fmt.Errorf("%s (%d of %d checkpoints)", s.Wrong[0], len(s.Wrong), s.Checkpoints)
	case s.asked && s.Signed == 0:
		return errors.New("no checkpoint is signed by the key")
	default:
		return nil
	}
}

// Notes tell people about it, a line each.
func (s *Summary) Notes() []string {
	if s.Checkpoints == 0 {
		return []string{"there are no checkpoints yet"}
	}
	notes := []string{fmt.Sprintf("%d checkpoints, %d of them signed", s.Checkpoints, s.Signed)}
	if n := len(s.Unsigned); n > 0 {
		notes = append(notes, fmt.Sprintf("%d checkpoints are not signed, the last of entry %d: anybody who can write the file could have written them", n, s.Unsigned[n-1]))
	}
	if s.Signed > 0 {
		notes = append(notes, fmt.Sprintf("signed last: entry %d with hash %s", s.Last.Seq, s.Last.Hash))
	}
	for _, key := range s.Keys {
		line := "signed by key " + key
		if !s.asked {
			line += "; compare it with yours, or give it with --public-key"
		}
		notes = append(notes, line)
	}
	return notes
}
