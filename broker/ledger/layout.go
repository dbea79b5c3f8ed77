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
const schemaVersion = 2

// The buckets. Only meta and log are sacred: the others follow from the log.
var (
	bucketMeta   = []byte("meta")
	bucketLog    = []byte("log")
	bucketOp     = []byte("by_op")
	bucketLoan   = []byte("by_loan")
	bucketTenant = []byte("by_tenant")
	bucketOpen   = []byte("open")
	bucketAcct   = []byte("acct")
	bucketMonth  = []byte("month")

	sacredBuckets  = [][]byte{bucketMeta, bucketLog}
	derivedBuckets = [][]byte{bucketOp, bucketLoan, bucketTenant, bucketOpen, bucketAcct, bucketMonth}

	keyIdentity = []byte("identity")
	keyBorn     = []byte("born")
	keyHead     = []byte("head")
)

// identity says which ledger this is. It never changes, and its hash is what the
// first entry's PrevHash must be, so a file cannot be passed off as another. A
// segment that continues an older file has that file's head as its base.
type identity struct {
	Schema uint32
	// Born is the schema that the file was made with, which its hash has in Schema's
	// place: a file that was migrated goes on with the same chain. It stands in meta/born
	// where it is another.
	Born       uint32
	ID         [16]byte
	ClusterUID string
	Created    time.Time
	BaseSeq    uint64
	BasePrev   Hash
}

func newIdentity(clusterUID string, now time.Time) identity {
	id := identity{Schema: schemaVersion, Born: schemaVersion, ClusterUID: clusterUID, Created: now.UTC()}
	rand.Read(id.ID[:])
	return id
}

func (id identity) idString() string { return hex.EncodeToString(id.ID[:]) }

func (id identity) body(schema uint32) []byte {
	b := putU32(nil, schema)
	b = append(b, id.ID[:]...)
	b = putString(b, id.ClusterUID)
	b = putU64(b, uint64(id.Created.UnixNano()))
	b = putU64(b, id.BaseSeq)
	return append(b, id.BasePrev[:]...)
}

func (id identity) encode() []byte { return appendCRC(id.body(id.Schema)) }

// baseHash is the PrevHash of the first entry.
func (id identity) baseHash() Hash { return sha256.Sum256(id.body(id.Born)) }

// readIdentity reads who the ledger is; see decodeIdentity.
func readIdentity(tx *bolt.Tx) (identity, error) {
	meta := tx.Bucket(bucketMeta)
	id, err := decodeIdentity(meta.Get(keyIdentity))
	if raw := meta.Get(keyBorn); err == nil && raw != nil {
		var body []byte
		if body, err = splitCRC(raw); err == nil && len(body) != 4 {
			err = errTrailing
		}
		if err == nil {
			id.Born = binary.BigEndian.Uint32(body)
		}
	}
	return id, err
}

// decodeIdentity fails with ErrNewerSchema if the checksum holds but the schema
// is above this release's.
func decodeIdentity(b []byte) (identity, error) {
	body, err := splitCRC(b)
	if err != nil {
		return identity{}, err
	}
	r := reader{b: body}
	id := identity{Schema: r.u32()}
	id.Born = id.Schema
	if r.err == nil && id.Schema > schemaVersion {
		return id, fmt.Errorf("%w: schema %d, this release reads up to %d", ErrNewerSchema, id.Schema, schemaVersion)
	}
	copy(id.ID[:], r.take(len(id.ID)))
	id.ClusterUID = string(r.str())
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

// row is one key and value of a bucket.
type row struct{ bucket, key, value []byte }

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

// puts writes rows into a transaction, and tells trace of each.
type puts struct {
	tx    *bolt.Tx
	trace func(bucket, key, value []byte)
}

func (p puts) put(bucket, key, value []byte) error {
	b := p.tx.Bucket(bucket)
	if bytes.Equal(bucket, bucketLog) {
		b.FillPercent = 1 // keys only grow
	}
	if p.trace != nil {
		p.trace(bucket, key, value)
	}
	if err := b.Put(key, value); err != nil {
		return fmt.Errorf("put into bucket %s: %w", bucket, err)
	}
	return nil
}

func (p puts) all(rows []row) error {
	for _, r := range rows {
		if err := p.put(r.bucket, r.key, r.value); err != nil {
			return err
		}
	}
	return nil
}

func (p puts) remove(bucket, key []byte) error {
	if p.trace != nil {
		p.trace(bucket, key, nil)
	}
	return p.tx.Bucket(bucket).Delete(key)
}

// record adds one entry and everything that follows from it. s is the state
// before the entry.
func (p puts) record(s *state, e *Entry, raw []byte, c *change) error {
	if err := p.put(bucketLog, seqKey(e.Seq), raw); err != nil {
		return err
	}
	if err := p.index(s, e, c); err != nil {
		return err
	}
	rows := make([]row, 0, 8)
	for _, b := range c.bookings {
		rows = append(rows, acctRow(b.key, valueAt(s.balances, b.key)+b.unitMS))
	}
	for _, m := range c.months {
		sum := valueAt(s.months, m.key)
		sum.Add(&m.amounts)
		rows = append(rows, monthRow(m.key, &sum))
	}
	if c.moves && !c.closed {
		rows = append(rows, openRow(&c.loan))
	}
	if err := p.all(append(rows, row{bucketMeta, keyHead, head{e.Seq, e.Hash, e.Epoch}.encode()})); err != nil {
		return err
	}
	if c.closed {
		return p.remove(bucketOpen, []byte(c.loan.JobUID))
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
