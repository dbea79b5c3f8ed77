package boards

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/mig"
)

// What an agent says of a board is what is read of it, of every board that is known.
func TestSaidAndRead(t *testing.T) {
	for _, want := range mig.Boards() {
		said := Said(&want)
		want.Apart = nil // drivers before R510 have none of it to say
		if diff := cmp.Diff(want, Geometry(&said)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Board, diff)
		}
	}
}

// One table serves all who say the same, and no others.
func TestKnown(t *testing.T) {
	var known Known
	said := Said(&mig.Boards()[0])
	first := known.Of(&said)
	if again := Said(&mig.Boards()[0]); known.Of(&again) != first {
		t.Error("the same board was read twice")
	}
	said.Slots = 4
	if known.Of(&said) == first || first.Said.Slots != 8 {
		t.Error("a board of the same name that is described otherwise is taken for the first")
	}
}
