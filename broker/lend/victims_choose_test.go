package lend

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawElastic is a puzzle in which about half of the loans are elastic, and half of the
// puzzles have two flavors.
func drawElastic(r dice, nodes, loans int, most int64) puzzle {
	var p puzzle
	room, flavors := make([]int64, nodes), make([]string, nodes)
	two := r.IntN(2) == 0
	for i := range room {
		room[i], flavors[i] = 8, "h100"
		if two && i%2 == 1 {
			flavors[i] = "a100"
		}
	}
	for i := range loans {
		c := Candidate{Name: fmt.Sprintf("loan-%02d", i), LostWork: float64(r.IntN(6)), UnitsPerPod: pick[int64](r, 1, 1, 2, 4)}
		for range 1 + r.IntN(2) {
			n, pods := r.IntN(nodes), 1+r.upTo(most-1)
			if count := pods * c.UnitsPerPod; room[n] >= count {
				room[n] -= count
				c.Pods += pods
				c.Grants = append(c.Grants, Grant{Lender: pick(r, "a", "b"), Node: fmt.Sprintf("n%d", n), Flavor: flavors[n], Count: count})
			}
		}
		if r.IntN(2) == 0 {
			c.MinPods, c.ShedCost = r.upTo(c.Pods), float64(r.IntN(4))
			if r.IntN(3) == 0 {
				c.Order = drawOrder(r, c)
			}
		}
		p.candidates = append(p.candidates, c)
	}
	for i := range nodes {
		p.rooms = append(p.rooms, Room{Node: fmt.Sprintf("n%d", i), Flavor: flavors[i], Free: r.upTo(room[i]) - pick[int64](r, 0, 0, 0, 2)})
	}
	for range 1 + r.IntN(2) {
		p.owed = append(p.owed, Owed{Flavor: "h100", UnitsPerPod: pick[int64](r, 1, 2, 4, 8), Pods: r.upTo(5)})
	}
	if two {
		p.owed = append(p.owed, Owed{Flavor: "a100", UnitsPerPod: pick[int64](r, 1, 2, 4, 8), Pods: r.upTo(3)})
	}
	return p
}

// drawOrder is some order in which a candidate's pods go; sometimes it ends early, or has
// one too many.
func drawOrder(r dice, c Candidate) []string {
	var order []string
	for _, g := range c.Grants {
		for range g.Count / c.UnitsPerPod {
			order = append(order, g.Node)
		}
	}
	for i := len(order) - 1; i > 0; i-- {
		k := r.IntN(i + 1)
		order[i], order[k] = order[k], order[i]
	}
	switch {
	case len(order) > 1 && r.IntN(6) == 0:
		order = order[:len(order)-1]
	case len(order) > 0 && r.IntN(6) == 0:
		order = slices.Insert(order, r.IntN(len(order)), "elsewhere")
	}
	return order
}

// prefix is what the candidate holds less on each node when so many of its pods are gone,
// in its order; ok is false if they cannot.
func (c *Candidate) prefix(pods int64) (units map[string]int64, ok bool) {
	units = map[string]int64{}
	if pods > int64(len(c.Order)) || slices.ContainsFunc(c.Grants, func(g Grant) bool { return g.Flavor != c.Grants[0].Flavor }) {
		return nil, false
	}
	for _, node := range c.Order[:pods] {
		units[node] += c.UnitsPerPod
	}
	for node, n := range units {
		for _, g := range c.Grants {
			if g.Node == node {
				n -= g.Count
			}
		}
		if n > 0 {
			return nil, false
		}
	}
	return units, true
}

// answer is a choice as the exhaustive judge sees it: what each candidate frees where.
type answer struct {
	stopped, shed float64
	victims       int
}

func (a answer) compare(b answer) int {
	return cmp.Or(cmp.Compare(a.stopped, b.stopped), cmp.Compare(a.shed, b.shed), cmp.Compare(a.victims, b.victims))
}

