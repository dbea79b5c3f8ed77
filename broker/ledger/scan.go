package ledger

import (
	"bytes"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A block of records goes from the goroutine that takes them apart to the one that replays
// them; a few are under way.
const (
	blockLen = 128
	blocks   = 8
)

// parsed is a record of the log, taken apart and with its sums checked.
type parsed struct {
	fields
	key []byte
	// op and name stand for the operation, as its index has it, and for the loan.
	op, name uint64
	err      error
}

type block struct {
	records [blockLen]parsed
	n       int
}

// scan hands out up to n records from a cursor's position on, in blocks, and ends with the
// key after them: nil at the end of the log. CRC, hash and form of a record are checked
// here, beside the replay, which is all that has to be done one after the other.
func (h *hasher) scan(c *bolt.Cursor, key, raw []byte, n int, free <-chan *block, full chan<- *block) (next []byte) {
	for key != nil && n > 0 {
		b := <-free
		for b.n = 0; key != nil && n > 0 && b.n < blockLen; n-- {
			p := &b.records[b.n]
			p.key = key
			if p.err = p.split(raw); p.err == nil {
				p.op, p.name = opHash(p.text[textOp], p.kind), h.name(p.text[textLoan])
			}
			b.n++
			key, raw = c.Next()
		}
		full <- b
	}
	return key
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
	free, full, ended := make(chan *block, blocks), make(chan *block, blocks), false
	for len(v.blocks) < blocks {
		v.blocks = append(v.blocks, &block{})
	}
	for i, b := range v.blocks {
		if i == 0 || v.onEntry == nil { // with one block, nothing is read while onEntry writes
			free <- b
		}
	}
	go func() {
		defer close(full)
		ended = v.hash.scan(c, key, raw, n, free, full) == nil
	}()
	for b := range full {
		for i := range b.n {
			v.record(&b.records[i])
		}
		v.lastKey = bytes.Clone(b.records[b.n-1].key)
		free <- b
	}
	return ended
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
	if loan := v.state.loanBytes(p.text[textLoan]); loan != nil {
		e.Loan, e.Job, e.JobUID = loan.Loan, same(loan.Job, p.text[textJob]), same(loan.JobUID, p.text[textJobUID])
		e.Borrower, e.ReclaimID = same(loan.Borrower, p.text[textBorrower]), same(loan.ReclaimID, p.text[textReclaim])
		if sameGrants(loan.Grants, p.grants) {
			e.Grants = loan.Grants
			return e
		}
	} else {
		v.names = append(append(append(v.names[:0], p.text[textLoan]...), p.text[textJob]...), p.text[textJobUID]...)
		names, job, uid := string(v.names), len(p.text[textLoan]), len(p.text[textLoan])+len(p.text[textJob])
		e.Loan, e.Job, e.JobUID = names[:job], names[job:uid], names[uid:]
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

// loanBytes is loan without a text made of the name.
func (s *state) loanBytes(name []byte) *OpenLoan {
	if len(name) == 0 {
		return nil
	}
	if s.lastName == string(name) {
		return s.last
	}
	loan := s.open[string(name)]
	if loan != nil {
		s.last, s.lastName = loan, loan.Loan
	}
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

// text keeps one copy of what comes again and again: nodes, flavors, tenants.
func (v *verifier) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := v.texts[string(b)]; ok {
		return s
	}
	if len(v.texts) >= 1<<16 {
		clear(v.texts)
	}
	s := string(b)
	v.texts[s] = s
	return s
}
