package controller

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// lately shows collectors only as long as what they say may still be so: they are those of
// the last decision, and decisions may stop. It may be used concurrently.
type lately struct {
	clock clock.PassiveClock
	limit time.Duration
	of    []prometheus.Collector

	mu sync.Mutex
	at time.Time // of the last decision
}

var _ prometheus.Collector = (*lately)(nil)

// leastLately is how old a decision may always be: it may take half a minute until it is
// carried out.
const leastLately = time.Minute

// newLately shows collectors for at least three of the intervals between decisions.
func newLately(clk clock.PassiveClock, interval time.Duration, of ...prometheus.Collector) *lately {
	return &lately{clock: clk, limit: lasting(interval), of: of}
}

// lasting is how long what a decision found is taken to be so.
func lasting(interval time.Duration) time.Duration { return max(3*interval, leastLately) }

// decided: the collectors were brought up to date by a decision made then.
func (l *lately) decided(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = at
}

// Describe implements prometheus.Collector.
func (l *lately) Describe(to chan<- *prometheus.Desc) {
	for _, c := range l.of {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector. A clock that was set back far makes an old
// decision look new.
func (l *lately) Collect(to chan<- prometheus.Metric) {
	l.mu.Lock()
	age := l.clock.Since(l.at)
	l.mu.Unlock()
	if age > l.limit || age < -l.limit {
		return
	}
	for _, c := range l.of {
		c.Collect(to)
	}
}
