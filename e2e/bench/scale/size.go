package scale

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// heapMiB is what is in use when all garbage is gone.
func heapMiB() float64 {
	runtime.GC()
	runtime.GC() // what had a finalizer goes with the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// size is how much memory the last decision needs: a snapshot of its own, what the Decider
// keeps of it, the state and the plan.
func (w *watcher) size() (mib float64, err error) {
	text, err := json.Marshal(w.last)
	if err != nil {
		return 0, fmt.Errorf("writing the snapshot: %w", err)
	}
	state, pol := w.state, w.rules
	*w = watcher{clock: w.clock, cpu: w.cpu, loans: w.loans, jobs: w.jobs, lenders: w.lenders, acted: w.acted, asked: w.asked}
	before := heapMiB()
	var in lend.Snapshot
	if err := json.Unmarshal(text, &in); err != nil {
		return 0, fmt.Errorf("reading the snapshot: %w", err)
	}
	k := new(lend.Decider)
	plan, next := k.Decide(in, state, pol)
	mib = heapMiB() - before
	runtime.KeepAlive(text)
	runtime.KeepAlive(state)
	runtime.KeepAlive(in)
	runtime.KeepAlive(k)
	runtime.KeepAlive(plan)
	runtime.KeepAlive(next)
	return mib, nil
}
