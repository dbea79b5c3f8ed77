package journal

import (
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
)

// State is all that the journal holds.
type State struct {
	// Node is whose journal it is.
	Node string `json:"node"`
	// GPUs by UUID.
	GPUs []*GPU `json:"gpus,omitempty"`
	// Reshapes in the order in which they were accepted. One that has come to its end
	// stays until whoever asked for it has seen that.
	Reshapes []*Reshape `json:"reshapes,omitempty"`
}

// GPU is what is known of one GPU.
type GPU struct {
	UUID      string `json:"uuid"`
	PCI       string `json:"pci,omitempty"`
	Product   string `json:"product,omitempty"`
	MemoryMiB int64  `json:"memoryMiB,omitempty"`
	// Instances by start, then profile: the layout as it was left.
	Instances []Instance `json:"instances,omitempty"`
	// Generations are the last one given at each place, by Place.
	Generations map[string]int64 `json:"generations,omitempty"`
	// Pending is the step that was begun, and whose end is not written down.
	Pending *Step `json:"pending,omitempty"`
	// Restoring: the GPU had lost all its instances, and not all are there again.
	Restoring bool `json:"restoring,omitempty"`
}

// Instance is an instance of a GPU's layout.
type Instance struct {
	mig.Placed
	// Name of the profile, for people and for resource names.
	Name       string `json:"name,omitempty"`
	Generation int64  `json:"generation"`
	// GI and UUID are by what it is known again: something else at the same place is
	// somebody else's. GI is -1 for one that is of the layout and not there.
	GI   int    `json:"gi"`
	UUID string `json:"uuid,omitempty"`
	// Foreign: somebody else made it, or changed it.
	Foreign bool `json:"foreign,omitempty"`
	// Layout: it is of the node's layout also while it is not there, which is what
	// dynamic allocation makes and unmakes.
	Layout bool `json:"layout,omitempty"`
}

// Kinds of steps.
const (
	StepCreate  = "Create"
	StepDestroy = "Destroy"
	StepRepair  = "Repair"
)

// Step is one change of one instance.
type Step struct {
	Kind string     `json:"kind"`
	At   mig.Placed `json:"at"`
}

// Reshape is a change of a layout and how far it is.
type Reshape struct {
	// Spec is what was asked for.
	Spec v1alpha1.Reshape `json:"spec"`
	// State is that of the API: v1alpha1.ReshapeMaking and so on.
	State   string    `json:"state"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since"`
	// Back: it is on the way back, to Outcome: Undone or Refused.
	Back    bool   `json:"back,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	// Touched: something was destroyed or created since it was last at rest.
	Touched bool `json:"touched,omitempty"`
	// Began is when the present way began; zero: how long it takes is not to be said.
	Began            time.Time `json:"began,omitzero"`
	MakeMilliseconds int64     `json:"makeMilliseconds,omitempty"`
	UndoMilliseconds int64     `json:"undoMilliseconds,omitempty"`
	// Recovered counts how often it was found half done.
	Recovered int32 `json:"recovered,omitempty"`
}

// Done reports whether nothing more is to be done for it.
func (r *Reshape) Done() bool { return v1alpha1.ReshapeOver(r.State) }

// GPU returns what is known of a GPU, or nil.
func (s *State) GPU(uuid string) *GPU {
	for _, g := range s.GPUs {
		if g.UUID == uuid {
			return g
		}
	}
	return nil
}

// AddGPU adds a GPU, in order.
func (s *State) AddGPU(g *GPU) {
	at, _ := slices.BinarySearchFunc(s.GPUs, g.UUID, func(have *GPU, uuid string) int {
		return compare(have.UUID, uuid)
	})
	s.GPUs = slices.Insert(s.GPUs, at, g)
}

// Reshape returns the reshape with the ID, or nil.
func (s *State) Reshape(id string) *Reshape {
	for _, r := range s.Reshapes {
		if r.Spec.ID == id {
			return r
		}
	}
	return nil
}

// Place names a place for Generations.
func Place(at mig.Placed) string { return fmt.Sprintf("%d@%d", at.Profile, at.Start) }

// Instance returns the instance at a place, or nil.
func (g *GPU) Instance(at mig.Placed) *Instance {
	for i := range g.Instances {
		if g.Instances[i].Placed == at {
			return &g.Instances[i]
		}
	}
	return nil
}

// Put adds an instance, or replaces the one at its place.
func (g *GPU) Put(i Instance) {
	g.Drop(i.Placed)
	at, _ := slices.BinarySearchFunc(g.Instances, i, func(a, b Instance) int {
		if a.Start != b.Start {
			return a.Start - b.Start
		}
		return int(a.Profile - b.Profile)
	})
	g.Instances = slices.Insert(g.Instances, at, i)
}

// Drop forgets the instance at a place.
func (g *GPU) Drop(at mig.Placed) {
	g.Instances = slices.DeleteFunc(g.Instances, func(i Instance) bool { return i.Placed == at })
}

// Next is the generation for what is new at a place, and counts it as given.
func (g *GPU) Next(at mig.Placed) int64 {
	if g.Generations == nil {
		g.Generations = map[string]int64{}
	}
	g.Generations[Place(at)]++
	return g.Generations[Place(at)]
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
