package controller

import (
	"flag"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	clientmetrics "k8s.io/client-go/tools/metrics"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/ebbtide/ebbtide/broker/forecast"
	"github.com/ebbtide/ebbtide/broker/internal/demand"
	"github.com/ebbtide/ebbtide/broker/internal/extmetrics"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/guard"
	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/internal/replica"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/deploy/monitoring/catalogue"
	"github.com/ebbtide/ebbtide/deploy/monitoring/catalogue/cataloguetest"
)

var update = flag.Bool("update", false, "write the list of metrics")

// fullSnapshot has something of all that metrics show.
func fullSnapshot() lend.Snapshot {
	nominal := []lend.Quota{{Flavor: "h100", Nominal: 8}}
	return lend.Snapshot{
		Now:     now,
		Flavors: []lend.Flavor{{Name: "h100"}},
		Cohorts: []lend.Cohort{{Name: "lab"}},
		Tenants: []lend.Tenant{{Name: "research", Cohort: "lab", Quotas: nominal}, {Name: "serving", Cohort: "lab", Quotas: nominal}},
		Queues:  []lend.Queue{{Name: "research/default", Tenant: "research"}},
		Nodes:   []lend.Node{{Name: "gpu-0", Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 16, Online: 4, Broken: 1}}}},
		Lenders: []lend.Lender{{
			Name: "serving/chat", Tenant: "serving", Flavor: "h100", LowWater: 0.3, HighWater: 0.7,
			Load: lend.Load{Known: true, ObservedAt: now.Add(-4 * time.Second)},
		}},
		Loans: []lend.Loan{
			{
				Name: "research/a", Job: "research/a", Borrower: "research", Queue: "research/default", Pods: 1, Live: 1,
				Grants:     []lend.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 2}},
				Reclaiming: true, ReclaimBy: now.Add(-time.Second),
			},
			{
				Name: "research/b", Job: "research/b", Borrower: "research", Queue: "research/default", Pods: 1, Live: 1,
				Grants: []lend.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 1}}, Quarantined: true,
			},
		},
	}
}

func fullPlan() *lend.Plan {
	return &lend.Plan{
		Lenders:  []lend.LenderView{{Name: "serving/chat", Owned: 12, Held: 4, Need: 4, Headroom: 2, Lent: 3, Lendable: 1, Utilization: 0.2}},
		Tenants:  []lend.TenantView{{Name: "research", Flavor: "h100", Used: 3}},
		Verdicts: []lend.Verdict{{Kind: lend.SubjectLender, Subject: "serving/chat", Reason: lend.ReasonBelowLowWater}},
	}
}

// TestCatalogue: the list of the broker's metrics is what its own constructors register, and
// a scrape of them gives.
func TestCatalogue(t *testing.T) {
	registry, clk := cataloguetest.NewRegistry(), clocktesting.NewFakeClock(now)
	m := NewMetrics(registry, clk, 15*time.Second)
	board := &extmetrics.Board{Clock: clk, Interval: 15 * time.Second}
	registry.MustRegister(board)
	replication := &replication{server: replica.NewServer(time.Second), follower: &replica.Follower{}}
	registry.MustRegister(replication.collectors()...)
	g := &guard.Guard{Clock: clk, Live: fake.NewClientBuilder().WithScheme(Scheme()).Build()}
	if err := g.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.policies.Store(g)
	m.outside.show(published.Head{ID: "0a1b"})
	defer m.learn(func() []demand.Learned {
		return []demand.Learned{{Lender: "serving/chat", Notice: time.Minute, Outlook: forecast.Outlook{Growth: 1.5}}}
	})()
	s, plan := fullSnapshot(), fullPlan()
	m.decided(&gather.View{Snapshot: s, Strangers: []gather.Stranger{
		{Name: "a", Node: "gpu-0", Resource: "nvidia.com/gpu", Units: 3}, {Name: "b", Resource: "nvidia.com/gpu", Units: 1},
	}}, plan)
	board.Publish(now, extmetrics.Demand(&s, plan))
	list := registry.Scrape(t)

	// What the libraries say of requests to the API server, without those of other tests.
	clientmetrics.RequestResult.Increment(t.Context(), "200", "GET", "api")
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	requests := catalogue.Read(families, "rest_client_requests_total")
	if len(requests) != 1 {
		t.Fatalf("requests to the API server are told by %d metrics, want 1", len(requests))
	}
	for label := range requests[0].Labels {
		requests[0].Labels[label] = nil
	}
	cataloguetest.Compare(t, "broker", append(list, requests...), *update)
}

// TestOverdueLoans: those count whose time is over, whose pods are still there, and which
// are not in quarantine.
func TestOverdueLoans(t *testing.T) {
	late, soon := now.Add(-time.Second), now.Add(time.Second)
	part := []lend.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 1}}
	for name, test := range map[string]struct {
		loan lend.Loan
		want bool
	}{
		"runs":                    {lend.Loan{Live: 1}, false},
		"in its grace":            {lend.Loan{Reclaiming: true, ReclaimBy: soon, Live: 1}, false},
		"late":                    {lend.Loan{Reclaiming: true, ReclaimBy: late, Live: 1}, true},
		"late, and gone":          {lend.Loan{Reclaiming: true, ReclaimBy: late}, false},
		"quarantined":             {lend.Loan{Reclaiming: true, ReclaimBy: late, Live: 1, Quarantined: true}, false},
		"a part is late":          {lend.Loan{Shedding: part, ReclaimBy: late, Live: 3, ShedLive: 1}, true},
		"a part is late and gone": {lend.Loan{Shedding: part, ReclaimBy: late, Live: 3}, false},
	} {
		if got := isOverdue(&test.loan, now); got != test.want {
			t.Errorf("%s: overdue %t, want %t", name, got, test.want)
		}
	}
}

// TestLentUnitSeconds: what is lent counts from one decision to the next, and not over a
// pause in which nobody looked.
func TestLentUnitSeconds(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	s, plan := fullSnapshot(), fullPlan()
	for _, step := range []struct {
		after time.Duration
		want  float64 // 3 units are lent
	}{{0, 0}, {15 * time.Second, 45}, {30 * time.Second, 90}, {time.Hour, 90}, {time.Hour + 10*time.Second, 120}, {time.Minute, 120}} {
		s.Now = now.Add(step.after)
		m.decided(&gather.View{Snapshot: s}, plan)
		if got := testutil.ToFloat64(m.amounts.lent.WithLabelValues("h100")); got != step.want {
			t.Errorf("%s after the first decision: %g unit-seconds, want %g", step.after, got, step.want)
		}
	}
}

// TestUnitsAddUp: whose units are whose adds up to what there is.
func TestUnitsAddUp(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	s := fullSnapshot()
	m.decided(&gather.View{Snapshot: s}, fullPlan())
	for state, want := range map[string]float64{"own": 4, "lent": 3, "free": 9, "broken": 1} {
		if got := testutil.ToFloat64(m.amounts.units.WithLabelValues("h100", state)); got != want {
			t.Errorf("%s: %g units, want %g", state, got, want)
		}
	}
}
