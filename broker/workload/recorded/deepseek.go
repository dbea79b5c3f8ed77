package recorded

import (
	"math"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// Step is a number of inference nodes that holds from Start, measured from the
// recording's beginning, for Length. The other nodes of the fleet were lent.
type Step struct {
	Start, Length time.Duration
	Nodes, Lent   int64
}

// StepColumns of DeepSeek's day.
var StepColumns = []string{"start_utc8", "end_utc8", "duration_h", "inference_nodes", "loaned_nodes"}

// Steps reads the inference nodes that DeepSeek's service occupied over a day: steps in
// order, without gap or overlap, the first at 0, which is begin.
func Steps(f *rows.File) (steps []Step, begin time.Time, err error) {
	if err := f.Expect(StepColumns, nil); err != nil {
		return nil, time.Time{}, err
	}
	zone := time.FixedZone("UTC+8", 8*3600)
	var end time.Time
	err = f.Each(func(r *rows.Row) {
		const layout = "2006-01-02T15:04"
		from, to := r.Stamp("start_utc8", layout, zone), r.Stamp("end_utc8", layout, zone)
		if begin.IsZero() {
			begin, end = from, from
		}
		length := to.Sub(from)
		switch {
		case length <= 0:
			r.Fail("end_utc8", "a time after start_utc8")
		case !from.Equal(end):
			r.Fail("start_utc8", "the end of the row before")
		case math.Abs(r.Number("duration_h")-length.Hours()) > 0.01:
			r.Fail("duration_h", "the hours from start_utc8 to end_utc8")
		}
		end = to
		steps = append(steps, Step{Start: from.Sub(begin), Length: length, Nodes: r.Whole("inference_nodes", 0), Lent: r.Whole("loaned_nodes", 0)})
	})
	return steps, begin, err
}

// NodeCurve is the nodes in use over time.
func NodeCurve(steps []Step) sim.Curve {
	var c sim.Curve
	for _, s := range steps {
		c = append(c, sim.Point{At: s.Start, Value: float64(s.Nodes)})
	}
	if len(c) == 0 {
		return nil
	}
	return ended(c, steps[len(steps)-1].Length)
}
