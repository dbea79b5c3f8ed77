package signal

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Poller asks about all targets on its own ticker, so that no decision waits for
// an answer. A target whose last question is still open is not asked again.
type Poller struct {
	source Source
	// interval between questions about a target, and scrape about one whose pods are read.
	interval, scrape time.Duration
	clock            clock.WithTicker
	// answered is called after a round in which a target was heard.
	answered func()

	mu      sync.Mutex
	targets map[string]Target
	samples map[string]Sample
	busy    map[string]bool
	asked   map[string]time.Time
	wake    chan struct{}
}

// NewPoller returns a poller that asks every interval and calls answered after
// each round. Run starts it.
func NewPoller(source Source, interval time.Duration, clk clock.WithTicker, answered func()) *Poller {
	return &Poller{
		source: source, interval: interval, scrape: interval, clock: clk, answered: answered,
		targets: map[string]Target{}, samples: map[string]Sample{}, busy: map[string]bool{},
		asked: map[string]time.Time{}, wake: make(chan struct{}, 1),
	}
}

// Scrape makes the poller ask about targets whose pods are read every interval,
// which is the shorter one. It must be called before Run.
func (p *Poller) Scrape(interval time.Duration) { p.scrape = min(interval, p.interval) }

// Set replaces the targets. A new one, and one that is asked something else now, is
// asked about at once; what is known of it, or of one that is gone, is forgotten. That
// pods come and go, and marks change, is no other question.
func (p *Poller) Set(targets []Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[string]Target, len(targets))
	news := false
	for _, t := range targets {
		next[t.Name] = t
		if old, known := p.targets[t.Name]; !known || !sameQuestion(old, t) {
			delete(p.samples, t.Name)
			delete(p.asked, t.Name)
			news = true
		}
	}
	for name := range p.targets {
		if _, kept := next[name]; !kept {
			delete(p.samples, name)
			delete(p.asked, name)
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

// Target is what is asked about a lender; ok is false if nothing is.
func (p *Poller) Target(name string) (t Target, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok = p.targets[name]
	return t, ok
}

// Run polls until ctx ends and returns when no question is open.
func (p *Poller) Run(ctx context.Context) {
	ticker := p.clock.NewTicker(p.scrape)
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

// round asks about every target whose time has come and that is not being asked about,
// and reports once.
func (p *Poller) round(ctx context.Context) {
	due := p.due()
	if len(due) == 0 {
		return
	}
	var asked sync.WaitGroup
	for _, t := range due {
		asked.Go(func() { p.store(t, p.source.Fetch(ctx, t)) })
	}
	asked.Wait()
	if ctx.Err() == nil && p.answered != nil {
		p.answered()
	}
}

// due are the targets to ask about now. Half a tick early is not too early: the ticker
// is not that exact.
func (p *Poller) due() []Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	var due []Target
	for name, t := range p.targets {
		last, asked := p.asked[name]
		if p.busy[name] || asked && now.Sub(last) < p.pace(t)-p.scrape/2 {
			continue
		}
		p.busy[name], p.asked[name] = true, now
		due = append(due, t)
	}
	return due
}

// pace is how often a target is asked about.
func (p *Poller) pace(t Target) time.Duration {
	if slices.ContainsFunc(t.Specs, func(s Spec) bool { return s.Kind == KindScrape }) {
		return p.scrape
	}
	return p.interval
}

// sameQuestion says whether the answers to one are answers to the other.
func sameQuestion(a, b Target) bool {
	return a.Name == b.Name && a.Namespace == b.Namespace && len(a.Specs) == len(b.Specs) &&
		!slices.ContainsFunc(a.Specs, func(s Spec) bool {
			return !slices.ContainsFunc(b.Specs, func(o Spec) bool { return reflect.DeepEqual(s.asked(), o.asked()) })
		})
}

// store keeps the answers unless the target was changed meanwhile.
func (p *Poller) store(t Target, s Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, t.Name)
	if now, known := p.targets[t.Name]; known && sameQuestion(now, t) {
		s.Had = t.remember(p.samples[t.Name].Had, s, p.clock.Now())
		p.samples[t.Name] = s
	}
}
