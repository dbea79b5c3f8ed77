package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The oracle goes through every minute, and through those that the clocks skip, and asks
// each cron's fields by itself: no library, no search.

type oracleCron [5][]int // what each field admits; nil is everything

func (o oracleCron) text() string {
	fields := make([]string, 0, len(o))
	for _, values := range o {
		text := make([]string, 0, len(values))
		for _, v := range values {
			text = append(text, strconv.Itoa(v))
		}
		fields = append(fields, strings.Join(text, ","))
		if values == nil {
			fields[len(fields)-1] = "*"
		}
	}
	return strings.Join(fields, " ")
}

func (o oracleCron) at(wall time.Time) bool {
	admits := func(i, v int) bool { return o[i] == nil || slices.Contains(o[i], v) }
	day, weekday := admits(2, wall.Day()), admits(4, int(wall.Weekday()))
	onDay := day && weekday
	if o[2] != nil && o[4] != nil {
		onDay = day || weekday
	}
	return onDay && admits(0, wall.Minute()) && admits(1, wall.Hour()) && admits(3, int(wall.Month()))
}

func (o oracleCron) everComes() bool {
	return o[2] == nil || o[4] != nil || o[2][0] < 29
}

// open says for each minute from begin whether the window is open within it, and from
// which minute on that is known.
func open(start, end oracleCron, zone *time.Location, begin time.Time, minutes int) (open []bool, known int) {
	open, known = make([]bool, minutes), minutes
	now := false
	before := begin.Add(-time.Minute).In(zone)
	for i := range minutes {
		at := begin.Add(time.Duration(i) * time.Minute).In(zone)
		first := wall(at, offset(at))
		if skipped := wall(at, offset(before)); skipped.Before(first) {
			first = skipped
		}
		for w := first; !w.After(wall(at, offset(at))); w = w.Add(time.Minute) {
			switch {
			case start.at(w):
				now, known = true, min(known, i)
			case end.at(w):
				now, known = false, min(known, i)
			}
		}
		open[i], before = now, at
	}
	return open, known
}

func drawCron(t *rapid.T, label string) oracleCron {
	var o oracleCron
	some := func(from, to int, name string) []int {
		values := rapid.SliceOfNDistinct(rapid.IntRange(from, to), 1, 3, rapid.ID[int]).Draw(t, label+" "+name)
		slices.Sort(values)
		return values
	}
	o[0] = some(0, 59, "minutes")
	o[1] = some(0, 23, "hours")
	if rapid.Bool().Draw(t, label+" around the change") { // where the clocks change
		o[1] = some(0, 4, "night hours")
	}
	if rapid.Bool().Draw(t, label+" has days") {
		o[2] = some(1, 31, "days")
	}
	if rapid.Bool().Draw(t, label+" has weekdays") {
		o[4] = some(0, 6, "weekdays")
	}
	return o
}

func TestAroundAgreesWithEveryMinute(t *testing.T) {
	// Lord Howe's clocks change by half an hour, Beirut's at midnight, Casablanca's are
	// turned back within the year for Ramadan, and Apia once skipped a day.
	changes := map[string][]string{
		"Asia/Shanghai":       {"2026-03-10"},
		"Europe/Berlin":       {"2026-03-29", "2026-10-25", "2028-12-31"},
		"America/New_York":    {"2026-03-08", "2026-11-01"},
		"Australia/Lord_Howe": {"2026-04-05", "2026-10-04"},
		"Asia/Beirut":         {"2026-03-29", "2026-10-25"},
		"Africa/Casablanca":   {"2026-02-15", "2026-03-22"},
		"Pacific/Apia":        {"2011-12-30"},
	}
	zones := make([]string, 0, len(changes))
	for name := range changes {
		zones = append(zones, name)
	}
	slices.Sort(zones)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		day, err := time.Parse("2006-01-02", rapid.SampledFrom(changes[name]).Draw(t, "day"))
		if err != nil {
			t.Fatal(err)
		}
		start, end := drawCron(t, "start"), drawCron(t, "end")
		if start.text() == end.text() || !start.everComes() || !end.everComes() {
			t.Skip("refused")
		}
		w, err := Parse(start.text(), end.text(), name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := disagree(w, start, end, day); diff != "" {
			t.Fatalf("%s to %s in %s: %s", start.text(), end.text(), name, diff)
		}
	})
}

// disagree compares Around with the oracle on the three days around the change.
func disagree(w Window, start, end oracleCron, day time.Time) string {
	const before, after = 9 * 24 * 60, 12 * 24 * 60
	begin := day.Add(-before * time.Minute)
	oracle, known := open(start, end, w.start.zone, begin, before+after)
	for i := max(known, before-36*60); i < before+36*60; i += 7 {
		now := begin.Add(time.Duration(i) * time.Minute).Add(31 * time.Second)
		from, until := w.Around(now)
		if now.Before(from) == oracle[i] {
			return fmt.Sprintf("at %v the window is %v to %v; open: %v", now.In(w.start.zone), from, until, oracle[i])
		}
		first := i
		for !oracle[first] && first < len(oracle)-1 {
			first++
		}
		last := first
		for oracle[last] && last < len(oracle)-1 {
			last++
		}
		if !oracle[i] && first < len(oracle)-1 && !from.Equal(begin.Add(time.Duration(first)*time.Minute)) {
			return fmt.Sprintf("at %v the next window starts %v, want minute %v", now.In(w.start.zone), from, begin.Add(time.Duration(first)*time.Minute).In(w.start.zone))
		}
		if last < len(oracle)-1 && !until.Equal(begin.Add(time.Duration(last)*time.Minute)) {
			return fmt.Sprintf("at %v the window ends %v, want minute %v", now.In(w.start.zone), until, begin.Add(time.Duration(last)*time.Minute).In(w.start.zone))
		}
	}
	return ""
}
