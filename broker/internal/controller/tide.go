package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/autoscaler"
	"github.com/ebbtide/ebbtide/broker/internal/demand"
	"github.com/ebbtide/ebbtide/broker/internal/extmetrics"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/prewarm"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/internal/signal/backlog"
	"github.com/ebbtide/ebbtide/broker/internal/signal/kubemetrics"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// tide is all that tells of load: what is asked in the background, and what is
// remembered of the answers.
type tide struct {
	poller *signal.Poller
	kinds  *autoscaler.Kinds
	demand *demand.Demand
	// past is where the demand's past is read from; nil: nowhere.
	past  demand.Store
	hooks *prewarm.Runner

	backlogs *backlog.Reader
}

// serveDemand shows the training demand to others: among the broker's metrics, and where
// it is configured as an external metrics API.
func (b *broker) serveDemand(kubeconfig string) error {
	if err := metrics.Registry.Register(&b.wanted); err != nil {
		return fmt.Errorf("register the metrics of training demand: %w", err)
	}
	if b.config.ExternalMetrics.BindAddress == "" {
		return nil
	}
	server, err := extmetrics.NewServer(b.config.ExternalMetrics, kubeconfig, &b.wanted)
	if err != nil {
		return fmt.Errorf("externalMetrics: %w", err)
	}
	if err := b.mgr.Add(server); err != nil {
		return fmt.Errorf("add the external metrics API: %w", err)
	}
	return nil
}

// newTide prepares it. What it returns must be closed.
func (b *broker) newTide() (*tide, error) {
	c := &b.config
	timeout := c.Prometheus.Timeout.Duration
	t := &tide{
		kinds: &autoscaler.Kinds{Cache: b.mgr.GetCache(), Clock: b.clock, Changed: func() { b.wakes.poke(soon) }},
		demand: demand.New(demand.Config{
			StableWindow: c.Signals.StableWindow.Duration, PanicWindow: c.Signals.PanicWindow.Duration,
			MinimumLoan: c.Policy.MinimumLoan.Duration,
		}),
		hooks: &prewarm.Runner{
			Client: b.mgr.GetClient(), Live: b.mgr.GetAPIReader(), Clock: b.clock,
			Recorder: b.mgr.GetEventRecorder("ebbtide-broker"), Kinds: c.Hooks.Kinds,
		},
	}
	sources := signal.Sources{Scraper: signal.NewScraper(timeout, b.clock), Timeout: timeout}
	if c.Prometheus.URL == "" {
		b.mgr.GetLogger().Info("No prometheus.url is configured: what only Prometheus tells is unknown")
	} else {
		prometheus, err := signal.NewPrometheus(c.Prometheus.URL, timeout)
		if err != nil {
			return nil, err
		}
		sources.Prometheus = prometheus
		t.past = past{prometheus, t}
	}
	apis, err := kubemetrics.New(b.mgr.GetConfig(), b.mgr.GetRESTMapper(), timeout, b.clock)
	if err != nil {
		return nil, err
	}
	if t.backlogs, err = backlog.New(c.Signals.Backends, timeout, b.clock); err != nil {
		return nil, fmt.Errorf("signals.backends: %w", err)
	}
	sources.Readers = map[signal.Kind]signal.ValueReader{
		signal.KindPods: apis, signal.KindObject: apis, signal.KindExternal: apis,
		signal.KindRedis: t.backlogs, signal.KindKafka: t.backlogs,
	}
	t.poller = signal.NewPoller(sources, c.Interval.Duration, b.clock, func() { b.wakes.poke(soon) })
	t.poller.Scrape(c.Signals.ScrapeInterval.Duration)
	return t, nil
}

// run asks, looks and reads until the function that it returns is called, which waits
// for the end of it and closes what is open.
func (t *tide) run(ctx context.Context, b *broker) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { t.poller.Run(ctx) })
	running.Go(func() { t.kinds.Run(ctx) })
	running.Go(func() { b.kinds.run(ctx) })
	if b.config.Signals.Forecast && t.past != nil {
		running.Go(func() { t.demand.Seed(ctx, t.past, b.clock) })
	}
	return func() {
		cancel()
		running.Wait()
		t.backlogs.Close()
	}
}

// reclaimed learns how long the services that lent to a loan waited for its units.
func (t *tide) reclaimed(loan *v1alpha1.Loan, how course.Reclaim) {
	for _, lender := range how.Lenders {
		if !lend.IsCohortLender(lender) {
			t.demand.SawReclaim(lender, loan.Namespace+"/"+loan.Name, how.Asked, how.EndedAt())
		}
	}
}

// memory is the demand as the gatherer is to see it.
func (t *tide) memory(forecast bool) gather.Demand {
	if forecast {
		return t.demand
	}
	return unforecast{t.demand}
}

// unforecast is a memory that says nothing of the future.
type unforecast struct{ *demand.Demand }

// Forecast implements gather.Demand.
func (unforecast) Forecast(string, time.Time) *lend.Forecast { return nil }

// Unread implements gather.Demand.
func (unforecast) Unread(string, time.Time) bool { return false }

// past is the past of the targets that are asked about, as Prometheus has it.
type past struct {
	prometheus *signal.Prometheus
	tide       *tide
}

// Range implements demand.Store.
func (p past) Range(ctx context.Context, lender string, start, end time.Time, step time.Duration) ([]demand.Point, error) {
	target, known := p.tide.poller.Target(lender)
	if !known {
		return nil, fmt.Errorf("lender %s is not asked about", lender)
	}
	readings, err := p.prometheus.History(ctx, target, start, end, step)
	if errors.Is(err, signal.ErrNoHistory) {
		return nil, demand.ErrNotKept
	}
	points := make([]demand.Point, 0, len(readings))
	for _, r := range readings {
		points = append(points, demand.Point{At: r.At, Value: r.Value})
	}
	return points, err
}
