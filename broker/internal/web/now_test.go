package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/counterfactual"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Who lends sees of a loan what it lends, and nothing that is its borrower's alone; of nodes
// it sees no more than that.
func TestALenderSeesItsPartOfWhatIs(t *testing.T) {
	handler := served(t, town(t), guard(people))
	_, _, text := getAs(t, handler, "serving", "/loans?name=research/both")
	for _, hidden := range []string{"vision", "secret", "it runs on", "checkpoint", "gpu-1", "uid"} {
		if strings.Contains(text, hidden) {
			t.Errorf("a lender sees %q: %s", hidden, text)
		}
	}
	for _, shown := range []string{`"part":true`, `"units":1`, `"borrower":"research"`, `"reason":"Active"`, `"graceSeconds":60`} {
		if !strings.Contains(text, shown) {
			t.Errorf("a lender does not see %s: %s", shown, text)
		}
	}
	_, _, text = getAs(t, handler, "research", "/loans?name=research/both")
	for _, shown := range []string{"vision/serve", "research/secret", "it runs on", "checkpoint", `"units":3`} {
		if !strings.Contains(text, shown) {
			t.Errorf("a borrower does not see %s: %s", shown, text)
		}
	}
	_, _, text = getAs(t, handler, "serving", "/nodes")
	if !strings.Contains(text, `"units":[{"flavor":"h100","capacity":0,"own":0,"lent":3,`) || !strings.Contains(text, `"part":true`) {
		t.Errorf("of nodes a lender sees %s", text)
	}
	for _, path := range []string{"/loans", "/nodes", "/quota", "/whoami", "/timeline", "/gained"} {
		_, _, text := getAs(t, handler, "stranger", path)
		for _, name := range []string{"research", "vision", "serving", "gpu-", "lab"} {
			if strings.Contains(text, name) {
				t.Errorf("%s tells a stranger of %s: %s", path, name, text)
			}
		}
	}
	for path, hidden := range map[string]string{"/quota": "serving", "/timeline": "vision/x"} {
		if _, _, text := getAs(t, handler, "research", path); strings.Contains(text, hidden) {
			t.Errorf("%s tells research of %s: %s", path, hidden, text)
		}
	}
}

func TestWhoAmI(t *testing.T) {
	handler := served(t, town(t), guard(people))
	for name, want := range map[string]string{
		"research": `{"user":"research","all":false,"tenants":["research"],"namespaces":["research"]}`,
		"half":     `{"user":"half","all":false,"tenants":[],"namespaces":["vision"]}`,
		"stranger": `{"user":"stranger","all":false,"tenants":[],"namespaces":[]}`,
		"reader":   `{"user":"reader","all":true,"tenants":["research","serving","vision"],"namespaces":["research","serving","vision","vision-lab"]}`,
	} {
		if _, _, text := getAs(t, handler, name, "/whoami"); strings.TrimSpace(text) != want {
			t.Errorf("%s is %s", name, text)
		}
	}
}

// waitingTown has a job of research that a higher limit, or a smaller gang, would admit, while a
// service of another tenant lends.
func waitingTown(t *testing.T) *fixture {
	t.Helper()
	f := town(t)
	two := int64(2)
	in := &f.decision.Record.Snapshot
	in.Loans, in.Jobs = nil, []lend.Job{{
		Name: "research/a", UID: "a", Tenant: "research", Queue: "research/fifo", Created: now.Add(-time.Minute), Flavor: "h100", Pods: 3, UnitsPerPod: 1,
	}}
	for i := range in.Nodes {
		in.Nodes[i].Units[0].Online = 0
	}
	in.Queues[0].Tenant = "research"
	in.Tenants[0].Quotas[0] = lend.Quota{Flavor: "h100", Nominal: 0, BorrowingLimit: &two}
	in.Lenders[0] = lend.Lender{
		Name: "serving/chat", Tenant: "serving", Flavor: "h100", Owned: 8, UnitsPerPod: 1, LowWater: 0.3, HighWater: 0.7, MaxGrace: time.Minute,
		Load: lend.Load{Known: true, ObservedAt: now, Coverage: 1, Slots: 10},
	}
	f.decision.Record.State = lend.State{At: now.Add(-15 * time.Second), Lenders: []lend.LenderState{{Name: "serving/chat", LowSince: now.Add(-time.Hour)}}}
	plan, _ := lend.Decide(*in, f.decision.Record.State, f.decision.Record.Policy)
	f.decision.Record.Plan, f.decision.Since = plan, make([]time.Time, len(plan.Verdicts))
	return f
}