// cheapestOf tries everything that can be done to the candidates from the first on: keep,
// stop, and each number of pods on each of its nodes.
func (p puzzle) cheapestOf(first int, free map[string]int64, so answer, best *answer, found *bool) {
	if *found && so.compare(*best) >= 0 {
		return
	}
	if first == len(p.candidates) {
		if p.fitsWith(free) {
			*best, *found = so, true
		}
		return
	}
	c := p.candidates[first]
	p.cheapestOf(first+1, free, so, best, found)
	stopped := answer{so.stopped + c.LostWork, so.shed, so.victims + 1}
	for _, g := range c.Grants {
		free[g.Node] += g.Count
	}
	p.cheapestOf(first+1, free, stopped, best, found)
	for _, g := range c.Grants {
		free[g.Node] -= g.Count
	}
	if c.MinPods <= 0 || c.MinPods >= c.Pods {
		return
	}
	if len(c.Order) == 0 {
		p.shedFrom(first, 0, c.Pods-c.MinPods, 0, free, so, best, found)
		return
	}
	for n := int64(1); n <= c.Pods-c.MinPods; n++ {
		units, ok := c.prefix(n)
		if !ok {
			return
		}
		for node, n := range units {
			free[node] += n
		}
		p.cheapestOf(first+1, free, answer{so.stopped, so.shed + float64(n)*c.ShedCost, so.victims + 1}, best, found)
		for node, n := range units {
			free[node] -= n
		}
	}
}

// shedFrom lets the candidate give up pods of its grants from the given one on.
func (p puzzle) shedFrom(first, grant int, spare, shed int64, free map[string]int64, so answer, best *answer, found *bool) {
	c := p.candidates[first]
	if grant == len(c.Grants) {
		if shed > 0 {
			p.cheapestOf(first+1, free, answer{so.stopped, so.shed + float64(shed)*c.ShedCost, so.victims + 1}, best, found)
		}
		return
	}
	g := c.Grants[grant]
	for n := int64(0); n <= min(spare-shed, g.Count/c.UnitsPerPod); n++ {
		free[g.Node] += n * c.UnitsPerPod
		p.shedFrom(first, grant+1, spare, shed+n, free, so, best, found)
		free[g.Node] -= n * c.UnitsPerPod
	}
}

