package town

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

const (
	// Week and Day of a town.
	Week = 7 * 24 * time.Hour
	Day  = 24 * time.Hour
	// Look is how often loads change, and are looked at.
	Look = time.Minute
	// spare is how much more a service owns than the 99.9th percentile of its first week
	// takes, and Target the share of its slots for which a replica is meant: what is spare.
	spare  = 1.25
	Target = 1 / spare
	// slots of a replica.
	slots = 64
)

// source is a recording of a service's load, and the size of its replicas.
type source struct {
	name    string
	perPod  int64
	record  func() (recording, error)
	is      string // what it is
	repeats string // what of it is said twice
}

// sources are the five owners, by name. How many GPUs a replica has goes by what the name
// says of the model: small 1, mid 2, the two of Azure 4, the largest 8.
var sources = []source{
	{"azure-code", 4, azure("code", 3*Day+7*time.Hour), "Azure LLM, code, May 2024, in Pacific time", "the week is played twice"},
	{"azure-conv", 4, azure("conv", Day), "Azure LLM, conversation, May 2024", "the week is played twice"},
	{"deepseek-r1", 8, model("deepseek-r1"), "Alibaba Model Studio, deepseek-r1", "the one day is played every day"},
	{"m-mid", 2, model("m-mid"), "Alibaba Model Studio, m-mid", ""},
	{"m-small", 1, model("m-small"), "Alibaba Model Studio, m-small", ""},
}

// recording of a rate: the band within which it was, from each point until the next; not a
// number where that was not recorded.
type recording struct {
	points []band
	period time.Duration // after which it begins anew
}

type band struct {
	at        time.Duration
	low, high float64
}

// azure is a recorded Week, begun where a Monday does: shift after its first point.
func azure(service string, shift time.Duration) func() (recording, error) {
	return func() (recording, error) {
		rates, err := traces.AzureWeek(service)
		if err != nil {
			return recording{}, err
		}
		r := recording{period: Week}
		for _, p := range rates {
			r.points = append(r.points, band{(p.At - shift + Week) % Week, p.Low, p.High})
		}
		slices.SortFunc(r.points, func(a, b band) int { return int(a.at - b.at) })
		return r, nil
	}
}

// model is a recording from Alibaba Model Studio, of two weeks or one day. Holes in it are
// unknown, with the bin before and the bin after each, which they have a part in.
func model(service string) func() (recording, error) {
	return func() (recording, error) {
		bins, err := traces.ModelRates(service)
		if err != nil {
			return recording{}, err
		}
		r := recording{period: time.Duration(len(bins)) * 10 * time.Minute}
		for i, b := range bins {
			v := b.PerSecond
			if b.Gap || i > 0 && bins[i-1].Gap || i+1 < len(bins) && bins[i+1].Gap {
				v = math.NaN()
			}
			r.points = append(r.points, band{b.At, v, v})
		}
		return r, nil
	}
}

// bridged is the recording with a straight line over each hole.
func (r recording) bridged() recording {
	out := recording{period: r.period}
	for _, p := range r.points {
		if !math.IsNaN(p.low) {
			out.points = append(out.points, p)
		}
	}
	return out
}

// at is the band at a moment, in a straight line from one point to the next.
func (r *recording) at(t time.Duration) band {
	n := len(r.points)
	turn := t / r.period * r.period
	i, exact := slices.BinarySearchFunc(r.points, t-turn, func(b band, t time.Duration) int { return int(b.at - t) })
	if !exact {
		i--
	}
	from, to := r.points[(i+n)%n], r.points[(i+1)%n]
	start, end := from.at, to.at
	if i < 0 {
		start -= r.period
	}
	if i+1 >= n {
		end += r.period
	}
	share := float64(t-turn-start) / float64(end-start)
	if math.IsNaN(to.low) {
		share = 0
	}
	return band{t, from.low + share*(to.low-from.low), from.high + share*(to.high-from.high)}
}

// load is the recording as requests in flight on so many replicas, until a length: its
// first week takes Target of their slots at the 99.9th percentile.
func (r *recording) load(replicas int64, length time.Duration, draw *dice) (sim.Curve, error) {
	var first []float64
	for t := time.Duration(0); t < Week; t += Look {
		if high := r.at(t).high; !math.IsNaN(high) {
			first = append(first, high)
		}
	}
	slices.Sort(first)
	top := first[int(0.999*float64(len(first)-1))]
	if !(top > 0) {
		return nil, fmt.Errorf("the first week has no load")
	}
	scale := float64(replicas*slots) * Target / top
	curve := make(sim.Curve, 0, length/Look)
	for t := time.Duration(0); t < length; t += Look {
		b := r.at(t)
		mean := (b.low + (b.high-b.low)*draw.share()) * scale
		curve = append(curve, sim.Point{At: t, Value: max(mean+math.Sqrt(mean)*draw.normal(), 0)})
	}
	return curve, nil
}
