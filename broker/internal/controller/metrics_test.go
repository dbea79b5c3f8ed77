package controller

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newMetrics are metrics at noon.
func newMetrics(registry prometheus.Registerer) *Metrics {
	return NewMetrics(registry, clocktesting.NewFakePassiveClock(now), 15*time.Second)
}

// TestMetricsExpire: what a decision found is not shown for ever when none follows.
func TestMetricsExpire(t *testing.T) {
	registry, clk := prometheus.NewRegistry(), clocktesting.NewFakePassiveClock(now)
	m := NewMetrics(registry, clk, 30*time.Second)
	m.decided(&gather.View{Snapshot: lend.Snapshot{
		Now: now, Lenders: []lend.Lender{{Name: "serving/chat", Load: lend.Load{Known: true, ObservedAt: now}}},
	}}, &lend.Plan{Lenders: []lend.LenderView{{Name: "serving/chat", Lent: 5}}})
	for _, step := range []struct {
		after time.Duration
		shown int
	}{{0, 10}, {90 * time.Second, 10}, {91 * time.Second, 0}, {-time.Hour, 0}, {time.Second, 10}} {
		clk.SetTime(now.Add(step.after))
		n := 0
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			name := f.GetName()
			if strings.HasPrefix(name, "ebbtide_broker_signal_") || strings.HasSuffix(name, "_units") || strings.HasSuffix(name, "_cycling_jobs") {
				n++
			}
		}
		if n != step.shown {
			t.Errorf("%s after the decision %d of them are shown, want %d", step.after, n, step.shown)
		}
	}
}

