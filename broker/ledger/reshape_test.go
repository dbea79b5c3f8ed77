package ledger

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A reshape's entries are about no loan, fill in what the first one said and book nothing.
func TestReshapes(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	entry := func(kind Kind, id string, change func(*Entry)) Entry {
		e := Entry{Kind: kind, OpID: id, Epoch: 1, Time: t0, Payload: []byte(`{"node":"gpu-0"}`)}
		if change != nil {
			change(&e)
		}
		return e
	}
	mustAppend(t, l, entry(ReshapeIntent, "r1", func(e *Entry) { e.Job, e.JobUID, e.Borrower = "research/tune", "uid-1", "research" }))
	done := mustAppend(t, l, entry(ReshapeDone, "r1", nil))
	if done.Job != "research/tune" || done.JobUID != "uid-1" || done.Borrower != "research" {
		t.Errorf("RESHAPE_DONE is not filled in: %+v", done)
	}
	want := []OpenReshape{{
		ID: "r1", Job: "research/tune", JobUID: "uid-1", Borrower: "research", Made: true, FirstSeq: 1, LastSeq: 2, Since: t0, Payload: []byte(`{"node":"gpu-0"}`),
	}}
	if diff := cmp.Diff(want, l.OpenReshapes()); diff != "" {
		t.Errorf("open reshapes (-want +got):\n%s", diff)
	}
	for name, test := range map[string]struct {
		entry Entry
		want  error
	}{
		"an end without a beginning":  {entry(ReshapeUndone, "r2", nil), ErrTransition},
		"an end of another job":       {entry(ReshapeUndone, "r1", func(e *Entry) { e.JobUID = "uid-2" }), ErrInvalid},
		"nothing is said about it":    {entry(ReshapeIntent, "r3", func(e *Entry) { e.Payload = nil }), ErrInvalid},
		"it is said to be of a loan":  {entry(ReshapeIntent, "r3", func(e *Entry) { e.Loan = "research/loan-1" }), ErrInvalid},
		"it is said to have grants":   {entry(ReshapeIntent, "r3", func(e *Entry) { e.Grants = lent(LendIntent, 1).Grants }), ErrInvalid},
		"an overtaken leader is late": {entry(ReshapeFailed, "r1", func(e *Entry) { e.Epoch = 0 }), ErrStaleEpoch},
	} {
		if _, err := l.Append(test.entry); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	mustAppend(t, l, entry(ReshapeUndone, "r1", func(e *Entry) { e.Time = t0.Add(time.Hour) }))
	if again := mustAppend(t, l, entry(ReshapeIntent, "r1", nil)); again.Seq != 1 {
		t.Errorf("the intent again is entry %d, want the first one", again.Seq)
	}
	if open := l.OpenReshapes(); len(open) > 0 || len(balances(l)) > 0 {
		t.Errorf("after the end: %+v, %+v", open, balances(l))
	}
	mustAppend(t, l, entry(ReshapeIntent, "r4", nil))
	mustAppend(t, l, entry(ReshapeFailed, "r4", nil))
	if _, open := l.Reshape("r4"); open {
		t.Error("a reshape that failed is open")
	}
}
