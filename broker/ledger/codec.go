package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"
)

// recordVersion is the first byte of every record. A record keeps its version
// for ever; a new layout gets a new number and a decoder beside this one's.
const recordVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

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
