package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ebbtide/ebbtide/e2e/ui/browser"
	"github.com/ebbtide/ebbtide/e2e/ui/check"
	"github.com/ebbtide/ebbtide/e2e/ui/town"
)

// policy is what the broker answers with the page; that it does is tried in the lab.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// made is a server of the dashboard's files, with a town behind it.
type made struct {
	*town.Town
	server *httptest.Server
	shut   atomic.Bool
	// full: nobody more may watch. strangers is of how many requests more the broker says that it
	// does not know who asks.
	full      atomic.Bool
	strangers atomic.Int64
}

func newMade(root string, o town.Options) *made {
	m := &made{Town: town.New(o)}
	files := http.FileServer(http.Dir(filepath.Join(root, "broker/internal/web/ui")))
	api := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	}))
	m.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.shut.Load() {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		switch asks := !strings.HasPrefix(r.URL.Path, "/ui/"); {
		case m.full.Load() && r.URL.Path == "/watch":
			refuse(w, http.StatusTooManyRequests, "too many watch; ask again in a moment")
		case asks && m.strangers.Add(-1) >= 0:
			refuse(w, http.StatusUnauthorized, "who asks is not known")
		default:
			api.ServeHTTP(w, r)
		}
	}))
	return m
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "{\"error\":%q}", text) // the client has gone if this fails
}

func (m *made) as(token string) check.Server { return check.Server{URL: m.server.URL, Token: token} }

func (m *made) cut() {
	m.shut.Store(true)
	m.server.CloseClientConnections()
}

func (m *made) mend() { m.shut.Store(false) }

// doubt has so many requests answered by 401, the next of which is for the stream.
func (m *made) doubt(requests int64) {
	m.strangers.Store(requests)
	m.server.CloseClientConnections()
}

// crowd keeps new streams out, and ends those that are open.
func (m *made) crowd(full bool) {
	m.full.Store(full)
	m.server.CloseClientConnections()
}

// places of the dashboard: one of each kind.
func (m *made) places() map[string]string {
	job, lender, loan := m.Examples()
	return map[string]string{
		"overview": "overview", "picture": "picture?range=24h", "loans": "loans", "queue": "queue", "lenders": "lenders", "quota": "quota", "nodes": "nodes", "statements": "statements",
		"lender": check.Place("lender", lender), "loan": check.Place("loan", loan), "job": check.Place("job", job), "node": "node/mig-0", "nowhere": "nowhere",
	}
}

// start starts a browser and a suite.
func start(ctx context.Context, root string) (*check.Suite, func(), error) {
	axe, err := check.ReadAxe(filepath.Join(root, "e2e/ui"))
	if err != nil {
		return nil, nil, err
	}
	profile, err := os.MkdirTemp("", "ebbtide-ui-")
	if err != nil {
		return nil, nil, err
	}
	b, end, err := browser.Start(ctx, profile)
	if err != nil {
		return nil, nil, err
	}
	s := &check.Suite{Browser: b, Axe: axe, Pages: map[string]bool{}, Logf: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	return s, func() {
		end()
		_ = os.RemoveAll(profile) // what is left of it is in the folder for temporary files
	}, nil
}

// serve is for looking at the page by hand.
func serve(ctx context.Context, root string) error {
	m := newMade(root, town.Small(time.Now()))
	defer m.server.Close()
	host, port, err := net.SplitHostPort(m.server.Listener.Addr().String())
	if err != nil {
		return err
	}
	fmt.Printf("http://%s:%s/ui/\nsign in as %s (sees all), %s or %s (sees nothing)\n", host, port, town.Everybody, town.Tenant, town.Nobody)
	<-ctx.Done()
	return nil
}
