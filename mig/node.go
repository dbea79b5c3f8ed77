package mig

import (
	"fmt"
	"math/bits"
	"slices"
)

const (
	// exactGPUs is for how many GPUs PlanNode tries everything, and exactStates how many
	// ways of sharing out the demand it keeps in mind for that.
	exactGPUs   = 8
	exactStates = 1 << 20
	// maxProfiles is of how many profiles a key holds the amounts.
	maxProfiles = 15
)

// PlanNode plans how to meet demand on several GPUs, for each of which the table of its
// board is given, and returns a plan for each, in their order, and what of the demand is
// not met. The plans together are what PlanGPU's is for one: they meet the most demand by
// weight, destroy fewest, create fewest, lose least Phi, and have the lowest places, the
// first GPU's first.
//
// That is exact for up to 8 GPUs, as long as the demand can be shared out in no more than
// a million ways. Beyond that each instance in turn, the heaviest first and then the
// largest, goes where it destroys, creates and loses least beside those before it.
//
// Errors are PlanGPU's; a demand need be for a profile of one of the boards only.
func PlanNode(gpus []GPU, tables []*Table, demands []Demand) ([]Plan, []Demand, error) {
	if len(gpus) != len(tables) {
		return nil, nil, fmt.Errorf("plan: %d GPUs have %d tables", len(gpus), len(tables))
	}
	n := node{gpus: gpus, tables: tables, demands: demands}
	if err := n.read(); err != nil {
		return nil, nil, err
	}
	if !n.exact() {
		n.greedy()
	}
	plans := make([]Plan, len(gpus))
	for g := range gpus {
		plans[g] = n.searches[g].plan(&gpus[g], n.searches[g].best)
	}
	left := unmet(demands, func(p ProfileID) int {
		served := 0
		for g := range gpus {
			served += n.searches[g].serves(n.searches[g].best, p)
		}
		return served
	})
	return plans, left, nil
}

// node is a plan for several GPUs in the making.
type node struct {
	gpus    []GPU
	tables  []*Table
	demands []Demand
	// searches of each GPU, for as much of the demand as it can hold.
	searches []search

	profiles []ProfileID // in demand
	gain     [][]int64   // by profile: what 0, 1, … of it are worth
	stride   []int       // by profile: of amounts in a state
	states   int
	given    [][]option // by GPU
	memo     []choice   // by GPU and state
}

// option is what one GPU can give, and what that costs.
type option struct {
	amounts []int
	candidate
	cost int64
}

// choice is the best that the GPUs from one on can do, once others gave an amount.
type choice struct {
	value, cost int64
	option      int32 // 1 more than its index; 0 is not computed
}

// cost orders candidates of equal worth: destroyed, created, lost. Costs add up.
func (s *search) cost(c *candidate) int64 {
	lost := s.t.phi[s.t.slots(s.at.fixed)] - s.phi(c)
	return int64(bits.OnesCount64(c.destroyed))<<48 | int64(bits.OnesCount64(c.created))<<32 | int64(lost)
}

func (n *node) read() error {
	n.searches = make([]search, len(n.gpus))
	known := make([]bool, len(n.demands))
	for g, t := range n.tables {
		s := &n.searches[g]
		s.t = t
		var err error
		if s.at, err = t.read(&n.gpus[g]); err != nil {
			return fmt.Errorf("plan: %w", err)
		}
		var here []Demand
		for k, d := range n.demands {
			if t.placesOf(d.Profile) != 0 {
				known[k] = true
				here = append(here, d)
			}
		}
		if err := s.wants.fill(t, here); err != nil {
			return fmt.Errorf("plan GPU %s: %w", n.gpus[g].UUID, err)
		}
	}
	for k, d := range n.demands {
		if !known[k] {
			return fmt.Errorf("demand %d: profile: no GPU has profile %d", k, d.Profile)
		}
		if d.Count > 0 && !slices.Contains(n.profiles, d.Profile) {
			n.profiles = append(n.profiles, d.Profile)
		}
	}
	return nil
}

