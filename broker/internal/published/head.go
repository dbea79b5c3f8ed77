package published

import (
	"fmt"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Head is how far a ledger had come.
type Head struct {
	// ID names the ledger; empty if nothing was published.
	ID    string
	Seq   uint64
	Hash  ledger.Hash
	Epoch int64
}

// String is SEQ:HASH.
func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Seq, h.Hash) }

// Book is what is read of a ledger to compare it.
type Book interface {
	ID() (string, error)
	Head() (uint64, ledger.Hash)
	Epoch() int64
	Read(from uint64, limit int) ([]ledger.Entry, error)
}

// HeadOf is the head of an open ledger.
func HeadOf(book Book) (Head, error) {
	id, err := book.ID()
	if err != nil {
		return Head{}, fmt.Errorf("read the ledger's ID: %w", err)
	}
	seq, hash := book.Head()
	return Head{ID: id, Seq: seq, Hash: hash, Epoch: book.Epoch()}, nil
}

// Missing are published entries that the ledger does not have. Its JSON is the payload of
// a GAP.
type Missing struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	Head string `json:"head"` // hash of To
	Why  string `json:"why"`
	// New: the ledger was begun anew. Otherwise its file is an old copy, or one of another
	// history.
	New bool `json:"-"`
	// of is the ledger that they were in.
	of string
}

// OpID is the operation of the GAP entry: the same gap is written once.
func (m *Missing) OpID() string { return fmt.Sprintf("gap-%s-%d", m.of, m.To) }

// Compare says what the ledger misses of what was published; nil: nothing that is known.
// A gap that the ledger has an entry about is not missing any more: a leader may have died
// after it wrote that, and before it published how far the ledger is now.
func Compare(book Book, before Head) (*Missing, error) {
	m, err := missing(book, before)
	if m == nil || err != nil {
		return nil, err
	}
	if said, err := says(book, m); said || err != nil {
		return nil, err
	}
	return m, nil
}

func missing(book Book, before Head) (*Missing, error) {
	if before.ID == "" || before.Seq == 0 {
		return nil, nil
	}
	have, err := HeadOf(book)
	if err != nil {
		return nil, err
	}
	m := &Missing{of: before.ID, From: 1, To: before.Seq, Head: before.Hash.String()}
	switch {
	case have.ID != before.ID:
		var said bool
		if m.New, said, err = begun(book, m.OpID()); said {
			return nil, err
		}
		m.Why = fmt.Sprintf("they are in ledger %s, which is not there any more", before.ID)
		return m, err
	case have.Seq < before.Seq:
		m.From = have.Seq + 1
		m.Why = "the file is an old copy: more had been published than it has"
		return m, nil
	}
	entries, err := book.Read(before.Seq, 1)
	if err != nil {
		return nil, fmt.Errorf("read entry %d: %w", before.Seq, err)
	}
	if len(entries) == 1 && entries[0].Seq == before.Seq && entries[0].Hash == before.Hash {
		return nil, nil
	}
	m.From = before.Seq
	m.Why = "the file is an old copy that was written on: the entry that was published is not the one that it has"
	return m, nil
}

// says tells whether the ledger has an entry about the gap. All of it is read for that, which
// is only where something is missing.
func says(book Book, m *Missing) (bool, error) {
	for from := uint64(1); ; {
		entries, err := book.Read(from, 0)
		if err != nil {
			return false, fmt.Errorf("look for what is said about the gap: %w", err)
		}
		for i := range entries {
			if entries[i].Kind == ledger.Gap && entries[i].OpID == m.OpID() {
				return true, nil
			}
		}
		if len(entries) == 0 {
			return false, nil
		}
		from = entries[len(entries)-1].Seq + 1
	}
}

// begun tells whether nothing stands in the ledger but that leaders began, or whether the first
// of them said what is missing, which has that operation: then it went on from there.
func begun(book Book, gap string) (is, said bool, err error) {
	entries, err := book.Read(1, 0)
	if err != nil {
		return false, false, fmt.Errorf("read the first entries: %w", err)
	}
	for i := range entries {
		switch {
		case entries[i].Kind == ledger.Gap && entries[i].OpID == gap:
			return false, true, nil
		case entries[i].Kind != ledger.EpochStart:
			return false, false, nil
		}
	}
	return len(entries) < ledger.MaxPage, false, nil
}
