package segments

import (
	"errors"
	"fmt"
	"os"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// The steps of a turn, after each of which a process may die.
const (
	stepSealed = "sealed" // the old file ends with a CHECKPOINT
	stepMade   = "made"   // the new one is complete, and on disk
	stepKept   = "kept"   // the old one has its second name
	stepTaken  = "taken"  // the new one has the first
)

// monthOf is the month that a file was begun in, which it is called after.
func monthOf(file *ledger.Ledger) (string, error) {
	month, _, err := file.Segment()
	if err == nil && month == "" {
		month = file.Created().UTC().Format(monthForm)
	}
	return month, err
}

// begin begins the file of a month. After an error the old one can be written on, unless
// s.failed is set.
func (s *Set) begin(month string) error {
	old := s.newest()
	of, err := monthOf(old)
	if err != nil || of >= month {
		return err
	}
	if _, base, err := old.Segment(); err != nil {
		return err
	} else if head, _ := old.Head(); head == base {
		s.month = month // it is empty, and may as well be of this month
		return nil
	}
	if err := s.sealed(old); err != nil {
		return fmt.Errorf("end the file of %s: %w", of, err)
	}
	if err := s.opts.step(stepSealed); err != nil {
		return err
	}
	if err := removeNext(s.path); err != nil {
		return err
	}
	next, err := old.Continue(nextName(s.path), month)
	if err == nil {
		err = s.replace(old, next, ArchiveName(s.path, of))
	}
	if err != nil {
		if next != nil {
			err = errors.Join(err, next.Close())
		}
		return errors.Join(fmt.Errorf("begin the file of %s: %w", month, err), removeNext(s.path))
	}
	s.month = month
	s.marked, _ = next.Head()
	s.when = s.opts.Clock.Now()
	return nil
}

// replace puts the new file in the old one's place.
func (s *Set) replace(old, next *ledger.Ledger, kept string) error {
	if err := s.opts.step(stepMade); err != nil {
		return err
	}
	err := old.Move(kept, func() error {
		return next.Move(s.path, func() error { return s.rename(kept) })
	})
	if err != nil {
		return err
	}
	old.Retire()
	_ = os.Chmod(kept, archiveMode) // the next Open tries again
	s.mu.Lock()
	s.files = append(s.files[:len(s.files):len(s.files)], next)
	s.mu.Unlock()
	return s.share()
}

// rename gives the old file its second name, and the new one the first.
func (s *Set) rename(kept string) error {
	// A link, unlike a rename, fails if the name is taken.
	if err := os.Link(s.path, kept); err != nil {
		return fmt.Errorf("keep the file before under its name: %w", err)
	}
	err := errors.Join(syncDir(s.path), s.opts.step(stepKept))
	if err == nil {
		err = os.Rename(nextName(s.path), s.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(kept))
	}
	if err := errors.Join(syncDir(s.path), s.opts.step(stepTaken)); err != nil {
		// Which of the two files has the name after a power cut? Nothing may be written to
		// either until a process has looked.
		s.failed = fmt.Errorf("%w: turning over to a new file: %w; stop this process and start it again", ledger.ErrUnknownOutcome, err)
		return s.failed
	}
	return nil
}

// sealed sees to it that a file ends with a checkpoint.
func (s *Set) sealed(file *ledger.Ledger) error {
	seq, _ := file.Head()
	last, err := file.Read(seq, 1)
	if err != nil {
		return err
	}
	if len(last) == 1 && last[0].Kind == ledger.Checkpoint {
		return nil
	}
	return s.write(file)
}

// AppendRaw is ledger.Ledger's. It turns over where the records do: the new file is made as
// whoever wrote them made it, and must be the same. What stands before a record that is
// refused may have been written.
func (s *Set) AppendRaw(records [][]byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	for len(records) > 0 {
		if s.failed != nil {
			return s.failed
		}
		newest := s.newest()
		head, _ := newest.Head()
		n := 1 // those before the next file
		for n < len(records) && !starts(records[n], head) {
			n++
		}
		if starts(records[0], head) {
			if err := s.follow(records[0]); err != nil {
				return err
			}
			newest = s.newest()
		}
		if err := newest.AppendRaw(records[:n]); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// starts tells whether a record is a SEGMENT_START that the ledger does not have.
func starts(record []byte, head uint64) bool {
	_, seq, is := ledger.RawSegment(record)
	return is && seq > head
}

// follow turns over to the month of another's file.
func (s *Set) follow(record []byte) error {
	month, seq, _ := ledger.RawSegment(record)
	newest := s.newest()
	head, _ := newest.Head()
	if seq != head+1 {
		return fmt.Errorf("%w: the ledger ends with entry %d, and this is %d", ledger.ErrHole, head, seq)
	}
	if _, base, err := newest.Segment(); err != nil || head == base {
		return err // a copy that begins with this file
	}
	last, err := newest.Read(head, 1)
	if err != nil {
		return err
	}
	if len(last) != 1 || last[0].Kind != ledger.Checkpoint {
		return fmt.Errorf("%w: entry %d begins a file, and the one before does not end with a CHECKPOINT", ledger.ErrDiverged, seq)
	}
	return s.begin(month)
}
