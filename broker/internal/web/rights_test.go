package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// in lets somebody list Loans in these namespaces, and nothing else.
func in(namespaces ...string) func(authorizer.Attributes) bool {
	return func(a authorizer.Attributes) bool {
		return a.IsResourceRequest() && a.GetAPIGroup() == "ebbtide.dev" && a.GetResource() == "loans" && a.GetVerb() == "list" &&
			slices.Contains(namespaces, a.GetNamespace())
	}
}

// reader lists Loans everywhere, and may use no path.
func reader(a authorizer.Attributes) bool { return in(access.Everywhere)(a) }

// people are callers by their token. Who shows another, or none, is not known.
var people = map[string]func(authorizer.Attributes) bool{
	"research": in("research"), "vision": in("vision", "vision-lab"), "half": in("vision"), "serving": in("serving"),
	"stranger": in("elsewhere"), "reader": reader, "admin": everything,
}

// town is two borrowers of one lender, with a loan by two lenders.
func town(t *testing.T) *fixture {
	t.Helper()
	f := leading(t)
	book, ok := f.ledger.(*ledger.Ledger)
	if !ok {
		t.Fatal("the fixture has another ledger")
	}
	_, err := book.Append(ledger.Entry{
		Kind: ledger.LendIntent, OpID: "both", Epoch: 1, Loan: "research/both", Job: "research/both", JobUID: "both", Borrower: "research",
		Message: "vision/serve lends", Signals: []ledger.Value{{Name: "vision/serve", Value: 1}},
		Payload: []byte(`{"lenders": {"serving/chat": "serving", "vision/serve": "vision"}}`),
		Grants: []ledger.Grant{
			{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 1}, {Lender: "vision/serve", Node: "gpu-1", Flavor: "h100", Count: 2},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &f.decision.Record
	p.Plan.Verdicts = append(p.Plan.Verdicts, lend.Verdict{Kind: lend.SubjectJob, Subject: "vision/y", UID: "y", Reason: "NoLendableUnits"})
	f.decision.Since = append(f.decision.Since, now)
	p.Snapshot.Jobs = append(p.Snapshot.Jobs, lend.Job{Name: "vision/y", UID: "y", Tenant: "vision", Queue: "vision/q"})
	p.Plan.Waiting = append(p.Plan.Waiting, lend.Place{UID: "y", Position: 1})
	grant := func(lender, node string, n int64) lend.Grant {
		return lend.Grant{Lender: lender, Node: node, Flavor: "h100", Count: n}
	}
	for _, name := range []string{"gpu-0", "gpu-1", "gpu-2"} {
		p.Snapshot.Nodes = append(p.Snapshot.Nodes, lend.Node{Name: name, Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8, Online: 2}}})
	}
	for _, name := range []string{"research", "serving", "vision"} {
		p.Snapshot.Tenants = append(p.Snapshot.Tenants, lend.Tenant{Name: name, Cohort: "lab", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 8}}})
	}
	p.Snapshot.Lenders[0].Owned, p.Snapshot.Lenders[0].UnitsPerPod = 8, 1
	for name, grants := range map[string][]lend.Grant{
		"research/both": {grant("serving/chat", "gpu-0", 1), grant("vision/serve", "gpu-1", 2)},
		"research/x-0":  {grant("serving/chat", "gpu-0", 1)},
		"vision/x-1":    {grant("serving/chat", "gpu-0", 1)},
	} {
		borrower, _, _ := strings.Cut(name, "/")
		p.Snapshot.Loans = append(p.Snapshot.Loans, lend.Loan{
			Name: name, Job: name, JobUID: name, Borrower: borrower, Queue: borrower + "/secret", Pods: 1, Grants: grants, Live: 1, Bound: 1,
			Since: now.Add(-time.Hour), Checkpoint: now.Add(-time.Minute), Grace: time.Minute,
		})
		p.Plan.Verdicts = append(p.Plan.Verdicts, lend.Verdict{Kind: lend.SubjectLoan, Subject: name, Reason: "Active", Message: "it runs on " + name})
		f.decision.Since = append(f.decision.Since, now)
	}
	slices.SortFunc(p.Snapshot.Loans, func(a, b lend.Loan) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(p.Plan.Verdicts, func(a, b lend.Verdict) int { return compare(&a, &b) })
	return f
}

