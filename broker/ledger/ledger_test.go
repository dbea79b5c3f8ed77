package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"
)

func TestEntriesSurviveReopening(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{ClusterUID: "c1"})
	fill(t, l, 7)
	want, open, accounts := allEntries(t, l), l.OpenLoans(), balances(l)
	seq, hash := l.Head()
	mustClose(t, l)

	l = openAt(t, path, Options{ClusterUID: "c1"})
	if diff := cmp.Diff(want, allEntries(t, l)); diff != "" {
		t.Errorf("entries (-before +after):\n%s", diff)
	}
	if gotSeq, gotHash := l.Head(); gotSeq != seq || gotHash != hash || seq != uint64(len(want)) {
		t.Errorf("head is %d %s, was %d %s", gotSeq, gotHash, seq, hash)
	}
	if diff := cmp.Diff(open, l.OpenLoans(), cmp.AllowUnexported(OpenLoan{}, moment{})); diff != "" {
		t.Errorf("open loans (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(accounts, balances(l)); diff != "" {
		t.Errorf("balances (-before +after):\n%s", diff)
	}
	loan, ok := l.Loan("research/loan-5")
	if !ok || loan.State != Granted || loan.Job != "research/job-5" || !loan.Since.Equal(t0.Add(6*time.Second)) || l.Epoch() != 1 {
		t.Errorf("loan-5 is %+v (%v) in epoch %d", loan, ok, l.Epoch())
	}
	if _, ok := l.Loan("research/loan-4"); ok {
		t.Error("loan-4 was preempted and is still open")
	}
}

func TestSecondAppendOfAnOperationReturnsTheFirst(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	first := mustAppend(t, l, lent(LendIntent, 1))
	mustAppend(t, l, follow(LendGranted, 1, 1))
	again := lent(LendIntent, 1)
	again.Message, again.Epoch = "said differently by an older leader", 0
	got := mustAppend(t, l, again)
	if diff := cmp.Diff(first, got); diff != "" {
		t.Errorf("second append (-first +second):\n%s", diff)
	}
	if seq, _ := l.Head(); seq != 2 {
		t.Errorf("head is %d, want 2", seq)
	}
	other := lent(LendIntent, 2)
	other.OpID = "op-1"
	if _, err := l.Append(other); !errors.Is(err, ErrOpReused) {
		t.Errorf("same operation for another loan: %v, want ErrOpReused", err)
	}
}

func TestLaterEntriesAreFilledIn(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	mustAppend(t, l, lent(LendIntent, 1))
	mustAppend(t, l, follow(LendGranted, 1, 1))
	reclaim := follow(ReclaimIntent, 1, 2)
	reclaim.ReclaimID = "r-9"
	mustAppend(t, l, reclaim)
	done := mustAppend(t, l, follow(ReclaimDone, 1, 3))
	want := lent(LendIntent, 1)
	grants, _ := normaliseGrants(want.Grants)
	if done.Job != want.Job || done.JobUID != want.JobUID || done.Borrower != want.Borrower ||
		done.ReclaimID != "r-9" || !cmp.Equal(done.Grants, grants) {
		t.Errorf("closing entry is %+v", done)
	}
	done.Grants[0].Count = 99 // the caller's copy
	if report, err := l.Verify(); err != nil || !report.OK() {
		t.Errorf("Verify: %v %v", err, report)
	}
}

