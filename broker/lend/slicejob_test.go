package lend

import (
	"testing"
	"time"
)

// Whoever takes units back without the broker knows from the change itself how long the way
// back takes.
func TestReshapeTellsItsUndo(t *testing.T) {
	in, state := sliced(4)
	plan, _ := Decide(in, state, DefaultPolicy())
	made := 0
	for _, a := range plan.Reshapes {
		if a.Kind != ReshapeMake {
			continue
		}
		if made++; a.Undo != time.Second {
			t.Errorf("undoing %s takes %s", a.ID, a.Undo)
		}
	}
	if made == 0 {
		t.Error("nothing is reshaped")
	}
}
