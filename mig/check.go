package mig

import (
	"fmt"
	"slices"
)

// Rule is one of the rules that a set of instances on a GPU obeys.
type Rule string

const (
	// RuleProfile: the board has the profile.
	RuleProfile Rule = "profile"
	// RuleStart: the instance begins where the profile may begin.
	RuleStart Rule = "start"
	// RuleOverlap: no two instances use the same slot.
	RuleOverlap Rule = "overlap"
	// RuleMax: there are no more instances of a profile than the board allows.
	RuleMax Rule = "max"
	// RuleEngines: instances have no more media engines than the GPU.
	RuleEngines Rule = "engines"
	// RuleApart: the driver allows both profiles at once.
	RuleApart Rule = "apart"
)

// RuleError says which instance breaks which rule.
type RuleError struct {
	At   Placed
	Rule Rule
	text string
}

// Error names the instance, the rule and what is in its way.
func (e *RuleError) Error() string { return e.text }

// Check returns a *RuleError for the first instance that cannot be there beside those
// before it in the set, or nil if the board allows the whole set. The order of the set
// does not matter for whether it is allowed, and each part of an allowed set is allowed.
func (g *Geometry) Check(set []Placed) error {
	var used Engines
	for i, at := range set {
		p, ok := g.Profile(at.Profile)
		if !ok {
			return broken(at, RuleProfile, "profile %d at slot %d: %s has no such profile", at.Profile, at.Start, g.Board)
		}
		if err := g.checkPlace(p, at, set[:i]); err != nil {
			return err
		}
		used = used.plus(p.Engines)
		if name, has, limit := used.over(g.Engines); name != "" {
			return broken(at, RuleEngines, "%s at slot %d: instances would have %d %s, and the GPU has %d", p.Name, at.Start, has, name, limit)
		}
	}
	return nil
}

// checkPlace checks an instance of a known profile against those before it.
func (g *Geometry) checkPlace(p Profile, at Placed, before []Placed) error {
	if !slices.Contains(p.Starts, at.Start) {
		return broken(at, RuleStart, "%s at slot %d: it may begin at %v only", p.Name, at.Start, p.Starts)
	}
	same := 1
	for _, other := range before {
		o, _ := g.Profile(other.Profile) // it was checked before
		if other.Start < at.Start+p.Memory && at.Start < other.Start+o.Memory {
			return broken(at, RuleOverlap, "%s at slot %d: it overlaps %s at slot %d", p.Name, at.Start, o.Name, other.Start)
		}
		if g.apart(p.ID, o.ID) {
			return broken(at, RuleApart, "%s at slot %d: the driver does not allow it together with %s at slot %d", p.Name, at.Start, o.Name, other.Start)
		}
		if other.Profile == at.Profile {
			same++
		}
	}
	if same > p.Max {
		return broken(at, RuleMax, "%s at slot %d: it is number %d, and the board allows %d of the profile", p.Name, at.Start, same, p.Max)
	}
	return nil
}

func broken(at Placed, rule Rule, format string, args ...any) *RuleError {
	return &RuleError{At: at, Rule: rule, text: fmt.Sprintf(format, args...)}
}

func (g *Geometry) apart(a, b ProfileID) bool {
	for _, pair := range g.Apart {
		if pair == [2]ProfileID{a, b} || pair == [2]ProfileID{b, a} {
			return true
		}
	}
	return false
}

func (e Engines) plus(o Engines) Engines {
	return Engines{Decoders: e.Decoders + o.Decoders, Encoders: e.Encoders + o.Encoders, JPEG: e.JPEG + o.JPEG, OFA: e.OFA + o.OFA}
}

// over returns the first kind of engine of which there are more than the limit, if that
// is known.
func (e Engines) over(limit Engines) (name string, has, most int) {
	switch {
	case limit.Decoders > 0 && e.Decoders > limit.Decoders:
		return "decoders", e.Decoders, limit.Decoders
	case limit.Encoders > 0 && e.Encoders > limit.Encoders:
		return "encoders", e.Encoders, limit.Encoders
	case limit.JPEG > 0 && e.JPEG > limit.JPEG:
		return "JPEG decoders", e.JPEG, limit.JPEG
	case limit.OFA > 0 && e.OFA > limit.OFA:
		return "optical flow accelerators", e.OFA, limit.OFA
	}
	return "", 0, 0
}

// maxSlots is how many slots fit a mask, maxPlaces how many places fit a set, and maxID
// is above NVML's numbers of profiles, which are below 20.
const (
	maxSlots  = 16
	maxPlaces = 64
	maxID     = 256
)

// Validate returns what keeps a geometry from being planned for, or nil: more than 16
// slots or 64 places, profiles that are listed twice, places beyond the slots.
func (g *Geometry) Validate() error {
	if g.Slots < 1 || g.Slots > maxSlots {
		return fmt.Errorf("board %s: slots: %d is not from 1 to %d", g.Board, g.Slots, maxSlots)
	}
	places := 0
	for i, p := range g.Profiles {
		if p.ID < 0 || p.ID >= maxID {
			return fmt.Errorf("board %s: profile %s: id: %d is not from 0 to %d", g.Board, p.Name, p.ID, maxID-1)
		}
		if p.Memory < 1 {
			return fmt.Errorf("board %s: profile %s: memory: %d is not at least 1 slot", g.Board, p.Name, p.Memory)
		}
		for _, other := range g.Profiles[:i] {
			if other.ID == p.ID {
				return fmt.Errorf("board %s: profile %s: id: %d is that of %s", g.Board, p.Name, p.ID, other.Name)
			}
		}
		for k, start := range p.Starts {
			if start < 0 || start+p.Memory > g.Slots {
				return fmt.Errorf("board %s: profile %s: starts: %d with %d slots is not within %d", g.Board, p.Name, start, p.Memory, g.Slots)
			}
			if slices.Contains(p.Starts[:k], start) {
				return fmt.Errorf("board %s: profile %s: starts: %d is listed twice", g.Board, p.Name, start)
			}
		}
		places += len(p.Starts)
	}
	if places > maxPlaces {
		return fmt.Errorf("board %s: %d places are more than %d", g.Board, places, maxPlaces)
	}
	return nil
}

// Enumerate yields every set of instances that the board allows and that holds all
// fixed ones, until yield returns false: fixed alone first, then what can be added, by
// start and profile. Each set has fixed in front, in its order. The slice is the same
// each time: copy it to keep it. Nothing is yielded if the board does not allow fixed.
func (g *Geometry) Enumerate(fixed []Placed, yield func([]Placed) bool) {
	if g.Check(fixed) != nil {
		return
	}
	places := g.places()
	set := slices.Clone(fixed)
	var grow func(from int) bool
	grow = func(from int) bool {
		if !yield(set) {
			return false
		}
		for i := from; i < len(places); i++ {
			set = append(set, places[i])
			if g.Check(set) == nil && !grow(i+1) {
				return false
			}
			set = set[:len(set)-1]
		}
		return true
	}
	grow(0)
}

// places are all places of all profiles, by start and profile.
func (g *Geometry) places() []Placed {
	var all []Placed
	for _, p := range g.Profiles {
		for _, start := range p.Starts {
			all = append(all, Placed{Profile: p.ID, Start: start})
		}
	}
	slices.SortFunc(all, Placed.compare)
	return all
}

// compare orders places by start, then profile.
func (a Placed) compare(b Placed) int {
	if a.Start != b.Start {
		return a.Start - b.Start
	}
	return int(a.Profile - b.Profile)
}
