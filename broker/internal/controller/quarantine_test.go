package controller

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestQuarantineMetric: the units that nobody has are shown for each flavor that there is a
// quota of, and no others.
func TestQuarantineMetric(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	loan := func(quarantined bool, flavor string, count int64) lend.Loan {
		return lend.Loan{Quarantined: quarantined, Grants: []lend.Grant{{Node: "gpu-0", Flavor: flavor, Count: count}}}
	}
	show := func(loans ...lend.Loan) {
		m.decided(&gather.View{Snapshot: lend.Snapshot{
			Now: now, Loans: loans,
			Tenants: []lend.Tenant{{Name: "research", Quotas: []lend.Quota{{Flavor: "a100"}, {Flavor: "h100"}}}},
		}}, &lend.Plan{})
	}
	want := func(a100, h100 string) {
		t.Helper()
		text := `# HELP ebbtide_broker_quarantined_units Units of loans whose pods do not go although their time was over long ago, by flavor: nobody has them.
# TYPE ebbtide_broker_quarantined_units gauge
ebbtide_broker_quarantined_units{flavor="a100"} ` + a100 + `
ebbtide_broker_quarantined_units{flavor="h100"} ` + h100 + "\n"
		if err := testutil.GatherAndCompare(registry, strings.NewReader(text), "ebbtide_broker_quarantined_units"); err != nil {
			t.Error(err)
		}
	}
	show(loan(true, "h100", 4), loan(false, "h100", 8), loan(true, "h100", 2), loan(false, "a100", 1))
	want("0", "6")
	show(loan(false, "h100", 4))
	want("0", "0")
}
