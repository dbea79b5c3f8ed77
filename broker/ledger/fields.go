package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

// The smallest encodings of a grant and a signal; they bound what a damaged
// count can make the decoder allocate.
const (
	minGrantBytes  = 3*4 + 8
	minSignalBytes = 4 + 8
)

var (
	errShort    = errors.New("record ends early")
	errTrailing = errors.New("record has bytes after its end")
	errChecksum = errors.New("record checksum does not match")
)

// The texts of a record, in their order.
const (
	textBoot = iota
	textOp
	textLoan
	textJob
	textJobUID
	textBorrower
	textReclaim
	textReason
	textMessage
	texts
)

// fields is a record taken apart. All slices lie in the record's own bytes, so that a walk
// over a million records allocates nothing for each; it may be used again, and is valid as
// long as the record is.
type fields struct {
	kind           Kind
	seq, corrects  uint64
	epoch          int64
	time, at, mono int64
	text           [texts][]byte
	grants         []rawGrant
	signals        []rawValue
	payload        []byte
	prev, hash     Hash
}

type rawGrant struct {
	lender, node, flavor []byte
	count                int64
}

type rawValue struct {
	name []byte
	bits uint64
}

// bodies has a decoder for each version of records, by the number that is their first byte.
var bodies = [...]func(*fields, *reader) error{1: (*fields).body1}

// split takes a stored record apart. It accepts exactly what encode can produce, and does
// not judge whether the entry makes sense.
func (f *fields) split(b []byte) error {
	body, err := splitCRC(b)
	if err != nil {
		return err
	}
	r := reader{b: body}
	version := r.u8()
	if r.err != nil {
		return r.err
	}
	// The checksum is the last four bytes in every version, so a version that gets
	// here is a newer writer's and not a flipped bit.
	if int(version) >= len(bodies) || bodies[version] == nil {
		return fmt.Errorf("%w: record version %d, this release reads %d", ErrNewerSchema, version, recordVersion)
	}
	if err := bodies[version](f, &r); err != nil {
		return err
	}
	if !f.kind.known() {
		return fmt.Errorf("%w: record kind %d is not known", ErrNewerSchema, uint8(f.kind))
	}
	f.hash = sha256.Sum256(body)
	return nil
}

// head1 is the length of what stands before the first text: kind and five numbers.
const head1 = 1 + 5*8

// body1 reads what follows the version.
func (f *fields) body1(r *reader) error {
	b := r.b
	if len(b) < head1 {
		return errShort
	}
	f.kind, f.seq = Kind(b[0]), binary.BigEndian.Uint64(b[1:])
	f.epoch, f.time = int64(binary.BigEndian.Uint64(b[9:])), int64(binary.BigEndian.Uint64(b[17:]))
	f.at, f.mono = int64(binary.BigEndian.Uint64(b[25:])), int64(binary.BigEndian.Uint64(b[33:]))
	b = b[head1:]
	for i := range f.text {
		var ok bool
		if f.text[i], b, ok = cut(b); !ok {
			return errShort
		}
	}
	r.b = b
	f.corrects = r.u64()
	f.readGrants(r)
	f.readSignals(r)
	f.payload = r.str()
	copy(f.prev[:], r.take(len(f.prev)))
	if r.err == nil && len(r.b) > 0 {
		return errTrailing
	}
	return r.err
}

func (f *fields) readGrants(r *reader) {
	f.grants = f.grants[:0]
	for i := range r.count(minGrantBytes) {
		f.grants = append(f.grants, rawGrant{r.str(), r.str(), r.str(), int64(r.u64())})
		if i > 0 && compareRaw(&f.grants[i-1], &f.grants[i]) > 0 {
			r.fail(errors.New("record's grants are not sorted"))
		}
	}
}

func compareRaw(a, b *rawGrant) int {
	if c := bytes.Compare(a.lender, b.lender); c != 0 {
		return c
	}
	if c := bytes.Compare(a.node, b.node); c != 0 {
		return c
	}
	return cmp.Or(bytes.Compare(a.flavor, b.flavor), cmp.Compare(a.count, b.count))
}

func (f *fields) readSignals(r *reader) {
	f.signals = f.signals[:0]
	for i := range r.count(minSignalBytes) {
		v := rawValue{r.str(), r.u64()}
		f.signals = append(f.signals, v)
		if i > 0 && bytes.Compare(f.signals[i-1].name, v.name) >= 0 {
			r.fail(errors.New("record's signals are not sorted"))
		}
		if math.IsNaN(math.Float64frombits(v.bits)) && v.bits != math.Float64bits(math.NaN()) {
			r.fail(errors.New("record has a NaN in a form that is not canonical"))
		}
	}
}

// decode is the inverse of encode: it returns an entry that shares nothing with b, and
// sets Hash.
func decode(b []byte) (Entry, error) {
	var f fields
	if err := f.split(b); err != nil {
		return Entry{}, err
	}
	e := Entry{
		Kind: f.kind, Seq: f.seq, Epoch: f.epoch, Time: time.Unix(0, f.time).UTC(), MonoNS: f.mono,
		BootID: string(f.text[textBoot]), OpID: string(f.text[textOp]), Loan: string(f.text[textLoan]),
		Job: string(f.text[textJob]), JobUID: string(f.text[textJobUID]), Borrower: string(f.text[textBorrower]),
		ReclaimID: string(f.text[textReclaim]), Reason: string(f.text[textReason]), Message: string(f.text[textMessage]),
		Corrects: f.corrects, PrevHash: f.prev, Hash: f.hash,
	}
	if f.at != 0 {
		e.At = time.Unix(0, f.at).UTC()
	}
	for _, g := range f.grants {
		e.Grants = append(e.Grants, Grant{string(g.lender), string(g.node), string(g.flavor), g.count})
	}
	for _, v := range f.signals {
		e.Signals = append(e.Signals, Value{string(v.name), math.Float64frombits(v.bits)})
	}
	if len(f.payload) > 0 {
		e.Payload = bytes.Clone(f.payload)
	}
	return e, nil
}

// splitCRC checks the last four bytes and returns what is before them.
func splitCRC(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, errShort
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, errChecksum
	}
	return body, nil
}

// reader takes fields from the front of b; after the first error every read
// gives zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// str is a text, in the bytes that are read.
func (r *reader) str() []byte {
	text, rest, ok := cut(r.b)
	if !ok || r.err != nil {
		r.fail(errShort)
		return nil
	}
	r.b = rest
	return text
}

// cut takes a text, which has its length before it, from the front of b.
func cut(b []byte) (text, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	end := 4 + uint64(binary.BigEndian.Uint32(b))
	if end > uint64(len(b)) {
		return nil, nil, false
	}
	return b[4:end:end], b[end:], true
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// count reads a number of elements of at least size bytes each.
func (r *reader) count(size int) int {
	n := r.u32()
	if uint64(n)*uint64(size) > uint64(len(r.b)) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}
