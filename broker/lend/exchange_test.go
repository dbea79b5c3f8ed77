package lend

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The local exchange goes on from a best choice that has become another one at the same
// price: what is let out must be in that one. Many loans that cost the same, on too many
// nodes for an exact answer, are where that comes about.
func TestExchangeLetsOutWhatIsIn(t *testing.T) {
	for seed := range uint64(100) {
		rooms, owed, candidates := ofFewKinds(rand.New(rand.NewPCG(seed, 7)))
		if choice, ok := Choose(rooms, owed, candidates); ok {
			(puzzle{rooms, owed, candidates}).checkSpare(t, choice)
		}
	}
}

// ofFewKinds makes loans of few kinds on forty nodes, for services with replicas of several
// sizes.
func ofFewKinds(random *rand.Rand) (rooms []Room, owed []Owed, candidates []Candidate) {
	const nodes = 40
	free := make([]int64, nodes)
	for i := range free {
		free[i] = 8
	}
	for i := range 90 {
		c := Candidate{Name: fmt.Sprintf("job-%03d", i), UnitsPerPod: 1, LostWork: float64(1 + random.IntN(3)), ShedCost: 0}
		c.Pods = 1 + random.Int64N(4)
		if c.Pods > 1 && random.IntN(2) == 0 {
			c.MinPods = c.Pods / 2
		}
		at := map[int]bool{}
		for left := c.Pods; left > 0; {
			n := random.IntN(nodes)
			if free[n] == 0 || at[n] {
				continue
			}
			count := min(left, free[n], 1+random.Int64N(2))
			at[n], left, free[n] = true, left-count, free[n]-count
			c.Grants = append(c.Grants, Grant{Lender: "online", Node: fmt.Sprintf("node-%02d", n), Flavor: "h100", Count: count})
		}
		candidates = append(candidates, c)
	}
	for i, n := range free {
		rooms = append(rooms, Room{Node: fmt.Sprintf("node-%02d", i), Flavor: "h100", Free: min(n, random.Int64N(4))})
	}
	for i, size := range []int64{1, 2, 4, 8} {
		owed = append(owed, Owed{Lender: fmt.Sprintf("online-%d", i), Flavor: "h100", UnitsPerPod: size, Pods: 1 + random.Int64N(24/size)})
	}
	return rooms, owed, candidates
}

// What is not in the best cannot be let out of it: nothing changes.
func TestSwapRefusesWhoIsNotIn(t *testing.T) {
	rooms, owed, candidates := ofFewKinds(rand.New(rand.NewPCG(1, 7)))
	s := newSearch(rooms, owed, candidates)
	s.heuristics()
	x := &exchange{search: s}
	x.restore(x.best)
	x.steps = exchangeSteps
	taken, price := slices.Clone(x.taken), x.price
	victim, other := x.best[0], slices.IndexFunc(x.useful, func(i int) bool { return !x.taken[i] && x.open(i) })
	if x.swap([]int{victim, x.useful[other]}, nil) || !slices.Equal(x.taken, taken) || x.price != price {
		t.Fatal("who was not in was let out, and is in now")
	}
}
