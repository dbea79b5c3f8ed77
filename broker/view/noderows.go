package view

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

// UnitsRow is what there is of one flavor, on a node or in all. Own is what Services, Training
// on its own quota and Other pods hold; Own, Lent, Free and Broken add up to Capacity. Of a
// row that shows a part, what is not known is 0, and Borrowed is what one's own jobs have of
// what others lend.
type UnitsRow struct {
	Flavor   string `json:"flavor"`
	Capacity int64  `json:"capacity"`
	Own      int64  `json:"own"`
	Lent     int64  `json:"lent"`
	Free     int64  `json:"free"`
	Broken   int64  `json:"broken"`
	Services int64  `json:"services"`
	Training int64  `json:"training"`
	Other    int64  `json:"other"`
	Borrowed int64  `json:"borrowed,omitempty"`
}

// NodeRow is a node, as a decision saw it.
type NodeRow struct {
	Name        string `json:"name"`
	Schedulable bool   `json:"schedulable"`
	// Silent: nobody confirms the end of a pod on it.
	Silent bool `json:"silent,omitempty"`
	// Unlendable says why nothing new is lent on it.
	Unlendable string     `json:"unlendable,omitempty"`
	Units      []UnitsRow `json:"units"`
	// Cards are its GPUs in MIG mode, and Reshapes the changes of them.
	Cards    []CardRow    `json:"cards,omitempty"`
	Reshapes []ReshapeRow `json:"reshapes,omitempty"`
	// Part: who asks sees of it what his services lend and his jobs have.
	Part bool `json:"part,omitempty"`
}

// CardRow is a GPU in MIG mode.
type CardRow struct {
	UUID  string `json:"uuid"`
	Board string `json:"board"`
	// Slots is how many there are to draw; 0: the board is not known.
	Slots  int        `json:"slots"`
	Slices []SliceRow `json:"slices"`
	// Fixed says why its layout must not be changed now.
	Fixed string `json:"fixed,omitempty"`
}

// SliceRow is one instance of a GPU: see Hold.
type SliceRow struct {
	Profile string `json:"profile"`
	Start   int    `json:"start"`
	Size    int    `json:"size"`
	Hold    Hold   `json:"hold"`
	Kept    bool   `json:"kept,omitempty"`
	Holder  string `json:"holder,omitempty"`
}

// ReshapeRow is a change of a card's layout.
type ReshapeRow struct {
	GPU    string            `json:"gpu"`
	Lender string            `json:"lender"`
	From   string            `json:"from"`
	Count  int64             `json:"count"`
	To     string            `json:"to"`
	Made   int64             `json:"made"`
	State  lend.ReshapeState `json:"state"`
	Stuck  string            `json:"stuck,omitempty"`
}

// spot is a flavor on a node.
type spot struct{ node, flavor string }

// Nodes are a snapshot's, by name.
func Nodes(in *lend.Snapshot) []NodeRow {
	boards := make(map[string]*mig.Geometry, len(in.Boards))
	for i := range in.Boards {
		boards[in.Boards[i].Board] = &in.Boards[i]
	}
	lent, training, ending := map[spot]int64{}, map[spot]int64{}, map[spot]int64{}
	for i := range in.Loans {
		l := &in.Loans[i]
		for _, g := range l.Grants {
			at := spot{g.Node, g.Flavor}
			switch gone := l.Live == 0 && (l.Reclaiming || l.Preempted || l.Finished); {
			case gone:
				ending[at] += g.Count
			case g.Lender == "":
				training[at] += g.Count
			default:
				lent[at] += g.Count
			}
		}
	}
	rows := make([]NodeRow, 0, len(in.Nodes))
	for i := range in.Nodes {
		n := &in.Nodes[i]
		row := NodeRow{Name: n.Name, Schedulable: n.Schedulable, Silent: n.Silent, Unlendable: n.Unlendable, Units: make([]UnitsRow, 0, len(n.Units))}
		for _, u := range n.Units {
			at := spot{n.Name, u.Flavor}
			row.Units = append(row.Units, unitsRow(&u, training[at], lent[at], ending[at]))
		}
		for j := range n.Cards {
			row.Cards = append(row.Cards, cardRow(&n.Cards[j], boards[n.Cards[j].Board]))
		}
		for _, r := range n.Reshapes {
			row.Reshapes = append(row.Reshapes, ReshapeRow{GPU: r.GPU, Lender: r.Lender, From: r.From, Count: r.Count, To: r.To, Made: r.Made, State: r.State, Stuck: r.Stuck})
		}
		rows = append(rows, row)
	}
	return rows
}

