package agent

import (
	"context"
	"fmt"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
	"github.com/ebbtide/ebbtide/mig/boards"
	"github.com/ebbtide/ebbtide/mig/device"
)

// reading is what the GPUs and the kubelet said last.
type reading struct {
	gpus []device.GPU
	// holders; nil with unknown saying why.
	holders map[string]v1alpha1.GPUHolder
	unknown error
}

func (r reading) gpu(uuid string) *device.GPU {
	for i := range r.gpus {
		if r.gpus[i].UUID == uuid {
			return &r.gpus[i]
		}
	}
	return nil
}

func (r reading) instance(gpu string, at mig.Placed) *device.Instance {
	g := r.gpu(gpu)
	if g == nil {
		return nil
	}
	for i := range g.Instances {
		if g.Instances[i].Placed == at {
			return &g.Instances[i]
		}
	}
	return nil
}

func promised(gpu, profile string, start int) string {
	return fmt.Sprintf("%s/%s@%d", gpu, profile, start)
}

// answers reports whether a GPU says what instances it has. One that is not fit for
// lending any more may: what it has on it is given back as far as it goes.
func answers(g *device.GPU) bool { return g != nil && g.MIG && g.Instances != nil }

// cut reports whether a GPU answers and is fit for lending what is on it.
func cut(g *device.GPU) bool { return answers(g) && g.Healthy }

// read asks the driver, and then who holds what: a pod that came between is seen.
func (a *Agent) read(ctx context.Context) error {
	began := a.o.Clock.Now()
	gpus, err := a.o.Driver.Read(ctx)
	a.metrics.call("Read", a.o.Clock.Since(began), err)
	if err != nil {
		return fmt.Errorf("read the GPUs: %w", err)
	}
	a.seen.gpus = gpus
	for _, g := range gpus {
		if g.Geometry == nil {
			continue
		}
		if a.geometry[g.UUID] == nil && a.o.Know != nil {
			a.o.Know(g)
		}
		a.geometry[g.UUID] = g.Geometry
	}
	a.readHolders(ctx)
	return nil
}

func (a *Agent) readHolders(ctx context.Context) {
	holders, err := a.o.Holders.Holders(ctx)
	if err != nil {
		holders = nil
		if a.seen.unknown == nil {
			a.o.Log.Error(err, "Who holds the slices is not known")
		}
	}
	a.seen.holders, a.seen.unknown = holders, err
}

// know compares the journal with what was read. Steps that were begun are settled by
// it: what they were to do has happened or not.
func (a *Agent) know() {
	for i := range a.seen.gpus {
		g := &a.seen.gpus[i]
		if !g.Healthy && !answers(g) {
			continue
		}
		j := a.journal.State.GPU(g.UUID)
		first := j == nil
		if first {
			j = &journal.GPU{UUID: g.UUID, Generations: a.earlier(g.UUID)}
			a.journal.State.AddGPU(j)
		}
		j.PCI, j.Product, j.MemoryMiB = g.PCI, g.Product, g.MemoryMiB
		if g.MIG {
			a.knowInstances(j, g, first)
		}
	}
}

// earlier are the generations that an agent with another journal published: what it
// gave out is not given again.
func (a *Agent) earlier(gpu string) map[string]int64 {
	if a.node == nil {
		return nil
	}
	given := map[string]int64{}
	for _, g := range a.node.Status.GPUs {
		if g.UUID != gpu {
			continue
		}
		for _, i := range g.Instances {
			given[journal.Place(boards.Placed(i.MIGPlacement))] = i.Generation
		}
	}
	return given
}

func (a *Agent) knowInstances(j *journal.GPU, g *device.GPU, first bool) {
	pending := j.Pending
	j.Pending = nil
	there, ours := 0, 0
	for _, i := range g.Instances {
		known := a.identify(j, i, pending, first)
		known.Layout = known.Layout || a.laysOut(j.UUID, i.Placed)
		known.Name = a.profileName(g.UUID, i.Placed, known.Name)
		j.Put(known)
		if !known.Foreign {
			there++
		}
	}
	for _, known := range append([]journal.Instance(nil), j.Instances...) {
		if a.seen.instance(g.UUID, known.Placed) != nil {
			continue
		}
		destroyed := pending != nil && pending.Kind == journal.StepDestroy && pending.At == known.Placed
		switch {
		case known.Layout:
			known.GI, known.UUID = -1, ""
			j.Put(known)
		case known.Foreign, destroyed:
			j.Drop(known.Placed)
		default:
			ours++
		}
	}
	if ours > 0 && there == 0 && len(g.Instances) == 0 && !j.Restoring {
		a.lost(j)
	}
}

