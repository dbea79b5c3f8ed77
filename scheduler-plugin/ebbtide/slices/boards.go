package slices

import (
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/boards"
)

// Boards remembers what was worked out for the boards that agents told of. The zero Boards
// is ready to use, by any number of callers at once.
type Boards struct{ known boards.Known }

// span returns the slots of an instance; none of a profile that is not known, nor if
// nobody said what the GPU can be cut into.
func span(b *boards.Board, at mig.Placed) uint16 {
	if b == nil || at.Start < 0 {
		return 0
	}
	p, _ := b.Geometry.Profile(at.Profile)
	return (1<<p.Memory - 1) << at.Start
}

// lossOf returns how much less may become of the rest of a GPU, of which those slots are
// taken, once the instance is taken too.
func lossOf(b *boards.Board, taken uint16, at mig.Placed) int {
	if b == nil {
		return 0
	}
	return b.Table.Phi(taken) - b.Table.Phi(taken|span(b, at))
}
