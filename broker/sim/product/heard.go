package product

import (
	"math"
	"time"

	"github.com/ebbtide/ebbtide/broker/forecast"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// heard is what was heard of one service's load, taken in as package demand takes it in.
type heard struct {
	start         time.Time
	every         time.Duration // between two samples
	next          time.Duration // the first sample that was not taken in
	slots         float64
	stable, panic *forecast.Window
	past          *forecast.Forecaster // nil: the past is not listened to
	scatter       forecast.Dispersion
	notice        time.Duration
	quantile      float64
	ahead         bool // it is asked how long troughs last
	names         []string
}

func newHeard(v *sim.ServiceState, s *sim.Scenario, p *policy) *heard {
	h := &heard{
		start: s.Start, every: s.Sample, slots: v.Slots, quantile: p.options.Quantile, ahead: v.Lender.MIG != nil,
		stable: forecast.NewWindow(p.options.StableWindow), panic: forecast.NewWindow(p.options.PanicWindow),
		notice: v.Lender.MaxGrace + v.Reload,
	}
	if h.every <= 0 {
		h.every = 15 * time.Second
	}
	if h.slots == 0 {
		// Where replicas are given and no slots, the load is in replicas as busy as they are
		// meant to be: one asks for one.
		h.slots = 1 / target(p.rules)
	}
	if p.options.Forecast {
		h.past = forecast.NewForecaster()
	}
	h.learn(p.options.Learn[v.Lender.Name])
	return h
}

// target is what share of its slots a replica is meant for.
func target(rules lend.Policy) float64 {
	if rules.TargetUtilization > 0 {
		return rules.TargetUtilization
	}
	return lend.DefaultPolicy().TargetUtilization
}

// learn takes in what was before the start.
func (h *heard) learn(past sim.Curve) {
	if len(past) == 0 || past[0].At >= 0 {
		return
	}
	for at := past[0].At / h.every * h.every; at < 0; at += h.every {
		h.hear(at, past.At(at))
	}
}

// listen takes in the samples until now.
func (h *heard) listen(v *sim.ServiceState, now time.Duration) {
	for ; h.next <= v.SampledAt && h.next <= now; h.next += h.every {
		h.hear(h.next, v.Load.At(h.next))
	}
}

func (h *heard) hear(since time.Duration, load float64) {
	at := h.start.Add(since)
	if math.IsNaN(load) || !h.stable.Add(at, at, load) {
		return // not a load
	}
	h.panic.Add(at, at, load)
	if h.past == nil {
		return
	}
	mean, _ := h.stable.Mean()
	h.past.Add(at, at, mean)
	h.scatter.Add(at, at, load)
}

// load is what is known now.
func (h *heard) load(v *sim.ServiceState) lend.Load {
	if math.IsNaN(v.Requests) {
		return lend.Load{Unknown: "nothing was heard"}
	}
	stable, _ := h.stable.Mean()
	short, _ := h.panic.Mean()
	return lend.Load{
		Known: true, ObservedAt: h.start.Add(v.SampledAt), Coverage: 1, Requests: stable, Panic: short, Slots: h.slots,
	}
}

// forecast is what the past says; nil if it says nothing.
func (h *heard) forecast(now time.Time, rules *lend.Policy) *lend.Forecast {
	if h.past == nil {
		return nil
	}
	o, ok := h.past.Look(now, forecast.Rule{Horizon: h.notice, Beyond: rules.MinimumLoan, Quantile: h.quantile})
	if !ok {
		return nil
	}
	mean, _ := h.stable.Mean()
	f := lend.Foresee(o, &h.scatter, mean, now, rules.DispersionLimit)
	if h.ahead {
		f.Ahead = lend.LookAhead(h.past, now)
	}
	return f
}
