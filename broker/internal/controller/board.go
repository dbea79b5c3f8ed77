package controller

import (
	"errors"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/broker/internal/web"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Board holds what the HTTP API shows. It may be used from any goroutine.
type Board struct {
	// leader looks up who leads.
	leader func() string

	mu       sync.Mutex
	synced   bool
	decision *web.Decision
	ledger   *ledger.Ledger
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
	return nil
}

func (b *Board) setSynced() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.synced = true
}

func (b *Board) setLedger(l *ledger.Ledger) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ledger = l
}

// show takes a decision over and works out since when each verdict stands.
func (b *Board) show(r lend.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	reasons, since := map[string]string{}, map[string]time.Time{}
	if b.decision != nil {
		for _, v := range b.decision.Record.Plan.Verdicts {
			reasons[web.Key(v.Kind, v.Subject)] = v.Reason
		}
	}
	for _, v := range r.Plan.Verdicts {
		key := web.Key(v.Kind, v.Subject)
		since[key] = r.Snapshot.Now
		if reasons[key] == v.Reason {
			since[key] = b.decision.Since[key]
		}
	}
	b.decision = &web.Decision{Record: r, Since: since}
}
