package sliced

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/boards"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// witness watches the GPUNodes: what was pinned when, and what became of reshapes.
type witness struct {
	mu sync.Mutex
	// pins of each GPU over time, the newest last.
	pins map[string][]pins
	// nodes of the GPUs.
	nodes    map[string]string
	reshapes map[string]*reshape
	// closed: what comes now is no more part of the night.
	closed bool
}

// pins are the pinned places of a GPU from a moment on.
type pins struct {
	since  time.Time
	places []mig.Placed
}

// reshape is what was seen of one.
type reshape struct {
	node, gpu string
	destroy   []mig.Placed
	create    []mig.Placed
	state     string
	made      bool
	ended     bool
	// recovered is how often an agent found it half done.
	recovered int32
	// begun and end are when it was first and last seen to change.
	begun, end time.Time
}

func newWitness() *witness {
	return &witness{pins: map[string][]pins{}, nodes: map[string]string{}, reshapes: map[string]*reshape{}}
}

// watch follows the GPUNodes until ctx ends; the returned function waits for that.
func (w *witness) watch(ctx context.Context, client dynamic.Interface) (func(), error) {
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	informer := factory.ForResource(v1alpha1.GroupVersion.WithResource("gpunodes")).Informer()
	observe := func(obj any) {
		var n v1alpha1.GPUNode
		if u, ok := obj.(*unstructured.Unstructured); ok && runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &n) == nil {
			w.observe(time.Now(), &n)
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: observe, UpdateFunc: func(_, obj any) { observe(obj) },
	}); err != nil {
		return nil, fmt.Errorf("watch the GPU nodes: %w", err)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		factory.Shutdown()
		return nil, fmt.Errorf("list the GPU nodes: %w", context.Cause(ctx))
	}
	return factory.Shutdown, nil
}

func places(said []v1alpha1.MIGPlacement) []mig.Placed {
	all := make([]mig.Placed, len(said))
	for i, p := range said {
		all[i] = boards.Placed(p)
	}
	return all
}

func (w *witness) observe(now time.Time, n *v1alpha1.GPUNode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.observePins(now, n)
	for _, r := range n.Spec.Reshapes {
		if w.reshapes[r.ID] == nil {
			w.reshapes[r.ID] = &reshape{node: n.Name, gpu: r.GPU, destroy: places(r.Destroy), create: places(r.Create), begun: now, end: now}
		}
	}
	for _, s := range n.Status.Reshapes {
		r := w.reshapes[s.ID]
		if r == nil {
			continue
		}
		if r.state != s.State || r.recovered != s.Recovered {
			r.end = now
		}
		r.state, r.recovered = s.State, max(r.recovered, s.Recovered)
		r.made = r.made || s.State == v1alpha1.ReshapeMade
		r.ended = v1alpha1.ReshapeOver(s.State)
	}
}

// observePins notes what is pinned of each GPU, if that has changed.
func (w *witness) observePins(now time.Time, n *v1alpha1.GPUNode) {
	have := map[string][]mig.Placed{}
	for gpu, node := range w.nodes {
		if node == n.Name {
			have[gpu] = nil
		}
	}
	for _, g := range n.Status.GPUs {
		have[g.UUID] = nil
	}
	for _, p := range n.Spec.Pinned {
		have[p.GPU] = places(p.Places)
	}
	for gpu, places := range have {
		w.nodes[gpu] = n.Name
		known := w.pins[gpu]
		if len(known) == 0 && len(places) == 0 || len(known) > 0 && slices.Equal(known[len(known)-1].places, places) {
			continue
		}
		w.pins[gpu] = append(known, pins{since: now, places: places})
	}
}

// allPinned tells whether each of so many cards has so many pinned places.
func (w *witness) allPinned(cards, places int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, p := range w.pins {
		if len(p[len(p)-1].places) == places {
			n++
		}
	}
	return n == cards
}

// making returns the IDs of the reshapes that are being made, in order.
func (w *witness) making() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(w.reshapes)) {
		if r := w.reshapes[id]; !r.made && !r.ended {
			ids = append(ids, id)
		}
	}
	return ids
}

// inForce counts reshapes that are made and not undone.
func (w *witness) inForce() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.reshapes {
		if r.made && !r.ended {
			n++
		}
	}
	return n
}

// get returns a copy of what was seen of a reshape.
func (w *witness) get(id string) reshape {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.reshapes[id]
}

// Tally is what became of all reshapes.
type Tally struct {
	// Begun, Made and Undone; Refused came to nothing, and Stuck went neither on nor back.
	Begun, Made, Undone, Refused, Stuck int
	// Hanging were neither in force nor at their end when they were seen last.
	Hanging int
	// Recovered are those in which an agent died or the driver refused something, and that
	// are in force all the same, or were undone.
	Recovered int
	// Killed and InUse are those of Recovered in which we had it go wrong: another agent
	// found it half done, or the driver said that a slice is in use.
	Killed, InUse int
}