// paths are requests to each route, with rows for each person: the fields of what is shown,
// in order. Whom a path does not name gets 403.
var paths = []struct {
	path, list, field string
	want              map[string]string
}{
	{"/verdicts", "verdicts", "subject", map[string]string{
		"research": "research/a research/both research/x-0", "vision": "vision/x-1 vision/y", "half": "vision/x-1 vision/y", "serving": "serving/chat", "stranger": "",
		"reader": everyone, "admin": everyone,
	}},
	{"/verdicts?namespace=vision&kind=job", "verdicts", "subject", map[string]string{"vision": "vision/y", "half": "vision/y", "reader": "vision/y", "admin": "vision/y"}},
	{"/verdicts?subject=Job/vision/y", "verdicts", "subject", map[string]string{"vision": "vision/y", "half": "vision/y", "reader": "vision/y", "admin": "vision/y"}},
	{"/queue", "jobs", "job", map[string]string{
		"research": "research/a research/b research/d research/c", "vision": "vision/y", "half": "vision/y", "serving": "", "stranger": "",
		"reader": "research/a research/b research/d research/c vision/y", "admin": "research/a research/b research/d research/c vision/y",
	}},
	{"/queue?queue=vision/q", "jobs", "job", map[string]string{"vision": "vision/y", "half": "vision/y", "reader": "vision/y", "admin": "vision/y"}},
	{"/queue?job=vision/y", "jobs", "job", map[string]string{"vision": "vision/y", "half": "vision/y", "reader": "vision/y", "admin": "vision/y"}},
	{"/lenders", "lenders", "name", map[string]string{
		"research": "", "vision": "", "half": "", "serving": "serving/chat", "stranger": "", "reader": "serving/chat", "admin": "serving/chat",
	}},
	{"/lenders?namespace=serving", "lenders", "name", map[string]string{"serving": "serving/chat", "reader": "serving/chat", "admin": "serving/chat"}},
	{"/ledger", "entries", "seq", map[string]string{
		"research": "2 3 6", "vision": "4 5 6", "half": "", "serving": "6", "stranger": "", "reader": "1 2 3 4 5 6", "admin": "1 2 3 4 5 6",
	}},
	{"/ledger?tenant=vision", "entries", "seq", map[string]string{"vision": "4 5 6", "reader": "4 5 6", "admin": "4 5 6"}},
	{"/ledger?tenant=nobody", "entries", "seq", map[string]string{"reader": "", "admin": ""}},
	{"/ledger?loan=vision/x-1", "entries", "seq", map[string]string{
		"research": "", "vision": "4 5", "half": "", "serving": "4 5", "stranger": "", "reader": "4 5", "admin": "4 5",
	}},
	{"/ledger/reclaims", "reclaims", "loan", map[string]string{
		"research": "", "vision": "", "half": "", "serving": "", "stranger": "", "reader": "", "admin": "",
	}},
	{"/ledger/reclaims?tenant=research", "reclaims", "loan", map[string]string{"research": "", "reader": "", "admin": ""}},
	{"/ledger/statement?month=2020-01&tenant=vision", "rows", "flavor", map[string]string{"vision": "", "reader": "", "admin": ""}},
	{"/ledger/statement?month=2020-01&tenant=nobody", "rows", "flavor", map[string]string{"reader": "", "admin": ""}},
	{"/ledger/statement?month=2020-01&tenant=", "rows", "flavor", map[string]string{"reader": "", "admin": ""}},
	{"/loans", "loans", "name", map[string]string{
		"research": "research/both research/x-0", "vision": "research/both vision/x-1", "half": "research/both vision/x-1",
		"serving": "research/both research/x-0 vision/x-1", "stranger": "", "reader": "research/both research/x-0 vision/x-1", "admin": "research/both research/x-0 vision/x-1",
	}},
	{"/loans?namespace=vision", "loans", "name", map[string]string{"vision": "vision/x-1", "half": "vision/x-1", "reader": "vision/x-1", "admin": "vision/x-1"}},
	{"/loans?lender=vision/serve", "loans", "units", map[string]string{
		"research": "3", "vision": "2", "half": "2", "serving": "", "stranger": "", "reader": "3", "admin": "3",
	}},
	{"/loans?name=vision/x-1", "loans", "name", map[string]string{
		"research": "", "vision": "vision/x-1", "half": "vision/x-1", "serving": "vision/x-1", "stranger": "", "reader": "vision/x-1", "admin": "vision/x-1",
	}},
	{"/loans?job=research/both", "loans", "units", map[string]string{
		"research": "3", "vision": "2", "half": "2", "serving": "1", "stranger": "", "reader": "3", "admin": "3",
	}},
	{"/nodes", "nodes", "name", map[string]string{
		"research": "gpu-0 gpu-1", "vision": "gpu-0 gpu-1", "half": "gpu-0 gpu-1", "serving": "gpu-0", "stranger": "",
		"reader": "gpu-0 gpu-1 gpu-2", "admin": "gpu-0 gpu-1 gpu-2",
	}},
	{"/nodes?name=gpu-1", "nodes", "name", map[string]string{
		"research": "gpu-1", "vision": "gpu-1", "half": "gpu-1", "serving": "", "stranger": "", "reader": "gpu-1", "admin": "gpu-1",
	}},
	{"/nodes?limit=1", "totals", "lent", map[string]string{ // by his services, of those who do not see all
		"research": "0", "vision": "2", "half": "2", "serving": "3", "stranger": "", "reader": "5", "admin": "5",
	}},
	{"/quota", "rows", "name", map[string]string{
		"research": "lab research", "vision": "lab vision", "half": "", "serving": "lab serving", "stranger": "",
		"reader": "lab research serving vision", "admin": "lab research serving vision",
	}},
	{"/whoami", "tenants", "", map[string]string{
		"research": "", "vision": "", "half": "", "serving": "", "stranger": "", "reader": "", "admin": "",
	}},
	{"/counterfactual?job=vision/y", "chain", "subject", map[string]string{
		"vision": "vision/y vision/q", "half": "vision/y vision/q", "reader": "vision/y vision/q", "admin": "vision/y vision/q",
	}},
	{"/counterfactual?lender=serving/chat", "loans", "loan", map[string]string{"serving": "", "reader": "", "admin": ""}},
	{"/timeline", "spans", "loan", map[string]string{
		"research": "research/both research/x-0", "vision": "research/both vision/x-1", "half": "", "serving": "research/both", "stranger": "",
		"reader": "research/both research/x-0 vision/x-1", "admin": "research/both research/x-0 vision/x-1",
	}},
	{"/timeline?points=3", "loads", "lender", map[string]string{
		"research": "", "vision": "", "half": "", "serving": "serving/chat", "stranger": "", "reader": "serving/chat", "admin": "serving/chat",
	}},
	{"/timeline?tenant=vision", "spans", "loan", map[string]string{"vision": "research/both vision/x-1", "reader": "research/both vision/x-1", "admin": "research/both vision/x-1"}},
	{"/timeline?tenant=nobody", "spans", "loan", map[string]string{"reader": "", "admin": ""}},
	{"/timeline?loan=vision/x-1", "spans", "loan", map[string]string{
		"research": "", "vision": "vision/x-1", "half": "", "serving": "vision/x-1", "stranger": "", "reader": "vision/x-1", "admin": "vision/x-1",
	}},
	{"/timeline?lender=serving/chat", "spans", "units", map[string]string{"serving": "1", "reader": "3 1 1", "admin": "3 1 1"}},
	{"/gained", "flavors", "openUnits", map[string]string{
		"research": "1", "vision": "1", "half": "", "serving": "", "stranger": "", "reader": "2", "admin": "2",
	}},
	{"/ledger/check", "problems", "", map[string]string{"admin": ""}},
	{"/debug/snapshot", "", "", map[string]string{"admin": ""}},
	{"/debug/health", "", "", map[string]string{"admin": ""}},
	{"/metrics", "", "", map[string]string{"admin": ""}},
}

