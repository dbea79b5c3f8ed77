package controller

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/ebbtide/ebbtide/broker/internal/demand"
	"github.com/ebbtide/ebbtide/broker/internal/web"
)

// Where a past was read.
const (
	fromMemory     = "Memory"
	fromPrometheus = "Prometheus"
)

// loadsTimeout bounds one question about the past.
const loadsTimeout = 10 * time.Second

// loads is what is known of the past of lenders' loads: what the demand remembers, which is the
// minutes of eight days and tens of minutes of fifteen, and for what was before that, the store.
type loads struct {
	demand *demand.Demand
	store  demand.Store // nil: there is none
}

// of is so many steps of a lender's past, from a time on.
func (l *loads) of(ctx context.Context, lender string, from time.Time, step time.Duration, count int, elsewhere bool) web.Loads {
	known, remembered := l.demand.Past(lender, from, step, count)
	if remembered && !from.Before(known.Since) {
		return web.Loads{Requests: known.Requests, Source: fromMemory}
	}
	out := web.Loads{Requests: known.Requests, Source: fromMemory}
	if !remembered {
		out.Requests, out.Source = unknown(count), ""
	}
	before := count
	if remembered {
		before = min(int((known.Since.Sub(from)+step-1)/step), count)
	}
	switch {
	case l.store == nil && remembered:
		out.Note = fmt.Sprintf("not known before %s: the broker has no Prometheus", known.Since.UTC().Format(time.RFC3339))
	case l.store == nil:
		out.Note = "nothing is known of its load: no signal has said how many requests are in flight, and the broker has no Prometheus"
	case !elsewhere:
		out.Note = "what is not remembered is asked for where few lenders are: ask for one"
	default:
		out.Source = fromPrometheus
		if err := l.ask(ctx, lender, from, step, out.Requests[:before]); err != nil {
			out.Note = "what is not remembered is not known: " + err.Error()
		}
	}
	return out
}

// ask has the store say what the first steps are.
func (l *loads) ask(ctx context.Context, lender string, from time.Time, step time.Duration, steps []float64) error {
	ctx, cancel := context.WithTimeout(ctx, loadsTimeout)
	defer cancel()
	points, err := l.store.Range(ctx, lender, from, from.Add(time.Duration(len(steps))*step), step)
	if errors.Is(err, demand.ErrNotKept) {
		return errors.New("no signal of it has a past")
	}
	for _, p := range points {
		if i := int(p.At.Sub(from) / step); i >= 0 && i < len(steps) && !(steps[i] >= p.Value) {
			steps[i] = p.Value
		}
	}
	if err != nil {
		return errors.New("the Prometheus that is configured gave no answer")
	}
	return nil
}

// unknown are so many steps of which nothing is known.
func unknown(count int) []float64 {
	steps := make([]float64, count)
	for i := range steps {
		steps[i] = math.NaN()
	}
	return steps
}
