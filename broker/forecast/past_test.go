package forecast

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// at is the middle of a slot, counted from begin.
func at(slot int) time.Time { return after(time.Duration(slot)*Slot + Slot/2) }

// fill adds a value to each minute of each slot from 0 on; NaN adds none.
func fill(values ...float64) *Forecaster {
	f := NewForecaster()
	for i, v := range values {
		live(f, i, v)
	}
	return f
}

// live adds a value to each minute of a slot.
func live(f *Forecaster, slot int, v float64) {
	for m := range int(aSlot) {
		now := after(time.Duration(slot)*Slot + time.Duration(m)*Minute)
		f.Add(now, now, v)
	}
}

// A past remembers what a map with a horizon does, whatever the order and the jumps.
func TestPastAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Past
		model := map[int]float64{}
		newest := math.MinInt
		for range rapid.IntRange(1, 60).Draw(t, "samples") {
			if rapid.IntRange(0, 9).Draw(t, "forget") == 0 {
				slot := rapid.IntRange(-5000, 5000).Draw(t, "after")
				p.forget(number(at(slot)))
				was := newest
				newest = math.MinInt
				for s := range model {
					if s > slot || s <= was-int(slots) {
						delete(model, s)
					} else {
						newest = max(newest, s)
					}
				}
			}
			slot := rapid.OneOf(rapid.IntRange(-50, 50), rapid.IntRange(-5000, 5000)).Draw(t, "slot")
			v := float64(rapid.IntRange(0, 100).Draw(t, "value"))
			took := p.Add(at(10000), at(slot), v)
			if want := newest == math.MinInt || slot > newest-int(slots); took != want {
				t.Fatalf("slot %d after %d: taken %v", slot, newest, took)
			}
			if took {
				newest = max(newest, slot)
				if was, ok := model[slot]; !ok || v > was {
					model[slot] = v
				}
			}
		}
		if newest == math.MinInt {
			if p.values != nil {
				t.Fatal("a past of nothing is not empty")
			}
			return
		}
		oldest := newest
		for slot := newest - int(slots) - 10; slot <= newest+10; slot++ {
			want, known := model[slot]
			known = known && slot > newest-int(slots)
			if got, ok := p.at(number(at(slot))); ok != known || (ok && got != want) {
				t.Fatalf("slot %d: %v %v, want %v %v", slot, got, ok, want, known)
			}
			if known {
				oldest = min(oldest, slot)
			}
		}
		if p.oldest != number(at(oldest)) || p.newest != number(at(newest)) {
			t.Fatalf("from %d to %d, want %d to %d", p.oldest, p.newest, number(at(oldest)), number(at(newest)))
		}
	})
}

func TestPastRefuses(t *testing.T) {
	var p Past
	for name, ok := range map[string]bool{
		"future":   p.Add(at(0), at(0).Add(time.Nanosecond), 1),
		"nan":      p.Add(at(0), at(0), math.NaN()),
		"negative": p.Add(at(0), at(0), -1),
		"too high": p.Add(at(0), at(0), 1e16),
	} {
		if ok {
			t.Errorf("%s: taken", name)
		}
	}
	if _, ok := p.Max(at(-10), at(10)); ok {
		t.Error("an empty past has a highest load")
	}
}

// days of a load that is high from slot 60 to 80 of each.
func daily(days int, high float64) []float64 {
	var v []float64
	for i := range days * int(aDay) {
		if s := i % int(aDay); s >= 60 && s < 80 {
			v = append(v, high)
		} else {
			v = append(v, 10)
		}
	}
	return v
}

var rule = Rule{Horizon: 10 * time.Minute, Beyond: 5 * time.Minute, Quantile: 0.99}

func TestSeason(t *testing.T) {
	look := func(values []float64, slot int) Outlook {
		t.Helper()
		o, ok := fill(values...).Look(at(slot), rule)
		if !ok {
			t.Fatal("no outlook")
		}
		return o
	}
	upTo := func(v []float64, slot int) []float64 { return v[:slot+1] }
	year := daily(10, 50)
	eight := 8 * int(aDay)
	quiet := daily(10, 50)
	for i := 7 * int(aDay); i < eight; i++ {
		quiet[i] = 10 // yesterday was a holiday
	}
	hole := daily(10, 50)
	for i := 7*int(aDay) + 50; i < 7*int(aDay)+90; i++ {
		hole[i] = math.NaN() // yesterday's peak was not recorded
		hole[i-6*int(aDay)] = 10
	}
	busy := daily(10, 50)
	for i := eight + 52; i <= eight+57; i++ {
		busy[i] = 15 // half as much again as then
	}
	wild := daily(10, 50)
	for i := eight + 52; i <= eight+57; i++ {
		wild[i] = 45
	}
	for name, tc := range map[string]struct {
		values []float64
		slot   int
		want   float64
	}{
		"before the rise, beyond the horizon":  {year, eight + 57, 10},
		"before the rise, within":              {year, eight + 58, 50},
		"younger than eight days":              {year, eight - 1, 0},
		"yesterday was quiet, last week not":   {quiet, eight + 58, 50},
		"yesterday is not known":               {hole, eight + 58, 50},
		"higher than then":                     {busy, eight + 58, 75},
		"much higher than then: twice at most": {wild, eight + 58, 100},
	} {
		if got := look(upTo(tc.values, tc.slot), tc.slot).Season; got != tc.want {
			t.Errorf("%s: season %v, want %v", name, got, tc.want)
		}
	}
}

