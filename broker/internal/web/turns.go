package web

import "sync"

// turns counts who is at something, so that no caller has all of it.
type turns struct {
	// most there may be, 0 for as many as there are connections; and of one caller.
	most, ofOne int

	mu  sync.Mutex
	all int
	of  map[string]int // callers
}

func newTurns(most, ofOne int) *turns { return &turns{most: most, ofOne: ofOne, of: map[string]int{}} }

// enter reports whether there is room for the caller. Who has entered has to leave.
func (k *turns) enter(caller string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.most > 0 && k.all >= k.most || k.of[caller] >= k.ofOne {
		return false
	}
	k.all++
	k.of[caller]++
	return true
}

func (k *turns) leave(caller string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all--
	if k.of[caller]--; k.of[caller] == 0 {
		delete(k.of, caller)
	}
}
