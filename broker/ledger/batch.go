package ledger

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// AppendAll is Append for several entries in one transaction: all of them are written or,
// after an error, none. It costs as many disk syncs as one. An entry that the ledger has
// already is returned as it stands there, as Append does.
func (l *Ledger) AppendAll(entries []Entry) ([]Entry, error) {
	out := make([]Entry, len(entries))
	for i := range entries {
		var err error
		if out[i], err = normalise(entries[i]); err != nil {
			return nil, fmt.Errorf("entry %d of %d: %w", i+1, len(entries), err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return nil, l.failed
	}
	tx, err := l.db.Begin(true)
	if err != nil {
		return nil, fmt.Errorf("append %d entries: %w", len(entries), err)
	}
	// After a commit this does nothing.
	defer func() { _ = tx.Rollback() }()

	before := l.state.seq
	undo := make([]func(), 0, len(entries))
	for i := range out {
		var back func()
		if out[i], back, err = l.put(tx, out[i]); err != nil {
			break
		}
		undo = append(undo, back)
	}
	if err == nil && l.state.seq > before {
		err = l.commit(tx, &out[len(out)-1])
	}
	if err == nil {
		return out, nil
	}
	for i := len(undo) - 1; i >= 0; i-- {
		undo[i]()
	}
	if l.failed == nil {
		err = fmt.Errorf("entry %d of %d: %w", len(undo)+1, len(entries), err)
	}
	return nil, err
}

// put writes one entry into the transaction and moves the state, or finds it there. What it
// returns moves the state back.
func (l *Ledger) put(tx *bolt.Tx, e Entry) (Entry, func(), error) {
	first, found, err := findOp(tx, e.OpID, e.Kind)
	if err != nil {
		return Entry{}, nil, fmt.Errorf("append %s: %w", e.Kind, err)
	}
	if found {
		return first, func() {}, sameSubject(&first, &e)
	}
	e, c, err := l.write(tx, e)
	if err != nil {
		return Entry{}, nil, err
	}
	back := l.state.backup(c)
	l.state.apply(&e, c)
	return e, back, nil
}

// backup remembers what a change will overwrite.
func (s *state) backup(c *change) (restore func()) {
	seq, hash, epoch, carry := s.seq, s.hash, s.epoch, s.carry
	balances, months := map[balanceKey]*int64{}, map[monthKey]*Amounts{}
	for _, b := range c.bookings {
		balances[b.key] = held(s.balances, b.key)
	}
	for _, m := range c.months {
		months[m.key] = held(s.months, m.key)
	}
	var shape string
	var before *OpenReshape
	if c.reshape != nil {
		shape, before = c.reshape.ID, s.reshapes[c.reshape.ID]
	}
	var name, job string
	var loan *OpenLoan
	if c.moves {
		name, job = c.loan.Loan, c.loan.JobUID
		if open := s.open[name]; open != nil {
			was := *open
			loan = &was
		}
	}
	return func() {
		s.seq, s.hash, s.epoch, s.carry = seq, hash, epoch, carry
		s.last, s.lastName = nil, ""
		for key, was := range balances {
			restoreKey(s.balances, key, was)
		}
		for key, was := range months {
			restoreKey(s.months, key, was)
		}
		if shape != "" {
			delete(s.reshapes, shape)
			if before != nil {
				s.reshapes[shape] = before
			}
		}
		if name == "" {
			return
		}
		delete(s.open, name)
		delete(s.byJob, job)
		if loan != nil {
			s.open[name], s.byJob[job] = loan, name
		}
	}
}

// held is a copy of what a map has, nil if it has nothing.
func held[K comparable, V any](m map[K]*V, key K) *V {
	v := m[key]
	if v == nil {
		return nil
	}
	was := *v
	return &was
}

func restoreKey[K comparable, V any](m map[K]*V, key K, was *V) {
	if was == nil {
		delete(m, key)
	} else {
		m[key] = was
	}
}
