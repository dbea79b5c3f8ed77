package sliced

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/e2e/demo/picture"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/mig"
)

// leastShare is how much of what the oracle lends must be lent. It is a target, and not
// what a run gave: half, as the small jobs may have a quarter of the cards, and a large
// one needs four idle slices of one card.
const leastShare = 0.5

// Result is the last line of the demo's output. A slice is as much of a GPU as it has of the
// seven compute slices, and the oracle leaves what is pinned.
type Result struct {
	stage.Result
	// PinnedTouched counts the writes to a place that was pinned, in the cards' own log.
	PinnedTouched int `json:"pinnedTouched"`
	// Reshapes that were made.
	Reshapes int `json:"reshapes"`
	// ReshapeFailuresRecovered are reshapes in which an agent died or the driver refused
	// something, and that came to their end all the same.
	ReshapeFailuresRecovered int `json:"reshapeFailuresRecovered"`
}

// account is all that is told at the end.
type account struct {
	stage.Account
	config  Config
	samples []picture.Sample

	tally Tally
	// killed and inUse are the reshapes in which an agent was killed, or a slice in use.
	killed, inUse map[string]bool
	failedStarts  int
	// touched are writes to what was pinned, misshapen cards have not their layout at the
	// end, unpinned ones lost pins, in words.
	touched, misshapen, unpinned []string
}

// Account settles with the broker's books, and with the cards.
func (s *show) Account() (stage.Told, error) {
	g, known := mig.Board(board)
	if !known {
		return nil, fmt.Errorf("board %s is not known", board)
	}
	var seen []stage.Seen
	for i, b := range sizes {
		seen = append(seen, stage.Seen{Report: s.reports[i], Flavor: b.flavor, Share: b.share(), Name: b.flavor + ": "})
	}
	settled, err := s.Settle(s.config.cards(), s.oracle(), seen...)
	if err != nil {
		return nil, err
	}
	a := &account{
		Account: *settled, config: s.config, samples: s.samples,
		tally:  s.witness.tally(s.writes, s.trouble.killed, s.trouble.inUse),
		killed: s.trouble.killed, inUse: s.trouble.inUse,
		touched: s.witness.touched(&g, s.writes), misshapen: s.misshapen, unpinned: s.witness.unpinned(pinnedPerCard),
	}
	a.Problems = slices.Concat(a.Problems, a.touched, a.unpinned, a.misshapen)
	for _, node := range s.config.nodes() {
		a.failedStarts += s.Town.Devices(node).FailedStarts()
	}
	return a, nil
}

// oracle is what a perfect lender lends, in hours of whole GPUs.
func (s *show) oracle() float64 {
	const step = time.Minute / 2
	c, hours := s.config, 0.0
	for at := c.From; at < c.To; at += step {
		idle := min(s.Day.Lendable(at, c.Notice()), c.slices()-c.pinned())
		hours += float64(idle) * min(step, c.To-at).Hours() / slicesPerCard
	}
	return hours
}

func (a *account) result() Result {
	return Result{
		Result: a.Result, PinnedTouched: len(a.touched), Reshapes: a.tally.Made, ReshapeFailuresRecovered: a.tally.Recovered,
	}
}

// Missed returns the targets that were not reached.
func (a *account) Missed() []error {
	var t stage.Targets
	a.Check(&t, leastShare, slack)
	t.Check(len(a.touched) == 0, "pinnedTouched is %d, must be 0", len(a.touched))
	t.Check(a.failedStarts == 0, "%d containers were started on a slice that was gone, must be 0", a.failedStarts)
	t.Check(a.tally.Made > 0, "no card was reshaped")
	t.Check(a.tally.Undone > 0, "no reshape was undone")
	t.Check(a.tally.Killed > 0, "no reshape recovered from the death of its agent, of %d in which it was killed", len(a.killed))
	t.Check(a.tally.InUse > 0, "no reshape recovered from a slice in use, of %d in which one was", len(a.inUse))
	t.Check(a.tally.Stuck == 0, "%d reshapes are stuck, must be 0", a.tally.Stuck)
	t.Check(a.tally.Hanging == 0, "%d reshapes hang, must be 0", a.tally.Hanging)
	t.Check(len(a.misshapen) == 0, "%d cards or reshapes are not as they should be at the end, must be 0", len(a.misshapen))
	t.Check(len(a.unpinned) == 0, "%d times a card lost pinned slices, must be 0", len(a.unpinned))
	return t.Missed()
}

// Write prints the picture, the summary and the result.
func (a *account) Write(out io.Writer) {
	c := a.config
	rows := slices.Concat(
		a.Lent(fmt.Sprintf("slice back %s of the day before its need and leaves the pinned ones", c.Notice().Round(time.Minute))),
		[]stage.Row{
			stage.Rowf("cards", "%d reshapes begun, %d made, %d undone, %d refused, %d stuck, %d hang; pinned slices were written to %d times",
				a.tally.Begun, a.tally.Made, a.tally.Undone, a.tally.Refused, a.tally.Stuck, a.tally.Hanging, len(a.touched)),
			stage.Rowf("", "in %d an agent was killed, of which %d recovered, and in %d a slice was in use without a holder, of which %d recovered",
				len(a.killed), a.tally.Killed, len(a.inUse), a.tally.InUse),
		},
		a.Trained(), a.Served(), a.Judged())
	a.Tell(out, fmt.Sprintf("A night of load on %d slices of %d GPUs", c.slices(), c.cards()), c.slices(), a.samples, rows, a.result())
}
