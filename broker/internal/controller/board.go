package controller

import (
	"errors"
	"sync"

	"github.com/ebbtide/ebbtide/broker/internal/web"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Board holds what the HTTP API shows. It may be used from any goroutine.
type Board struct {
	// leader looks up who leads.
	leader func() string
	// following, if set, says why a follower is not ready.
	following func() error

	mu       sync.Mutex
	synced   bool
	decision *web.Decision
	ledger   *segments.Set
	// namespaces of each tenant.
	namespaces map[string][]string
}

var _ web.Source = (*Board)(nil)

// Decision implements web.Source.
func (b *Board) Decision() *web.Decision {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.decision
}

// Ledger implements web.Source.
func (b *Board) Ledger() web.Ledger {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ledger == nil {
		return nil
	}
	return b.ledger
}

// Leader implements web.Source.
func (b *Board) Leader() string { return b.leader() }

// Ready implements web.Source.
func (b *Board) Ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.synced {
		return errors.New("the caches are not synced: are the API server and Ebbtide's CustomResourceDefinitions there?")
	}
	if b.following != nil {
		return b.following()
	}
	return nil
}

// Namespaces implements web.Source.
func (b *Board) Namespaces() map[string][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.namespaces
}

// setNamespaces says whose a namespace is. What is given is not changed afterwards.
func (b *Board) setNamespaces(ofTenant map[string][]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.namespaces = ofTenant
}

func (b *Board) setSynced() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.synced = true
}

func (b *Board) setLedger(l *segments.Set) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ledger = l
}

// show takes a decision over and works out since when each verdict stands. freed
// units came free lately.
func (b *Board) show(r lend.Record, freed map[string]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decision = web.NewDecision(r, freed, b.decision)
}
