package ledger

import (
	"bytes"
	"runtime"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A block of records is taken apart by one of the workers, while the replay, which alone has
// to go one after the other, is at a block before it; a few are under way.
const (
	blockLen   = 64
	blocks     = 8
	maxWorkers = 4 // more than that the replay does not keep up with
	nameRoom   = 1 << 12
)

// parsed is a record of the log, taken apart and with its sums checked.
type parsed struct {
	fields
	key, raw []byte
	// op and name stand for the operation, as its index has it, and for the loan.
	op, name uint64
	err      error
}

type block struct {
	records [blockLen]parsed
	n       int
	ready   chan struct{} // gets one when the records are taken apart
}

// source hands out the records from a cursor's position on, up to n of them, in blocks. CRC,
// hash and form of a record are checked by whichever worker has its block.
type source struct {
	hash *hasher
	free chan *block
	full chan *block // in the order of the log; closed at the end

	mu       sync.Mutex
	c        *bolt.Cursor
	key, raw []byte // of the next record; nil at the end of the log
	n        int
	ended    bool
}

// work takes blocks apart until there are no more records.
func (s *source) work() {
	for {
		b := s.next()
		if b == nil {
			return
		}
		for i := range b.n {
			p := &b.records[i]
			if p.err = p.split(p.raw); p.err == nil {
				p.op, p.name = opHash(p.text[textOp], p.kind), s.hash.name(p.text[textLoan])
			}
		}
		b.ready <- struct{}{}
	}
}

// next is a block of records as they are, which has its place in full already; nil at the end.
func (s *source) next() *block {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	if s.key == nil || s.n == 0 {
		s.ended = true
		close(s.full)
		return nil
	}
	b := <-s.free
	for b.n = 0; s.key != nil && s.n > 0 && b.n < blockLen; s.n-- {
		p := &b.records[b.n]
		p.key, p.raw = s.key, s.raw
		b.n++
		s.key, s.raw = s.c.Next()
	}
	s.full <- b
	return b
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
	s := &source{hash: v.hash, free: make(chan *block, blocks), full: make(chan *block, blocks), c: c, key: key, raw: raw, n: n}
	for len(v.blocks) < blocks {
		v.blocks = append(v.blocks, &block{ready: make(chan struct{}, 1)})
	}
	for i, b := range v.blocks {
		if i == 0 || v.onEntry == nil { // with one block, nothing is read while onEntry writes
			s.free <- b
		}
	}
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), maxWorkers) {
		workers.Go(s.work)
	}
	for b := range s.full {
		<-b.ready
		for i := range b.n {
			v.closed.fetch(b.records[i].name)
		}
		for i := range b.n {
			v.record(&b.records[i])
		}
		v.lastKey = bytes.Clone(b.records[b.n-1].key)
		s.free <- b
	}
	workers.Wait()
	return s.key == nil
}

// entry is what the replay needs of a record. It lies in memory that the next one uses
// again; only texts that outlive it are copied, and those of an open loan are the loan's.
func (v *verifier) entry(p *parsed) *Entry {
	e := &v.e
	*e = Entry{
		Seq: p.seq, Kind: p.kind, Epoch: p.epoch, Time: time.Unix(0, p.time).UTC(), MonoNS: p.mono,
		BootID: same(e.BootID, p.text[textBoot]), Corrects: p.corrects, Payload: p.payload, PrevHash: p.prev, Hash: p.hash,
	}
	if p.at != 0 {
		e.At = time.Unix(0, p.at).UTC()
	}
	if v.onEntry != nil || p.kind.Reshapes() {
		e.OpID = string(p.text[textOp])
	}
	if loan := v.openLoan(p); loan != nil {
		e.Loan, e.Job, e.JobUID = loan.Loan, same(loan.Job, p.text[textJob]), same(loan.JobUID, p.text[textJobUID])
		e.Borrower, e.ReclaimID = same(loan.Borrower, p.text[textBorrower]), same(loan.ReclaimID, p.text[textReclaim])
		if sameGrants(loan.Grants, p.grants) {
			e.Grants = loan.Grants
			return e
		}
	} else {
		e.Loan, e.Job, e.JobUID = v.name(p.text[textLoan]), v.name(p.text[textJob]), v.name(p.text[textJobUID])
		e.Borrower, e.ReclaimID = v.text(p.text[textBorrower]), v.text(p.text[textReclaim])
	}
	v.grants = v.grants[:0]
	for i := range p.grants {
		g := &p.grants[i]
		v.grants = append(v.grants, Grant{v.text(g.lender), v.text(g.node), v.text(g.flavor), g.count})
	}
	e.Grants = v.grants
	return e
}

// openLoan is the record's loan, or nil where that is not open. What a place of near has may
// be over, and is then another loan or none; no two that are open have the same name.
func (v *verifier) openLoan(p *parsed) *OpenLoan {
	name, near := p.text[textLoan], &v.near[p.name%uint64(len(v.near))]
	if len(name) == 0 {
		return nil
	}
	loan := *near
	if loan == nil || loan.Loan != string(name) {
		if loan = v.state.open[string(name)]; loan == nil {
			return nil
		}
		*near = loan
	}
	v.state.last, v.state.lastName = loan, loan.Loan
	return loan
}

// same is the known text where the bytes say the same.
func same(known string, b []byte) string {
	if known == string(b) {
		return known
	}
	return string(b)
}

func sameGrants(known []Grant, raw []rawGrant) bool {
	if len(known) != len(raw) {
		return false
	}
	for i := range raw {
		k, r := &known[i], &raw[i]
		if k.Count != r.count || k.Node != string(r.node) || k.Lender != string(r.lender) || k.Flavor != string(r.flavor) {
			return false
		}
	}
	return true
}

// name is a text that comes seldom. Some share their room, which saves most of the work.
func (v *verifier) name(b []byte) string {
	if v.names.Cap()-v.names.Len() < len(b) {
		v.names.Reset()
		v.names.Grow(max(nameRoom, len(b)))
	}
	at := v.names.Len()
	v.names.Write(b)
	return v.names.String()[at:]
}

// text keeps one copy of what comes again and again: nodes, flavors, tenants. Of two that
// have the same place it keeps the later one.
func (v *verifier) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	s := &v.texts[v.hash.name(b)%uint64(len(v.texts))]
	if *s != string(b) {
		*s = string(b)
	}
	return *s
}
