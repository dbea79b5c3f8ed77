package books_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/e2e/witness/books"
)

var began = time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)

// loan is the first entry of a loan: units of two lenders and some of its own.
func loan(n int) ledger.Entry {
	return ledger.Entry{
		Kind: ledger.LendIntent, OpID: fmt.Sprintf("op-%03d", n), Epoch: 3, BootID: "boot", MonoNS: int64(n) * 1e9,
		Time: began.Add(time.Duration(n) * time.Second),
		Loan: fmt.Sprintf("research/loan-%03d", n), Job: fmt.Sprintf("research/job-%03d", n), JobUID: fmt.Sprintf("uid-%03d", n),
		Borrower: "research", Message: "chat at 20% (< 30%)", Signals: []ledger.Value{{Name: "load", Value: 0.2}},
		Grants: []ledger.Grant{
			{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 4},
			{Lender: "serving/embed", Node: "gpu-2", Flavor: "a100", Count: 1},
			{Node: "gpu-2", Flavor: "h100", Count: 3},
		},
	}
}

func later(kind ledger.Kind, n, after int) ledger.Entry {
	return ledger.Entry{
		Kind: kind, OpID: fmt.Sprintf("op-%03d", n), Epoch: 3, BootID: "boot", MonoNS: int64(n+after) * 1e9,
		Time: began.Add(time.Duration(n+after) * time.Second), Loan: fmt.Sprintf("research/loan-%03d", n),
	}
}

// story is what the product writes of some loans in all states.
func story(loans int) []ledger.Entry {
	entries := []ledger.Entry{{Kind: ledger.EpochStart, OpID: "start", Epoch: 3, Time: began}}
	for n := 1; n <= loans; n++ {
		entries = append(entries, loan(n), later(ledger.LendGranted, n, 1))
		switch n % 4 {
		case 0:
			reclaim := later(ledger.ReclaimIntent, n, 60)
			reclaim.ReclaimID = "r"
			entries = append(entries, reclaim, later(ledger.Stopped, n, 61), later(ledger.ReclaimDone, n, 90))
		case 1:
			less := later(ledger.Shed, n, 20)
			less.Grants = []ledger.Grant{{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 2}}
			gone := later(ledger.Lost, n, 50)
			gone.At = began.Add(time.Duration(n+40) * time.Second)
			entries = append(entries, less, gone)
		case 2:
			entries = append(entries, later(ledger.Preempted, n, 45))
		}
	}
	return entries
}

