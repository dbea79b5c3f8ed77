package slices

import (
	"testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// A slice of which nobody knows whether a process is on it goes to no loan, and to others
// where nothing else is left.
func TestUnsure(t *testing.T) {
	loan := Who{Loan: &Loan{JobUID: "job", Lent: []Lending{{"serving/chat", "a100-4g"}}}}
	for name, tc := range map[string]struct {
		who  Who
		idle bool   // the one in slot 4; of that in slot 5 nobody knows
		pin  string // a place
		want string
	}{
		"no loan":                 {loan, false, "", "2 slices of nvidia.com/mig-1g.5gb are on the node, and the pod asks for 1: 2 perhaps in use"},
		"a loan gets the other":   {loan, true, "", "a/1g.5gb@4#1"},
		"an online pod":           {Who{Online: true}, false, "", "a/1g.5gb@5#1"},
		"rather another":          {Who{Online: true}, true, "", "a/1g.5gb@4#1"},
		"rather another's pinned": {Who{Online: true}, true, "1g.5gb@4", "a/1g.5gb@4#1"},
		"even if it is its own":   {Who{Online: true, Pins: true}, true, "1g.5gb@5", "a/1g.5gb@4#1"},
	} {
		t.Run(name, func(t *testing.T) {
			gn := node("1g.5gb@4 1g.5gb@5")
			instances := gn.Status.GPUs[0].Instances
			instances[1].Processes = nil
			if !tc.idle {
				instances[0].Processes = nil
			}
			gn.Spec.Pinned = []v1alpha1.PinnedSlices{{GPU: "a", Places: placesOf(a100(), tc.pin)}}
			var boards Boards
			if got := find(boards.Read(gn), &tc.who, oneG, 1); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
	// What was made for the loan is as uncertain as any other; who holds it is not.
	gn := node("4g.20gb@0")
	reshape(gn, "r", v1alpha1.ReshapeMade, "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3", "4g.20gb@0")
	made := &gn.Status.GPUs[0].Instances[0]
	made.Processes = nil
	var boards Boards
	if got := find(boards.Read(gn), &loan, fourG, 1); got == "a/4g.20gb@0#1" {
		t.Error("a loan gets what was made for it and may be in use")
	}
	made.Holder = &v1alpha1.GPUHolder{Namespace: "research", Name: "gone"}
	if got := find(boards.Read(gn), &loan, fourG, 1); got != "a/4g.20gb@0#1" {
		t.Errorf("after its holder has gone: %s", got)
	}
}
