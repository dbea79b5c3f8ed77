package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
)

// serving is a dashboard that is being served.
type serving struct {
	address string
	// stop is Ctrl-C, and returns what it wrote.
	stop func() outcome
}

type outcome struct {
	stdout, stderr string
	code           int
}

func serveDashboard(t *testing.T, server http.Handler, in invocation) *serving {
	t.Helper()
	// Over TLS, as nobody shows a token without.
	secure := httptest.NewTLSServer(server)
	t.Cleanup(secure.Close)
	config := kubeconfig(t, "users: [{name: ann, user: {token: of-ann}}]\ncurrent-context: c\n"+
		"contexts: [{name: c, context: {user: ann, cluster: k}}]\nclusters: [{name: k, cluster: {insecure-skip-tls-verify: true, server: \""+secure.URL+"\"}}]\n")
	words := strings.Fields(in.args)
	ctx, cancel := context.WithCancel(context.Background())
	out, written := io.Pipe()
	var errOut bytes.Buffer
	codes := make(chan int, 1)
	go func() {
		defer written.Close()
		codes <- Run(ctx, Env{
			Streams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: written, ErrOut: &errOut},
			Clock:   clocktesting.NewFakePassiveClock(testNow),
			Getenv:  func(string) string { return "" },
		}, append([]string{words[0], "--kubeconfig=" + config}, words[1:]...))
	}()
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	s := &serving{address: strings.TrimSpace(first)}
	s.stop = sync.OnceValue(func() outcome {
		cancel()
		rest, err := io.ReadAll(lines)
		if err != nil {
			t.Error(err)
		}
		code := <-codes
		return outcome{first + string(rest), errOut.String(), code}
	})
	t.Cleanup(func() { s.stop() })
	if err != nil {
		end := s.stop()
		t.Fatalf("it wrote no address, and ended with %d: %s", end.code, end.stderr)
	}
	return s
}

// showing is a broker that remembers what it was shown of who asks for what.
type showing struct {
	http.Handler
	mu    sync.Mutex
	shown map[string]string
}

func (b *showing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.shown[r.URL.Path] = r.Header.Get("Authorization")
	b.mu.Unlock()
	b.Handler.ServeHTTP(w, r)
}

// open asks for a path of the dashboard, as the page does once somebody has signed in.
func (s *serving) open(t *testing.T, path, token string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.address, "/ui/")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// The page comes with its policy, questions are asked as who signed in there and never as who
// typed the command, and events come while the answer goes on.
func TestDashboard(t *testing.T) {
	l, _ := newLedger(t)
	broker := &showing{Handler: &fakeBroker{ledger: l, real: true}, shown: map[string]string{}}
	server := newFakeAPIServer(t, broker)
	in := invocation{args: "dashboard -n research"}
	s := serveDashboard(t, server, in)

	page := s.open(t, "/ui/", "")
	text, err := io.ReadAll(page.Body)
	if err != nil || page.StatusCode != http.StatusOK || !bytes.Contains(text, []byte("<html")) || !strings.HasPrefix(page.Header.Get("Content-Security-Policy"), "default-src 'self'") {
		t.Errorf("the page: %s %v %v", page.Status, page.Header, err)
	}
	if root := s.open(t, "/", ""); root.Header.Get("Location") != "/ui/" {
		t.Errorf("the root leads to %q", root.Header.Get("Location"))
	}
	if queue := s.open(t, "/queue", "pasted"); queue.StatusCode != http.StatusOK {
		t.Errorf("the queue: %s", queue.Status)
	}
	s.open(t, "/lenders", "")
	watch := bufio.NewReader(s.open(t, "/watch", "pasted").Body)
	for line := ""; !strings.HasPrefix(line, "data: "); {
		if line, err = watch.ReadString('\n'); err != nil {
			t.Fatalf("no event came: %v", err)
		}
	}

	end := s.stop() // though an answer goes on
	if _, err := io.Copy(io.Discard, watch); errors.Is(err, context.DeadlineExceeded) {
		t.Error("who watches is not cut off")
	}
	broker.mu.Lock()
	defer broker.mu.Unlock()
	for path, want := range map[string]string{"/ui/": "", "/queue": "Bearer pasted", "/lenders": "", "/watch": "Bearer pasted"} {
		if got, asked := broker.shown[path]; got != want || !asked {
			t.Errorf("%s: the broker was shown %q, want %q", path, got, want)
		}
	}
	end.stdout = strings.ReplaceAll(end.stdout, s.address, "http://127.0.0.1:PORT/ui/")
	golden(t, "dashboard", in, server.URL, end.stdout, end.stderr, end.code)
}

// A page that is open goes on with whoever leads next.
func TestDashboardFollowsTheLeader(t *testing.T) {
	l, _ := newLedger(t)
	var mu sync.Mutex
	var follower any
	server := newFakeAPIServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		at := r.Context().Value(http.LocalAddrContextKey) // each connection has a broker of its own
		if follower == nil {
			follower = at
		}
		silent := at == follower
		mu.Unlock()
		(&fakeBroker{ledger: l, real: true, silent: silent}).ServeHTTP(w, r)
	}))
	s := serveDashboard(t, server, invocation{args: "dashboard"})
	var got []int
	for range 2 {
		response := s.open(t, "/queue", "pasted")
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		got = append(got, response.StatusCode)
	}
	if fmt.Sprint(got) != "[503 200]" {
		t.Errorf("answers %v, want one of 503 and then one of 200", got)
	}
}

// Who leaves before the broker has answered has made no mistake.
func TestDashboardThatIsLeftAtOnce(t *testing.T) {
	left, leave := context.WithCancel(t.Context())
	leave()
	var out, errOut bytes.Buffer
	code := Run(left, Env{
		Streams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut},
		Clock:   clocktesting.NewFakePassiveClock(testNow),
		Getenv:  func(string) string { return "" },
	}, []string{"dashboard", "--server=" + newFakeAPIServer(t, nil).URL, "--kubeconfig=" + os.DevNull})
	if code != ExitOK || out.Len()+errOut.Len() > 0 {
		t.Errorf("it ended with %d: %s%s", code, out.String(), errOut.String())
	}
}

func TestDashboardRefuses(t *testing.T) {
	playAll(t, map[string]scene{
		"dashboard-offline":   {invocation: invocation{args: "dashboard"}, brokerGone: true},
		"dashboard-forbidden": {invocation: invocation{args: "dashboard"}, forbidden: []string{"portforward"}},
		"dashboard-older":     {invocation: invocation{args: "dashboard"}, older: true},
		"dashboard-account":   {invocation: invocation{args: "dashboard --broker-account research/finance"}},
		"dashboard-plain":     {invocation: invocation{args: "dashboard --broker http://127.0.0.1:1"}},
		"dashboard-bad-port":  {invocation: invocation{args: "dashboard --port 65536"}},
	})
}