// What was not heard of yesterday's window, or of last week's, never lowers the season,
// where the load before the window was the same on all days and the day, or the week,
// before it was as high at least.
func TestGapsInTheWindowDoNotLowerTheSeason(t *testing.T) {
	now := 15*int(aDay) - 30
	rapid.Check(t, func(t *rapid.T) {
		values := daily(15, 10)[:now+1]
		further := rapid.IntRange(1, 12).Draw(t, "ahead")
		for i := 1; i <= further; i++ {
			for _, lag := range []int{int(aDay), int(aWeek)} {
				v := rapid.IntRange(0, 40).Draw(t, "then")
				values[now-lag+i] = float64(v)
				values[now-2*lag+i] = float64(v + rapid.IntRange(0, 20).Draw(t, "higher before"))
			}
		}
		season := func() float64 {
			p := &fill(values...).past
			return p.season(number(at(now)), int64(further), p.recent(number(at(now))))
		}
		all := season()
		for i := 1; i <= further; i++ {
			for _, lag := range []int{int(aDay), int(aWeek)} {
				if rapid.Bool().Draw(t, "hidden") {
					values[now-lag+i] = math.NaN()
				}
			}
		}
		if got := season(); got < all {
			t.Fatalf("season %v with gaps, %v without", got, all)
		}
	})
}

// What was not heard of the hours by which the season is scaled never lowers it.
func TestGapsInTheScalingHourDoNotLowerTheSeason(t *testing.T) {
	now := 15*int(aDay) - 30
	rapid.Check(t, func(t *rapid.T) {
		values := daily(15, 10)[:now+1]
		for i := range int(anHour) {
			values[now-i] = rapid.Float64Range(0, 40).Draw(t, "now")
			for _, lag := range []int{int(aDay), int(aWeek)} {
				v := rapid.Float64Range(0, 40).Draw(t, "then")
				values[now-lag-i], values[now-2*lag-i] = v, v
			}
		}
		// It is the hour that is hidden, and not the window, of which its last slot is one.
		season := func() float64 {
			p := &fill(values...).past
			return p.season(number(at(now)), 3, p.recent(number(at(now))))
		}
		all := season()
		hide := func(lag int) {
			whole := rapid.Bool().Draw(t, "all of it")
			for i := 1; i < int(anHour); i++ {
				if whole || rapid.Bool().Draw(t, "hidden") {
					values[now-lag-i] = math.NaN()
				}
			}
			if rapid.Bool().Draw(t, "to the end") {
				values[now-lag], values[now-lag+1] = math.NaN(), max(values[now-lag], values[now-lag+1])
			}
		}
		for _, lag := range []int{int(aDay), int(aWeek), 2 * int(aDay), 2 * int(aWeek)} {
			hide(lag)
		}
		if got := season(); got < all {
			t.Fatalf("season %v with gaps, %v without", got, all)
		}
	})
}

func TestFloor(t *testing.T) {
	week := daily(7, 50)
	nearly := week[:len(week)-1]
	if o, _ := fill(nearly...).Look(at(len(nearly)-1), rule); o.Floor != 0 {
		t.Errorf("a past of less than seven days: floor %v", o.Floor)
	}
	week = append(week, 10)
	if o, _ := fill(week...).Look(at(len(week)-1), rule); o.Floor != 50 {
		t.Errorf("a past of seven days: floor %v, want 50", o.Floor)
	}
	for i := 100; i < 100+int(aWeek)/5+2; i++ {
		week[i] = math.NaN()
	}
	if o, _ := fill(week...).Look(at(len(week)-1), rule); o.Floor != 0 {
		t.Errorf("a past with a fifth missing: floor %v", o.Floor)
	}
}
