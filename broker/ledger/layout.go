package ledger

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// schemaVersion is that of the buckets; records have their own.
const schemaVersion = 1

// The buckets. Only meta and log are sacred: the others follow from the log.
var (
	bucketMeta   = []byte("meta")
	bucketLog    = []byte("log")
	bucketOp     = []byte("by_op")
	bucketLoan   = []byte("by_loan")
	bucketTenant = []byte("by_tenant")
	bucketOpen   = []byte("open")
	bucketAcct   = []byte("acct")

	sacredBuckets  = [][]byte{bucketMeta, bucketLog}
	derivedBuckets = [][]byte{bucketOp, bucketLoan, bucketTenant, bucketOpen, bucketAcct}

	keyIdentity = []byte("identity")
	keyHead     = []byte("head")
)

// identity says which ledger this is. It never changes, and its hash is what the
// first entry's PrevHash must be, so a file cannot be passed off as another. A
// segment that continues an older file has that file's head as its base.
type identity struct {
	Schema     uint32
	ID         [16]byte
	ClusterUID string
	Created    time.Time
	BaseSeq    uint64
	BasePrev   Hash
}

func newIdentity(clusterUID string, now time.Time) identity {
	id := identity{Schema: schemaVersion, ClusterUID: clusterUID, Created: now.UTC()}
	rand.Read(id.ID[:])
	return id
}

func (id identity) idString() string { return hex.EncodeToString(id.ID[:]) }

func (id identity) body() []byte {
	b := putU32(nil, id.Schema)
	b = append(b, id.ID[:]...)
	b = putString(b, id.ClusterUID)
	b = putU64(b, uint64(id.Created.UnixNano()))
	b = putU64(b, id.BaseSeq)
	return append(b, id.BasePrev[:]...)
}

func (id identity) encode() []byte { return appendCRC(id.body()) }

// baseHash is the PrevHash of the first entry.
func (id identity) baseHash() Hash { return sha256.Sum256(id.body()) }

// decodeIdentity fails with ErrNewerSchema if the checksum holds but the schema
// is above this release's.
func decodeIdentity(b []byte) (identity, error) {
	body, err := splitCRC(b)
	if err != nil {
		return identity{}, err
	}
	r := reader{b: body}
	id := identity{Schema: r.u32()}
	if r.err == nil && id.Schema > schemaVersion {
		return id, fmt.Errorf("%w: schema %d, this release reads up to %d", ErrNewerSchema, id.Schema, schemaVersion)
	}
	copy(id.ID[:], r.take(len(id.ID)))
	id.ClusterUID = r.str()
	id.Created = time.Unix(0, int64(r.u64())).UTC()
	id.BaseSeq = r.u64()
	copy(id.BasePrev[:], r.take(len(id.BasePrev)))
	if r.err == nil && len(r.b) > 0 {
		r.err = errTrailing
	}
	return id, r.err
}

// head repeats what the last entry says. A log that ends before it has lost
// entries.
type head struct {
	Seq   uint64
	Hash  Hash
	Epoch int64
}

func (h head) encode() []byte {
	b := putU64(nil, h.Seq)
	b = append(b, h.Hash[:]...)
	return appendCRC(putU64(b, uint64(h.Epoch)))
}

func decodeHead(b []byte) (head, error) {
	body, err := splitCRC(b)
	if err != nil {
		return head{}, err
	}
	r := reader{b: body}
	h := head{Seq: r.u64()}
	copy(h.Hash[:], r.take(len(h.Hash)))
	h.Epoch = int64(r.u64())
	if r.err == nil && len(r.b) > 0 {
		r.err = errTrailing
	}
	return h, r.err
}

func seqKey(seq uint64) []byte { return putU64(nil, seq) }

// prefixKey is name, 0x00 and whatever follows.
func prefixKey(name string) []byte { return append([]byte(name), 0) }

func opKey(opID string, kind Kind) []byte { return append(prefixKey(opID), byte(kind)) }

// row is one key and value of a bucket.
type row struct{ bucket, key, value []byte }

// indexRows are what one entry adds to the indexes; after is its loan's state.
// Values are never empty: bbolt cannot tell an empty one from a missing one.
func indexRows(e *Entry, after LoanState) []row {
	seq := seqKey(e.Seq)
	rows := []row{{bucketOp, opKey(e.OpID, e.Kind), seq}}
	if e.Loan != "" {
		rows = append(rows, row{bucketLoan, append(prefixKey(e.Loan), seq...), []byte{byte(after)}})
	}
	if e.Borrower != "" {
		rows = append(rows, row{bucketTenant, append(prefixKey(e.Borrower), seq...), []byte{1}})
	}
	return rows
}

