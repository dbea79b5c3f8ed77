package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// A name with more entries than a chunk holds is read from any number on.
func TestChunksOfOneName(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	var want []uint64
	var entries []Entry
	for n := range 900 {
		e := Entry{Kind: Refused, OpID: fmt.Sprint(n), Epoch: 1, Job: "a/b", Borrower: "team", Time: t0}
		if n%7 == 0 {
			e.Borrower = "teams"
		} else {
			want = append(want, uint64(n+1))
		}
		entries = append(entries, e)
	}
	if _, err := l.AppendAll(entries); err != nil {
		t.Fatal(err)
	}
	for _, from := range []uint64{0, 1, 2, 239, 240, 241, 280, 281, 500, 899, 900, 901, 5000} {
		var got []uint64
		all, err := l.ByTenant("team", from, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			got = append(got, e.Seq)
		}
		at, _ := slices.BinarySearch(want, from)
		if !slices.Equal(got, want[at:]) {
			t.Errorf("from %d: %d entries, want %d", from, len(got), len(want)-at)
		}
	}
	mustClose(t, l)
	editBolt(t, path, func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketTenant)
		if n := b.Stats().KeyN; n < 4 {
			t.Errorf("%d chunks", n)
		}
		key, chunk := lastChunk(b, "team")
		if len(chunk) == 0 || len(chunk) > fullChunk+2 {
			t.Errorf("a chunk of %d bytes", len(chunk))
		}
		// The same numbers, but not as they are written.
		return b.Put(append(prefixKey("team"), seqKey(901)...), append([]byte{0}, chunk[len(key):]...))
	})
	report, err := quickCheck(path)
	if err != nil || !errors.Is(report.Err(), ErrDerived) {
		t.Errorf("Check: %v %v", err, report.Err())
	}
}

// Operations whose hashes are the same are told apart by their entries.
func TestOperationsWithOneHash(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	mustAppend(t, l, Entry{Kind: Refused, OpID: "a", Epoch: 1, Job: "j/a", Borrower: "x", Time: t0})
	mustAppend(t, l, Entry{Kind: Refused, OpID: "b", Epoch: 1, Job: "j/b", Borrower: "x", Time: t0})
	key := seqKey(opHash([]byte("a"), Refused))
	mustClose(t, l)
	editBolt(t, path, func(tx *bolt.Tx) error { return tx.Bucket(bucketOp).Put(key, append(seqKey(2), seqKey(1)...)) })
	// b has another hash, so this is a fault, which finding it says too.
	editBolt(t, path, func(tx *bolt.Tx) error {
		if _, _, err := findOp(tx, "a", Refused); !errors.Is(err, ErrDerived) {
			t.Errorf("findOp: %v", err)
		}
		return tx.Bucket(bucketOp).Put(key, append(seqKey(1), seqKey(1)...))
	})
	report, err := quickCheck(path)
	if err != nil || !errors.Is(report.Err(), ErrDerived) || !strings.Contains(report.Err().Error(), "of operation a twice") {
		t.Errorf("Check: %v %v", err, report.Err())
	}
}

// An operation that is in the log twice is found, although the index lists both.
func TestDoubledOperationIsFound(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	mustAppend(t, l, Entry{Kind: Refused, OpID: "a", Epoch: 1, Job: "j/a", Borrower: "x", Time: t0})
	mustClose(t, l)
	appendRaw(t, path, Entry{Kind: Refused, OpID: "a", Epoch: 1, Job: "j/a", Borrower: "x", Time: t0})
	if _, err := Reindex(path); !errors.Is(err, ErrDerived) || !strings.Contains(err.Error(), "twice") {
		t.Errorf("Reindex: %v", err)
	}
	if _, err := Open(path, Options{}); err == nil {
		t.Error("Open says nothing")
	}
}