// Why a job waits, what would admit it and when: in words for its tenant, who hears of nobody
// else.
func TestWhyAJobWaits(t *testing.T) {
	f := waitingTown(t)
	for i := range 20 {
		at := now.Add(-time.Duration(20-i) * 5 * time.Minute)
		if f.decision.Returns == nil {
			f.decision.Returns = map[string][]counterfactual.Return{}
		}
		f.decision.Returns["h100"] = append(f.decision.Returns["h100"], counterfactual.Return{At: at, Units: 1})
	}
	handler := served(t, f, guard(people))
	status, body, text := getAs(t, handler, "research", "/counterfactual?job=research/a")
	if status != http.StatusOK || column(body, "nearest", "kind") != "FewerPods BorrowingLimit" || column(body, "nearest", "limit") != "<nil> 3" || body["complete"] != true {
		t.Errorf("got %d %s", status, text)
	}
	if column(body, "chain", "kind") != "Job Queue Tenant" || !strings.Contains(text, "Job research/a waits in queue research/fifo") {
		t.Errorf("the chain is %s", text)
	}
	if when, _ := body["when"].(map[string]any); when == nil || when["returns"] != 20.0 || !strings.Contains(fmt.Sprint(when["message"]), "between 12:") && !strings.Contains(fmt.Sprint(when["message"]), "not before") {
		t.Errorf("when: %v", body["when"])
	}
	if strings.Contains(text, "serving") || strings.Contains(text, "vision") {
		t.Errorf("research hears of others: %s", text)
	}
	_, body, _ = getAs(t, handler, "admin", "/counterfactual?job=research/a")
	if column(body, "chain", "subject") != "research/a research/fifo research serving/chat" {
		t.Errorf("who sees all sees the chain %v", body["chain"])
	}
	f.decision.Returns = nil
	if _, body, _ := getAs(t, handler, "research", "/counterfactual?job=research/a"); body["when"] != nil || !strings.Contains(fmt.Sprint(body["whenUnknown"]), "8 returns of h100") {
		t.Errorf("without returns: %v, %v", body["when"], body["whenUnknown"])
	}
	for path, want := range map[string]int{
		"/counterfactual?job=research/none": 404, "/counterfactual?job=research/a&uid=b": 404, "/counterfactual": 400,
		"/counterfactual?job=research/a&lender=serving/chat": 400, "/counterfactual?job=a": 400, "/counterfactual?lender=a/b/c": 400,
		"/counterfactual?lender=serving/none": 404, "/counterfactual?lender=serving/chat&keep=-1": 400, "/counterfactual?lender=serving/chat&keep=x": 400,
	} {
		if status, _, text := getAs(t, handler, "admin", path); status != want {
			t.Errorf("%s: got %d %s, want %d", path, status, text, want)
		}
	}
	// In the same words whether there is such a thing or not.
	for _, names := range [][2]string{{"job=vision/y", "job=nobody/y"}, {"lender=serving/chat", "lender=nobody/chat"}} {
		_, _, known := getAs(t, handler, "research", "/counterfactual?"+names[0])
		_, _, unknown := getAs(t, handler, "research", "/counterfactual?"+names[1])
		if strings.NewReplacer("vision", "nobody", "serving", "nobody").Replace(known) != unknown {
			t.Errorf("of what there is: %s, and of what is not: %s", known, unknown)
		}
	}
}

