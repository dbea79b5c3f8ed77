// Package turns bounds how many do something at once, altogether and for one caller, so that
// no caller has all of it. Nobody waits for a turn: who gets none is refused. What is bounded
// and who a caller is, its users say.
package turns

import (
	"maps"
	"sync"
)

// Turns counts who is at something.
type Turns struct {
	// most there may be, 0 for any number; and of one caller.
	most, ofOne int

	mu  sync.Mutex
	all int
	of  map[string]int // callers
}

// New has none taken. most is how many there may be, 0 for any number, ofOne how many of one
// caller.
func New(most, ofOne int) *Turns { return &Turns{most: most, ofOne: ofOne, of: map[string]int{}} }

// Enter reports whether there is room for the caller. Who has entered has to leave.
func (k *Turns) Enter(caller string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.most > 0 && k.all >= k.most || k.of[caller] >= k.ofOne {
		return false
	}
	k.all++
	k.of[caller]++
	return true
}

// Leave gives a turn back.
func (k *Turns) Leave(caller string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all--
	if k.of[caller]--; k.of[caller] == 0 {
		delete(k.of, caller)
	}
}

// Taken is how many turns are taken, altogether and by whom.
func (k *Turns) Taken() (all int, of map[string]int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.all, maps.Clone(k.of)
}
