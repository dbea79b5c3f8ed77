package stage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/ebbtide/ebbtide/e2e/audit"
	"github.com/ebbtide/ebbtide/e2e/demo/picture"
	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/trainer"
)

// Result is the last line of a demo's output. Hours are of whole GPUs.
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

// Account is what every demo tells at the end.
type Account struct {
	Result
	Books
	Config   Config
	Jobs     JobCounts
	Training trainer.Stats
	Requests engine.Totals
	// BoundHours is what bound training pods were seen to hold, in hours of whole GPUs.
	BoundHours float64
	// Waits of online pods were seen, of which WorstWait was the longest.
	Waits     int
	WorstWait time.Duration
	TakeBacks int
	// Events were judged by the auditors, Late ones out of order.
	Events, Late int
	// Problems are sentences about everything that went wrong.
	Problems []string

	asked []string
}

// Seen is what an auditor saw of a flavor, a unit of which is a share of a whole GPU. Name
// stands before what it says, if it is not empty.
type Seen struct {
	Report audit.Report
	Flavor string
	Share  float64
	Name   string
}

// Settle stops the broker and settles with its ledger and its decisions. The first of what
// was seen tells of online pods. The oracle is how many hours of the GPUs can be lent.
func (p *Play) Settle(gpus int64, oracle float64, seen ...Seen) (*Account, error) {
	if err := p.Town.Part(lab.Broker).Stop(); err != nil {
		return nil, fmt.Errorf("stop the broker: %w", err)
	}
	env, err := p.Town.Env(lab.Broker)
	if err != nil {
		return nil, err
	}
	c, online := p.Config, seen[0].Report
	a := &Account{
		Config: c, Jobs: p.Jobs.Counts(), Training: p.Trainer.Stats(), Requests: p.Fleet.Totals(),
		Waits: len(online.Waits), WorstWait: online.WaitQuantile(1),
	}
	a.Result = Result{
		Nodes: c.Nodes, GPUs: gpus, SimulatedHours: round((c.To - c.From).Hours(), 2),
		OracleLendableGPUHours: round(oracle, 1), JobsFinished: a.Jobs.Finished,
		OnlineWaitSecondsP99: round(online.WaitQuantile(0.99).Seconds(), 2), MaxGraceSeconds: c.MaxGrace.Seconds(),
	}
	shares := map[string]float64{}
	for _, s := range seen {
		shares[s.Flavor] = s.Share
		a.add(s)
	}
	if err := a.checkLedger(filepath.Join(env.Dir, ledgerFile), shares); err != nil {
		return nil, err
	}
	if err := a.auditDecisions(filepath.Join(env.Dir, recordFile)); err != nil {
		return nil, err
	}
	a.LentGPUHours = round(min(a.LedgerHours, a.BoundHours), 1)
	if a.OracleLendableGPUHours > 0 {
		a.LentShareOfOracle = round(a.LentGPUHours/a.OracleLendableGPUHours, 3)
	}
	return a, nil
}

// add takes in what an auditor saw.
func (a *Account) add(s Seen) {
	r := s.Report
	a.Loans += r.Loans
	a.Reclaims += r.Reclaimed
	a.TakeBacks += r.TakeBacks
	a.EvictedPods += r.EvictedPods
	a.NeedlessEvictions += len(r.Needless)
	a.LawViolations += len(r.Violations)
	a.BoundHours += r.BoundUnits.Hours() * a.Config.Speed * s.Share
	a.Events, a.Late = a.Events+r.Events, a.Late+r.Late
	for _, v := range r.Violations {
		a.Problems = append(a.Problems, s.Name+v.String())
	}
	a.Problems = append(a.Problems, r.Needless...)
	a.asked = append(a.asked, r.Asked...)
}

// Targets collects those that were missed.
type Targets struct{ errs []error }

// Check notes a target that was missed unless ok.
func (t *Targets) Check(ok bool, text string, args ...any) {
	if !ok {
		t.errs = append(t.errs, fmt.Errorf(text, args...))
	}
}

// Missed returns all that were.
func (t *Targets) Missed() []error { return t.errs }

