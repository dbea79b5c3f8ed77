package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// scanChunk is how many entries one read transaction verifies. A transaction
// that stays open keeps the writer from reusing pages.
const scanChunk = 4096

// Check verifies the ledger at path without changing it and without starting a
// broker on it. The error says only that the check could not be made (ErrLocked
// while a broker runs, a missing file); what is wrong with the ledger is in the
// report.
func Check(path string) (*Report, error) {
	return checkFile(path, openParams{readOnly: true, timeout: DefaultTimeout})
}

func checkFile(path string, p openParams) (*Report, error) {
	file, faults, err := openBolt(path, p)
	if err != nil {
		return nil, err
	}
	report := &Report{Path: path}
	if file.info != nil {
		report.Bytes = file.info.Size()
	}
	report.add(faults...)
	if len(faults) > 0 {
		return report, nil
	}
	_, err = verifyAll(file.db, report)
	if err = errors.Join(err, file.db.Close()); err != nil {
		return nil, fmt.Errorf("check ledger %s: %w", path, err)
	}
	return report, nil
}

// Verify is Check for the live ledger: bbolt's lock keeps other processes out.
// Appends wait while the pages are read (about half a second for a million
// entries), not while the entries are verified.
func (l *Ledger) Verify() (*Report, error) {
	report := &Report{Path: l.path}
	if err := l.verifyPages(report); err != nil {
		return nil, fmt.Errorf("verify ledger %s: %w", l.path, err)
	}
	if !report.OK() {
		return report, nil
	}
	if _, err := verifyContent(l.db, report); err != nil {
		return nil, fmt.Errorf("verify ledger %s: %w", l.path, err)
	}
	return report, nil
}

func (l *Ledger) verifyPages(report *Report) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	report.Bytes = info.Size()
	if !os.SameFile(info, l.info) {
		report.add(Fault{Where: "file", Text: "was replaced under the running broker, which still writes to the old one", sentinel: ErrCorrupt})
		return nil
	}
	report.add(checkPages(f, info.Size(), false)...)
	return nil
}

// verifyAll needs a file that nobody writes. It also runs bbolt's own check.
func verifyAll(db *bolt.DB, report *Report) (*state, error) {
	err := db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			report.add(Fault{Where: "bbolt", Text: err.Error(), sentinel: ErrCorrupt})
		}
		return nil
	})
	if err != nil || !report.OK() {
		return nil, err
	}
	return verifyContent(db, report)
}

