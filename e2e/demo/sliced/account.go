package sliced

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/e2e/audit"
	"github.com/ebbtide/ebbtide/e2e/audit/decisions"
	"github.com/ebbtide/ebbtide/e2e/demo/picture"
	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/trainer"
	"github.com/ebbtide/ebbtide/mig"
)

const (
	ledgerOK = "ok"
	// leastShare is how much of what the oracle lends must be lent. It is a target, and not
	// what a run gave: half, as the small jobs may have a quarter of the cards, and a large
	// one needs four idle slices of one card.
	leastShare = 0.5
)

// Result is the last line of the demo's output. Hours are of whole GPUs, of which a slice
// is as much as it has of the seven compute slices.
type Result struct {
	Nodes          int     `json:"nodes"`
	GPUs           int64   `json:"gpus"`
	SimulatedHours float64 `json:"simulatedHours"`
	// OracleLendableGPUHours is the integral of the slices that neither the curve needs,
	// within the coming grace and model load, nor are pinned.
	OracleLendableGPUHours float64 `json:"oracleLendableGPUHours"`
	// LentGPUHours is the smaller of what the ledger has booked and what bound training
	// pods were seen to hold.
	LentGPUHours         float64 `json:"lentGPUHours"`
	LentShareOfOracle    float64 `json:"lentShareOfOracle"`
	JobsFinished         int     `json:"jobsFinished"`
	Loans                int     `json:"loans"`
	Reclaims             int     `json:"reclaims"`
	EvictedPods          int     `json:"evictedPods"`
	NeedlessEvictions    int     `json:"needlessEvictions"`
	OnlineWaitSecondsP99 float64 `json:"onlineWaitSecondsP99"`
	MaxGraceSeconds      float64 `json:"maxGraceSeconds"`
	LawViolations        int     `json:"lawViolations"`
	LedgerEntries        int     `json:"ledgerEntries"`
	LedgerCheck          string  `json:"ledgerCheck"`
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
	Result
	config  Config
	samples []picture.Sample

	ledgerHours, boundHours float64
	tally                   Tally
	// killed and inUse are the reshapes in which an agent was killed, or a slice in use.
	killed, inUse map[string]bool
	failedStarts  int
	// misshapen cards have not their layout at the end, unpinned ones lost pins, in words.
	misshapen, unpinned []string
	waits               int
	worstWait           time.Duration
	jobs                JobCounts
	training            trainer.Stats
	requests            engine.Totals
	decisions           decisions.Result
	events, late        int
	// problems are sentences about everything that went wrong.
	problems []string
}

// account stops the broker and settles with its ledger and its decisions.
func (s *show) account() (*account, error) {
	if err := s.town.Part(lab.Broker).Stop(); err != nil {
		return nil, fmt.Errorf("stop the broker: %w", err)
	}
	env, err := s.town.Env(lab.Broker)
	if err != nil {
		return nil, err
	}
	c, online := s.config, s.reports[0]
	a := &account{
		config: c, samples: s.samples, waits: len(online.Waits), worstWait: online.WaitQuantile(1),
		jobs: s.feed.counts(), training: s.trainer.Stats(), requests: s.fleet.Totals(),
		killed: s.trouble.killed, inUse: s.trouble.inUse, misshapen: s.misshapen,
	}
	a.Result = Result{
		Nodes: c.Nodes, GPUs: c.cards(), SimulatedHours: round((c.To - c.From).Hours(), 2),
		OracleLendableGPUHours: round(s.oracle(), 1), JobsFinished: a.jobs.Finished,
		OnlineWaitSecondsP99: round(online.WaitQuantile(0.99).Seconds(), 2), MaxGraceSeconds: c.MaxGrace.Seconds(),
	}
	var asked []string
	for i, b := range []size{small, large} {
		asked = append(asked, s.reports[i].Asked...)
		a.add(s.reports[i], b)
	}
	if err := a.lookAtCards(s); err != nil {
		return nil, err
	}
	if err := a.checkLedger(filepath.Join(env.Dir, ledgerFile)); err != nil {
		return nil, err
	}
	if err := a.auditDecisions(filepath.Join(env.Dir, recordFile), asked); err != nil {
		return nil, err
	}
	a.LentGPUHours = round(min(a.ledgerHours, a.boundHours), 1)
	if a.OracleLendableGPUHours > 0 {
		a.LentShareOfOracle = round(a.LentGPUHours/a.OracleLendableGPUHours, 3)
	}
	return a, nil
}

// oracle is what a perfect lender lends, in hours of whole GPUs.
func (s *show) oracle() float64 {
	const step = time.Minute / 2
	c, hours := s.config, 0.0
	for at := c.From; at < c.To; at += step {
		idle := min(s.day.Lendable(at, c.notice()), c.slices()-c.pinned())
		hours += float64(idle) * min(step, c.To-at).Hours() / slicesPerCard
	}
	return hours
}

