package actuate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestLate: a leader that slept past its time finds nothing to do, neither to lend nor to
// take back, and says so once; in time again it does all of it.
func TestLate(t *testing.T) {
	for name, op := range operations {
		if name == "return" {
			continue // it proves first that the units are free, which no plan makes them
		}
		w := newWorld(t)
		if err := op.prepare(w.broker(&fuse{left: -1})); err != nil {
			t.Fatal(err)
		}
		action := w.lending()
		if name == "reclaim" {
			action = reclaiming("research/tune-1")
		}
		f := &fuse{left: -1}
		b := w.broker(f)
		over, cancel := context.WithCancelCause(b.context())
		cancel(context.DeadlineExceeded)
		err := b.actuator.Apply(over, b.gather(), &lend.Plan{Actions: []lend.Action{action}})
		for _, write := range f.writes {
			if !strings.HasPrefix(write, "status ") || strings.HasPrefix(write, "status tune") { // others only tell, and a client refuses them
				t.Errorf("%s: %s after the time was over", name, write)
			}
		}
		if name == "reclaim" && (err == nil || strings.Count(err.Error(), "is left to the next decision") != 1) || errors.Is(err, actuate.ErrStop) {
			t.Errorf("%s: it ends with %v", name, err)
		}
		if err := b.apply(action); err != nil {
			t.Errorf("%s: in time: %v", name, err)
		}
		if want := op.writes[0]; !slices.Contains(f.writes, want) {
			t.Errorf("%s: in time: %v, without %s", name, f.writes, want)
		}
	}
}
