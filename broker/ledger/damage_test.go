package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

var flipAll = flag.Bool("flip-all", false, "flip every byte of the file, not a sample")

// editBolt changes a closed ledger behind its back.
func editBolt(t testing.TB, path string, fn func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// quickCheck is Check without the wait.
func quickCheck(path string) (*Report, error) {
	return checkFile(path, openParams{readOnly: true, timeout: time.Millisecond})
}

// known are the errors that Open may give for a damaged file.
func known(err error) bool {
	for _, sentinel := range []error{ErrCorrupt, ErrTruncated, ErrDerived, ErrNewerSchema} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// sameOrRefused opens a file that may be damaged: it must be refused with a
// known error, or read exactly as the original does. It tells whether it was
// refused. Check must agree.
func sameOrRefused(t *testing.T, path string, want []Entry) bool {
	t.Helper()
	report, err := quickCheck(path)
	if err != nil {
		t.Fatalf("Check: %v", err)
	}
	l, err := Open(path, Options{})
	if (err == nil) != report.OK() {
		t.Fatalf("Open says %v, Check says %v", err, report.Err())
	}
	if err != nil {
		if !known(err) {
			t.Fatalf("Open gives an error of no known kind: %v", err)
		}
		return true
	}
	defer l.Close()
	got, err := l.Read(0, 0)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d of %d entries: %v", len(got), len(want), err)
	}
	for i := range got {
		if got[i].Hash != want[i].Hash {
			t.Fatalf("damaged entry was served: %s", cmp.Diff(want[i], got[i]))
		}
	}
	return false
}

func TestEveryByteOfARecordIsGuarded(t *testing.T) {
	path, data := filled(t, 12)
	l := openAt(t, path, Options{})
	entries := allEntries(t, l)
	mustClose(t, l)
	for _, i := range []int{0, len(entries) / 2, len(entries) - 1} {
		raw, _ := encode(&entries[i])
		for at := range raw {
			// Older copies of a page may lie about; all of them are changed.
			damaged := bytes.Clone(raw)
			damaged[at] ^= 1 << (at % 8)
			writeFile(t, path, bytes.ReplaceAll(data, raw, damaged))
			report, err := quickCheck(path)
			if err != nil {
				t.Fatal(err)
			}
			where := fmt.Sprintf("entry %d", entries[i].Seq)
			if !errors.Is(report.Err(), ErrCorrupt) || !strings.Contains(report.Err().Error(), where) {
				t.Fatalf("byte %d of entry %d: Check says %v", at, entries[i].Seq, report.Err())
			}
			if _, err := Open(path, Options{}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "restore") {
				t.Fatalf("byte %d of entry %d: Open says %v", at, entries[i].Seq, err)
			}
		}
	}
}

// Any byte of the file, wherever it is: the process survives and nothing false
// is served. Page headers and the first elements are what bbolt would follow
// into the void, so those are all changed; of the rest a sample.
func TestAnyFlippedByteIsRefusedOrHarmless(t *testing.T) {
	path, data := filled(t, 9)
	l := openAt(t, path, Options{})
	want := allEntries(t, l)
	mustClose(t, l)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var positions []int
	for at := range data {
		if *flipAll || at%os.Getpagesize() < 48 || rng.IntN(200) == 0 {
			positions = append(positions, at)
		}
	}
	refused := 0
	for _, at := range positions {
		damaged := bytes.Clone(data)
		damaged[at] ^= byte(1 + rng.IntN(255))
		writeFile(t, path, damaged)
		if sameOrRefused(t, path, want) {
			refused++
		}
	}
	t.Logf("%d of %d damaged files refused", refused, len(positions))
	if refused == 0 || refused == len(positions) {
		t.Errorf("%d of %d refused: the sample says nothing", refused, len(positions))
	}
}

func TestTruncatedFileIsRefused(t *testing.T) {
	path, _ := filled(t, 60)
	l := openAt(t, path, Options{})
	want := allEntries(t, l)
	mustClose(t, l)
	data := readFile(t, path)
	h, faultless := (&pageWalk{f: bytes.NewReader(data)}).header(int64(len(data)), false)
	if !faultless {
		t.Fatal("the whole file has a fault")
	}
	used := int(h.hwm) * int(h.pageSize)
	page := int(h.pageSize)
	var sizes []int
	for p := 0; p <= len(data); p += page {
		sizes = append(sizes, p, p+1, p+page/2, p+page-1)
	}
	for i := range 200 {
		sizes = append(sizes, i)
	}
	refused := 0
	for _, size := range sizes {
		size = min(size, len(data))
		writeFile(t, path, data[:size])
		report, err := quickCheck(path)
		if err != nil {
			t.Fatalf("Check of %d bytes: %v", size, err)
		}
		l, err := Open(path, Options{})
		if size < used {
			refused++
			if !errors.Is(err, ErrTruncated) || !errors.Is(report.Err(), ErrTruncated) {
				t.Fatalf("%d of %d bytes: Open says %v, Check says %v", size, used, err, report.Err())
			}
			if got := readFile(t, path); len(got) != size {
				t.Fatalf("opening a file of %d bytes made it %d long", size, len(got))
			}
			continue
		}
		if err != nil || !report.OK() {
			t.Fatalf("%d bytes, all %d in use are there: %v, %v", size, used, err, report.Err())
		}
		mustAppend(t, l, lent(LendIntent, 1000))
		mustClose(t, l)
		l = openAt(t, path, Options{})
		if got := allEntries(t, l); !cmp.Equal(want, got[:len(want)]) || len(got) != len(want)+1 {
			t.Fatalf("%d bytes: entries changed", size)
		}
		mustClose(t, l)
	}
	if refused < 200 {
		t.Errorf("only %d sizes were below the %d bytes in use", refused, used)
	}
}

// rewrite replaces the record of an entry with a valid one.
func rewrite(t testing.TB, path string, seq uint64, edit func(e *Entry)) {
	editBolt(t, path, func(tx *bolt.Tx) error {
		e, err := readRecord(tx, seq)
		if err != nil {
			return err
		}
		edit(&e)
		raw, _ := encode(&e)
		return tx.Bucket(bucketLog).Put(seqKey(seq), raw)
	})
}

func TestTamperingIsLocated(t *testing.T) {
	for name, tc := range map[string]struct {
		tamper func(t *testing.T, path string, last uint64)
		want   error
		text   string
	}{
		"record rewritten": {func(t *testing.T, p string, last uint64) {
			rewrite(t, p, 5, func(e *Entry) { e.Message = "never happened" })
		}, ErrCorrupt, "entry 6: follows an entry with hash"},
		"last record rewritten": {func(t *testing.T, p string, last uint64) {
			rewrite(t, p, last, func(e *Entry) { e.Message = "never happened" })
		}, ErrCorrupt, "meta: head says entry"},
		"record removed": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error { return tx.Bucket(bucketLog).Delete(seqKey(5)) })
		}, ErrCorrupt, "entry 5: entries 5 to 5 are missing"},
		"end removed": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error {
				return errors.Join(tx.Bucket(bucketLog).Delete(seqKey(last)), tx.Bucket(bucketLog).Delete(seqKey(last-1)))
			})
		}, ErrCorrupt, "are missing at the end"},
		"records swapped": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error {
				log := tx.Bucket(bucketLog)
				a, b := bytes.Clone(log.Get(seqKey(5))), bytes.Clone(log.Get(seqKey(6)))
				return errors.Join(log.Put(seqKey(5), b), log.Put(seqKey(6), a))
			})
		}, ErrCorrupt, "entry 5: calls itself 6"},
		"impossible history": {func(t *testing.T, p string, last uint64) {
			appendRaw(t, p, follow(ReclaimDone, 1, 100))
		}, ErrCorrupt, "cannot follow the entries before it: invalid loan transition"},
		"second loan of a job": {func(t *testing.T, p string, last uint64) {
			e := stored(t, lent(LendIntent, 100))
			e.JobUID = "uid-2"
			appendRaw(t, p, e)
		}, ErrCorrupt, "cannot follow the entries before it: job already has an open loan"},
		"closed loan again": {func(t *testing.T, p string, last uint64) {
			appendRaw(t, p, stored(t, lent(LendIntent, 1)))
		}, ErrCorrupt, "loan research/loan-1 is Closed, which LEND_INTENT does not follow"},
		"other grants than the loan's": {func(t *testing.T, p string, last uint64) {
			e := follow(Released, 2, 100)
			e.Grants = stored(t, lent(LendIntent, 2)).Grants
			e.Grants[0].Count++
			appendRaw(t, p, e)
		}, ErrCorrupt, "cannot follow the entries before it: invalid ledger entry: grants: differ"},
		"another borrower than the loan's": {func(t *testing.T, p string, last uint64) {
			e := follow(Released, 2, 100)
			e.Borrower = "serving"
			appendRaw(t, p, e)
		}, ErrCorrupt, "cannot follow the entries before it: invalid ledger entry: borrower"},
		"first entry of another ledger": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error {
				return tx.Bucket(bucketMeta).Put(keyIdentity, newIdentity("other", t0).encode())
			})
		}, ErrCorrupt, "entry 1: follows an entry with hash"},
		"head damaged": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyHead, []byte("x")) })
		}, ErrCorrupt, "meta: head: record ends early"},
		"log removed": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketLog) })
		}, ErrCorrupt, "log: the bucket is missing"},
		"newer schema": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error {
				id := newIdentity("", t0)
				id.Schema = 3
				return tx.Bucket(bucketMeta).Put(keyIdentity, id.encode())
			})
		}, ErrNewerSchema, "schema 3, this release reads up to 2; start the release"},
		"newer record": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error {
				log := tx.Bucket(bucketLog)
				body := bytes.Clone(log.Get(seqKey(last)))
				body[0] = 2
				return log.Put(seqKey(last), appendCRC(body[:len(body)-4]))
			})
		}, ErrNewerSchema, "record version 2"},
		"index row removed": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error { return tx.Bucket(bucketOp).Delete(seqKey(opHash([]byte("op-1"), LendIntent))) })
		}, ErrDerived, "by_op: has"},
		"index row changed": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error {
				return tx.Bucket(bucketLoan).Put(append(prefixKey("research/loan-1"), seqKey(2)...), []byte{byte(Closed)})
			})
		}, ErrDerived, "by_loan: has"},
		"index removed": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketTenant) })
		}, ErrDerived, "by_tenant: the bucket is missing"},
		"open loan removed": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error { return tx.Bucket(bucketOpen).Delete([]byte("uid-2")) })
		}, ErrDerived, "open: has"},
		"balance changed": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error {
				r := acctRow(balanceKey{Account{BorrowerAccount, "research"}, "h100"}, 0)
				return tx.Bucket(r.bucket).Put(r.key, r.value)
			})
		}, ErrDerived, "acct: has"},
		"two balances changed that still add up": {func(t *testing.T, p string, last uint64) {
			editBolt(t, p, func(tx *bolt.Tx) error {
				for key, by := range map[balanceKey]int64{
					{Account{BorrowerAccount, "research"}, "h100"}:   -1,
					{Account{LenderAccount, "serving/chat"}, "h100"}: 1,
				} {
					k := acctRow(key, 0).key
					have := int64(binary.BigEndian.Uint64(tx.Bucket(bucketAcct).Get(k)))
					if err := tx.Bucket(bucketAcct).Put(k, acctRow(key, have+by).value); err != nil {
						return err
					}
				}
				return nil
			})
		}, ErrDerived, "acct: has"},
	} {
		t.Run(name, func(t *testing.T) {
			path := tempPath(t)
			l := openAt(t, path, Options{})
			fill(t, l, 8)
			last, _ := l.Head()
			want := allEntries(t, l)
			mustClose(t, l)
			tc.tamper(t, path, last)
			before := readFile(t, path)

			report, err := quickCheck(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Open(path, Options{})
			for who, err := range map[string]error{"Check": report.Err(), "Open": err} {
				if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
					t.Errorf("%s says %v, want %v with %q", who, err, tc.want, tc.text)
				}
			}
			if !bytes.Equal(before, readFile(t, path)) {
				t.Error("a refused file was changed")
			}
			if _, err := Recover(path, 0); !errors.Is(err, tc.want) {
				t.Errorf("Recover: %v", err)
			}
			if !bytes.Equal(before, readFile(t, path)) {
				t.Error("Recover changed a file that it refused")
			}
			_, err = Reindex(path)
			if !errors.Is(tc.want, ErrDerived) {
				if !errors.Is(err, tc.want) {
					t.Errorf("Reindex of a damaged log: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("Reindex: %v", err)
			}
			l = openAt(t, path, Options{})
			if diff := cmp.Diff(want, allEntries(t, l)); diff != "" {
				t.Errorf("Reindex changed the log:\n%s", diff)
			}
		})
	}
}

// stored is the entry in the form in which it is written.
func stored(t *testing.T, e Entry) Entry {
	t.Helper()
	e, err := normalise(e)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// appendRaw adds a record whose checksum and hashes are right and whose meaning
// is not.
func appendRaw(t testing.TB, path string, e Entry) {
	editBolt(t, path, func(tx *bolt.Tx) error {
		h, err := decodeHead(tx.Bucket(bucketMeta).Get(keyHead))
		if err != nil {
			return err
		}
		e.Seq, e.PrevHash = h.Seq+1, h.Hash
		raw, hash := encode(&e)
		return errors.Join(tx.Bucket(bucketLog).Put(seqKey(e.Seq), raw),
			tx.Bucket(bucketMeta).Put(keyHead, head{e.Seq, hash, e.Epoch}.encode()))
	})
}

func TestCheckReportsEveryFault(t *testing.T) {
	path, data := filled(t, 12)
	l := openAt(t, path, Options{})
	entries := allEntries(t, l)
	mustClose(t, l)
	for _, i := range []int{3, 9, 20} {
		raw, _ := encode(&entries[i])
		damaged := bytes.Clone(raw)
		damaged[len(damaged)/2] ^= 4
		data = bytes.ReplaceAll(data, raw, damaged)
	}
	writeFile(t, path, data)
	report, err := Check(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range report.Faults {
		got = append(got, f.String())
	}
	want := []string{
		"entry 4: record checksum does not match", "entry 10: record checksum does not match", "entry 21: record checksum does not match",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if report.Entries != uint64(len(entries)-3) || report.HeadSeq != uint64(len(entries)) {
		t.Errorf("read %d entries up to %d", report.Entries, report.HeadSeq)
	}
	if text := report.String(); !strings.Contains(text, "(and 2 more faults)") || strings.HasSuffix(text, "\nok\n") {
		t.Errorf("report is\n%s", text)
	}
}

func TestReportOfASoundLedger(t *testing.T) {
	path, _ := filled(t, 3)
	report, err := Check(path)
	if err != nil || !report.OK() || report.Err() != nil {
		t.Fatalf("Check: %v %v", err, report.Err())
	}
	text := report.String()
	for _, want := range []string{
		"entries   10, head 10, epoch 1\n", "head hash " + report.HeadHash.String() + "\n", "open      1 loans\n",
		"balance   borrower research h100 -665000 unit-ms\n", "balance   lender   serving/chat h100 532000 unit-ms\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("report lacks %q:\n%s", want, text)
		}
	}
	if !strings.HasSuffix(text, "\nok\n") {
		t.Errorf("report does not end with ok:\n%s", text)
	}
}

// Of two header pages the newer one is damaged: bbolt would go on with the
// older one and the last entry would be gone without a word.
func TestLostHeaderIsNotSilent(t *testing.T) {
	path, data := filled(t, 3)
	h0, ok0 := parseHeader(data, 0)
	h1, ok1 := parseHeader(data[h0.pageSize:], 1)
	if !ok0 || !ok1 {
		t.Fatal("headers cannot be read")
	}
	newer := 0
	if h1.txid > h0.txid {
		newer = int(h0.pageSize)
	}
	data[newer+pageHeadLen+20] ^= 1
	writeFile(t, path, data)
	if _, err := Open(path, Options{}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "one of two header pages is damaged") {
		t.Fatalf("Open: %v", err)
	}
	if _, err := Recover(path, 10); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "entry 10 is known elsewhere") {
		t.Errorf("Recover although the tenth entry is known: %v", err)
	}
	if !bytes.Equal(data, readFile(t, path)) {
		t.Error("Recover changed a file that it refused")
	}
	if report, err := Recover(path, 9); err != nil || !report.OK() || report.HeadSeq != 9 {
		t.Fatalf("Recover: %v %v; want head 9, since the tenth entry went with the header", err, report)
	}
	if _, err := Recover(path, 9); !errors.Is(err, ErrNothingToRecover) {
		t.Errorf("Recover of a sound file: %v", err)
	}
	l := openAt(t, path, Options{})
	mustAppend(t, l, follow(ReclaimDone, 3, 90))
	mustClose(t, l)
	if report, err := Check(path); err != nil || !report.OK() {
		t.Errorf("after one more entry: %v %v", err, report)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	mustAppend(t, l, lent(LendIntent, 1))
	_, openErr := Open(path, Options{Timeout: 30 * time.Millisecond})
	_, checkErr := quickCheck(path)
	for _, err := range []error{openErr, checkErr} {
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "stop that process first (fuser "+path) {
			t.Errorf("second open: %v", err)
		}
	}
	if report, err := l.Verify(); err != nil || !report.OK() || report.Entries != 1 {
		t.Errorf("Verify by the holder: %v %v", err, report)
	}
	mustClose(t, l)
	openAt(t, path, Options{Timeout: 30 * time.Millisecond})
}

func TestCheckLeavesTheFileToReaders(t *testing.T) {
	path, _ := filled(t, 3)
	first, faults, err := openBolt(path, openParams{readOnly: true, timeout: time.Second})
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	defer first.db.Close()
	if report, err := quickCheck(path); err != nil || !report.OK() {
		t.Errorf("a second reader: %v", err)
	}
}

func TestReplacedFileIsNoticed(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	mustAppend(t, l, lent(LendIntent, 1))
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, readFile(t, path+".old"))
	report, err := l.Verify()
	if err != nil || !errors.Is(report.Err(), ErrCorrupt) || !strings.Contains(report.Err().Error(), "was replaced under the running broker") {
		t.Errorf("Verify: %v %v", err, report.Err())
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	for name, tc := range map[string]struct {
		data []byte
		want error
	}{
		"empty": {nil, ErrTruncated},
		"text":  {bytes.Repeat([]byte("not a ledger\n"), 1000), ErrCorrupt},
		"zeros": {make([]byte, 1<<16), ErrCorrupt},
	} {
		writeFile(t, path, tc.data)
		if _, err := Open(path, Options{}); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if !bytes.Equal(readFile(t, path), tc.data) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	missing := filepath.Join(dir, "missing")
	_, checkErr := Check(missing)
	_, reindexErr := Reindex(missing)
	_, recoverErr := Recover(missing, 0)
	for i, err := range []error{checkErr, reindexErr, recoverErr} {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("call %d on a missing file: %v", i, err)
		}
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("Check, Reindex or Recover made a file")
	}
	if _, err := Open(filepath.Join(dir, "no", "dir"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open in a missing directory: %v", err)
	}
}

func TestLedgerOfAnotherClusterIsRefused(t *testing.T) {
	path := tempPath(t)
	mustClose(t, openAt(t, path, Options{ClusterUID: "a"}))
	if _, err := Open(path, Options{ClusterUID: "b"}); !errors.Is(err, ErrOtherCluster) {
		t.Errorf("Open: %v, want ErrOtherCluster", err)
	}
	openAt(t, path, Options{})
}

// Two processes that start at once must end up with one ledger.
func TestCreateDoesNotReplace(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	mustAppend(t, l, lent(LendIntent, 1))
	if err := create(path, newIdentity("", t0)); !errors.Is(err, os.ErrExist) {
		t.Errorf("create over a ledger: %v", err)
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("directory holds %v, want only the ledger", names)
	}
	if report, err := l.Verify(); err != nil || !report.OK() || report.Entries != 1 {
		t.Errorf("Verify: %v", err)
	}
}
