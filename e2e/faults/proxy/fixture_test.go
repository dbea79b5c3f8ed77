package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/e2e/lab/pki"
)

// upstream is an API server that writes down what it is asked for, and answers with it.
type upstream struct {
	server *httptest.Server
	// events are written to whoever watches.
	events chan string

	mu      sync.Mutex
	asked   []string
	watched int // how many watches are open
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.asked = append(u.asked, r.Method+" "+r.URL.RequestURI()+" "+string(body))
	u.mu.Unlock()
	w.Header().Set("X-Upstream", r.Header.Get("Authorization"))
	if r.URL.Query().Get("watch") == "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","resourceVersion":"7"}}`)
		return
	}
	u.watches(1)
	defer u.watches(-1)
	flusher := w.(http.Flusher)
	flusher.Flush()
	for {
		select {
		case e := <-u.events:
			fmt.Fprintln(w, e)
			flusher.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (u *upstream) watches(more int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.watched += more
}

// unwatched waits until nobody watches any more: a watch that was cut may take an event
// until the API server, too, knows of its end.
func (u *upstream) unwatched(t *testing.T) {
	t.Helper()
	labtest.Eventually(t, time.Minute, func(context.Context) (bool, string) {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.watched == 0, fmt.Sprintf("%d watches are open", u.watched)
	})
}

func (u *upstream) requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.asked...)
}

// bench is a proxy before an upstream, and the program's way to it.
type bench struct {
	*Rig
	*upstream
	url    string
	pool   *x509.CertPool
	client *http.Client
	api    kubernetes.Interface
}

func newBench(t *testing.T, seed uint64, log io.Writer) *bench {
	t.Helper()
	authority, err := pki.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	pair := func() tls.Certificate {
		issued, err := authority.Server("test")
		if err != nil {
			t.Fatal(err)
		}
		read, err := tls.X509KeyPair(issued.CertPEM, issued.KeyPEM)
		if err != nil {
			t.Fatal(err)
		}
		return read
	}
	u := &upstream{events: make(chan string, 10)}
	u.server = httptest.NewUnstartedServer(u)
	u.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair()}}
	u.server.StartTLS()
	t.Cleanup(u.server.Close)

	b := &bench{Rig: NewRig(seed, log), upstream: u, pool: x509.NewCertPool()}
	b.pool.AppendCertsFromPEM(authority.CertPEM)
	if b.url, err = b.Serve("broker", "127.0.0.1:0", u.server.URL, authority.CertPEM, pair()); err != nil {
		t.Fatal(err)
	}
	b.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.pool}, ForceAttemptHTTP2: true}}
	t.Cleanup(func() {
		b.client.CloseIdleConnections()
		u.server.CloseClientConnections() // ends watches
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	b.api, err = kubernetes.NewForConfig(&rest.Config{
		Host: b.url, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: authority.CertPEM},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) set(t *testing.T, rules ...Rule) {
	t.Helper()
	if err := b.Set(rules...); err != nil {
		t.Fatal(err)
	}
}

// do returns the code of an answer, 0 if there is none, and its body.
func (b *bench) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer of-the-program")
	answer, err := b.client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

// watch opens a watch on pods. Its lines come out of the channel, which is closed when it
// ends.
func (b *bench) watch(t *testing.T, query string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/api/v1/pods?watch=true"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		defer answer.Body.Close()
		for s := bufio.NewScanner(answer.Body); s.Scan(); {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}
