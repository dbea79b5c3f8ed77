package pool

import (
	"fmt"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/mig"
)

// GPU is a GPU as it is to be published.
type GPU struct {
	UUID, Product string
	MemoryMiB     int64
	// Number names its devices.
	Number int
	// Board is what it can be cut into; nil: it is not in MIG mode, and a device whole.
	Board *mig.Geometry
	// Layout are the places that may be allocated, Foreign those that somebody else has.
	Layout, Foreign []mig.Placed
	// Healthy: it may be used.
	Healthy bool
}

// slots that a place covers.
func slots(g *mig.Geometry, at mig.Placed) (from, to int) {
	p, _ := g.Profile(at.Profile)
	return at.Start, at.Start + p.Memory
}

// Overlap reports whether two places of a board have a slot in common.
func Overlap(g *mig.Geometry, a, b mig.Placed) bool {
	from, to := slots(g, a)
	otherFrom, otherTo := slots(g, b)
	return from < otherTo && otherFrom < to
}

// Resources are the pool of a node: first what all cards have to give, then for each GPU
// by its number what can be had of it. The allocator takes the first devices that do, so
// of each profile those come first that leave the most for others.
func Resources(node string, gpus []GPU) resourceslice.DriverResources {
	gpus = slices.Clone(gpus)
	slices.SortFunc(gpus, func(a, b GPU) int { return a.Number - b.Number })
	var counters []resourcev1.CounterSet
	var devices []resourceslice.Slice
	var whole []resourcev1.Device
	for i := range gpus {
		g := &gpus[i]
		if g.Board == nil {
			whole = append(whole, wholeGPU(g))
			continue
		}
		counters = append(counters, counterSet(g))
		devices = append(devices, split(places(g))...)
	}
	var pool resourceslice.Pool
	for chunk := range slices.Chunk(counters, resourcev1.ResourceSliceMaxCounterSets) {
		pool.Slices = append(pool.Slices, resourceslice.Slice{SharedCounters: chunk})
	}
	pool.Slices = append(pool.Slices, devices...)
	if len(whole) > 0 || len(pool.Slices) == 0 { // an empty pool says that there is nothing
		pool.Slices = append(pool.Slices, resourceslice.Slice{Devices: whole})
	}
	return resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{node: pool}}
}

// split keeps to the number of devices that a slice may have.
func split(devices []resourcev1.Device) []resourceslice.Slice {
	var out []resourceslice.Slice
	for chunk := range slices.Chunk(devices, resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures) {
		out = append(out, resourceslice.Slice{Devices: chunk})
	}
	return out
}

func wholeGPU(g *GPU) resourcev1.Device {
	d := resourcev1.Device{
		Name: Whole(g.Number),
		Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{
			"type": text(TypeGPU), "uuid": text(g.UUID), "productName": text(g.Product),
		},
		Taints: taints(g, nil),
	}
	if g.MemoryMiB > 0 {
		d.Capacity = memory(g.MemoryMiB)
	}
	return d
}

// places are the devices of a card: all places of all its profiles.
func places(g *GPU) []resourcev1.Device {
	var out []resourcev1.Device
	table := mig.NewTable(g.Board)
	for i := range g.Board.Profiles {
		p := &g.Board.Profiles[i]
		for _, start := range table.Order(p.ID) {
			at := mig.Placed{Profile: p.ID, Start: start}
			d := resourcev1.Device{
				Name: Slice(g.Number, *p, start),
				Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{
					"type": text(TypeMIG), "profile": text(p.Name), "parentUUID": text(g.UUID), "productName": text(g.Product),
					"start": number(start), "giProfileID": number(int(p.GIProfileID)),
				},
				ConsumesCounters: []resourcev1.DeviceCounterConsumption{{CounterSet: Whole(g.Number), Counters: consumed(g.Board, *p, start)}},
				Taints:           taints(g, &at),
			}
			if p.MemoryMiB > 0 {
				d.Capacity = memory(p.MemoryMiB)
			}
			if p.SMs > 0 {
				if d.Capacity == nil {
					d.Capacity = map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{}
				}
				d.Capacity["multiprocessors"] = resourcev1.DeviceCapacity{Value: *resource.NewQuantity(int64(p.SMs), resource.DecimalSI)}
			}
			out = append(out, d)
		}
	}
	return out
}