// laysOut reports whether a change that is under way makes the place a part of the
// layout: what it made there stays of the layout when a claim has come and gone.
func (a *Agent) laysOut(gpu string, at mig.Placed) bool {
	if a.o.Allocation != v1alpha1.AllocationDynamicResources {
		return false
	}
	for _, r := range a.journal.State.Reshapes {
		there := r.Spec.Create
		if r.Back {
			there = r.Spec.Destroy
		}
		if r.Spec.GPU != gpu || r.Done() || r.State == v1alpha1.ReshapeMade {
			continue
		}
		for _, p := range there {
			if boards.Placed(p) == at {
				return true
			}
		}
	}
	return false
}

// identify says what an instance is that was read: the one that the journal has at its
// place, one that a step made which was begun, or somebody else's.
func (a *Agent) identify(j *journal.GPU, i device.Instance, pending *journal.Step, first bool) journal.Instance {
	before := j.Instance(i.Placed)
	begun := ""
	if pending != nil && pending.At == i.Placed {
		begun = pending.Kind
	}
	fresh := journal.Instance{Placed: i.Placed, GI: i.GI, UUID: i.UUID}
	if before != nil {
		fresh.Layout = before.Layout
	}
	whole := i.Whole || i.CI < 0
	switch {
	case begun == journal.StepCreate && whole, begun == createRefused && i.CI < 0:
	case first:
		fresh.Foreign = !i.Whole
		fresh.Layout = i.Whole && a.o.Allocation == v1alpha1.AllocationDynamicResources
	case before == nil, before.GI != i.GI:
		fresh.Foreign = true
	default:
		return a.sameAgain(j, *before, i, begun)
	}
	fresh.Generation = j.Next(i.Placed)
	if fresh.Foreign && !first {
		a.o.Log.Info("Found an instance that is not ours", "gpu", j.UUID, "profile", i.Profile, "start", i.Start)
	}
	return fresh
}

// sameAgain is for a GPU instance that was there before. Its compute instance may have
// gone or come: by a step of ours it stays ours, and otherwise it does not.
func (a *Agent) sameAgain(j *journal.GPU, known journal.Instance, i device.Instance, begun string) journal.Instance {
	switch {
	case i.CI < 0, i.Whole && i.UUID == known.UUID:
	case i.Whole && begun != "":
		known.UUID = i.UUID
	case !known.Foreign:
		a.o.Log.Info("Somebody else changed an instance of ours", "gpu", j.UUID, "profile", i.Profile, "start", i.Start)
		known.Foreign, known.UUID, known.Generation = true, i.UUID, j.Next(i.Placed)
	default:
		known.UUID = i.UUID
	}
	return known
}

// adopt takes foreign instances that are whole for the agent's own, if an administrator
// has asked for that: layouts that were cut by hand after the agent's first start.
func (a *Agent) adopt() {
	if !a.journal.AskedToAdopt() {
		return
	}
	for _, j := range a.journal.State.GPUs {
		for i := range j.Instances {
			known := &j.Instances[i]
			if there := a.seen.instance(j.UUID, known.Placed); known.Foreign && there != nil && there.Whole {
				known.Foreign = false
				known.Layout = a.o.Allocation == v1alpha1.AllocationDynamicResources
				a.o.Log.Info("An instance is ours from now on", "gpu", j.UUID, "profile", known.Profile, "start", known.Start)
			}
		}
	}
	if !a.save() {
		return
	}
	if err := a.journal.Adopted(); err != nil {
		a.o.Log.Error(err, "Instances will be adopted again")
	}
}

// lost is what happens to a GPU that has none of its instances any more: a reboot, or a
// reset. The layout is made again; a change that was under way is not.
func (a *Agent) lost(j *journal.GPU) {
	a.o.Log.Info("A GPU has lost all its instances", "gpu", j.UUID, "layout", len(j.Instances))
	j.Restoring = true
	a.metrics.lost.Inc()
	for _, r := range a.journal.State.Reshapes {
		if r.Spec.GPU == j.UUID && r.State == v1alpha1.ReshapeMaking && !r.Back {
			a.turnBack(r, v1alpha1.ReshapeRefused, "the GPU lost all its instances meanwhile")
		}
		if r.Spec.GPU == j.UUID && r.Back && !r.Done() {
			for _, p := range r.Spec.Create {
				j.Drop(boards.Placed(p)) // it was to go anyway
			}
		}
	}
}

func (a *Agent) profileName(gpu string, at mig.Placed, before string) string {
	if g := a.geometry[gpu]; g != nil {
		if p, ok := g.Profile(at.Profile); ok {
			return p.Name
		}
	}
	return before
}

func (a *Agent) resource(gpu string, at mig.Placed) string {
	if g := a.geometry[gpu]; g != nil {
		if p, ok := g.Profile(at.Profile); ok {
			return p.Resource()
		}
	}
	return ""
}
