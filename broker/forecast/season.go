package forecast

import "time"

// mostLevel is how much higher than then the load may be now for the season to be scaled
// with it.
const mostLevel = 2

// seasonKnown is how old a past must be before its seasons count: a week, and a day to
// see that there is a week.
const seasonKnown = aWeek + aDay

// season is the highest load from slot n to ahead slots later, as yesterday and a week
// before were, each scaled by how high the load of the last hour, now, is against the same
// hour then, and doubled where nothing of that hour was heard. Where not all of it was heard
// then, the day or the week before it counts as well: what was not heard may have been the
// peak. It is 0 while the past is younger than eight days, and never falls by what is scaled.
func (p *Past) season(n, ahead int64, now float64) float64 {
	if !p.seasoned(n) {
		return 0
	}
	var highest float64
	for _, lag := range [...]int64{aDay, aWeek} {
		further := min(ahead, lag-1)
		then, whole := p.then(n, lag, further, now)
		if !whole {
			before, _ := p.then(n, 2*lag, further, now)
			then = max(then, before)
		}
		highest = max(highest, then)
	}
	return highest
}

// seasoned reports whether the past is old enough at slot n for its seasons to count.
func (p *Past) seasoned(n int64) bool { return p.values != nil && p.oldest <= n-seasonKnown }

// then is the highest load from a lag before slot n to so many slots further, scaled by
// how high the load is now against the hour then; whole: every slot of it was heard.
func (p *Past) then(n, lag, further int64, now float64) (highest float64, whole bool) {
	highest, count := p.span(n-lag, n-lag+further)
	was, heard := p.span(n-lag-anHour+1, n-lag)
	level := 1.0
	switch {
	case was > 0:
		level = min(max(now/was, 1), mostLevel)
	case heard < anHour && now > 0:
		level = mostLevel // what was not heard may have been as little as that
	}
	return highest * level, count == further+1
}

// Floor is the highest load of the last seven days: what is kept of a service whose load
// now says nothing about its load in a minute. It is false while the past is shorter than
// that, or known for less than four fifths of it.
func (p *Past) Floor(now time.Time) (highest float64, ok bool) {
	n := number(now)
	if p.values == nil || p.oldest > n-aWeek {
		return 0, false
	}
	highest, count := p.span(n-aWeek, n)
	return highest, 5*count >= 4*aWeek
}

// ahead is how many slots a time reaches into, beyond the one it begins in.
func ahead(d time.Duration) int64 {
	if d <= 0 {
		return 1
	}
	return min(int64((d-1)/Slot)+1, slots)
}
