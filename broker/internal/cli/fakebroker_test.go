package cli

import (
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fakeBroker answers as the broker's HTTP API does, from fixed verdicts and a
// real ledger.
type fakeBroker struct {
	ledger *ledger.Ledger
	// problems make /ledger/check report them.
	problems []string
	// follower: answers through the service come from a replica that does not lead.
	follower bool
}

func (b *fakeBroker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.follower && r.Header.Get("X-Via") == "service" {
		send(w, http.StatusServiceUnavailable, map[string]any{"error": "this replica does not lead", "leader": "ebbtide-broker-1_5e1f"})
		return
	}
	switch r.URL.Path {
	case "/verdicts":
		b.verdicts(w, r)
	case "/queue":
		at := testNow.Add(-30 * time.Minute)
		send(w, http.StatusOK, map[string]any{"decidedAt": testNow, "jobs": []access.QueuedJob{
			{Position: 1, Job: "research/bert-small", Queue: "research/default", Priority: 0, Pods: 1, UnitsPerPod: 1, Created: at, Reason: "EvictionBudgetSpent", Message: "it was reclaimed 4 times within 1h0m0s"},
			{Position: 2, Job: "research/bert-large", Queue: "research/default", Priority: -100, Pods: 4, UnitsPerPod: 8, Created: at, Reason: "NoLendableUnits", Message: "needs 32 units of h100 and 30 can be lent now"},
			{Position: 1, Job: "research/sweep", Queue: "research/nightly", Priority: 0, Pods: 2, UnitsPerPod: 1, Created: at, Reason: "QueuePaused", Message: "queue research/nightly is paused"},
		}})
	case "/ledger":
		b.entries(w, r)
	case "/ledger/check":
		seq, hash := b.ledger.Head()
		send(w, http.StatusOK, map[string]any{"ok": len(b.problems) == 0, "head": access.Head{Seq: seq, Hash: hash.String()}, "problems": b.problems})
	default:
		send(w, http.StatusNotFound, map[string]string{"error": "no such page: " + r.URL.Path})
	}
}

func (b *fakeBroker) verdicts(w http.ResponseWriter, r *http.Request) {
	said := func(kind lend.SubjectKind, subject, reason, message string) access.Verdict {
		return access.Verdict{Verdict: lend.Verdict{Kind: kind, Subject: subject, Reason: reason, Message: message}, Since: testNow.Add(-12 * time.Minute)}
	}
	for _, v := range []access.Verdict{
		said(lend.SubjectJob, "research/bert-large", "NoLendableUnits", "needs 32 units of h100 and 30 can be lent now."),
		said(lend.SubjectLender, "serving/chat", "BelowLowWater", "load 12% has been below 30% for the dwell of 5m0s"),
		said(lend.SubjectLoan, "research/gpt-mini-1", "Active", "runs on units of serving/chat"),
		said(lend.SubjectLoan, "research/resnet-2", "AboveHighWater", "the lender needs its units back"),
	} {
		if string(v.Kind)+"/"+v.Subject == r.URL.Query().Get("subject") {
			send(w, http.StatusOK, map[string]any{"decidedAt": testNow, "epoch": 3, "verdicts": []access.Verdict{v}})
			return
		}
	}
	send(w, http.StatusNotFound, map[string]string{"error": "no verdict about " + r.URL.Query().Get("subject")})
}

func (b *fakeBroker) entries(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	from, _ := strconv.ParseUint(query.Get("from"), 10, 64)
	limit, _ := strconv.Atoi(query.Get("limit"))
	limit = min(max(limit, 1), 3) // small pages, so that they have to be joined
	all, err := b.ledger.Read(1, 0)
	if err != nil {
		send(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	seq, hash := b.ledger.Head()
	page := map[string]any{"head": access.Head{Seq: seq, Hash: hash.String()}}
	found := []ledger.Entry{}
	for _, e := range all {
		if e.Seq < from || (query.Get("loan") != "" && e.Loan != query.Get("loan")) || (query.Get("tenant") != "" && e.Borrower != query.Get("tenant")) {
			continue
		}
		if len(found) == limit {
			page["next"] = e.Seq
			break
		}
		found = append(found, e)
	}
	page["entries"] = found
	send(w, http.StatusOK, page)
}

// newLedger makes a ledger in which one loan was reclaimed and another runs.
func newLedger(t *testing.T) (*ledger.Ledger, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	clock := clocktesting.NewFakePassiveClock(testNow.Add(-2 * time.Hour))
	l, err := ledger.Open(path, ledger.Options{ClusterUID: "test", BootID: "boot", Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // closed twice where a test closes it
	lent := func(kind ledger.Kind, loan, job string, count int64, reason string) ledger.Entry {
		return ledger.Entry{
			Kind: kind, OpID: loan, Loan: loan, Job: job, JobUID: "uid-" + job, Borrower: "research", Reason: reason,
			Grants: []ledger.Grant{{Lender: "serving/chat", Node: "gpu-3", Flavor: "h100", Count: count}},
		}
	}
	after := func(kind ledger.Kind, loan, reason string) ledger.Entry {
		return ledger.Entry{Kind: kind, OpID: loan, Loan: loan, Reason: reason}
	}
	reclaim := after(ledger.ReclaimIntent, "research/resnet-1", "AboveHighWater")
	reclaim.ReclaimID = "r-1"
	for _, step := range []struct {
		minutes int
		entry   ledger.Entry
	}{
		{-120, ledger.Entry{Kind: ledger.EpochStart, OpID: "epoch-3", Epoch: 3}},
		{-100, lent(ledger.LendIntent, "research/resnet-1", "research/resnet", 4, "BelowLowWater")},
		{-99, after(ledger.LendGranted, "research/resnet-1", "BelowLowWater")},
		{-40, reclaim},
		{-39, after(ledger.ReclaimDone, "research/resnet-1", "Returned")},
		{-10, lent(ledger.LendIntent, "research/resnet-2", "research/resnet", 4, "BelowLowWater")},
		{-9, after(ledger.LendGranted, "research/resnet-2", "BelowLowWater")},
		{-5, ledger.Entry{Kind: ledger.Refused, OpID: "refused-1", Job: "research/bert-large", Borrower: "research", Reason: "NoLendableUnits"}},
	} {
		clock.SetTime(testNow.Add(time.Duration(step.minutes) * time.Minute))
		step.entry.Epoch = 3
		if _, err := l.Append(step.entry); err != nil {
			t.Fatal(err)
		}
	}
	return l, path
}
