// Package boards translates what GPUs can be cut into between the planner and the API,
// and remembers the planner's tables for the boards that agents told of: a table takes
// milliseconds to build, and there are few kinds of boards.
//
// It judges nothing: a board that makes no sense has a table by which every plan is an
// error, as mig.NewTable says.
package boards

import (
	"reflect"
	"slices"
	"sync"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
)

// Said is how the API says a geometry.
func Said(g *mig.Geometry) v1alpha1.MIGBoard {
	b := v1alpha1.MIGBoard{Name: g.Board, Slots: int32(g.Slots), Engines: saidEngines(g.Engines)}
	for _, p := range g.Profiles {
		profile := v1alpha1.MIGProfile{
			Profile: int32(p.ID), GIProfileID: int64(p.GIProfileID), Name: p.Name, Compute: int32(p.Compute),
			Memory: int32(p.Memory), Max: int32(p.Max), MemoryMiB: p.MemoryMiB, SMs: int32(p.SMs), Engines: saidEngines(p.Engines),
		}
		for _, start := range p.Starts {
			profile.Starts = append(profile.Starts, int32(start))
		}
		b.Profiles = append(b.Profiles, profile)
	}
	return b
}

func saidEngines(e mig.Engines) *v1alpha1.MediaEngines {
	if e == (mig.Engines{}) {
		return nil
	}
	return &v1alpha1.MediaEngines{Decoders: int32(e.Decoders), Encoders: int32(e.Encoders), JPEG: int32(e.JPEG), OFA: int32(e.OFA)}
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

// Placed reads a place as a GPUNode has it.
func Placed(p v1alpha1.MIGPlacement) mig.Placed {
	return mig.Placed{Profile: mig.ProfileID(p.Profile), Start: int(p.Start)}
}

// Board is what GPUs of one kind can be cut into. It never changes.
type Board struct {
	Said     v1alpha1.MIGBoard
	Geometry mig.Geometry
	Table    *mig.Table
}

// Known are the boards that were told of. The zero Known is ready to use, by any number of
// callers at once.
type Known struct {
	mu  sync.Mutex
	all []*Board
}

// Of returns the board for what an agent said, the same each time.
func (k *Known) Of(said *v1alpha1.MIGBoard) *Board {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at := slices.IndexFunc(k.all, func(b *Board) bool { return reflect.DeepEqual(b.Said, *said) }); at >= 0 {
		return k.all[at]
	}
	b := &Board{Said: *said.DeepCopy(), Geometry: Geometry(said)}
	b.Table = mig.NewTable(&b.Geometry)
	k.all = append(k.all, b)
	return b
}
