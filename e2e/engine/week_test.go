package engine

import (
	"math"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/traces"
)

// week is one week of a service as Prometheus would see it.
type week struct {
	offered float64   // requests that the trace asks for
	arrived int64     // requests that came
	running []float64 // mean of vllm:num_requests_running over all replicas, by hour
}

// playWeek replays a week of requests at a thirtieth of the traced rate.
func playWeek(t *testing.T, service string, sizes []traces.Tokens) week {
	t.Helper()
	points, err := traces.AzureWeek(service)
	if err != nil {
		t.Fatal(err)
	}
	rate := 0.0
	f := newTestFleet(t, DefaultModel(service), sizes, func(time.Duration) float64 { return rate }, 3)
	var w week
	var sum float64
	var samples int
	var at time.Duration
	for _, p := range points {
		rate = p.PerMinute / 60 / 30
		w.offered += rate * (p.At - at).Seconds()
		for at < p.At {
			at = min(p.At, at.Truncate(time.Minute)+time.Minute)
			f.Advance(at)
			for _, name := range f.replicaNames() {
				v, _ := f.view(name)
				sum += float64(v.gauges.running)
			}
			if samples++; at%time.Hour == 0 {
				w.running = append(w.running, sum/float64(samples))
				sum, samples = 0, 0
			}
		}
	}
	w.arrived = f.Totals().Arrived
	return w
}

// peaks are the highest hours of each day.
func (w week) peaks() (peaks [7]float64) {
	for hour, v := range w.running[:7*24-1] {
		peaks[hour/24] = max(peaks[hour/24], v)
	}
	return peaks
}

// Two services, one that sleeps at the weekend and one that hardly sleeps, reach
// the gauges as they are: what the broker sees differs as they do.
func TestWeeksReachTheGauges(t *testing.T) {
	sizes, err := traces.AzureRequests()
	if err != nil {
		t.Fatal(err)
	}
	code, conv := playWeek(t, "code", sizes), playWeek(t, "conv", sizes)
	service := 0.0
	for _, s := range sizes {
		service += DefaultModel("x").ServiceSeconds(s.Prompt, s.Output) / float64(len(sizes))
	}
	for name, w := range map[string]week{"code": code, "conv": conv} {
		if off := math.Abs(float64(w.arrived)-w.offered) / math.Sqrt(w.offered); off > 5 {
			t.Errorf("%s: %d requests came of %.0f, %.1f standard deviations off", name, w.arrived, w.offered, off)
		}
		mean, variation := meanAndVariation(w.running)
		want := w.offered / (7 * 24 * time.Hour).Seconds() * service
		if math.Abs(mean/want-1) > 0.03 {
			t.Errorf("%s: %.2f requests run on average, the trace asks for %.2f", name, mean, want)
		}
		t.Logf("%s: %d requests, %.1f running, coefficient of variation %.2f, peaks %.0f", name, w.arrived, mean, variation, w.peaks())
	}
	// The code week begins on a Friday, the conv week on a Sunday.
	peaks := code.peaks()
	if weekend, friday := max(peaks[1], peaks[2]), peaks[0]; weekend > friday/3 {
		t.Errorf("code: the weekend's peak is %.1f, Friday's %.1f; want less than a third", weekend, friday)
	}
	peaks = conv.peaks()
	if sunday, monday := peaks[0], peaks[1]; sunday < monday/3 {
		t.Errorf("conv: Sunday's peak is %.1f, Monday's %.1f; want more than a third", sunday, monday)
	}
	_, ofCode := meanAndVariation(code.running)
	_, ofConv := meanAndVariation(conv.running)
	if ofCode < 2*ofConv {
		t.Errorf("code varies by %.2f and conv by %.2f; want code to vary more than twice as much", ofCode, ofConv)
	}
}

// meanAndVariation returns the mean and the coefficient of variation.
func meanAndVariation(values []float64) (mean, variation float64) {
	var sum, squares float64
	for _, v := range values {
		sum += v
		squares += v * v
	}
	n := float64(len(values))
	mean = sum / n
	return mean, math.Sqrt(squares/n-mean*mean) / mean
}
