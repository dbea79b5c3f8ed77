package signal

import (
	"context"
	"reflect"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Poller asks about all targets on its own ticker, so that no decision waits for
// an answer. A target whose last question is still open is not asked again.
type Poller struct {
	source   Source
	interval time.Duration
	clock    clock.WithTicker
	// answered is called after a round in which a target was heard.
	answered func()

	mu      sync.Mutex
	targets map[string]Target
	samples map[string]Sample
	busy    map[string]bool
	wake    chan struct{}
}

// NewPoller returns a poller that asks every interval and calls answered after
// each round. Run starts it.
func NewPoller(source Source, interval time.Duration, clk clock.WithTicker, answered func()) *Poller {
	return &Poller{
		source: source, interval: interval, clock: clk, answered: answered,
		targets: map[string]Target{}, samples: map[string]Sample{}, busy: map[string]bool{},
		wake: make(chan struct{}, 1),
	}
}

// Set replaces the targets. A new or changed one is asked about at once; what is
// known of one that is gone, or asked differently now, is forgotten.
func (p *Poller) Set(targets []Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[string]Target, len(targets))
	news := false
	for _, t := range targets {
		next[t.Name] = t
		if old, known := p.targets[t.Name]; !known || !reflect.DeepEqual(old, t) {
			delete(p.samples, t.Name)
			news = true
		}
	}
	for name := range p.targets {
		if _, kept := next[name]; !kept {
			delete(p.samples, name)
		}
	}
	p.targets = next
	if news {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// Latest returns the last answers about a target; ok is false before the first.
func (p *Poller) Latest(name string) (sample Sample, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sample, ok = p.samples[name]
	return sample, ok
}

// Run polls until ctx ends and returns when no question is open.
func (p *Poller) Run(ctx context.Context) {
	ticker := p.clock.NewTicker(p.interval)
	defer ticker.Stop()
	var rounds sync.WaitGroup
	defer rounds.Wait()
	for {
		rounds.Go(func() { p.round(ctx) })
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		case <-p.wake:
		}
	}
}

// round asks about every target that is not being asked about, and reports once.
func (p *Poller) round(ctx context.Context) {
	var asked sync.WaitGroup
	for _, t := range p.idle() {
		asked.Go(func() { p.store(t, p.source.Fetch(ctx, t)) })
	}
	asked.Wait()
	if ctx.Err() == nil && p.answered != nil {
		p.answered()
	}
}

func (p *Poller) idle() []Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	var idle []Target
	for name, t := range p.targets {
		if !p.busy[name] {
			p.busy[name] = true
			idle = append(idle, t)
		}
	}
	return idle
}

// store keeps the answers unless the target was changed meanwhile.
func (p *Poller) store(t Target, s Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, t.Name)
	if now, known := p.targets[t.Name]; known && reflect.DeepEqual(now, t) {
		p.samples[t.Name] = s
	}
}
