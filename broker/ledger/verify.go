package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// scanChunk is how many entries one read transaction verifies. A transaction
// that stays open keeps the writer from reusing pages.
const scanChunk = 1 << 15

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
	report := &Report{Path: l.Path()}
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

// verifyAll is verifyContent after bbolt's own check, which looks at less than checkPages
// does, but by other code. It needs a file that nobody writes.
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

// verifier replays the log from its first entry.
type verifier struct {
	report *Report
	schema uint32
	state  *state
	closed hashSet // names of loans that were closed
	want   map[string]*digest
	hash   *hasher
	seed   maphash.Seed
	// onEntry, if set, gets each entry that can follow, before the state moves. The entry
	// lacks what the replay does not need; it is valid until the call returns, and so is
	// the record.
	onEntry func(e *Entry, c *change, p *parsed) error

	started bool
	lastKey []byte
	next    uint64 // sequence number that must come now
	prev    Hash   // hash that it must carry
	resync  bool   // the entry before was bad, so prev is not known
	broken  bool   // the log has a fault, so nothing after it is replayed

	blocks []*block
	e      Entry
	grants []Grant // e's, where they are not its loan's
	names  strings.Builder
	texts  [1 << 12]string    // by hash
	near   [1 << 12]*OpenLoan // by hash
	// The digests that every entry adds to.
	op, loan, tenant *digest
}

func newVerifier(report *Report) *verifier {
	v := &verifier{
		report: report, want: map[string]*digest{}, seed: maphash.MakeSeed(),
	}
	for _, name := range derivedBuckets {
		v.want[string(name)] = &digest{}
	}
	v.hash = newHasher(v.seed)
	v.op, v.loan, v.tenant = v.want[string(bucketOp)], v.want[string(bucketLoan)], v.want[string(bucketTenant)]
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
	id, err := readIdentity(tx)
	switch {
	case errors.Is(err, ErrNewerSchema):
		v.fault(ErrNewerSchema, "meta", "schema %d, this release reads up to %d", id.Schema, schemaVersion)
		return false
	case err != nil:
		v.fault(ErrCorrupt, "meta", "identity: %v", err)
		return false
	}
	v.report.ID, v.report.ClusterUID, v.report.Created = id.idString(), id.ClusterUID, id.Created
	v.schema, v.state = id.Schema, newState(id.baseHash(), id.BaseSeq)
	v.report.schema = id.Schema
	v.next, v.prev = id.BaseSeq+1, id.baseHash()
	return true
}

func (v *verifier) record(p *parsed) {
	if len(p.key) != 8 {
		v.broken = true
		v.fault(ErrCorrupt, "log", "key %x is not a sequence number", p.key)
		return
	}
	seq := binary.BigEndian.Uint64(p.key)
	switch {
	case seq > v.next:
		v.badEntry(ErrCorrupt, v.next, "entries %d to %d are missing", v.next, seq-1)
		v.resync = true
	case seq < v.next:
		v.badEntry(ErrCorrupt, seq, "is before the ledger's first entry %d", v.next)
		return
	}
	v.next = seq + 1
	switch {
	case errors.Is(p.err, ErrNewerSchema):
		v.badEntry(ErrNewerSchema, seq, "%v", p.err)
	case p.err != nil:
		v.badEntry(ErrCorrupt, seq, "%v", p.err)
	case p.seq != seq:
		v.badEntry(ErrCorrupt, seq, "calls itself %d", p.seq)
	case !v.resync && p.prev != v.prev:
		v.badEntry(ErrCorrupt, seq, "follows an entry with hash %s, but the one before has %s", p.prev, v.prev)
	}
	if v.resync = p.err != nil; v.resync {
		return
	}
	v.prev = p.hash
	v.report.Entries++
	v.report.HeadSeq, v.report.HeadHash, v.report.Epoch = seq, p.hash, p.epoch
	if !v.broken {
		v.replay(p)
	}
}

