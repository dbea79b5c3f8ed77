package replica

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// Whatever the wire does, and whenever the follower is killed, what the leader holds for
// durable is in the follower's file, and that file is a beginning of the leader's; and when
// the wire is whole again, they are the same.
func TestFollowsOverAnyWire(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLeader(t)
		files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
		faults := rapid.SliceOfN(rapid.IntRange(0, int(faultKind)-1), 1, 40).Draw(rt, "faults")
		var asked atomic.Int64
		w := straight(l)
		w.next = func() fault { return fault(faults[int(asked.Add(1))%len(faults)]) }
		for range rapid.IntRange(1, 4).Draw(rt, "lives") {
			l.lend(rt, rapid.IntRange(0, 12).Draw(rt, "loans"))
			if rapid.IntRange(0, 4).Draw(rt, "leader") == 0 {
				l.server.Lead(l.Set) // it has forgotten all acks
			}
			kill := asked.Load() + int64(rapid.IntRange(1, 25).Draw(rt, "requests"))
			run(rt, newFollower(files, w, l.head), func() bool {
				seq, _ := l.Head()
				return asked.Load() >= kill || l.server.Durable() == seq
			})
			if have, held := isBeginning(rt, files.Copy, l), l.server.Durable(); lacks(have, held) {
				rt.Fatalf("the leader holds %d entries for durable, and the follower has %d", held, have)
			}
			if rapid.IntRange(0, 5).Draw(rt, "disk") == 0 {
				_ = os.Remove(files.Copy)
				l.server.Lead(l.Set)
			}
		}
		l.lend(rt, 1)
		catchUp(rt, newFollower(files, straight(l), l.head), l)
		seq, _ := l.Head()
		if have := isBeginning(rt, files.Copy, l); uint64(have) != seq {
			rt.Fatalf("the follower has %d of %d entries", have, seq)
		}
		if err := l.server.MayLend(); err != nil {
			rt.Fatalf("MayLend: %v", err)
		}
	})
}

// lacks tells whether a follower has less than the leader holds for durable.
func lacks(have int, durable uint64) bool { return uint64(have) < durable }

// A follower that acknowledges what it has not written is found by what the test above looks
// at: one of the leader's acks goes through before its records do.
func TestHastyFollowerIsFound(t *testing.T) {
	l := newLeader(t)
	l.lend(t, 3)
	files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
	w := straight(l)
	seq, hash := l.Head()
	w.forge = func(a *Ack) { a.Seq, a.Hash = seq, hash }
	var asked atomic.Int64
	w.next = func() fault {
		if asked.Add(1) >= 3 { // whose ledger, an ack, and then records, however often they are asked for
			return lost
		}
		return none
	}
	run(t, newFollower(files, w, l.head), func() bool { return asked.Load() >= 3 })
	if have := isBeginning(t, files.Copy, l); !lacks(have, l.server.Durable()) {
		t.Errorf("the follower has %d entries, and %d are held for durable", have, l.server.Durable())
	}
}

// More than one answer holds comes in several.
func TestFollowsALongLedger(t *testing.T) {
	l := newLeader(t)
	var many []ledger.Entry
	for range 3 * pageRecords {
		l.n++
		many = append(many, ledger.Entry{Kind: ledger.Refused, Epoch: 1, OpID: strings.Repeat("x", 1+l.n%100) + "-" + strings.Repeat("y", l.n/100), Job: "a/b", Borrower: "a", Message: strings.Repeat("why ", 2000)})
	}
	if _, err := l.AppendAll(many); err != nil {
		t.Fatal(err)
	}
	files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
	f := newFollower(files, straight(l), l.head)
	catchUp(t, f, l)
	if st := f.Status(); !st.Asked || st.Seq != uint64(len(many))+1 || st.Err != nil {
		t.Errorf("status %+v", st)
	}
}

// A broker that led goes on with its own ledger as its copy, if that is a beginning of the
// leader's; nothing is sent that it has.
func TestFollowsWithItsOwnLedger(t *testing.T) {
	old := newLeader(t)
	old.lend(t, 3)
	mine := filepath.Join(t.TempDir(), "ledger.db")
	put(t, old.path, mine)
	old.lend(t, 2)
	files := FilesOf(mine)
	catchUp(t, newFollower(files, straight(old), old.head), old)
	if _, err := os.Stat(files.Own); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ledger is still there: %v", err)
	}
	isBeginning(t, files.Copy, old)
}

