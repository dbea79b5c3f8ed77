package lend

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ebbtide/ebbtide/mig"
)

// While cards are changed a node's units are counted as if they were not, by what the cards
// show where they are shown and else by what the kubelet counts; and the snapshot stays as
// it was given.
func TestCountAsIfNothingWereChanged(t *testing.T) {
	unit := func(n *Node, flavor string) *Units {
		i, there := findUnits(n, flavor)
		if !there {
			n.Units = slices.Insert(n.Units, i, Units{Flavor: flavor})
		}
		return &n.Units[i]
	}
	making := func(n *Node) {
		for i := range n.Reshapes {
			n.Reshapes[i].State = ReshapeMaking
		}
	}
	tests := []struct {
		name   string
		change func(in *Snapshot, n *Node)
		want   string // capacity+broken of a100-1g and a100-4g
	}{
		{"made", func(*Snapshot, *Node) {}, "14+0 0+0"},
		{"made, and the kubelet does not know", func(_ *Snapshot, n *Node) { unit(n, "a100-1g").Capacity, unit(n, "a100-4g").Capacity = 14, 0 }, "14+0 0+0"},
		{"made, and the cards are not shown", func(_ *Snapshot, n *Node) { n.Cards = nil }, "14+0 0+0"},
		{"made, nothing is shown and the kubelet does not know", func(_ *Snapshot, n *Node) { n.Cards, unit(n, "a100-4g").Capacity = nil, 0 }, "14+0 0+0"},
		{"made, and the node has more of it", func(in *Snapshot, n *Node) { ownBig(in) }, "14+0 1+0"},
		{"made, and it has more of it that is not shown", func(_ *Snapshot, n *Node) { n.Cards, unit(n, "a100-4g").Capacity = nil, 3 }, "14+0 1+0"},
		{"made, and all that was there is gone", func(_ *Snapshot, n *Node) {
			n.Units = n.Units[1:]
			for i := range n.Cards {
				n.Cards[i].Instances = n.Cards[i].Instances[:1]
			}
		}, "8+0 0+0"},
		{"being made, and what goes is there", func(_ *Snapshot, n *Node) {
			making(n)
			unit(n, "a100-1g").Capacity, unit(n, "a100-4g").Capacity = 14, 0
			for i := range n.Cards {
				n.Cards[i].Instances = n.Cards[i].Instances[1:]
				for k := range 4 {
					n.Cards[i].Instances = append(n.Cards[i].Instances, mig.Instance{Placed: mig.Placed{Start: k}, Generation: 1, Use: mig.Idle})
				}
			}
		}, "14+0 0+0"},
		// What may be there and may be gone is broken besides.
		{"being made, not shown, and the kubelet counts what goes", func(_ *Snapshot, n *Node) {
			making(n)
			n.Cards, unit(n, "a100-1g").Capacity, unit(n, "a100-4g").Capacity = nil, 14, 0
		}, "14+8 0+0"},
		{"being made, not shown, and the kubelet counts it no more", func(_ *Snapshot, n *Node) {
			making(n)
			n.Cards, unit(n, "a100-1g").Capacity, unit(n, "a100-4g").Capacity = nil, 6, 1
		}, "8+8 1+0"},
		{"stuck", func(_ *Snapshot, n *Node) {
			for i := range n.Reshapes {
				n.Reshapes[i].Stuck = "in use"
			}
		}, "6+8 0+0"},
		{"one is stuck", func(_ *Snapshot, n *Node) { n.Reshapes[1].Stuck = "in use" }, "10+4 0+0"},
		{"somebody is on one", func(_ *Snapshot, n *Node) { unit(n, "a100-4g").Other = 1 }, "10+4 1+0"},
		{"somebody is on one who is not counted", func(_ *Snapshot, n *Node) { n.Cards[0].Instances[0].Use = mig.Foreign }, "10+4 0+0"},
		{"somebody is on one, and too many on another profile", func(_ *Snapshot, n *Node) {
			n.Cards[0].Instances[0].Use, unit(n, "a100-4g").Other = mig.Foreign, 1
			n.Reshapes[1].To, n.Reshapes[1].State, n.Reshapes[1].Create = "a100-2g", ReshapeMaking, []mig.Placed{{Profile: 1}}
			unit(n, "a100-2g").Other = 1
		}, "10+4 1+0"},
		{"the cards' boards are not known", func(_ *Snapshot, n *Node) {
			for i := range n.Cards {
				n.Cards[i].Board = "?"
			}
		}, "14+0 0+0"},
		{"the cards' boards have no such profile, and another of its number", func(in *Snapshot, n *Node) {
			in.Boards = slices.Clone(in.Boards)
			in.Boards[0].Profiles = []mig.Profile{{ID: 0, Name: "1g.6gb", Compute: 1, Memory: 1, Max: 4, Starts: []int{0, 1, 2, 3}}}
			unit(n, "a100-1g").Capacity = 8
		}, "16+0 0+0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := twoMade()
			test.change(&in, &in.Nodes[0])
			given := encode(in)
			n := &begin(in, State{}, DefaultPolicy()).in.Nodes[0]
			got := ""
			for _, flavor := range []string{"a100-1g", "a100-4g"} {
				u := unit(n, flavor)
				got += fmt.Sprintf(" %d+%d", u.Capacity, u.Broken)
			}
			if got[1:] != test.want {
				t.Errorf("got%s, want %s", got, test.want)
			}
			if u := unit(n, "a100-2g"); u.Capacity != 0 {
				t.Errorf("%+v", *u)
			}
			if encode(in) != given {
				t.Error("the snapshot was changed")
			}
		})
	}
}

