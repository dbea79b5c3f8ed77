package demo

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
	"github.com/ebbtide/ebbtide/e2e/audit/decisions"
	"github.com/ebbtide/ebbtide/e2e/demo/picture"
	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/trainer"
)

// Targets of the check.
const (
	leastShare = 0.70
	ledgerOK   = "ok"
)

// Result is the last line of the demo's output.
type Result struct {
	Nodes          int     `json:"nodes"`
	GPUs           int64   `json:"gpus"`
	SimulatedHours float64 `json:"simulatedHours"`
	// OracleLendableGPUHours is the integral of the units that the curve does not
	// need, the need taken from the highest point within the coming grace and
	// model load.
	OracleLendableGPUHours float64 `json:"oracleLendableGPUHours"`
	// LentGPUHours is the smaller of what the ledger has booked and what bound
	// training pods were seen to hold.
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
}

// account is all that is told at the end.
type account struct {
	Result
	config  Config
	samples []picture.Sample

	ledgerHours, boundHours float64
	openLoans               int
	takeBacks               int
	waits                   int
	worstWait               time.Duration
	jobs                    JobCounts
	training                trainer.Stats
	requests                engine.Totals
	queued                  time.Duration
	queuedKnown             bool
	decisions               decisions.Result
	demand                  demand
	// events were judged by the auditor, late ones out of order.
	events, late int
	// unrecorded are loans that the auditor saw asked back and no recorded decision
	// asks for.
	unrecorded int
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
	c, r := s.config, s.report
	a := &account{
		config: c, samples: s.samples, takeBacks: r.TakeBacks, waits: len(r.Waits), worstWait: r.WaitQuantile(1),
		jobs: s.feed.counts(), training: s.trainer.Stats(), requests: s.fleet.Totals(),
		boundHours: r.BoundUnits.Hours() * c.Speed, demand: s.demand, events: r.Events, late: r.Late,
	}
	a.Result = Result{
		Nodes: c.Nodes, GPUs: c.units(), SimulatedHours: round((c.To - c.From).Hours(), 2),
		OracleLendableGPUHours: round(s.day.LendableHours(c.From, c.To, c.notice())*gpusPerNode, 1),
		JobsFinished:           a.jobs.Finished, Loans: r.Loans, Reclaims: r.Reclaimed, EvictedPods: r.EvictedPods,
		NeedlessEvictions:    len(r.Needless),
		OnlineWaitSecondsP99: round(r.WaitQuantile(0.99).Seconds(), 2),
		MaxGraceSeconds:      c.MaxGrace.Seconds(),
		LawViolations:        len(r.Violations),
	}
	a.queued, a.queuedKnown = s.fleet.QueuedWithin(0.99)
	for _, v := range r.Violations {
		a.problems = append(a.problems, v.String())
	}
	a.problems = append(a.problems, r.Needless...)
	if err := a.checkLedger(filepath.Join(env.Dir, ledgerFile)); err != nil {
		return nil, err
	}
	if err := a.auditDecisions(filepath.Join(env.Dir, recordFile), r.Asked); err != nil {
		return nil, err
	}
	a.LentGPUHours = round(min(a.ledgerHours, a.boundHours), 1)
	if a.OracleLendableGPUHours > 0 {
		a.LentShareOfOracle = round(a.LentGPUHours/a.OracleLendableGPUHours, 3)
	}
	return a, nil
}

// checkLedger verifies the ledger, and that its balances add up to 0.
func (a *account) checkLedger(path string) error {
	report, err := ledger.Check(path)
	if err != nil {
		return err
	}
	a.LedgerEntries, a.LedgerCheck = int(report.Entries), ledgerOK
	sum := int64(0)
	for _, b := range report.Balances {
		sum += b.UnitMS
		if b.Account.Side == ledger.LenderAccount {
			a.ledgerHours += (time.Duration(b.UnitMS) * time.Millisecond).Hours() * a.config.Speed
		}
	}
	for _, l := range report.OpenLoans {
		a.openLoans++
		for _, g := range l.Grants {
			if !l.Since.IsZero() && g.Lender != "" {
				a.ledgerHours += float64(g.Count) * time.Since(l.Since).Hours() * a.config.Speed
			}
		}
	}
	if !report.OK() || sum != 0 {
		a.LedgerCheck = "failed"
		for _, f := range report.Faults {
			a.problems = append(a.problems, "ledger: "+f.String())
		}
		if sum != 0 {
			a.problems = append(a.problems, fmt.Sprintf("ledger: balances add up to %d unit-milliseconds, not to 0", sum))
		}
	}
	return nil
}

