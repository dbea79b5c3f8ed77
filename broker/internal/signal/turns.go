package signal

import (
	"context"
	"slices"
	"sync"
)

// turns hands out a number of places to tenants. No tenant has more than its share at
// once, and a place that comes free goes to the one that waits and has the fewest, of
// equals to the one that waits the longest: a tenant with no place waits for one place to
// come free, however much others ask for.
type turns struct {
	share int

	mu      sync.Mutex
	free    int
	has     map[string]int
	waiting []*turn
}

// turn is one that waits. granted is closed when it has a place.
type turn struct {
	tenant  string
	granted chan struct{}
}

func newTurns(places, share int) *turns {
	return &turns{share: share, free: places, has: map[string]int{}}
}

// take waits for a place and reports whether there is one: ctx may end before. A place
// must be given back with put.
func (t *turns) take(ctx context.Context, tenant string) bool {
	me := &turn{tenant, make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, me)
	t.grant()
	t.mu.Unlock()
	select {
	case <-me.granted:
		if ctx.Err() == nil {
			return true
		}
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, me); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		return false
	}
	t.leave(tenant) // granted at the last moment
	return false
}

// put gives a place back.
func (t *turns) put(tenant string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leave(tenant)
}

func (t *turns) leave(tenant string) {
	t.free++
	if t.has[tenant]--; t.has[tenant] == 0 {
		delete(t.has, tenant)
	}
	t.grant()
}

// grant gives what is free to those whose turn it is.
func (t *turns) grant() {
	for t.free > 0 {
		next := -1
		for i, w := range t.waiting {
			if n := t.has[w.tenant]; n < t.share && (next < 0 || n < t.has[t.waiting[next].tenant]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		w := t.waiting[next]
		t.waiting = slices.Delete(t.waiting, next, next+1)
		t.free--
		t.has[w.tenant]++
		close(w.granted)
	}
}
