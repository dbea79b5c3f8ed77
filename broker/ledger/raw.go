package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	bolt "go.etcd.io/bbolt"
)

// Errors of AppendRaw and Begin, beside those of Append.
var (
	// ErrHole: the records do not begin at the entry after the ledger's last one.
	ErrHole = errors.New("entries are missing before these records")
	// ErrDiverged: the records are of another chain: one that this ledger has differs, or the
	// first new one does not follow its last.
	ErrDiverged = errors.New("records are of another chain")
)

// Identity is what Begin needs to make another file of this ledger's, in which the same
// records make the same chain.
func (l *Ledger) Identity() (identity []byte, err error) {
	err = l.view(func(tx *bolt.Tx) error {
		id, err := readIdentity(tx)
		identity = append(id.encode(), appendCRC(putU32(nil, id.Born))...)
		return err
	})
	return identity, err
}

// parseIdentity is the inverse of Identity.
func parseIdentity(b []byte) (identity, error) {
	cut := max(0, len(b)-8)
	id, err := decodeIdentity(b[:cut])
	if err != nil {
		return id, err
	}
	born, err := splitCRC(b[cut:])
	if err != nil {
		return id, err
	}
	if id.Born = binary.BigEndian.Uint32(born); id.Born > id.Schema || id.Schema != schemaVersion {
		return id, fmt.Errorf("%w: schema %d, made with %d, where this release writes %d", ErrNewerSchema, id.Schema, id.Born, schemaVersion)
	}
	return id, nil
}

// Beginning says what the file of an Identity begins after: the ledger's ID, and the number
// and hash of the entry before its first; 0 and the zero hash if there is none.
func Beginning(identity []byte) (id string, seq uint64, hash Hash, err error) {
	of, err := parseIdentity(identity)
	if err != nil {
		return "", 0, Hash{}, fmt.Errorf("read a ledger's identity: %w", err)
	}
	return of.idString(), of.BaseSeq, of.BasePrev, nil
}

// Begin makes a file without entries that belongs to the ledger whose Identity that is, for
// AppendRaw to fill. The error is fs.ErrExist if there is a file.
func Begin(path string, identity []byte) error {
	id, err := parseIdentity(identity)
	if err != nil {
		return fmt.Errorf("begin ledger %s: %w", path, err)
	}
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("begin ledger %s: %w", path, fs.ErrExist)
	}
	return create(path, id)
}

// Raw returns up to limit records (0: MaxPage, which is also the most) from that number on,
// as they stand in the file, for AppendRaw. Like Read it may return fewer than there are;
// the end is reached when it returns none. Each record's checksum is verified.
func (l *Ledger) Raw(from uint64, limit int) ([][]byte, error) {
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	var records [][]byte
	err := l.view(func(tx *bolt.Tx) error {
		c, size := tx.Bucket(bucketLog).Cursor(), 0
		for k, raw := c.Seek(seqKey(from)); k != nil && len(records) < limit && size < maxPageBytes; k, raw = c.Next() {
			var f fields
			if err := f.split(raw); err != nil || f.seq != binary.BigEndian.Uint64(k) {
				return fmt.Errorf("%w: entry %d: %w: %s", ErrCorrupt, binary.BigEndian.Uint64(k), errors.Join(err, errNoEntry), adviceRestore)
			}
			records, size = append(records, bytes.Clone(raw)), size+len(raw)
		}
		return nil
	})
	return records, err
}

// AppendRaw writes records of another file of the same ledger as they are, in one
// transaction: all that this one does not have, or, after an error, none. Every rule holds
// that Open has for a file: checksum, number, hash of the entry before, epoch, operation and
// the states of loans. Records that the ledger has are compared and left.
//
// The errors are ErrHole, ErrDiverged, ErrCorrupt, ErrNewerSchema and those of Append. What
// this process itself wants to say must not be appended to the same ledger by Append, or the
// chains part.
func (l *Ledger) AppendRaw(records [][]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	tx, err := l.db.Begin(true)
	if err != nil {
		return fmt.Errorf("append %d records: %w", len(records), err)
	}
	// After a commit this does nothing.
	defer func() { _ = tx.Rollback() }()

	var last Entry
	var undo []func()
	for i := range records {
		var back func()
		if back, err = l.putRaw(tx, records[i], &last); err != nil {
			err = fmt.Errorf("record %d of %d: %w", i+1, len(records), err)
			break
		}
		if back != nil {
			undo = append(undo, back)
		}
	}
	if err == nil && len(undo) > 0 {
		err = l.commit(tx, &last)
	}
	if err == nil {
		return nil
	}
	for i := len(undo) - 1; i >= 0; i-- {
		undo[i]()
	}
	return err
}

// putRaw writes one record into the transaction and moves the state, or finds it there. What
// it returns moves the state back; nil: it was there.
func (l *Ledger) putRaw(tx *bolt.Tx, raw []byte, last *Entry) (func(), error) {
	e, err := decode(raw)
	switch {
	case errors.Is(err, ErrNewerSchema):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	case e.Seq > l.state.seq+1:
		return nil, fmt.Errorf("%w: the ledger ends with entry %d, and this is %d", ErrHole, l.state.seq, e.Seq)
	case e.Seq <= l.state.seq:
		return nil, l.has(tx, &e, raw)
	case e.PrevHash != l.state.hash:
		return nil, fmt.Errorf("%w: entry %d follows one with hash %s, and the ledger's has %s", ErrDiverged, e.Seq, e.PrevHash, l.state.hash)
	}
	first, found, err := findOp(tx, e.OpID, e.Kind)
	if err == nil && found {
		err = fmt.Errorf("%w: %s of operation %s is entry %d already", ErrOpReused, e.Kind, e.OpID, first.Seq)
	}
	if err != nil {
		return nil, err
	}
	c, err := l.state.plan(&e, wasClosed(tx, e.Loan))
	if err != nil {
		return nil, err
	}
	if err := (puts{tx, l.opts.Trace}).record(l.state, &e, raw, c); err != nil {
		return nil, err
	}
	back := l.state.backup(c)
	l.state.apply(&e, c)
	*last = e
	return back, nil
}

// has compares a record with the ledger's of the same number.
func (l *Ledger) has(tx *bolt.Tx, e *Entry, raw []byte) error {
	mine := tx.Bucket(bucketLog).Get(seqKey(e.Seq))
	if mine == nil {
		id, err := readIdentity(tx)
		if err == nil && e.Seq <= id.BaseSeq {
			return nil // in a file before this one
		}
		return fmt.Errorf("%w: entry %d is missing: %s", ErrCorrupt, e.Seq, adviceRestore)
	}
	if !bytes.Equal(mine, raw) {
		return fmt.Errorf("%w: entry %d has hash %s there, and another here", ErrDiverged, e.Seq, e.Hash)
	}
	return nil
}
