package schedule

import (
	"fmt"
	"time"
)

// Window is a time that comes again. The zero Window never comes. It is safe for use
// by several goroutines.
type Window struct {
	start clock
	end   clock
}

// Parse reads a window from two crons of five fields and the name of a time zone in the
// IANA database; no name is UTC. Its errors begin with the field that is wrong: start,
// end or timezone.
func Parse(start, end, timezone string) (Window, error) {
	zone, err := location(timezone)
	if err != nil {
		return Window{}, fmt.Errorf("timezone %q: %w", timezone, err)
	}
	from, err := parseCron(start)
	if err != nil {
		return Window{}, fmt.Errorf("start %q: %w", start, err)
	}
	until, err := parseCron(end)
	if err != nil {
		return Window{}, fmt.Errorf("end %q: %w", end, err)
	}
	return Window{start: clock{from, zone}, end: clock{until, zone}}, nil
}

func location(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, fmt.Errorf("must be a name of the IANA database, such as Asia/Shanghai")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("must be a name of the IANA database, such as Asia/Shanghai: %w", err)
	}
	return zone, nil
}

// maxMerged bounds how many windows are joined that follow each other without a break,
// and how many are skipped that are over as soon as they begin.
const maxMerged = 64

// Around is the window that now is in, or else the next one: it holds from its from
// up to but not including its until, in the window's time zone. Both are zero if none
// comes within nine years.
func (w Window) Around(now time.Time) (from, until time.Time) {
	if w.start.cron == nil {
		return time.Time{}, time.Time{}
	}
	here := w.start.now(now)
	began, begun := w.start.last(here)
	ended, over := w.end.last(here)
	if begun && (!over || !began.before(ended)) {
		if over {
			began = w.first(ended)
		}
	} else if began, begun = w.start.next(here); !begun {
		return time.Time{}, time.Time{}
	}
	for range maxMerged {
		closes, ok := w.close(began)
		if !ok {
			return time.Time{}, time.Time{}
		}
		if closes.at.After(began.at) {
			return began.at, closes.at
		}
		if began, ok = w.start.next(closes); !ok { // all of it was skipped by the clocks
			return time.Time{}, time.Time{}
		}
	}
	return time.Time{}, time.Time{}
}

// first is the first start that is not before an end; the zero point if none is.
func (w Window) first(end point) point {
	if w.start.comes(end) {
		return end
	}
	found, _ := w.start.next(end)
	return found
}

// close is the first end after a start at whose moment no other window starts.
func (w Window) close(start point) (point, bool) {
	p := start
	for range maxMerged {
		end, ok := w.end.next(p)
		if !ok {
			return point{}, false
		}
		again := w.first(end)
		if !again.at.Equal(end.at) {
			return end, true
		}
		p = again
	}
	return p, true
}