// add takes in what the auditor of one size of slices saw.
func (a *account) add(r audit.Report, b size) {
	a.Loans += r.Loans
	a.Reclaims += r.Reclaimed
	a.EvictedPods += r.EvictedPods
	a.NeedlessEvictions += len(r.Needless)
	a.LawViolations += len(r.Violations)
	a.boundHours += r.BoundUnits.Hours() * a.config.Speed * float64(b.compute) / slicesPerCard
	a.events, a.late = a.events+r.Events, a.late+r.Late
	for _, v := range r.Violations {
		a.problems = append(a.problems, b.flavor+": "+v.String())
	}
	a.problems = append(a.problems, r.Needless...)
}

// lookAtCards counts what was written to the cards.
func (a *account) lookAtCards(s *show) error {
	g, known := mig.Board(board)
	if !known {
		return fmt.Errorf("board %s is not known", board)
	}
	touched := s.witness.touched(&g, s.writes)
	a.tally = s.witness.tally(s.writes, s.trouble.killed, s.trouble.inUse)
	a.unpinned = s.witness.unpinned(pinnedPerCard)
	a.PinnedTouched, a.Reshapes, a.ReshapeFailuresRecovered = len(touched), a.tally.Made, a.tally.Recovered
	a.problems = slices.Concat(a.problems, touched, a.unpinned, a.misshapen)
	for _, node := range s.town.nodes {
		a.failedStarts += s.town.Devices(node).FailedStarts()
	}
	return nil
}

// checkLedger verifies the ledger, and that its balances add up to 0.
func (a *account) checkLedger(path string) error {
	report, err := ledger.Check(path)
	if err != nil {
		return err
	}
	a.LedgerEntries, a.LedgerCheck = int(report.Entries), ledgerOK
	share := map[string]float64{small.flavor: float64(small.compute) / slicesPerCard, large.flavor: float64(large.compute) / slicesPerCard}
	sums := map[string]int64{}
	for _, b := range report.Balances {
		sums[b.Flavor] += b.UnitMS
		if b.Account.Side == ledger.LenderAccount {
			a.ledgerHours += (time.Duration(b.UnitMS) * time.Millisecond).Hours() * a.config.Speed * share[b.Flavor]
		}
	}
	for _, l := range report.OpenLoans {
		for _, g := range l.Grants {
			if !l.Since.IsZero() && g.Lender != "" {
				a.ledgerHours += float64(g.Count) * time.Since(l.Since).Hours() * a.config.Speed * share[g.Flavor]
			}
		}
	}
	for flavor, sum := range sums {
		if sum != 0 {
			a.LedgerCheck = "failed"
			a.problems = append(a.problems, fmt.Sprintf("ledger: balances of %s add up to %d unit-milliseconds, not to 0", flavor, sum))
		}
	}
	for _, f := range report.Faults {
		a.LedgerCheck = "failed"
		a.problems = append(a.problems, "ledger: "+f.String())
	}
	return nil
}

// auditDecisions checks every decision that the broker took, and that the loans which the
// auditors saw asked back are among them.
func (a *account) auditDecisions(path string, asked []string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the broker's decisions: %w", err)
	}
	defer f.Close()
	if a.decisions, err = decisions.Audit(f); err != nil {
		return err
	}
	a.NeedlessEvictions += len(a.decisions.Needless)
	a.LawViolations += len(a.decisions.Differing) + len(a.decisions.Violations)
	for _, n := range a.decisions.Needless {
		a.problems = append(a.problems, fmt.Sprintf("decision %d: %s", n.Decision, n.Text))
	}
	for _, v := range slices.Concat(a.decisions.Differing, a.decisions.Violations) {
		a.problems = append(a.problems, fmt.Sprintf("law %d: decision %d: %s", v.Law, v.Decision, v.Text))
	}
	for _, name := range asked {
		if !a.decisions.Asked[name] {
			a.LawViolations++
			a.problems = append(a.problems, fmt.Sprintf("law 8: loan %s was asked back without a recorded decision", name))
		}
	}
	return nil
}

