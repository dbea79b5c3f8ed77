package books

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"unicode/utf8"
)

// Grant is units of one flavor on one node; Lender is empty for the borrower's own quota.
type Grant struct {
	Lender, Node, Flavor string
	Count                int64
}

// Signal is one value that a verdict was made from.
type Signal struct {
	Name  string
	Value float64
}

// Record is one entry as its bytes say.
type Record struct {
	Kind           uint8
	Seq            uint64
	Epoch          int64
	Time, At, Mono int64 // nanoseconds; At is 0 if absent

	BootID, OpID, Loan, Job, JobUID, Borrower, ReclaimID, Reason, Message string

	Corrects       uint64
	Grants         []Grant
	Signals        []Signal
	Payload        string
	PrevHash, Hash [32]byte
}

var (
	errCRC      = errors.New("the checksum is wrong")
	errShort    = errors.New("the record ends early")
	errLong     = errors.New("the record goes on after its end")
	errVersion  = errors.New("the record's version is not known")
	errUTF8     = errors.New("a text is not UTF-8")
	errUnsorted = errors.New("grants or signals are not in order")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// body is what a checksum is about.
func body(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, errShort
	}
	n := len(b) - 4
	if crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil, errCRC
	}
	return b[:n], nil
}

// fields reads big-endian fields from the front; after the first error all are zero.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) bytes(n uint64) []byte {
	if f.err == nil && n > uint64(len(f.rest)) {
		f.err = errShort
	}
	if f.err != nil {
		return nil
	}
	out := f.rest[:n]
	f.rest = f.rest[n:]
	return out
}

func (f *fields) number(size uint64) uint64 {
	var v uint64
	for _, b := range f.bytes(size) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (f *fields) text() string {
	s := string(f.bytes(f.number(4)))
	if f.err == nil && !utf8.ValidString(s) {
		f.err = errUTF8
	}
	return s
}

func (f *fields) hash() (h [32]byte) {
	copy(h[:], f.bytes(32))
	return h
}

// done is the first error, or that something is left.
func (f *fields) done() error {
	if f.err == nil && len(f.rest) > 0 {
		f.err = errLong
	}
	return f.err
}

// decode reads a record with its checksum.
func decode(raw []byte) (Record, error) {
	b, err := body(raw)
	if err != nil {
		return Record{}, err
	}
	f := fields{rest: b}
	if version := f.number(1); f.err == nil && version != 1 {
		return Record{}, errVersion
	}
	r := Record{Kind: uint8(f.number(1)), Seq: f.number(8), Epoch: int64(f.number(8))}
	r.Time, r.At, r.Mono = int64(f.number(8)), int64(f.number(8)), int64(f.number(8))
	for _, s := range []*string{&r.BootID, &r.OpID, &r.Loan, &r.Job, &r.JobUID, &r.Borrower, &r.ReclaimID, &r.Reason, &r.Message} {
		*s = f.text()
	}
	r.Corrects = f.number(8)
	for n := f.number(4); n > 0 && f.err == nil; n-- {
		r.Grants = append(r.Grants, Grant{Lender: f.text(), Node: f.text(), Flavor: f.text(), Count: int64(f.number(8))})
	}
	for n := f.number(4); n > 0 && f.err == nil; n-- {
		r.Signals = append(r.Signals, Signal{Name: f.text(), Value: math.Float64frombits(f.number(8))})
	}
	r.Payload = f.text()
	r.PrevHash = f.hash()
	r.Hash = sha256.Sum256(b)
	if err := f.done(); err != nil {
		return Record{}, err
	}
	return r, inOrder(&r)
}

func inOrder(r *Record) error {
	for i := 1; i < len(r.Grants); i++ {
		a, b := r.Grants[i-1], r.Grants[i]
		if a.Lender > b.Lender || a.Lender == b.Lender && (a.Node > b.Node || a.Node == b.Node && a.Flavor > b.Flavor) {
			return errUnsorted
		}
	}
	for i := 1; i < len(r.Signals); i++ {
		if r.Signals[i-1].Name >= r.Signals[i].Name {
			return errUnsorted
		}
	}
	return nil
}
