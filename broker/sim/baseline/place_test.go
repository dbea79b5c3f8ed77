package baseline

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// acting is a policy that acts once, on an empty cluster.
type acting func(w *sim.World)

func (acting) Name() string { return "acting" }

func (a acting) Decide(w *sim.World) time.Duration {
	if w.Now() == 0 {
		a(w)
	}
	return 0
}

// onNodes runs something on a world with a pool and the homes of service 0, of these sizes.
func onNodes(t interface{ Fatal(...any) }, own, home []int64, then func(w *sim.World)) {
	s := &sim.Scenario{Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Length: time.Minute, Jobs: sim.List(nil)}
	lender := lend.Lender{Name: "serving/chat", Tenant: "serving", Flavor: "gpu", UnitsPerPod: 1}
	for i, n := range slices.Concat(own, home) {
		node := sim.Node{Name: fmt.Sprintf("node-%03d", i), Units: []sim.NodeUnits{{Flavor: "gpu", Count: n}}}
		if i >= len(own) {
			node.Home = "serving/chat"
			lender.Owned += n
		}
		s.Nodes = append(s.Nodes, node)
	}
	if lender.Owned > 0 {
		s.Services = []sim.Service{{Lender: lender, Load: sim.Curve{{At: 0, Value: 0}}, Slots: 1, Target: 1}}
	}
	ran := false
	if _, err := sim.Run(s, acting(func(w *sim.World) { then(w); ran = true }), nil); err != nil {
		t.Fatal(err)
	}
	if !ran {
		t.Fatal("the policy was not asked")
	}
}

func TestTake(t *testing.T) {
	const none = sim.Nobody
	for name, tt := range map[string]struct {
		own, home []int64
		pods, per int64
		where     ground
		want      []sim.Place // nil: does not fit
	}{
		"fullest that fits":      {own: []int64{8, 3, 2}, pods: 1, per: 3, where: pool, want: []sim.Place{{Spot: 1, Lender: none, Pods: 1}}},
		"together on one node":   {own: []int64{1, 1, 2}, pods: 2, per: 1, where: pool, want: []sim.Place{{Spot: 2, Lender: none, Pods: 2}}},
		"largest part first":     {own: []int64{2, 8, 3}, pods: 10, per: 1, where: pool, want: []sim.Place{{Spot: 1, Lender: none, Pods: 8}, {Spot: 0, Lender: none, Pods: 2}}},
		"wastes no part":         {own: []int64{7, 4, 4}, pods: 2, per: 4, where: pool, want: []sim.Place{{Spot: 1, Lender: none, Pods: 1}, {Spot: 2, Lender: none, Pods: 1}}},
		"no room in shape":       {own: []int64{7, 7}, pods: 1, per: 8, where: pool},
		"gang whole or not":      {own: []int64{8, 8}, pods: 3, per: 8, where: pool},
		"pool alone":             {own: []int64{4}, home: []int64{8}, pods: 1, per: 8, where: pool},
		"lent by whose it is":    {own: []int64{4}, home: []int64{8}, pods: 1, per: 8, where: anywhere, want: []sim.Place{{Spot: 1, Lender: 0, Pods: 1}}},
		"pool where both are":    {own: []int64{8}, home: []int64{8}, pods: 1, per: 8, where: anywhere, want: []sim.Place{{Spot: 0, Lender: none, Pods: 1}}},
		"loans alone":            {own: []int64{8}, home: []int64{8}, pods: 1, per: 8, where: loaned, want: []sim.Place{{Spot: 1, Lender: 0, Pods: 1}}},
		"gang over both grounds": {own: []int64{8}, home: []int64{8}, pods: 2, per: 8, where: anywhere, want: []sim.Place{{Spot: 0, Lender: none, Pods: 1}, {Spot: 1, Lender: 0, Pods: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			onNodes(t, tt.own, tt.home, func(w *sim.World) {
				var h holes
				h.reset(w, owners(w), func(i int32) int64 { return w.Spots()[i].Free() })
				got, ok := h.take(0, tt.pods, tt.per, tt.where)
				if ok != (tt.want != nil) || !slices.Equal(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// What is taken fits, what is refused does not, and the sums are those of the spots.
func TestTakeIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.Int64Range(0, 9), 1, 12)
		onNodes(t, sizes.Draw(t, "pool"), rapid.SliceOfN(rapid.Int64Range(1, 9), 1, 12).Draw(t, "home"), func(w *sim.World) {
			var h holes
			owner := owners(w)
			h.reset(w, owner, func(i int32) int64 { return w.Spots()[i].Free() })
			left := make([]int64, len(owner))
			for i := range left {
				left[i] = w.Spots()[i].Free()
			}
			for range 12 {
				per, pods := rapid.Int64Range(1, 9).Draw(t, "per"), rapid.Int64Range(1, 12).Draw(t, "pods")
				where := rapid.SampledFrom([]ground{pool, loaned, anywhere, 0}).Draw(t, "where")
				room, total := int64(0), int64(0)
				for i, n := range left {
					if where == anywhere || (where == pool) == (owner[i] == sim.Nobody) { // there is one service
						room, total = room+n/per, total+n
					}
				}
				if h.slots(0, per, where) != room || h.total(0, where) != total {
					t.Fatalf("%d slots and %d units, want %d and %d", h.slots(0, per, where), h.total(0, where), room, total)
				}
				places, ok := h.take(0, pods, per, where)
				if ok != (pods <= room) {
					t.Fatalf("took %d pods: %t, room is for %d", pods, ok, room)
				}
				for _, p := range places {
					left[p.Spot] -= p.Pods * per
					pods -= p.Pods
					if left[p.Spot] < 0 || p.Lender != owner[p.Spot] {
						t.Fatalf("%+v: %d units left, owned by %d", p, left[p.Spot], owner[p.Spot])
					}
				}
				if ok && pods != 0 {
					t.Fatalf("%d pods have no place", pods)
				}
			}
		})
	})
}

// A service that has fewer units at home than it owns has the rest on the last nodes.
func TestOwners(t *testing.T) {
	onNodes(t, []int64{8, 8, 8}, []int64{8}, func(w *sim.World) {
		w.Services()[0].Lender.Owned = 20
		if got, want := owners(w), []int32{-1, 0, 0, 0}; !slices.Equal(got, want) {
			t.Errorf("owners are %v, want %v", got, want)
		}
	})
}
