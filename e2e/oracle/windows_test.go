package oracle

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/forecast"
)

// windows are the broker's.
type windows struct{ stable, panic *forecast.Window }

func newWindows() windows {
	return windows{forecast.NewWindow(stable), forecast.NewWindow(burst)}
}

func (w windows) record(at time.Time, requests float64) {
	w.stable.Add(at, at, requests)
	w.panic.Add(at, at, requests)
}

func (w windows) means() (mean, high float64) {
	mean, _ = w.stable.Mean()
	high, _ = w.panic.Mean()
	return mean, high
}
