package controller

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/broker/internal/demand"
)

// pastCollector shows what is known of the lenders' past. It is worked out when somebody
// asks for it: no decision needs it, and it is not small. The zero collector has nothing
// to show. It may be used concurrently.
type pastCollector struct {
	mu      sync.Mutex
	learned func() []demand.Learned
}

var _ prometheus.Collector = (*pastCollector)(nil)

func pastDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, []string{"lender"}, nil)
}

var (
	noticeDesc     = pastDesc("notice_seconds", "Time from asking units back to a replica that serves on them: as learned, and no less than maxGrace and a start.")
	growthDesc     = pastDesc("forecast_growth", "Factor by which the load grows within the notice at most, as often as the policy's quantile says.")
	dispersionDesc = pastDesc("forecast_dispersion", "Variance over mean of the load within an hour.")
)

// learn makes the metrics show what a memory has learned, until the function that it
// returns is called.
func (m *Metrics) learn(learned func() []demand.Learned) (stop func()) {
	m.past.set(learned)
	return func() { m.past.set(nil) }
}

func (c *pastCollector) set(learned func() []demand.Learned) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.learned = learned
}

// read asks without holding the lock, so that a memory that is busy stops nobody but the
// one who asks.
func (c *pastCollector) read() []demand.Learned {
	c.mu.Lock()
	learned := c.learned
	c.mu.Unlock()
	if learned == nil {
		return nil
	}
	return learned()
}

// Describe implements prometheus.Collector.
func (*pastCollector) Describe(to chan<- *prometheus.Desc) {
	to <- noticeDesc
	to <- growthDesc
	to <- dispersionDesc
}

// Collect implements prometheus.Collector. A lender without a past has only a notice.
func (c *pastCollector) Collect(to chan<- prometheus.Metric) {
	for _, l := range c.read() {
		show := func(desc *prometheus.Desc, value float64) {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, l.Lender)
		}
		show(noticeDesc, l.Notice.Seconds())
		if l.Outlook.Growth > 0 {
			show(growthDesc, l.Outlook.Growth)
			show(dispersionDesc, l.Scatter.Ratio)
		}
	}
}