// openRow stands under the job, so that two open loans of one job cannot both
// exist in the file either.
func openRow(loan *OpenLoan) row {
	b := []byte{byte(loan.State)}
	b = putU64(b, loan.FirstSeq)
	b = putU64(b, loan.LastSeq)
	b = putU64(b, loan.StartSeq)
	return row{bucketOpen, []byte(loan.JobUID), append(b, loan.Loan...)}
}

func acctRow(key balanceKey, unitMS int64) row {
	k := append(prefixKey(string(key.account.Side)), prefixKey(key.account.Name)...)
	return row{bucketAcct, append(k, key.flavor...), putU64(nil, uint64(unitMS))}
}

// writeRecord adds one entry and everything that follows from it. s is the state
// before the entry.
func writeRecord(tx *bolt.Tx, s *state, e *Entry, raw []byte, c change) error {
	log := tx.Bucket(bucketLog)
	log.FillPercent = 0.9 // keys only grow
	rows := append(indexRows(e, c.loanState), row{bucketLog, seqKey(e.Seq), raw})
	for key, amount := range c.bookings {
		rows = append(rows, acctRow(key, s.balances[key]+amount))
	}
	if c.loan != nil && !c.closed {
		rows = append(rows, openRow(c.loan))
	}
	rows = append(rows, row{bucketMeta, keyHead, head{e.Seq, e.Hash, e.Epoch}.encode()})
	for _, r := range rows {
		if err := tx.Bucket(r.bucket).Put(r.key, r.value); err != nil {
			return fmt.Errorf("put into bucket %s: %w", r.bucket, err)
		}
	}
	if c.closed {
		return tx.Bucket(bucketOpen).Delete([]byte(c.loan.JobUID))
	}
	return nil
}

var errNoEntry = errors.New("no such entry")

func readRecord(tx *bolt.Tx, seq uint64) (Entry, error) {
	raw := tx.Bucket(bucketLog).Get(seqKey(seq))
	if raw == nil {
		return Entry{}, fmt.Errorf("read entry %d: %w", seq, errNoEntry)
	}
	return decodeAt(seq, raw)
}

func decodeAt(seq uint64, raw []byte) (Entry, error) {
	e, err := decode(raw)
	switch {
	case errors.Is(err, ErrNewerSchema):
		return Entry{}, fmt.Errorf("entry %d: %w: %s", seq, err, adviceNewer)
	case err != nil:
		return Entry{}, fmt.Errorf("%w: entry %d: %w: %s", ErrCorrupt, seq, err, adviceRestore)
	case e.Seq != seq:
		return Entry{}, fmt.Errorf("%w: entry %d calls itself %d: %s", ErrCorrupt, seq, e.Seq, adviceRestore)
	}
	return e, nil
}

// findOp looks an operation up in its index.
func findOp(tx *bolt.Tx, opID string, kind Kind) (Entry, bool, error) {
	v := tx.Bucket(bucketOp).Get(opKey(opID, kind))
	if v == nil {
		return Entry{}, false, nil
	}
	if len(v) != 8 {
		return Entry{}, false, fmt.Errorf("%w: operation %s has a row of %d bytes: %s", ErrDerived, opID, len(v), adviceReindex)
	}
	e, err := readRecord(tx, binary.BigEndian.Uint64(v))
	if err != nil {
		return Entry{}, false, err
	}
	if e.OpID != opID || e.Kind != kind {
		return Entry{}, false, fmt.Errorf("%w: operation %s points at entry %d, which is not it: %s", ErrDerived, opID, e.Seq, adviceReindex)
	}
	return e, true, nil
}

// wasClosed tells from the index whether the loan's last entry left it closed.
func wasClosed(tx *bolt.Tx, loan string) bool {
	if loan == "" {
		return false
	}
	prefix := prefixKey(loan)
	c := tx.Bucket(bucketLoan).Cursor()
	var v []byte
	k, _ := c.Seek(append(bytes.Clone(prefix), bytes.Repeat([]byte{0xff}, 9)...))
	if k == nil {
		k, v = c.Last()
	} else {
		k, v = c.Prev()
	}
	return bytes.HasPrefix(k, prefix) && len(v) == 1 && LoanState(v[0]) == Closed
}
