package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// This file has what package segments needs to keep a ledger in several files.

// Continue makes, under a name that is free, the file that goes on where this ledger ends: of
// the same ledger, with this one's head as its base, and with all that is open and every
// balance carried over, so that it can be replayed alone. The last entry here must be a
// CHECKPOINT. When it returns, the new file is on disk, locked and open; this one is as it
// was.
//
// The same end always gives the same file, byte for byte of its records: whoever makes it
// again after a crash, or beside another copy, has the same chain.
func (l *Ledger) Continue(path, month string) (*Ledger, error) {
	opening, id, err := l.opening(month)
	if err != nil {
		return nil, fmt.Errorf("continue ledger %s: %w", l.Path(), err)
	}
	if err := create(path, id); err != nil {
		return nil, fmt.Errorf("continue ledger %s: %w", l.Path(), err)
	}
	opts := l.opts
	opts.Ballast = 0 // it lies beside the name that the file will have
	next, err := Open(path, opts)
	if err != nil {
		return nil, fmt.Errorf("continue ledger %s: %w", l.Path(), err)
	}
	next.start, next.opts.Ballast = l.start, l.opts.Ballast // BootID is the same, so its clock must be
	if _, err := next.AppendAll(opening); err != nil {
		return nil, fmt.Errorf("continue ledger %s: %w", l.Path(), errors.Join(err, next.Close()))
	}
	return next, nil
}

// Follows tells whether another file begins where this one ends: its identity, and every
// entry with which it begins.
func (l *Ledger) Follows(before *Ledger) error {
	month, _, err := l.Segment()
	if err != nil {
		return err
	}
	want, id, err := before.opening(month)
	if err != nil {
		return err
	}
	var have identity
	err = l.view(func(tx *bolt.Tx) error {
		have, err = readIdentity(tx)
		return err
	})
	switch {
	case err != nil:
		return err
	case have.ID != id.ID || have.ClusterUID != id.ClusterUID:
		return fmt.Errorf("it is of ledger %s, and the file before of %s", have.idString(), id.idString())
	case have.BaseSeq != id.BaseSeq || have.BasePrev != id.BasePrev:
		return fmt.Errorf("it goes on after entry %d with hash %s, and the file before ends with %d and %s", have.BaseSeq, have.BasePrev, id.BaseSeq, id.BasePrev)
	}
	for at := have.BaseSeq + 1; len(want) > 0; {
		entries, err := l.Read(at, len(want))
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return fmt.Errorf("it ends before all that was open is carried")
		}
		for i := range entries {
			if entries[i].Kind != want[i].Kind || !bytes.Equal(entries[i].Payload, want[i].Payload) {
				return fmt.Errorf("entry %d carries %s %s, and at the end of the file before it was %s", entries[i].Seq, entries[i].Kind, entries[i].Payload, want[i].Payload)
			}
		}
		at, want = entries[len(entries)-1].Seq+1, want[len(entries):]
	}
	return nil
}

// opening is what the next file begins with: its identity and its first entries.
func (l *Ledger) opening(month string) ([]Entry, identity, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var last Entry
	var id identity
	s := l.state
	err := l.db.View(func(tx *bolt.Tx) (err error) {
		if id, err = readIdentity(tx); err == nil {
			last, err = readRecord(tx, s.seq)
		}
		return err
	})
	if err != nil {
		return nil, id, err
	}
	if last.Kind != Checkpoint {
		return nil, id, fmt.Errorf("%w: its last entry is %s, and a file ends with CHECKPOINT", ErrTransition, last.Kind)
	}
	id.Schema, id.Born = schemaVersion, schemaVersion
	id.Created, id.BaseSeq, id.BasePrev = last.Time, s.seq, s.hash
	loans, reshapes, accounts := s.openLoans(), s.openReshapes(), s.sortedBalances()
	entries := []Entry{}
	add := func(kind Kind, op string, payload any) {
		raw, marshal := json.Marshal(payload)
		err = errors.Join(err, marshal)
		if raw, marshal = normalisePayload(raw); marshal != nil {
			err = errors.Join(err, marshal)
		}
		entries = append(entries, Entry{
			Kind: kind, OpID: op, Epoch: s.epoch, Time: last.Time, BootID: last.BootID, MonoNS: last.MonoNS, Payload: raw,
		})
	}
	add(SegmentStart, fmt.Sprintf("segment-%d", s.seq), SegmentPayload{
		Month: month, Of: fmt.Sprintf("%d:%s", s.seq, s.hash), Open: len(loans) + len(reshapes), Accounts: len(accounts),
	})
	carry := func(p CarriedPayload) { add(Carried, fmt.Sprintf("carried-%d-%d", s.seq, len(entries)), p) }
	for _, b := range accounts {
		carry(CarriedPayload{Account: &Posting{Account: b.Account, Flavor: b.Flavor, UnitMS: b.UnitMS}})
	}
	for i := range loans {
		carry(CarriedPayload{Loan: Carry(loans[i])})
	}
	for i := range reshapes {
		carry(CarriedPayload{Reshape: &reshapes[i]})
	}
	return entries, id, err
}

// Segment is the month that the file was begun for, empty if it is a ledger's first, and the
// number before its first entry.
func (l *Ledger) Segment() (month string, base uint64, err error) {
	l.mu.RLock()
	base = l.state.base
	l.mu.RUnlock()
	first, err := l.Read(base+1, 1)
	if err != nil || len(first) == 0 || first[0].Kind != SegmentStart {
		return "", base, err
	}
	var p SegmentPayload
	err = readPayload(&first[0], &p)
	return p.Month, base, err
}

