package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// next returns the next event, or ends the test.
func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line, open := <-lines:
		if !open {
			t.Fatal("the watch has ended")
		}
		return line
	case <-time.After(time.Minute):
		t.Fatal("no event came")
	}
	return ""
}

func ended(t *testing.T, lines <-chan string) {
	t.Helper()
	select {
	case line, open := <-lines:
		if open {
			t.Errorf("%q came, where the watch should have ended", line)
		}
	case <-time.After(time.Minute):
		t.Error("the watch goes on")
	}
}

// What happens while a watch is held comes later, and all of it.
func TestHeldWatch(t *testing.T) {
	const held = 300 * time.Millisecond
	b := newBench(t, 1, nil)
	lines := b.watch(t, "")
	b.events <- "one"
	if got := next(t, lines); got != "one" {
		t.Fatalf("got %q", got)
	}
	began := time.Now()
	b.set(t, Rule{Resources: []string{"pods"}, Share: 1, Fault: HoldWatch, For: held})
	b.events <- "two"
	b.events <- "three"
	if got := next(t, lines); got != "two" {
		t.Errorf("got %q, want two", got)
	}
	if after := time.Since(began); after < held {
		t.Errorf("an event came after %s, it was to be held for %s", after, held)
	}
	if got := next(t, lines); got != "three" {
		t.Errorf("got %q, want three", got)
	}
	if n := len(b.Log()); n != 1 {
		t.Errorf("struck: %v", b.Log())
	}
}

// A watch that is held when the rules go is held no more, and so is one that begins held.
func TestClearLetsHeldWatchesGo(t *testing.T) {
	b := newBench(t, 1, nil)
	open := b.watch(t, "")
	hold := Rule{Verbs: []string{"watch"}, Share: 1, Fault: HoldWatch, For: time.Hour}
	b.set(t, hold)
	b.events <- "one"
	b.Clear()
	if got := next(t, open); got != "one" {
		t.Errorf("got %q", got)
	}

	other := newBench(t, 1, nil)
	other.set(t, hold)
	begins := other.watch(t, "")
	other.events <- "one"
	other.Clear()
	if got := next(t, begins); got != "one" {
		t.Errorf("got %q", got)
	}
}

func TestCutWatch(t *testing.T) {
	for _, fault := range []Fault{CutWatch, Refuse} {
		b := newBench(t, 1, nil)
		lines := b.watch(t, "")
		b.events <- "one"
		next(t, lines)
		b.set(t, Rule{Verbs: []string{"watch"}, Share: 1, Fault: fault})
		ended(t, lines)
	}
	b := newBench(t, 1, nil)
	b.set(t, Rule{Verbs: []string{"watch"}, Nth: 1, Fault: CutWatch, For: 50 * time.Millisecond})
	ended(t, b.watch(t, "")) // one that begins is cut later
	b.unwatched(t)
	b.events <- "one"
	if got := next(t, b.watch(t, "")); got != "one" {
		t.Errorf("got %q", got)
	}
}

// A held watch that is cut has missed what it held.
func TestMissedEvents(t *testing.T) {
	b := newBench(t, 1, nil)
	lines := b.watch(t, "")
	b.set(t, Rule{Share: 1, Fault: HoldWatch, For: time.Hour})
	b.events <- "missed"
	b.set(t, Rule{Share: 1, Fault: HoldWatch, For: time.Hour}) // longer still
	b.set(t, Rule{Share: 1, Fault: CutWatch})
	ended(t, lines)
}

// Old lists and replayed watches are asked for as of the revision.
func TestOldRevisions(t *testing.T) {
	b := newBench(t, 1, nil)
	b.set(t, Rule{Share: 1, Fault: OldList, Revision: "42"})
	if code, _ := b.do(t, http.MethodGet, "/api/v1/pods?limit=500&resourceVersion=0", ""); code != http.StatusCreated {
		t.Errorf("the list was answered with %d", code)
	}
	if got := b.requests()[0]; !strings.Contains(got, "limit=500&resourceVersion=42&resourceVersionMatch=Exact") {
		t.Errorf("asked for %q", got)
	}
	if code, _ := b.do(t, http.MethodGet, "/api/v1/pods?limit=500", ""); code != http.StatusCreated || !strings.Contains(b.requests()[1], "GET /api/v1/pods?limit=500 ") {
		t.Errorf("a list that must be up to date was answered with %d, and asked for as %q", code, b.requests()[1])
	}
	if code, text := b.do(t, http.MethodGet, "/api/v1/pods?watch=true&sendInitialEvents=true", ""); code != http.StatusUnprocessableEntity {
		t.Errorf("a streamed list was answered with %d %s; the client must ask for an older kind", code, text)
	}
	if code, _ := b.do(t, http.MethodGet, "/api/v1/namespaces/a/pods/x", ""); code != http.StatusCreated {
		t.Errorf("a read of one object was answered with %d", code)
	}

	b.set(t, Rule{Share: 1, Fault: ReplayWatch, Revision: "41"})
	lines := b.watch(t, "&resourceVersion=50&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
	b.events <- "again"
	next(t, lines)
	asked := b.requests()
	if got := asked[len(asked)-1]; !strings.Contains(got, "/api/v1/pods?resourceVersion=41&watch=true") {
		t.Errorf("asked for %q", got)
	}
}