// everyone is all that is said of anybody.
const everyone = "research/a research/both research/x-0 serving/chat vision/x-1 vision/y"

// Every route, as nobody, with a bad token, as another tenant, as its own, as one who may
// read everything, and as an administrator. KAI's CVE-2026-24177 was routes without this.
func TestWhoSeesWhat(t *testing.T) {
	f := town(t)
	handler := served(t, f, guard(people))
	asked := map[string]bool{}
	for _, test := range paths {
		path, _, _ := strings.Cut(test.path, "?")
		asked["GET "+path] = true
		for _, token := range []string{"", "bad"} {
			if status, _, text := getAs(t, handler, token, test.path); status != http.StatusUnauthorized || strings.Contains(text, "vision/") {
				t.Errorf("%s with the token %q: got %d %s, want 401", test.path, token, status, text)
			}
		}
		for name := range people {
			status, body, text := getAs(t, handler, name, test.path)
			want, allowed := test.want[name]
			switch {
			case !allowed && status != http.StatusForbidden:
				t.Errorf("%s as %s: got %d %s, want 403", test.path, name, status, text)
			case allowed && status != http.StatusOK:
				t.Errorf("%s as %s: got %d %s, want 200", test.path, name, status, text)
			case allowed && test.field != "" && column(body, test.list, test.field) != want:
				t.Errorf("%s as %s: got %q, want %q", test.path, name, column(body, test.list, test.field), want)
			}
		}
	}
	asked["GET /watch"] = true // by TestWatchersSeeTheirOwn, as it does not end by itself
	for _, route := range Routes(f, http.NotFoundHandler()) {
		if route.Rule != access.Probe && route.Rule != access.Files && !asked[route.Pattern] {
			t.Errorf("nobody tries %s", route.Pattern)
		}
	}
}

