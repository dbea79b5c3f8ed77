package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// twin is an empty file of the same ledger.
func twin(t testing.TB, of *Ledger) *Ledger {
	t.Helper()
	identity, err := of.Identity()
	if err != nil {
		t.Fatal(err)
	}
	path := tempPath(t)
	if err := Begin(path, identity); err != nil {
		t.Fatal(err)
	}
	return openAt(t, path, Options{})
}

// raw are all records of a ledger.
func raw(t testing.TB, l *Ledger) [][]byte {
	t.Helper()
	var all [][]byte
	for from := uint64(1); ; {
		page, err := l.Raw(from, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		from += uint64(len(page))
	}
}

// sound checks a ledger and compares it with another.
func sound(t testing.TB, got, want *Ledger) {
	t.Helper()
	report, err := got.Verify()
	if err != nil || !report.OK() {
		t.Fatalf("Verify: %v %v", err, report)
	}
	seqA, hashA := got.Head()
	seqB, hashB := want.Head()
	if seqA != seqB || hashA != hashB || got.Epoch() != want.Epoch() {
		t.Fatalf("the head is %d %s, want %d %s", seqA, hashA, seqB, hashB)
	}
	if diff := cmp.Diff(balances(want), balances(got)); diff != "" {
		t.Errorf("balances (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.OpenLoans(), got.OpenLoans(), cmp.AllowUnexported(OpenLoan{}, moment{})); diff != "" {
		t.Errorf("open loans (-want +got):\n%s", diff)
	}
	if idA, _ := got.ID(); idA == "" {
		t.Error("no ID")
	} else if idB, _ := want.ID(); idA != idB {
		t.Errorf("ID %s, want %s", idA, idB)
	}
}

// However the records are cut into pages, and whatever is sent twice, the same books come
// out, and they can be written on.
func TestAppendRaw(t *testing.T) {
	leader := openAt(t, tempPath(t), Options{ClusterUID: "a"})
	fill(t, leader, 12)
	records := raw(t, leader)
	rapid.Check(t, func(rt *rapid.T) {
		follower := twin(t, leader)
		for at := 0; at < len(records); {
			from := rapid.IntRange(0, at).Draw(rt, "from")
			to := rapid.IntRange(at, len(records)).Draw(rt, "to")
			if err := follower.AppendRaw(records[from:to]); err != nil {
				rt.Fatal(err)
			}
			at = to
		}
		sound(t, follower, leader)
	})
	follower := twin(t, leader)
	if err := follower.AppendRaw(records); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Ledger{leader, follower} {
		mustAppend(t, l, inEpoch(2, Entry{Kind: EpochStart, OpID: "next", BootID: "b", Time: t0}))
		if first := mustAppend(t, l, lent(LendIntent, 1)); first.Seq != 2 {
			t.Errorf("an operation of before is entry %d", first.Seq)
		}
	}
	sound(t, follower, leader)
}

// A migrated ledger goes on with the chain of the schema that it was made with, and so does
// its follower.
func TestAppendRawOfAMigratedLedger(t *testing.T) {
	leader := openAt(t, tempPath(t), Options{})
	identity, err := leader.Identity()
	if err != nil {
		t.Fatal(err)
	}
	id, err := parseIdentity(identity)
	if err != nil {
		t.Fatal(err)
	}
	id.Born = 1
	older := append(id.encode(), appendCRC(putU32(nil, 1))...)
	a, b := tempPath(t), tempPath(t)
	for _, path := range []string{a, b} {
		if err := Begin(path, older); err != nil {
			t.Fatal(err)
		}
	}
	one, two := openAt(t, a, Options{}), openAt(t, b, Options{})
	fill(t, one, 3)
	if again, err := one.Identity(); err != nil || !bytes.Equal(again, older) {
		t.Errorf("the identity is %x, %v; want %x", again, err, older)
	}
	if err := two.AppendRaw(raw(t, one)); err != nil {
		t.Fatal(err)
	}
	sound(t, two, one)
	if err := leader.AppendRaw(raw(t, one)); !errors.Is(err, ErrDiverged) {
		t.Errorf("records of the older chain in a ledger that is not migrated: %v", err)
	}
}

// What does not continue the chain is refused whole, and the ledger stays as it was.
func TestAppendRawRefuses(t *testing.T) {
	leader := openAt(t, tempPath(t), Options{})
	fill(t, leader, 6)
	records := raw(t, leader)
	other := openAt(t, tempPath(t), Options{})
	fill(t, other, 6)
	// forged follows the fifth record, with a rule broken by e.
	forged := func(e Entry) []byte {
		five, err := decode(records[4])
		if err != nil {
			t.Fatal(err)
		}
		e.Seq, e.PrevHash, e.Time, e.BootID = 6, five.Hash, t0, "boot"
		out, _ := encode(&e)
		return out
	}
	flipped := bytes.Clone(records[5])
	flipped[20] ^= 1
	newer := bytes.Clone(records[5][:len(records[5])-4])
	newer[0] = 77
	for name, test := range map[string]struct {
		records [][]byte
		want    error
	}{
		"a hole":              {records[6:], ErrHole},
		"a hole within":       {[][]byte{records[5], records[7]}, ErrHole},
		"another order":       {[][]byte{records[5], records[7], records[6]}, ErrHole},
		"another ledger":      {raw(t, other)[5:], ErrDiverged},
		"another past":        {raw(t, other)[:5], ErrDiverged},
		"a flipped bit":       {[][]byte{flipped}, ErrCorrupt},
		"no record":           {[][]byte{{}}, ErrCorrupt},
		"a newer version":     {[][]byte{appendCRC(newer)}, ErrNewerSchema},
		"an epoch that falls": {[][]byte{forged(Entry{Kind: Refused, OpID: "x", Job: "a/b"})}, ErrStaleEpoch},
		"a closed loan":       {[][]byte{forged(Entry{Kind: LendGranted, Epoch: 1, OpID: "x", Loan: "research/loan-1"})}, ErrTransition},
		"an operation twice":  {[][]byte{forged(inEpoch(1, Entry{Kind: EpochStart, OpID: "start"}))}, ErrOpReused},
	} {
		t.Run(name, func(t *testing.T) {
			follower := twin(t, leader)
			if err := follower.AppendRaw(records[:5]); err != nil {
				t.Fatal(err)
			}
			before := fmt.Sprintf("%+v", []any{follower.OpenLoans(), balances(follower), monthsOf(follower), follower.Epoch()})
			seq, hash := follower.Head()
			if err := follower.AppendRaw(test.records); !errors.Is(err, test.want) {
				t.Errorf("AppendRaw: %v, want %v", err, test.want)
			}
			after := fmt.Sprintf("%+v", []any{follower.OpenLoans(), balances(follower), monthsOf(follower), follower.Epoch()})
			if s, h := follower.Head(); s != seq || h != hash || after != before {
				t.Errorf("it changed:\n%s\n%s", before, after)
			}
			if err := follower.AppendRaw(records); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			sound(t, follower, leader)
		})
	}
}

// A commit that fails is an unknown outcome here too.
func TestAppendRawUnknownOutcome(t *testing.T) {
	leader := openAt(t, tempPath(t), Options{})
	fill(t, leader, 3)
	identity, err := leader.Identity()
	if err != nil {
		t.Fatal(err)
	}
	path := tempPath(t)
	if err := Begin(path, identity); err != nil {
		t.Fatal(err)
	}
	failing := errors.New("input/output error")
	follower, err := Open(path, Options{commit: func(*bolt.Tx) error { return failing }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := follower.AppendRaw(raw(t, leader)); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("AppendRaw: %v", err)
		}
	}
	mustClose(t, follower)
	again := openAt(t, path, Options{})
	if err := again.AppendRaw(raw(t, leader)); err != nil {
		t.Fatal(err)
	}
	sound(t, again, leader)
}

// A file is begun once, and only from a whole identity.
func TestBegin(t *testing.T) {
	leader := openAt(t, tempPath(t), Options{})
	identity, err := leader.Identity()
	if err != nil {
		t.Fatal(err)
	}
	path := tempPath(t)
	for n := range identity {
		if err := Begin(path, identity[:n]); err == nil {
			t.Fatalf("%d of %d bytes are enough", n, len(identity))
		}
		bad := bytes.Clone(identity)
		bad[n] ^= 1
		if err := Begin(path, bad); err == nil {
			t.Fatalf("byte %d does not count", n)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("something is there: %v", err)
	}
	if err := Begin(path, identity); err != nil {
		t.Fatal(err)
	}
	if err := Begin(path, identity); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	id, seq, _, err := Beginning(identity)
	if want, _ := leader.ID(); err != nil || id != want || seq != 0 {
		t.Errorf("it begins %s after %d, %v", id, seq, err)
	}
}

// A copy can be written on, whatever number its last transaction has.
func TestBackupIsWrittenOn(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	fill(t, l, 1)
	for n := range 4 {
		path := tempPath(t)
		if _, err := l.Backup(path); err != nil {
			t.Fatal(err)
		}
		for m := range 3 {
			copied, err := Open(path, Options{})
			if err != nil {
				t.Fatalf("after %d entries: %v", m, err)
			}
			mustAppend(t, copied, Entry{Kind: Refused, OpID: fmt.Sprintf("copy-%d", m), Epoch: 1, Job: "a/b", Borrower: "a"})
			mustClose(t, copied)
		}
		mustAppend(t, l, Entry{Kind: Refused, OpID: fmt.Sprintf("more-%d", n), Epoch: 1, Job: "a/b", Borrower: "a"})
	}
}
