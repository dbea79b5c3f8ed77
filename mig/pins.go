package mig

import (
	"fmt"
	"math/bits"
	"strings"
)

// BestPins returns where n instances of the profile on an empty GPU leave most to others:
// the starts, ascending, after which Phi is greatest, the highest of several. It returns
// nil if the board has no room for n of them, or n is not at least 1.
func (t *Table) BestPins(n int, profile ProfileID) []int {
	return t.starts(t.choose(t.placesOf(profile), 0, n))
}

// Pins returns which n instances of the profile that are on the GPU to pin, by start:
// first those that somebody uses without a loan, which stay where they are anyway, then
// those after which Phi is greatest, the highest of several. Lent ones, and those that
// are not ours or on their way out, are not pinned, so that there may be fewer than n.
func (t *Table) Pins(gpu GPU, n int, profile ProfileID) ([]int, error) {
	s, err := t.read(&gpu)
	if err != nil {
		return nil, fmt.Errorf("pin: %w", err)
	}
	var busy, rest set
	for _, in := range gpu.Instances {
		if in.Profile != profile {
			continue
		}
		bit := set(1) << t.number(in.Placed)
		switch in.Use {
		case Busy:
			busy |= bit
		case Idle, Pinned:
			rest |= bit
		}
	}
	others := t.slots((s.fixed | s.remnant) &^ busy &^ rest)
	used := bits.OnesCount64(busy)
	if n <= used {
		return t.starts(t.choose(busy, others, n)), nil
	}
	chosen := t.choose(rest, others|t.slots(busy), min(n-used, bits.OnesCount64(rest)))
	return t.starts(busy | chosen), nil
}

// choose returns the n of the places that leave the greatest Phi beside slots in use, the
// highest of several; none if they do not fit.
func (t *Table) choose(from set, used uint16, n int) set {
	var best set
	most := int32(-1)
	var pick func(open, chosen set, used uint16, n int)
	pick = func(open, chosen set, used uint16, n int) {
		if n == 0 {
			// Higher places come later.
			if phi := t.phi[used]; phi >= most && t.allowed(chosen) {
				best, most = chosen, phi
			}
			return
		}
		for ; bits.OnesCount64(open) >= n; open &= open - 1 {
			i := bits.TrailingZeros64(open)
			pick(open&(open-1)&^t.places[i].clash, chosen|1<<i, used|t.places[i].slots, n-1)
		}
	}
	if t.err == nil && n > 0 {
		pick(from, 0, used, n)
	}
	return best
}

func (t *Table) starts(s set) []int {
	var all []int
	for ; s != 0; s &= s - 1 {
		all = append(all, t.places[bits.TrailingZeros64(s)].at.Start)
	}
	return all
}

// Reform returns nil if the owners can have their slices back by evicting loans alone:
// with the instances gone that are lent, idle or remnants, there are legal places for all
// that is owned, beside those that are pinned, busy, draining, foreign or unknown, which
// stay. What stays is not counted as owned. Otherwise the error names what would be
// missing.
func (t *Table) Reform(gpu GPU, owned []Demand) error {
	s := search{t: t}
	var err error
	if s.at, err = t.read(&gpu); err != nil {
		return fmt.Errorf("re-form: %w", err)
	}
	s.at = state{fixed: s.at.fixed &^ s.at.lent}
	if err := s.wants.fill(t, owned); err != nil {
		return fmt.Errorf("re-form GPU %s: %w", gpu.UUID, err)
	}
	s.run()
	missing := unmet(owned, func(p ProfileID) int { return s.serves(s.best, p) })
	if len(missing) == 0 {
		return nil
	}
	var names []string
	for _, d := range missing {
		p, _ := t.geometry.Profile(d.Profile)
		names = append(names, fmt.Sprintf("%d of %s", d.Count, p.Name))
	}
	beside := ""
	for _, at := range t.placed(s.at.fixed) {
		p, _ := t.geometry.Profile(at.Profile)
		beside += fmt.Sprintf(", %s at slot %d", p.Name, at.Start)
	}
	if beside == "" {
		return fmt.Errorf("GPU %s: no place for %s on an empty GPU", gpu.UUID, strings.Join(names, " and "))
	}
	return fmt.Errorf("GPU %s: no place for %s beside what stays: %s", gpu.UUID, strings.Join(names, " and "), beside[2:])
}
