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
	// maxProfiles is of how many profiles amounts are kept.
	maxProfiles = 15
)

// PlanNode plans how to meet demand on several GPUs, for each of which the table of its
// board is given, and returns a plan for each, in their order, and what of the demand is
// not met. The plans together are what PlanGPU's is for one: they meet the most demand by
// weight, destroy fewest, create fewest, lose least Phi, and have the lowest places, the
// first GPU's first.
//
// That is exact for up to 8 GPUs, as long as the demand can be shared out in no more than
// a million ways. Beyond that each instance in turn, the largest first, goes where it
// destroys, creates and loses least beside those before it; or, if there is not enough for
// all and that meets more, those first that are worth most by slot.
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
		n.greedily()
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
	sizes    []int       // by profile: slots of one
	stride   []int       // by profile: of amounts in a state
	states   int
	given    [][]option // by GPU
	memo     []choice   // by GPU and state
	// reserves are what the GPUs from each on can give at most; nil: not all of the demand
	// need be met.
	reserves []reserve
}

// reserve is the most that some GPUs can give.
type reserve struct {
	amounts amounts
	slots   int
}

// amounts are numbers of instances, by profile in demand. They never exceed what is in
// demand or what eight GPUs have slots for.
type amounts [maxProfiles]uint8

// option is what one GPU can give, and what that costs.
type option struct {
	amounts amounts
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
			n.profiles, n.sizes = append(n.profiles, d.Profile), append(n.sizes, n.size(d.Profile))
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
	// Most often all of the demand can be met, which leaves little to try. If it cannot,
	// everything is tried.
	n.reserves = n.sumUp()
	var so amounts
	if value, _ := n.best(0, 0, so); value < 0 {
		n.reserves = nil
		clear(n.memo)
		n.best(0, 0, so)
	}
	for g, state := 0, 0; g < len(n.gpus); g++ {
		o := &n.given[g][n.memo[g*n.states+state].option-1]
		n.searches[g].best = o.candidate
		so, state = n.add(&so, &o.amounts)
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
	at       map[amounts]int
}

func (o *options) add(s *search, c candidate) {
	one := option{candidate: c}
	for k, p := range o.profiles {
		one.amounts[k] = uint8(s.serves(c, p))
	}
	one.cost = s.cost(&one.candidate)
	if o.at == nil {
		o.at = map[amounts]int{}
	}
	i, ok := o.at[one.amounts]
	if !ok {
		o.at[one.amounts] = len(o.list)
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
				here = max(here, int(n.given[g][i].amounts[k]))
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

// add returns the sum of amounts, up to what is asked for, and its state.
func (n *node) add(a, b *amounts) (sum amounts, state int) {
	for k, stride := range n.stride {
		sum[k] = min(a[k]+b[k], uint8(len(n.gain[k])-1))
		state += int(sum[k]) * stride
	}
	return sum, state
}

// best computes the best that the GPUs from g on can add to what was given.
func (n *node) best(g, state int, given amounts) (value, cost int64) {
	if g == len(n.gpus) {
		if n.reserves != nil && !n.canMeetAll(g, &given) {
			return -1, 0
		}
		for k := range n.stride {
			value += n.gain[k][given[k]]
		}
		return value, 0
	}
	found := &n.memo[g*n.states+state]
	if found.option > 0 {
		return found.value, found.cost
	}
	if n.reserves != nil && !n.canMeetAll(g, &given) {
		return -1, 0
	}
	for i := range n.given[g] {
		o := &n.given[g][i]
		sum, next := n.add(&given, &o.amounts)
		value, cost := n.best(g+1, next, sum)
		cost += o.cost
		if found.option == 0 || value > found.value || value == found.value && cost < found.cost {
			*found = choice{value: value, cost: cost, option: int32(i + 1)}
		}
	}
	return found.value, found.cost
}

// sumUp sums up, from the last GPU on, the most that each can give of a profile, and of
// slots.
func (n *node) sumUp() []reserve {
	all := make([]reserve, len(n.gpus)+1)
	for g := len(n.gpus) - 1; g >= 0; g-- {
		all[g] = all[g+1]
		var most amounts
		slots := 0
		for i := range n.given[g] {
			taken := 0
			for k := range n.profiles {
				amount := n.given[g][i].amounts[k]
				most[k] = max(most[k], amount)
				taken += int(amount) * n.sizes[k]
			}
			slots = max(slots, taken)
		}
		for k := range n.profiles {
			all[g].amounts[k] += most[k]
		}
		all[g].slots += slots
	}
	return all
}

// canMeetAll reports whether the GPUs from g on may have what is still missing.
func (n *node) canMeetAll(g int, given *amounts) bool {
	missing := 0
	for k := range n.stride {
		need := len(n.gain[k]) - 1 - int(given[k])
		if need > int(n.reserves[g].amounts[k]) {
			return false
		}
		missing += need * n.sizes[k]
	}
	return missing <= n.reserves[g].slots
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

// greedily gives the largest instances first, which leaves the fewest without a place where
// there is enough for all. Where there is not, it also tries to give those first that are
// worth most by slot, and takes what meets more.
func (n *node) greedily() {
	for g := range n.gpus {
		s := &n.searches[g]
		s.wants = wants{}
		s.run()
	}
	nothing := slices.Clone(n.searches)
	missed := n.give(n.units(func(a, b Demand) int { return n.size(b.Profile) - n.size(a.Profile) }))
	if missed == 0 {
		return
	}
	largest := n.searches
	n.searches = nothing
	if n.give(n.units(func(a, b Demand) int { return b.Weight*n.size(a.Profile) - a.Weight*n.size(b.Profile) })) >= missed {
		n.searches = largest
	}
}

// give gives one instance after the other to the GPU that it costs least, and returns the
// weight of those that nobody has a place for.
func (n *node) give(units []Demand) (missed int) {
	shares := make([][]Demand, len(n.gpus))
	full := map[ProfileID]bool{}
	for _, d := range units {
		if full[d.Profile] {
			missed += d.Weight
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
			missed += d.Weight
			continue
		}
		shares[best] = append(shares[best], d)
		n.searches[best].best = found
	}
	return missed
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

// units lists the demand one by one, in an order, and else as asked for: the heaviest of a
// profile first, and no more of it than all GPUs could have.
func (n *node) units(order func(a, b Demand) int) []Demand {
	var all []Demand
	for _, d := range n.demands {
		one := Demand{Profile: d.Profile, Count: 1, Weight: d.weight()}
		all = append(all, slices.Repeat([]Demand{one}, min(d.Count, maxSlots*len(n.gpus)))...)
	}
	slices.SortStableFunc(all, func(a, b Demand) int { return b.Weight - a.Weight })
	slices.SortStableFunc(all, order)
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
