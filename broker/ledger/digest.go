package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"

	bolt "go.etcd.io/bbolt"
)

// digest is a sum over items that does not depend on their order, so that an
// index can be compared with the log in one pass over each.
type digest struct {
	items uint64
	sum   uint64
}

func (d *digest) add(item uint64) {
	d.items++
	d.sum += item
}

// mix makes one number of two, such that sums of many tell whether they are the same.
func mix(a, b uint64) uint64 {
	x := a ^ b*0x9e3779b97f4a7c15
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	return x ^ x>>32
}

// hasher makes items of rows. Its seed is chosen anew for each check.
type hasher struct {
	seed maphash.Seed
	salt uint64
	buf  []byte
}

func newHasher(seed maphash.Seed) *hasher {
	return &hasher{seed: seed, salt: maphash.Bytes(seed, []byte("op"))}
}

func (h *hasher) name(name []byte) uint64     { return maphash.Bytes(h.seed, name) }
func (h *hasher) text(name string) uint64     { return maphash.String(h.seed, name) }
func (h *hasher) op(op, seq uint64) uint64    { return mix(op^h.salt, seq) }
func named(n, seq uint64, s LoanState) uint64 { return mix(n, seq<<3|uint64(s)) }

// row is a key and value as they are.
func (h *hasher) row(key, value []byte) uint64 {
	h.buf = binary.AppendUvarint(h.buf[:0], uint64(len(key)))
	h.buf = append(append(h.buf, key...), value...)
	return maphash.Bytes(h.seed, h.buf)
}

// rows is the digest of a bucket whose rows are compared as they are.
func (h *hasher) rows(b *bolt.Bucket) (d digest) {
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		d.add(h.row(k, v))
	}
	return d
}

// ops is the digest of by_op. Where two entries share a row they must be of different
// operations.
func (h *hasher) ops(tx *bolt.Tx) (d digest, err error) {
	c := tx.Bucket(bucketOp).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(k) != 8 || len(v) == 0 || len(v)%8 != 0 {
			return d, fmt.Errorf("has a row of %d and %d bytes", len(k), len(v))
		}
		if len(v) > 8 {
			if err := different(tx, v); err != nil {
				return d, err
			}
		}
		for ; len(v) > 0; v = v[8:] {
			d.add(h.op(binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(v)))
		}
	}
	return d, nil
}

func different(tx *bolt.Tx, seqs []byte) error {
	type op struct {
		id   string
		kind Kind
	}
	seen := map[op]uint64{}
	for ; len(seqs) > 0; seqs = seqs[8:] {
		e, err := readRecord(tx, binary.BigEndian.Uint64(seqs))
		if err != nil {
			return err
		}
		if first := seen[op{e.OpID, e.Kind}]; first != 0 {
			return fmt.Errorf("has %s of operation %s twice, entries %d and %d", e.Kind, e.OpID, first, e.Seq)
		}
		seen[op{e.OpID, e.Kind}] = e.Seq
	}
	return nil
}

// maxIndexed is the highest number that fits beside a state.
const maxIndexed = 1<<61 - 1

// chunks is the digest of by_loan or by_tenant. Only a full chunk has one after it.
func (h *hasher) chunks(b *bolt.Bucket) (d digest, err error) {
	var before []byte // name and 00 of the row before
	full := false
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(k) < 10 {
			return d, fmt.Errorf("has a key of %d bytes", len(k))
		}
		prefix := k[:len(k)-8]
		// What follows takes neither the byte between name and number nor the number's
		// highest bits into account.
		if seq := binary.BigEndian.Uint64(k[len(prefix):]); prefix[len(prefix)-1] != 0 || seq > maxIndexed {
			return d, fmt.Errorf("has the key %q, which is no name, 00 and number", k)
		}
		if !full && bytes.Equal(prefix, before) {
			return d, fmt.Errorf("has a chunk of %q after one that is not full", prefix[:len(prefix)-1])
		}
		n := h.name(prefix[:len(prefix)-1])
		if _, _, err := walkChunk(k, v, func(seq uint64, after LoanState) { d.add(named(n, seq, after)) }); err != nil {
			return d, err
		}
		before, full = prefix, len(v) >= fullChunk
	}
	return d, nil
}

// hashSet remembers hashes of names: that of one name, which another may share once in 2^64
// pairs, is as good as the name for a check whose seed is new each time. It is a table of
// which at most half is used.
type hashSet struct {
	table   []uint64 // 0 is free
	used    int
	fetched uint64 // means nothing: without it the compiler would leave fetch out
}

// fetch brings near where the hash is looked for soon. The table is larger than the
// processor's caches, and a few dozen such waits at once take little longer than one.
func (s *hashSet) fetch(hash uint64) {
	if len(s.table) > 0 {
		s.fetched ^= s.table[hash>>1&uint64(len(s.table)-1)]
	}
}

func (s *hashSet) has(hash uint64) bool {
	if len(s.table) == 0 {
		return false
	}
	return s.table[s.slot(hash)] != 0
}

// slot is where the hash is, or would be.
func (s *hashSet) slot(hash uint64) uint64 {
	mask := uint64(len(s.table) - 1)
	i := hash >> 1 & mask // the lowest bit is that of use
	for s.table[i] != 0 && s.table[i] != hash|1 {
		i = (i + 1) & mask
	}
	return i
}

func (s *hashSet) add(hash uint64) {
	if 2*s.used >= len(s.table) {
		old := s.table
		s.table = make([]uint64, max(1024, 2*len(old)))
		for _, h := range old {
			if h != 0 {
				s.table[s.slot(h)] = h
			}
		}
	}
	if i := s.slot(hash); s.table[i] == 0 {
		s.table[i] = hash | 1
		s.used++
	}
}
