package replica

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// monthly is a ledger of two months as it was in the second, and as it was later.
func monthly(t *testing.T, own, copied string) published.Head {
	t.Helper()
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC))
	path := filepath.Join(t.TempDir(), "ledger.db")
	book, err := segments.Open(path, segments.Options{Options: ledger.Options{Clock: clock}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	l := &leader{Set: book, path: path, epoch: 1}
	l.write(t, ledger.Entry{Kind: ledger.EpochStart, OpID: "epoch-1"})
	l.lend(t, 2)
	clock.SetTime(clock.Now().AddDate(0, 1, 0))
	for _, to := range []string{own, copied} {
		l.lend(t, 1)
		put(t, path, to)
		put(t, segments.ArchiveName(path, "2026-10"), segments.ArchiveName(to, "2026-10"))
	}
	return l.head()
}

// TestPromoteMonthsCutOff: a crash while a ledger of several files is put aside, or taken as
// the copy, leaves months under the names that the copy's are to have. They are put aside too.
func TestPromoteMonthsCutOff(t *testing.T) {
	files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
	head := monthly(t, files.Own, files.Copy)
	if err := os.Rename(files.Own, files.Own+".aside-11-0123456789ab"); err != nil {
		t.Fatal(err)
	}
	if promoted, err := files.Promote(head, segments.Options{}); err != nil || !promoted {
		t.Fatalf("Promote: %t, %v", promoted, err)
	}
	if n := uint64(len(records(t, files.Own))); n != head.Seq {
		t.Errorf("the ledger has %d entries of %d", n, head.Seq)
	}
	kept, _ := filepath.Glob(filepath.Join(filepath.Dir(files.Own), "ledger*.aside*"))
	if left, _ := filepath.Glob(files.Copy + "*"); len(kept) != 2 || len(left) > 0 {
		t.Errorf("kept are %v, left %v", kept, left)
	}
}

// TestSyncedAfterAllMonths: a follower that has the first month has not all that there is.
func TestSyncedAfterAllMonths(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	monthly(t, path, filepath.Join(t.TempDir(), "other.db"))
	l := leaderAt(t, path, 2)
	l.lend(t, 1)
	w, asked := straight(l), 0
	w.next = func() fault { // whose ledger, ack, the first month, ack; no further
		if asked++; asked > 4 {
			return lost
		}
		return none
	}
	f := newFollower(FilesOf(filepath.Join(t.TempDir(), "ledger.db")), w, l.head)
	run(t, f, func() bool { return f.Status().Err != nil })
	if s := f.Status(); s.Seq == 0 || s.Synced {
		t.Errorf("with the first month: %+v", s)
	}
	w.next = func() fault { return none }
	catchUp(t, f, l)
	run(t, f, func() bool { return f.Status().Synced })
}
