package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

// recordVersion is the first byte of every record. A record keeps its version
// for ever; a new layout gets a new number and a decoder beside this one.
const recordVersion = 1

// The smallest encodings of a grant and a signal; they bound what a damaged
// count can make the decoder allocate.
const (
	minGrantBytes  = 3*4 + 8
	minSignalBytes = 4 + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errShort    = errors.New("record ends early")
	errTrailing = errors.New("record has bytes after its end")
	errChecksum = errors.New("record checksum does not match")
)

// encode returns the stored form of e, that is its canonical bytes and their
// CRC-32C, and the hash of the canonical bytes. Seq and PrevHash must be set;
// Hash is not part of the record.
func encode(e *Entry) ([]byte, Hash) {
	b := make([]byte, 0, 512)
	b = append(b, recordVersion, byte(e.Kind))
	b = putU64(b, e.Seq)
	b = putU64(b, uint64(e.Epoch))
	b = putU64(b, uint64(e.Time.UnixNano()))
	b = putU64(b, uint64(nanos(e.At)))
	b = putU64(b, uint64(e.MonoNS))
	for _, s := range []string{
		e.BootID, e.OpID, e.Loan, e.Job, e.JobUID, e.Borrower, e.ReclaimID, e.Reason, e.Message,
	} {
		b = putString(b, s)
	}
	b = putU64(b, e.Corrects)
	b = putU32(b, uint32(len(e.Grants)))
	for _, g := range e.Grants {
		b = putString(b, g.Lender)
		b = putString(b, g.Node)
		b = putString(b, g.Flavor)
		b = putU64(b, uint64(g.Count))
	}
	b = putU32(b, uint32(len(e.Signals)))
	for _, v := range e.Signals {
		b = putString(b, v.Name)
		b = putU64(b, math.Float64bits(v.Value))
	}
	b = putString(b, string(e.Payload))
	b = append(b, e.PrevHash[:]...)
	return appendCRC(b), sha256.Sum256(b)
}

// decode is the inverse of encode: it accepts exactly what encode can produce,
// returns slices that share nothing with b, and sets Hash. It does not judge
// whether the entry makes sense.
func decode(b []byte) (Entry, error) {
	body, err := splitCRC(b)
	if err != nil {
		return Entry{}, err
	}
	// The checksum is the last four bytes in every version, so a version that gets
	// here is a newer writer's and not a flipped bit.
	if len(body) > 0 && body[0] != recordVersion {
		return Entry{}, fmt.Errorf("%w: record version %d, this release reads %d", ErrNewerSchema, body[0], recordVersion)
	}
	r := reader{b: body}
	e := Entry{}
	r.u8() // version
	e.Kind = Kind(r.u8())
	e.Seq = r.u64()
	e.Epoch = int64(r.u64())
	e.Time = time.Unix(0, int64(r.u64())).UTC()
	if at := int64(r.u64()); at != 0 {
		e.At = time.Unix(0, at).UTC()
	}
	e.MonoNS = int64(r.u64())
	for _, s := range []*string{
		&e.BootID, &e.OpID, &e.Loan, &e.Job, &e.JobUID, &e.Borrower, &e.ReclaimID, &e.Reason, &e.Message,
	} {
		*s = r.str()
	}
	e.Corrects = r.u64()
	e.Grants = r.grants()
	e.Signals = r.signals()
	if payload := r.str(); payload != "" {
		e.Payload = []byte(payload)
	}
	copy(e.PrevHash[:], r.take(len(e.PrevHash)))
	if r.err != nil {
		return Entry{}, r.err
	}
	if len(r.b) > 0 {
		return Entry{}, errTrailing
	}
	if _, ok := kindNames[e.Kind]; !ok {
		return Entry{}, fmt.Errorf("%w: record kind %d is not known", ErrNewerSchema, uint8(e.Kind))
	}
	e.Hash = sha256.Sum256(body)
	return e, nil
}

// nanos maps the zero time, which has no UnixNano, to 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func putU32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func putU64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func putString(b []byte, s string) []byte {
	return append(putU32(b, uint32(len(s))), s...)
}

// appendCRC returns b with its CRC-32C after it.
func appendCRC(b []byte) []byte { return putU32(b, crc32.Checksum(b, castagnoli)) }

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
		if r.err == nil {
			r.err = errShort
		}
		return nil
	}
	out := r.b[:n]
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

func (r *reader) str() string {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		r.fail(errShort)
		return ""
	}
	return string(r.take(int(n)))
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

func (r *reader) grants() []Grant {
	n := r.count(minGrantBytes)
	if n == 0 {
		return nil
	}
	out := make([]Grant, n)
	for i := range out {
		out[i] = Grant{Lender: r.str(), Node: r.str(), Flavor: r.str(), Count: int64(r.u64())}
		if i > 0 && compareGrants(out[i-1], out[i]) > 0 {
			r.fail(errors.New("record's grants are not sorted"))
		}
	}
	return out
}

func (r *reader) signals() []Value {
	n := r.count(minSignalBytes)
	if n == 0 {
		return nil
	}
	out := make([]Value, n)
	for i := range out {
		name, bits := r.str(), r.u64()
		out[i] = Value{Name: name, Value: math.Float64frombits(bits)}
		if i > 0 && out[i-1].Name >= name {
			r.fail(errors.New("record's signals are not sorted"))
		}
		if math.IsNaN(out[i].Value) && bits != math.Float64bits(math.NaN()) {
			r.fail(errors.New("record has a NaN in a form that is not canonical"))
		}
	}
	return out
}