// verifyContent walks the log in short read transactions and fills in the
// report. The state is that at the head, nil if there are faults.
func verifyContent(db *bolt.DB, report *Report) (*state, error) {
	v := newVerifier(report)
	for done := false; !done; {
		err := db.View(func(tx *bolt.Tx) error {
			done = v.chunk(tx, scanChunk)
			if done {
				v.finish(tx)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if !report.OK() {
		return nil, nil
	}
	return v.state, nil
}

// digest is a sum over rows that does not depend on their order, so that an
// index can be compared with the log in one pass over each.
type digest struct {
	rows uint64
	sum  uint64
}

func (d *digest) add(seed maphash.Seed, key, value []byte) {
	var h maphash.Hash
	h.SetSeed(seed)
	h.Write(binary.AppendUvarint(nil, uint64(len(key))))
	h.Write(key)
	h.Write(value)
	d.rows++
	d.sum += h.Sum64()
}

// verifier replays the log from its first entry.
type verifier struct {
	report *Report
	state  *state
	closed map[string]bool // loans that were closed
	want   map[string]*digest
	seed   maphash.Seed
	// onEntry, if set, gets each entry that replays, and its loan's state.
	onEntry func(*Entry, LoanState) error

	started bool
	lastKey []byte
	next    uint64 // sequence number that must come now
	prev    Hash   // hash that it must carry
	resync  bool   // the entry before was bad, so prev is not known
	broken  bool   // the log has a fault, so nothing after it is replayed
}

func newVerifier(report *Report) *verifier {
	v := &verifier{report: report, closed: map[string]bool{}, want: map[string]*digest{}, seed: maphash.MakeSeed()}
	for _, name := range derivedBuckets {
		v.want[string(name)] = &digest{}
	}
	return v
}

func (v *verifier) fault(sentinel error, where, text string, args ...any) {
	v.report.add(Fault{Where: where, Text: fmt.Sprintf(text, args...), sentinel: sentinel})
}

func (v *verifier) badEntry(sentinel error, seq uint64, text string, args ...any) {
	v.broken = true
	v.report.add(Fault{Seq: seq, Where: fmt.Sprintf("entry %d", seq), Text: fmt.Sprintf(text, args...), sentinel: sentinel})
}

// start reads who the ledger is; false if there is nothing to walk.
func (v *verifier) start(tx *bolt.Tx) bool {
	v.started = true
	for _, name := range sacredBuckets {
		if tx.Bucket(name) == nil {
			v.fault(ErrCorrupt, string(name), "the bucket is missing")
			return false
		}
	}
	id, err := decodeIdentity(tx.Bucket(bucketMeta).Get(keyIdentity))
	switch {
	case errors.Is(err, ErrNewerSchema):
		v.fault(ErrNewerSchema, "meta", "schema %d, this release reads up to %d", id.Schema, schemaVersion)
		return false
	case err != nil:
		v.fault(ErrCorrupt, "meta", "identity: %v", err)
		return false
	}
	v.report.ID, v.report.ClusterUID, v.report.Created = id.idString(), id.ClusterUID, id.Created
	v.state = newState(id.baseHash())
	v.state.seq, v.next, v.prev = id.BaseSeq, id.BaseSeq+1, id.baseHash()
	return true
}

// chunk verifies up to n entries after the last one and tells whether the log
// ended.
func (v *verifier) chunk(tx *bolt.Tx, n int) bool {
	if !v.started && !v.start(tx) {
		return true
	}
	c := tx.Bucket(bucketLog).Cursor()
	key, raw := c.Seek(v.lastKey)
	if v.lastKey == nil {
		key, raw = c.First()
	} else if bytes.Equal(key, v.lastKey) {
		key, raw = c.Next()
	}
	for ; key != nil && n > 0; n-- {
		v.record(key, raw)
		v.lastKey = bytes.Clone(key)
		key, raw = c.Next()
	}
	return key == nil
}

func (v *verifier) record(key, raw []byte) {
	if len(key) != 8 {
		v.broken = true
		v.fault(ErrCorrupt, "log", "key %x is not a sequence number", key)
		return
	}
	seq := binary.BigEndian.Uint64(key)
	switch {
	case seq > v.next:
		v.badEntry(ErrCorrupt, v.next, "entries %d to %d are missing", v.next, seq-1)
		v.resync = true
	case seq < v.next:
		v.badEntry(ErrCorrupt, seq, "is before the ledger's first entry %d", v.next)
		return
	}
	v.next = seq + 1
	e, err := decode(raw)
	switch {
	case errors.Is(err, ErrNewerSchema):
		v.badEntry(ErrNewerSchema, seq, "%v", err)
	case err != nil:
		v.badEntry(ErrCorrupt, seq, "%v", err)
	case e.Seq != seq:
		v.badEntry(ErrCorrupt, seq, "calls itself %d", e.Seq)
	case !v.resync && e.PrevHash != v.prev:
		v.badEntry(ErrCorrupt, seq, "follows an entry with hash %s, but the one before has %s", e.PrevHash, v.prev)
	}
	if v.resync = err != nil; v.resync {
		return
	}
	v.prev = e.Hash
	v.report.Entries++
	v.report.HeadSeq, v.report.HeadHash, v.report.Epoch = seq, e.Hash, e.Epoch
	if !v.broken {
		v.replay(&e)
	}
}

func (v *verifier) replay(e *Entry) {
	c, err := v.state.plan(e, v.closed[e.Loan])
	if err != nil {
		v.badEntry(ErrCorrupt, e.Seq, "cannot follow the entries before it: %v", err)
		return
	}
	v.state.apply(e, c)
	if c.closed {
		v.closed[e.Loan] = true
	}
	for _, r := range indexRows(e, c.loanState) {
		v.want[string(r.bucket)].add(v.seed, r.key, r.value)
	}
	if v.onEntry != nil {
		if err := v.onEntry(e, c.loanState); err != nil {
			v.badEntry(ErrCorrupt, e.Seq, "%v", err)
		}
	}
}

// finish compares the end of the log with what the file says about it. It must
// see the same transaction as the last chunk.
func (v *verifier) finish(tx *bolt.Tx) {
	if v.state == nil {
		return
	}
	h, err := decodeHead(tx.Bucket(bucketMeta).Get(keyHead))
	switch {
	case err != nil:
		v.broken = true
		v.fault(ErrCorrupt, "meta", "head: %v", err)
	case h.Seq >= v.next:
		v.badEntry(ErrCorrupt, v.next, "entries %d to %d are missing at the end", v.next, h.Seq)
	case !v.broken && (h.Seq != v.state.seq || h.Hash != v.state.hash || h.Epoch != v.state.epoch):
		v.broken = true
		v.fault(ErrCorrupt, "meta", "head says entry %d with hash %s, the log ends at %d with %s", h.Seq, h.Hash, v.state.seq, v.state.hash)
	}
	if v.broken {
		return
	}
	if v.report.Entries == 0 {
		v.report.HeadSeq, v.report.HeadHash = h.Seq, h.Hash
	}
	v.report.OpenLoans, v.report.Balances = v.state.openLoans(), v.state.sortedBalances()
	v.sums()
	v.derived(tx)
}

// sums checks the double entry: per flavor everything adds up to 0.
func (v *verifier) sums() {
	sums := map[string]int64{}
	var flavors []string
	for _, b := range v.report.Balances {
		if _, ok := sums[b.Flavor]; !ok {
			flavors = append(flavors, b.Flavor)
		}
		sums[b.Flavor] += b.UnitMS
	}
	slices.Sort(flavors)
	for _, flavor := range flavors {
		if sums[flavor] != 0 {
			v.fault(ErrCorrupt, "balances", "those of %s add up to %d, not to 0", flavor, sums[flavor])
		}
	}
}

// derived compares indexes, open loans and balances with those of the replay.
func (v *verifier) derived(tx *bolt.Tx) {
	for _, r := range v.stateRows() {
		v.want[string(r.bucket)].add(v.seed, r.key, r.value)
	}
	for _, name := range derivedBuckets {
		bucket := tx.Bucket(name)
		if bucket == nil {
			v.fault(ErrDerived, string(name), "the bucket is missing")
			continue
		}
		var have digest
		for c, k, val := cursor(bucket); k != nil; k, val = c.Next() {
			have.add(v.seed, k, val)
		}
		if want := v.want[string(name)]; have != *want {
			v.fault(ErrDerived, string(name), "has %d rows that differ from the %d that follow from the log", have.rows, want.rows)
		}
	}
}

func cursor(b *bolt.Bucket) (c *bolt.Cursor, key, value []byte) {
	c = b.Cursor()
	key, value = c.First()
	return c, key, value
}

// stateRows are the rows of the open and acct buckets at the head.
func (v *verifier) stateRows() []row {
	var rows []row
	for _, loan := range v.state.open {
		rows = append(rows, openRow(loan))
	}
	for key, amount := range v.state.balances {
		rows = append(rows, acctRow(key, amount))
	}
	return rows
}
