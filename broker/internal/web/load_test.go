package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// crowded is a cluster of 10,000 loans in a hundred namespaces, and the ledger of as many more
// that ended within the day.
func crowded(t testing.TB) *fixture {
	t.Helper()
	const loans, nodes, lenders = 10_000, 2_500, 50
	in := lend.Snapshot{Now: now, Epoch: 1}
	plan := lend.Plan{}
	for i := range nodes {
		in.Nodes = append(in.Nodes, lend.Node{Name: fmt.Sprintf("gpu-%05d", i), Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8, Online: 4}}})
	}
	for i := range lenders {
		name := fmt.Sprintf("serving-%02d/chat", i)
		in.Lenders = append(in.Lenders, lend.Lender{Name: name, Tenant: fmt.Sprintf("serving-%02d", i), Flavor: "h100", Owned: 400, UnitsPerPod: 1, Load: lend.Load{Known: true, Slots: 10}})
		plan.Lenders = append(plan.Lenders, lend.LenderView{Name: name, Owned: 400})
		plan.Verdicts = append(plan.Verdicts, lend.Verdict{Kind: lend.SubjectLender, Subject: name, Reason: "BelowLowWater", Message: "load 3% of 400 owned units is below 30%"})
	}
	c := newChronicle(t)
	var opened, ended []ledger.Entry
	for i := range loans {
		name := fmt.Sprintf("team-%02d/job-%05d-1", i/100, i)
		tenant := name[:7]
		grant := lend.Grant{Lender: in.Lenders[i%lenders].Name, Node: in.Nodes[i%nodes].Name, Flavor: "h100", Count: 1}
		in.Loans = append(in.Loans, lend.Loan{
			Name: name, Job: name, JobUID: name, Borrower: tenant, Queue: tenant + "/q", Pods: 1, Grants: []lend.Grant{grant}, Live: 1,
			Since: now.Add(-time.Hour), Checkpoint: now, Grace: time.Minute,
		})
		plan.Verdicts = append(plan.Verdicts, lend.Verdict{Kind: lend.SubjectLoan, Subject: name, Reason: "Active", Message: "runs on 1 unit of h100"})
		for _, part := range []struct {
			suffix string
			list   *[]ledger.Entry
		}{{"", &opened}, {"-old", &ended}} {
			e := ledger.Entry{Kind: ledger.LendIntent, OpID: name + part.suffix, Epoch: 1, Loan: name + part.suffix, Job: name, JobUID: name + part.suffix, Borrower: tenant,
				Grants:  []ledger.Grant{{Lender: grant.Lender, Node: grant.Node, Flavor: "h100", Count: 1}},
				Payload: []byte(fmt.Sprintf(`{"lenders":{%q:%q}}`, grant.Lender, grant.Lender[:10]))}
			*part.list = append(*part.list, e, ledger.Entry{Kind: ledger.LendGranted, OpID: e.OpID, Epoch: 1, Loan: e.Loan})
			if part.suffix != "" {
				*part.list = append(*part.list, ledger.Entry{Kind: ledger.Released, OpID: e.OpID, Epoch: 1, Loan: e.Loan})
			}
		}
	}
	write := func(before time.Duration, list []ledger.Entry) {
		for len(list) > 0 {
			n := min(len(list), 3000)
			c.at(t, before, list[:n]...)
			list = list[n:]
		}
	}
	write(hours(6), ended)
	write(hours(1), opened)
	f := &fixture{ledger: c.Ledger, loads: Loads{Requests: make([]float64, 1000)}}
	f.decision = NewDecision(lend.Record{Snapshot: in, Plan: plan, Policy: lend.DefaultPolicy()}, nil, nil)
	return f
}