// A broker whose own ledger has entries that the leader's has not, since nobody but it had
// them, follows with a new copy; its ledger stays, and is kept aside when it leads.
func TestOwnLedgerParted(t *testing.T) {
	first := newLeader(t)
	first.lend(t, 2)
	copied := filepath.Join(t.TempDir(), "ledger.db")
	put(t, first.path, copied)
	first.lend(t, 1) // nobody has heard of it
	second := leaderAt(t, copied, 2)
	second.lend(t, 4)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	before := records(t, first.path)
	files := FilesOf(first.path)
	catchUp(t, newFollower(files, straight(second), second.head), second)
	if n := len(records(t, files.Own)); n != len(before) {
		t.Errorf("its ledger has %d entries, had %d", n, len(before))
	}
	isBeginning(t, files.Copy, second)

	promoted, err := files.Promote(second.head(), segments.Options{})
	if err != nil || !promoted {
		t.Fatalf("Promote: %t, %v", promoted, err)
	}
	isBeginning(t, files.Own, second)
	kept, _ := filepath.Glob(files.Own + ".aside-7-*")
	if len(kept) != 1 || len(records(t, kept[0])) != len(before) {
		t.Errorf("kept aside: %v", kept)
	}
}

// A leader that lost its last entries does not make the follower lose them: the file that
// has the published head stays, and is the ledger when the follower leads.
func TestLeaderLostItsTail(t *testing.T) {
	l := newLeader(t)
	l.lend(t, 3)
	old := filepath.Join(t.TempDir(), "ledger.db")
	put(t, l.path, old)
	l.lend(t, 3)
	files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
	catchUp(t, newFollower(files, straight(l), l.head), l)
	public := l.head()
	whole := records(t, files.Copy)

	back := leaderAt(t, old, 2) // an old copy was put in its place
	f := newFollower(files, straight(back), func() published.Head { return public })
	run(t, f, func() bool { return errors.Is(f.Status().Err, ErrParted) })
	if n := len(records(t, files.Copy)); n != len(whole) {
		t.Fatalf("the follower has %d of %d entries", n, len(whole))
	}
	if back.server.MayLend() == nil {
		t.Error("the leader would lend")
	}
	promoted, err := files.Promote(public, segments.Options{})
	if err != nil || !promoted || len(records(t, files.Own)) != len(whole) {
		t.Fatalf("Promote: %t, %v", promoted, err)
	}

	// And the other way round: the leader went on, with a GAP, and published that.
	if err := os.Rename(files.Own, files.Copy); err != nil {
		t.Fatal(err)
	}
	back.lend(t, 9)
	catchUp(t, newFollower(files, straight(back), back.head), back)
	isBeginning(t, files.Copy, back)
	kept, _ := filepath.Glob(files.Own + ".aside-*")
	if len(kept) != 1 || len(records(t, kept[0])) != len(whole) {
		t.Errorf("kept aside: %v", kept)
	}
}

// A copy of another ledger, and a follower's that never was written to, give way.
func TestOtherLedger(t *testing.T) {
	one, two := newLeader(t), newLeader(t)
	one.lend(t, 2)
	two.lend(t, 1)
	files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
	catchUp(t, newFollower(files, straight(one), one.head), one)
	catchUp(t, newFollower(files, straight(two), two.head), two)
	isBeginning(t, files.Copy, two)
	if kept, _ := filepath.Glob(files.Own + ".aside-5-*"); len(kept) != 1 {
		t.Errorf("kept aside: %v", kept)
	}
}

// A damaged copy is kept aside and filled anew; a damaged ledger of this broker's is left.
func TestDamagedCopy(t *testing.T) {
	l := newLeader(t)
	l.lend(t, 3)
	files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
	catchUp(t, newFollower(files, straight(l), l.head), l)
	data, err := os.ReadFile(files.Copy)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{files.Copy, files.Own} {
		if err := os.WriteFile(path, data[:3*4096], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.server.Lead(l.Set)
	catchUp(t, newFollower(files, straight(l), l.head), l)
	isBeginning(t, files.Copy, l)
	if kept, _ := filepath.Glob(files.Own + "*"); len(kept) != 2 {
		t.Errorf("kept are %v", kept)
	}
}

// What asks itself, or nobody, writes nothing.
func TestNobodyToFollow(t *testing.T) {
	l := newLeader(t)
	l.server.Lead(nil)
	files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
	f := newFollower(files, straight(l), l.head)
	run(t, f, func() bool { return f.Status().Err != nil })
	if err := f.Status().Err; !strings.Contains(err.Error(), "does not lead") {
		t.Errorf("status %v", err)
	}
	if _, err := os.Stat(files.Copy); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a copy: %v", err)
	}
}
