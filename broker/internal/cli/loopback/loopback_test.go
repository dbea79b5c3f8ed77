package loopback

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// answers is a broker.
type answers func(*http.Request) (*http.Response, error)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

func answer(status int, body io.ReadCloser, header http.Header) *http.Response {
	return &http.Response{StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Body: body, ContentLength: -1}
}

func text(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

// serve runs a Server until the test ends, and returns where. said has what it said.
func serve(t *testing.T, broker http.RoundTripper) (at *url.URL, said func() []string) {
	t.Helper()
	var mu sync.Mutex
	var lines []string
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	s := &Server{Broker: broker, Say: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, fmt.Sprintf(format, args...))
	}}
	go func() { ended <- s.Run(ctx, func(address string) { ready <- address }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	select {
	case address := <-ready:
		at, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return at, func() []string { mu.Lock(); defer mu.Unlock(); return lines }
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return nil, nil
}

// get asks, and changes the request before.
func get(t *testing.T, at *url.URL, change func(*http.Request)) (status int, header http.Header, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(request)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(all)
}

// Nothing that another site has a browser ask gets to the broker.
func TestWhoIsRefused(t *testing.T) {
	asked := false
	at, _ := serve(t, answers(func(*http.Request) (*http.Response, error) {
		asked = true
		return answer(http.StatusOK, text("rows"), nil), nil
	}))
	port := at.Port()
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	method := func(name string) func(*http.Request) { return func(r *http.Request) { r.Method = name } }
	for name, test := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"the address bar":            {header("Sec-Fetch-Site", "none"), 200},
		"the page":                   {header("Sec-Fetch-Site", "same-origin"), 200},
		"the page, with its origin":  {header("Origin", "http://127.0.0.1:"+port), 200},
		"by the name localhost":      {func(r *http.Request) { r.Host = "LocalHost:" + port; r.Header.Set("Origin", "http://localhost:"+port) }, 200},
		"another program":            {nil, 200},
		"only the head":              {method("HEAD"), 200},
		"a name bound to 127.0.0.1":  {host("evil.example:" + port), 403},
		"without the port":           {host("127.0.0.1"), 403},
		"another port":               {host("127.0.0.1:1"), 403},
		"another loopback address":   {host("127.0.0.2:" + port), 403},
		"IPv6":                       {host("[::1]:" + port), 403},
		"a name that ends like ours": {host("evil.localhost:" + port), 403},
		"another site":               {header("Sec-Fetch-Site", "cross-site"), 403},
		"another port's page":        {header("Sec-Fetch-Site", "same-site"), 403},
		"another word":               {header("Sec-Fetch-Site", ""), 403},
		"a second word":              {header("Sec-Fetch-Site", "none", "cross-site"), 403},
		"another origin":             {header("Origin", "http://evil.example"), 403},
		"another port's origin":      {header("Origin", "http://127.0.0.1:1"), 403},
		"another name's origin":      {header("Origin", "http://localhost:"+port), 403},
		"another scheme's origin":    {header("Origin", "https://127.0.0.1:"+port), 403},
		"an origin that is hidden":   {header("Origin", "null"), 403},
		"a second origin":            {header("Origin", "http://127.0.0.1:"+port, "http://evil.example"), 403},
		"a change":                   {method("POST"), 405},
		"a preflight":                {method("OPTIONS"), 405},
	} {
		asked = false
		status, got, body := get(t, at, test.change)
		if status != test.want || asked != (test.want == 200) {
			t.Errorf("%s: status %d and the broker asked %t, want %d", name, status, asked, test.want)
		}
		if test.want != 200 && (!strings.HasPrefix(body, `{"error":`) || got.Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%s: refused by %v %s", name, got, body)
		}
		if got.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: another origin may read it", name)
		}
	}
}

// The port that browsers leave out is none of ours elsewhere.
func TestUsualPort(t *testing.T) {
	if got := portOf("localhost", "80") + " " + portOf("localhost", "8080"); got != "localhost localhost:8080" {
		t.Error(got)
	}
}

