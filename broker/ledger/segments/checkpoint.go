package segments

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// mostStated bounds the payload of a checkpoint. One with more balances does not state them:
// they follow from the log.
const mostStated = 64 << 10

// write writes a checkpoint.
func (s *Set) write(file *ledger.Ledger) error {
	p := ledger.CheckpointPayload{}
	p.Seq, p.Hash = file.Head()
	for _, b := range file.Balances() {
		p.Totals = append(p.Totals, ledger.Posting{Account: b.Account, Flavor: b.Flavor, UnitMS: b.UnitMS})
	}
	raw, err := s.signed(&p)
	if err == nil && len(raw) > mostStated {
		p.Totals = nil
		raw, err = s.signed(&p)
	}
	if err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	written, err := file.Append(ledger.Entry{
		Kind: ledger.Checkpoint, OpID: fmt.Sprintf("checkpoint-%d", p.Seq), Epoch: file.Epoch(), Payload: raw,
	})
	if err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	s.marked, s.when = written.Seq, s.opts.Clock.Now()
	s.opts.Checkpointed(p)
	return nil
}

func (s *Set) signed(p *ledger.CheckpointPayload) ([]byte, error) {
	if s.opts.Signer != nil {
		s.opts.Signer.Sign(s.id, p)
	}
	return json.Marshal(p)
}

// mark begins counting where the file's last checkpoint is, or else where the file begins.
func (s *Set) mark(file *ledger.Ledger) error {
	_, base, err := file.Segment()
	if err != nil {
		return err
	}
	s.marked, s.when = base, s.opts.Clock.Now()
	since := base + 1
	if all := file.Checkpoints(); len(all) > 0 {
		s.marked = all[len(all)-1].Seq + 1
		since = s.marked
	}
	entries, err := file.Read(since, 1)
	if err == nil && len(entries) == 1 && entries[0].Time.Before(s.when) {
		s.when = entries[0].Time
	}
	return err
}

// counted writes a checkpoint after so many entries. That it cannot is no reason to refuse
// what was written: it is tried again after the next entry.
func (s *Set) counted(file *ledger.Ledger) {
	if head, _ := file.Head(); head < s.marked+s.opts.CheckpointEntries {
		return
	}
	if err := s.write(file); err != nil {
		s.opts.Failed(err)
	}
}

// Tick writes a checkpoint if the last one is old enough and there are entries after it. It
// is to be called every now and then. The error is one of Append's.
func (s *Set) Tick() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.failed != nil {
		return s.failed
	}
	newest := s.newest()
	head, _ := newest.Head()
	if head <= s.marked || s.opts.Clock.Since(s.when) < s.opts.CheckpointInterval {
		return nil
	}
	err := s.write(newest)
	if err != nil && !errors.Is(err, ledger.ErrUnknownOutcome) && !errors.Is(err, ledger.ErrClosed) {
		s.opts.Failed(err)
		return nil
	}
	return err
}
