package replica

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// TestWait: a leader without a follower does not lend; with one it waits for it; when the
// follower is away it waits once, and not again until the follower has caught up.
func TestWait(t *testing.T) {
	l := newLeader(t)
	l.server.timeout = time.Hour
	seq := func() uint64 { seq, _ := l.Head(); return seq }
	if err := l.server.MayLend(); !errors.Is(err, ErrNotAcked) {
		t.Errorf("nobody follows, and MayLend says %v", err)
	}
	if err := l.server.Wait(t.Context(), seq()); !errors.Is(err, ErrNotAcked) { // at once: it would be an hour
		t.Errorf("nobody follows: Wait %v", err)
	}

	files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	f := newFollower(files, straight(l), l.head)
	go func() { ended <- f.Run(ctx) }()
	for l.server.MayLend() != nil {
		time.Sleep(time.Millisecond) // the follower begins on its own goroutine
	}
	for range 20 {
		l.lend(t, 1)
		if err := l.server.Wait(t.Context(), seq()); err != nil {
			t.Fatal(err)
		}
		if l.server.Durable() != seq() || l.server.MayLend() != nil {
			t.Fatalf("durable are %d of %d, MayLend %v", l.server.Durable(), seq(), l.server.MayLend())
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if have := isBeginning(t, files.Copy, l); uint64(have) != seq() {
		t.Errorf("the follower has %d of %d", have, seq())
	}

	l.server.timeout = 200 * time.Millisecond
	l.lend(t, 1)
	began := time.Now()
	if err := l.server.Wait(t.Context(), seq()); !errors.Is(err, ErrNotAcked) || time.Since(began) < 200*time.Millisecond {
		t.Errorf("the follower is away: Wait %v after %s", err, time.Since(began))
	}
	l.server.timeout = time.Hour
	if err := errors.Join(l.server.MayLend(), l.server.Wait(t.Context(), seq())); !errors.Is(err, ErrNotAcked) {
		t.Errorf("and the second time: %v", err)
	}
	catchUp(t, newFollower(files, straight(l), l.head), l)
	if err := errors.Join(l.server.MayLend(), l.server.Wait(t.Context(), seq())); err != nil {
		t.Errorf("the follower is back: %v", err)
	}

	l.server.mu.Lock()
	for name, h := range l.server.acks {
		h.at = h.at.Add(-silence - time.Second)
		l.server.acks[name] = h
	}
	l.server.mu.Unlock()
	if n := l.server.Durable(); n != 0 {
		t.Errorf("nobody is heard of any more, and %d entries are durable", n)
	}
}

// TestAnswers: what is asked wrongly, or by whom does not fit, is refused.
func TestAnswers(t *testing.T) {
	l := newLeader(t)
	l.lend(t, 2)
	seq, hash := l.Head()
	id, _ := l.ID()
	ask := func(method, target, body string) *httptest.ResponseRecorder {
		out := httptest.NewRecorder()
		l.server.Handler().ServeHTTP(out, httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body)))
		return out
	}
	ticket := ask("GET", "/replica/records?from=0&follower=b", "").Header().Get(headerTicket)
	ack := func(change func(*Ack)) string {
		a := Ack{Follower: "b", Ticket: ticket, Ledger: id, Seq: seq, Hash: hash}
		change(&a)
		data, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, test := range map[string]struct {
		method, target, body string
		want                 int
	}{
		"no number":               {"GET", "/replica/records?from=x", "", http.StatusBadRequest},
		"no last number":          {"GET", "/replica/records?from=1&last=-1", "", http.StatusBadRequest},
		"more than there is":      {"GET", "/replica/records?from=9&last=8&after=" + hash.String(), "", http.StatusConflict},
		"another past":            {"GET", "/replica/records?from=5&last=4&after=" + hash.String(), "", http.StatusConflict},
		"the rest":                {"GET", "/replica/records?from=6&last=5&after=" + hash.String(), "", http.StatusOK},
		"another method":          {"DELETE", "/replica/records?from=1", "", http.StatusMethodNotAllowed},
		"another path":            {"GET", "/replica/", "", http.StatusNotFound},
		"an ack of nothing":       {"POST", PathAck, "{}", http.StatusConflict},
		"an ack that is no JSON":  {"POST", PathAck, "seq 4", http.StatusBadRequest},
		"an ack that is too long": {"POST", PathAck, `{"follower":"` + strings.Repeat("x", mostBody) + `"}`, http.StatusBadRequest},
		"of another ledger":       {"POST", PathAck, ack(func(a *Ack) { a.Ledger = "z" }), http.StatusConflict},
		"of more than there is":   {"POST", PathAck, ack(func(a *Ack) { a.Seq++ }), http.StatusConflict},
		"of another entry":        {"POST", PathAck, ack(func(a *Ack) { a.Seq-- }), http.StatusConflict},
		"with another's ticket":   {"POST", PathAck, ack(func(a *Ack) { a.Follower = "c" }), http.StatusGone},
		"without a ticket":        {"POST", PathAck, ack(func(a *Ack) { a.Ticket = "" }), http.StatusGone},
	} {
		if got := ask(test.method, test.target, test.body); got.Code != test.want {
			t.Errorf("%s: %d %s, want %d", name, got.Code, got.Body, test.want)
		}
		if n := l.server.Durable(); n != 0 {
			t.Fatalf("%s: %d entries are durable", name, n)
		}
	}
	if got := ask("POST", PathAck, ack(func(*Ack) {})); got.Code != http.StatusNoContent || l.server.Durable() != seq {
		t.Errorf("an ack: %d %s", got.Code, got.Body)
	}
	ask("GET", "/replica/records?from=0&follower=b", "")
	if got := ask("POST", PathAck, ack(func(*Ack) {})); got.Code != http.StatusGone {
		t.Errorf("with the ticket of before: %d %s", got.Code, got.Body)
	}
	l.server.Lead(nil)
	for _, target := range []string{"/replica/records?from=1", PathAck} {
		method := map[bool]string{true: "POST", false: "GET"}[target == PathAck]
		if got := ask(method, target, ack(func(*Ack) {})); got.Code != http.StatusServiceUnavailable {
			t.Errorf("who does not lead answers %d", got.Code)
		}
	}
}

// TestMonths: a follower's files are those of the leader, month by month, and become a
// ledger of as many files; and one that comes late to a ledger whose first months are gone
// begins with what there is.
func TestMonths(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC))
	path := filepath.Join(t.TempDir(), "ledger.db")
	opts := segments.Options{Options: ledger.Options{Clock: clock}}
	book, err := segments.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	l := &leader{Set: book, server: NewServer(time.Second), path: path, epoch: 1}
	l.server.poll = 5 * time.Millisecond
	l.write(t, ledger.Entry{Kind: ledger.EpochStart, OpID: "epoch-1"})
	l.server.Lead(book)
	files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
	for month := range 3 {
		l.lend(t, 3)
		if month == 1 { // the second month comes to the follower whole, with the third's beginning
			clock.SetTime(clock.Now().AddDate(0, 1, 0))
			continue
		}
		catchUp(t, newFollower(files, straight(l), l.head), l)
		clock.SetTime(clock.Now().AddDate(0, 1, 0))
	}
	names, err := segments.Files(files.Copy)
	if err != nil || len(names) != 3 {
		t.Fatalf("files %v, %v", names, err)
	}
	isBeginning(t, files.Copy, l)
	if promoted, err := files.Promote(l.head(), segments.Options{}); err != nil || !promoted {
		t.Fatalf("Promote: %t, %v", promoted, err)
	}
	if names, err = segments.Files(files.Own); err != nil || len(names) != 3 {
		t.Fatalf("files %v, %v", names, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(files.Own), "replica*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	if n := isBeginning(t, files.Own, l); n < 19 {
		t.Errorf("the ledger has %d entries", n)
	}

	// As a follower again it goes on with all of them.
	l.lend(t, 1)
	catchUp(t, newFollower(files, straight(l), l.head), l)
	if left, _ := filepath.Glob(files.Own + "*"); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	isBeginning(t, files.Copy, l)
}

