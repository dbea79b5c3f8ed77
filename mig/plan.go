package mig

import (
	"fmt"
	"math/bits"
)

// want is the demand for one profile.
type want struct {
	profile ProfileID
	places  set
	// most is how many of it a plan may serve, and gain what 0, 1, … most of it are worth.
	most int
	gain [maxSlots + 1]int64
}

// worth is what so many instances are worth.
func (w *want) worth(n int) int64 { return w.gain[min(n, w.most)] }

// wants are demands by profile, in the order of their first mention. The first ones are
// within, so that plans for few profiles need no memory.
type wants struct {
	n    int
	few  [6]want
	more []want
	// places are all of these profiles.
	places set
}

// at returns the kth of n.
func (w *wants) at(k int) *want {
	if k < len(w.few) {
		return &w.few[k]
	}
	return &w.more[k-len(w.few)]
}

// fill sorts demands by profile.
func (w *wants) fill(t *Table, demands []Demand) error {
	for k, d := range demands {
		if d.Count < 0 {
			return fmt.Errorf("demand %d: count: %d is below 0", k, d.Count)
		}
		if d.Weight < 0 {
			return fmt.Errorf("demand %d: weight: %d is below 0", k, d.Weight)
		}
		places := t.placesOf(d.Profile)
		if places == 0 {
			return fmt.Errorf("demand %d: profile: %s has no profile %d", k, t.geometry.Board, d.Profile)
		}
		if d.Count > 0 && w.places&places == 0 {
			w.places |= places
			w.add(want{profile: d.Profile, places: places})
		}
	}
	for k := range w.n {
		w.at(k).fill(demands)
	}
	return nil
}

func (w *wants) add(one want) {
	if w.n >= len(w.few) {
		w.more = append(w.more, want{})
	}
	w.n++
	*w.at(w.n - 1) = one
}

// fill computes what instances of the profile are worth, the heaviest first.
func (w *want) fill(demands []Demand) {
	for i, d := range demands {
		if d.Profile != w.profile {
			continue
		}
		before := ahead(demands, i)
		for n := before + 1; n <= min(before+d.Count, maxSlots); n++ {
			w.gain[n] = int64(d.weight())
			w.most = max(w.most, n)
		}
	}
	for n := 1; n <= w.most; n++ {
		w.gain[n] += w.gain[n-1]
	}
}

// weight of each instance.
func (d Demand) weight() int { return max(d.Weight, 1) }

// ahead is how many instances of the same profile are served before those of demand i.
func ahead(demands []Demand, i int) int {
	n := 0
	for k, d := range demands {
		if d.Profile == demands[i].Profile && (d.weight() > demands[i].weight() || d.weight() == demands[i].weight() && k < i) {
			n += d.Count
		}
	}
	return n
}

// search looks for the best set of instances to create. What is destroyed for it follows:
// the free instances that cannot be there beside them, and no others.
type search struct {
	t     *Table
	at    state
	wants wants
	best  candidate
	// options is not nil if the best for each way to share out the demand is wanted.
	options *options
}

// candidate is what a plan could do.
type candidate struct {
	created, destroyed set
	value              int64
	phi                int32 // of what is in use after it; -1 is not computed
}

// run tries everything. It begins with doing nothing.
func (s *search) run() {
	s.best = candidate{value: -1}
	open := s.wants.places &^ s.t.clashes(s.at.fixed) &^ s.at.idle
	value, _ := s.weigh(s.at.idle, 0)
	s.consider(candidate{value: value, phi: -1})
	s.grow(open, 0, 0)
}

// grow tries to create, beside those chosen so far, each of the open places.
func (s *search) grow(open, created, destroyed set) {
	for ; open != 0; open &= open - 1 {
		i := bits.TrailingZeros64(open)
		next := (open & (open - 1)) &^ s.t.places[i].clash
		c := candidate{created: created | 1<<i, destroyed: destroyed | s.t.places[i].clash&s.at.free(), phi: -1}
		for k := range s.wants.n {
			if w := s.wants.at(k); w.places>>i&1 == 1 {
				if bits.OnesCount64(c.created&w.places) == w.most {
					next &^= w.places
				}
				break
			}
		}
		var most int64
		if c.value, most = s.weigh(s.at.idle&^c.destroyed|c.created, next); s.options == nil && s.hopeless(&c, most) {
			continue
		}
		s.consider(c)
		s.grow(next, c.created, c.destroyed)
	}
}

// weigh returns what usable instances are worth, and what they could be worth at most with
// others at open places.
func (s *search) weigh(usable, open set) (value, most int64) {
	for k := range s.wants.n {
		w := s.wants.at(k)
		n := bits.OnesCount64(usable & w.places)
		value += w.worth(n)
		most += w.worth(n + bits.OnesCount64(open&w.places))
	}
	return value, most
}

