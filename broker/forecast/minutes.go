package forecast

import "time"

const (
	// Minute is the time of which growth is learned: the notice of units that are asked back
	// is often a minute or two, and loads are scraped and averaged by the minute.
	Minute = time.Minute

	aSlot = int64(Slot / Minute)
	// FineDays is how far back minutes go: the week whose growth counts, and a day for the
	// hour before it and the horizon after it.
	FineDays = 8
	fine     = FineDays * aDay * aSlot
	// furthest is the longest horizon of which growth is learned.
	furthest = 12 * time.Hour
)

// minutes is the highest load in each minute of the last eight days. The zero minutes are
// empty.
type minutes struct{ series }

func minuteOf(t time.Time) int64 { return stepOf(t, Minute) }

func (p *minutes) add(at time.Time, value float64) { p.series.add(minuteOf(at), value, fine) }

// whole: from one minute to another all was heard. A single minute without a sample is due
// to how far apart samples are, and no gap.
func (p *minutes) whole(from, to int64) bool {
	missing := 0
	for m := from; m <= to; m++ {
		if _, ok := p.at(m); ok {
			missing = 0
		} else if missing++; missing > 1 {
			return false
		}
	}
	return true
}

// minutesAhead is how many minutes a horizon reaches into, beyond the one it begins in.
func minutesAhead(d time.Duration) int64 {
	if d <= Minute {
		return 1
	}
	return int64((min(d, furthest)-1)/Minute) + 1
}