// TestPrivate: the peer is asked only where it shows the certificate that it said, and gets
// the token there.
func TestPrivate(t *testing.T) {
	l := newLeader(t)
	l.lend(t, 2)
	var tokens atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer sesame" {
			tokens.Add(1)
		}
		l.server.Handler().ServeHTTP(w, r)
	}))
	certificate, print, err := NewCertificate("leader")
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = ServerTLS(certificate)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, other, err := NewCertificate("leader")
	if err != nil {
		t.Fatal(err)
	}
	config := restConfig("sesame")
	for _, shown := range []Fingerprint{other, print} {
		f := newFollower(FilesOf(filepath.Join(t.TempDir(), "ledger.db")), nil, l.head)
		f.Leader = func(context.Context) (Peer, error) {
			return Peer{Name: "leader", URL: server.URL, Certificate: shown}, nil
		}
		f.Client = func(p Peer) (*http.Client, error) { return NewClient(config, p) }
		if shown == print {
			catchUp(t, f, l)
			continue
		}
		run(t, f, func() bool {
			err := f.Status().Err
			return err != nil && strings.Contains(err.Error(), "another certificate")
		})
		if n := tokens.Load(); n != 0 {
			t.Errorf("a stranger got %d tokens", n)
		}
	}
	if tokens.Load() == 0 {
		t.Error("the leader got no token")
	}
}
