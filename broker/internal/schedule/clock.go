package schedule

import (
	"time"

	cron "github.com/netresearch/go-cron"
)

// point is a time of the clock on the wall, written as if it were UTC, and the moment
// at which it comes. All times that the clocks skip come at one moment.
type point struct {
	wall time.Time
	at   time.Time
}

func (p point) before(q point) bool {
	if !p.at.Equal(q.at) {
		return p.at.Before(q.at)
	}
	return p.wall.Before(q.wall)
}

// clock tells when the times of a cron come in a time zone.
type clock struct {
	cron *cron.SpecSchedule
	zone *time.Location
}

// now is the point at a moment, which counts to the second.
func (c clock) now(at time.Time) point {
	at = at.In(c.zone).Truncate(time.Second)
	return point{wall: wall(at, offset(at)), at: at}
}

// maxChanges bounds how many changes of the clocks are looked past.
const maxChanges = 8 * searchYears

// next is the first point after p.
func (c clock) next(p point) (point, bool) {
	at, from := p.at, p.wall.Add(time.Second)
	for range maxChanges {
		now := offset(at)
		found := c.cron.Next(from.Add(-time.Second))
		if found.IsZero() {
			return point{}, false
		}
		if began := wall(at, now); from.Before(began) { // within what was skipped at the moment
			if found.Before(began) {
				return point{wall: found, at: at}, true
			}
			from = began
			continue
		}
		moment := found.Add(-now).In(c.zone)
		end := change(at)
		if end.IsZero() || moment.Before(end) {
			return point{wall: found, at: moment}, true
		}
		at = end
		from = wall(end, min(now, offset(end)))
	}
	return point{}, false
}

// comes tells whether p is one of the clock's points.
func (c clock) comes(p point) bool {
	found, ok := c.last(p)
	return ok && !found.before(p)
}

// last is the last point that is not after p.
func (c clock) last(p point) (point, bool) {
	at, until := p.at, p.wall
	for range maxChanges {
		now := offset(at)
		found := c.cron.Prev(until.Add(time.Second))
		if found.IsZero() {
			return point{}, false
		}
		moment := found.Add(-now).In(c.zone)
		start, _ := at.ZoneBounds()
		if start.IsZero() || !moment.Before(start) {
			return point{wall: found, at: moment}, true
		}
		at = start.Add(-time.Second)
		if !found.Before(wall(start, offset(at))) { // skipped at the change
			return point{wall: found, at: start}, true
		}
		until = wall(at, offset(at))
	}
	return point{}, false
}

// change is when the offset that is valid at a moment ends at the latest; zero is never.
// It is always after the moment, which the standard library's answer is not on the last
// day of a leap year.
func change(at time.Time) time.Time {
	_, end := at.ZoneBounds()
	if !end.IsZero() && !end.After(at) {
		return at.Add(time.Hour)
	}
	return end
}

func wall(at time.Time, offset time.Duration) time.Time { return at.UTC().Add(offset) }

func offset(at time.Time) time.Duration {
	_, seconds := at.Zone()
	return time.Duration(seconds) * time.Second
}
