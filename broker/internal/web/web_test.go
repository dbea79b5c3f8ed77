package web

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type fixture struct {
	decision *Decision
	ledger   Ledger
	ready    error
	loads    Loads
	mu       sync.Mutex
	asked    []string // lenders whose past was asked for
}

func (f *fixture) Changed() <-chan struct{} { return nil }
func (f *fixture) Loads(_ context.Context, lender string, _ time.Time, _ time.Duration, count int, _ bool) Loads {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, lender)
	of := f.loads
	of.Requests = of.Requests[:min(count, len(of.Requests))]
	return of
}

func (f *fixture) Decision() *Decision { return f.decision }
func (f *fixture) Ledger() Ledger      { return f.ledger }
func (f *fixture) Leader() string      { return "broker-1_abc" }
func (f *fixture) Ready() error        { return f.ready }
func (f *fixture) Namespaces() map[string][]string {
	return map[string][]string{"research": {"research"}, "vision": {"vision", "vision-lab"}, "serving": {"serving"}}
}

// guard knows callers by the token that they show, and what each may.
func guard(may map[string]func(authorizer.Attributes) bool) *access.Guard {
	return &access.Guard{
		Authenticator: authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
			name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			return &authenticator.Response{User: &user.DefaultInfo{Name: name}}, may[name] != nil, nil
		}),
		Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			if may[a.GetUser().GetName()](a) {
				return authorizer.DecisionAllow, "", nil
			}
			return authorizer.DecisionNoOpinion, "", nil
		}),
	}
}

func everything(authorizer.Attributes) bool { return true }

// served is the API of a source to an administrator, or to who shows a token.
func served(t *testing.T, source Source, g *access.Guard) http.Handler {
	t.Helper()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "up 1\n") })
	handler, err := g.Handler(Routes(source, metrics))
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func leading(t *testing.T) *fixture {
	t.Helper()
	job := func(name, queue string, priority int32, age time.Duration) lend.Job {
		return lend.Job{Name: "research/" + name, UID: name, Tenant: "research", Queue: "research/" + queue, Priority: priority,
			Created: now.Add(-age), Flavor: "h100", Pods: 2, UnitsPerPod: 4}
	}
	waiting := []lend.Job{
		job("a", "fifo", 0, time.Hour), job("b", "fifo", 9, time.Minute), job("c", "prio", 0, time.Hour), job("d", "prio", 9, time.Minute),
	}
	verdict := func(kind lend.SubjectKind, subject, reason string) lend.Verdict {
		v := lend.Verdict{Kind: kind, Subject: subject, Reason: reason, Message: reason + "."}
		if kind == lend.SubjectJob {
			v.UID = strings.TrimPrefix(subject, "research/")
		}
		return v
	}
	record := lend.Record{
		Snapshot: lend.Snapshot{
			Now: now, Epoch: 3,
			Queues:  []lend.Queue{{Name: "research/fifo", FIFO: true}, {Name: "research/prio"}},
			Jobs:    waiting,
			Lenders: []lend.Lender{{Name: "serving/chat", Tenant: "serving", Flavor: "h100", Desired: 4, Load: lend.Load{Unknown: "no replica is ready"}}},
		},
		Policy: lend.DefaultPolicy(),
		Plan: lend.Plan{
			Lenders: []lend.LenderView{{Name: "serving/chat", Owned: 12, Utilization: -1}},
			Waiting: []lend.Place{{UID: "d", Position: 1, Ahead: 8}, {UID: "a", Position: 1, Ahead: 16}, {UID: "c", Position: 2, Ahead: 24}, {UID: "b", Position: 2, Ahead: 32}},
			Verdicts: []lend.Verdict{
				verdict(lend.SubjectJob, "research/a", lend.ReasonNoLendableUnits),
				verdict(lend.SubjectLender, "serving/chat", lend.ReasonLoadUnknown),
			},
		},
	}
	return &fixture{
		decision: &Decision{Record: record, Since: []time.Time{now.Add(-time.Minute), now}, Freed: map[string]int64{"h100": 8}},
		ledger:   newLedger(t),
	}
}

