package lend

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// VictimRule is a way of choosing victims that others use or publish. [Choose] tries
// each of them; by itself it is what Ebbtide is compared with.
type VictimRule string

const (
	// RandomVictims takes loans in the order of a hash of their names.
	RandomVictims VictimRule = "random"
	// FewestJobs clears the node with the fewest jobs first.
	FewestJobs VictimRule = "fewest-jobs"
	// LyraCost is the rule of Lyra (EuroSys 2023): elastic jobs shrink first; then the
	// node is cleared whose jobs have the smallest parts of themselves on it. A job on n
	// nodes counts as 1/n on each of them, and as nothing once it is stopped.
	LyraCost VictimRule = "lyra"
	// GFSScore is the rule of GFS (ASPLOS 2026). For one pod after the other, it keeps
	// the jobs of each node that ran for the most unit-seconds and are not needed, and
	// stops the others where the fewest units are left over, and of these where the
	// score is lowest:
	//
	//	(F+k)/(F+S+k) + 5·Σ units·time / (all units·window)
	//
	// over k victims, with F jobs that did not get the time they were promised and S that
	// did. Here no job was stopped before this choice, S is who still runs, the window is
	// an hour, and now is when the newest candidate began.
	GFSScore VictimRule = "gfs"
	// HeuristicsAlone is what [Choose] does where there are too many nodes to search for
	// the best choice: all of the above and more, improved by exchange.
	HeuristicsAlone VictimRule = "heuristics"
)

// VictimRules lists the rules of others.
func VictimRules() []VictimRule { return []VictimRule{RandomVictims, FewestJobs, LyraCost, GFSScore} }

// ChooseBy is the choice of one rule alone, with the same reprieve as that of [Choose],
// which can only make it cheaper: what the rule took and did not need is spared. Of the
// rules of others only LyraCost shrinks elastic jobs. ok is false if the rule finds no
// way. It is an error to name another rule.
func ChooseBy(rule VictimRule, rooms []Room, owed []Owed, candidates []Candidate) (choice Choice, ok bool, err error) {
	if known := append(VictimRules(), HeuristicsAlone); !slices.Contains(known, rule) {
		return Choice{}, false, fmt.Errorf("rule: %q is none of %q", rule, known)
	}
	s := newSearch(rooms, owed, candidates)
	if s.enough() {
		return Choice{}, true, nil
	}
	if !s.possible() {
		return Choice{}, false, nil
	}
	if rule == HeuristicsAlone {
		s.heuristics()
		return s.choice(false), true, nil
	}
	if !s.follow(rule) {
		return Choice{}, false, nil
	}
	s.settle()
	return s.choice(false), true, nil
}

// follow takes what the rule says, and reports whether that is enough.
func (s *search) follow(rule VictimRule) bool {
	r := &follower{search: s, running: float64(len(s.candidates))}
	switch rule {
	case RandomVictims:
		s.barAll(func(p *piece) bool { return p.pod })
		done := s.takeInOrder(s.byHash(), math.MaxInt64)
		s.barAll(func(*piece) bool { return false })
		return done
	case FewestJobs:
		return r.clearOut(func(int) float64 { return 1 })
	case LyraCost:
		s.shrink()
		parts := make([]float64, len(s.candidates))
		for i := range parts {
			parts[i] = 1 / float64(max(s.candidates[i].nodes(), 1))
		}
		return r.clearOut(func(i int) float64 { return parts[s.pieces[i].owner] })
	case GFSScore:
		return r.leastScore()
	}
	return false
}

// byHash orders pieces by a hash of their loans' names.
func (s *search) byHash() order {
	return func(p *piece) (first, second float64) {
		x := uint64(14695981039346656037) // FNV-1a
		for _, b := range []byte(s.candidates[p.owner].Name) {
			x = (x ^ uint64(b)) * 1099511628211
		}
		// The last letters alone hardly change its high bits.
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return float64((x ^ x>>31) >> 11), 0
	}
}

// barAll keeps some pieces from being taken.
func (s *search) barAll(which func(*piece) bool) {
	for i := range s.barred {
		if b := which(&s.pieces[i]); b != s.barred[i] {
			s.bar(i, b)
		}
	}
}

// shrink gives up pods alone as far as that gives slots.
func (s *search) shrink() {
	s.barAll(func(p *piece) bool { return !p.pod })
	s.clearNodes(perSlot)
	s.barAll(func(*piece) bool { return false })
}

