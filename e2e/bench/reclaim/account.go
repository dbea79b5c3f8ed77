package reclaim

import (
	"cmp"
	"slices"
	"time"
)

// played is what was seen of a trial.
type played struct {
	// full is when all gangs ran, began when each wave did.
	full  time.Time
	began []time.Time
	pods  []sighting
}

// row is what waves of one shape cost.
type row struct {
	wave  wave
	waves int
	// evicted pods, and broken jobs: those that lost their first pod.
	evicted, broken int
	// lost GPU-seconds.
	lost float64
	// From a wave's beginning until the last victim was asked to stop, until all victims
	// were gone, and until the last pod was bound; the longest of its waves.
	asked, gone, took time.Duration
	// waits of each pod from its making to its binding, and net of the time that the
	// wave's slowest victim took to stop; sorted.
	waits, net []time.Duration
}

// rows counts what each wave cost, waves of the same shape together.
func (p *played) rows(t trial) []row {
	var rows []row
	at := make([]int, len(t.waves)) // of each wave, its row
	for i, v := range t.waves {
		k := slices.IndexFunc(rows, func(r row) bool { return r.wave == v })
		if k < 0 {
			k = len(rows)
			rows = append(rows, row{wave: v})
		}
		rows[k].waves++
		at[i] = k
	}
	stops := p.evictions(t, func(wave int) *row { return &rows[at[wave]] })
	p.bindings(stops, func(wave int) *row { return &rows[at[wave]] })
	return rows
}

// waveOf is the wave during which something happened; -1 before the first.
func (p *played) waveOf(when time.Time) int {
	i, found := slices.BinarySearchFunc(p.began, when, time.Time.Compare)
	if found {
		return i
	}
	return i - 1
}

// evictions counts victims, and returns how long the slowest of each wave took to stop.
func (p *played) evictions(t trial, rowOf func(wave int) *row) []time.Duration {
	stops := make([]time.Duration, len(p.began))
	gangs := make(map[string]gang, len(t.gangs))
	for _, g := range t.gangs {
		gangs[g.name] = g
	}
	victims := slices.DeleteFunc(slices.Clone(p.pods), func(s sighting) bool { return s.online || s.asked.IsZero() })
	slices.SortFunc(victims, func(a, b sighting) int { return cmp.Or(a.asked.Compare(b.asked), cmp.Compare(a.job, b.job)) })
	broken := map[string]bool{}
	for _, s := range victims {
		i := max(p.waveOf(s.asked), 0)
		r := rowOf(i)
		r.evicted++
		stops[i] = max(stops[i], s.gone.Sub(s.asked))
		r.asked, r.gone = max(r.asked, s.asked.Sub(p.began[i])), max(r.gone, s.gone.Sub(p.began[i]))
		if !broken[s.job] {
			broken[s.job] = true
			r.broken++
			g := gangs[s.job]
			r.lost += float64(g.pods) * g.unsaved(s.asked.Sub(p.full)).Seconds()
		}
	}
	return stops
}

// bindings counts how long online pods waited.
func (p *played) bindings(stops []time.Duration, rowOf func(wave int) *row) {
	for _, s := range p.pods {
		if !s.online || s.bound.IsZero() {
			continue
		}
		i := max(p.waveOf(s.made), 0)
		r, wait := rowOf(i), s.bound.Sub(s.made)
		r.took = max(r.took, s.bound.Sub(p.began[i]))
		r.waits = append(r.waits, wait)
		r.net = append(r.net, max(wait-stops[i], 0))
	}
	for i := range p.began {
		r := rowOf(i)
		slices.Sort(r.waits)
		slices.Sort(r.net)
	}
}

// total adds rows up; of times, it has the longest.
func total(rows []row) row {
	var sum row
	for _, r := range rows {
		sum.waves += r.waves
		sum.evicted += r.evicted
		sum.broken += r.broken
		sum.lost += r.lost
		sum.asked, sum.gone, sum.took = max(sum.asked, r.asked), max(sum.gone, r.gone), max(sum.took, r.took)
		sum.waits = append(sum.waits, r.waits...)
		sum.net = append(sum.net, r.net...)
	}
	slices.Sort(sum.waits)
	slices.Sort(sum.net)
	return sum
}

// quantile of a sorted list: the least value that the share q does not exceed; 0 of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q * float64(len(sorted)))
	if float64(i) < q*float64(len(sorted)) {
		i++
	}
	return sorted[min(max(i-1, 0), len(sorted)-1)]
}

func mean(values []time.Duration) time.Duration {
	if len(values) == 0 {
		return 0
	}
	var sum time.Duration
	for _, v := range values {
		sum += v
	}
	return sum / time.Duration(len(values))
}