// openLedger opens an empty ledger by a clock, or the real one, and closes it when the test ends.
func openLedger(t testing.TB, by clock.PassiveClock) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"), ledger.Options{Clock: by})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func newLedger(t *testing.T) *ledger.Ledger {
	t.Helper()
	l := openLedger(t, clocktesting.NewFakePassiveClock(now.Add(-time.Hour)))
	add := func(e ledger.Entry) {
		if _, err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	add(ledger.Entry{Kind: ledger.EpochStart, OpID: "epoch-1", Epoch: 1})
	for i, tenant := range []string{"research", "vision"} {
		loan := fmt.Sprintf("%s/x-%d", tenant, i)
		add(ledger.Entry{
			Kind: ledger.LendIntent, OpID: loan, Epoch: 1, Loan: loan, Job: tenant + "/x", JobUID: tenant, Borrower: tenant,
			Grants: []ledger.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 1}},
		})
		add(ledger.Entry{Kind: ledger.LendGranted, OpID: loan, Epoch: 1, Loan: loan})
	}
	return l
}

func get(t *testing.T, source Source, path string) (int, map[string]any, string) {
	t.Helper()
	return getAs(t, served(t, source, guard(map[string]func(authorizer.Attributes) bool{"": everything})), "", path)
}

func getAs(t *testing.T, handler http.Handler, token, path string) (int, map[string]any, string) {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	handler.ServeHTTP(w, r)
	body := map[string]any{}
	if strings.HasPrefix(w.Body.String(), "{") {
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatalf("%s: %v in %s", path, err, w.Body)
		}
	}
	return w.Code, body, w.Body.String()
}

// column is one field of all objects of a list.
func column(body map[string]any, list, field string) string {
	var values []string
	items, _ := body[list].([]any)
	for _, item := range items {
		values = append(values, fmt.Sprint(item.(map[string]any)[field]))
	}
	return strings.Join(values, " ")
}

func TestAnswers(t *testing.T) {
	f := leading(t)
	for path, test := range map[string]struct {
		list, field, want string
	}{
		"/verdicts":                              {"verdicts", "subject", "research/a serving/chat"},
		"/verdicts?subject=job/research/a":       {"verdicts", "reason", "NoLendableUnits"},
		"/verdicts?subject=Job/research/a":       {"verdicts", "since", "2026-03-01T11:59:00Z"},
		"/verdicts?kind=Lender":                  {"verdicts", "reason", "LoadUnknown"},
		"/verdicts?namespace=research":           {"verdicts", "subject", "research/a"},
		"/queue":                                 {"jobs", "job", "research/a research/b research/d research/c"},
		"/queue?queue=research/prio":             {"jobs", "position", "1 2"},
		"/queue?job=research/b":                  {"jobs", "position", "2"},
		"/queue?job=research/zz":                 {"jobs", "position", ""},
		"/queue?limit=1":                         {"jobs", "estimatedStart", "2026-03-01T14:00:00Z"},
		"/lenders":                               {"lenders", "utilization", "-1"},
		"/ledger":                                {"entries", "kind", "EPOCH_START LEND_INTENT LEND_GRANTED LEND_INTENT LEND_GRANTED"},
		"/ledger?from=4&limit=1":                 {"entries", "seq", "4"},
		"/ledger?loan=research/x-0":              {"entries", "seq", "2 3"},
		"/ledger?tenant=vision":                  {"entries", "seq", "4 5"},
		"/ledger?loan=research/x-0&tenant=other": {"entries", "seq", ""},
	} {
		status, body, text := get(t, f, path)
		if got := column(body, test.list, test.field); status != http.StatusOK || got != test.want {
			t.Errorf("%s: %d, %s is %q, want %q\n%s", path, status, test.field, got, test.want, text)
		}
	}
	for path, want := range map[string]float64{"/ledger?limit=2": 3, "/ledger?tenant=research&limit=1": 3, "/ledger?from=5": 0} {
		_, body, _ := get(t, f, path)
		if next, _ := body["next"].(float64); next != want {
			t.Errorf("%s: next is %v, want %v", path, next, want)
		}
	}
	if _, body, text := get(t, f, "/ledger/check"); body["ok"] != true {
		t.Errorf("check: %s", text)
	}
}

