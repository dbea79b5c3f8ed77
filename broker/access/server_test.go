package access

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	certutil "k8s.io/client-go/util/cert"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// probes read what they are sent, or do not; the last is for who is known.
func probes() []Route {
	read := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v", n, err)
	})
	unread := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "too large to read") })
	return []Route{
		{Pattern: "POST /probe", Rule: Probe, Handler: read}, {Pattern: "GET /probe", Rule: Probe, Handler: read},
		{Pattern: "POST /unread", Rule: Probe, Handler: unread}, {Pattern: "POST /rows", Rule: Rows, Handler: unread},
	}
}

// start serves until the test ends, and returns the address.
func start(t *testing.T, s *Server) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	listening, ended := make(chan string, 1), make(chan error, 1)
	s.Name, s.Address, s.Guard, s.Log = "a test", "127.0.0.1:0", of(nil), logr.Discard()
	if s.Routes == nil {
		s.Routes = probes()
	}
	if s.Plain {
		s.Routes = s.Routes[:3]
	}
	s.listening = func(a net.Addr) { listening <- a.String() }
	go func() { ended <- s.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	select {
	case address := <-listening:
		return address
	case err := <-ended:
		ended <- err
		t.Fatalf("the server did not start: %v", err)
		return ""
	}
}

// pair writes a certificate for 127.0.0.1 of its own authority.
func pair(t *testing.T, c Certificate) *x509.CertPool {
	t.Helper()
	cert, key, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{c.CertFile: cert, c.KeyFile: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool
}

func get(pool *x509.CertPool, url string, most uint16) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool, MaxVersion: most, MinVersion: tls.VersionTLS10}, //nolint:gosec // what is old is to be refused
	}}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// The certificate is that of the files, and the new one's soon after they change, without a
// restart.
func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	files := Certificate{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	before := pair(t, files)
	url := "https://" + start(t, &Server{Certificate: files, reread: 20 * time.Millisecond}) + "/probe"
	if err := get(before, url, 0); err != nil {
		t.Fatal(err)
	}
	after := pair(t, files)
	deadline := time.Now().Add(time.Minute)
	for get(after, url, 0) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not shown")
		}
		time.Sleep(20 * time.Millisecond) // between two tries
	}
	if err := get(before, url, 0); err == nil {
		t.Error("the old certificate is shown still")
	}
}

func TestWithoutTLSNothing(t *testing.T) {
	address := start(t, &Server{})
	// The certificate is its own, so nobody can verify it.
	if err := get(x509.NewCertPool(), "https://"+address+"/probe", 0); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a self-signed certificate was trusted: %v", err)
	}
	// The version is refused before the certificate is looked at, which would be refused too.
	if err := get(nil, "https://"+address+"/probe", tls.VersionTLS11); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1 is spoken: %v", err)
	}
	response, err := http.Get("http://" + address + "/probe")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP was answered with %s", response.Status)
	}
	for name, s := range map[string]*Server{
		"plain, with a rule": {Plain: true, Routes: []Route{{Pattern: "GET /x", Rule: Path, Handler: http.NotFoundHandler()}}},
		"no certificate":     {Certificate: Certificate{CertFile: "none", KeyFile: "none"}},
	} {
		s.Guard, s.Address, s.Log = of(nil), "127.0.0.1:0", logr.Discard()
		if err := s.Start(t.Context()); err == nil {
			t.Errorf("%s: served", name)
		}
	}
}

// zeros never end.
type zeros struct{ sent atomic.Int64 }

func (z *zeros) Read(p []byte) (int, error) {
	clear(p)
	z.sent.Add(int64(len(p)))
	return len(p), nil
}

// A body of a gigabyte, on a connection with TLS and on one without, to what reads it, to what
// does not and to what refuses first, is cut off, and nothing of it is kept in memory. Volcano's
// CVE-2026-44247 was a body without bounds.
func TestABodyOfAGigabyte(t *testing.T) {
	const gigabyte = 1 << 30
	for _, scheme := range []string{"http", "https"} {
		plain := scheme == "http"
		server := &Server{Plain: plain}
		paths := []string{"/probe", "/unread", "/rows"}
		if plain {
			paths = paths[:2]
		}
		address := start(t, server)
		for _, path := range paths {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			began, body := time.Now(), &zeros{}
			client := &http.Client{Transport: &http.Transport{
				DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // it is this test's own
			}}
			request, err := http.NewRequest(http.MethodPost, scheme+"://"+address+path, io.LimitReader(body, gigabyte))
			if err != nil {
				t.Fatal(err)
			}
			request.ContentLength = gigabyte
			if response, err := client.Do(request); err == nil {
				text, _ := io.ReadAll(response.Body)
				response.Body.Close()
				if !strings.Contains(string(text), "too large") && response.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s%s: the body was taken: %s", scheme, path, text)
				}
			}
			runtime.ReadMemStats(&after)
			if grown, took := after.TotalAlloc-before.TotalAlloc, time.Since(began); grown > 16<<20 || body.sent.Load() > 64<<20 || took > 3*readTimeout {
				t.Errorf("%s%s: %d bytes were sent in %s, and %d allocated for them", scheme, path, body.sent.Load(), took, grown)
			}
		}
	}
}

func TestHeadersAreBounded(t *testing.T) {
	address := start(t, &Server{Plain: true})
	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/probe", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Long", strings.Repeat("x", 64<<10))
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return // it was cut off while it was sent
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 KiB of headers were answered with %s", response.Status)
	}
}

// No more connections are served than there is room for, and one that ends makes room.
func TestConnectionsAreBounded(t *testing.T) {
	address := start(t, &Server{Plain: true})
	var open []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "GET /probe HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	late, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if _, err := fmt.Fprintf(late, "GET /probe HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(late)
	if err := late.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if line, err := reader.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("one connection too many was served: %q %v", line, err)
	}
	open[0].Close()
	if err := late.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Errorf("there is room, and the next was not served: %q %v", line, err)
	}
}
