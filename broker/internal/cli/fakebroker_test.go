package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/internal/web"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fakeBroker is the broker's own HTTP API over one fixed decision and a real
// ledger.
type fakeBroker struct {
	ledger *ledger.Ledger
	// problems make the check of the ledger fail.
	problems []string
	// silent: this replica does not lead.
	silent bool
	// older: it has only the routes of before.
	older bool
	// real: no answer comes from a file.
	real bool
	// within is the only namespace, and tenant, that the caller sees; empty: all.
	within string
}

func (b *fakeBroker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if data, err := os.ReadFile(answerFile(r)); err == nil && !b.silent && !b.older && !b.real {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(data) // the client has gone if this fails
		return
	}
	if path := r.URL.Path; b.older && !strings.HasPrefix(path, "/verdicts") && !strings.HasPrefix(path, "/queue") && !strings.HasPrefix(path, "/ledger") {
		http.NotFound(w, r)
		return
	}
	source := &fakeSource{ledger: &smallPages{Ledger: b.ledger, problems: b.problems}}
	source.silent, source.tenant = b.silent, b.within
	handler, err := guardOf(b.within).Handler(web.Routes(source, http.NotFoundHandler()))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	handler.ServeHTTP(w, r)
}

// answerFile is where the answer to a question lies that takes more than one decision.
func answerFile(r *http.Request) string {
	name := strings.Trim(strings.ReplaceAll(r.URL.Path, "/", "-"), "-")
	query := r.URL.Query()
	for _, key := range []string{"job", "lender", "loan", "name"} {
		if value := query.Get(key); value != "" {
			name += "-" + key + "-" + strings.ReplaceAll(value, "/", "-")
		}
	}
	return filepath.Join("testdata", "answers", name+".json")
}

// guardOf lets in all callers, who are one and may see a namespace, or all.
func guardOf(within string) *access.Guard {
	return &access.Guard{
		Authenticator: authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: &user.DefaultInfo{Name: "ann"}}, true, nil
		}),
		Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, asked authorizer.Attributes) (authorizer.Decision, string, error) {
			if within == "" || asked.GetNamespace() == within {
				return authorizer.DecisionAllow, "", nil
			}
			return authorizer.DecisionNoOpinion, "", nil
		}),
	}
}

// fakeSource has made one decision, at testNow.
type fakeSource struct {
	ledger web.Ledger
	// silent: this replica does not lead.
	silent bool
	// tenant has the one namespace of its name; empty: there is none.
	tenant string
}

func (s *fakeSource) Leader() string { return "ebbtide-broker-1_5e1f" }

func (s *fakeSource) Ready() error { return nil }

func (s *fakeSource) Namespaces() map[string][]string {
	if s.tenant == "" {
		return nil
	}
	return map[string][]string{s.tenant: {s.tenant}}
}

func (s *fakeSource) Ledger() web.Ledger {
	if s.silent {
		return nil
	}
	return s.ledger
}

func (s *fakeSource) Changed() <-chan struct{} { return nil }

func (s *fakeSource) Loads(context.Context, string, time.Time, time.Duration, int, bool) web.Loads {
	return web.Loads{}
}

