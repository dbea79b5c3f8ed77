package past

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/sim"
)

const (
	// timeout of one question.
	timeout = time.Minute
	// mostPoints of one question: below signal.MaxPoints, and a round number of them.
	mostPoints = 10_000
)

// days asks an expression that looks back over %s, once for each day of the window, the last
// of which may be shorter, and hands over the answers.
func (a *asker) days(ctx context.Context, what, query string, take func(day int, labels map[string]string, value float64)) error {
	for i, from := 0, a.window.Start; from.Before(a.window.End); i, from = i+1, from.Add(day) {
		to := from.Add(day)
		if to.After(a.window.End) {
			to = a.window.End
		}
		over := to.Sub(from).Truncate(time.Second)
		asking, cancel := context.WithTimeout(ctx, timeout)
		lines, err := a.prometheus.Range(asking, fmt.Sprintf(query, model.Duration(over)), to, to, a.window.Step)
		cancel()
		if errors.Is(err, signal.ErrWarned) {
			a.notes.Count("days for which Prometheus warned that its answer about " + what + " may be partial")
		} else if err != nil {
			return fmt.Errorf("asking Prometheus about %s from %s on: %w", what, from.Format(time.RFC3339), err)
		}
		for _, l := range lines {
			if n := len(l.Readings); n > 0 {
				take(i, l.Labels, l.Readings[n-1].Value)
			}
		}
	}
	return nil
}

// points asks something by the step, in as many questions as it takes, and gives a value
// for each step of the window: not a number where there is none, or where Prometheus
// warned that its answer may be partial.
func (a *asker) points(ctx context.Context, what string, ask func(ctx context.Context, from, to time.Time) ([]signal.Reading, error)) ([]float64, error) {
	steps := make([]float64, (a.window.End.Sub(a.window.Start)+a.window.Step-1)/a.window.Step)
	for i := range steps {
		steps[i] = math.NaN()
	}
	for first := 0; first < len(steps); first += mostPoints {
		from := a.window.Start.Add(time.Duration(first) * a.window.Step)
		to := from.Add(time.Duration(min(mostPoints, len(steps)-first)) * a.window.Step)
		asking, cancel := context.WithTimeout(ctx, timeout)
		readings, err := ask(asking, from, to)
		cancel()
		if errors.Is(err, signal.ErrWarned) {
			a.notes.Say("%s is not known from %s to %s: Prometheus warned that its answer may be partial", what, from.Format(time.RFC3339), to.Format(time.RFC3339))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("asking Prometheus about %s: %w", what, err)
		}
		for _, r := range readings {
			if i := int(r.At.Sub(a.window.Start) / a.window.Step); i >= first && i < min(first+mostPoints, len(steps)) {
				steps[i] = r.Value
			}
		}
	}
	return steps, nil
}

// line is a query for points whose value at each instant is that of one series.
func (a *asker) line(query string) func(ctx context.Context, from, to time.Time) ([]signal.Reading, error) {
	return func(ctx context.Context, from, to time.Time) ([]signal.Reading, error) {
		lines, err := a.prometheus.Range(ctx, query, from, to.Add(-a.window.Step), a.window.Step)
		if err != nil || len(lines) == 0 {
			return nil, err
		}
		return lines[0].Readings, nil
	}
}

// curve is the steps as a curve that ends with the window.
func (a *asker) curve(steps []float64) sim.Curve {
	var c sim.Curve
	for i, v := range append(steps, math.NaN()) {
		same := len(c) > 0 && (c[len(c)-1].Value == v || math.IsNaN(c[len(c)-1].Value) && math.IsNaN(v))
		if !same || i == len(steps) {
			c = append(c, sim.Point{At: time.Duration(i) * a.window.Step, Value: v})
		}
	}
	return c
}

// known is how many of the steps are.
func known(steps []float64) (n int) {
	for _, v := range steps {
		if !math.IsNaN(v) {
			n++
		}
	}
	return n
}
