package recorded

import (
	"math"
	"strconv"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// Model is the recording of one service of the ServeGen trace.
type Model struct {
	Name string
	Bins []Bin
}

// Bin is the mean request rate of a service over BinLength.
type Bin struct {
	At        time.Duration // its start, from the trace's beginning
	PerSecond float64
	// Gap: the recording has a hole here. PerSecond is what was published all the same.
	Gap bool
}

// BinLength of the ServeGen trace.
const BinLength = 10 * time.Minute

// ModelColumns of the ServeGen trace's file.
var ModelColumns = []string{"t_s", "m_mid", "m_small", "deepseek_r1", "mm_image"}

// services of the trace by column, and below which rate the recording has a hole: hours of
// almost nothing in services of a thousand requests per second.
var services = []struct {
	name, column string
	gap          float64
}{
	{"m-mid", "m_mid", 100}, {"m-small", "m_small", 50}, {"deepseek-r1", "deepseek_r1", 0}, {"mm-image", "mm_image", 0},
}

// Models reads the request rates of four services of Alibaba Model Studio, in bins in order
// of time, from midnight local time. An empty cell is outside of what was recorded of a
// service.
func Models(f *rows.File) ([]Model, error) {
	if err := f.Expect(ModelColumns, nil); err != nil {
		return nil, err
	}
	models := make([]Model, len(services))
	next := time.Duration(0)
	err := f.Each(func(r *rows.Row) {
		at := time.Duration(r.Whole("t_s", 0)) * time.Second
		if at != next {
			r.Fail("t_s", strconv.Itoa(int(next/time.Second)))
		}
		next = at + BinLength
		for i, s := range services {
			models[i].Name = s.name
			if !r.Has(s.column) {
				continue
			}
			bins := models[i].Bins
			if n := len(bins); n > 0 && bins[n-1].At != at-BinLength {
				r.Fail(s.column, "empty, as in the row before")
			}
			rate := r.Number(s.column)
			models[i].Bins = append(bins, Bin{At: at, PerSecond: rate, Gap: rate < s.gap})
		}
	})
	return models, err
}

// Curve is the service's requests per second. Gaps are not known, and neither are the bins
// beside them, which may be holes in part.
func (m *Model) Curve() sim.Curve {
	var c sim.Curve
	for i, b := range m.Bins {
		if b.Gap || i > 0 && m.Bins[i-1].Gap || i+1 < len(m.Bins) && m.Bins[i+1].Gap {
			b.PerSecond = math.NaN()
		}
		c = append(c, sim.Point{At: b.At, Value: b.PerSecond})
	}
	return ended(c, BinLength)
}