func (s *fakeSource) Decision() *web.Decision {
	if s.silent {
		return nil
	}
	at := testNow.Add(-30 * time.Minute)
	d := &web.Decision{Freed: map[string]int64{"h100": 48}}
	d.Record.Snapshot.Now = testNow
	d.Record.Snapshot.Queues = []lend.Queue{{Name: "research/default"}, {Name: "research/nightly", FIFO: true, Paused: true}, {Name: "vision/gangs"}}
	d.Record.Snapshot.Jobs = []lend.Job{
		{Name: "research/bert-large", UID: "11111111-0000-0000-0000-000000000001", Queue: "research/default", Flavor: "h100", Priority: -100, Pods: 4, UnitsPerPod: 8, Created: at},
		{Name: "research/bert-small", UID: "11111111-0000-0000-0000-000000000002", Queue: "research/default", Pods: 1, UnitsPerPod: 1, Created: at},
		{Name: "research/sweep", UID: "11111111-0000-0000-0000-000000000005", Queue: "research/nightly", Pods: 2, UnitsPerPod: 1, Created: at},
		{Name: "vision/pretrain", UID: "22222222-0000-0000-0000-000000000001", Queue: "vision/gangs", Flavor: "h100", Priority: -100, Pods: 4, UnitsPerPod: 4, Created: at},
	}
	d.Record.Plan.Waiting = []lend.Place{{UID: "11111111-0000-0000-0000-000000000002", Position: 1}, {UID: "11111111-0000-0000-0000-000000000001", Position: 2, Ahead: 32}, {UID: "11111111-0000-0000-0000-000000000005", Position: 1}, {UID: "22222222-0000-0000-0000-000000000001", Position: 2, Ahead: 24}}
	for _, v := range []lend.Verdict{
		{Kind: lend.SubjectJob, Subject: "research/bert-large", UID: "11111111-0000-0000-0000-000000000001", Reason: "NoLendableUnits", Message: "needs 32 units of h100 (4 pods of 8); 30 are lendable now; when units of serving/chat are asked back its pods get 30s, not their grace of 5m0s"},
		{Kind: lend.SubjectJob, Subject: "research/bert-small", UID: "11111111-0000-0000-0000-000000000002", Reason: "EvictionBudgetSpent", Message: "was taken back 4 times within 1h0m0s; lent to again at 12:40:00"},
		{Kind: lend.SubjectJob, Subject: "research/sweep", UID: "11111111-0000-0000-0000-000000000005", Reason: "QueuePaused", Message: "queue research/nightly is paused"},
		{Kind: lend.SubjectJob, Subject: "vision/pretrain", UID: "22222222-0000-0000-0000-000000000001", Reason: "NoLendableUnits", Message: "needs 16 units of h100 (4 pods of 4); 6 are lendable now"},
		{Kind: lend.SubjectLender, Subject: "serving/chat", Reason: "BelowLowWater", Message: "load 12% is below 30%; 24 units lent, 30 lendable"},
		{Kind: lend.SubjectLoan, Subject: "research/gpt-mini-1", Reason: "Active", Message: "holds 24 units"},
		{Kind: lend.SubjectLoan, Subject: "research/resnet-2", Reason: "Reclaiming", Message: "asked back; the grace ends at 12:00:12"},
	} {
		d.Record.Plan.Verdicts = append(d.Record.Plan.Verdicts, v)
		d.Since = append(d.Since, testNow.Add(-12*time.Minute))
	}
	return d
}

// smallPages is a ledger with entries so large that few fit into a page.
type smallPages struct {
	*ledger.Ledger
	problems []string
}

const pageOfTests = 3

func (l *smallPages) Read(from uint64, limit int) ([]ledger.Entry, error) {
	return l.Ledger.Read(from, min(limit, pageOfTests))
}

func (l *smallPages) ByTenant(tenant string, from uint64, limit int) ([]ledger.Entry, error) {
	return l.Ledger.ByTenant(tenant, from, min(limit, pageOfTests))
}

func (l *smallPages) Verify() (*ledger.Report, error) {
	report, err := l.Ledger.Verify()
	for _, text := range l.problems {
		report.Faults = append(report.Faults, ledger.Fault{Seq: 3, Where: "entry 3", Text: text})
		report.FaultCount++
	}
	return report, err
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
			Kind: kind, OpID: loan, Loan: loan, Job: job, JobUID: "11111111-0000-0000-0000-000000000004", Borrower: "research", Reason: reason,
			Grants: []ledger.Grant{{Lender: "serving/chat", Node: "gpu-3", Flavor: "h100", Count: count}},
		}
	}
	after := func(kind ledger.Kind, loan, reason string) ledger.Entry {
		return ledger.Entry{Kind: kind, OpID: loan, Loan: loan, Reason: reason}
	}
	reclaim := after(ledger.ReclaimIntent, "research/resnet-1", "AboveHighWater")
	reclaim.ReclaimID, reclaim.Payload = "r-1", json.RawMessage(`{"reclaimBy":"2026-03-01T11:20:30Z","lostWorkSeconds":5400}`)
	reclaim.Message = "load 84% is above 70%"
	stopped := after(ledger.Stopped, "research/resnet-1", "AboveHighWater")
	stopped.At = testNow.Add(-40*time.Minute + 310*time.Millisecond)
	stopped.Payload = json.RawMessage(`{"toldAt":"2026-03-01T11:20:00.012Z","told":3,"untold":1}`)
	killed := after(ledger.Killed, "research/resnet-1", "GraceExpired")
	killed.At, killed.Payload = testNow.Add(-39*time.Minute-29*time.Second), json.RawMessage(`{"pods":2}`)
	for _, step := range []struct {
		minutes int
		entry   ledger.Entry
	}{
		{-120, ledger.Entry{Kind: ledger.EpochStart, OpID: "epoch-3", Epoch: 3}},
		{-100, lent(ledger.LendIntent, "research/resnet-1", "research/resnet", 4, "BelowLowWater")},
		{-99, after(ledger.LendGranted, "research/resnet-1", "BelowLowWater")},
		{-40, reclaim},
		{-39, stopped},
		{-39, killed},
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
