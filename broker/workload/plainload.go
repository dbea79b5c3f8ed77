package workload

import (
	"math"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// plainLoad reads time,value or time,service,value.
func plainLoad(f *rows.File) ([]Load, error) {
	if err := f.Expect([]string{"time", "value"}, []string{"service"}); err != nil {
		return nil, err
	}
	named := slices.Contains(f.Header(), "service")
	var clock rows.Clock
	var loads []Load
	index := map[string]int{}
	err := f.Each(func(r *rows.Row) {
		point := sim.Point{At: clock.Since(r, "time"), Value: r.Known("value")}
		service := ""
		if named {
			service = r.Named("service")
		}
		i, known := index[service]
		if !known {
			i = len(loads)
			index[service], loads = i, append(loads, Load{Service: service})
		}
		if max(point.At, -point.At) > farthest {
			r.Fail("time", "a time at most 50 years from the first row")
		}
		c := &loads[i].Curve
		if n := len(*c); n > 0 && point.At <= (*c)[n-1].At {
			r.Fail("time", "a time after the service's row before")
		}
		*c = append(*c, point)
	})
	if err != nil {
		return nil, err
	}
	var begin time.Duration // without dates 0, as for jobs: files of one recording go together
	if clock.Dated() {
		begin = math.MaxInt64
		for _, l := range loads {
			begin = min(begin, l.Curve[0].At)
		}
	}
	for i := range loads {
		c := loads[i].Curve
		for j := range c {
			c[j].At -= begin
		}
		loads[i].Curve = whole(c)
		if clock.Dated() {
			loads[i].Start = clock.Origin.Add(begin)
		}
	}
	return loads, nil
}

const (
	// farthest is how far times may be apart, so that sums of them are times too.
	farthest = 50 * 365 * 24 * time.Hour
	// regular is the share of intervals that are a step, give or take half of one, from which
	// on rows come at a step; longest is how many steps there may be between two rows before
	// one is missing.
	regular = 0.9
	longest = 1.5
)

// whole is the curve with points that are not a number where nothing was recorded: before
// the first, after the last, and where rows come at a step and some are missing. Where
// they come when something changes, each holds until the next.
func whole(c sim.Curve) sim.Curve {
	step, stepped := stepOf(c)
	var out sim.Curve
	if c[0].At > step {
		out = append(out, sim.Point{Value: math.NaN()})
	}
	for i, p := range c {
		out = append(out, p)
		last := i+1 == len(c)
		if last || stepped && float64(c[i+1].At-p.At) > longest*float64(step) {
			out = append(out, sim.Point{At: p.At + step, Value: math.NaN()})
		}
	}
	return out
}

// stepOf is the interval at which points come, and true, if nearly all do: clocks that tell of
// a load are not exact. Else it is the most frequent interval, of equally frequent ones the
// shortest. A single point holds for a minute.
func stepOf(c sim.Curve) (step time.Duration, stepped bool) {
	if len(c) < 2 {
		return time.Minute, false
	}
	var intervals []time.Duration
	for i := range c[1:] {
		intervals = append(intervals, c[i+1].At-c[i].At)
	}
	slices.Sort(intervals)
	if middle, n := intervals[len(intervals)/2], len(intervals); n > 1 {
		from, _ := slices.BinarySearch(intervals, middle-middle/2)
		to, _ := slices.BinarySearch(intervals, middle+middle/2+1)
		if float64(to-from) >= regular*float64(n) {
			return middle, true
		}
	}
	most := 0
	for from, to := 0, 0; from < len(intervals); from = to {
		for to = from; to < len(intervals) && intervals[to] == intervals[from]; to++ {
		}
		if to-from > most {
			step, most = intervals[from], to-from
		}
	}
	return step, false
}
