package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// fullChunk is how long a chunk of an index's row grows before the next one begins.
const fullChunk = 240

// opHash stands for an operation and kind in their index. Two of them may have the same
// one, so whoever finds a number there looks at the entry.
func opHash(opID []byte, kind Kind) uint64 {
	var buf [128]byte // longer ones are rare
	sum := sha256.Sum256(append(append(buf[:0], opID...), 0, byte(kind)))
	return binary.BigEndian.Uint64(sum[:])
}

// index adds an entry to the indexes:
//
//   - by_op: hash of operation and kind → the numbers of all entries that have it
//   - by_loan, by_tenant: name, 00, first number → chunk, see appendChunk
func (p puts) index(s *state, e *Entry, c *change) error {
	key := seqKey(opHash([]byte(e.OpID), e.Kind))
	if err := p.put(bucketOp, key, append(bytes.Clone(p.tx.Bucket(bucketOp).Get(key)), seqKey(e.Seq)...)); err != nil {
		return err
	}
	if e.Loan != "" {
		if err := p.appendChunk(bucketLoan, e.Loan, e.Seq, c.loanState); err != nil {
			return err
		}
	}
	return c.eachTenant(s, e, func(tenant string) error { return p.appendChunk(bucketTenant, tenant, e.Seq, 0) })
}

// eachTenant calls for the tenants that an entry is about: its borrower, and those of the
// lenders of its loan.
func (c *change) eachTenant(s *state, e *Entry, call func(string) error) error {
	if e.Borrower != "" {
		if err := call(e.Borrower); err != nil {
			return err
		}
	}
	var lenders []LenderTenant
	switch loan := s.loan(e.Loan); {
	case c.moves && e.Kind != Carried:
		lenders = c.loan.Tenants
	case loan != nil:
		lenders = loan.Tenants
	}
	for i, l := range lenders {
		if l.Tenant == e.Borrower || hasTenant(lenders[:i], l.Tenant) {
			continue
		}
		if err := call(l.Tenant); err != nil {
			return err
		}
	}
	return nil
}

func hasTenant(all []LenderTenant, tenant string) bool {
	for i := range all {
		if all[i].Tenant == tenant {
			return true
		}
	}
	return false
}

// appendChunk adds a number to the last chunk of the name. A chunk has, for each of its
// entries, a varint of the number's distance from the one before (0 for the first, which
// is in the key) in all but the lowest three bits, and the loan's state after it in those.
func (p puts) appendChunk(bucket []byte, name string, seq uint64, after LoanState) error {
	key, chunk := lastChunk(p.tx.Bucket(bucket), name)
	if key == nil || len(chunk) >= fullChunk {
		return p.put(bucket, append(prefixKey(name), seqKey(seq)...), []byte{byte(after)})
	}
	last, _, err := walkChunk(key, chunk, nil)
	if err != nil {
		return fmt.Errorf("%w: index of %s: %w: %s", ErrDerived, name, err, adviceReindex)
	}
	return p.put(bucket, bytes.Clone(key), binary.AppendUvarint(bytes.Clone(chunk), (seq-last)<<3|uint64(after)))
}

// lastChunk is nil if the name has none.
func lastChunk(b *bolt.Bucket, name string) (key, chunk []byte) {
	prefix := prefixKey(name)
	c := b.Cursor()
	key, _ = c.Seek(append(bytes.Clone(prefix), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	if key == nil {
		key, chunk = c.Last()
	} else {
		key, chunk = c.Prev()
	}
	if len(key) != len(prefix)+8 || !bytes.HasPrefix(key, prefix) {
		return nil, nil
	}
	return key, chunk
}

// walkChunk calls for each number in a chunk, and returns the last one with its state.
func walkChunk(key, chunk []byte, call func(seq uint64, after LoanState)) (last uint64, state LoanState, err error) {
	if len(key) < 9 || len(chunk) == 0 || chunk[0] >= 8 {
		return 0, 0, fmt.Errorf("a chunk of %d bytes under a key of %d", len(chunk), len(key))
	}
	last = binary.BigEndian.Uint64(key[len(key)-8:])
	for at := 0; at < len(chunk); {
		v, n := uint64(chunk[at]), 1
		if v >= 0x80 {
			v, n = binary.Uvarint(chunk[at:])
		}
		if n <= 0 || (n > 1 && chunk[at+n-1] == 0) || (at > 0 && (v>>3 == 0 || at >= fullChunk)) {
			return 0, 0, fmt.Errorf("byte %d of a chunk is damaged", at)
		}
		last, state, at = last+v>>3, LoanState(v&7), at+n
		if call != nil {
			call(last, state)
		}
	}
	return last, state, nil
}

// findOp looks an operation up in its index.
func findOp(tx *bolt.Tx, opID string, kind Kind) (Entry, bool, error) {
	v := tx.Bucket(bucketOp).Get(seqKey(opHash([]byte(opID), kind)))
	if len(v)%8 != 0 {
		return Entry{}, false, fmt.Errorf("%w: operation %s has a row of %d bytes: %s", ErrDerived, opID, len(v), adviceReindex)
	}
	for ; len(v) > 0; v = v[8:] {
		e, err := readRecord(tx, binary.BigEndian.Uint64(v))
		if err != nil {
			return Entry{}, false, err
		}
		if e.OpID == opID && e.Kind == kind {
			return e, true, nil
		}
		if opHash([]byte(e.OpID), e.Kind) != opHash([]byte(opID), kind) {
			return Entry{}, false, fmt.Errorf("%w: operation %s points at entry %d, which is not it: %s", ErrDerived, opID, e.Seq, adviceReindex)
		}
	}
	return Entry{}, false, nil
}

// wasClosed tells from the index whether the loan's last entry left it closed.
func wasClosed(tx *bolt.Tx, loan string) bool {
	if loan == "" {
		return false
	}
	key, chunk := lastChunk(tx.Bucket(bucketLoan), loan)
	if key == nil {
		return false
	}
	_, after, err := walkChunk(key, chunk, nil)
	return err == nil && after == Closed
}

// numbers calls for the numbers of a name from one on, until call returns false.
func numbers(b *bolt.Bucket, name string, from uint64, call func(seq uint64) (bool, error)) error {
	prefix, c := prefixKey(name), b.Cursor()
	start := append(bytes.Clone(prefix), seqKey(from)...)
	key, chunk := c.Seek(start)
	if key == nil {
		key, chunk = c.Last()
	} else if !bytes.Equal(key, start) {
		key, chunk = c.Prev() // it may reach beyond from
	}
	if key == nil || !bytes.HasPrefix(key, prefix) {
		key, chunk = c.Seek(start)
	}
	for ; key != nil && bytes.HasPrefix(key, prefix); key, chunk = c.Next() {
		if len(key) != len(prefix)+8 {
			return fmt.Errorf("%w: a key of %s has %d bytes: %s", ErrDerived, name, len(key), adviceReindex)
		}
		var all []uint64
		if _, _, err := walkChunk(key, chunk, func(seq uint64, _ LoanState) { all = append(all, seq) }); err != nil {
			return fmt.Errorf("%w: index of %s: %w: %s", ErrDerived, name, err, adviceReindex)
		}
		for _, seq := range all {
			if seq < from {
				continue
			}
			if more, err := call(seq); !more || err != nil {
				return err
			}
		}
	}
	return nil
}