// No more is free than the cards show idle, less what was granted and is not held yet; and
// what no card has is as the kubelet says.
func TestNoMoreIsFreeThanIsIdle(t *testing.T) {
	card := func(uses ...mig.Use) []Card {
		c := Card{Board: "A100-40GB", GPU: mig.GPU{UUID: "A"}}
		for i, use := range uses {
			c.Instances = append(c.Instances, mig.Instance{Placed: mig.Placed{Start: i}, Generation: 1, Use: use})
		}
		return []Card{c}
	}
	tests := []struct {
		name    string
		cards   []Card
		online  int64
		granted int64
		free    int64
	}{
		{"as counted", card(mig.Idle, mig.Idle, mig.Idle, mig.Idle, mig.Idle, mig.Idle, mig.Idle), 0, 0, 7},
		{"unknown ones", card(mig.Idle, mig.Idle, mig.Idle, mig.Unknown, mig.Unknown, mig.Foreign, mig.Draining), 0, 0, 3},
		{"lent ones", card(mig.Idle, mig.Idle, mig.Idle, mig.Unknown, mig.Unknown, mig.Lent, mig.Lent), 0, 2, 3},
		{"granted, and not held yet", card(mig.Idle, mig.Idle, mig.Idle, mig.Unknown, mig.Unknown, mig.Lent, mig.Lent), 0, 3, 2},
		{"more seem lent than were granted", card(mig.Idle, mig.Idle, mig.Idle, mig.Unknown, mig.Unknown, mig.Lent, mig.Lent), 0, 1, 3},
		{"more pods than are seen", card(mig.Idle, mig.Idle, mig.Idle, mig.Idle, mig.Idle, mig.Idle, mig.Idle), 4, 0, 3},
		{"no cards", nil, 4, 1, 2},
	}
	for _, test := range tests {
		for _, schedulable := range []bool{true, false} {
			in := Snapshot{
				Now: noon, Boards: mig.Boards()[:1], Flavors: slicesOf,
				Nodes: []Node{
					{Name: "m", Schedulable: true, Units: []Units{{Flavor: "a100-1g", Capacity: 5}}},
					{Name: "n", Schedulable: schedulable, Cards: test.cards, Units: []Units{{Flavor: "a100", Capacity: 2}, {Flavor: "a100-1g", Capacity: 7, Online: test.online}}},
				},
			}
			if in.Nodes[1].Cards == nil { // then another node has some
				in.Nodes[0].Cards = card(mig.Idle, mig.Idle, mig.Idle, mig.Idle, mig.Idle)
			}
			if test.granted > 0 {
				in.Loans = []Loan{loanOf("serving/chat", "a100-1g", test.granted)}
			}
			d := begin(in, State{}, DefaultPolicy())
			d.countRooms()
			own, whole, other := d.room(Grant{Node: "n", Flavor: "a100-1g"}), d.room(Grant{Node: "n", Flavor: "a100"}), d.room(Grant{Node: "m", Flavor: "a100-1g"})
			if other.free != 5 || (own != nil) != schedulable || own != nil && (own.free != test.free || whole.free != 2) {
				t.Errorf("%s: %+v, want %d free; whole GPUs %+v, other node %+v", test.name, own, test.free, whole, other)
			}
		}
	}
}

// What is kept of boards follows a board that changes, also in place, and of two of a name
// the first counts.
func TestBoardsAreFollowed(t *testing.T) {
	k := new(Decider)
	all := slices.Clone(mig.Boards()[:1])
	all[0].Profiles = slices.Clone(all[0].Profiles)
	one := &all[0].Profiles[0]
	one.Starts = slices.Clone(one.Starts)
	name := all[0].Board
	before := k.boardsOf(all)[name]
	if again := k.boardsOf(all)[name]; again != before {
		t.Error("a board that is as it was is read anew")
	}
	one.Starts[0] = 9
	if p := k.boardsOf(all)[name].profiles[one.Name]; p.Starts[0] != 9 {
		t.Errorf("%+v after a start has changed", p)
	}
	one.Max = 3
	if p := k.boardsOf(all)[name].profiles[one.Name]; p.Max != 3 {
		t.Errorf("%+v after its number has changed", p)
	}
	other := all[0]
	other.Profiles = append(slices.Clone(other.Profiles), *one)
	other.Profiles[len(other.Profiles)-1].Max = 5
	if p := k.boardsOf([]mig.Geometry{other})[name].profiles[one.Name]; p.Max != 3 {
		t.Errorf("%+v is not the first of its name", p)
	}
	if p := k.boardsOf([]mig.Geometry{all[0], other})[name]; len(p.geometry.Profiles) != len(all[0].Profiles) {
		t.Error("the second board of a name counts")
	}
	if b := k.boardsOf(nil); len(b) > 0 {
		t.Errorf("boards of none: %v", b)
	}
}
