package gpunodes

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
)

// book is a ledger in memory, whose entries before the first are gone.
type book struct {
	first   uint64
	entries []ledger.Entry
	err     error
}

func (b *book) add(kind ledger.Kind, id string, took time.Duration) {
	payload, _ := json.Marshal(course.Reshape{Node: "gpu-0", Milliseconds: took.Milliseconds()})
	b.entries = append(b.entries, ledger.Entry{Seq: b.first + uint64(len(b.entries)), Kind: kind, OpID: id, Payload: payload})
}

func (b *book) Head() (uint64, ledger.Hash) {
	return b.first + uint64(len(b.entries)) - 1, ledger.Hash{}
}

func (b *book) Read(from uint64, limit int) ([]ledger.Entry, error) {
	if b.err != nil {
		return nil, b.err
	}
	if from < b.first {
		return nil, fmt.Errorf("entry %d is asked for, and %d is the first that is needed", from, b.first)
	}
	at := min(int(from-b.first), len(b.entries))
	return b.entries[at:min(at+min(limit, 2), len(b.entries))], nil
}

// A broker that starts anew knows how long changes took that are off the GPUNodes' lists.
func TestRecall(t *testing.T) {
	b := &book{first: 1}
	b.add(ledger.ReshapeDone, "r1", 40*time.Second)
	b.add(ledger.ReshapeDone, "r2", 31500*time.Millisecond)
	b.add(ledger.LendIntent, "tune-1", time.Hour)
	b.add(ledger.ReshapeFailed, "r3", time.Hour)
	b.add(ledger.ReshapeUndone, "r1", 7*time.Second)
	b.add(ledger.ReshapeUndone, "r2", 0)
	b.entries[2].Payload, b.entries[3].Payload = nil, json.RawMessage("[]")
	nodes, _ := read(t, gpuNode(t, sevenOnes()))
	if change, undo := nodes.Costs(30*time.Second, 20*time.Second); change != 30*time.Second || undo != 20*time.Second {
		t.Fatalf("without a ledger they take %s and %s", change, undo)
	}
	if err := nodes.Recall(b); err != nil {
		t.Fatal(err)
	}
	if change, undo := nodes.Costs(30*time.Second, 20*time.Second); change != 40*time.Second || undo != 7*time.Second {
		t.Errorf("they take %s and %s", change, undo)
	}
	// What the agent says of one that is still on the list is no other change.
	nodes.costs.learn(&v1alpha1.GPUNode{Status: v1alpha1.GPUNodeStatus{Reshapes: []v1alpha1.ReshapeStatus{
		{ID: "r1", State: v1alpha1.ReshapeUndone, UndoMilliseconds: 8000},
	}}}, now)
	if len(nodes.costs.recent) != 2 {
		t.Errorf("remembered are %+v", nodes.costs.recent)
	}
	if change, undo := nodes.Costs(0, 0); change != 40*time.Second || undo != 8*time.Second {
		t.Errorf("then they take %s and %s", change, undo)
	}
}

// No more is read than the newest entries, and an error is one.
func TestRecallIsBounded(t *testing.T) {
	b := &book{first: 1_000_001 - mostRecalled}
	for range mostRecalled {
		b.entries = append(b.entries, ledger.Entry{Seq: b.first + uint64(len(b.entries))})
	}
	var nodes Nodes
	if err := nodes.Recall(b); err != nil {
		t.Fatal(err)
	}
	b.err = errors.New("the disk is gone")
	if err := nodes.Recall(b); !errors.Is(err, b.err) {
		t.Errorf("the error is %v", err)
	}
}
