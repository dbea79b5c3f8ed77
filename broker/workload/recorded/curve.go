package recorded

import (
	"math"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// ended is a curve that is known for another step after its last point, and no longer.
func ended(c sim.Curve, step time.Duration) sim.Curve {
	if len(c) == 0 {
		return nil
	}
	return append(c, sim.Point{At: c[len(c)-1].At + step, Value: math.NaN()})
}