// exact finds the best plans, unless there are too many GPUs or ways.
func (n *node) exact() bool {
	if len(n.gpus) > exactGPUs || len(n.profiles) > maxProfiles {
		return false
	}
	n.collect()
	if !n.measure() {
		return n.alone()
	}
	n.memo = make([]choice, len(n.gpus)*n.states)
	n.best(0, make([]int, len(n.profiles)))
	state := make([]int, len(n.profiles))
	for g := range n.gpus {
		o := &n.given[g][n.memo[g*n.states+n.state(state)].option-1]
		n.searches[g].best = o.candidate
		state = n.add(state, o.amounts)
	}
	return true
}

// collect lists what each GPU can give. Those that are alike give the same.
func (n *node) collect() {
	n.given = make([][]option, len(n.gpus))
	for g := range n.gpus {
		s := &n.searches[g]
		for k := range g {
			if n.tables[k] == n.tables[g] && n.searches[k].at == s.at {
				n.given[g] = n.given[k]
			}
		}
		if n.given[g] == nil {
			collected := options{profiles: n.profiles}
			s.options = &collected
			s.run()
			s.options = nil
			n.given[g] = collected.sorted()
		}
	}
}

// options collects the best candidate for each amount.
type options struct {
	profiles []ProfileID
	list     []option
	at       map[uint64]int // by amounts
}

func (o *options) add(s *search, c candidate) {
	var key uint64
	amounts := make([]int, len(o.profiles))
	for k, p := range o.profiles {
		amounts[k] = s.serves(c, p)
		key = key*(maxSlots+1) + uint64(amounts[k])
	}
	one := option{amounts: amounts, candidate: c}
	one.cost = s.cost(&one.candidate)
	if o.at == nil {
		o.at = map[uint64]int{}
	}
	i, ok := o.at[key]
	if !ok {
		o.at[key] = len(o.list)
		o.list = append(o.list, one)
		return
	}
	if old := &o.list[i]; one.cost < old.cost || one.cost == old.cost && lower(&one.candidate, &old.candidate) {
		*old = one
	}
}

// sorted lists the options with the lowest places first.
func (o *options) sorted() []option {
	slices.SortFunc(o.list, func(a, b option) int {
		if lower(&a.candidate, &b.candidate) {
			return -1
		}
		return 1
	})
	return o.list
}

// measure lays out the states: how much of each profile was given so far, up to what is
// asked for and what there can be. It reports whether there are few enough.
func (n *node) measure() bool {
	n.states = 1
	for k, p := range n.profiles {
		asked, most := 0, 0
		for _, d := range n.demands {
			if d.Profile == p {
				asked += d.Count
			}
		}
		for g := range n.given {
			here := 0
			for i := range n.given[g] {
				here = max(here, n.given[g][i].amounts[k])
			}
			most += here
		}
		n.gain = append(n.gain, worth(n.demands, p, min(asked, most)))
		n.stride = append(n.stride, n.states)
		n.states *= min(asked, most) + 1
		if n.states*len(n.gpus) > exactStates {
			return false
		}
	}
	return true
}

// worth is what 0, 1, … n instances of a profile are worth, the heaviest first.
func worth(demands []Demand, p ProfileID, n int) []int64 {
	gain := make([]int64, n+1)
	for i, d := range demands {
		if d.Profile != p {
			continue
		}
		before := ahead(demands, i)
		for k := before + 1; k <= min(before+d.Count, n); k++ {
			gain[k] = int64(d.weight())
		}
	}
	for k := 1; k <= n; k++ {
		gain[k] += gain[k-1]
	}
	return gain
}

func (n *node) state(amounts []int) int {
	state := 0
	for k, a := range amounts {
		state += a * n.stride[k]
	}
	return state
}

