package access

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"
)

// passTo sends requests to a server, as through a tunnel.
func passTo(server *httptest.Server) *Broker {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}
	who := &Identity{Config: &rest.Config{}, Nobody: true}
	return &Broker{base: "https://ebbtide-broker", tunneled: true, client: &http.Client{
		Transport: &late{make: func(ctx context.Context) (http.RoundTripper, error) { return who.transport(ctx, dial) }},
	}}
}

func ask(t *testing.T, b *Broker, ctx context.Context, url string) (status int, body string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := b.RoundTrip(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// One that leads no more is not asked again on the connection that there is; one that does is.
func TestWhoLeadsNoMoreIsLeft(t *testing.T) {
	var mu sync.Mutex
	connections := map[string]bool{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		connections[r.RemoteAddr] = true
		if len(connections) == 1 && r.URL.Path == "/queue" {
			http.Error(w, `{"error":"ask the leader"}`, http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, r.Host+r.URL.Path+"?"+r.URL.RawQuery)
	}))
	t.Cleanup(server.Close)
	b := passTo(server)
	for _, step := range []struct {
		path        string
		status      int
		connections int
	}{{"/ui/", 200, 1}, {"/ui/", 200, 1}, {"/queue", 503, 1}, {"/queue?from=1", 200, 2}, {"/queue?from=1", 200, 2}} {
		// Each request ends with its own context, and the connection does not.
		ctx, end := context.WithCancel(t.Context())
		status, body, err := ask(t, b, ctx, "https://127.0.0.1:1234"+step.path)
		end()
		if err != nil || status != step.status || len(connections) != step.connections {
			t.Fatalf("%s: status %d by connection %d, want %d by %d: %v", step.path, status, len(connections), step.status, step.connections, err)
		}
		if status == 200 && !strings.HasPrefix(body, "ebbtide-broker"+strings.SplitN(step.path, "?", 2)[0]+"?") {
			t.Errorf("%s: the broker was asked %s", step.path, body)
		}
	}
}

func TestWhatIsPassedFails(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	b := passTo(server)
	if err := b.HasPage(t.Context()); !errors.Is(err, ErrOlder) {
		t.Errorf("a broker without the page: %v", err)
	}
	server.Close()
	if _, _, err := ask(t, b, t.Context(), "https://x/"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
	gone, end := context.WithCancel(t.Context())
	end()
	if _, _, err := ask(t, b, gone, "https://x/"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("who asked has gone: %v", err)
	}
}

func TestOnlyTLSIsVerified(t *testing.T) {
	for at, want := range map[string]bool{"http://127.0.0.1:1": false, "https://127.0.0.1:1": true} {
		b, err := NewBrokerAt(at, &Identity{})
		if err != nil || b.Verified() != want {
			t.Errorf("%s: %t, %v", at, !want, err)
		}
	}
	if !NewBrokerInCluster(&Identity{}, nil).Verified() {
		t.Error("the broker in the cluster is not")
	}
}

// slow is a broker that takes its time before it begins with an answer, or after.
type slow struct{ before, after time.Duration }

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(s.before):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	body, write := io.Pipe()
	go func() {
		time.Sleep(s.after)
		_, _ = io.WriteString(write, "rows")
		write.CloseWithError(r.Context().Err())
	}()
	return &http.Response{StatusCode: http.StatusOK, Body: body}, nil
}

// One that is silent is not waited for; one that goes on and on with its answer is.
func TestSilence(t *testing.T) {
	for name, test := range map[string]struct {
		slow
		answers bool
	}{
		"slow":              {slow{before: silence - time.Second}, true},
		"silent":            {slow{before: silence + time.Second}, false},
		"a stream":          {slow{after: 10 * silence}, true},
		"a stream, at last": {slow{before: silence - time.Second, after: time.Hour}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &Broker{base: "https://ebbtide-broker", client: &http.Client{Transport: test.slow}}
			_, body, err := ask(t, b, t.Context(), "https://x/watch")
			if test.answers && (err != nil || body != "rows") {
				t.Errorf("%s: %q, %v", name, body, err)
			}
			if !test.answers && (!errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "no answer within")) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
