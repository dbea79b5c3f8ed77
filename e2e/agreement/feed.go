package agreement

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/sim/product"
)

// feed finds out when jobs are submitted, which depends on how many wait: it plays the day
// until too few do, submits as many as that takes, and plays it again from the beginning,
// which comes out the same until then.
type feed struct {
	day *Day
	// jobs are those that were submitted, by when.
	jobs []sim.Job
	// next is the first moment at which it has not been looked yet.
	next time.Duration
	// short is when too few waited in this play, and by how much; found: that was so.
	short time.Duration
	by    int64
	found bool
	loans int
}

// window is how far beyond the present moment is played until something is found out.
const window = 15 * time.Second

// run plays the whole day.
func (f *feed) run() (*sim.Result, error) {
	f.submit(0, f.day.Wait, len(f.day.Jobs))
	for end := window; ; {
		length := min(end, f.day.Length)
		r, err := f.play(length)
		switch {
		case err != nil:
			return nil, fmt.Errorf("playing the day: %w", err)
		case f.found:
			if !f.submit(f.short, f.by, f.day.Batch) {
				return nil, fmt.Errorf("playing the day: all %d jobs were submitted by %s", len(f.jobs), f.short)
			}
			f.next = f.short + f.day.FeedEvery
			end = f.short + window
		case length == f.day.Length:
			return r, nil
		default:
			f.next, end = length/f.day.FeedEvery*f.day.FeedEvery, end+window
		}
	}
}

// submit adds jobs for so many units, no more than a number.
func (f *feed) submit(at time.Duration, units int64, most int) bool {
	for n := 0; units > 0 && n < most; n++ {
		if len(f.jobs) == len(f.day.Jobs) {
			return false
		}
		j := f.day.job(&f.day.Jobs[len(f.jobs)], at)
		f.jobs = append(f.jobs, j)
		units -= j.Units()
	}
	return true
}

func (f *feed) play(length time.Duration) (*sim.Result, error) {
	s := f.day.scenario(length, f.jobs)
	f.found, f.loans = false, 0
	waiting := int64(-1)
	options := product.Options{Every: f.day.Interval, PanicWindow: f.day.Interval, Seen: func(in lend.Snapshot, plan lend.Plan) {
		f.look(in.Now.Sub(s.Start), waiting)
		waiting = f.waiting(&in, &plan)
	}}
	r, err := sim.Run(s, product.New(f.day.Policy, options), nil)
	f.look(length, waiting)
	return r, err
}

// look checks, for all moments at which the feed looks until now, whether enough waited.
func (f *feed) look(now time.Duration, waiting int64) {
	if f.found || waiting < 0 {
		return
	}
	for ; f.next < now; f.next += f.day.FeedEvery {
		if waiting < f.day.Wait {
			f.found, f.short, f.by = true, f.next, f.day.Wait-waiting
			return
		}
	}
}

// waiting is how many units wait after a decision: of jobs that it did not admit, and of
// those that were stopped.
func (f *feed) waiting(in *lend.Snapshot, plan *lend.Plan) (units int64) {
	for i := range in.Jobs {
		units += in.Jobs[i].Pods * in.Jobs[i].UnitsPerPod
	}
	asked := map[string]bool{}
	for i := range plan.Actions {
		switch a := &plan.Actions[i]; a.Kind {
		case lend.ActionLend:
			f.loans++
			for _, g := range a.Grants {
				units -= g.Count
			}
		case lend.ActionReclaim:
			asked[a.Loan] = true
		}
	}
	for i := range in.Loans {
		if l := &in.Loans[i]; (l.Reclaiming || asked[l.Name]) && l.Live > 0 {
			for _, g := range l.Grants {
				units += g.Count
			}
		}
	}
	return units
}
