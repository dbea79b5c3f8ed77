package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/broker/counterfactual"
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
	// changed is closed with the next decision; nil while nobody waits for it.
	changed chan struct{}
	ledger  *segments.Set
	// loads is what is known of lenders' past; nil while this broker does not lead.
	loads *loads
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

// Changed implements web.Source.
func (b *Board) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}

// Loads implements web.Source.
func (b *Board) Loads(ctx context.Context, lender string, from time.Time, step time.Duration, count int, elsewhere bool) web.Loads {
	b.mu.Lock()
	known := b.loads
	b.mu.Unlock()
	if known == nil {
		return web.Loads{Note: "this broker does not lead"}
	}
	return known.of(ctx, lender, from, step, count, elsewhere)
}

// setLoads says where the past of loads is.
func (b *Board) setLoads(of *loads) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loads = of
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

// show takes a decision over and works out since when each verdict stands. freed units came
// free lately, and returns are those of the last week.
func (b *Board) show(r lend.Record, freed map[string]int64, returns map[string][]counterfactual.Return) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := web.NewDecision(r, freed, b.decision)
	d.Returns = returns
	b.decision = d
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}