func (v *verifier) replay(p *parsed) {
	e := v.entry(p)
	closed := false
	if e.Loan != "" && v.state.loan(e.Loan) == nil {
		closed = v.closed.has(p.name)
	}
	c, err := v.state.plan(e, closed)
	if err != nil {
		v.badEntry(ErrCorrupt, e.Seq, "cannot follow the entries before it: %v", err)
		return
	}
	v.expect(e, c, p)
	if v.onEntry != nil {
		if err := v.onEntry(e, c, p); err != nil {
			v.badEntry(ErrCorrupt, e.Seq, "%v", err)
		}
	}
	v.state.apply(e, c)
	if e.Kind == Checkpoint {
		v.checkpoint(e)
	}
	if c.closed {
		v.closed.add(p.name)
	}
}

// checkpoint notes what a checkpoint says; the state has found it right.
func (v *verifier) checkpoint(e *Entry) {
	var p CheckpointPayload
	if err := readPayload(e, &p); err == nil {
		v.report.Checkpoints = append(v.report.Checkpoints, p)
	}
}

// expect adds what the indexes must have of an entry.
func (v *verifier) expect(e *Entry, c *change, p *parsed) {
	if v.schema == 1 {
		e.OpID = string(p.text[textOp])
		for _, r := range indexRows1(e, c.loanState) {
			v.want[string(r.bucket)].add(v.hash.row(r.key, r.value))
		}
		return
	}
	v.op.add(v.hash.op(p.op, e.Seq))
	if e.Loan != "" {
		v.loan.add(named(p.name, e.Seq, c.loanState))
	}
	_ = c.eachTenant(v.state, e, func(tenant string) error {
		v.tenant.add(named(v.hash.text(tenant), e.Seq, 0))
		return nil
	})
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
	sums := v.state.sums()
	for _, flavor := range slices.Sorted(maps.Keys(sums)) {
		// While a file's first entries carry what was open before, some are missing.
		if sums[flavor] != 0 && v.state.carry == 0 {
			v.fault(ErrCorrupt, "balances", "those of %s add up to %d, not to 0", flavor, sums[flavor])
		}
	}
}

// derived compares indexes, open loans, balances and months with those of the replay. The
// largest index is read beside the others.
func (v *verifier) derived(tx *bolt.Tx) {
	for _, r := range v.stateRows() {
		v.want[string(r.bucket)].add(v.hash.row(r.key, r.value))
	}
	buckets := derivedOf(v.schema)
	have, errs := make([]digest, len(buckets)), make([]error, len(buckets))
	var others sync.WaitGroup
	for i, name := range buckets {
		if tx.Bucket(name) == nil {
			errs[i] = errors.New("the bucket is missing")
			continue
		}
		read := func() { have[i], errs[i] = v.have(tx, name) }
		if i == 0 {
			others.Go(read)
		} else {
			read()
		}
	}
	others.Wait()
	for i, name := range buckets {
		switch want := *v.want[string(name)]; {
		case errs[i] != nil:
			v.fault(ErrDerived, string(name), "%v", errs[i])
		case have[i] != want:
			v.fault(ErrDerived, string(name), "has %d rows that differ from the %d that follow from the log", have[i].items, want.items)
		}
	}
}

// have is what a derived bucket has.
func (v *verifier) have(tx *bolt.Tx, name []byte) (digest, error) {
	h := newHasher(v.seed)
	switch {
	case v.schema == 1:
	case bytes.Equal(name, bucketOp):
		return h.ops(tx)
	case bytes.Equal(name, bucketLoan), bytes.Equal(name, bucketTenant):
		return h.chunks(tx.Bucket(name))
	}
	return h.rows(tx.Bucket(name)), nil
}

// stateRows are the rows at the head of the buckets that have no history.
func (v *verifier) stateRows() []row {
	var rows []row
	for _, loan := range v.state.open {
		rows = append(rows, openRow(loan))
	}
	for key, amount := range v.state.balances {
		rows = append(rows, acctRow(key, *amount))
	}
	if v.schema == 1 {
		return rows
	}
	for key, amounts := range v.state.months {
		rows = append(rows, monthRow(key, amounts))
	}
	return rows
}
