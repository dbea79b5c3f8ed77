package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// A statement has the tenant's own rows and nobody else's, and what is open until now.
func TestStatement(t *testing.T) {
	begin := time.Date(2026, 3, 31, 22, 0, 0, 0, time.UTC)
	clock := clocktesting.NewFakePassiveClock(begin)
	l := openLedger(t, clock)
	for _, step := range []struct {
		hours int
		kind  ledger.Kind
		loan  string
	}{{0, ledger.Recovered, "research/a"}, {0, ledger.Recovered, "vision/b"}, {1, ledger.ReclaimIntent, "research/a"}, {4, ledger.ReclaimDone, "research/a"}} {
		clock.SetTime(begin.Add(time.Duration(step.hours) * time.Hour))
		e := ledger.Entry{Kind: step.kind, OpID: step.loan, Epoch: 1, Loan: step.loan}
		if step.kind == ledger.Recovered {
			e.Job, e.JobUID, e.Borrower = step.loan, step.loan, strings.Split(step.loan, "/")[0]
			e.Grants = []ledger.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 2}}
			e.Payload = []byte(`{"lenders":{"serving/chat":"online"}}`)
		}
		if _, err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	clock.SetTime(begin.Add(5 * time.Hour))
	for query, want := range map[string]string{
		"tenant=online&month=2026-03":   `"rows":[{"flavor":"h100","role":"Lender","lentGPUHours":4},{"flavor":"h100","role":"Lender","open":true,"lentGPUHours":4,"units":2}]`,
		"tenant=research&month=2026-04": `"rows":[{"flavor":"h100","role":"Borrower","borrowedGPUHours":4,"units":2,"loans":1,"reclaimed":{"gpuHours":4,"units":2,"loans":1}}]`,
		"tenant=vision&month=2026-04":   `"openUntil":"2026-04-01T03:00:00Z","rows":[{"flavor":"h100","role":"Borrower","open":true,"borrowedGPUHours":6,"units":2}]`,
		"tenant=nobody&month=2026-04":   `"rows":[]`,
		"tenant=&month=2026-04":         `"rows":[]`,
	} {
		if status, _, text := get(t, &fixture{ledger: l}, "/ledger/statement?"+query); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: got %d %s, want %s", query, status, text, want)
		}
	}
	for query, want := range map[string]string{
		"month=2026-04":                  "tenant: is required",
		"tenant=vision":                  "month:",
		"tenant=vision&month=April":      `\"April\" is not of the form 2026-11`,
		"tenant=vi%00sion&month=2026-04": "tenant: has a control character",
	} {
		if status, _, text := get(t, &fixture{ledger: l}, "/ledger/statement?"+query); status != http.StatusBadRequest || !strings.Contains(text, want) {
			t.Errorf("%s: got %d %s, want 400 and %s", query, status, text, want)
		}
	}
}
