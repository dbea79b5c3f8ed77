package lend

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// a1g and a2g are instances of an A100 of the uses given, from a start on.
func a1g(start int, uses ...mig.Use) (list []mig.Instance) {
	for i, use := range uses {
		list = append(list, mig.Instance{Placed: mig.Placed{Start: start + i}, Generation: 1, Use: use})
	}
	return list
}

func a2g(start int, use mig.Use) mig.Instance {
	return mig.Instance{Placed: mig.Placed{Profile: 1, Start: start}, Generation: 1, Use: use}
}

const (
	idle   = mig.Idle
	pinned = mig.Pinned
	busy   = mig.Busy
)

// Only idle slices of the one flavor go, on cards that may be touched, and as many plans are
// there as slices can be made; and the snapshot stays as it was given.
func TestOptionsOf(t *testing.T) {
	seven := a1g(0, idle, idle, idle, idle, pinned, pinned, pinned)
	free := func(*Snapshot, *Node) {}
	tests := []struct {
		name      string
		instances []mig.Instance
		from, to  string
		change    func(in *Snapshot, n *Node)
		destroys  []int // by plan
		why       string
	}{
		{"a 4g of four", seven, "a100-1g", "a100-4g", free, []int{4}, ""},
		{"up to two 2g of four", seven, "a100-1g", "a100-2g", free, []int{2, 4}, ""},
		{"three 2g of seven", a1g(0, idle, idle, idle, idle, idle, idle, idle), "a100-1g", "a100-2g", free, []int{2, 4, 6}, ""},
		{"not of busy ones", a1g(0, idle, idle, busy, idle, pinned, pinned, pinned), "a100-1g", "a100-4g", free, nil, "on no GPU are idle slices"},
		{"not of unknown ones", a1g(0, idle, idle, mig.Unknown, idle, pinned, pinned, pinned), "a100-1g", "a100-4g", free, nil, "on no GPU are idle slices"},
		{"not of what an unmaking left", a1g(0, idle, idle, mig.Remnant, idle, pinned, pinned, pinned), "a100-1g", "a100-4g", free, nil, "on no GPU are idle slices"},
		{"not of others", append(a1g(2, idle, idle, pinned, pinned, pinned), a2g(0, idle)), "a100-1g", "a100-4g", free, nil, "on no GPU are idle slices"},
		{"where there are none, nothing is said", []mig.Instance{a2g(0, idle), a2g(2, idle)}, "a100-1g", "a100-4g", free, nil, ""},
		{"not where there is room anyway", a1g(4, idle, pinned, pinned), "a100-1g", "a100-4g", free, nil, "GPU A on n has room for it beside its slices, which is nobody's to lend"},
		{"nor small ones where there is room for one", []mig.Instance{{Placed: mig.Placed{Profile: 3}, Generation: 1, Use: idle}}, "a100-4g", "a100-2g", free, nil, "GPU A on n has room for it"},
		{"small ones of a large one", append(a1g(4, busy, busy, busy), mig.Instance{Placed: mig.Placed{Profile: 3}, Generation: 1, Use: idle}), "a100-4g", "a100-2g", free, []int{1, 1}, ""},
		{"not on a node that is cordoned", seven, "a100-1g", "a100-4g", func(_ *Snapshot, n *Node) { n.Schedulable = false }, nil, ""},
		{"nor where nothing new is lent", seven, "a100-1g", "a100-4g", func(_ *Snapshot, n *Node) { n.Unlendable = "toolkit" }, nil, ""},
		{"nor on a card that must not be changed", seven, "a100-1g", "a100-4g", func(_ *Snapshot, n *Node) { n.Cards[0].Fixed = "rebooted" }, nil, "the layout of GPU A on n must not be changed: rebooted"},
		{"nor on one that is being changed", seven, "a100-1g", "a100-4g", func(_ *Snapshot, n *Node) {
			n.Reshapes = []Reshape{{ID: "rs", GPU: "A", Lender: "x", From: "a100-3g", Count: 1, To: "a100-2g", Made: 1, State: ReshapeMaking}}
		}, nil, ""},
		{"nor of a board that is not known", seven, "a100-1g", "a100-4g", func(_ *Snapshot, n *Node) { n.Cards[0].Board = "?" }, nil, ""},
		{"nor of one without the profile to be made", seven, "a100-1g", "a100-9g", func(in *Snapshot, _ *Node) {
			in.Flavors = append(in.Flavors, Flavor{Name: "a100-9g", SliceOf: "a100", Profile: "9g.90gb"})
		}, nil, ""},
		{"nor of one without the profile to be made of", seven, "a100-9g", "a100-2g", func(in *Snapshot, n *Node) {
			in.Flavors = append(in.Flavors, Flavor{Name: "a100-9g", SliceOf: "a100", Profile: "9g.90gb"})
			n.Units = append(n.Units, Units{Flavor: "a100-9g", Capacity: 7})
		}, nil, ""},
		{"nor with a layout that cannot be", append(a1g(0, idle, idle, idle, idle), a1g(0, busy, busy)...), "a100-1g", "a100-2g", free, nil, "on no GPU are idle slices"},
		{"pins are in the way", []mig.Instance{a1g(3, pinned)[0], a1g(0, pinned)[0], a1g(1, idle)[0], a1g(2, idle)[0]}, "a100-1g", "a100-4g", free, nil, "on n pinned slices are in the way: GPU A has them at 0, 3, and at"},
		{"pins of another profile are not told", append([]mig.Instance{a2g(2, pinned)}, a1g(0, idle, idle)...), "a100-1g", "a100-4g", free, nil, "on no GPU are idle slices"},
		{"nor those that would be in the way wherever they are", a1g(0, pinned, idle, idle, pinned, pinned, pinned, idle), "a100-1g", "a100-4g", free, nil, "on no GPU are idle slices"},
		{"nor those that are well placed", a1g(0, busy, idle, idle, idle, pinned, pinned, pinned), "a100-1g", "a100-4g", free, nil, "on no GPU are idle slices"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := Snapshot{
				Now: noon, Boards: mig.Boards()[:1], Flavors: slicesOf,
				Nodes: []Node{
					{Name: "m", Schedulable: true, Units: []Units{{Flavor: "a100-1g", Capacity: 7}, {Flavor: "a100-4g", Capacity: 7}}},
					{
						Name: "n", Schedulable: true, Units: []Units{{Flavor: "a100-1g", Capacity: 7}, {Flavor: "a100-4g", Capacity: 7}},
						Cards: []Card{{Board: "A100-40GB", GPU: mig.GPU{UUID: "A", Instances: test.instances}}},
					},
				},
			}
			test.change(&in, &in.Nodes[1])
			d := begin(in, State{}, DefaultPolicy())
			d.countRooms()
			given := encode(in)
			o := (&admission{decision: d}).optionsOf(test.from, test.to)
			var destroys []int
			for _, c := range o.cards {
				if c.node.Name != "n" || c.card.UUID != "A" || d.pool(test.from).rooms[c.room].node != "n" {
					t.Errorf("%+v", c)
				}
				for i, p := range c.plans {
					if destroys = append(destroys, len(p.Destroy)); len(p.Create) != i+1 {
						t.Errorf("plan %d makes %d", i, len(p.Create))
					}
				}
			}
			if !slices.Equal(destroys, test.destroys) || !strings.HasPrefix(o.why.text, test.why) || (o.why.text == "") != (test.why == "") {
				t.Errorf("plans destroy %v, want %v; why: %q", destroys, test.destroys, o.why.text)
			}
			if encode(in) != given {
				t.Error("the snapshot was changed")
			}
		})
	}
}