// freed says what a choice frees on each node, and fails if it cannot be done.
func (p puzzle) freed(t failer, choice Choice) map[string]int64 {
	free := map[string]int64{}
	for n, v := range choice.Victims {
		c := p.candidates[v.Index]
		if n > 0 && choice.Victims[n-1].Index >= v.Index {
			t.Fatalf("victims %v are not in order", choice.Victims)
		}
		if v.Shed == nil {
			for _, g := range c.Grants {
				free[g.Node] += g.Count
			}
			continue
		}
		var pods int64
		held := map[[2]string]int64{}
		for _, g := range c.Grants {
			held[[2]string{g.Node, g.Lender}] += g.Count
		}
		perNode := map[string]int64{}
		for _, g := range v.Shed {
			free[g.Node] += g.Count
			perNode[g.Node] += g.Count
			if at := [2]string{g.Node, g.Lender}; g.Count <= 0 || held[at] < g.Count {
				t.Fatalf("%s sheds %v of %v", c.Name, v.Shed, c.Grants)
			} else {
				held[at] -= g.Count
			}
		}
		for node, units := range perNode {
			if units%c.UnitsPerPod != 0 {
				t.Fatalf("%s sheds %d units on %s, and its pods have %d", c.Name, units, node, c.UnitsPerPod)
			}
			pods += units / c.UnitsPerPod
		}
		if c.MinPods <= 0 || c.Pods-pods < c.MinPods {
			t.Fatalf("%s has %d pods, needs %d and sheds %d", c.Name, c.Pods, c.MinPods, pods)
		}
		if len(c.Order) == 0 {
			continue
		}
		if units, ok := c.prefix(pods); !ok || !maps.Equal(units, perNode) {
			t.Fatalf("%s sheds %v, but its pods go in the order %v", c.Name, v.Shed, c.Order)
		}
	}
	return free
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (p puzzle) fitsWith(free map[string]int64) bool {
	for _, flavor := range []string{"h100", "a100"} {
		var rooms []int64
		for _, n := range p.rooms {
			if n.Flavor == flavor {
				rooms = append(rooms, n.Free+free[n.Node])
			}
		}
		if !packs(rooms, repeat(p.owed, flavor)) {
			return false
		}
	}
	return true
}

// Law 5: whatever is stopped and given up, nothing cheaper would do.
func TestChooseIsTheBestThereIs(t *testing.T) {
	for seed := range uint64(1500) {
		p := drawElastic(dice{rand.New(rand.NewPCG(seed, 4))}, 1+int(seed%3), 1+int(seed%6), 3)
		choice, ok := Choose(p.rooms, p.owed, p.candidates)
		var best answer
		found := false
		p.cheapestOf(0, map[string]int64{}, answer{}, &best, &found)
		if ok != found {
			t.Fatalf("seed %d: ok = %v, but possible = %v", seed, ok, found)
		}
		if !ok {
			continue
		}
		if !choice.Proved {
			t.Fatalf("seed %d: not proved", seed)
		}
		if got := (answer{choice.Stopped, choice.Shed, len(choice.Victims)}); got != best {
			t.Fatalf("seed %d: %+v, but %+v is possible: %+v\nof %+v\nfor %+v in %+v", seed, got, best, choice.Victims, p.candidates, p.owed, p.rooms)
		}
		if !p.fitsWith(p.freed(t, choice)) {
			t.Fatalf("seed %d: %+v is not enough", seed, choice.Victims)
		}
	}
}

// The branch and bound needs no heuristics to find the best there is: begun from stopping
// everybody, it finds the same. For equal prices, it finds the first names.
func TestProveAloneFindsTheBest(t *testing.T) {
	for seed := range uint64(6000) {
		r := dice{rand.New(rand.NewPCG(seed, 6))}
		p := drawElastic(r, 2+int(seed%3), 1+int(seed%8), 3)
		if seed%2 == 0 {
			p = drawPuzzle(r, []int64{1, 2, 4, 8}, 9)
		}
		s := newSearch(p.rooms, p.owed, p.candidates)
		if s.enough() || !s.possible() {
			continue
		}
		for _, i := range s.useful {
			if !s.pieces[i].pod {
				s.take(i)
			}
		}
		s.keep()
		s.reset()
		if !s.prove() {
			t.Fatalf("seed %d: not proved", seed)
		}
		choice := s.choice(true)
		var best answer
		found := false
		p.cheapestOf(0, map[string]int64{}, answer{}, &best, &found)
		if got := (answer{choice.Stopped, choice.Shed, len(choice.Victims)}); got != best {
			t.Fatalf("seed %d: %+v, but %+v is possible: %+v\nof %+v\nfor %+v in %+v", seed, got, best, choice.Victims, p.candidates, p.owed, p.rooms)
		}
		p.checkSpare(t, choice)
		if seed%2 == 0 {
			if first := p.firstNames(best); !slices.Equal(first, p.names(indexes(choice))) {
				t.Fatalf("seed %d: %v, but %v come first", seed, p.names(indexes(choice)), first)
			}
		}
	}
}

// TestProveForgetsWhatItTookBack: that a loan could give up no more pods, because of what
// was tried on one node, must not be believed on another one after that was undone.
func TestProveForgetsWhatItTookBack(t *testing.T) {
	on := func(node, flavor string, count int64) Grant { return Grant{Node: node, Flavor: flavor, Count: count} }
	p := puzzle{
		rooms: []Room{{"n0", "h100", 1}, {"n1", "a100", -2}, {"n2", "h100", 1}, {"n3", "a100", 1}},
		owed:  []Owed{{Flavor: "h100", UnitsPerPod: 2, Pods: 4}, {Flavor: "a100", UnitsPerPod: 4, Pods: 2}},
		candidates: []Candidate{
			{Name: "0", LostWork: 1, Pods: 3, MinPods: 1, UnitsPerPod: 1, ShedCost: 1, Grants: []Grant{on("n2", "h100", 3)}},
			{Name: "1", LostWork: 2, Grants: []Grant{on("n0", "h100", 3), on("n1", "a100", 1)}},
			{Name: "2", LostWork: 5, Pods: 2, MinPods: 1, UnitsPerPod: 2, ShedCost: 1, Grants: []Grant{on("n2", "h100", 4)}},
			{Name: "3", LostWork: 5, Pods: 4, MinPods: 1, UnitsPerPod: 2, ShedCost: 1, Grants: []Grant{on("n0", "h100", 4), on("n3", "a100", 4)}},
			{Name: "5", LostWork: 2, Grants: []Grant{on("n1", "a100", 4)}},
			{Name: "6", LostWork: 3, Grants: []Grant{on("n1", "a100", 3)}},
			{Name: "7", LostWork: 4, Grants: []Grant{on("n3", "a100", 3)}},
		},
	}
	s := newSearch(p.rooms, p.owed, p.candidates)
	for _, i := range s.useful {
		if !s.pieces[i].pod {
			s.take(i)
		}
	}
	s.keep()
	s.reset()
	if choice := s.choice(s.prove()); !choice.Proved || choice.Stopped != 5 || choice.Shed != 4 {
		t.Errorf("stopped for %v, shed for %v: %+v", choice.Stopped, choice.Shed, choice.Victims)
	}
}

func indexes(c Choice) (out []int) {
	for _, v := range c.Victims {
		out = append(out, v.Index)
	}
	return out
}

// firstNames tries every set of loans that costs as much, and returns the names that come
// first.
func (p puzzle) firstNames(cost answer) (first []string) {
	for mask := range 1 << len(p.candidates) {
		var set []int
		for i := range p.candidates {
			if mask>>i&1 == 1 {
				set = append(set, i)
			}
		}
		if len(set) != cost.victims || p.cost(set) != cost.stopped || !p.enough(set) {
			continue
		}
		if names := p.names(set); first == nil || slices.Compare(names, first) < 0 {
			first = names
		}
	}
	return first
}

// Beyond 16 nodes nothing is proved.
func TestChooseSaysWhatItDidNotProve(t *testing.T) {
	for nodes, want := range map[int]bool{16: true, 17: false} {
		p := fullOf(nodes, dealt(2), 1, 2).owing(2, 3)
		if choice, ok := Choose(p.rooms, p.owed, p.candidates); !ok || choice.Proved != want {
			t.Errorf("%d nodes: proved = %v, %v", nodes, choice.Proved, ok)
		}
	}
}

// Law 5: neither a stopped loan nor a pod could be spared; elastic loans or not, on few
// nodes or many.
func TestChooseSparesWhatCanBeSpared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawElastic(roll(t), rapid.IntRange(1, 24).Draw(t, "nodes"), rapid.IntRange(0, 60).Draw(t, "loans"), 4)
		choice, ok := Choose(p.rooms, p.owed, p.candidates)
		if !ok {
			return
		}
		p.checkSpare(t, choice)
	})
}