func TestRefusedEntries(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	mustAppend(t, l, Entry{Kind: EpochStart, OpID: "e5", Epoch: 5})
	base := func(kind Kind, n int) Entry {
		e := lent(kind, n)
		e.Epoch = 5
		return e
	}
	mustAppend(t, l, base(LendIntent, 1))
	head, _ := l.Head()
	for name, tc := range map[string]struct {
		edit func(e *Entry)
		want error
		text string
	}{
		"unknown kind":    {func(e *Entry) { e.Kind = 99 }, ErrInvalid, "kind: 99 is not known"},
		"no operation":    {func(e *Entry) { e.OpID = "" }, ErrInvalid, "opID: is required"},
		"no loan":         {func(e *Entry) { e.Loan = "" }, ErrInvalid, "loan: is required for LEND_INTENT"},
		"no grants":       {func(e *Entry) { e.Grants = nil }, ErrInvalid, "grants: is required for LEND_INTENT"},
		"zero count":      {func(e *Entry) { e.Grants = []Grant{{Node: "n", Flavor: "f"}} }, ErrInvalid, "grants[0].count: 0 is outside 1 to 65536"},
		"no node":         {func(e *Entry) { e.Grants = []Grant{{Flavor: "f", Count: 1}} }, ErrInvalid, "grants[0]: node and flavor"},
		"nul in name":     {func(e *Entry) { e.Borrower = "a\x00b" }, ErrInvalid, "borrower: has a control character at byte 1"},
		"long name":       {func(e *Entry) { e.Job = strings.Repeat("x", 513) }, ErrInvalid, "job: 513 bytes are more than 512"},
		"not utf-8":       {func(e *Entry) { e.Message = "\xff" }, ErrInvalid, "message: is not UTF-8"},
		"signal twice":    {func(e *Entry) { e.Signals = []Value{{"a", 1}, {"a", 2}} }, ErrInvalid, "signals: a appears twice"},
		"payload":         {func(e *Entry) { e.Payload = []byte(`{`) }, ErrInvalid, "payload: is not JSON"},
		"year":            {func(e *Entry) { e.Time = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC) }, ErrInvalid, "time: year 1900"},
		"mono alone":      {func(e *Entry) { e.BootID = "" }, ErrInvalid, "monoNS: needs a bootID"},
		"mono negative":   {func(e *Entry) { e.MonoNS = -1 }, ErrInvalid, "monoNS: -1 is negative"},
		"epoch negative":  {func(e *Entry) { e.Epoch = -1 }, ErrInvalid, "epoch: -1 is negative"},
		"corrects future": {func(e *Entry) { *e = Entry{Kind: Correction, OpID: "c", Epoch: 5, Corrects: 9, Message: "m"} }, ErrInvalid, "corrects: 9 is after the head 2"},
		"refused for whom": {func(e *Entry) { *e = Entry{Kind: Refused, OpID: "c", Epoch: 5, Job: "a/b"} }, ErrInvalid,
			"borrower: is required for REFUSED"},
		"other borrower": {func(e *Entry) { *e = follow(LendGranted, 1, 1); e.Epoch, e.Borrower = 5, "x" }, ErrInvalid,
			`borrower: "x" differs from "research" in entry 2`},
		"other grants": {func(e *Entry) { g := e.Grants[:1]; *e = follow(LendGranted, 1, 1); e.Epoch, e.Grants = 5, g }, ErrInvalid,
			"grants: differ from those in entry 2"},
		"stale epoch": {func(e *Entry) { e.Epoch = 4 }, ErrStaleEpoch, "entry has epoch 4, the ledger has seen 5"},
		"open loan":   {func(e *Entry) { e.JobUID = "uid-1" }, ErrOpenLoan, "has loan research/loan-1 in state Intended"},
		"granted twice": {func(e *Entry) { *e = base(LendIntent, 1); e.OpID = "x" }, ErrTransition,
			"loan research/loan-1 is Intended, which LEND_INTENT does not follow"},
		"unknown loan": {func(e *Entry) { *e = follow(Lost, 8, 1); e.Epoch = 5 }, ErrTransition,
			"loan research/loan-8 is Unknown, which LOST does not follow"},
	} {
		t.Run(name, func(t *testing.T) {
			e := base(LendIntent, 2)
			tc.edit(&e)
			_, err := l.Append(e)
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error is %v, want %v with %q", err, tc.want, tc.text)
			}
			if seq, _ := l.Head(); seq != head {
				t.Errorf("head moved from %d to %d", head, seq)
			}
		})
	}
}

