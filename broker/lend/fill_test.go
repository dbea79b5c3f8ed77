package lend

import (
	"fmt"
	"testing"
)

// TestFewVictimsAtEqualCost: 100 nodes full of gangs of 1 to 64 pods, all of which lose as
// much for a unit. Waves of 8 to 64 pods are served by one gang of just that size.
func TestFewVictimsAtEqualCost(t *testing.T) {
	var rooms []Room
	var candidates []Candidate
	for i := range 100 {
		rooms = append(rooms, Room{Node: fmt.Sprintf("n%02d", i), Flavor: "h100"})
	}
	at := 0
	for size := int64(1); size <= 64; size *= 2 {
		for n := range 112 / size {
			c := Candidate{Name: fmt.Sprintf("gang-%d-%d", size, n), LostWork: float64(size) * 1234.56}
			for range size {
				c.Grants = append(c.Grants, Grant{Lender: "s/c", Node: rooms[at/8].Node, Flavor: "h100", Count: 1})
				at++
			}
			candidates = append(candidates, c)
		}
	}
	for _, pods := range []int64{1, 8, 16, 32, 64, 96} {
		choice, ok := Choose(rooms, []Owed{{Lender: "s/c", Flavor: "h100", UnitsPerPod: 1, Pods: pods}}, candidates)
		want := 1
		if pods == 96 {
			want = 2
		}
		var freed int
		for _, v := range choice.Victims {
			freed += len(candidates[v.Index].Grants)
		}
		if !ok || len(choice.Victims) != want || freed != int(pods) {
			t.Errorf("%d pods: %d victims with %d units, want %d", pods, len(choice.Victims), freed, want)
		}
	}
}
