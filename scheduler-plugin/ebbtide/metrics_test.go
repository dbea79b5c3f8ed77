package ebbtide

import (
	"flag"
	"testing"

	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/ebbtide/ebbtide/deploy/monitoring/catalogue"
	"github.com/ebbtide/ebbtide/deploy/monitoring/catalogue/cataloguetest"
)

var update = flag.Bool("update", false, "write the list of metrics")

// TestCatalogue: the list of the scheduler's metrics is what a scrape of its registry gives.
func TestCatalogue(t *testing.T) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	list := catalogue.Read(families, subsystem)
	if len(list) != len(all) {
		t.Errorf("%d metrics are in the scrape, want %d", len(list), len(all))
	}
	cataloguetest.Compare(t, "scheduler", list, *update)
}
