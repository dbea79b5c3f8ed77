package lend

import "testing"

// A pod goes where it costs lenders the fewest slots of their largest shape, even if
// another node would be filled more tightly.
func TestPlaceKeepsWholeNodesWhole(t *testing.T) {
	for name, tc := range map[string]struct {
		rooms []room
		want  string
	}{
		"the tightest, if no slot is at stake": {
			[]room{{node: "a", free: 6, soon: 6, back: 8}, {node: "b", free: 5, soon: 5, back: 8}}, "b",
		},
		"not the node that is about to be whole": {
			[]room{{node: "a", free: 4, soon: 8, back: 8}, {node: "b", free: 6, soon: 6, back: 8}}, "b",
		},
		"beside other loans, if all else is equal": {
			[]room{{node: "a", free: 6, soon: 6, back: 8}, {node: "b", free: 6, soon: 6, back: 8, lent: true}}, "b",
		},
		"the first by name, if everything is": {
			[]room{{node: "b", free: 6, soon: 6, back: 8}, {node: "c", free: 6, soon: 6, back: 8}}, "b",
		},
		"never where it does not fit": {
			[]room{{node: "a", free: 3, soon: 3, back: 3}, {node: "b", free: 8, soon: 8, back: 8}}, "b",
		},
	} {
		p := &pool{rooms: tc.rooms, sizes: []int64{8, 1}}
		p.sort()
		spots, _ := p.place(1, 4, false, mostGrants, anywhere)
		if len(spots) != 1 || p.rooms[spots[0].room].node != tc.want {
			t.Errorf("%s: placed at %+v, want %s", name, spots, tc.want)
		}
	}
}

// A gang that would take what is kept is placed nowhere, and leaves no trace.
func TestPlaceUndoes(t *testing.T) {
	p := &pool{
		rooms:  []room{{node: "a", free: 8, soon: 8, back: 8}, {node: "b", free: 8, soon: 8, back: 8}},
		claims: []shape{{8, 1}},
	}
	p.sort()
	if spots, _ := p.place(3, 4, false, mostGrants, anywhere); spots != nil {
		t.Errorf("placed at %+v", spots)
	}
	if p.rooms[0].free != 8 || p.rooms[1].soon != 8 || p.soon.slots(8) != 2 {
		t.Errorf("left %+v, %+v", p.rooms, p.soon)
	}
	if spots, _ := p.place(2, 4, false, mostGrants, anywhere); len(spots) != 1 || spots[0].pods != 2 {
		t.Errorf("placed at %+v", spots)
	}
}

// Own-quota use is never taken back by load, so it may not take a slot that evicting
// loans would give an owner; a loan on the same units may.
func TestPlaceLeavesOwnersTheirWayBack(t *testing.T) {
	for own, want := range map[bool]int{true: 0, false: 1} {
		p := &pool{
			rooms:  []room{{node: "a", free: 4, soon: 4, back: 8}, {node: "b", free: 8, soon: 8, back: 8}},
			rights: []shape{{8, 2}},
		}
		p.sort()
		if spots, _ := p.place(1, 4, own, mostGrants, anywhere); len(spots) != want {
			t.Errorf("own = %v: placed at %+v", own, spots)
		}
	}
}

func anywhere([]spot) bool { return true }
