package gpunodes

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/boards"
)

// board is the node's board of that name, nil if it has none.
func (n *Node) board(name string) *boards.Board {
	for i := range n.Object.Status.Boards {
		if said := &n.Object.Status.Boards[i]; said.Name == name {
			return n.nodes.boards.Of(said)
		}
	}
	return nil
}

// Boards collects what some nodes' GPUs can be cut into. The zero Boards is ready to use.
type Boards struct {
	names map[*boards.Board]string
	list  map[string]mig.Geometry
}

// add tells under which name the board stands: its own, but for one that the driver of
// another node describes otherwise.
func (c *Boards) add(b *boards.Board, node string) string {
	if name, known := c.names[b]; known {
		return name
	}
	if c.names == nil {
		c.names, c.list = map[*boards.Board]string{}, map[string]mig.Geometry{}
	}
	name := b.Said.Name
	if _, taken := c.list[name]; taken {
		name = fmt.Sprintf("%s (%s)", name, node)
	}
	g := b.Geometry
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