// It is for this machine: nobody else's packets get there.
func TestListensHereOnly(t *testing.T) {
	at, _ := serve(t, answers(func(*http.Request) (*http.Response, error) { return answer(200, text(""), nil), nil }))
	if at.Hostname() != "127.0.0.1" || at.Path != "/ui/" {
		t.Errorf("it is at %s", at)
	}
	// Who listens everywhere, or at all loopback addresses, has the port of this one too.
	other, err := net.Listen("tcp4", "127.0.0.2:"+at.Port())
	if err != nil {
		t.Fatalf("it listens on more than 127.0.0.1: %v", err)
	}
	other.Close()
	port, err := strconv.ParseUint(at.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	again := &Server{Port: uint16(port)}
	if err := again.Run(t.Context(), func(string) { t.Error("it is served twice") }); err == nil || !strings.Contains(err.Error(), at.Port()) {
		t.Errorf("a port that is taken: %v", err)
	}
}

// The broker gets the question and who asks, and the browser the answer with its policy; of what
// else a browser sends, nothing.
func TestWhatIsPassed(t *testing.T) {
	var got *http.Request
	at, _ := serve(t, answers(func(r *http.Request) (*http.Response, error) {
		got = r
		return answer(http.StatusTeapot, text("packed"), http.Header{"Content-Security-Policy": {"default-src 'self'"}, "Content-Encoding": {"gzip"}, "Etag": {`"a"`}}), nil
	}))
	status, header, body := get(t, at.JoinPath("../timeline"), func(r *http.Request) {
		r.URL.RawQuery = "from=1&tenant=a%2Fb"
		for _, name := range []string{"Accept", "Accept-Encoding", "Authorization", "If-None-Match"} {
			r.Header.Set(name, "its "+name)
		}
		r.Header.Set("Cookie", "session=of another port")
		r.Header.Set("Impersonate-User", "root")
		r.Header.Set("X-Forwarded-For", "10.0.0.1")
		r.Header.Set("X-Remote-User", "root")
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
	})
	if status != http.StatusTeapot || body != "packed" || header.Get("Content-Security-Policy") != "default-src 'self'" || header.Get("Content-Encoding") != "gzip" || header.Get("Etag") != `"a"` {
		t.Errorf("the browser got %d %v %q", status, header, body)
	}
	want := http.Header{
		"Accept": {"its Accept"}, "Accept-Encoding": {"its Accept-Encoding"}, "Authorization": {"its Authorization"},
		"If-None-Match": {"its If-None-Match"}, "User-Agent": {"kubectl-ebbtide"},
	}
	if got.URL.Path != "/timeline" || got.URL.RawQuery != "from=1&tenant=a%2Fb" || !reflect.DeepEqual(got.Header, want) {
		t.Errorf("the broker got %s %v", got.URL, got.Header)
	}
	get(t, at, func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
	if got.Header.Get("Authorization") != "" {
		t.Error("who shows nothing is shown as somebody")
	}
}

// What is watched comes line by line, while the answer goes on; who goes ends it.
func TestStream(t *testing.T) {
	lines, feed := io.Pipe()
	ended := make(chan struct{})
	at, _ := serve(t, answers(func(r *http.Request) (*http.Response, error) {
		context.AfterFunc(r.Context(), func() { close(ended) })
		response := answer(http.StatusOK, lines, nil) // no events, and of a known length: nothing says that it is a stream
		response.ContentLength = 1000
		return response, nil
	}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.JoinPath("../watch").String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	read := bufio.NewReader(response.Body)
	for i := range 3 {
		line := fmt.Sprintf("line %d\n", i)
		if _, err := io.WriteString(feed, line); err != nil {
			t.Fatal(err)
		}
		if got, err := read.ReadString('\n'); err != nil || got != line { // and nothing more is written before
			t.Fatalf("%q, %v", got, err)
		}
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the broker goes on to answer who has gone")
	}
}

// Whoever runs it hears once why, and who is at the browser, only that.
func TestBrokerThatDoesNotAnswer(t *testing.T) {
	fault := errors.New(`user "ann" may not`)
	at, said := serve(t, answers(func(*http.Request) (*http.Response, error) {
		if fault != nil {
			return nil, fault
		}
		return answer(http.StatusOK, text("rows"), nil), nil
	}))
	for range 3 {
		if status, _, body := get(t, at, nil); status != http.StatusServiceUnavailable || !strings.HasPrefix(body, `{"error":"the broker cannot be reached`) || strings.Contains(body, "may not") {
			t.Errorf("%d %s", status, body)
		}
	}
	fault = nil
	for range 3 {
		if status, _, body := get(t, at, nil); status != http.StatusOK || body != "rows" {
			t.Errorf("%d %s", status, body)
		}
	}
	if want := []string{`user "ann" may not`, "the broker answers again"}; !reflect.DeepEqual(said(), want) {
		t.Errorf("it said %q, want %q", said(), want)
	}
}
