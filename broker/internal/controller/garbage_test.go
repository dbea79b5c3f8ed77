package controller

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// TestGarbage: decisions that allocate a few MiB each set no collection off, since room is
// made between them, and not after each.
func TestGarbage(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	live := make([]byte, 32<<20)
	for i := range live {
		live[i] = byte(i)
	}
	runtime.GC()
	count := func() uint32 {
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		return now.NumGC
	}
	g, between, within := newGarbage(), 0, uint32(0)
	g.collect = func() { between++; runtime.GC() }
	var made [][]byte
	for range 100 {
		g.begin()
		before := count()
		made = made[:0]
		for range 32 {
			made = append(made, make([]byte, 64<<10))
		}
		within += count() - before
		g.end()
	}
	if within > 0 || between == 0 || between > 25 {
		t.Errorf("%d collections within decisions and %d between 100 of them, want none and a few", within, between)
	}
	runtime.KeepAlive(live)
	runtime.KeepAlive(made)
}
