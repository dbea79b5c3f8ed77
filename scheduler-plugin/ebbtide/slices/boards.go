package slices

import (
	"reflect"
	"slices"
	"sync"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
)

// Boards remembers what was worked out for the boards that agents told of: there are few
// kinds of them. The zero Boards is ready to use, by any number of callers at once.
type Boards struct {
	mu    sync.Mutex
	known []*board
}

// board is what GPUs of one kind can be cut into.
type board struct {
	said     v1alpha1.MIGBoard
	geometry mig.Geometry
	table    *mig.Table
}

// of returns the one for what an agent said, the same each time.
func (b *Boards) of(said *v1alpha1.MIGBoard) *board {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.IndexFunc(b.known, func(known *board) bool { return reflect.DeepEqual(known.said, *said) })
	if at >= 0 {
		return b.known[at]
	}
	made := &board{said: *said.DeepCopy(), geometry: geometryOf(said)}
	made.table = mig.NewTable(&made.geometry)
	b.known = append(b.known, made)
	return made
}

func geometryOf(b *v1alpha1.MIGBoard) mig.Geometry {
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

// span returns the slots of an instance; none of a profile that is not known, nor if
// nobody said what the GPU can be cut into.
func (b *board) span(at mig.Placed) uint16 {
	if b == nil || at.Start < 0 {
		return 0
	}
	p, _ := b.geometry.Profile(at.Profile)
	return (1<<p.Memory - 1) << at.Start
}

// loss returns how much less may become of the rest of a GPU, of which those slots are
// taken, once the instance is taken too.
func (b *board) loss(taken uint16, at mig.Placed) int {
	if b == nil {
		return 0
	}
	return b.table.Phi(taken) - b.table.Phi(taken|b.span(at))
}
