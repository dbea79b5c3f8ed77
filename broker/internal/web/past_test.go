package web

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// chronicle is a ledger whose clock is set by who writes.
type chronicle struct {
	*ledger.Ledger
	clock *clocktesting.FakePassiveClock
}

func newChronicle(t testing.TB) *chronicle {
	t.Helper()
	clock := clocktesting.NewFakePassiveClock(now.Add(-hours(1000)))
	return &chronicle{openLedger(t, clock), clock}
}

// entry is one about a loan of research's from serving/chat.
func entry(kind ledger.Kind, name string) ledger.Entry {
	e := ledger.Entry{Kind: kind, OpID: name, Epoch: 1, Loan: "research/" + name}
	if kind == ledger.LendIntent {
		e.Job, e.JobUID, e.Borrower = e.Loan, name, "research"
		e.Grants = []ledger.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 4}}
		e.Payload = []byte(`{"lenders":{"serving/chat":"serving"}}`)
	}
	return e
}

// at writes entries at a time, so long before now.
func (c *chronicle) at(t testing.TB, before time.Duration, entries ...ledger.Entry) {
	t.Helper()
	c.clock.SetTime(now.Add(-before))
	if _, err := c.AppendAll(entries); err != nil {
		t.Fatal(err)
	}
}

func (c *chronicle) granted(t testing.TB, before time.Duration, name string) {
	c.at(t, before, entry(ledger.LendIntent, name), entry(ledger.LendGranted, name))
}

// after is a source with that ledger, decided now.
func (c *chronicle) after(t *testing.T) *fixture {
	f := leading(t)
	f.ledger = c.Ledger
	return f
}

func hours(n int) time.Duration { return time.Duration(n) * time.Hour }

// ago is a time as a parameter.
func ago(n int) string { return now.Add(-hours(n)).Format(time.RFC3339) }

// Of any past range the loans that were open in it are shown: those that began before, that
// lasted through all of it, whether they have ended since or not; and no others.
func TestTimelineOfThePast(t *testing.T) {
	c := newChronicle(t)
	c.granted(t, hours(50), "over")
	c.granted(t, hours(49), "open")
	c.granted(t, hours(48), "through")
	c.at(t, hours(45), entry(ledger.Released, "over"))
	c.granted(t, hours(41), "into")
	c.granted(t, hours(35), "within")
	reclaim := entry(ledger.ReclaimIntent, "into")
	reclaim.ReclaimID, reclaim.Reason = "r-1", "NeedRose"
	c.at(t, hours(34), reclaim)
	c.at(t, hours(33), entry(ledger.ReclaimDone, "into"))
	c.at(t, hours(32), entry(ledger.Released, "within"))
	c.granted(t, hours(20), "later")
	c.at(t, hours(10), entry(ledger.Released, "through"))
	f := c.after(t)
	for query, want := range map[string]string{
		"from=" + ago(40) + "&to=" + ago(30): "open through into within",
		"from=" + ago(44) + "&to=" + ago(42): "open through",
		"from=" + ago(60) + "&to=" + ago(47): "over open through",
		"from=" + ago(5):                     "open later",
		"":                                   "open through later",
		"from=" + ago(40) + "&to=" + ago(30) + "&loan=research/into": "into",
		"from=" + ago(5) + "&loan=research/into":                     "",
		"from=" + ago(40) + "&to=" + ago(30) + "&tenant=serving":     "open through into within",
		"from=" + ago(40) + "&to=" + ago(30) + "&tenant=other":       "",
		"from=" + ago(70) + "&to=" + ago(60):                         "",
	} {
		status, body, text := get(t, f, "/timeline?"+query)
		if got := strings.ReplaceAll(column(body, "spans", "loan"), "research/", ""); status != http.StatusOK || got != want {
			t.Errorf("%s: %d, got %q, want %q: %s", query, status, got, want, text)
		}
		if notes, _ := body["notes"].([]any); len(notes) > 0 {
			t.Errorf("%s: %v", query, notes)
		}
	}
	_, _, text := get(t, f, "/timeline?loan=research/into&from="+ago(40)+"&to="+ago(30))
	want := `{"loan":"research/into","job":"research/into","borrower":"research","lenders":["serving/chat"],"nodes":["gpu-0"],"flavors":["h100"],"units":4,` +
		`"from":"2026-02-27T19:00:00Z","reclaimAt":"2026-02-28T02:00:00Z","to":"2026-02-28T03:00:00Z","end":"RECLAIM_DONE","mark":"x","reason":"NeedRose"}`
	if !strings.Contains(text, want) {
		t.Errorf("want %s in %s", want, text)
	}
	for query, want := range map[string]string{
		"from=x": "is no time", "to=2026": "is no time", "from=" + ago(1) + "&to=" + ago(2): "must be before", "points=0": "points", "points=1001": "points",
		"from=2020-01-01T00:00:00Z": "400 days",
	} {
		if status, _, text := get(t, f, "/timeline?"+query); status != http.StatusBadRequest || !strings.Contains(text, want) {
			t.Errorf("%s: got %d %s", query, status, text)
		}
	}
}

