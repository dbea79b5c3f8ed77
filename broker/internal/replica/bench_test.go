package replica

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// BenchmarkAcknowledged is one entry on the leader's disk and, over TLS, on a follower's.
func BenchmarkAcknowledged(b *testing.B) {
	book, err := segments.Open(filepath.Join(b.TempDir(), "ledger.db"), segments.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = book.Close() })
	server := NewServer(time.Minute)
	server.Lead(book)
	certificate, print, err := NewCertificate("leader")
	if err != nil {
		b.Fatal(err)
	}
	listener := httptest.NewUnstartedServer(server.Handler())
	listener.TLS = ServerTLS(certificate)
	listener.StartTLS()
	b.Cleanup(listener.Close)
	f := &Follower{
		Name: "follower", Files: FilesOf(filepath.Join(b.TempDir(), "ledger.db")), Retry: time.Millisecond,
		Leader: func(context.Context) (Peer, error) {
			return Peer{Name: "leader", URL: listener.URL, Certificate: print}, nil
		},
		Client:    func(p Peer) (*http.Client, error) { return NewClient(nil, p) },
		Published: func(context.Context) (published.Head, error) { return published.Head{}, nil },
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	n := 0
	for b.Loop() {
		n++
		e, err := book.Append(ledger.Entry{Kind: ledger.Refused, Epoch: 1, OpID: fmt.Sprint(n), Job: "research/tune", Borrower: "research"})
		if err != nil {
			b.Fatal(err)
		}
		for server.Durable() < e.Seq {
			_ = server.Wait(ctx, e.Seq) // the first before the follower has come
		}
	}
}