// checkSpare fails if the choice is not enough, or if anything in it could be spared.
func (p puzzle) checkSpare(t failer, choice Choice) {
	t.Helper()
	free := p.freed(t, choice)
	if !p.fitsWith(free) {
		t.Fatalf("%+v is not enough", choice.Victims)
	}
	for _, v := range choice.Victims {
		c := p.candidates[v.Index]
		for _, node := range c.couldStay(v.Shed) {
			free[node] -= c.UnitsPerPod
			if p.fitsWith(free) {
				t.Fatalf("a pod of %s on %s could be spared", c.Name, node)
			}
			free[node] += c.UnitsPerPod
		}
		if v.Shed != nil {
			continue
		}
		for _, g := range c.Grants {
			free[g.Node] -= g.Count
		}
		if p.fitsWith(free) {
			t.Fatalf("%s could be spared", c.Name)
		}
		for _, g := range c.Grants {
			free[g.Node] += g.Count
		}
	}
}

// couldStay are the nodes of the pods of which one could stay of those that are given up.
func (c *Candidate) couldStay(shed []Grant) (nodes []string) {
	if n := units(shed); len(c.Order) > 0 && n > 0 {
		return []string{c.Order[n/c.UnitsPerPod-1]}
	}
	for _, g := range shed {
		nodes = append(nodes, g.Node)
	}
	return nodes
}

// Law 5, elastic first: where shrinking alone is enough, nobody is stopped. One loan gives
// up so much alone, so that it can be seen without searching.
func TestChooseShrinksBeforeItStops(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		p := fullOf(rapid.IntRange(1, 40).Draw(t, "nodes"), r, 1, 2, 8)
		var spare int64
		for i := range p.candidates {
			if c := &p.candidates[i]; c.Pods > 1 && r.IntN(3) == 0 {
				c.MinPods = 1 + r.upTo(c.Pods-2)
				spare += c.Pods - c.MinPods
			}
		}
		p = p.owing(1, 1+r.upTo(spare+3))
		choice, ok := Choose(p.rooms, p.owed, p.candidates)
		if !ok {
			t.Skip("not even all loans are enough")
		}
		shed := choice.Shed / 60
		if want := min(p.owed[0].Pods, spare); p.owed[0].Pods <= spare && (choice.Stopped > 0 || int64(shed) != want) {
			t.Fatalf("%d pods can be given up and %d are needed, but %v are given up and loans of %v stopped", spare, p.owed[0].Pods, shed, choice.Stopped)
		}
	})
}