// unitsRow adds up. What a loan holds whose pods are gone may be in another hand already: it
// counts as lent as far as nobody else has it. What is broken and held is held.
func unitsRow(u *lend.Units, training, lent, ending int64) UnitsRow {
	r := UnitsRow{Flavor: u.Flavor, Services: max(u.Online, 0), Other: max(u.Other, 0), Training: training, Lent: lent}
	usable, broken := max(u.Capacity, 0), max(u.Broken, 0)
	r.Own = r.Services + r.Training + r.Other
	r.Lent += min(ending, max(usable+broken-r.Own-r.Lent, 0))
	held := r.Own + r.Lent
	r.Free = max(usable-held, 0)
	r.Broken = max(broken-max(held-usable, 0), 0)
	r.Capacity = held + r.Free + r.Broken
	return r
}

func cardRow(c *lend.Card, board *mig.Geometry) CardRow {
	row := CardRow{UUID: c.UUID, Board: c.Board, Slices: make([]SliceRow, 0, len(c.Instances)), Fixed: c.Fixed}
	if board != nil {
		row.Slots = board.Slots
	}
	for i := range c.Instances {
		in := &c.Instances[i]
		s := SliceRow{Start: in.Start, Size: 1, Hold: holdOf(in), Kept: in.Use == mig.Pinned, Holder: in.Owner}
		if board != nil {
			for j := range board.Profiles {
				if p := &board.Profiles[j]; p.ID == in.Profile {
					s.Profile, s.Size = p.Name, p.Memory
				}
			}
		}
		row.Slices = append(row.Slices, s)
	}
	slices.SortStableFunc(row.Slices, func(a, b SliceRow) int { return cmp.Compare(a.Start, b.Start) })
	return row
}

func holdOf(in *mig.Instance) Hold {
	switch in.Use {
	case mig.Idle:
		return HoldFree
	case mig.Pinned:
		if in.Owner == "" {
			return HoldKept
		}
		return HoldPinned
	case mig.Busy:
		return HoldService
	case mig.Lent:
		return HoldLoan
	case mig.Draining, mig.Remnant, mig.Foreign:
		return HoldBad
	}
	return HoldUnknown
}

// NodesOf are the nodes on which loans of some borrowers are, or of which some services lend:
// what these lend and those have there, and nothing of anybody else. Borrows is told a loan's
// name, and lends a lender's.
func NodesOf(in *lend.Snapshot, borrows, lends func(name string) bool) []NodeRow {
	units := map[spot]*UnitsRow{}
	for i := range in.Loans {
		l := &in.Loans[i]
		mine := borrows(l.Name)
		for _, g := range l.Grants {
			lent := g.Lender != "" && lends(g.Lender)
			if !mine && !lent {
				continue
			}
			at := spot{g.Node, g.Flavor}
			if units[at] == nil {
				units[at] = &UnitsRow{Flavor: g.Flavor}
			}
			u := units[at]
			switch {
			case lent:
				u.Lent += g.Count
			case g.Lender == "":
				u.Training, u.Own = u.Training+g.Count, u.Own+g.Count
			}
			if mine && g.Lender != "" && !lent {
				u.Borrowed += g.Count
			}
		}
	}
	byNode := map[string][]UnitsRow{}
	for at, u := range units {
		byNode[at.node] = append(byNode[at.node], *u)
	}
	rows := []NodeRow{}
	for i := range in.Nodes {
		n := &in.Nodes[i]
		if mine := byNode[n.Name]; len(mine) > 0 {
			slices.SortFunc(mine, func(a, b UnitsRow) int { return strings.Compare(a.Flavor, b.Flavor) })
			rows = append(rows, NodeRow{Name: n.Name, Schedulable: n.Schedulable, Units: mine, Part: true})
		}
	}
	return rows
}

// Totals adds the nodes' units up, by flavor.
func Totals(nodes []NodeRow) []UnitsRow {
	sums := map[string]*UnitsRow{}
	flavors := []string{}
	for i := range nodes {
		for _, u := range nodes[i].Units {
			t := sums[u.Flavor]
			if t == nil {
				t = &UnitsRow{Flavor: u.Flavor}
				sums[u.Flavor], flavors = t, append(flavors, u.Flavor)
			}
			t.add(&u)
		}
	}
	slices.Sort(flavors)
	rows := make([]UnitsRow, 0, len(flavors))
	for _, flavor := range flavors {
		rows = append(rows, *sums[flavor])
	}
	return rows
}

func (r *UnitsRow) add(u *UnitsRow) {
	r.Capacity += u.Capacity
	r.Own += u.Own
	r.Lent += u.Lent
	r.Free += u.Free
	r.Broken += u.Broken
	r.Services += u.Services
	r.Training += u.Training
	r.Other += u.Other
	r.Borrowed += u.Borrowed
}
