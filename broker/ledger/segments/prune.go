package segments

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Pruned is a file that was removed.
type Pruned struct {
	Path     string
	From, To uint64
	// Head is the hash of To.
	Head ledger.Hash
}

// Prune removes the files that have nothing of the month given (2026-09) or later, of a
// ledger that no broker has open. All files must be sound. Always kept are the newest and
// the one before it, in which operations are looked up that are repeated, and those from the
// first entry on of any loan or reshape that is open. A GAP entry says first which numbers
// will be in no file, and who wanted it.
func Prune(path, before, actor string) (removed []Pruned, err error) {
	if _, err := time.Parse(monthForm, before); err != nil {
		return nil, fmt.Errorf("%q is no month of the form 2026-09", before)
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("find the ledger: %w", err)
	}
	archives, err := archivesOf(path)
	if err != nil {
		return nil, err
	}
	s, err := Open(path, Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	files := s.all()
	if len(archives) != len(files)-1 {
		return nil, errors.New("what was left of a turn is tidied up; start again")
	}
	needed := s.needed()
	for i := 0; i < len(files)-2 && archives[i+1].month <= before; i++ {
		_, base, err := files[i].Segment()
		if err != nil {
			return nil, err
		}
		p := Pruned{Path: archives[i].path, From: base + 1}
		if p.To, p.Head = files[i].Head(); p.To >= needed {
			break
		}
		removed = append(removed, p)
	}
	if len(removed) == 0 {
		return nil, nil
	}
	if err := s.gap(removed[0].From, &removed[len(removed)-1], before, actor); err != nil {
		return nil, err
	}
	for i, p := range removed { // oldest first: what is left always goes on to the end
		if err := errors.Join(os.Remove(p.Path), syncDir(path)); err != nil {
			return removed[:i], fmt.Errorf("remove %s: %w", p.Path, err)
		}
	}
	return removed, nil
}

// needed is the first entry about anything that is open.
func (s *Set) needed() uint64 {
	first := uint64(math.MaxUint64)
	for _, l := range s.OpenLoans() {
		first = min(first, l.FirstSeq)
	}
	for _, r := range s.OpenReshapes() {
		first = min(first, r.FirstSeq)
	}
	return first
}

func (s *Set) gap(from uint64, last *Pruned, before, actor string) error {
	why := fmt.Sprintf("files of months before %s were removed by %s", before, actor)
	payload, err := json.Marshal(ledger.GapPayload{From: from, To: last.To, Head: last.Head.String(), Why: why})
	if err != nil {
		return err
	}
	_, err = s.Amend(ledger.Entry{
		Kind: ledger.Gap, OpID: fmt.Sprintf("pruned-%d", last.To), Epoch: s.Epoch(), Reason: "Pruned", Message: why, Payload: payload,
	})
	if err != nil {
		return fmt.Errorf("say which entries will be missing: %w", err)
	}
	return nil
}
