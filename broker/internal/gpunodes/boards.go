package gpunodes

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
)

// board is what GPUs of one kind can be cut into.
type board struct {
	said     v1alpha1.MIGBoard
	geometry mig.Geometry
	table    *mig.Table
}

// Geometry is what the API says of a board.
func Geometry(b *v1alpha1.MIGBoard) mig.Geometry {
	g := mig.Geometry{Board: b.Name, Slots: int(b.Slots), Engines: engines(b.Engines)}
	for i := range b.Profiles {
		p := &b.Profiles[i]
		profile := mig.Profile{
			ID: mig.ProfileID(p.Profile), GIProfileID: uint32(p.GIProfileID), Name: p.Name,
			Compute: int(p.Compute), Memory: int(p.Memory), Max: int(p.Max),
			MemoryMiB: p.MemoryMiB, SMs: int(p.SMs), Engines: engines(p.Engines),
		}
		for _, start := range p.Starts {
			profile.Starts = append(profile.Starts, int(start))
		}
		g.Profiles = append(g.Profiles, profile)
	}
	return g
}

func engines(e *v1alpha1.MediaEngines) mig.Engines {
	if e == nil {
		return mig.Engines{}
	}
	return mig.Engines{Decoders: int(e.Decoders), Encoders: int(e.Encoders), JPEG: int(e.JPEG), OFA: int(e.OFA)}
}

// board is the node's board of that name, nil if it has none.
func (n *Node) board(name string) *board {
	for i := range n.Object.Status.Boards {
		if said := &n.Object.Status.Boards[i]; said.Name == name {
			return n.nodes.board(said)
		}
	}
	return nil
}

// board is the one for what an agent says, the same each time.
func (n *Nodes) board(said *v1alpha1.MIGBoard) *board {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.boards[said.Name] {
		if reflect.DeepEqual(b.said, *said) {
			return b
		}
	}
	b := &board{said: *said.DeepCopy(), geometry: Geometry(said)}
	b.table = mig.NewTable(&b.geometry)
	n.boards[said.Name] = append(n.boards[said.Name], b)
	return b
}

// Boards collects what some nodes' GPUs can be cut into. The zero Boards is ready to use.
type Boards struct {
	names map[*board]string
	list  map[string]mig.Geometry
}

// add tells under which name the board stands: its own, but for one that the driver of
// another node describes otherwise.
func (c *Boards) add(b *board, node string) string {
	if name, known := c.names[b]; known {
		return name
	}
	if c.names == nil {
		c.names, c.list = map[*board]string{}, map[string]mig.Geometry{}
	}
	name := b.said.Name
	if _, taken := c.list[name]; taken {
		name = fmt.Sprintf("%s (%s)", name, node)
	}
	g := b.geometry
	g.Board = name
	c.names[b], c.list[name] = name, g
	return name
}

// List are the boards by name.
func (c *Boards) List() []mig.Geometry {
	list := make([]mig.Geometry, 0, len(c.list))
	for _, name := range slices.Sorted(maps.Keys(c.list)) {
		list = append(list, c.list[name])
	}
	return list
}