// write makes a ledger of entries with the product.
func write(t *testing.T, entries []ledger.Entry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := ledger.Open(path, ledger.Options{ClusterUID: "cluster"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := l.Append(e); err != nil {
			t.Fatalf("%s %s: %v", e.Kind, e.OpID, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The witness agrees with the product about what the product wrote.
func TestAgreesWithTheProduct(t *testing.T) {
	path := write(t, story(60))
	report, err := ledger.Check(path)
	if err != nil || !report.OK() {
		t.Fatalf("the product refuses its own file: %v, %v", err, report)
	}
	f := books.Judge(read(t, path))
	if !f.Sound() {
		t.Fatalf("verdicts on a sound file: %v", f.Verdicts)
	}
	if f.Head != report.HeadSeq || f.Hash != report.HeadHash || f.Epoch != report.Epoch || f.ClusterUID != "cluster" {
		t.Errorf("head %d %x epoch %d, the product says %d %s epoch %d", f.Head, f.Hash, f.Epoch, report.HeadSeq, report.HeadHash, report.Epoch)
	}
	sameBalances(t, f, report)
	for _, l := range report.OpenLoans {
		if got := f.Open[l.Loan]; uint8(got.State) != uint8(l.State) || got.First != l.FirstSeq || got.Last != l.LastSeq {
			t.Errorf("open loan %s is %+v, the product says %+v", l.Loan, got, l)
		}
	}
	if len(f.Open) != len(report.OpenLoans) || len(f.Open) == 0 {
		t.Errorf("%d open loans, the product says %d", len(f.Open), len(report.OpenLoans))
	}
}

func sameBalances(t *testing.T, f *books.Finding, report *ledger.Report) {
	t.Helper()
	if len(f.Balances) != len(report.Balances) || len(f.Balances) == 0 {
		t.Errorf("%d balances, the product says %d", len(f.Balances), len(report.Balances))
	}
	for _, b := range report.Balances {
		if got := f.Balances[books.Account{Side: string(b.Account.Side), Name: b.Account.Name, Flavor: b.Flavor}]; got != b.UnitMS {
			t.Errorf("balance of %+v is %d, the product says %d", b.Account, got, b.UnitMS)
		}
	}
}

// Files of earlier releases, whose heads are pinned here, are sound.
func TestFixtures(t *testing.T) {
	for name, head := range map[string]string{
		"v1-empty": "29a42e2d447ee39d7b16a6456d5150a72dd01d4ca3a13b7b8c76a8d374a6bae8",
		"v1-large": "11076d1283a5406aae9b6864917cb4c30acf878b093c645f4445b74b167d6a9b",
		"v1-story": "c820eb0aee16ba00f80fb62d5e695d9ebaa48c9822031c59d8d4e402527acd22",
	} {
		packed, err := os.Open(filepath.Join("..", "..", "..", "broker", "ledger", "testdata", "files", name+".db.gz"))
		if err != nil {
			t.Fatal(err)
		}
		defer packed.Close()
		r, err := gzip.NewReader(packed)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		f := books.Judge(data)
		if !f.Sound() || hex.EncodeToString(f.Hash[:]) != head {
			t.Errorf("%s: head %x, %v", name, f.Hash, f.Verdicts)
		}
	}
}

// Every byte of every record matters, and so does every byte of the tables beside the log.
func TestEveryFlipIsFound(t *testing.T) {
	data := read(t, write(t, story(6)))
	live := books.Live(data)
	rng := rand.New(rand.NewPCG(1, 2))
	flips := 0
	for _, place := range live {
		for at := place[0]; at < place[1]; at++ {
			if testing.Short() && rng.IntN(20) != 0 {
				continue
			}
			damaged := bytes.Clone(data)
			damaged[at] ^= 1 << rng.IntN(8)
			flips++
			if books.Judge(damaged).Sound() {
				t.Fatalf("a flip of byte %d, at %d of %v, is not found", at, at-place[0], place)
			}
		}
	}
	if flips < 500 {
		t.Errorf("only %d flips were tried", flips)
	}
}

// Nothing at all ends the process: random damage anywhere, several at once, cut anywhere.
func TestNoDamageEndsTheProcess(t *testing.T) {
	data := read(t, write(t, story(30)))
	rng := rand.New(rand.NewPCG(7, 7))
	guilty := 0
	for range 3000 {
		damaged := bytes.Clone(data)
		for range 1 + rng.IntN(8) {
			// Half of it where bbolt keeps its numbers.
			at := rng.IntN(len(damaged))
			if rng.IntN(2) == 0 {
				at = at/4096*4096 + rng.IntN(64)
			}
			damaged[at] = byte(rng.IntN(256))
		}
		if rng.IntN(4) == 0 {
			damaged = damaged[:rng.IntN(len(damaged))]
		}
		if !books.Judge(damaged).Sound() {
			guilty++
		}
	}
	if guilty < 1000 {
		t.Errorf("only %d of 3000 damaged files were found", guilty)
	}
	books.Judge(nil)
}

// has tells whether there is a verdict by a law on a number.
func has(f *books.Finding, law books.Law, seq uint64) bool {
	return slices.ContainsFunc(f.Verdicts, func(v books.Verdict) bool { return v.Law == law && v.Seq == seq })
}

// edit changes a copy of a ledger with bbolt, which knows nothing of the ledger's rules.
func edit(t *testing.T, path string, change func(tx *bolt.Tx) error) *books.Finding {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "edited.db")
	if err := os.WriteFile(copied, read(t, path), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(copied, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return books.Judge(read(t, copied))
}

func key(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func sealed(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// rechain writes all hashes, checksums and the head anew, as somebody would who can write
// the file.
func rechain(tx *bolt.Tx) error {
	log, meta := tx.Bucket([]byte("log")), tx.Bucket([]byte("meta"))
	identity := meta.Get([]byte("identity"))
	prev := sha256.Sum256(identity[:len(identity)-4])
	var keys, records [][]byte
	if err := log.ForEach(func(k, v []byte) error {
		b := bytes.Clone(v[:len(v)-36])
		b = append(b, prev[:]...)
		prev = sha256.Sum256(b)
		keys, records = append(keys, bytes.Clone(k)), append(records, sealed(b))
		return nil
	}); err != nil {
		return err
	}
	for i := range keys {
		if err := log.Put(keys[i], records[i]); err != nil {
			return err
		}
	}
	last := records[len(records)-1]
	head := append(bytes.Clone(keys[len(keys)-1]), prev[:]...)
	return meta.Put([]byte("head"), sealed(append(head, last[10:18]...)))
}

// Forgeries: each is written by somebody who can compute every checksum, and breaks one law.
func TestForgeriesAreFound(t *testing.T) {
	path := write(t, story(20))
	replace := func(tx *bolt.Tx, seq uint64, old, fresh string) error {
		log := tx.Bucket([]byte("log"))
		raw := bytes.Replace(log.Get(key(seq)), []byte(old), []byte(fresh), 1)
		if bytes.Equal(raw, log.Get(key(seq))) {
			return fmt.Errorf("entry %d has no %q", seq, old)
		}
		if err := log.Put(key(seq), raw); err != nil {
			return err
		}
		return rechain(tx)
	}
	tests := []struct {
		name  string
		law   books.Law
		seq   uint64
		forge func(tx *bolt.Tx) error
	}{
		{"a record is left out and the chain mended", books.Numbers, 8, func(tx *bolt.Tx) error {
			if err := tx.Bucket([]byte("log")).Delete(key(7)); err != nil {
				return err
			}
			return rechain(tx)
		}},
		{"the last record is left out", books.Head, 71, func(tx *bolt.Tx) error {
			k, _ := tx.Bucket([]byte("log")).Cursor().Last()
			return tx.Bucket([]byte("log")).Delete(k)
		}},
		{"a record is changed and its checksum mended", books.Chain, 8, func(tx *bolt.Tx) error {
			log := tx.Bucket([]byte("log"))
			raw := bytes.Replace(log.Get(key(7)), []byte("gpu-1"), []byte("gpu-9"), 1)
			return log.Put(key(7), sealed(raw[:len(raw)-4]))
		}},
		{"a job has two open loans", books.OneLoan, 16, func(tx *bolt.Tx) error {
			// Loan 3 stays open from entry 9 on; now loan 5, in entry 16, is of its job.
			return replace(tx, 16, "uid-005", "uid-003")
		}},
		{"an operation is written twice", books.Operations, 10, func(tx *bolt.Tx) error {
			return errorsOf(setByte(tx, 10, 1, 2), replace(tx, 10, "op-003", "op-002"))
		}},
		{"a loan is granted twice", books.States, 17, func(tx *bolt.Tx) error {
			return replace(tx, 17, "research/loan-005", "research/loan-003")
		}},
		{"an epoch falls", books.Epochs, 12, func(tx *bolt.Tx) error {
			return errorsOf(setByte(tx, 12, 17, 2), rechain(tx))
		}},
		{"a kind that is none", books.Form, 12, func(tx *bolt.Tx) error {
			return errorsOf(setByte(tx, 12, 1, 200), rechain(tx))
		}},
		{"a balance is a little more", books.Balances, 0, func(tx *bolt.Tx) error {
			acct := tx.Bucket([]byte("acct"))
			k, v := acct.Cursor().First()
			return acct.Put(bytes.Clone(k), key(binary.BigEndian.Uint64(v)+1))
		}},
		{"two balances are wrong and add up", books.Derived, 0, func(tx *bolt.Tx) error {
			acct := tx.Bucket([]byte("acct"))
			for k, by := range map[string]uint64{"lender\x00serving/chat\x00h100": 5, "borrower\x00research\x00h100": ^uint64(4)} {
				if err := acct.Put([]byte(k), key(binary.BigEndian.Uint64(acct.Get([]byte(k)))+by)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"an open loan is forgotten", books.Derived, 0, func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("open")).Delete([]byte("uid-003"))
		}},
		{"an operation is not in its index", books.Derived, 0, func(tx *bolt.Tx) error {
			k, _ := tx.Bucket([]byte("by_op")).Cursor().First()
			return tx.Bucket([]byte("by_op")).Delete(k)
		}},
	}
	if f := edit(t, path, rechain); !f.Sound() {
		t.Fatalf("hashes written anew as they were: %v", f.Verdicts)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := edit(t, path, test.forge)
			if !has(f, test.law, test.seq) {
				t.Errorf("no verdict %q on %d, only %v", test.law, test.seq, f.Verdicts)
			}
		})
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// replacePayload changes the payload of an entry, with its length, and all hashes after it.
func replacePayload(tx *bolt.Tx, seq uint64, old, fresh string) error {
	log := tx.Bucket([]byte("log"))
	raw := log.Get(key(seq))
	// The payload is the last text, before the hash and the checksum.
	end := len(raw) - 36
	at := end - 1
	for ; at > 3 && (raw[at] != '{' || int(binary.BigEndian.Uint32(raw[at-4:])) != end-at); at-- {
	}
	if at <= 3 {
		return fmt.Errorf("entry %d has no payload", seq)
	}
	payload := bytes.Replace(raw[at:end], []byte(old), []byte(fresh), 1)
	b := binary.BigEndian.AppendUint32(bytes.Clone(raw[:at-4]), uint32(len(payload)))
	b = append(append(b, payload...), raw[end:]...)
	return errorsOf(log.Put(key(seq), b), rechain(tx))
}

func setByte(tx *bolt.Tx, seq uint64, at int, b byte) error {
	log := tx.Bucket([]byte("log"))
	raw := bytes.Clone(log.Get(key(seq)))
	raw[at] = b
	return log.Put(key(seq), raw)
}

// A ledger that is sound in itself and not the one that was published is told by its head.
func TestAnOldCopyIsFound(t *testing.T) {
	entries := story(20)
	old, newer := write(t, entries[:40]), write(t, entries)
	f, now := books.Judge(read(t, old)), books.Judge(read(t, newer))
	if !f.Sound() || !f.Holds(f.Head, f.Hash) || !f.Holds(f.Records[4].Seq, f.Records[4].Hash) {
		t.Fatalf("a head of its own is refused: %v", f.Verdicts)
	}
	if f.Holds(now.Head, now.Hash) || f.Holds(7, now.Records[6].Hash) || len(f.Verdicts) != 2 {
		t.Errorf("another ledger's head: %v", f.Verdicts)
	}
	if !strings.Contains(f.Err().Error(), "2 verdicts") {
		t.Errorf("the error is %v", f.Err())
	}
}
