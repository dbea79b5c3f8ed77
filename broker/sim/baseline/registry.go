package baseline

import (
	"fmt"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// entry is a policy by its name. past is what it may know of the time before the one that
// is judged.
type entry struct {
	name string
	make func(past Past) (sim.Policy, error)
}

// entries are all, in the order in which they are told.
func entries() []entry {
	return []entry{
		{"pools-apart", poolsApart},
		{"static-split", staticSplit},
		{"stock-preemption", stock},
		{"quota-cron", quotaCron},
		{"random", byVictims("random", taker{choose: byRule(lend.RandomVictims), redraws: true})},
		{"fewest-jobs", byVictims("fewest-jobs", taker{choose: byRule(lend.FewestJobs)})},
		{"exhaustive", byVictims("exhaustive", taker{choose: exhaustively})},
		{"lyra-victims", byVictims("lyra-victims", taker{choose: byRule(lend.LyraCost)})},
		{"gfs-victims", byVictims("gfs-victims", taker{choose: byRule(lend.GFSScore)})},
		{"least-loss", byVictims("least-loss", taker{choose: byLeastLoss})},
		{"lyra", newLyra},
		{"lyra-ahead", newLyraAhead},
		{"gfs", newGFS},
		{"deepboot", newDeepBoot},
		{"oracle", foreseeing},
	}
}

// Names of the policies, in the order in which they are told.
func Names() []string {
	var names []string
	for _, e := range entries() {
		names = append(names, e.name)
	}
	return names
}

// New returns a policy by its name, for one run. It is an error to name another than those
// of [Names], or one that needs a past with none.
func New(name string, past Past) (sim.Policy, error) {
	for _, e := range entries() {
		if e.name != name {
			continue
		}
		p, err := e.make(past)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", name, err)
		}
		return p, nil
	}
	return nil, fmt.Errorf("policy: %q is none of %s", name, strings.Join(Names(), ", "))
}

// poolsApart never lends: services and training have nodes of their own.
func poolsApart(Past) (sim.Policy, error) {
	return &policy{name: "pools-apart", keeps: nothing{}, line: line{quotas: true, tiers: ownAlone()}}, nil
}

// staticSplit gives training for ever what services did not want at their busiest.
func staticSplit(past Past) (sim.Policy, error) {
	span := past.Until - past.From
	most, err := level(past, span, span)
	if err != nil {
		return nil, err
	}
	return &policy{name: "static-split", keeps: &share{most}, line: line{quotas: true, tiers: ownThenLoans()}}, nil
}

// stock is two PriorityClasses, and nothing else: training takes what is free, in the pool
// first, and stops where an online pod waits.
func stock(Past) (sim.Policy, error) {
	return &policy{
		name: "stock-preemption", keeps: pending{}, everywhere: true,
		takes: &taker{choose: stockPreemption, ownGrace: true},
		line:  line{tiers: ownThenLoans()},
	}, nil
}

// quotaCron patches quotas every hour, by the past.
func quotaCron(past Past) (sim.Policy, error) {
	period := 7 * 24 * time.Hour
	if past.Until-past.From < period {
		period = 24 * time.Hour
	}
	if span := past.Until - past.From; span < period {
		return nil, fmt.Errorf("past: %s are known, a timetable needs at least %s", span, period)
	}
	most, err := level(past, period, time.Hour)
	if err != nil {
		return nil, err
	}
	return &policy{
		name: "quota-cron", keeps: &timetable{most, period}, takes: &taker{choose: newestFirst},
		line: line{quotas: true, tiers: ownThenLoans()},
	}, nil
}

// byVictims lends what is idle, and differs in who stops.
func byVictims(name string, takes taker) func(Past) (sim.Policy, error) {
	return func(Past) (sim.Policy, error) {
		return &policy{
			name: name, keeps: idle{}, takes: &takes,
			line: line{quotas: true, grows: true, tiers: ownThenLoans()},
		}, nil
	}
}

// foreseeing knows the load that is to come.
func foreseeing(Past) (sim.Policy, error) {
	return &policy{
		name: "oracle", keeps: &oracle{}, takes: &taker{choose: byLeastLoss},
		line: line{quotas: true, elastic: true, grows: true, tiers: ownThenLoans()},
	}, nil
}