// With 10,000 open loans, and 50,000 entries within the day, no answer is larger than was said,
// or takes more memory while it is made; who asks for the sum again has little of it made anew.
// How long each takes is in the log.
func TestTenThousandLoans(t *testing.T) {
	f := crowded(t)
	handler := served(t, f, guard(people))
	for _, test := range []struct {
		path  string
		bytes int
		heap  uint64
	}{
		{"/loans", 8 << 20, 128 << 20},
		{"/loans?from=5001&limit=500", 1 << 20, 16 << 20},
		{"/nodes", 2 << 20, 32 << 20},
		{"/quota", 1 << 20, 16 << 20},
		{"/timeline", 8 << 20, 224 << 20},
		{"/timeline?loan=team-00/job-00000-1", 1 << 20, 16 << 20},
		{"/gained", 1 << 10, 192 << 20},
		{"/gained", 1 << 10, 64 << 20},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, test.path, nil)
		r.Header.Set("Authorization", "Bearer admin")
		handler.ServeHTTP(w, r)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		made := after.TotalAlloc - before.TotalAlloc
		t.Logf("%-40s %8s %9d bytes, %4d MiB allocated", test.path, took.Round(time.Millisecond), w.Body.Len(), made>>20)
		if w.Code != http.StatusOK || took > time.Minute || w.Body.Len() > test.bytes || made > test.heap {
			t.Errorf("%s: %d, %s, %d bytes, %d allocated", test.path, w.Code, took, w.Body.Len(), made)
		}
	}
	began := time.Now()
	d := newDigest(f.decision)
	t.Logf("a digest for those who watch: %s", time.Since(began))
	if took := time.Since(began); len(d.of) != 150 || took > time.Minute {
		t.Errorf("a digest of %d namespaces took %s", len(d.of), took)
	}
}

// Two who ask at once for as much of the past as is read make the program no larger than was
// said, however much of the ledger they go through.
func TestTwoTimelinesAtOnce(t *testing.T) {
	const most = 64 << 20
	handler := served(t, crowded(t), guard(people))
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // so that what is in use is what is needed
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	before, highest := stats.HeapAlloc, uint64(0)
	var asking sync.WaitGroup
	for _, path := range []string{"/timeline", "/timeline?tenant=team-01", "/timeline", "/gained"} {
		asking.Go(func() {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Authorization", "Bearer admin")
			if handler.ServeHTTP(w, r); w.Code != http.StatusOK {
				t.Errorf("%s: %d", path, w.Code)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		asking.Wait()
		close(done)
	}()
	every := time.NewTicker(2 * time.Millisecond)
	defer every.Stop()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-every.C:
		}
		runtime.ReadMemStats(&stats)
		highest = max(highest, stats.HeapAlloc)
	}
	t.Logf("the heap grew from %d to %d MiB", before>>20, highest>>20)
	if highest > before+most {
		t.Errorf("the heap grew by %d bytes, want %d at most", highest-before, most)
	}
}

// A picture of more than is read says so; the sum goes on where it ended.
func TestMoreThanIsRead(t *testing.T) {
	c := newChronicle(t)
	var list []ledger.Entry
	for i := range 30_000 {
		list = append(list, entry(ledger.LendIntent, fmt.Sprint("j-", i)), entry(ledger.LendAborted, fmt.Sprint("j-", i)))
		if len(list) == 3000 {
			c.at(t, hours(10)-time.Duration(i)*time.Second/2, list...)
			list = nil
		}
	}
	c.granted(t, hours(1), "late")
	f := c.after(t)
	handler := served(t, f, guard(people))
	_, body, _ := getAs(t, handler, "admin", "/timeline?points=1")
	spans, _ := body["spans"].([]any)
	if len(spans) != mostSpans || body["omitted"] != float64(mostRead/2-mostSpans) || len(body["notes"].([]any)) != 2 {
		t.Errorf("%d spans, %v omitted, notes %v", len(spans), body["omitted"], body["notes"])
	}
	_, body, text := getAs(t, handler, "admin", "/gained")
	if body["complete"] != false || body["until"] == now.Format(time.RFC3339) || body["loans"] != 0.0 {
		t.Errorf("at first: %s", text)
	}
	_, body, text = getAs(t, handler, "admin", "/gained")
	if body["complete"] != true || body["until"] != now.Format(time.RFC3339) || body["loans"] != 1.0 || body["lentGPUHours"] != 4.0 {
		t.Errorf("then: %s", text)
	}
	// What lasted through all of it and ended after more than is read may be missing, which is said.
	_, body, _ = getAs(t, handler, "admin", "/timeline?from="+ago(20)+"&to="+ago(15))
	if notes, _ := body["notes"].([]any); len(notes) != 1 || column(body, "spans", "loan") != "" {
		t.Errorf("of before: %v", body)
	}
}
