package web

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// live is a source whose decision is replaced.
type live struct {
	*fixture
	mu       sync.Mutex
	decision *Decision
	changed  chan struct{}
}

func newLive(f *fixture) *live {
	return &live{fixture: f, decision: f.decision, changed: make(chan struct{})}
}

func (l *live) Decision() *Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.decision
}

func (l *live) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// decide makes the next decision: a copy of the one before with a change, some seconds later.
// Without a change it is the end of all decisions here.
func (l *live) decide(change func(*lend.Record)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if change == nil {
		l.decision = nil
	} else {
		next := *l.decision
		in, plan := &next.Record.Snapshot, &next.Record.Plan
		in.Loans, in.Lenders, in.Jobs, plan.Verdicts = slices.Clone(in.Loans), slices.Clone(in.Lenders), slices.Clone(in.Jobs), slices.Clone(plan.Verdicts)
		in.Now = in.Now.Add(5 * time.Second)
		change(&next.Record)
		l.decision = &next
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// deadline is for requests that end soon; a busy machine does not use it up.
const deadline = 3 * time.Second

// stream is the API over a real listener, whose deadlines are much shorter than the broker's.
type stream struct {
	*httptest.Server
	api *server
}

func listen(t *testing.T, source Source, may map[string]func(authorizer.Attributes) bool, change func(*pulse)) *stream {
	t.Helper()
	api := newServer(source)
	api.pulse.heartbeat = 50 * time.Millisecond
	if change != nil {
		change(&api.pulse)
	}
	handler, err := guard(may).Handler(api.routes(http.NotFoundHandler()))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ReadTimeout, server.Config.WriteTimeout = deadline, deadline
	server.Start()
	t.Cleanup(server.Close)
	return &stream{server, api}
}

// watcher reads one stream.
type watcher struct {
	response *http.Response
	lines    *bufio.Scanner
	cancel   context.CancelFunc
}

func (s *stream) watch(t *testing.T, who string) *watcher {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+who)
	response, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{response, bufio.NewScanner(response.Body), cancel}
	t.Cleanup(w.close)
	return w
}

func (w *watcher) close() {
	w.cancel()
	_ = w.response.Body.Close() // it may be closed
}

// next is the next line that begins so; empty when the stream has ended.
func (w *watcher) next(prefix string) string {
	for w.lines.Scan() {
		if line := w.lines.Text(); strings.HasPrefix(line, prefix) {
			return strings.TrimPrefix(line, prefix)
		}
	}
	return ""
}

const all = `"changed":["lenders","queue","loans","ledger"]}`

// Each hears at once, and then of decisions that change what he sees, and of no others. A beat
// keeps the connection, beyond the deadlines of other requests.
func TestWatchersSeeTheirOwn(t *testing.T) {
	f := town(t)
	source := newLive(f)
	s := listen(t, source, people, nil)
	watchers := map[string]*watcher{}
	for _, who := range []string{"research", "vision", "serving", "reader", "stranger"} {
		w := s.watch(t, who)
		watchers[who] = w
		if got := w.response.Header.Get("Content-Type"); w.response.StatusCode != http.StatusOK || got != "text/event-stream" {
			t.Fatalf("%s: %d %s", who, w.response.StatusCode, got)
		}
		if retry := w.next("retry: "); retry != "2000" {
			t.Errorf("%s: retry %q", who, retry)
		}
		if first := w.next("data: "); first != `{"decidedAt":"2026-03-01T12:00:00Z",`+all {
			t.Errorf("%s hears at first %q", who, first)
		}
	}
	for began := time.Now(); time.Since(began) <= deadline; { // of all that they asked
		watchers["reader"].next(":")
	}
	loan := func(r *lend.Record, name string) *lend.Loan {
		return &r.Snapshot.Loans[slices.IndexFunc(r.Snapshot.Loans, func(l lend.Loan) bool { return l.Name == name })]
	}
	book, _ := f.ledger.(*ledger.Ledger)
	for i, step := range []struct {
		what   string
		change func(*lend.Record)
		want   map[string]string
	}{
		{"a loan of vision's from serving", func(r *lend.Record) { loan(r, "vision/x-1").Reclaiming = true },
			map[string]string{"vision": `"loans"`, "serving": `"loans"`, "reader": `"loans"`}},
		{"a job of research's", func(r *lend.Record) { r.Snapshot.Jobs[0].Pods++ }, map[string]string{"research": `"queue"`, "reader": `"queue"`}},
		{"a lender", func(r *lend.Record) { r.Snapshot.Lenders[0].Desired++ }, map[string]string{"serving": `"lenders"`, "reader": `"lenders"`}},
		{"an entry about research", func(*lend.Record) {
			if _, err := book.Append(ledger.Entry{Kind: ledger.LendGranted, OpID: "research/both", Epoch: 1, Loan: "research/both"}); err != nil {
				t.Error(err)
			}
		}, map[string]string{"research": `"ledger"`, "vision": `"ledger"`, "serving": `"ledger"`, "reader": `"ledger"`}},
		{"a verdict on all", func(r *lend.Record) {
			for i := range r.Plan.Verdicts {
				r.Plan.Verdicts[i].Message += "!"
			}
		}, map[string]string{"research": `"queue","loans"`, "vision": `"queue","loans"`, "serving": `"lenders","loans"`, "reader": `"lenders","queue","loans"`}},
	} {
		source.decide(step.change)
		at := now.Add(time.Duration(i+1) * 5 * time.Second).Format(time.RFC3339)
		for who, want := range step.want {
			if got := watchers[who].next("data: "); got != fmt.Sprintf(`{"decidedAt":%q,"changed":[%s]}`, at, want) {
				t.Errorf("%s: %s hears %s, want %s", step.what, who, got, want)
			}
		}
	}
	source.decide(nil)
	for who, w := range watchers {
		if got := w.next("data: "); got != "" {
			t.Errorf("%s hears of what he does not see, or after the end: %s", who, got)
		}
	}
}

// Watching ends with the rights of who watches: he is asked for again and again.
func TestWatchingEndsWithRights(t *testing.T) {
	var mu sync.Mutex
	known, may := true, map[string]bool{"research": true, "vision": true}
	person := func(a authorizer.Attributes) bool {
		mu.Lock()
		defer mu.Unlock()
		return may[a.GetNamespace()]
	}
	source := newLive(town(t))
	api := newServer(source)
	api.pulse = pulse{watched: time.Minute, heartbeat: 20 * time.Millisecond, again: 20 * time.Millisecond}
	g := guard(map[string]func(authorizer.Attributes) bool{"ann": person})
	knows := g.Authenticator
	g.Authenticator = authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if !known {
			return nil, false, nil
		}
		return knows.AuthenticateRequest(r)
	})
	handler, err := g.Handler(api.routes(http.NotFoundHandler()))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	w := (&stream{server, api}).watch(t, "ann")
	w.next("data: ")
	set := func(change func()) {
		mu.Lock()
		defer mu.Unlock()
		change()
	}
	set(func() { delete(may, "vision") })
	if got := w.next("data: "); got != `{"decidedAt":"2026-03-01T12:00:00Z","changed":["queue","loans"]}` {
		t.Errorf("when he loses a right he hears %s", got)
	}
	source.decide(func(r *lend.Record) {
		for i := range r.Snapshot.Loans {
			r.Snapshot.Loans[i].Quarantined = r.Snapshot.Loans[i].Name == "vision/x-1"
		}
	})
	source.decide(func(r *lend.Record) { r.Snapshot.Jobs[0].Pods++ })
	if got := w.next("data: "); !strings.HasSuffix(got, `:10Z","changed":["queue"]}`) {
		t.Errorf("without a right to vision he hears %s", got)
	}
	set(func() { known = false })
	if got := w.next("data: "); got != "" {
		t.Errorf("nobody hears %s", got)
	}
}

