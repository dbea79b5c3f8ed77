package baseline

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/mig"
)

// cut is a card in seven small slices, the last of them pinned.
func cut(t *testing.T, pinned int) sim.Card {
	t.Helper()
	board, _ := mig.Board("A100-40GB")
	at := slices.IndexFunc(board.Profiles, func(p mig.Profile) bool { return p.Name == "1g.5gb" })
	plan, err := mig.NewTable(&board).PlanGPU(mig.GPU{UUID: "GPU-0"}, []mig.Demand{{Profile: board.Profiles[at].ID, Count: 7}})
	if err != nil {
		t.Fatal(err)
	}
	c := sim.Card{UUID: "GPU-0", Board: board.Board}
	for i, p := range plan.Create {
		c.Slices = append(c.Slices, sim.Slice{Placed: p, Pinned: i >= len(plan.Create)-pinned})
	}
	return c
}

// Slices that are pinned are never lent. They are headroom: what is pinned need not be
// kept of the others.
func TestPinnedSlices(t *testing.T) {
	for _, name := range []string{"random", "fewest-jobs", "exhaustive", "oracle", "stock-preemption"} {
		t.Run(name, func(t *testing.T) {
			s := village(0, 0, 1, nil)
			s.Flavors = []lend.Flavor{{Name: "slice", SliceOf: "gpu", Compute: 1, Memory: 1, Profile: "1g.5gb"}}
			s.Services = []sim.Service{{
				Lender: lend.Lender{Name: "serving/chat", Flavor: "slice", Owned: 7, UnitsPerPod: 1, Warm: 3, MaxGrace: 30 * time.Second},
				Load:   sim.Curve{{At: 0, Value: 0}, {At: 30 * time.Minute, Value: 7}, {At: time.Hour, Value: 0}}, Slots: 1, Target: 1, Drain: time.Second,
			}}
			s.Nodes = []sim.Node{{Name: "node-0", Home: "serving/chat", Cards: []sim.Card{cut(t, 3)}}}
			var jobs []sim.Job
			for i := range 7 {
				j := gang(fmt.Sprintf("job-%d", i), 0, 1, 1)
				j.Flavor = "slice"
				jobs = append(jobs, j)
			}
			s.Jobs = sim.List(jobs)
			most := int64(0)
			evicted, r := watch(t, name, s, Past{}, func(w *sim.World) { most = max(most, w.Services()[0].Lent) })
			if most != 4 || len(evicted) != 4 || r.Finished != 7 {
				t.Errorf("%d slices were lent, %d jobs stopped, %d finished, want 4, 4 and 7", most, len(evicted), r.Finished)
			}
		})
	}
}
