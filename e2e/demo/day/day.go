// Package day scales a published day of online load to a cluster: how many
// replicas the service has at each moment, how many requests arrive, and how much
// a perfect lender could have lent.
//
// It is pure: it reads no clock and holds no state.
package day

import (
	"errors"
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/e2e/traces"
)

// Length of a day.
const Length = 24 * time.Hour

// ramp is how long the load takes to follow a step of the published curve, which
// counts whole steps of nodes: the autoscaler behind it added nodes before the
// load was there and removed them after it had gone.
const ramp = 20 * time.Minute

// window over which a request rate is compared with its own mean.
const window = time.Hour

// Day is one day of one service, one replica per node.
type Day struct {
	nodes int64
	steps []traces.Step // nodes scaled
	rates []traces.Rate
	// from is where in rates the day begins.
	from time.Duration
}

// New scales the curve to a cluster of nodes, rounding up, and takes its
// short-term variation from rates, beginning at from.
func New(nodes int64, curve []traces.Step, rates []traces.Rate, from time.Duration) (*Day, error) {
	peak, end := int64(0), time.Duration(0)
	for _, s := range curve {
		peak, end = max(peak, s.Nodes), s.Start+s.Length
	}
	switch {
	case nodes < 1:
		return nil, fmt.Errorf("day: nodes is %d, must be at least 1", nodes)
	case peak < 1 || end != Length:
		return nil, fmt.Errorf("day: the curve has a peak of %d nodes and lasts %s, must have one and last %s", peak, end, Length)
	case len(rates) == 0 || from < window || rates[len(rates)-1].At < from+Length+window:
		return nil, errors.New("day: the request rates must cover the day and an hour on both sides")
	}
	d := &Day{nodes: nodes, rates: rates, from: from}
	for _, s := range curve {
		s.Nodes = (s.Nodes*nodes + peak - 1) / peak
		d.steps = append(d.steps, s)
	}
	return d, nil
}

// Replicas that the service has at a moment. Beyond the day's end it is the last.
func (d *Day) Replicas(at time.Duration) int64 {
	for _, s := range d.steps {
		if at < s.Start+s.Length {
			return s.Nodes
		}
	}
	return d.steps[len(d.steps)-1].Nodes
}

// Load is what the replicas have to serve at a moment, in replicas at the load
// that the autoscaler aims for. It never exceeds Replicas.
func (d *Day) Load(at time.Duration) float64 {
	return min(d.mean(at-ramp, at), d.mean(at, at+ramp))
}

// Variation is how the request rate at a moment compares with its own mean over
// an hour around it.
func (d *Day) Variation(at time.Duration) float64 {
	at += d.from
	sum, n := 0.0, 0
	for _, r := range d.rates {
		if r.At >= at-window/2 && r.At <= at+window/2 {
			sum += r.PerMinute
			n++
		}
	}
	if sum == 0 {
		return 1
	}
	return d.rate(at) / (sum / float64(n))
}

// rate interpolates between the two points around a moment.
func (d *Day) rate(at time.Duration) float64 {
	for i := 1; i < len(d.rates); i++ {
		if a, b := d.rates[i-1], d.rates[i]; b.At >= at {
			share := float64(at-a.At) / float64(b.At-a.At)
			return a.PerMinute + share*(b.PerMinute-a.PerMinute)
		}
	}
	return d.rates[len(d.rates)-1].PerMinute
}

// mean of the replicas over an interval; outside the day the curve goes on level.
func (d *Day) mean(from, to time.Duration) float64 {
	first, last := d.steps[0], d.steps[len(d.steps)-1]
	sum := float64(first.Nodes) * float64(max(0, min(to, 0)-from))
	sum += float64(last.Nodes) * float64(max(0, to-max(from, Length)))
	for _, s := range d.steps {
		overlap := min(to, s.Start+s.Length) - max(from, s.Start)
		sum += float64(s.Nodes) * float64(max(0, overlap))
	}
	return sum / float64(to-from)
}

// LendableHours is the integral of what a perfect lender could lend between two
// moments, in node-hours: the nodes that are not needed, where needed is the
// highest number of replicas within the notice that a return takes.
func (d *Day) LendableHours(from, to, notice time.Duration) float64 {
	const step = time.Minute / 2
	hours := 0.0
	for at := from; at < to; at += step {
		hours += float64(d.Lendable(at, notice)) * min(step, to-at).Hours()
	}
	return hours
}

// Lendable is how many nodes a perfect lender lends at a moment.
func (d *Day) Lendable(at, notice time.Duration) int64 {
	need := int64(0)
	for _, s := range d.steps {
		if s.Start <= at+notice && s.Start+s.Length > at {
			need = max(need, s.Nodes)
		}
	}
	return d.nodes - need
}