// What is said of a job or a loan names another tenant's service to who may see that, and to
// nobody else.
func TestServicesOfOthersAreNotNamed(t *testing.T) {
	f := waitingTown(t)
	in, plan := &f.decision.Record.Snapshot, &f.decision.Record.Plan
	in.Loans = []lend.Loan{{Name: "research/a-1", Job: "research/z", JobUID: "z", Borrower: "research"}}
	plan.Verdicts = append(plan.Verdicts, lend.Verdict{Kind: lend.SubjectLoan, Subject: "research/a-1", Reason: lend.ReasonLenderPodPending})
	slices.SortFunc(plan.Verdicts, func(a, b lend.Verdict) int { return compare(&a, &b) })
	f.decision.Since = make([]time.Time, len(plan.Verdicts))
	for i := range plan.Verdicts {
		plan.Verdicts[i].Message = "online pods of serving/chat wait, and research/a too"
	}
	handler := served(t, f, guard(people))
	const discreet = "online pods of a service of another tenant wait, and research/a too"
	for _, path := range []string{"/verdicts", "/queue", "/loans", "/counterfactual?job=research/a"} {
		if status, _, text := getAs(t, handler, "research", path); status != http.StatusOK || strings.Contains(text, "serving/chat") || !strings.Contains(text, discreet) {
			t.Errorf("%s: research hears %d %s", path, status, text)
		}
		if _, _, text := getAs(t, handler, "reader", path); !strings.Contains(text, "online pods of serving/chat wait") {
			t.Errorf("%s: who sees all hears %s", path, text)
		}
	}
}

// Who lends hears which loans a recall would end; of such as are others' alone, how many.
func TestWhatARecallEnds(t *testing.T) {
	f := waitingTown(t)
	in := &f.decision.Record.Snapshot
	in.Jobs = nil
	in.Nodes = in.Nodes[:1]
	loan := func(name, lender string, n int64) lend.Loan {
		return lend.Loan{Name: name, Job: name, JobUID: name, Borrower: "research", Queue: "research/fifo", Pods: 1, Live: 1, Bound: 1, UnitsPerPod: n,
			Grants: []lend.Grant{{Lender: lender, Node: "gpu-0", Flavor: "h100", Count: n}}, Since: now.Add(-time.Hour), Checkpoint: now, Grace: 30 * time.Second}
	}
	// The whole node is owed, and half of it is lent by nobody whom the caller knows.
	in.Lenders[0].UnitsPerPod, in.Tenants[1].Quotas[0].Nominal = 8, 8
	in.Loans = []lend.Loan{loan("research/a", "serving/chat", 4), loan("research/b", "cohort:lab", 4)}
	plan, _ := lend.Decide(*in, f.decision.Record.State, f.decision.Record.Policy)
	f.decision.Record.Plan, f.decision.Since = plan, make([]time.Time, len(plan.Verdicts))
	handler := served(t, f, guard(people))
	_, body, text := getAs(t, handler, "serving", "/counterfactual?lender=serving/chat")
	if column(body, "loans", "loan") != "research/a" || body["units"] != 4.0 || body["others"] != 1.0 || body["keep"] != 8.0 || column(body, "loans", "graceSeconds") != "30" || strings.Contains(text, "research/b") {
		t.Errorf("got %s", text)
	}
	_, body, text = getAs(t, handler, "serving", "/counterfactual?lender=serving/chat&keep=0")
	if column(body, "loans", "loan") != "" || body["keep"] != 0.0 || body["by"] != nil {
		t.Errorf("of nothing: %s", text)
	}
}

