package sim

import (
	"cmp"
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

// Card is a GPU in MIG mode, at the beginning.
type Card struct {
	// UUID is no other card's.
	UUID string
	// Board is one that package mig knows.
	Board string
	// Slices into which it is cut, by Start, then Profile. Each is a unit of the flavor of
	// Scenario.Flavors that has its profile.
	Slices []Slice
}

// Slice is a place on a card that is cut.
type Slice struct {
	mig.Placed
	// Pinned is kept for online pods: no job may have it, and nothing is made of it.
	Pinned bool
}

// CardState is a card as it is now.
type CardState struct {
	*Card
	Node int32

	geometry *mig.Geometry
	slices   []*slice // by Start, then Profile
	made     int64    // how many ever were
	change   *change  // of its layout; nil: none
}

// slice is an instance, and who has it.
type slice struct {
	mig.Placed
	spot       int32
	generation int64
	pinned     bool
	of         *change // that made it; nil: it is the node's own
	// Either a job has it, or a replica of a service, which may be leaving, or nobody.
	job     *JobState
	service int32
	leaving bool
}

func (s *slice) free() bool { return s.job == nil && s.service == Nobody }

// Boards are those of the cards, by Board.
func (w *World) Boards() []mig.Geometry { return w.boards }

// Cards are a node's, by UUID.
func (w *World) Cards(node int32) []*CardState { return w.nodes[node].cards }

// Reshapes are the changes of layouts of a node's cards, from when they are begun until they
// are undone, by ID.
func (w *World) Reshapes(node int32) []lend.Reshape {
	var list []lend.Reshape
	for _, c := range w.nodes[node].cards {
		if c.change != nil {
			list = append(list, c.change.Reshape)
		}
	}
	slices.SortFunc(list, func(a, b lend.Reshape) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// boardsOf are the boards of all cards, by Board.
func boardsOf(s *Scenario) []mig.Geometry {
	var names []string
	for _, n := range s.Nodes {
		for _, c := range n.Cards {
			if !slices.Contains(names, c.Board) {
				names = append(names, c.Board)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	list := slices.DeleteFunc(mig.Boards(), func(g mig.Geometry) bool { return !slices.Contains(names, g.Board) })
	slices.SortFunc(list, func(a, b mig.Geometry) int { return cmp.Compare(a.Board, b.Board) })
	return list
}

// boardOf returns one of them; nil if there is none of that name.
func boardOf(boards []mig.Geometry, name string) *mig.Geometry {
	i, ok := slices.BinarySearchFunc(boards, name, func(g mig.Geometry, name string) int { return cmp.Compare(g.Board, name) })
	if !ok {
		return nil
	}
	return &boards[i]
}

// profileOf is the profile of a board that a flavor names.
func profileOf(g *mig.Geometry, f *lend.Flavor) (mig.Profile, bool) {
	if g == nil || f.Profile == "" {
		return mig.Profile{}, false
	}
	return g.ProfileOf(mig.Profile{Name: f.Profile}.Resource())
}

// compute is how many compute slices the card has.
func (c *CardState) compute() (most int64) {
	for _, p := range c.geometry.Profiles {
		most = max(most, int64(p.Compute))
	}
	return most
}

// GPU is the card's layout and what is done with it, as package mig plans with it. owner
// names who holds what a job does; nil names the job.
func (c *CardState) GPU(owner func(j *JobState) string) mig.GPU {
	g := mig.GPU{UUID: c.UUID}
	for _, s := range c.slices {
		in := mig.Instance{Placed: s.Placed, Generation: s.generation, Use: mig.Idle}
		switch {
		case s.pinned:
			in.Use = mig.Pinned
		case s.service != Nobody:
			in.Use = mig.Busy
		case s.job != nil && owner == nil:
			in.Use, in.Owner = mig.Lent, s.job.Name
		case s.job != nil:
			in.Use, in.Owner = mig.Lent, owner(s.job)
		}
		g.Instances = append(g.Instances, in)
	}
	return g
}
