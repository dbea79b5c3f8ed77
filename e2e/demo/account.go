package demo

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/e2e/demo/picture"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
)

// leastShare is how much of what the oracle lends must be lent.
const leastShare = 0.70

// account is all that is told at the end.
type account struct {
	stage.Account
	units       int64
	samples     []picture.Sample
	queued      time.Duration
	queuedKnown bool
	demand      demand
}

// Account settles with the broker's books.
func (s *show) Account() (stage.Told, error) {
	c := s.config
	oracle := s.Day.LendableHours(c.From, c.To, c.Notice()) * gpusPerNode
	settled, err := s.Settle(c.units(), oracle, stage.Seen{Report: s.report, Flavor: flavor, Share: 1})
	if err != nil {
		return nil, err
	}
	a := &account{Account: *settled, units: c.units(), samples: s.samples, demand: s.demand}
	a.queued, a.queuedKnown = s.Fleet.QueuedWithin(0.99)
	return a, nil
}

// Missed returns the targets that were not reached.
func (a *account) Missed() []error {
	var t stage.Targets
	a.Check(&t, leastShare, slack)
	longest := a.demand.longest
	t.Check(longest <= stage.Settle, "fewer units waited than were lendable for %s, must be at most %s: demand was the limit", longest.Round(time.Millisecond), stage.Settle)
	return t.Missed()
}

// Write prints the picture, the summary and the result.
func (a *account) Write(out io.Writer) {
	var demand, queued []stage.Row
	if d := a.demand; d.seen {
		demand = []stage.Row{stage.Rowf("", "%d GPUs' worth of jobs waited at the least while some were lendable; for %s at the longest it was fewer than those", d.least, d.longest.Round(100*time.Millisecond))}
	}
	if a.queuedKnown {
		queued = []stage.Row{stage.Rowf("", "99%% of them began within %s of arriving", a.queued)}
	}
	rows := slices.Concat(
		a.Lent(fmt.Sprintf("unit back %s of the day before its need", a.Config.Notice().Round(time.Minute))),
		a.Trained(), demand, a.Served(), queued, a.Judged())
	a.Tell(out, fmt.Sprintf("One day of load on %d GPUs", a.units), a.units, a.samples, rows, a.Result)
}