// No answer is worse than that of a rule of others.
func TestChooseIsNeverWorseThanTheRules(t *testing.T) {
	for seed := range uint64(60) {
		r := dealt(seed)
		p := fullOf(10+r.IntN(60), r, 1, 2, 4, 8, 16, 32)
		p = p.owing(pick[int64](r, 1, 1, 2, 4, 8), 1+r.upTo(16))
		if seed%3 == 0 {
			p.owed = append(p.owed, Owed{Flavor: "h100", UnitsPerPod: pick[int64](r, 1, 4), Pods: 5})
		}
		choice, ok := Choose(p.rooms, p.owed, p.candidates)
		if possible := p.enough(p.everyone()); ok != possible {
			t.Fatalf("seed %d: ok = %v, but possible = %v", seed, ok, possible)
		}
		if !ok {
			continue
		}
		for _, rule := range append(VictimRules(), HeuristicsAlone) {
			other, ok, err := ChooseBy(rule, p.rooms, p.owed, p.candidates)
			if err != nil || !ok {
				t.Fatalf("seed %d, %s: %v, %v", seed, rule, ok, err)
			}
			if !p.fitsWith(p.freed(t, other)) {
				t.Fatalf("seed %d: %s is not enough", seed, rule)
			}
			if choice.Stopped > other.Stopped {
				t.Errorf("seed %d: %v lost, but %s loses %v", seed, choice.Stopped, rule, other.Stopped)
			}
		}
	}
}

func TestChooseIgnoresTheOrderOfItsArguments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		p := drawElastic(r, 1+r.IntN(24), r.IntN(50), 4)
		q := puzzle{slices.Clone(p.rooms), slices.Clone(p.owed), slices.Clone(p.candidates)}
		slices.Reverse(q.rooms)
		slices.Reverse(q.owed)
		q.candidates = rapid.Permutation(q.candidates).Draw(t, "order")
		for _, rule := range append(VictimRules(), "") {
			a, b := p.by(t, rule), q.by(t, rule)
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("%s: %v in one order, %v in another", rule, a, b)
			}
		}
	})
}

// by is what each victim gives back under a rule, by name; "" is no rule.
func (p puzzle) by(t *rapid.T, rule VictimRule) map[string][]Grant {
	choice, ok := Choose(p.rooms, p.owed, p.candidates)
	if rule != "" {
		var err error
		if choice, ok, err = ChooseBy(rule, p.rooms, p.owed, p.candidates); err != nil {
			t.Fatal(err)
		}
	}
	if !ok {
		return nil
	}
	out := map[string][]Grant{}
	for _, v := range choice.Victims {
		out[p.candidates[v.Index].Name] = v.Shed
	}
	return out
}