// No more than so many watch, of all and of one; who leaves makes room.
func TestWatchersAreBounded(t *testing.T) {
	source := newLive(town(t))
	everybody := map[string]func(authorizer.Attributes) bool{}
	for i := range 14 {
		everybody[fmt.Sprint("u", i)] = everything
	}
	s := listen(t, source, everybody, nil)
	var open []*watcher
	for i := range mostWatchers {
		w := s.watch(t, fmt.Sprint("u", i/mostOfOne))
		if w.response.StatusCode != http.StatusOK {
			t.Fatalf("watcher %d: %d", i, w.response.StatusCode)
		}
		open = append(open, w)
	}
	for _, who := range []string{"u0", "u13"} {
		if w := s.watch(t, who); w.response.StatusCode != http.StatusTooManyRequests || w.response.Header.Get("Retry-After") == "" {
			t.Errorf("one too many, %s: %d", who, w.response.StatusCode)
		}
	}
	open[0].close()
	patience := time.Now().Add(time.Minute)
	for s.watch(t, "u13").response.StatusCode != http.StatusOK {
		if time.Now().After(patience) {
			t.Fatal("who left made no room")
		}
		time.Sleep(10 * time.Millisecond) // between two tries
	}
	source.decide(nil)
	for _, w := range open[1:] {
		if w.next("data: ") == "" {
			t.Fatal("a watcher heard nothing")
		}
	}
	for i := 0; ; i++ { // all are gone, and counted as gone
		left, callers := s.api.watchers.Taken()
		of := len(callers)
		if left == 0 && of == 0 {
			break
		}
		if time.Now().After(patience) {
			t.Fatalf("%d watch still, of %d", left, of)
		}
		time.Sleep(10 * time.Millisecond) // between two tries
	}
}

// Watching ends after a time, so that who watches is seen anew.
func TestWatchingEnds(t *testing.T) {
	s := listen(t, newLive(town(t)), people, func(p *pulse) { p.watched = 100 * time.Millisecond })
	w := s.watch(t, "reader")
	w.next("data: ")
	if got := w.next("data: "); got != "" {
		t.Errorf("heard %s", got)
	}
}
