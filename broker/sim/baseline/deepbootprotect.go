package baseline

import (
	"slices"
	"time"
)

// protectFor is how long an idle unit is kept for its service, by how often the service
// came back for it before that was over (DeepBoot, IEEE TPDS 34(9), 2023).
func protectFor(reuses int) time.Duration {
	return min(30*time.Second+time.Duration(reuses)*15*time.Second, 120*time.Second)
}

// mostReuses is from where on it makes no difference.
const mostReuses = 6

// shield follows the units of one spot through running, protect and sleep. A spot's units
// are alike: a replica takes those back first that are protected for longest, and when one
// goes, those are idle first that it came back for most often.
type shield struct {
	running [mostReuses + 1]int64 // units that replicas hold, by reuses
	kept    []keptUnits           // idle and protected, by until
}

type keptUnits struct {
	until  time.Duration
	reuses int
	units  int64
}

// see takes in how many units replicas hold now.
func (s *shield) see(now time.Duration, online int64) {
	s.lapse(now)
	held := int64(0)
	for _, n := range s.running {
		held += n
	}
	for i := len(s.kept) - 1; i >= 0 && held < online; i-- {
		k := &s.kept[i]
		n := min(k.units, online-held)
		k.units -= n
		s.running[min(k.reuses+1, mostReuses)] += n
		held += n
	}
	s.kept = slices.DeleteFunc(s.kept, func(k keptUnits) bool { return k.units == 0 })
	s.running[0] += max(online-held, 0)
	for r := mostReuses; r >= 0 && held > online; r-- {
		n := min(s.running[r], held-online)
		if n == 0 {
			continue
		}
		s.running[r] -= n
		held -= n
		s.keep(keptUnits{now + protectFor(r), r, n})
	}
}

func (s *shield) keep(k keptUnits) {
	i, _ := slices.BinarySearchFunc(s.kept, k.until, func(o keptUnits, until time.Duration) int {
		if o.until <= until {
			return -1
		}
		return 1
	})
	s.kept = slices.Insert(s.kept, i, k)
}

// lapse lets units sleep that were protected long enough. Their reuses are forgotten.
func (s *shield) lapse(now time.Duration) {
	n := 0
	for n < len(s.kept) && s.kept[n].until <= now {
		n++
	}
	s.kept = slices.Delete(s.kept, 0, n)
}

// protected is how many units are kept, and when the next of them are not; 0 if none are.
func (s *shield) protected() (units int64, next time.Duration) {
	for _, k := range s.kept {
		units += k.units
	}
	if units > 0 {
		next = s.kept[0].until
	}
	return units, next
}