func (n *node) add(amounts, more []int) []int {
	sum := make([]int, len(amounts))
	for k, a := range amounts {
		sum[k] = min(a+more[k], len(n.gain[k])-1)
	}
	return sum
}

// best computes the best that the GPUs from g on can add to what was given.
func (n *node) best(g int, amounts []int) (value, cost int64) {
	if g == len(n.gpus) {
		for k, a := range amounts {
			value += n.gain[k][a]
		}
		return value, 0
	}
	found := &n.memo[g*n.states+n.state(amounts)]
	if found.option > 0 {
		return found.value, found.cost
	}
	for i := range n.given[g] {
		o := &n.given[g][i]
		value, cost := n.best(g+1, n.add(amounts, o.amounts))
		cost += o.cost
		if found.option == 0 || value > found.value || value == found.value && cost < found.cost {
			*found = choice{value: value, cost: cost, option: int32(i + 1)}
		}
	}
	return found.value, found.cost
}

// alone plans each GPU for itself, and reports whether that is the best there is: if all
// GPUs give what is worth most without giving more than is asked for, nobody can do
// better.
func (n *node) alone() bool {
	for g := range n.gpus {
		n.searches[g].run()
	}
	for _, p := range n.profiles {
		asked, given, weight := 0, 0, 0
		for _, d := range n.demands {
			if d.Profile != p || d.Count == 0 {
				continue
			}
			if asked > 0 && d.weight() != weight {
				return false // each GPU would count the heaviest as its own
			}
			asked, weight = asked+d.Count, d.weight()
		}
		for g := range n.gpus {
			given += n.searches[g].serves(n.searches[g].best, p)
		}
		if given > asked {
			return false
		}
	}
	return true
}

// greedy gives one instance after the other to the GPU that it costs least.
func (n *node) greedy() {
	shares := make([][]Demand, len(n.gpus))
	for g := range n.gpus {
		s := &n.searches[g]
		s.wants = wants{}
		s.run()
	}
	full := map[ProfileID]bool{}
	for _, d := range n.units() {
		if full[d.Profile] {
			continue
		}
		best, least := -1, int64(0)
		var found candidate
		for g := range n.gpus {
			c, ok := n.try(g, append(shares[g], d))
			if !ok {
				continue
			}
			s := &n.searches[g]
			cost := s.cost(&c) - s.cost(&s.best)
			if best < 0 || cost < least {
				best, least, found = g, cost, c
			}
		}
		if best < 0 {
			full[d.Profile] = true // and stays so: GPUs only fill
			continue
		}
		shares[best] = append(shares[best], d)
		n.searches[best].best = found
	}
}

// try plans a share on one GPU; ok is false if it cannot have all of it.
func (n *node) try(g int, share []Demand) (c candidate, ok bool) {
	s := search{t: n.tables[g], at: n.searches[g].at}
	if s.wants.fill(s.t, share) != nil {
		return c, false // its board does not have the profile
	}
	s.run()
	return s.best, len(unmet(share, func(p ProfileID) int { return s.serves(s.best, p) })) == 0
}

// units lists the demand one by one: the heaviest first, then the largest, then as asked
// for, and no more of a profile than all GPUs could have.
func (n *node) units() []Demand {
	var all []Demand
	for _, d := range n.demands {
		one := Demand{Profile: d.Profile, Count: 1, Weight: d.weight()}
		all = append(all, slices.Repeat([]Demand{one}, min(d.Count, maxSlots*len(n.gpus)))...)
	}
	slices.SortStableFunc(all, func(a, b Demand) int {
		if a.Weight != b.Weight {
			return b.Weight - a.Weight
		}
		return n.size(b.Profile) - n.size(a.Profile)
	})
	return all
}

// size of the profile, in slots of the first board that has it.
func (n *node) size(p ProfileID) int {
	for _, t := range n.tables {
		if places := t.placesOf(p); places != 0 {
			return bits.OnesCount16(t.slots(places & -places))
		}
	}
	return 0
}
