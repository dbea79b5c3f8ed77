package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

// Together or one by one, the same entries make the same books.
func TestAppendAllIsAppend(t *testing.T) {
	one, all := openAt(t, tempPath(t), Options{}), openAt(t, tempPath(t), Options{})
	fill(t, one, 9)
	var entries []Entry
	for _, e := range allEntries(t, one) {
		e.Seq, e.Hash, e.PrevHash = 0, Hash{}, Hash{}
		entries = append(entries, e)
	}
	got, err := all.AppendAll(entries)
	if err != nil || len(got) != len(entries) {
		t.Fatalf("AppendAll: %d entries, %v", len(got), err)
	}
	if diff := cmp.Diff(balances(one), balances(all)); diff != "" {
		t.Errorf("balances (-one +all):\n%s", diff)
	}
	again, err := all.AppendAll(entries)
	if err != nil || !cmp.Equal(got, again) {
		t.Errorf("the second time: %v\n%s", err, cmp.Diff(got, again))
	}
	if report, err := all.Verify(); err != nil || !report.OK() || report.Entries != uint64(len(entries)) {
		t.Errorf("Verify: %v %v", err, report)
	}
}

// After an error nothing is written, and everything is as before: what is open, what is
// booked, and what comes next.
func TestAppendAllIsAllOrNothing(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	fill(t, l, 6)
	mustAppend(t, l, Entry{Kind: ReshapeIntent, OpID: "shape", Epoch: 1, Payload: []byte(`{}`)})
	seq, hash := l.Head()
	describe := func() string {
		return fmt.Sprintf("%+v", []any{l.OpenLoans(), balances(l), monthsOf(l), l.OpenReshapes(), l.Epoch()})
	}
	before := describe()
	bad := follow(ReclaimDone, 2, 100)
	_, err := l.AppendAll([]Entry{
		{Kind: EpochStart, OpID: "e", Epoch: 2}, {Kind: ReshapeDone, OpID: "shape", Epoch: 2, Payload: []byte(`{}`)},
		{Kind: ReshapeIntent, OpID: "other", Epoch: 2, Payload: []byte(`{}`)},
		inEpoch(2, lent(LendIntent, 50)), inEpoch(2, follow(Lost, 5, 70)), inEpoch(2, bad),
	})
	if !errors.Is(err, ErrTransition) || !strings.Contains(err.Error(), "entry 6 of 6") {
		t.Fatalf("AppendAll: %v", err)
	}
	if after := describe(); after != before {
		t.Errorf("state changed:\n%s\n%s", before, after)
	}
	if gotSeq, gotHash := l.Head(); gotSeq != seq || gotHash != hash {
		t.Errorf("head is %d, was %d", gotSeq, seq)
	}
	mustAppend(t, l, follow(Released, 5, 80))
	if report, err := l.Verify(); err != nil || !report.OK() {
		t.Errorf("Verify: %v %v", err, report)
	}
}

func inEpoch(epoch int64, e Entry) Entry {
	e.Epoch = epoch
	return e
}

func TestFailedCommitOfManyIsAnUnknownOutcome(t *testing.T) {
	fail := false
	l := openAt(t, tempPath(t), Options{commit: func(tx *bolt.Tx) error {
		if fail {
			return errors.New("input/output error")
		}
		return tx.Commit()
	}})
	fail = true
	for range 2 {
		if _, err := l.AppendAll([]Entry{lent(LendIntent, 1), lent(LendIntent, 2)}); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("AppendAll: %v", err)
		}
	}
	if n := len(l.OpenLoans()); n != 0 {
		t.Errorf("%d loans are open", n)
	}
}

// monthsOf are the rows of months, as values.
func monthsOf(l *Ledger) map[monthKey]Amounts {
	out := map[monthKey]Amounts{}
	for key, amounts := range l.state.months {
		out[key] = *amounts
	}
	return out
}