// A caller has one question worked out at a time, others wait for it, and the same question
// about the same decision is worked out once.
func TestQuestionsOneAtATime(t *testing.T) {
	a, d := newAnswers(), &Decision{}
	working, goOn := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		if got, err := a.about(t.Context(), d, "ann", "q", func() any { close(working); <-goOn; return 1 }); got != 1 || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
	<-working
	if _, err := a.about(t.Context(), d, "ann", "other", func() any { return 2 }); err == nil {
		t.Error("two at a time for one caller")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.about(gone, d, "bob", "other", func() any { return 2 }); err == nil {
		t.Error("who has gone is waited for")
	}
	done.Go(func() {
		if got, err := a.about(t.Context(), d, "bob", "q", func() any { return 3 }); got != 1 || err != nil {
			t.Errorf("the same question again: %v, %v", got, err)
		}
	})
	close(goOn)
	done.Wait()
	if got, _ := a.about(t.Context(), &Decision{}, "ann", "q", func() any { return 4 }); got != 4 {
		t.Errorf("of another decision: %v", got)
	}
	for i := range mostAnswers + 10 {
		_, _ = a.about(t.Context(), d, "ann", fmt.Sprint(i), func() any { return i }) // ann is alone
	}
	if len(a.kept) > mostAnswers {
		t.Errorf("%d answers are kept", len(a.kept))
	}
}

// The page is for anybody, also for who shows nothing, and the way to it is "/".
func TestThePageIsForAnybody(t *testing.T) {
	handler := served(t, leading(t), guard(people))
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if w := get("/"); w.Code != http.StatusTemporaryRedirect || w.Header().Get("Location") != "/ui/" {
		t.Errorf("/ leads to %d %v", w.Code, w.Header())
	}
	if w := get("/ui/"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<html") || !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'self'") {
		t.Errorf("the page is %d %v", w.Code, w.Header())
	}
	if w := get("/nothing"); w.Code != http.StatusNotFound {
		t.Errorf("what is not there is %d", w.Code)
	}
}

// What people set by hand, and the marks, are among a lender's rows.
func TestLendersRules(t *testing.T) {
	f := leading(t)
	l := &f.decision.Record.Snapshot.Lenders[0]
	l.LowWater, l.HighWater, l.Dwell, l.MaxGrace, l.UnitsPerPod = 0.3, 0.7, 5*time.Minute, time.Minute, 2
	l.Hold, l.Problem = &lend.Problem{Reason: lend.ReasonPaused}, &lend.Problem{Reason: "OwnedUnknown"}
	l.Floors = []lend.Floor{{Name: lend.FloorRecall, Units: 6, From: now, Until: now.Add(time.Hour)}}
	f.decision.Record.State.Lenders = []lend.LenderState{{Name: "serving/chat", LastReclaim: now.Add(-time.Minute)}}
	_, _, text := get(t, f, "/lenders")
	for _, want := range []string{
		`"lowWater":0.3,"highWater":0.7,"dwellSeconds":300,"cooldownSeconds":0,"maxGraceSeconds":60,"refused":true,"paused":true,"recall":{"name":"recall","keep":6,`,
		`"unitsPerPod":2`, `"lastReclaim":"2026-03-01T11:59:00Z"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, "lowSince") {
		t.Errorf("what is not known is shown: %s", text)
	}
}

// A row is a warning where package reasons says so, on whatever it is said.
func TestRowsWarn(t *testing.T) {
	for reason, want := range map[string]string{lend.ReasonLoadUnknown: "true", lend.ReasonUnknownQueue: "true", lend.ReasonNoLendableUnits: "<nil>", lend.ReasonActive: "<nil>"} {
		f := leading(t)
		record := &f.decision.Record
		record.Snapshot.Loans = []lend.Loan{{Name: "research/x-1", Borrower: "research"}}
		record.Plan.Verdicts = []lend.Verdict{
			{Kind: lend.SubjectJob, Subject: "research/a", UID: "a", Reason: reason}, {Kind: lend.SubjectLoan, Subject: "research/x-1", Reason: reason},
			{Kind: lend.SubjectLender, Subject: "serving/chat", Reason: reason},
		}
		f.decision.Since = make([]time.Time, 3)
		for path, list := range map[string]string{"/queue?job=research/a": "jobs", "/loans": "loans", "/lenders": "lenders"} {
			if _, body, text := get(t, f, path); column(body, list, "warning") != want {
				t.Errorf("%s with %s: %s", path, reason, text)
			}
		}
		if _, body, text := get(t, f, "/verdicts"); column(body, "verdicts", "warning") != want+" "+want+" "+want {
			t.Errorf("/verdicts with %s: %s", reason, text)
		}
	}
}