// Loads are as the water marks are, unknown is null, and there are no more points than was
// promised, of one lender and of all.
func TestTimelineLoads(t *testing.T) {
	f := newChronicle(t).after(t)
	l := &f.decision.Record.Snapshot.Lenders[0]
	l.Owned, l.UnitsPerPod, l.Load.Slots, l.LowWater, l.HighWater = 8, 2, 10, 0.3, 0.7
	f.loads = Loads{Requests: []float64{4, math.NaN(), 40}, Source: "Memory", Note: "something"}
	_, _, text := get(t, f, "/timeline?from="+ago(1)+"&points=3")
	for _, want := range []string{
		`"loads":[{"lender":"serving/chat","tenant":"serving","flavor":"h100","owned":8,"lowWater":0.3,"highWater":0.7,` +
			`"from":"2026-03-01T11:00:00Z","stepSeconds":1200,"utilization":[0.1,null,1],"source":"Memory","note":"something"}]`, `"spans":[]`, `"notes":[]`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("want %s in %s", want, text)
		}
	}
	f.loads = Loads{Requests: make([]float64, 5000)}
	for lenders, most := range map[int]int{1: 1000, 40: 500, 300: 66} {
		f.decision.Record.Snapshot.Lenders = nil
		for i := range lenders {
			one := *l
			one.Name = fmt.Sprintf("serving/s%03d", i)
			f.decision.Record.Snapshot.Lenders = append(f.decision.Record.Snapshot.Lenders, one)
		}
		for _, span := range []int{1, 24, 24 * 300} {
			_, body, _ := get(t, f, fmt.Sprintf("/timeline?from=%s", ago(span)))
			loads, _ := body["loads"].([]any)
			if len(loads) != lenders {
				t.Fatalf("%d lenders have %d loads", lenders, len(loads))
			}
			first, _ := loads[0].(map[string]any)
			values, _ := first["utilization"].([]any)
			step, _ := first["stepSeconds"].(float64)
			if len(values) > most || len(values) == 0 || step < 60 || math.Mod(step, 60) != 0 || step*float64(len(values)) < float64(span*3600)*0.98 {
				t.Errorf("%d lenders over %d hours: %d points of %v s", lenders, span, len(values), step)
			}
		}
	}
	f.decision.Record.Snapshot.Lenders = []lend.Lender{{Name: "serving/chat"}}
	if _, _, text := get(t, f, "/timeline"); !strings.Contains(text, `"utilization":[],"note":"no signal says`) {
		t.Errorf("without slots: %s", text)
	}
}

// What was gained is counted from when it is asked for, once, and goes on where it ended.
func TestGained(t *testing.T) {
	c := newChronicle(t)
	c.granted(t, hours(14), "a")
	c.granted(t, hours(10), "b")
	c.at(t, hours(8), entry(ledger.Released, "b"))
	f := c.after(t)
	handler := served(t, f, guard(people))
	of := func(who, query string) string {
		_, body, text := getAs(t, handler, who, "/gained"+query)
		if body["complete"] != true {
			t.Errorf("%s: not complete: %s", query, text)
		}
		return fmt.Sprint(body["lentGPUHours"], " ", body["loans"], " ", column(body, "flavors", "openUnits"))
	}
	// It is noon: loan a has 4 units since 22 o'clock the day before, loan b had them for two hours.
	for range 2 {
		for query, want := range map[string]string{"": "56 1 4", "?since=" + ago(20): "64 2 4", "?since=" + ago(9): "40 0 4", "?since=" + ago(0): "0 0 4"} {
			for _, who := range []string{"admin", "research", "serving"} {
				if got := of(who, query); got != want {
					t.Errorf("%s as %s: got %q, want %q", query, who, got, want)
				}
			}
			if got := of("stranger", query); got != "0 0 " {
				t.Errorf("%s as a stranger: %q", query, got)
			}
		}
	}
	c.at(t, 0, entry(ledger.Released, "a"))
	if got := of("admin", ""); got != "56 1 0" {
		t.Errorf("after the end of a: %q", got)
	}
	if _, _, text := getAs(t, handler, "admin", "/gained"); !strings.Contains(text, `"since":"2026-03-01T00:00:00Z","until":"2026-03-01T12:00:00Z"`) {
		t.Errorf("got %s", text)
	}
	for _, query := range []string{"?since=x", "?since=2027-01-01T00:00:00Z", "?since=2020-01-01T00:00:00Z"} {
		if status, _, _ := getAs(t, handler, "admin", "/gained"+query); status != http.StatusBadRequest {
			t.Errorf("%s: got %d", query, status)
		}
	}
}