// nodes is over how many nodes a candidate is spread.
func (c *candidate) nodes() int {
	if len(c.Grants) == 1 {
		return 1
	}
	var seen []string
	for _, g := range c.Grants {
		if g.Count > 0 && !slices.Contains(seen, g.Node) {
			seen = append(seen, g.Node)
		}
	}
	return len(seen)
}

// follower plays a rule that goes node by node.
type follower struct {
	*search
	ran     []float64 // by candidate: unit-seconds since its start
	all     float64   // units
	running float64   // candidates that were not stopped
	offers  []offer   // by site
}

// offer is what a rule makes of one node for a size, until something changes there.
type offer struct {
	size    int64
	changes int
	victims []int // nil: stopping everybody gives no slot
	left    int64 // units over, where that counts
	score   float64
}

// run stops loans on one node after the other, for the largest shape that lacks a
// slot, until that is enough. The least left wins, then the least score.
func (r *follower) run(judge func(at *site, o *offer), score func(*offer) float64) bool {
	r.offers = make([]offer, len(r.sites))
	for !r.enough() {
		m, size, _ := r.lacking()
		var best *offer
		least := 0.0
		for i := range r.sites {
			at, o := &r.sites[i], &r.offers[i]
			if at.market != m {
				continue
			}
			if o.size != size || o.changes != at.changes {
				*o = offer{size: size, changes: at.changes}
				if r.canGive(at, size) {
					judge(at, o)
				}
			}
			if o.victims == nil {
				continue
			}
			if mine := score(o); best == nil || cmp.Or(cmp.Compare(o.left, best.left), cmp.Compare(mine, least)) < 0 {
				best, least = o, mine
			}
		}
		if best == nil {
			return false
		}
		for _, i := range best.victims {
			r.take(i)
		}
		r.running -= float64(len(best.victims))
	}
	return true
}

// canGive: stopping everybody on the site gives one more slot.
func (r *follower) canGive(at *site, size int64) bool {
	all := at.free
	for _, k := range r.openAt(at) {
		if !r.pieces[k.piece].pod {
			all += k.count
		}
	}
	return max(all, 0)/size > max(at.free, 0)/size
}

// clearOut stops everybody on a node that has the least sum of what they count.
func (r *follower) clearOut(counts func(piece int) float64) bool {
	return r.run(func(at *site, o *offer) {
		for _, k := range at.on {
			if !r.pieces[k.piece].pod && r.open(k.piece) {
				o.victims = append(o.victims, k.piece)
				o.score += counts(k.piece)
			}
		}
	}, func(o *offer) float64 { return o.score })
}

const (
	gfsWindow = 3600
	gfsWeight = 5
)

// leastScore keeps the longest runs on each node that one more pod does not need.
func (r *follower) leastScore() bool {
	r.measure()
	return r.run(func(at *site, o *offer) {
		stakes := slices.DeleteFunc(r.openAt(at), func(k stake) bool { return r.pieces[k.piece].pod })
		slices.SortStableFunc(stakes, func(a, b stake) int {
			return cmp.Compare(r.ran[r.pieces[b.piece].owner], r.ran[r.pieces[a.piece].owner])
		})
		// What would be left if all were stopped.
		o.left = max(at.free, 0)%o.size + min(at.free, 0) - o.size
		for _, k := range stakes {
			o.left += k.count
		}
		for _, k := range stakes {
			if o.left >= k.count {
				o.left -= k.count
				continue
			}
			o.victims = append(o.victims, k.piece)
			o.score += gfsWeight * r.ran[r.pieces[k.piece].owner] / (max(r.all, 1) * gfsWindow)
		}
	}, func(o *offer) float64 { return float64(len(o.victims))/r.running + o.score })
}

// measure counts the units, and what the candidates did with them.
func (r *follower) measure() {
	var newest time.Time
	for i := range r.candidates {
		if since := r.candidates[i].Since; since.After(newest) {
			newest = since
		}
	}
	r.ran = make([]float64, len(r.candidates))
	for i := range r.candidates {
		c := &r.candidates[i]
		var units float64
		for _, g := range c.Grants {
			units += float64(clamp(g.Count))
		}
		r.ran[i] = units * newest.Sub(c.Since).Seconds()
		r.all += units
	}
	for i := range r.sites {
		r.all += float64(max(r.sites[i].free, 0))
	}
}