func TestSnapshotReplays(t *testing.T) {
	f := leading(t)
	f.decision.Record.Plan = f.decision.Record.Replay()
	_, _, text := get(t, f, "/debug/snapshot")
	record, err := lend.ReadRecord([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.decision.Record.Plan, record.Replay()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	for name, test := range map[string]struct {
		source *fixture
		path   string
		status int
		want   string
	}{
		"no decision":     {&fixture{}, "/verdicts", 503, `"leader":"broker-1_abc"`},
		"no ledger":       {&fixture{}, "/ledger/check", 503, `"leader":"broker-1_abc"`},
		"not ready":       {&fixture{ready: fmt.Errorf("the caches are not synced")}, "/debug/health", 200, `"problem":"the caches are not synced"`},
		"unknown subject": {leading(t), "/verdicts?subject=Job/research/zz", 404, "says nothing about Job/research/zz"},
		"bad subject":     {leading(t), "/verdicts?subject=research", 400, "is not Kind/namespace/name"},
		"bad limit":       {leading(t), "/ledger?limit=1001", 400, `limit: \"1001\" is not a number from 1 to 1000`},
		"bad place":       {leading(t), "/queue?limit=0", 400, `limit: \"0\" is not a number from 1 to 10000`},
		"bad from":        {leading(t), "/ledger?from=-1", 400, "from: "},
		"unknown path":    {leading(t), "/nothing", 404, ""},
	} {
		status, _, text := get(t, test.source, test.path)
		if status != test.status || !strings.Contains(text, test.want) {
			t.Errorf("%s: got %d %s, want %d %s", name, status, text, test.status, test.want)
		}
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok\n", "/metrics": "up 1\n"} {
		if status, _, text := get(t, &fixture{}, path); status != 200 || text != want {
			t.Errorf("%s: got %d %q", path, status, text)
		}
	}
	if status, _, text := get(t, &fixture{ready: fmt.Errorf("the caches are not synced")}, "/readyz"); status != 503 || text != "not ready\n" {
		t.Errorf("not ready: got %d %q, want a probe to say no more than that", status, text)
	}
	f := leading(t)
	f.decision.Record.Snapshot.Lenders[0].Load.Requests = math.NaN()
	if status, _, _ := get(t, f, "/debug/snapshot"); status != 500 {
		t.Errorf("NaN: got %d", status)
	}
}

// TestSince: a verdict stands since its reason came up, whatever its words, and
// whatever comes and goes beside it.
func TestSince(t *testing.T) {
	var d *Decision
	for i, step := range []struct{ verdicts, want string }{
		{"b=X", "b0"},
		{"a=X b=X c=X", "a1 b0 c1"},
		{"a=X b=Y c=X", "a1 b2 c1"},
		{"c=X", "c1"},
		{"a=X c=X d=X", "a4 c1 d4"},
		{"a:1=X a:2=Y", "a:15 a:25"},
		{"a:1=X a:2=X", "a:15 a:26"},
		{"a:2=X", "a:26"},
	} {
		r := lend.Record{Snapshot: lend.Snapshot{Now: now.Add(time.Duration(i) * time.Minute)}}
		for _, text := range strings.Fields(step.verdicts) {
			subject, reason, _ := strings.Cut(text, "=")
			name, uid, _ := strings.Cut(subject, ":")
			r.Plan.Verdicts = append(r.Plan.Verdicts, lend.Verdict{Kind: lend.SubjectJob, Subject: name, UID: uid, Reason: reason, Message: fmt.Sprint(i)})
		}
		d = NewDecision(r, nil, d)
		var got []string
		for _, v := range r.Plan.Verdicts {
			_, since := d.About(lend.SubjectJob, v.Subject, v.UID)
			name := v.Subject
			if v.UID != "" {
				name += ":" + v.UID
			}
			got = append(got, fmt.Sprint(name, int(since.Sub(now).Minutes())))
		}
		if diff := cmp.Diff(step.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		if v, since := d.About(lend.SubjectLender, "c", ""); v.Subject != "" || !since.IsZero() {
			t.Errorf("step %d: a verdict on another kind: %+v", i, v)
		}
	}
}

// TestReadOnly: the API answers no other method.
func TestReadOnly(t *testing.T) {
	handler := served(t, leading(t), guard(map[string]func(authorizer.Attributes) bool{"": everything}))
	for _, route := range Routes(leading(t), http.NotFoundHandler()) {
		method, path, _ := strings.Cut(strings.TrimSuffix(route.Pattern, "{$}"), " ")
		if method != http.MethodGet {
			t.Errorf("%s is not for reading", route.Pattern)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: got %d", path, w.Code)
		}
	}
}
