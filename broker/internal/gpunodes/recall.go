package gpunodes

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
)

// Book is the ledger, as far as it is read here.
type Book interface {
	Head() (uint64, ledger.Hash)
	Read(from uint64, limit int) ([]ledger.Entry, error)
}

// mostRecalled bounds how far back a ledger is read.
const mostRecalled = 20 * ledger.MaxPage

// Recall learns from the newest entries of the ledger how long changes took and their
// undoing: what a GPUNode says of those goes with them. It is called once, before List.
func (n *Nodes) Recall(book Book) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := uint64(1)
	if head, _ := book.Head(); head > mostRecalled {
		next = head - mostRecalled + 1
	}
	for {
		entries, err := book.Read(next, ledger.MaxPage)
		if err != nil {
			return fmt.Errorf("read the ledger from entry %d: %w", next, err)
		}
		if len(entries) == 0 {
			return nil
		}
		for i := range entries {
			n.costs.recall(&entries[i])
			next = entries[i].Seq + 1
		}
	}
}

// recall takes over what an entry says of how long a change took.
func (c *costs) recall(e *ledger.Entry) {
	if e.Kind != ledger.ReshapeDone && e.Kind != ledger.ReshapeUndone {
		return
	}
	r, ok := course.ReshapeOf(e)
	if !ok {
		return
	}
	took := time.Duration(r.Milliseconds) * time.Millisecond
	if e.Kind == ledger.ReshapeDone {
		c.measured(cost{id: e.OpID, make: took, at: e.Time})
	} else {
		c.measured(cost{id: e.OpID, undo: took, at: e.Time})
	}
}