// TestReclaimMetrics: a reclaim is counted by its steps, those that it had.
func TestReclaimMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	m.reclaimed(&course.Reclaim{Told: &course.Step{Seconds: 0.03}, Stopped: &course.Step{Seconds: 0.1}, Ended: &course.Step{Seconds: 12}})
	m.reclaimed(&course.Reclaim{Killed: &course.Step{Seconds: 30.5}, Ended: &course.Step{Seconds: 31}})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range families {
		for _, s := range f.Metric {
			if h := s.GetHistogram(); strings.HasPrefix(f.GetName(), "ebbtide_broker_reclaim_") {
				step := f.GetName()
				for _, l := range s.Label {
					step = l.GetValue()
				}
				got[step] = fmt.Sprintf("%d in %gs", h.GetSampleCount(), h.GetSampleSum())
			}
		}
	}
	want := map[string]string{"ebbtide_broker_reclaim_seconds": "2 in 43s", "told": "1 in 0.03s", "stopped": "1 in 0.1s", "killed": "1 in 30.5s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("histograms (-want +got):\n%s", diff)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	view := &gather.View{Snapshot: lend.Snapshot{
		Now: now,
		Lenders: []lend.Lender{
			{Name: "serving/chat", Load: lend.Load{Known: true, ObservedAt: now.Add(-4 * time.Second)}},
			{Name: "serving/blind", Load: lend.Load{Unknown: "no replica is ready"}},
		},
	}}
	m.decided(&gather.View{}, &lend.Plan{Lenders: []lend.LenderView{{Name: "serving/gone", Lent: 9}}})
	m.decided(view, &lend.Plan{
		Lenders: []lend.LenderView{{Name: "serving/chat", Owned: 12, Held: 4, Need: 4, Headroom: 2, Lent: 5, Lendable: 1}},
		Actions: []lend.Action{
			{Kind: lend.ActionLend, Reason: lend.ReasonLent}, {Kind: lend.ActionReclaim, Reason: lend.ReasonFairShare},
			{Kind: lend.ActionReclaim, Reason: lend.ReasonFairShare}, {Kind: lend.ActionReclaim, Reason: lend.ReasonQueueDraining},
		},
	})
	want := `
# HELP ebbtide_broker_actions_total Actions that decisions asked for, by kind: Lend, Reclaim, Evict, Return.
# TYPE ebbtide_broker_actions_total counter
ebbtide_broker_actions_total{kind="Evict"} 0
ebbtide_broker_actions_total{kind="Lend"} 1
ebbtide_broker_actions_total{kind="Reclaim"} 3
ebbtide_broker_actions_total{kind="Return"} 0
# HELP ebbtide_broker_lent_units Units on loan, reclaiming ones included.
# TYPE ebbtide_broker_lent_units gauge
ebbtide_broker_lent_units{lender="serving/chat"} 5
# HELP ebbtide_broker_reclaims_total Loans that decisions asked back, by reason.
# TYPE ebbtide_broker_reclaims_total counter
ebbtide_broker_reclaims_total{reason="AboveHighWater"} 0
ebbtide_broker_reclaims_total{reason="CrowdedOut"} 0
ebbtide_broker_reclaims_total{reason="FairShare"} 2
ebbtide_broker_reclaims_total{reason="LenderPodPending"} 0
ebbtide_broker_reclaims_total{reason="LenderUnknownTooLong"} 0
ebbtide_broker_reclaims_total{reason="NeedRose"} 0
ebbtide_broker_reclaims_total{reason="NodeUnhealthy"} 0
ebbtide_broker_reclaims_total{reason="NotStarted"} 0
ebbtide_broker_reclaims_total{reason="OutrankedInTenant"} 0
ebbtide_broker_reclaims_total{reason="OwnerWantsQuota"} 0
ebbtide_broker_reclaims_total{reason="QueueDraining"} 1
ebbtide_broker_reclaims_total{reason="SlicesUndone"} 0
# HELP ebbtide_broker_signal_age_seconds Age of the oldest sample of the lender's load; absent while there is none.
# TYPE ebbtide_broker_signal_age_seconds gauge
ebbtide_broker_signal_age_seconds{lender="serving/chat"} 4
# HELP ebbtide_broker_signal_state 1 if the lender's load is known, 0 if not.
# TYPE ebbtide_broker_signal_state gauge
ebbtide_broker_signal_state{lender="serving/blind"} 0
ebbtide_broker_signal_state{lender="serving/chat"} 1
`
	names := []string{
		"ebbtide_broker_actions_total", "ebbtide_broker_lent_units",
		"ebbtide_broker_reclaims_total", "ebbtide_broker_signal_age_seconds", "ebbtide_broker_signal_state",
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func record(at time.Time, reason string, actions ...lend.Action) lend.Record {
	return lend.Record{
		Snapshot: lend.Snapshot{Now: at},
		Plan: lend.Plan{
			Actions:  actions,
			Verdicts: []lend.Verdict{{Kind: lend.SubjectJob, Subject: "research/tune", Reason: reason, Message: at.String()}},
		},
	}
}

// TestBoardSince: a verdict stands since its reason came up, whatever its words.
func TestBoardSince(t *testing.T) {
	b := &Board{leader: func() string { return "" }}
	if b.Decision() != nil || b.Ledger() != nil || b.Ready() == nil {
		t.Error("a new board shows something")
	}
	since := func() time.Time {
		_, since := b.Decision().About(lend.SubjectJob, "research/tune", "")
		return since
	}
	for i, step := range []struct {
		reason string
		want   time.Time
	}{
		{lend.ReasonNoLendableUnits, now},
		{lend.ReasonNoLendableUnits, now},
		{lend.ReasonQueuePaused, now.Add(2 * time.Second)},
		{lend.ReasonNoLendableUnits, now.Add(3 * time.Second)},
	} {
		b.show(record(now.Add(time.Duration(i)*time.Second), step.reason), nil, nil)
		if got := since(); !got.Equal(step.want) {
			t.Errorf("step %d: since %s, want %s", i, got, step.want)
		}
	}
}

func TestRecorder(t *testing.T) {
	for name, test := range map[string]struct {
		all  bool
		want int
	}{"reclaims": {false, 1}, "all": {true, 2}} {
		path := filepath.Join(t.TempDir(), name)
		r, err := openRecorder(RecordConfig{Path: path, All: test.all})
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range []lend.Record{record(now, "A"), record(now, "B", lend.Action{Kind: lend.ActionReclaim})} {
			if err := r.write(rec); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for scanner := bufio.NewScanner(bytes.NewReader(data)); scanner.Scan(); lines++ {
			if _, err := lend.ReadRecord(scanner.Bytes()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if lines != test.want {
			t.Errorf("%s: %d lines, want %d", name, lines, test.want)
		}
	}
	var off *recorder
	if err := off.write(record(now, "A")); err != nil || off.close() != nil {
		t.Error("a recorder without a file fails")
	}
}

// TestStrangeUnits: what other schedulers are asked for is counted by resource, and no
// longer than it is so.
func TestStrangeUnits(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	m.decided(&gather.View{Snapshot: lend.Snapshot{Now: now}, Strangers: []gather.Stranger{
		{Name: "a", Node: "gpu-0", Resource: "nvidia.com/gpu", Units: 3}, {Name: "b", Node: "gpu-1", Resource: "nvidia.com/gpu", Units: 1},
		{Name: "c", Resource: "nvidia.com/gpu", Units: 2},
	}}, &lend.Plan{})
	for bound, want := range map[string]float64{"true": 4, "false": 2} {
		if got := testutil.ToFloat64(m.strange.WithLabelValues("nvidia.com/gpu", bound)); got != want {
			t.Errorf("bound=%s: %g units, want %g", bound, got, want)
		}
	}
	m.decided(&gather.View{Snapshot: lend.Snapshot{Now: now}}, &lend.Plan{})
	if n := testutil.CollectAndCount(m.strange); n != 0 {
		t.Errorf("%d rows are left when there are none", n)
	}
}
