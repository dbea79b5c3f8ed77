package agent

import (
	"flag"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy/monitoring/catalogue/cataloguetest"
)

var update = flag.Bool("update", false, "write the list of metrics")

// TestCatalogue: the list of the agent's metrics is what its own constructor registers, and
// a scrape of them gives.
func TestCatalogue(t *testing.T) {
	registry := cataloguetest.NewRegistry()
	m := newMetrics(registry)
	m.call("Read", time.Second, nil)
	m.state(v1alpha1.GPUNodeStatus{})
	cataloguetest.Compare(t, "agent", registry.Scrape(t), *update)
}