func taints(g *GPU, at *mig.Placed) []resourcev1.DeviceTaint {
	var out []resourcev1.DeviceTaint
	taint := func(key string) {
		out = append(out, resourcev1.DeviceTaint{Key: key, Effect: resourcev1.DeviceTaintEffectNoSchedule})
	}
	if !g.Healthy {
		taint(TaintUnhealthy)
	}
	if at == nil {
		return out
	}
	if slices.ContainsFunc(g.Foreign, func(f mig.Placed) bool { return Overlap(g.Board, f, *at) }) {
		taint(TaintForeign)
	}
	if !slices.Contains(g.Layout, *at) {
		taint(TaintLayout)
	}
	return out
}

// Counters of a card.
const computeSlices = "compute-slices"

func slotCounter(slot int) string { return fmt.Sprintf("memory-slot-%d", slot) }

// capCounter counts the instances of a profile of which the board allows fewer than it
// has disjoint places.
func capCounter(p mig.Profile) string { return fmt.Sprintf("profile-%d", p.GIProfileID) }

func engineCounts(e mig.Engines) map[string]int {
	return map[string]int{"decoders": e.Decoders, "encoders": e.Encoders, "jpeg-engines": e.JPEG, "ofa-engines": e.OFA}
}

func counterSet(g *GPU) resourcev1.CounterSet {
	board := g.Board
	counters := map[string]resourcev1.Counter{}
	for slot := range board.Slots {
		counters[slotCounter(slot)] = count(1)
	}
	for _, p := range board.Profiles {
		if board := counters[computeSlices]; board.Value.CmpInt64(int64(p.Compute)) < 0 {
			counters[computeSlices] = count(p.Compute)
		}
		if capped(p) {
			counters[capCounter(p)] = count(p.Max)
		}
	}
	for name, n := range engineCounts(board.Engines) {
		if n > 0 {
			counters[name] = count(n)
		}
	}
	return resourcev1.CounterSet{Name: Whole(g.Number), Counters: counters}
}

// capped reports whether more places of the profile are disjoint than it may have
// instances.
func capped(p mig.Profile) bool {
	disjoint, free := 0, 0
	for _, start := range p.Starts {
		if start >= free {
			disjoint, free = disjoint+1, start+p.Memory
		}
	}
	return disjoint > p.Max
}

func consumed(g *mig.Geometry, p mig.Profile, start int) map[string]resourcev1.Counter {
	counters := map[string]resourcev1.Counter{computeSlices: count(p.Compute)}
	for slot := start; slot < start+p.Memory; slot++ {
		counters[slotCounter(slot)] = count(1)
	}
	if capped(p) {
		counters[capCounter(p)] = count(1)
	}
	all := engineCounts(g.Engines)
	for name, n := range engineCounts(p.Engines) {
		if n > 0 && all[name] > 0 {
			counters[name] = count(n)
		}
	}
	return counters
}

func count(n int) resourcev1.Counter {
	return resourcev1.Counter{Value: *resource.NewQuantity(int64(n), resource.DecimalSI)}
}

func text(s string) resourcev1.DeviceAttribute {
	return resourcev1.DeviceAttribute{StringValue: ptr.To(s[:min(len(s), resourcev1.DeviceAttributeMaxValueLength)])}
}

func number(n int) resourcev1.DeviceAttribute {
	return resourcev1.DeviceAttribute{IntValue: ptr.To(int64(n))}
}

func memory(mib int64) map[resourcev1.QualifiedName]resourcev1.DeviceCapacity {
	return map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{"memory": {Value: *resource.NewQuantity(mib<<20, resource.BinarySI)}}
}
