package view_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

func TestOutlook(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 20, 0, time.UTC)
	plan := &lend.Plan{Tenants: []lend.TenantView{{Name: "research", Flavor: "h100", Available: 4}}}
	o := view.NewOutlook(at, plan, map[string]int64{"h100": 12, "slow": 1}, time.Hour)
	job := func(flavor string) *lend.Job {
		return &lend.Job{Tenant: "research", Flavor: flavor, Pods: 2, UnitsPerPod: 4}
	}
	refused := job("h100")
	refused.Problem = &lend.Problem{Reason: lend.ReasonUnknownQueue}
	for name, test := range map[string]struct {
		job    *lend.Job
		ahead  int64
		reason string
		want   time.Duration // after noon; 0: no estimate
	}{
		"a unit in five minutes":    {job("h100"), 16, lend.ReasonNoLendableUnits, time.Hour},
		"enough, not in its shape":  {job("h100"), 4, lend.ReasonNoRoomForGang, 20 * time.Minute},
		"another's room is not its": {&lend.Job{Tenant: "other", Flavor: "h100", UnitsPerPod: 1}, 12, lend.ReasonBehindInQueue, time.Hour},
		"nothing came free":         {job("a100"), 16, lend.ReasonNoLendableUnits, 0},
		"its queue is paused":       {job("h100"), 16, lend.ReasonQueuePaused, 0},
		"never":                     {refused, 16, lend.ReasonNoLendableUnits, 0},
		"in years":                  {job("slow"), 1 << 40, lend.ReasonNoLendableUnits, 0},
	} {
		got := o.Start(test.job, lend.Place{Ahead: test.ahead}, test.reason)
		want := time.Time{}
		if test.want > 0 {
			want = at.Truncate(time.Minute).Add(test.want)
		}
		if !got.Equal(want) {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if silent := view.NewOutlook(at, plan, nil, time.Hour); !silent.Start(job("h100"), lend.Place{}, lend.ReasonNoLendableUnits).IsZero() {
		t.Error("an estimate without a rate")
	}
}