func TestChoose(t *testing.T) {
	on := func(node string, count int64) Grant { return Grant{Node: node, Flavor: "h100", Count: count} }
	owe := func(size, pods int64) []Owed { return []Owed{{Flavor: "h100", UnitsPerPod: size, Pods: pods}} }
	elastic := func(name string, lost float64, pods, least int64, grants ...Grant) Candidate {
		return Candidate{Name: name, LostWork: lost, Pods: pods, MinPods: least, UnitsPerPod: 1, ShedCost: 60, Grants: grants}
	}
	ordered := func(c Candidate, order ...string) Candidate { c.Order = order; return c }
	rooms := []Room{{"a", "h100", 0}, {"b", "h100", 0}, {"c", "h100", -4}, {"d", "h100", 0}}
	for name, tc := range map[string]struct {
		owed       []Owed
		candidates []Candidate
		want       []Victim
	}{
		"elastic first, whatever it sheds": {
			owed: owe(1, 4), want: []Victim{{Index: 0, Shed: []Grant{on("a", 4)}}},
			candidates: []Candidate{elastic("x", 1e6, 8, 2, on("a", 8)), {Name: "y", LostWork: 1, Grants: []Grant{on("b", 4)}}},
		},
		"stopped whole where its minimum does not allow it": {
			owed: owe(8, 1), want: []Victim{{Index: 0}},
			candidates: []Candidate{elastic("x", 5, 8, 1, on("a", 8)), {Name: "y", LostWork: 6, Grants: []Grant{on("b", 8)}}},
		},
		"two shrink rather than one stops": {
			owed: owe(4, 1), candidates: []Candidate{elastic("x", 5, 4, 2, on("a", 4)), elastic("y", 5, 4, 2, on("a", 4))},
			want: []Victim{{Index: 0, Shed: []Grant{on("a", 2)}}, {Index: 1, Shed: []Grant{on("a", 2)}}},
		},
		"pods that stand on the right node": {
			owed: owe(4, 1), want: []Victim{{Index: 0, Shed: []Grant{on("b", 4)}}},
			candidates: []Candidate{elastic("x", 5, 6, 2, on("a", 2), on("b", 4))},
		},
		"eight free on one node, not eight in all": {
			owed: owe(8, 1), want: []Victim{{Index: 2}},
			candidates: []Candidate{
				{Name: "x", LostWork: 1, Grants: []Grant{on("a", 4)}}, {Name: "y", LostWork: 1, Grants: []Grant{on("b", 4)}},
				{Name: "z", LostWork: 100, Grants: []Grant{on("d", 8)}},
			},
		},
		"a room below nothing must be filled first": {
			owed: owe(4, 1), want: []Victim{{Index: 1}},
			candidates: []Candidate{{Name: "x", LostWork: 1, Grants: []Grant{on("c", 4)}}, {Name: "y", LostWork: 2, Grants: []Grant{on("a", 4)}}},
		},
		"what is not a number of pods is not elastic": {
			owed: owe(1, 1), want: []Victim{{Index: 0}},
			candidates: []Candidate{{Name: "x", LostWork: 1, Pods: 3, MinPods: 1, UnitsPerPod: 2, Grants: []Grant{on("a", 5)}}},
		},
		"in its order: what stands before it goes too": {
			owed: owe(2, 1), want: []Victim{{Index: 0, Shed: []Grant{on("a", 1), on("b", 2)}}},
			candidates: []Candidate{ordered(elastic("x", 9, 6, 2, on("a", 3), on("b", 3)), "b", "a", "b", "a", "b", "a")},
		},
		"in its order: stopped whole where the ones that go first are of no use": {
			owed: owe(2, 1), want: []Victim{{Index: 0}},
			candidates: []Candidate{ordered(elastic("x", 9, 6, 4, on("a", 3), on("b", 3)), "a", "b", "b", "b", "a", "a"), elastic("y", 99, 4, 4, on("d", 4))},
		},
		"in its order: also from where nothing is to be had": {
			owed: owe(1, 1), want: []Victim{{Index: 0, Shed: []Grant{on("a", 1), on("gone", 2)}}},
			candidates: []Candidate{ordered(elastic("x", 9, 6, 2, on("a", 4), on("gone", 2)), "gone", "gone", "a", "a")},
		},
		"in its order: as far as that goes": {
			owed: owe(2, 1), want: []Victim{{Index: 0}},
			candidates: []Candidate{ordered(elastic("x", 9, 6, 2, on("a", 6)), "a", "b", "a", "a")},
		},
		"in its order: of two flavors nobody knows which": {
			owed: owe(1, 1), want: []Victim{{Index: 0}},
			candidates: []Candidate{ordered(elastic("x", 9, 6, 2, on("a", 3), Grant{Node: "a", Flavor: "a100", Count: 3}), "a", "a")},
		},
		"a minimum of all pods is not elastic": {
			owed: owe(1, 1), want: []Victim{{Index: 0}}, candidates: []Candidate{elastic("x", 1, 4, 4, on("a", 4))},
		},
		"what others lent first, then its tenant's own": {
			owed: owe(4, 1), want: []Victim{{Index: 0, Shed: []Grant{on("a", 1), {Lender: "svc", Node: "a", Flavor: "h100", Count: 3}}}},
			candidates: []Candidate{elastic("x", 5, 6, 2, on("a", 3), Grant{Lender: "svc", Node: "a", Flavor: "h100", Count: 3})},
		},
		"a gang costs once": {
			owed: owe(8, 2), want: []Victim{{Index: 0}},
			candidates: []Candidate{
				{Name: "x", LostWork: 10, Grants: []Grant{on("a", 8), on("b", 8)}}, {Name: "y", LostWork: 9, Grants: []Grant{on("d", 8)}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := Choose(rooms, tc.owed, tc.candidates)
			if !ok || !got.Proved || !reflect.DeepEqual(got.Victims, tc.want) {
				t.Errorf("got %+v, %v; want %+v", got, ok, tc.want)
			}
		})
	}
}

// Each rule stops whom its authors would.
func TestChooseBy(t *testing.T) {
	on := func(node string, count int64) Grant { return Grant{Node: node, Flavor: "h100", Count: count} }
	begun := func(hour int64) time.Time { return time.Unix(hour*3600, 0) }
	for name, tc := range map[string]struct {
		rule       VictimRule
		size, pods int64
		candidates []Candidate
		want       []Victim
	}{
		"fewest jobs, however dear": {FewestJobs, 8, 1, []Candidate{
			{Name: "x", LostWork: 1, Grants: []Grant{on("a", 4)}}, {Name: "y", LostWork: 1, Grants: []Grant{on("a", 4)}},
			{Name: "z", LostWork: 100, Grants: []Grant{on("b", 8)}},
		}, []Victim{{Index: 2}}},
		"lyra: small parts of many rather than one whole": {LyraCost, 8, 1, []Candidate{
			{Name: "x", LostWork: 1, Grants: []Grant{on("a", 8)}},
			{Name: "y", LostWork: 50, Grants: []Grant{on("b", 4), on("c", 2), on("d", 2)}},
			{Name: "z", LostWork: 50, Grants: []Grant{on("b", 4), on("c", 2), on("d", 2)}},
		}, []Victim{{Index: 1}, {Index: 2}}},
		"lyra: who is stopped counts as nothing elsewhere": {LyraCost, 8, 2, []Candidate{
			{Name: "x", LostWork: 1, Grants: []Grant{on("a", 8)}},
			{Name: "y", LostWork: 50, Grants: []Grant{on("b", 8), on("c", 4)}},
			{Name: "z", LostWork: 50, Grants: []Grant{on("c", 4), on("d", 4)}},
		}, []Victim{{Index: 1}, {Index: 2}}},
		"lyra: shrinks first": {LyraCost, 2, 1, []Candidate{
			{Name: "x", LostWork: 100, Pods: 4, MinPods: 2, UnitsPerPod: 1, ShedCost: 9, Grants: []Grant{on("a", 4)}},
			{Name: "y", LostWork: 1, Grants: []Grant{on("b", 4)}},
		}, []Victim{{Index: 0, Shed: []Grant{on("a", 2)}}}},
		"gfs: keeps the longest runs": {GFSScore, 1, 1, []Candidate{
			{Name: "x", LostWork: 1, Since: begun(0), Grants: []Grant{on("a", 1)}},
			{Name: "y", LostWork: 50, Since: begun(9), Grants: []Grant{on("a", 1)}},
			{Name: "z", LostWork: 1, Since: begun(5), Grants: []Grant{on("b", 1)}},
		}, []Victim{{Index: 1}}},
		"gfs: leaves the fewest units over": {GFSScore, 1, 1, []Candidate{
			{Name: "x", LostWork: 1, Since: begun(9), Grants: []Grant{on("a", 4)}},
			{Name: "y", LostWork: 50, Since: begun(0), Grants: []Grant{on("b", 1)}},
		}, []Victim{{Index: 1}}},
		"random: by a hash of the names": {RandomVictims, 1, 1, []Candidate{
			{Name: "x", LostWork: 5, Grants: []Grant{on("a", 1)}}, {Name: "y", LostWork: 2, Grants: []Grant{on("a", 1)}},
			{Name: "z", LostWork: 3, Grants: []Grant{on("a", 1)}}, {Name: "u", LostWork: 4, Grants: []Grant{on("a", 1)}},
		}, []Victim{{Index: 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			var rooms []Room
			for _, node := range []string{"a", "b", "c", "d"} {
				rooms = append(rooms, Room{Node: node, Flavor: "h100"})
			}
			got, ok, err := ChooseBy(tc.rule, rooms, []Owed{{Flavor: "h100", UnitsPerPod: tc.size, Pods: tc.pods}}, tc.candidates)
			if err != nil || !ok || got.Proved || !reflect.DeepEqual(got.Victims, tc.want) {
				t.Errorf("got %+v, %v, %v; want %+v", got, ok, err, tc.want)
			}
		})
	}
}

func TestChooseByRefusesOtherRules(t *testing.T) {
	if _, _, err := ChooseBy("best", nil, nil, nil); err == nil {
		t.Error("no error")
	}
}