// A card is not touched while it is changed, and for a while after.
func TestUntouchable(t *testing.T) {
	for name, test := range map[string]struct {
		memory map[string]ReshapeMemory
		want   bool
	}{
		"never":              {nil, false},
		"another":            {map[string]ReshapeMemory{"B": {Begun: new(Reshape), Quiet: noon.Add(time.Minute)}}, false},
		"begun":              {map[string]ReshapeMemory{"A": {Begun: new(Reshape), Quiet: noon}}, true},
		"lately":             {map[string]ReshapeMemory{"A": {Quiet: noon.Add(time.Second)}}, true},
		"long enough":        {map[string]ReshapeMemory{"A": {Quiet: noon}}, false},
		"the memory of none": {map[string]ReshapeMemory{"A": {}}, false},
	} {
		a := &admission{decision: &decision{now: noon, reshapes: &reshapes{memory: test.memory}}}
		if got := a.untouchable(&Node{}, &Card{GPU: mig.GPU{UUID: "A"}}); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What can be reached is no less than what could be made of so many units, and soon says
// where it is less than is wanted.
func TestReach(t *testing.T) {
	plans := func(destroys ...int) (o option) {
		for _, n := range destroys {
			o.plans = append(o.plans, mig.Plan{Destroy: make([]mig.Instance, n)})
		}
		return o
	}
	for _, test := range []struct {
		cards       []option
		units, want int64
	}{
		{nil, 9, 0},
		{[]option{plans(4)}, 9, 1},
		{[]option{plans(4)}, 4, 1},
		{[]option{plans(4)}, 3, 0},
		{[]option{plans(4), plans(3)}, 6, 2}, // by the cheapest
		{[]option{plans(3), plans(4)}, 6, 2},
		{[]option{plans(2, 4, 6)}, 4, 2},
		{[]option{plans(2, 4, 6), plans(2)}, 100, 4},
		{[]option{plans(2, 2)}, 1, 1}, // one each, for two
		{[]option{plans(1, 1)}, 2, 2}, // less than one each
		{[]option{plans(4)}, -4, 0},
	} {
		if got := (&optionList{cards: test.cards}).reach(test.units); got != test.want {
			t.Errorf("of %d units %d, want %d", test.units, got, test.want)
		}
	}
}

// Of several obstacles the one is told that comes last, and of equal ones the first.
func TestObstacle(t *testing.T) {
	var o obstacle
	o.atLeast(byPlaces, "places of %s", "A")
	o.atLeast(byGrace, "grace")
	o.atLeast(byPlaces, "places of %s", "B")
	if o.text != "places of A" {
		t.Error(o.text)
	}
	if o.atLeast(byTrough, "trough"); o.text != "trough" {
		t.Error(o.text)
	}
}