// Check notes which of the targets were missed that are the same in every demo: leastShare
// is how much of what the oracle lends must be lent, slack what the programs may need
// beyond a grace.
func (a *Account) Check(t *Targets, leastShare float64, slack time.Duration) {
	longest := a.MaxGraceSeconds + slack.Seconds()
	t.Check(a.LawViolations == 0, "lawViolations is %d, must be 0", a.LawViolations)
	t.Check(a.LentShareOfOracle >= leastShare, "lentShareOfOracle is %v, must be at least %v", a.LentShareOfOracle, leastShare)
	t.Check(a.OnlineWaitSecondsP99 <= longest, "onlineWaitSecondsP99 is %v, must be at most %v", a.OnlineWaitSecondsP99, longest)
	t.Check(a.NeedlessEvictions == 0, "needlessEvictions is %d, must be 0", a.NeedlessEvictions)
	t.Check(a.LedgerCheck == LedgerOK, "ledgerCheck is %s, must be %s", a.LedgerCheck, LedgerOK)
	t.Check(a.Decisions.Decisions > 0, "no decision is on record")
	t.Check(!a.Decisions.Torn, "the record of decisions is torn: its last one has no end")
	t.Check(a.Decisions.Missing == 0, "%d decisions are not on record, must be 0", a.Decisions.Missing)
	t.Check(a.Unrecorded == 0, "%d loans were asked back without a recorded decision, must be 0", a.Unrecorded)
	t.Check(a.Late*100 <= a.Events, "%d of the auditors' %d events came too late to be put in order, must be at most 1%%", a.Late, a.Events)
	t.Check(a.Waits > 0 || a.Reclaims == 0, "no online pod was seen to wait although %d loans were asked back", a.Reclaims)
}

// Row is a line of the summary.
type Row struct{ Name, Text string }

// Rowf makes a Row.
func Rowf(name, text string, args ...any) Row { return Row{name, fmt.Sprintf(text, args...)} }

// Lent says how much was lent, beside an oracle of which the rest of a sentence is given.
func (a *Account) Lent(oracle string) []Row {
	return []Row{
		Rowf("lent", "%.0f GPU-hours (by the ledger %.0f, in the hands of bound pods %.0f)", a.LentGPUHours, a.LedgerHours, a.BoundHours),
		Rowf("", "%.1f%% of the %.0f of an oracle that gives each %s", a.LentShareOfOracle*100, a.OracleLendableGPUHours, oracle),
	}
}

// Trained says what became of the jobs.
func (a *Account) Trained() []Row {
	return []Row{
		Rowf("training", "%d jobs submitted, %d finished, %d failed, %d wait", a.Jobs.Submitted, a.Jobs.Finished, a.Jobs.Failed, a.Jobs.Waiting),
		Rowf("", "%.1f job-hours of work lost to stops that came before a checkpoint", a.Training.LostSeconds/3600*a.Config.Speed),
	}
}

// Served says what became of loans and of the service.
func (a *Account) Served() []Row {
	return []Row{
		Rowf("loans", "%d, of which %d asked back (%d by the scheduler alone), %d pods evicted, %d needlessly; %d open at the end",
			a.Loans, a.Reclaims, a.TakeBacks, a.EvictedPods, a.NeedlessEvictions, a.OpenLoans),
		Rowf("online", "%d pods waited %.2f s at most, 99%% of them %.2f s at most; the grace is %.0f s", a.Waits, a.WorstWait.Seconds(), a.OnlineWaitSecondsP99, a.MaxGraceSeconds),
		Rowf("", "%d requests arrived, %d served, %d moved to another replica, %d turned away", a.Requests.Arrived, a.Requests.Finished, a.Requests.Retried, a.Requests.TurnedAway),
	}
}

// Judged says what the books and the auditors found.
func (a *Account) Judged() []Row {
	d := a.Decisions
	return []Row{
		Rowf("broker", "%d decisions, all replayed: %d differ, %d are missing, %d break a law; %d reclaims of %d loans checked",
			d.Decisions, len(d.Differing), d.Missing, len(d.Violations), d.Reclaims, d.Victims),
		Rowf("ledger", "%d entries, %s", a.LedgerEntries, a.LedgerCheck),
		Rowf("laws", "%d violations; %d events judged, %d too late to be put in order", a.LawViolations, a.Events, a.Late),
	}
}

// shownProblems bounds the list in the summary.
const shownProblems = 20

// Tell prints the picture, the summary, what went wrong and the result.
func (a *Account) Tell(out io.Writer, title string, units int64, samples []picture.Sample, rows []Row, result any) {
	c := a.Config
	fmt.Fprintf(out, "\n%s\n", picture.Draw(samples, picture.Options{
		Title: title + " (DeepSeek's curve, UTC+8)",
		From:  c.From, To: c.To, Clock: Noon, Units: units,
		LowWater: float64(c.LowWater) / 100, HighWater: float64(c.HighWater) / 100, Columns: 96,
	}))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\n", r.Name, r.Text)
	}
	_ = w.Flush()
	for i, p := range a.Problems {
		if i == shownProblems {
			fmt.Fprintf(out, "  … and %d more\n", len(a.Problems)-i)
			break
		}
		fmt.Fprintf(out, "  %s\n", p)
	}
	line, err := json.Marshal(result)
	if err != nil {
		line = []byte(errors.Join(errors.New("encode the result"), err).Error())
	}
	fmt.Fprintf(out, "\n%s\n", line)
}

func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}