// missed returns the targets that were not reached.
func (a *account) missed() []error {
	var errs []error
	check := func(ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	check(a.LawViolations == 0, "lawViolations is %d, must be 0", a.LawViolations)
	check(a.PinnedTouched == 0, "pinnedTouched is %d, must be 0", a.PinnedTouched)
	check(a.LedgerCheck == ledgerOK, "ledgerCheck is %s, must be %s", a.LedgerCheck, ledgerOK)
	check(a.OnlineWaitSecondsP99 <= a.MaxGraceSeconds+slack.Seconds(), "onlineWaitSecondsP99 is %v, must be at most %v", a.OnlineWaitSecondsP99, a.MaxGraceSeconds+slack.Seconds())
	check(a.NeedlessEvictions == 0, "needlessEvictions is %d, must be 0", a.NeedlessEvictions)
	check(a.LentShareOfOracle >= leastShare, "lentShareOfOracle is %v, must be at least %v", a.LentShareOfOracle, leastShare)
	errs = append(errs, a.missedOnCards()...)
	check(a.failedStarts == 0, "%d containers were started on a slice that was gone, must be 0", a.failedStarts)
	check(a.decisions.Decisions > 0, "no decision is on record")
	check(!a.decisions.Torn, "the record of decisions is torn: its last one has no end")
	check(a.decisions.Missing == 0, "%d decisions are not on record, must be 0", a.decisions.Missing)
	check(a.late*100 <= a.events, "%d of the auditors' %d events came too late to be put in order, must be at most 1%%", a.late, a.events)
	check(a.waits > 0 || a.Reclaims == 0, "no online pod was seen to wait although %d loans were asked back", a.Reclaims)
	return errs
}

// missedOnCards returns the targets of reshapes that were not reached.
func (a *account) missedOnCards() []error {
	var errs []error
	check := func(ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	check(a.Reshapes > 0, "no card was reshaped")
	check(a.tally.Undone > 0, "no reshape was undone")
	check(a.tally.Killed > 0, "no reshape recovered from the death of its agent, of %d in which it was killed", len(a.killed))
	check(a.tally.InUse > 0, "no reshape recovered from a slice in use, of %d in which one was", len(a.inUse))
	check(a.tally.Stuck == 0, "%d reshapes are stuck, must be 0", a.tally.Stuck)
	check(a.tally.Hanging == 0, "%d reshapes hang, must be 0", a.tally.Hanging)
	check(len(a.misshapen) == 0, "%d cards or reshapes are not as they should be at the end, must be 0", len(a.misshapen))
	check(len(a.unpinned) == 0, "%d times a card lost pinned slices, must be 0", len(a.unpinned))
	return errs
}

// shownProblems bounds the list in the summary.
const shownProblems = 20

// write prints the picture, the summary and the result.
func (a *account) write(out io.Writer) {
	c := a.config
	fmt.Fprintf(out, "\n%s\n", picture.Draw(a.samples, picture.Options{
		Title: fmt.Sprintf("A night of load on %d slices of %d GPUs (DeepSeek's curve, UTC+8)", c.slices(), c.cards()),
		From:  c.From, To: c.To, Clock: noon, Units: c.slices(),
		LowWater: float64(c.LowWater) / 100, HighWater: float64(c.HighWater) / 100, Columns: 96,
	}))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, text string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(text, args...)) }
	row("lent", "%.0f GPU-hours (by the ledger %.0f, in the hands of bound pods %.0f)", a.LentGPUHours, a.ledgerHours, a.boundHours)
	row("", "%.1f%% of the %.0f of an oracle that gives each slice back %s of the day before its need and leaves the pinned ones", a.LentShareOfOracle*100, a.OracleLendableGPUHours, c.notice().Round(time.Minute))
	row("cards", "%d reshapes begun, %d made, %d undone, %d refused, %d stuck, %d hang; pinned slices were written to %d times",
		a.tally.Begun, a.tally.Made, a.tally.Undone, a.tally.Refused, a.tally.Stuck, a.tally.Hanging, a.PinnedTouched)
	row("", "in %d an agent was killed, of which %d recovered, and in %d a slice was in use without a holder, of which %d recovered", len(a.killed), a.tally.Killed, len(a.inUse), a.tally.InUse)
	row("training", "%d jobs submitted, %d finished, %d failed, %d wait", a.jobs.Submitted, a.jobs.Finished, a.jobs.Failed, a.jobs.Waiting)
	row("", "%.1f job-hours of work lost to stops that came before a checkpoint", a.training.LostSeconds/3600*c.Speed)
	row("loans", "%d, of which %d asked back, %d pods evicted, %d needlessly", a.Loans, a.Reclaims, a.EvictedPods, a.NeedlessEvictions)
	row("online", "%d pods waited %.2f s at most, 99%% of them %.2f s at most; the grace is %.0f s", a.waits, a.worstWait.Seconds(), a.OnlineWaitSecondsP99, a.MaxGraceSeconds)
	row("", "%d requests arrived, %d served, %d moved to another replica, %d turned away", a.requests.Arrived, a.requests.Finished, a.requests.Retried, a.requests.TurnedAway)
	row("broker", "%d decisions, all replayed: %d differ, %d are missing, %d break a law; %d reclaims of %d loans checked",
		a.decisions.Decisions, len(a.decisions.Differing), a.decisions.Missing, len(a.decisions.Violations), a.decisions.Reclaims, a.decisions.Victims)
	row("ledger", "%d entries, %s", a.LedgerEntries, a.LedgerCheck)
	row("laws", "%d violations; %d events judged, %d too late to be put in order", a.LawViolations, a.events, a.late)
	_ = w.Flush()
	for i, p := range a.problems {
		if i == shownProblems {
			fmt.Fprintf(out, "  … and %d more\n", len(a.problems)-i)
			break
		}
		fmt.Fprintf(out, "  %s\n", p)
	}
	line, err := json.Marshal(a.Result)
	if err != nil {
		line = []byte(errors.Join(errors.New("encode the result"), err).Error())
	}
	fmt.Fprintf(out, "\n%s\n", line)
}

func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}