// tally counts the reshapes, given what was written to the GPUs, and in which of them an
// agent was killed or a slice was in use.
func (w *witness) tally(writes []simgpu.Write, killed, inUse map[string]bool) Tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	var t Tally
	for id, r := range w.reshapes {
		t.Begun++
		if r.made {
			t.Made++
		}
		switch r.state {
		case v1alpha1.ReshapeMade:
		case v1alpha1.ReshapeUndone:
			t.Undone++
		case v1alpha1.ReshapeRefused:
			t.Refused++
		case v1alpha1.ReshapeStuck:
			t.Stuck++
		default:
			t.Hanging++
		}
		if r.state == v1alpha1.ReshapeMade || r.state == v1alpha1.ReshapeUndone {
			t.recovered(r.recovered > 0, r.refusals(writes) > 0, killed[id], inUse[id])
		}
	}
	return t
}

// recovered counts a reshape that another agent found half done, or for which the driver
// refused something, and what we did to it.
func (t *Tally) recovered(found, refused, killed, inUse bool) {
	if found || refused {
		t.Recovered++
	}
	if found && killed {
		t.Killed++
	}
	if refused && inUse {
		t.InUse++
	}
}

// installed is the layout of each card.
var installed = lab.Places(small.profile, 0, 1, 2, 3, 4, 5, 6)

// misshapen returns the GPUs that have neither the layout with which they were installed
// nor that of a reshape in force, in words. When all have, the witness has seen enough: a
// reshape that is begun afterwards could not come to its end.
func (w *witness) misshapen(gpus []device.GPU) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []string
	for i := range gpus {
		g := &gpus[i]
		want := slices.Clone(installed)
		for _, id := range slices.Sorted(maps.Keys(w.reshapes)) {
			switch r := w.reshapes[id]; {
			case r.gpu != g.UUID || r.ended:
			case r.state == v1alpha1.ReshapeMade:
				want = slices.DeleteFunc(want, func(p mig.Placed) bool { return slices.Contains(r.destroy, p) })
				want = append(want, r.create...)
			default:
				found = append(found, fmt.Sprintf("reshape %s of %s has come to no end: it is %q", id, g.UUID, r.state))
			}
		}
		var have []mig.Placed
		for _, in := range g.Instances {
			if have = append(have, in.Placed); !in.Whole {
				found = append(found, fmt.Sprintf("profile %d at %d of %s has no compute instance", in.Profile, in.Start, g.UUID))
			}
		}
		slices.SortFunc(want, func(a, b mig.Placed) int { return a.Start - b.Start })
		slices.SortFunc(have, func(a, b mig.Placed) int { return a.Start - b.Start })
		if !slices.Equal(have, want) {
			found = append(found, fmt.Sprintf("%s has %v, want %v", g.UUID, have, want))
		}
	}
	w.closed = len(found) == 0
	return found
}

// unpinned returns when GPUs that had so many pinned places had fewer, in words.
func (w *witness) unpinned(places int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []string
	for _, gpu := range slices.Sorted(maps.Keys(w.pins)) {
		complete := false
		for _, p := range w.pins[gpu] {
			if complete = complete || len(p.places) >= places; complete && len(p.places) < places {
				found = append(found, fmt.Sprintf("%s %s has %d pinned slices, not %d", p.since.UTC().Format("15:04:05.000"), gpu, len(p.places), places))
			}
		}
	}
	return found
}

// refusals counts the writes of the reshape that the driver refused.
func (r *reshape) refusals(writes []simgpu.Write) int {
	n := 0
	for i := range writes {
		if x := &writes[i]; x.Error != "" && r.ours(x) {
			n++
		}
	}
	return n
}

// wrote tells whether something was written for the reshape, with success.
func (r *reshape) wrote(writes []simgpu.Write) bool {
	return slices.ContainsFunc(writes, func(x simgpu.Write) bool { return x.Error == "" && r.ours(&x) })
}

// ours tells whether a write was at a place of the reshape, in its time.
func (r *reshape) ours(x *simgpu.Write) bool {
	return x.GPU == r.gpu && (slices.Contains(r.destroy, x.Placed) || slices.Contains(r.create, x.Placed)) &&
		!x.Time.Before(r.begun) && (!r.ended || !x.Time.After(r.end))
}

// touched returns the writes to places that were pinned at that time, in words. What an
// installation wrote was there before.
func (w *witness) touched(g *mig.Geometry, writes []simgpu.Write) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []string
	for _, x := range writes {
		if x.By == "install" {
			continue
		}
		var now []mig.Placed
		for _, p := range w.pins[x.GPU] {
			if !p.since.After(x.Time) {
				now = p.places
			}
		}
		for _, p := range now {
			if overlap(g, p, x.Placed) {
				found = append(found, fmt.Sprintf("%s %s of profile %d at %d on %s by %s, where profile %d at %d is pinned",
					x.Time.UTC().Format("15:04:05.000"), x.Op, x.Profile, x.Start, x.GPU, x.By, p.Profile, p.Start))
				break
			}
		}
	}
	return found
}

// overlap tells whether two places have a memory slot in common.
func overlap(g *mig.Geometry, a, b mig.Placed) bool {
	p, _ := g.Profile(a.Profile)
	q, _ := g.Profile(b.Profile)
	return a.Start < b.Start+q.Memory && b.Start < a.Start+p.Memory
}