// hopeless reports whether neither the candidate nor what can be added to it is better
// than the best so far, if they can be worth so much at most: with more instances, no less
// is destroyed or created.
func (s *search) hopeless(c *candidate, most int64) bool {
	if most != s.best.value {
		return most < s.best.value
	}
	d, b := bits.OnesCount64(c.destroyed), bits.OnesCount64(s.best.destroyed)
	return d > b || d == b && bits.OnesCount64(c.created) > bits.OnesCount64(s.best.created)
}

// consider takes a candidate if it is better than the best so far.
func (s *search) consider(c candidate) {
	if !s.t.strict {
		s.take(&c)
		return
	}
	// Beyond what is in the way, each set of free instances may have to go for the rest to
	// be allowed.
	rest := s.at.free() &^ c.destroyed
	for more := rest; ; more = (more - 1) & rest {
		if s.t.allowed(s.at.fixed | rest&^more | c.created) {
			also := candidate{created: c.created, destroyed: c.destroyed | more, phi: -1}
			also.value, _ = s.weigh(s.at.idle&^also.destroyed|also.created, 0)
			s.take(&also)
		}
		if more == 0 {
			return
		}
	}
}

func (s *search) take(c *candidate) {
	if s.options != nil {
		s.options.add(s, *c)
		return
	}
	if c.value > s.best.value || c.value == s.best.value && s.better(c, &s.best) {
		s.best = *c
	}
}

// better compares candidates that are worth the same: fewest destroyed, fewest created,
// least lost, lowest places.
func (s *search) better(a, b *candidate) bool {
	if x, y := bits.OnesCount64(a.destroyed), bits.OnesCount64(b.destroyed); x != y {
		return x < y
	}
	if x, y := bits.OnesCount64(a.created), bits.OnesCount64(b.created); x != y {
		return x < y
	}
	if x, y := s.phi(a), s.phi(b); x != y {
		return x > y
	}
	return lower(a, b)
}

// lower compares what is created, then what is destroyed, place by place.
func lower(a, b *candidate) bool {
	x, y := a.created, b.created
	if x == y {
		x, y = a.destroyed, b.destroyed
	}
	differ := x ^ y
	return x&differ&-differ != 0
}

// phi is Phi of what is in use after a candidate: what is fixed, and what is of the
// profiles that are asked for. Other idle instances are open to whoever comes.
func (s *search) phi(c *candidate) int32 {
	if c.phi < 0 {
		kept := s.at.idle &^ c.destroyed & s.wants.places
		c.phi = s.t.phi[s.t.slots(s.at.fixed|kept|c.created)]
	}
	return c.phi
}

// PlanGPU plans how to meet demand on one GPU. No other layout that keeps what may not be
// touched meets more of the demand, by weight. Of those that meet as much, the plan
// destroys fewest instances; then creates fewest; then leaves the greatest Phi beside what
// is fixed and what is of a profile in demand; then has the lowest places, by start and
// profile.
//
// It is an error if the board does not allow the layout that is there, which no plan could
// mend, or if a demand is for a profile that the board does not have.
func (t *Table) PlanGPU(gpu GPU, demands []Demand) (Plan, error) {
	s := search{t: t}
	var err error
	if s.at, err = t.read(&gpu); err != nil {
		return Plan{}, fmt.Errorf("plan: %w", err)
	}
	if err := s.wants.fill(t, demands); err != nil {
		return Plan{}, fmt.Errorf("plan GPU %s: %w", gpu.UUID, err)
	}
	s.run()
	plan := s.plan(&gpu, s.best)
	plan.Unmet = unmet(demands, func(p ProfileID) int { return s.serves(s.best, p) })
	return plan, nil
}

// plan writes a candidate down.
func (s *search) plan(gpu *GPU, c candidate) Plan {
	p := Plan{GPU: gpu.UUID, Base: Fingerprint(gpu.Instances), Create: s.t.placed(c.created)}
	if c.destroyed != 0 {
		p.Destroy = make([]Instance, 0, bits.OnesCount64(c.destroyed))
	}
	for rest := c.destroyed; rest != 0; rest &= rest - 1 {
		at := s.t.places[bits.TrailingZeros64(rest)].at
		for k := range gpu.Instances {
			if gpu.Instances[k].Placed == at {
				p.Destroy = append(p.Destroy, gpu.Instances[k])
			}
		}
	}
	return p
}

// serves is how many instances of a profile are there for use after a candidate.
func (s *search) serves(c candidate, profile ProfileID) int {
	return bits.OnesCount64((s.at.idle&^c.destroyed | c.created) & s.t.placesOf(profile))
}

// unmet is what of the demands is not there, the lightest first among those for the same
// profile.
func unmet(demands []Demand, served func(ProfileID) int) []Demand {
	var left []Demand
	for i, d := range demands {
		got := min(max(served(d.Profile)-ahead(demands, i), 0), d.Count)
		if got < d.Count {
			d.Count -= got
			left = append(left, d)
		}
	}
	return left
}
