// Package devicetest is what every device.Driver is tested with: one suite, whatever
// stands behind the driver.
//
// It promises that no check is lost without a word: what stands behind a driver and
// cannot do a thing names that with its reason, and each check that needs it is skipped
// with that reason. It refuses reasons that no check needs.
package devicetest

import (
	"sync"
	"testing"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Ability is something that what stands behind a driver can do, and not all can.
type Ability string

// The abilities.
const (
	// Refuses: it refuses what the board does not allow and what there is no room for.
	Refuses Ability = "refuses illegal layouts"
	// ModeOff: it refuses to create with MIG mode off.
	ModeOff Ability = "refuses with MIG mode off"
	// UUIDs: instances have MIG UUIDs of their own.
	UUIDs Ability = "gives UUIDs to instances"
	// Numbers: profiles have the number that nvidia-smi shows, and instances' numbers
	// follow from their part of the GPU.
	Numbers Ability = "numbers as the hardware does"
	// Processes: it lists processes, and refuses to destroy below them.
	Processes Ability = "lists processes"
	// Leaks: a GPU instance can be held without its compute instance.
	Leaks Ability = "refuses for leaked handles"
	// Activity: it measures activity of instances.
	Activity Ability = "measures activity"
	// Loss: a GPU can fall off the bus.
	Loss Ability = "loses GPUs"
)

// Fixture is a GPU in MIG mode without instances, of which the node has no other with
// the same UUID. What is nil belongs to an ability that is missing.
type Fixture struct {
	Driver device.Driver
	GPU    string
	// BreakCI destroys the compute instance at the place behind the driver's back.
	BreakCI func(t *testing.T, at mig.Placed)
	// SetMIG changes MIG mode.
	SetMIG func(t *testing.T, on bool)
	// Attach starts a process at the place and Detach ends it.
	Attach func(t *testing.T, at mig.Placed, p device.Process)
	Detach func(t *testing.T, pid int)
	// Leak keeps a handle to what is at the place and Release lets go of all.
	Leak    func(t *testing.T, at mig.Placed)
	Release func(t *testing.T)
	// Busy makes the instance at the place so busy, from 0 to 1.
	Busy func(t *testing.T, at mig.Placed, share float64)
	// Lose takes the GPU off the bus.
	Lose func(t *testing.T)
}

// Subject is a kind of driver to test.
type Subject struct {
	// New makes a Fixture for one test.
	New func(t *testing.T) Fixture
	// Geometry that the driver must tell.
	Geometry mig.Geometry
	// Lacks says why an ability is missing.
	Lacks map[Ability]string
}

// check is one test of the suite.
type check struct {
	name  string
	needs []Ability
	run   func(*testing.T, *bench)
}

// Run runs the suite as subtests of t.
func Run(t *testing.T, s Subject) {
	t.Helper()
	var mu sync.Mutex
	needed := map[Ability]bool{}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			mu.Lock()
			for _, a := range c.needs {
				needed[a] = true
			}
			mu.Unlock()
			for _, a := range c.needs {
				if why, lacks := s.Lacks[a]; lacks {
					t.Skipf("what stands behind the driver lacks %q: %s", a, why)
				}
			}
			c.run(t, newBench(t, s))
		})
	}
	for a, why := range s.Lacks {
		if !needed[a] {
			t.Errorf("no check that ran needs %q, which is said to be lacking: %s", a, why)
		}
	}
}
