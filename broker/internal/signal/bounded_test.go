package signal

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// endless answers a question and never ends the answer. It counts what it sent.
type endless struct {
	sent   atomic.Int64
	zipped bool
}

func (e *endless) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	var to io.Writer = w
	if e.zipped {
		w.Header().Set("Content-Encoding", "gzip")
		packed := gzip.NewWriter(w)
		to = packed
	}
	fmt.Fprint(to, `{"status":"success","data":{"resultType":"vector","result":[`)
	part := []byte(strings.Repeat(`{"metric":{"pod":"a"},"value":[1,"1"]},`, 1000))
	for {
		n, err := to.Write(part)
		e.sent.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// TestEndlessReply has a server that never stops sending: the answer is an error long
// before the timeout, and costs no more memory than a few times what is read of it.
func TestEndlessReply(t *testing.T) {
	for name, zipped := range map[string]bool{"plain": false, "unpacks without end": true} {
		t.Run(name, func(t *testing.T) {
			source := &endless{zipped: zipped}
			server := httptest.NewServer(source)
			defer server.Close()
			p, err := NewPrometheus(server.URL, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			_, err = p.query(t.Context(), "up")
			runtime.ReadMemStats(&after)
			if err == nil || reason(err) != "Prometheus: the answer is longer than 8 MiB; ask for fewer series" {
				t.Errorf("the question ends with %v, which its owner is told as %q", err, reason(err))
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 16*maxReply {
				t.Errorf("%d bytes were allocated for an answer of which %d may be read", used, maxReply)
			}
			t.Logf("%d MiB sent, %d MiB allocated in all", source.sent.Load()>>20, (after.TotalAlloc-before.TotalAlloc)>>20)
		})
	}
}

// TestLongestReply: what just fits is read whole, and one byte more is not.
func TestLongestReply(t *testing.T) {
	for _, extra := range []int{0, 1} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.Repeat("x", maxReply+extra))
		}))
		defer server.Close()
		response, err := (&http.Client{Transport: Bounded(http.DefaultTransport)}).Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if extra == 0 && (err != nil || len(body) != maxReply) || extra == 1 && err == nil {
			t.Errorf("%d bytes: read %d, %v", maxReply+extra, len(body), err)
		}
	}
}

// TestManySeries: an answer may be short and still have more series than are read.
func TestManySeries(t *testing.T) {
	series := strings.Repeat(`{"metric":{},"value":[1,"1"]},`, maxSamples) + `{"metric":{},"value":[1,"1"]}`
	server := httptest.NewServer(&server{answers: []answer{{contains: "up", data: `{"resultType":"vector","result":[` + series + `]}`}}})
	defer server.Close()
	p, err := NewPrometheus(server.URL, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.query(t.Context(), "up"); err == nil || err.Error() != "the query returned 50001 series, and no more than 50000 are read" {
		t.Errorf("the question ends with %v", err)
	}
}
