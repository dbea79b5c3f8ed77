package controller

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/counterfactual"
	"github.com/ebbtide/ebbtide/broker/internal/demand"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// store has a load for each hour, or fails.
type store struct {
	err   error
	asked int
}

func (s *store) Range(_ context.Context, _ string, start, end time.Time, step time.Duration) ([]demand.Point, error) {
	s.asked++
	var points []demand.Point
	for at := start; at.Before(end); at = at.Add(step) {
		points = append(points, demand.Point{At: at, Value: 7})
	}
	return points, s.err
}

// What is remembered is not asked for; what is not is read from the store, if there is one and
// few are asked for, and said to be unknown otherwise.
func TestLoads(t *testing.T) {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	remembers := func() *demand.Demand {
		d := demand.New(demand.Config{})
		for i := range 5 {
			at := begin.Add(time.Duration(i) * time.Minute)
			d.Observe("serving/chat", at, lend.Load{Known: true, ObservedAt: at, Coverage: 1, Slots: 10, Requests: 3}, demand.Shape{})
		}
		return d
	}
	nan := math.NaN()
	for name, test := range map[string]struct {
		lender    string
		from      time.Time
		store     *store
		elsewhere bool
		want      []float64
		source    string
		note      string
		asked     int
	}{
		"remembered":        {"serving/chat", begin, &store{}, true, []float64{3, 3}, "Memory", "", 0},
		"before that":       {"serving/chat", begin.Add(-time.Minute), &store{}, true, []float64{7, 3}, "Prometheus", "", 1},
		"of many":           {"serving/chat", begin.Add(-time.Minute), &store{}, false, []float64{nan, 3}, "Memory", "ask for one", 0},
		"no store":          {"serving/chat", begin.Add(-time.Minute), nil, true, []float64{nan, 3}, "Memory", "not known before 2026-03-01T12:00:00Z", 0},
		"unknown":           {"serving/new", begin, nil, true, []float64{nan, nan}, "", "nothing is known of its load", 0},
		"unknown, but kept": {"serving/new", begin, &store{}, true, []float64{7, 7}, "Prometheus", "", 1},
		"not kept":          {"serving/new", begin, &store{err: demand.ErrNotKept}, true, []float64{nan, nan}, "Prometheus", "no signal of it has a past", 1},
		"no answer":         {"serving/chat", begin.Add(-2 * time.Minute), &store{err: errors.New("gone")}, true, []float64{7, 7}, "Prometheus", "gave no answer", 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := &Board{}
			if got := b.Loads(t.Context(), test.lender, test.from, time.Minute, 2, true); !strings.Contains(got.Note, "does not lead") {
				t.Errorf("a follower says %+v", got)
			}
			of := &loads{demand: remembers()}
			if test.store != nil {
				of.store = test.store
			}
			b.setLoads(of)
			got := b.Loads(t.Context(), test.lender, test.from, time.Minute, 2, test.elsewhere)
			if !same(got.Requests, test.want) || got.Source != test.source || !strings.Contains(got.Note, test.note) || (test.note == "") != (got.Note == "") {
				t.Errorf("got %+v, want %v from %q, %q", got, test.want, test.source, test.note)
			}
			if test.store != nil && test.store.asked != test.asked {
				t.Errorf("the store was asked %d times", test.store.asked)
			}
		})
	}
}

func same(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && !(math.IsNaN(a[i]) && math.IsNaN(b[i])) {
			return false
		}
	}
	return true
}

// Whoever waits for a decision hears of the next one, once, and it is there by then.
func TestBoardChanged(t *testing.T) {
	b := &Board{}
	returns := map[string][]counterfactual.Return{"h100": {{At: now, Units: 8}}}
	for i := range 3 {
		waiting, also := b.Changed(), b.Changed()
		select {
		case <-waiting:
			t.Fatal("there is another decision before there is one")
		default:
		}
		b.show(record(now.Add(time.Duration(i)*time.Second), "A"), nil, returns)
		<-waiting
		<-also
		if d := b.Decision(); !d.Record.Snapshot.Now.Equal(now.Add(time.Duration(i)*time.Second)) || len(d.Returns["h100"]) != 1 {
			t.Errorf("heard of %+v", d)
		}
	}
	b.show(record(now, "A"), nil, nil) // for nobody
}