// Created is when the file was begun.
func (l *Ledger) Created() time.Time {
	if l.opened == nil {
		return time.Time{}
	}
	return l.opened.Created
}

// Checkpoints are those that the file had when it was opened, in their order.
func (l *Ledger) Checkpoints() []CheckpointPayload {
	if l.opened == nil {
		return nil
	}
	return l.opened.Checkpoints
}

// OpenArchive opens a file that nobody writes any more, to be read; it is verified as Open
// does. Append fails.
func OpenArchive(path string, opts Options) (*Ledger, error) {
	l, report, err := inspect(path, opts)
	if err == nil {
		err = report.Err()
	}
	return l, err
}

// Inspect is Check, which also returns the ledger, to be read, if nothing is wrong with it.
func Inspect(path string) (*Ledger, *Report, error) { return inspect(path, Options{}) }

func inspect(path string, opts Options) (*Ledger, *Report, error) {
	if err := opts.complete(); err != nil {
		return nil, nil, err
	}
	file, faults, err := openBolt(path, openParams{readOnly: true, timeout: opts.Timeout})
	if err != nil {
		return nil, nil, err
	}
	report := &Report{Path: path}
	if file.info != nil {
		report.Bytes = file.info.Size()
	}
	report.add(faults...)
	if len(faults) > 0 {
		return nil, report, nil
	}
	l := &Ledger{path: path, opts: opts, start: opts.Clock.Now(), db: file.db, info: file.info, retired: true}
	l.state, err = verifyAll(file.db, report)
	l.opened = report
	if err != nil || !report.OK() {
		err = errors.Join(err, file.db.Close())
		return nil, report, err
	}
	return l, report, nil
}

// CheckQuick looks at size, header and pages of a file, first with plain reads and then as
// it is mapped, and at nothing that follows from what its entries say. A page that the disk
// cannot deliver ends the process with a signal, so it is for a process of its own.
func CheckQuick(path string) (*Report, error) {
	file, faults, err := openBolt(path, openParams{readOnly: true, timeout: DefaultTimeout})
	if err != nil {
		return nil, err
	}
	report := &Report{Path: path}
	report.add(faults...)
	if len(faults) > 0 {
		return report, nil
	}
	report.Bytes = file.info.Size()
	err = file.db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				for _, part := range [][]byte{k, v} {
					bytes.Count(part, []byte{0}) // reads all of it
				}
				return nil
			})
		})
	})
	return report, errors.Join(err, file.db.Close())
}

// Path is the name that the file has.
func (l *Ledger) Path() string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.path
}

// Move runs what gives the ledger's file another name, while nobody checks whether the name
// still has the file. After an error the name is as it was.
func (l *Ledger) Move(path string, rename func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := rename(); err != nil {
		return err
	}
	l.path = path
	return nil
}

// Retire ends the writing; reading goes on.
func (l *Ledger) Retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = true
}

// errRetired: the file is not the newest of its ledger.
var errRetired = errors.New("this file of the ledger is written no more")

// Bytes is how large the file is.
func (l *Ledger) Bytes() (n int64, err error) {
	err = l.view(func(tx *bolt.Tx) error {
		n = tx.Size()
		return nil
	})
	return n, err
}

// Limit is MaxBytes from now on.
func (l *Ledger) Limit(maxBytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opts.MaxBytes = maxBytes
}

// Balances of all accounts, ordered by side (borrowers first), name and flavor.
func (l *Ledger) Balances() []Balance {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.sortedBalances()
}

// Operation is the entry that Append would return for a repeated one; false: there is none.
// The error is ErrOpReused if it is about something else.
func (l *Ledger) Operation(e Entry) (first Entry, found bool, err error) {
	err = l.view(func(tx *bolt.Tx) error {
		first, found, err = findOp(tx, e.OpID, e.Kind)
		return err
	})
	if err != nil || !found {
		return Entry{}, false, err
	}
	return first, true, sameSubject(&first, &e)
}

// Left is the state in which the file's last entry about a loan left it; Unknown if the file
// has none.
func (l *Ledger) Left(loan string) (after LoanState, err error) {
	err = l.view(func(tx *bolt.Tx) error {
		key, chunk := lastChunk(tx.Bucket(bucketLoan), loan)
		if key == nil {
			return nil
		}
		_, after, err = walkChunk(key, chunk, nil)
		return err
	})
	return after, err
}

// Merge adds what is wrong with another file of the same ledger to a report, and its
// entries and checkpoints. r is of the newer file.
func (r *Report) Merge(older *Report) {
	r.Entries += older.Entries
	r.Bytes += older.Bytes
	r.Checkpoints = append(older.Checkpoints[:len(older.Checkpoints):len(older.Checkpoints)], r.Checkpoints...)
	for _, f := range older.Faults {
		f.Where = older.Path + ": " + f.Where
		r.add(f)
	}
	r.FaultCount += older.FaultCount - len(older.Faults)
}

// Wrong adds a fault of the gravest kind, which a copy cures.
func (r *Report) Wrong(where, text string, args ...any) {
	r.add(Fault{Where: where, Text: fmt.Sprintf(text, args...), sentinel: ErrCorrupt})
}

// Is tells whether the open file is that one.
func (l *Ledger) Is(file os.FileInfo) bool { return os.SameFile(l.info, file) }

// RawSegment tells whether a record is a SEGMENT_START, which month it says, and its number.
func RawSegment(record []byte) (month string, seq uint64, is bool) {
	var f fields
	if len(record) < 2 || Kind(record[1]) != SegmentStart || f.split(record) != nil {
		return "", 0, false
	}
	var p SegmentPayload
	if err := json.Unmarshal(f.payload, &p); err != nil {
		return "", 0, false
	}
	return p.Month, f.seq, true
}
