package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// stopLimit is how long the calls in hand may take when a proxy closes.
const stopLimit = 2 * time.Second

// Rig has the proxies of a lab's programs, one each, and the rules for all of them. Its
// methods may be called from any goroutine.
type Rig struct {
	seed    uint64
	journal journal
	resolve *request.RequestInfoFactory

	mu      sync.Mutex
	rules   []*armed
	set     int
	counts  map[string]int
	watches map[*watch]struct{}
	servers []*http.Server
	serving sync.WaitGroup
}

// NewRig returns a rig without rules. Chance comes from the seed. Each struck call is also
// written to log, if that is not nil, as a line of JSON.
func NewRig(seed uint64, log io.Writer) *Rig {
	return &Rig{
		seed: seed, journal: journal{began: time.Now(), out: log},
		resolve: &request.RequestInfoFactory{
			APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
		},
		counts: map[string]int{}, watches: map[*watch]struct{}{},
	}
}

// Through puts a proxy before a lab's program: it is the program's lab.Program.Through.
func (r *Rig) Through(e lab.Env) (server string, ca []byte, err error) {
	up, err := e.Upstream()
	if err != nil {
		return "", nil, err
	}
	pair, err := tls.X509KeyPair(up.Serving.CertPEM, up.Serving.KeyPEM)
	if err != nil {
		return "", nil, fmt.Errorf("read the certificate of the proxy for %s: %w", e.Part, err)
	}
	address, err := e.Listen("through")
	if err != nil {
		return "", nil, err
	}
	server, err = r.Serve(e.Part, address, up.Server, up.CA, pair)
	return server, up.CA, err
}

// Serve listens at an address as the API server for a client, until Close, and returns
// the URL. The API server itself is at upstream and known by the authority ca.
func (r *Rig) Serve(client, address, upstream string, ca []byte, pair tls.Certificate) (string, error) {
	to, err := url.Parse(upstream)
	if err != nil {
		return "", fmt.Errorf("read the API server's address: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return "", errors.New("the API server's authority has no certificate")
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("listen for %s: %w", client, err)
	}
	server := &http.Server{
		Handler: &front{
			rig: r, client: client, to: to,
			transport: &http.Transport{
				TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
				MaxIdleConnsPerHost: 100,
				// Bodies pass as they are.
				DisableCompression: true,
			},
		},
		// No "h2": a dropped reply shall take none of the others with it.
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12},
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          discard(),
	}
	r.mu.Lock()
	r.servers = append(r.servers, server)
	r.mu.Unlock()
	r.serving.Go(func() { _ = server.ServeTLS(listener, "", "") }) // ends with Close
	return "https://" + listener.Addr().String(), nil
}

// Set replaces the rules, and strikes watches that are open. Counting begins anew.
func (r *Rig) Set(rules ...Rule) error {
	for i, rule := range rules {
		if err := rule.Validate(); err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set++
	r.rules = r.rules[:0:0]
	for i, rule := range rules {
		r.rules = append(r.rules, arm(rule, r.seed+uint64(r.set)<<32, i))
	}
	for w := range r.watches {
		if hit := r.strike(w.call, cutsOrHolds); hit != nil {
			w.struck(hit.Rule)
			r.journal.add(hit.entry)
			continue
		}
		w.release()
	}
	return nil
}

// Clear takes all rules away and lets held watches go on.
func (r *Rig) Clear() {
	_ = r.Set() // no rules, none that is wrong
}

// Log returns the calls that were struck so far, in order.
func (r *Rig) Log() []Entry { return r.journal.list() }

// Struck is how many calls were struck so far.
func (r *Rig) Struck() int {
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	return len(r.journal.entries)
}

// Calls returns how many calls came from each client, by "client verb resource".
func (r *Rig) Calls() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := make(map[string]int, len(r.counts))
	for what, n := range r.counts {
		counts[what] = n
	}
	return counts
}

// Close ends all proxies. It returns the first error that writing the log had.
func (r *Rig) Close() error {
	r.mu.Lock()
	servers := r.servers
	r.servers = nil
	r.mu.Unlock()
	r.Clear()
	for _, s := range servers {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		_ = s.Shutdown(ctx) // watches never end by themselves
		cancel()
		_ = s.Close()
		s.Handler.(*front).transport.CloseIdleConnections()
	}
	r.serving.Wait()
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	return r.journal.err
}

// hit is a call that is struck.
type hit struct {
	Rule
	entry Entry
}

// strike counts a call with all rules that match, of those that want has, and returns what
// the first does that strikes it, or nil. The caller holds the lock.
func (r *Rig) strike(c call, want func(Fault) bool) *hit {
	var first *hit
	for _, a := range r.rules {
		if !want(a.Fault) || !a.matches(c) || !a.strikes() || first != nil {
			continue
		}
		first = &hit{Rule: a.Rule, entry: Entry{
			Client: c.client, Verb: c.verb, Resource: c.resource, Name: c.name,
			Set: r.set, Rule: a.Rule, Call: a.calls,
		}}
	}
	return first
}

func (r *Rig) arrive(c call) *hit {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[c.client+" "+c.verb+" "+c.resource]++
	return r.strike(c, func(Fault) bool { return true })
}

func cutsOrHolds(f Fault) bool { return f == CutWatch || f == HoldWatch || f == Refuse }