// A lender sees of a loan by several what it lends itself, and the borrower all of it. No
// answer to one tenant has the name of another with whom it shares nothing.
func TestALenderSeesItsOwnPart(t *testing.T) {
	handler := served(t, town(t), guard(people))
	for name, test := range map[string]struct{ shows, hides string }{
		"research": {`"lender":"vision/serve"`, "vision/x"},
		"serving":  {`"lender":"serving/chat"`, "vision/serve"},
		"vision":   {`"lender":"vision/serve"`, `"lender":"serving/chat","node":"gpu-0","flavor":"h100","count":1},{`},
	} {
		_, _, text := getAs(t, handler, name, "/ledger?from=6")
		if !strings.Contains(text, test.shows) || strings.Contains(text, test.hides) {
			t.Errorf("%s sees %s", name, text)
		}
	}
	for _, path := range []string{"/verdicts", "/queue", "/lenders", "/ledger", "/ledger/reclaims"} {
		_, _, text := getAs(t, handler, "stranger", path)
		for _, name := range []string{"research", "vision", "serving"} {
			if strings.Contains(text, name) {
				t.Errorf("%s tells a stranger of %s: %s", path, name, text)
			}
		}
	}
}

// One decision may be for several lenders, and its entries name all of them: the only lender of
// a loan hears of itself alone, its borrower and who sees all of all.
func TestALenderHearsOfNoOther(t *testing.T) {
	f := town(t)
	book, ok := f.ledger.(*ledger.Ledger)
	if !ok {
		t.Fatal("the fixture has another ledger")
	}
	grants := []ledger.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 1}}
	for _, e := range []ledger.Entry{
		{Kind: ledger.LendIntent, Grants: grants}, {Kind: ledger.LendGranted},
		{Kind: ledger.ReclaimIntent, ReclaimID: "r-1", Message: "need of serving/chat, vision/serve rose",
			Payload: []byte(`{"reclaimBy":"2026-03-01T12:01:00Z","asking":["serving/chat","vision/serve"],"owed":[{"lender":"serving/chat","pods":1},{"lender":"vision/serve","pods":2}]}`)},
		{Kind: ledger.ReclaimDone, Payload: []byte(`{"records":["of vision/serve"],"owed":[{"lender":"vision/serve"}]}`)},
	} {
		e.OpID, e.Epoch, e.Loan, e.Job, e.JobUID, e.Borrower = "one", 1, "research/one", "research/one", "one", "research"
		if _, err := book.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	handler := served(t, f, guard(people))
	const path = "/ledger?loan=research/one"
	for _, name := range []string{"research", "reader"} {
		if _, _, text := getAs(t, handler, name, path); strings.Count(text, "vision/serve") != 5 {
			t.Errorf("%s sees %s", name, text)
		}
	}
	_, body, text := getAs(t, handler, "serving", path)
	if column(body, "entries", "kind") != "LEND_INTENT LEND_GRANTED RECLAIM_INTENT RECLAIM_DONE" || strings.Contains(text, "vision") {
		t.Errorf("the lender sees %s", text)
	}
	for _, want := range []string{`"asking":["serving/chat"]`, `"owed":[{"lender":"serving/chat","pods":1}]`, `"reclaimBy":"2026-03-01T12:01:00Z"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the lender does not see %s of its own: %s", want, text)
		}
	}
}

// Refused is refused in the same words, whether a tenant exists or not.
func TestRefusalsTellNothing(t *testing.T) {
	handler := served(t, town(t), guard(people))
	_, _, known := getAs(t, handler, "stranger", "/ledger?tenant=vision")
	_, _, unknown := getAs(t, handler, "stranger", "/ledger?tenant=nobody")
	if strings.ReplaceAll(known, "vision", "nobody") != unknown {
		t.Errorf("a tenant that exists: %s, one that does not: %s", known, unknown)
	}
}

// Where others' entries go on is not told: not of a loan, not of a reclaim.
func TestNoNextPageOfOthers(t *testing.T) {
	handler := served(t, town(t), guard(people))
	for _, path := range []string{"/ledger?limit=1&loan=vision/x-1", "/ledger/reclaims?limit=1&loan=vision/x-1"} {
		if _, body, text := getAs(t, handler, "admin", path); body["next"] == nil {
			t.Fatalf("%s: there is no next page to be told of: %s", path, text)
		}
		for _, name := range []string{"research", "stranger"} {
			if status, body, text := getAs(t, handler, name, path); status != http.StatusOK || body["next"] != nil {
				t.Errorf("%s tells %s that the loan exists: %d %s", path, name, status, text)
			}
		}
	}
}

// Pages of what one may see end where that ends, and no page is cut off in between.
func TestPagesOfOnesOwn(t *testing.T) {
	handler := served(t, town(t), guard(people))
	var got []string
	for from, pages := "1", 0; from != "<nil>" && pages < 10; pages++ {
		_, body, _ := getAs(t, handler, "vision", "/ledger?limit=1&from="+from)
		got = append(got, column(body, "entries", "seq"))
		from = fmt.Sprint(body["next"])
	}
	if strings.Join(got, " ") != "4 5 6" {
		t.Errorf("got the pages %q", got)
	}
}

// Answers about the last decision come in pages as well, of what one may see.
func TestPagesOfADecision(t *testing.T) {
	handler := served(t, town(t), guard(people))
	for path, want := range map[string]string{
		"/queue?limit=2":          "research/a research/b next 3",
		"/queue?limit=2&from=3":   "research/d research/c next <nil>",
		"/queue?from=9":           " next <nil>",
		"/verdicts?limit=1":       "research/a next 2",
		"/verdicts?from=3":        "research/x-0 next <nil>",
		"/verdicts?limit=10001":   "400",
		"/verdicts?from=0":        "400",
		"/queue?from=18446744073": " next <nil>",
	} {
		status, body, _ := getAs(t, handler, "research", path)
		got := fmt.Sprint(column(body, "jobs", "job"), column(body, "verdicts", "subject"), " next ", body["next"])
		if status != http.StatusOK {
			got = fmt.Sprint(status)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// What the API server does not answer is not shown, and not taken for nothing.
func TestNoAnswerIsNoRight(t *testing.T) {
	silent := guard(people)
	silent.Authorizer = silence{}
	handler := served(t, town(t), silent)
	for _, test := range paths {
		if status, _, text := getAs(t, handler, "vision", test.path); status != http.StatusServiceUnavailable {
			t.Errorf("%s: got %d %s, want 503", test.path, status, text)
		}
	}
	// As long as it answers for all at once, and then no more.
	silent.Authorizer = silence{but: true}
	for _, path := range []string{"/verdicts", "/queue", "/lenders", "/ledger"} {
		if status, _, text := getAs(t, handler, "vision", path); status != http.StatusServiceUnavailable {
			t.Errorf("%s: got %d %s, want 503", path, status, text)
		}
	}
}

// silence is an API server that does not answer; but says no about everywhere.
type silence struct{ but bool }

func (s silence) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if s.but && a.IsResourceRequest() && a.GetNamespace() == access.Everywhere {
		return authorizer.DecisionNoOpinion, "", nil
	}
	return authorizer.DecisionNoOpinion, "", errors.New("no answer")
}

// The ledger is checked for one at a time.
func TestOneCheckAtATime(t *testing.T) {
	f := leading(t)
	slow := &slowLedger{Ledger: f.ledger, began: make(chan struct{}), goOn: make(chan struct{})}
	f.ledger = slow
	handler := served(t, f, guard(people))
	first := make(chan int)
	go func() {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/ledger/check", nil)
		r.Header.Set("Authorization", "Bearer admin")
		handler.ServeHTTP(w, r)
		first <- w.Code
	}()
	<-slow.began
	if status, _, text := getAs(t, handler, "admin", "/ledger/check"); status != http.StatusTooManyRequests {
		t.Errorf("a second check beside the first: got %d %s, want 429", status, text)
	}
	close(slow.goOn)
	if status := <-first; status != http.StatusOK {
		t.Errorf("the first check: got %d", status)
	}
}

type slowLedger struct {
	Ledger
	began, goOn chan struct{}
}

func (l *slowLedger) Verify() (*ledger.Report, error) {
	close(l.began)
	<-l.goOn
	return l.Ledger.Verify()
}