// auditDecisions checks every decision that the broker took, and that the loans
// which the auditor saw asked back are among them.
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
			a.unrecorded++
			a.problems = append(a.problems, fmt.Sprintf("loan %s was asked back without a recorded decision", name))
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
	check(a.LentShareOfOracle >= leastShare, "lentShareOfOracle is %v, must be at least %v", a.LentShareOfOracle, leastShare)
	check(a.OnlineWaitSecondsP99 <= a.MaxGraceSeconds+slack.Seconds(), "onlineWaitSecondsP99 is %v, must be at most %v", a.OnlineWaitSecondsP99, a.MaxGraceSeconds+slack.Seconds())
	check(a.NeedlessEvictions == 0, "needlessEvictions is %d, must be 0", a.NeedlessEvictions)
	check(a.LedgerCheck == ledgerOK, "ledgerCheck is %s, must be %s", a.LedgerCheck, ledgerOK)
	check(a.decisions.Decisions > 0, "no decision is on record")
	check(!a.decisions.Torn, "the record of decisions is torn: its last one has no end")
	check(a.decisions.Missing == 0, "%d decisions are not on record, must be 0", a.decisions.Missing)
	check(a.unrecorded == 0, "%d loans were asked back without a recorded decision, must be 0", a.unrecorded)
	check(a.late*100 <= a.events, "%d of the auditor's %d events came too late to be put in order, must be at most 1%%", a.late, a.events)
	check(a.demand.longest <= settle, "fewer units waited than were lendable for %s, must be at most %s: demand was the limit", a.demand.longest.Round(time.Millisecond), settle)
	check(a.waits > 0 || a.Reclaims == 0, "no online pod was seen to wait although %d loans were asked back", a.Reclaims)
	return errs
}

// shownProblems bounds the list in the summary.
const shownProblems = 20

// write prints the picture, the summary and the result.
func (a *account) write(out io.Writer) {
	c := a.config
	fmt.Fprintf(out, "\n%s\n", picture.Draw(a.samples, picture.Options{
		Title: fmt.Sprintf("One day of load on %d GPUs (DeepSeek's curve, UTC+8)", c.units()),
		From:  c.From, To: c.To, Clock: noon, Units: c.units(),
		LowWater: float64(c.LowWater) / 100, HighWater: float64(c.HighWater) / 100, Columns: 96,
	}))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, text string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(text, args...)) }
	row("lent", "%.0f GPU-hours (by the ledger %.0f, in the hands of bound pods %.0f)", a.LentGPUHours, a.ledgerHours, a.boundHours)
	row("", "%.1f%% of the %.0f of an oracle that gives each unit back %s of the day before its need", a.LentShareOfOracle*100, a.OracleLendableGPUHours, c.notice().Round(time.Minute))
	row("training", "%d jobs submitted, %d finished, %d failed, %d wait", a.jobs.Submitted, a.jobs.Finished, a.jobs.Failed, a.jobs.Waiting)
	row("", "%.1f job-hours of work lost to stops that came before a checkpoint", a.training.LostSeconds/3600*c.Speed)
	if a.demand.seen {
		row("", "%d GPUs' worth of jobs waited at the least while some were lendable; for %s at the longest it was fewer than those", a.demand.least, a.demand.longest.Round(100*time.Millisecond))
	}
	row("loans", "%d, of which %d asked back (%d by the scheduler alone), %d pods evicted, %d needlessly; %d open at the end",
		a.Loans, a.Reclaims, a.takeBacks, a.EvictedPods, a.NeedlessEvictions, a.openLoans)
	row("online", "%d pods waited %.2f s at most, 99%% of them %.2f s at most; the grace is %.0f s", a.waits, a.worstWait.Seconds(), a.OnlineWaitSecondsP99, a.MaxGraceSeconds)
	row("", "%d requests arrived, %d served, %d moved to another replica, %d turned away", a.requests.Arrived, a.requests.Finished, a.requests.Retried, a.requests.TurnedAway)
	if a.queuedKnown {
		row("", "99%% of them began within %s of arriving", a.queued)
	}
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
