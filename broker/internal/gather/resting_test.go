package gather_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// What Rest says is what Gather says, but for the moment.
func TestRestIsGatherWithoutTheMoment(t *testing.T) {
	g, _ := newGatherer(cluster()...)
	view, err := g.Gather(t.Context(), now, 7)
	if err != nil {
		t.Fatal(err)
	}
	// It needs no more than this.
	resting, err := (&gather.Gatherer{Cache: g.Cache, Live: g.Live}).Rest(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	want := view.Snapshot
	for i := range want.Lenders {
		l := &want.Lenders[i]
		l.Desired, l.Running, l.Ready, l.Pending, l.Load = 0, 0, 0, nil, lend.Load{}
		l.Notice, l.Forecast, l.Hold, l.Prepare = 0, nil, nil, nil
	}
	for i := range want.Tenants {
		for k := range want.Tenants[i].Quotas {
			want.Tenants[i].Quotas[k].Held = 0
		}
	}
	if len(want.Lenders) == 0 || len(want.Tenants) == 0 {
		t.Fatalf("%d lenders and %d tenants: nothing is compared", len(want.Lenders), len(want.Tenants))
	}
	for what, pair := range map[string][2]any{
		"lenders": {want.Lenders, resting.Lenders}, "tenants": {want.Tenants, resting.Tenants},
		"cohorts": {want.Cohorts, resting.Cohorts}, "queues": {want.Queues, resting.Queues},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-gathered +resting):\n%s", what, diff)
		}
	}
	for _, l := range want.Lenders {
		if _, known := resting.Quantiles[l.Name]; !known {
			t.Errorf("the quantile of %s is missing", l.Name)
		}
	}
}

func TestRestOfWhatCannotBeRead(t *testing.T) {
	g, _ := newGatherer(cluster()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Live = failing{}
	if _, err := g.Rest(ctx, now); err == nil {
		t.Error("half a cluster was read")
	}
}
