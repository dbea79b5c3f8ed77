package controller

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ebbtide/ebbtide/broker/forecast"
	"github.com/ebbtide/ebbtide/broker/internal/demand"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// pastNames are the metrics about the past.
var pastNames = []string{"ebbtide_broker_notice_seconds", "ebbtide_broker_forecast_growth", "ebbtide_broker_forecast_dispersion"}

// TestPast: what is learned is read by each scrape and by no decision, and vanishes with
// whom it was learned by.
func TestPast(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	scrape := func(want string) {
		t.Helper()
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), pastNames...); err != nil {
			t.Error(err)
		}
	}
	scrape("")
	asked, notice := 0, 90*time.Second
	stop := m.learn(func() []demand.Learned {
		asked++
		return []demand.Learned{
			{Lender: "serving/chat", Notice: notice, Outlook: forecast.Outlook{Growth: 1.5}, Scatter: forecast.Scatter{Ratio: 2.5}},
			{Lender: "serving/young", Notice: 75 * time.Second, Scatter: forecast.Scatter{Ratio: 9}},
		}
	})
	m.decided(&gather.View{}, &lend.Plan{})
	if asked != 0 {
		t.Errorf("a decision asked %d times", asked)
	}
	want := `
# HELP ebbtide_broker_forecast_dispersion Variance over mean of the load within an hour.
# TYPE ebbtide_broker_forecast_dispersion gauge
ebbtide_broker_forecast_dispersion{lender="serving/chat"} 2.5
# HELP ebbtide_broker_forecast_growth Factor by which the load grows within the notice at most, as often as the policy's quantile says.
# TYPE ebbtide_broker_forecast_growth gauge
ebbtide_broker_forecast_growth{lender="serving/chat"} 1.5
# HELP ebbtide_broker_notice_seconds Time from asking units back to a replica that serves on them: as learned, and no less than maxGrace and a start.
# TYPE ebbtide_broker_notice_seconds gauge
ebbtide_broker_notice_seconds{lender="serving/chat"} %d
ebbtide_broker_notice_seconds{lender="serving/young"} 75
`
	scrape(fmt.Sprintf(want, 90))
	notice = 2 * time.Minute
	scrape(fmt.Sprintf(want, 120))
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	stop()
	scrape("")
}

// TestPastWhileDeciding: scrapes, decisions and changes of the leader do not disturb each
// other; the race detector sees it.
func TestPastWhileDeciding(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	memory := demand.New(demand.Config{})
	var all sync.WaitGroup
	all.Go(func() {
		for i := range 200 {
			at := now.Add(time.Duration(i) * 15 * time.Second)
			memory.Observe("serving/chat", at, lend.Load{Known: true, ObservedAt: at, Requests: 4, Slots: 8, Coverage: 1}, demand.Shape{})
		}
	})
	all.Go(func() {
		for range 50 {
			if _, err := registry.Gather(); err != nil {
				t.Error(err)
			}
		}
	})
	for range 50 {
		m.learn(func() []demand.Learned { return memory.Learned(now.Add(time.Hour)) })()
	}
	defer m.learn(func() []demand.Learned { return memory.Learned(now.Add(time.Hour)) })()
	all.Wait()
	if n, err := testutil.GatherAndCount(registry, pastNames...); err != nil || n != 3 {
		t.Errorf("%d series, %v", n, err)
	}
}

// TestNoMetricTwice: what waits and what is on loan is told in one place.
func TestNoMetricTwice(t *testing.T) {
	registry := prometheus.NewRegistry()
	newMetrics(registry).decided(&gather.View{Snapshot: lend.Snapshot{
		Queues: []lend.Queue{{Name: "research/default"}}, Loans: []lend.Loan{{Name: "research/a"}},
	}}, &lend.Plan{})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if name := f.GetName(); strings.Contains(name, "waiting") || strings.HasSuffix(name, "_loans") {
			t.Errorf("%s repeats a metric of the training demand", name)
		}
	}
}
