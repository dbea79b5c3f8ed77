package controller

import (
	"runtime"
	"runtime/metrics"
)

// garbage has what decisions leave behind collected while nobody waits for the broker.
//
// A decision over a large cluster takes tens of milliseconds, and a collection in its
// midst as many again. Between two decisions there are seconds. So after a decision it
// collects, if the next one could otherwise set a collection off. There are about as many
// collections as without it, each a little earlier.
type garbage struct {
	samples [3]metrics.Sample
	// before is what had been allocated in all before the decision.
	before uint64
	// collect is runtime.GC but for tests.
	collect func()
}

func newGarbage() *garbage {
	return &garbage{collect: runtime.GC, samples: [3]metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/goal:bytes"},
	}}
}

func (g *garbage) read() (allocated, used, goal uint64) {
	metrics.Read(g.samples[:])
	return g.samples[0].Value.Uint64(), g.samples[1].Value.Uint64(), g.samples[2].Value.Uint64()
}

// begin notes where a decision begins.
func (g *garbage) begin() { g.before, _, _ = g.read() }

// end makes room for the next decision, where there is too little.
func (g *garbage) end() {
	if allocated, used, goal := g.read(); tight(allocated-g.before, used, goal) {
		g.collect()
	}
}

// tight reports whether another decision that allocates twice as much would come near
// the goal: the collector begins well before it, so as to be ready there.
func tight(allocated, used, goal uint64) bool { return used+2*allocated >= goal/20*17 }
