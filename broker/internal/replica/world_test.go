package replica

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// leader is a ledger that is served.
type leader struct {
	*segments.Set
	server *Server
	path   string
	n      int
	epoch  int64
}

func newLeader(t *testing.T) *leader {
	t.Helper()
	return leaderAt(t, filepath.Join(t.TempDir(), "ledger.db"), 1)
}

func leaderAt(t *testing.T, path string, epoch int64) *leader {
	t.Helper()
	book, err := segments.Open(path, segments.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	l := &leader{Set: book, server: NewServer(time.Minute), path: path, epoch: epoch}
	l.write(t, ledger.Entry{Kind: ledger.EpochStart, OpID: fmt.Sprintf("epoch-%d", epoch)})
	l.server.poll = 5 * time.Millisecond
	l.server.Lead(book)
	return l
}

func (l *leader) write(t tester, e ledger.Entry) ledger.Entry {
	t.Helper()
	e.Epoch = l.epoch
	out, err := l.Append(e)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return out
}

// lend appends loans, each of two entries.
func (l *leader) lend(t tester, loans int) {
	t.Helper()
	for range loans {
		l.n++
		name := fmt.Sprintf("research/e%d-loan-%d", l.epoch, l.n)
		l.write(t, ledger.Entry{
			Kind: ledger.LendIntent, OpID: name, Loan: name, Job: "research/tune", JobUID: name, Borrower: "research",
			Grants: []ledger.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 8}},
		})
		l.write(t, ledger.Entry{Kind: ledger.LendGranted, OpID: name, Loan: name})
	}
}

func (l *leader) head() published.Head {
	h, err := published.HeadOf(l)
	if err != nil {
		panic(err)
	}
	return h
}

// fault says what becomes of one request.
type fault int

const (
	none      fault = iota
	lost            // the request does not arrive
	unheard         // the answer does not arrive
	twice           // the request arrives twice
	cut             // the answer ends in its midst
	again           // an earlier ack arrives once more, after this request
	faultKind       // how many there are
)

// wire is a way to the leader on which next says what goes wrong.
type wire struct {
	to   func() http.Handler
	next func() fault
	// forge, if set, changes acks.
	forge func(*Ack)

	mu  sync.Mutex
	old []*http.Request
	ack [][]byte
}

var errCut = errors.New("the connection was cut")

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	if w.forge != nil && r.Method == http.MethodPost {
		var a Ack
		_ = json.Unmarshal(body, &a)
		w.forge(&a)
		body, _ = json.Marshal(a)
	}
	do := func(r *http.Request, body []byte) *httptest.ResponseRecorder {
		out := httptest.NewRecorder()
		c := r.Clone(r.Context())
		c.Body = io.NopCloser(bytes.NewReader(body))
		w.to().ServeHTTP(out, c)
		return out
	}
	w.mu.Lock()
	what := w.next()
	if r.Method == http.MethodPost {
		w.old, w.ack = append(w.old, r), append(w.ack, body)
	}
	w.mu.Unlock()
	if what == lost {
		return nil, errCut
	}
	if what == twice {
		do(r, body)
	}
	out := do(r, body)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	if what == again {
		w.mu.Lock()
		if n := len(w.old); n > 1 {
			do(w.old[n-2], w.ack[n-2])
		}
		w.mu.Unlock()
	}
	response := out.Result()
	switch {
	case what == unheard:
		return nil, errCut
	case what == cut && out.Body.Len() > 1:
		whole := out.Body.Bytes()
		response.Body = io.NopCloser(io.MultiReader(bytes.NewReader(whole[:len(whole)*2/3]), failing{}))
	}
	return response, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// follower follows whoever the wire leads to.
func newFollower(files Files, w *wire, head func() published.Head) *Follower {
	return &Follower{
		Name: "follower", Files: files, Retry: time.Millisecond,
		Leader:    func(context.Context) (Peer, error) { return Peer{Name: "leader", URL: "http://leader"}, nil },
		Client:    func(Peer) (*http.Client, error) { return &http.Client{Transport: w}, nil },
		Published: func(context.Context) (published.Head, error) { return head(), nil },
	}
}

// straight is a wire on which nothing goes wrong.
func straight(l *leader) *wire {
	return &wire{to: func() http.Handler { return l.server.Handler() }, next: func() fault { return none }}
}

// run follows until a condition holds, and then stops as if killed: nothing is told to the
// leader any more.
func run(t tester, f *Follower, until func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	deadline := time.Now().Add(time.Minute)
	for !until() {
		if time.Now().After(deadline) {
			cancel()
			<-ended
			t.Fatalf("it did not come to it: %+v", f.Status())
		}
		time.Sleep(200 * time.Microsecond) // a condition of another goroutine
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatalf("run: %v", err)
	}
}

// catchUp follows until the leader has heard of its last entry.
func catchUp(t tester, f *Follower, l *leader) {
	t.Helper()
	run(t, f, func() bool { seq, _ := l.Head(); return l.server.Durable() == seq })
}

// records are all that a file has.
func records(t tester, path string) [][]byte {
	t.Helper()
	book, err := segments.Open(path, segments.Options{})
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	defer func() { _ = book.Close() }()
	return all(t, book)
}

func all(t tester, book *segments.Set) [][]byte {
	t.Helper()
	var all [][]byte
	for {
		page, err := book.Raw(uint64(len(all))+1, 0)
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
	}
}

// isBeginning compares a file with the leader's ledger.
func isBeginning(t tester, path string, l *leader) int {
	t.Helper()
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return 0
	}
	mine := records(t, path)
	theirs := all(t, l.Set)
	if len(mine) > len(theirs) {
		t.Fatalf("the copy has %d records, the leader %d", len(mine), len(theirs))
	}
	for i := range mine {
		if !bytes.Equal(mine[i], theirs[i]) {
			t.Fatalf("record %d differs", i+1)
		}
	}
	return len(mine)
}