// Durations, with 4 units of serving/chat lent. The wall clock steps by an hour
// while the loan is open.
func TestAccountsUseTheMonotonicClockWithinAProcess(t *testing.T) {
	for name, tc := range map[string]struct {
		edit   func(grant, end *Entry)
		wantMS int64
	}{
		"same process":         {func(g, e *Entry) { e.Time = e.Time.Add(time.Hour) }, 30_000},
		"wall steps back":      {func(g, e *Entry) { e.Time = e.Time.Add(-time.Hour) }, 30_000},
		"another process":      {func(g, e *Entry) { e.BootID, e.MonoNS, e.Time = "other", 5, e.Time.Add(time.Hour) }, 3_630_000},
		"another, steps back":  {func(g, e *Entry) { e.BootID, e.Time = "other", e.Time.Add(-time.Hour) }, 0},
		"ended earlier":        {func(g, e *Entry) { e.At = e.Time.Add(-20 * time.Second) }, 10_000},
		"ended before it was":  {func(g, e *Entry) { e.At = g.Time.Add(-time.Hour) }, 0},
		"ended in the future":  {func(g, e *Entry) { e.At = e.Time.Add(time.Hour) }, 30_000},
		"began earlier":        {func(g, e *Entry) { g.At = g.Time.Add(-time.Minute) }, 90_000},
		"less than a ms is 0":  {func(g, e *Entry) { e.MonoNS = g.MonoNS + 999_999 }, 0},
		"part of a ms is lost": {func(g, e *Entry) { e.MonoNS = g.MonoNS + 1_999_999 }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := openAt(t, tempPath(t), Options{})
			grant, end := lent(Recovered, 1), follow(Lost, 1, 30)
			tc.edit(&grant, &end)
			mustAppend(t, l, grant)
			mustAppend(t, l, end)
			want := []Balance{
				{Account{BorrowerAccount, "research"}, "h100", -5 * tc.wantMS},
				{Account{LenderAccount, "serving/chat"}, "h100", 4 * tc.wantMS},
				{Account{LenderAccount, "serving/embed"}, "h100", 1 * tc.wantMS},
			}
			if diff := cmp.Diff(want, balances(l)); diff != "" {
				t.Errorf("balances (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAbortedIntentAndOwnQuotaMoveNoBalance(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	mustAppend(t, l, lent(LendIntent, 1))
	mustAppend(t, l, follow(LendAborted, 1, 60))
	own := lent(LendIntent, 2)
	own.Grants = own.Grants[2:]
	mustAppend(t, l, own)
	mustAppend(t, l, follow(LendGranted, 2, 0))
	mustAppend(t, l, follow(Released, 2, 60))
	if got := balances(l); len(got) != 0 {
		t.Errorf("balances are %v, want none", got)
	}
}

// An elastic loan of 4, 1 and 3 own units gives back two of the four after 10 s, and
// all that it still holds after 30.
func TestShedUnitsAreBookedOnce(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	mustAppend(t, l, lent(Recovered, 1))
	shed := follow(Shed, 1, 10)
	shed.Grants = []Grant{
		{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 2},
		{Lender: "serving/embed", Node: "gpu-2", Flavor: "h100", Count: 1},
		{Node: "gpu-2", Flavor: "h100", Count: 3},
	}
	all := shed
	all.Grants, all.OpID = lent(Recovered, 1).Grants, "all"
	more := shed
	more.Grants, more.OpID = []Grant{{Lender: "serving/chat", Node: "gpu-2", Flavor: "h100", Count: 1}}, "more"
	for _, e := range []Entry{all, more} {
		if _, err := l.Append(e); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s of %v: %v, want ErrInvalid", e.Kind, e.Grants, err)
		}
	}
	mustAppend(t, l, shed)
	if loan, _ := l.Loan("research/loan-1"); loan.State != Granted || !cmp.Equal(loan.Grants, mustAppend(t, l, shed).Grants) {
		t.Errorf("after SHED the loan is %+v", loan)
	}
	done := mustAppend(t, l, follow(Released, 1, 30))
	if diff := cmp.Diff(mustAppend(t, l, shed).Grants, done.Grants); diff != "" {
		t.Errorf("grants of the last entry (-left +got):\n%s", diff)
	}
	want := []Balance{
		{Account{BorrowerAccount, "research"}, "h100", -2*10_000 - 3*30_000},
		{Account{LenderAccount, "serving/chat"}, "h100", 2*10_000 + 2*30_000},
		{Account{LenderAccount, "serving/embed"}, "h100", 30_000},
	}
	if diff := cmp.Diff(want, balances(l)); diff != "" {
		t.Errorf("balances (-want +got):\n%s", diff)
	}
}

// Steps of a reclaim are filled in and end nothing; a shrunk loan goes on, also where what
// it gave back is lost.
func TestStepsChangeNoState(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	mustAppend(t, l, lent(LendIntent, 1))
	if _, err := l.Append(follow(Stopped, 1, 1)); !errors.Is(err, ErrTransition) {
		t.Errorf("STOPPED before the loan took effect: %v, want ErrTransition", err)
	}
	mustAppend(t, l, follow(LendGranted, 1, 1))
	shed := follow(ShedLost, 1, 11)
	shed.Grants = lent(LendIntent, 1).Grants[1:]
	mustAppend(t, l, follow(Killed, 1, 10))
	mustAppend(t, l, shed)
	if loan, _ := l.Loan("research/loan-1"); loan.State != Granted || len(loan.Grants) != 2 || loan.Since.IsZero() {
		t.Errorf("after SHED_LOST the loan is %+v", loan)
	}
	reclaim := follow(ReclaimIntent, 1, 20)
	reclaim.ReclaimID = "r-9"
	mustAppend(t, l, reclaim)
	if e := mustAppend(t, l, follow(Stopped, 1, 21)); e.ReclaimID != "r-9" || len(e.Grants) != 2 || e.JobUID != "uid-1" {
		t.Errorf("STOPPED is %+v", e)
	}
	if loan, _ := l.Loan("research/loan-1"); loan.State != Reclaiming || loan.ReclaimID != "r-9" {
		t.Errorf("after STOPPED the loan is %+v", loan)
	}
	mustAppend(t, l, follow(ReclaimDone, 1, 31))
	if _, err := l.Append(Entry{Kind: Killed, OpID: "late", Epoch: 1, Loan: "research/loan-1"}); !errors.Is(err, ErrTransition) {
		t.Errorf("KILLED after the end: %v, want ErrTransition", err)
	}
	want := []Balance{
		{Account{BorrowerAccount, "research"}, "h100", -4*10_000 - 30_000},
		{Account{LenderAccount, "serving/chat"}, "h100", 4 * 10_000},
		{Account{LenderAccount, "serving/embed"}, "h100", 30_000},
	}
	if diff := cmp.Diff(want, balances(l)); diff != "" {
		t.Errorf("balances (-want +got):\n%s", diff)
	}
}

func TestClockStampsEntries(t *testing.T) {
	clk := testclock.NewFakePassiveClock(t0)
	l := openAt(t, tempPath(t), Options{Clock: clk})
	clk.SetTime(t0.Add(3 * time.Second))
	e := lent(LendIntent, 1)
	e.Time, e.BootID, e.MonoNS = time.Time{}, "", 0
	got := mustAppend(t, l, e)
	if !got.Time.Equal(t0.Add(3*time.Second)) || got.MonoNS != int64(3*time.Second) || len(got.BootID) != 16 {
		t.Errorf("stamped with %s, %d, %q", got.Time, got.MonoNS, got.BootID)
	}
}

func TestFullLedgerRefusesOnlyNewLoans(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	mustAppend(t, l, lent(LendIntent, 1))
	mustClose(t, l)
	l = openAt(t, path, Options{MaxBytes: 1})
	if _, err := l.Append(lent(LendIntent, 2)); !errors.Is(err, ErrFull) {
		t.Errorf("new loan: %v, want ErrFull", err)
	}
	mustAppend(t, l, follow(LendGranted, 1, 1))
	mustAppend(t, l, follow(ReclaimIntent, 1, 2))
	mustAppend(t, l, follow(ReclaimDone, 1, 3))
}

func TestReadingByLoanAndTenant(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	fill(t, l, 6)
	other := lent(LendIntent, 7)
	other.Borrower, other.Loan = "research2", "research/loan-66"
	mustAppend(t, l, other)
	mustAppend(t, l, Entry{Kind: Refused, OpID: "no", Epoch: 1, Job: "b/j", Borrower: "research2", Reason: "LendingLimitReached"})

	loan, err := l.ByLoan("research/loan-6")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []Kind
	for _, e := range loan {
		kinds = append(kinds, e.Kind)
	}
	if diff := cmp.Diff([]Kind{LendIntent, LendGranted, ReclaimIntent, ReclaimDone}, kinds); diff != "" {
		t.Errorf("loan's kinds (-want +got):\n%s", diff)
	}
	tenant, err := l.ByTenant("research2", 0, 10)
	if err != nil || len(tenant) != 2 || tenant[0].Loan != "research/loan-66" || tenant[1].Kind != Refused {
		t.Errorf("tenant's entries are %v, %v", tenant, err)
	}
	page, err := l.ByTenant("research", loan[1].Seq, 2)
	if err != nil || len(page) != 2 || page[0].Seq != loan[1].Seq {
		t.Errorf("tenant's page is %v, %v", page, err)
	}
	if none, err := l.ByTenant("resear", 0, 10); err != nil || len(none) != 0 {
		t.Errorf("a prefix of a name finds %v, %v", none, err)
	}
}

// An export is enough to verify the chain again, up to the same head.
func TestExportVerifiesToTheHead(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	fill(t, l, 400) // more than one page
	var out bytes.Buffer
	n, err := l.Export(&out, 0)
	seq, hash := l.Head()
	if err != nil || uint64(n) != seq || n <= MaxPage {
		t.Fatalf("exported %d of %d entries: %v", n, seq, err)
	}
	var prev Hash
	dec := json.NewDecoder(&out)
	for i := range n {
		var e Entry
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if i > 0 && e.PrevHash != prev {
			t.Fatalf("entry %d does not follow", e.Seq)
		}
		if _, prev = encode(&e); prev != e.Hash {
			t.Fatalf("entry %d has another hash than its fields", e.Seq)
		}
	}
	if prev != hash {
		t.Errorf("the export ends at %s, the ledger at %s", prev, hash)
	}
}

func TestBackupIsACheckedCopy(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	fill(t, l, 30)
	copyPath := filepath.Join(t.TempDir(), "copy.db")
	report, err := l.Backup(copyPath)
	if err != nil || !report.OK() {
		t.Fatalf("Backup: %v", err)
	}
	if _, err := l.Backup(copyPath); err == nil {
		t.Error("a second backup replaced the first")
	}
	seq, hash := l.Head()
	c := openAt(t, copyPath, Options{})
	if s, h := c.Head(); s != seq || h != hash {
		t.Errorf("copy's head is %d %s, want %d %s", s, h, seq, hash)
	}
	mustAppend(t, c, lent(LendIntent, 99)) // it is a whole ledger
}

func TestConcurrentUse(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				n := w*1000 + i
				if _, err := l.Append(lent(LendIntent, n)); err != nil {
					t.Errorf("Append: %v", err)
				}
				if _, err := l.Append(follow(LendAborted, n, 1)); err != nil {
					t.Errorf("Append: %v", err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 10 {
				if report, err := l.Verify(); err != nil || !report.OK() {
					t.Errorf("Verify while others append: %v %v", err, report)
				}
				l.OpenLoans()
				if _, err := l.Read(0, 100); err != nil {
					t.Errorf("Read: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if seq, _ := l.Head(); seq != 200 {
		t.Errorf("head is %d, want 200", seq)
	}
}

func TestClosedLedger(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	mustClose(t, l)
	mustClose(t, l)
	_, appendErr := l.Append(lent(LendIntent, 1))
	_, readErr := l.Read(0, 1)
	_, verifyErr := l.Verify()
	for i, err := range []error{appendErr, readErr, verifyErr} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("call %d after Close: %v", i, err)
		}
	}
}

func Example() {
	dir, cleanup := exampleDir()
	defer cleanup()
	l, err := Open(filepath.Join(dir, "ledger.db"), Options{ClusterUID: "c1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	intent := Entry{
		Kind: LendIntent, OpID: "0198-a", Epoch: 1, Loan: "research/llm-1", Job: "research/llm", JobUID: "u1", Borrower: "research",
		Grants: []Grant{{Lender: "serving/chat", Node: "gpu-7", Flavor: "h100", Count: 8}},
	}
	first, _ := l.Append(intent)
	again, _ := l.Append(intent)
	fmt.Println(first.Seq, again.Seq, l.OpenLoans()[0].State)
	_, err = l.Append(Entry{Kind: ReclaimDone, OpID: "0198-b", Epoch: 1, Loan: "research/llm-1"})
	fmt.Println(err)
	// Output:
	// 1 1 Intended
	// invalid loan transition: loan research/llm-1 is Intended, which RECLAIM_DONE does not follow
}
