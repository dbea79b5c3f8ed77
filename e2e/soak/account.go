package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/audit"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/soak/judge"
)

// Result is the last line of the output.
type Result struct {
	SimulatedHours float64 `json:"simulatedHours"`
	Speed          float64 `json:"speed"`
	Seed           uint64  `json:"seed"`
	GPUs           int     `json:"gpus"`
	Jobs           int     `json:"jobs"`
	JobsFinished   int     `json:"jobsFinished"`
	Loans          int     `json:"loans"`
	// TakeBacks of whole jobs, by the ledger; forced are those for which an online pod
	// waited. Sheds are parts of elastic jobs, which go on.
	TakeBacks       int `json:"takeBacks"`
	ForcedTakeBacks int `json:"forcedTakeBacks"`
	Sheds           int `json:"sheds"`
	// Of one job, within any window of the budget: all take-backs, and those that were not
	// forced, by the ledger and by the watch, whichever is more.
	MostPerJob         int `json:"mostPerJobAndWindow"`
	MostUnforcedPerJob int `json:"mostUnforcedPerJobAndWindow"`
	Budget             int `json:"evictionBudget"`
	JobsAtBudget       int `json:"jobsAtBudget"`
	OverBudget         int `json:"overBudget"`
	// Ping-pong: see package judge.
	YoungTakeBacks int `json:"youngTakeBacks"`
	LentTooSoon    int `json:"lentWithinCooldown"`
	// Unrecorded take-backs were seen and are not in the ledger; of unfounded ones the
	// ledger says that an online pod waited, and none was seen.
	Unrecorded int `json:"unrecordedTakeBacks"`
	Unfounded  int `json:"unfoundedTakeBacks"`

	OnlinePods       int     `json:"onlinePods"`
	OnlineWaitP99    float64 `json:"onlineWaitSecondsP99"`
	OnlineWaitMax    float64 `json:"onlineWaitSecondsMax"`
	MaxGraceSeconds  float64 `json:"maxGraceSeconds"`
	BrokerKills      int     `json:"brokerKills"`
	SchedulerKills   int     `json:"schedulerKills"`
	ServicesAway     int     `json:"servicesAway"`
	LawViolations    int     `json:"lawViolations"`
	Needless         int     `json:"needlessEvictions"`
	LedgerEntries    int     `json:"ledgerEntries"`
	LedgerCheck      string  `json:"ledgerCheck"`
	LeftRunning      int     `json:"leftRunning"`
	reasons          map[string]int
	problems, report []string
}

const ledgerOK = "ok"

// reaction is within what a decision acts on a pod that waits, and how long after it had
// a node one may still be thought to.
const reaction = 3 * time.Second

// settle stops the broker, holds what happened against the rules and writes it down.
func (s *soak) settle() error {
	c := s.config
	entries, err := s.entries()
	if err != nil {
		return err
	}
	if err := s.town.Part(lab.Broker).Stop(); err != nil {
		return fmt.Errorf("stop the broker: %w", err)
	}
	r := &Result{
		SimulatedHours: round(c.Length.Hours(), 2), Speed: c.Speed, Seed: c.Seed, GPUs: c.Nodes * gpusPerNode,
		Jobs: s.feed.next, JobsFinished: s.trainer.Stats().Finished, Budget: c.Budget, MaxGraceSeconds: c.MaxGrace.Seconds(),
		BrokerKills: s.kills.brokers, SchedulerKills: s.kills.schedulers, ServicesAway: s.kills.absences,
		LeftRunning: s.left, reasons: map[string]int{},
	}
	s.judgeJobs(r, entries)
	s.judgeWaits(r)
	s.judgeLaws(r, s.seen)
	if err := s.checkLedger(r); err != nil {
		return err
	}
	r.write(c)
	if missed := r.missed(); len(missed) > 0 {
		return fmt.Errorf("check: %w", errors.Join(missed...))
	}
	return nil
}

// entries reads the ledger from the broker, to its end. One that has just lost its Lease comes
// back.
func (s *soak) entries() ([]ledger.Entry, error) {
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	var all []ledger.Entry
	for from := uint64(1); from > 0; {
		var page struct {
			Entries []ledger.Entry
			Next    uint64
		}
		body, err := s.town.AskBroker(ctx, lab.Broker, fmt.Sprintf("/ledger?limit=1000&from=%d", from))
		if err != nil && pause(ctx, tick) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, fmt.Errorf("read the ledger from entry %d: %w", from, err)
		}
		all = append(all, page.Entries...)
		from = page.Next
	}
	return all, nil
}

// judgeJobs counts take-backs twice, and takes what is worse.
func (s *soak) judgeJobs(r *Result, entries []ledger.Entry) {
	lends, backs := s.booked(r, entries)
	r.Loans = len(lends)
	booked := s.config.rules().Judge(lends, backs)

	perJob := map[string]int{}
	for _, b := range backs {
		perJob[b.Job]++
		at := b.At
		if b.Reason == lend.ReasonPreempted {
			at = s.witness.stopped(b.Job, at) // the ledger knows when that was noticed
		}
		if b.Forced && !s.witness.waited(s.witness.flavorOfJob(b.Job), span{at.Add(-reaction), at}) {
			r.Unfounded++
			r.problems = append(r.problems, fmt.Sprintf("loan %s was taken back at %s (%s), and no online pod was seen to wait", b.Loan, b.At.Format(time.TimeOnly), b.Reason))
		}
	}
	var seen []judge.TakeBack
	s.witness.mu.Lock()
	takens := slices.Clone(s.witness.taken)
	s.witness.mu.Unlock()
	for _, t := range takens {
		seen = append(seen, judge.TakeBack{
			Job: string(t.job), At: t.at, Urgent: true,
			Forced: s.witness.waited(t.flavor, span{t.at.Add(-reaction - s.config.MaxGrace), t.at}),
		})
		if perJob[string(t.job)]--; perJob[string(t.job)] < 0 {
			r.Unrecorded++
			r.problems = append(r.problems, fmt.Sprintf("job %s was suspended at %s, and the ledger knows nothing of it", t.job, t.at.UTC().Format(time.TimeOnly)))
		}
	}
	watched := s.config.rules().Judge(nil, seen)

	r.TakeBacks, r.ForcedTakeBacks = booked.Forced+booked.Unforced, booked.Forced
	r.MostPerJob = max(booked.Most, watched.Most)
	r.MostUnforcedPerJob = max(booked.MostUnforced, watched.MostUnforced)
	r.JobsAtBudget = max(booked.Spent, watched.Spent)
	r.OverBudget = max(len(booked.OverBudget), len(watched.OverBudget))
	r.YoungTakeBacks, r.LentTooSoon = len(booked.Young), len(booked.Relent)
	r.problems = slices.Concat(r.problems, booked.OverBudget, watched.OverBudget, booked.Young, booked.Relent)
	r.report = append(r.report, fmt.Sprintf("%d jobs were seen to be suspended, %d times in all, at most %d times within %s", len(s.witness.jobs), len(takens), watched.Most, s.config.Window))
}

// booked is what the ledger says of lending and taking back. Of a loan that was asked
// back, then preempted or lost, it was the first.
func (s *soak) booked(r *Result, entries []ledger.Entry) (lends []judge.Lend, backs []judge.TakeBack) {
	intents, asked, job := map[string]judge.Lend{}, map[string]bool{}, map[string]string{}
	for _, e := range entries {
		if e.JobUID != "" {
			job[e.Loan] = e.JobUID
		}
		at := e.Time
		if !e.At.IsZero() {
			at = e.At
		}
		switch e.Kind {
		case ledger.LendIntent, ledger.Recovered:
			l := judge.Lend{Job: e.JobUID, Loan: e.Loan, At: at}
			for _, g := range e.Grants {
				if g.Lender != "" && !slices.Contains(l.Lenders, g.Lender) {
					l.Lenders = append(l.Lenders, g.Lender)
				}
			}
			if intents[e.Loan] = l; e.Kind == ledger.Recovered {
				lends = append(lends, l)
			}
		case ledger.LendGranted:
			lends = append(lends, intents[e.Loan])
		case ledger.ShedIntent:
			r.Sheds++
		case ledger.ReclaimIntent, ledger.Preempted, ledger.Lost:
			if asked[e.Loan] {
				continue
			}
			asked[e.Loan] = true
			r.reasons[e.Reason]++
			backs = append(backs, judge.TakeBack{
				Job: job[e.Loan], Loan: e.Loan, At: at, Reason: e.Reason, Asking: asking(e.Message),
				Urgent: !spared[e.Reason], Forced: e.Reason == lend.ReasonLenderPodPending || e.Kind == ledger.Preempted,
			})
		}
	}
	return lends, backs
}

// spared are the reasons for which the least age of a loan holds.
var spared = map[string]bool{lend.ReasonNeedRose: true, lend.ReasonLenderUnknownTooLong: true, lend.ReasonFairShare: true}

// asking are the services that a message names: those that units were asked back for.
func asking(message string) []string {
	var names []string
	for _, s := range services {
		if name := s.name + "/" + s.name; strings.Contains(message, name) {
			names = append(names, name)
		}
	}
	return names
}

// judgeWaits looks at how long online pods waited, less the time in which there was no
// scheduler.
func (s *soak) judgeWaits(r *Result) {
	var waits []time.Duration
	for _, p := range s.witness.waits {
		if p.to.IsZero() {
			p.to = time.Now()
		}
		waited := p.to.Sub(p.from)
		for _, away := range s.kills.schedulerAway {
			waited -= away.overlap(p.from, p.to)
		}
		waits = append(waits, waited)
		if waited > s.config.MaxGrace+slack {
			r.problems = append(r.problems, fmt.Sprintf("online pod %s waited %s from %s, more than the grace of %s and %s",
				p.name, waited.Round(time.Millisecond), p.from.UTC().Format(time.TimeOnly), s.config.MaxGrace, slack))
		}
	}
	slices.Sort(waits)
	r.OnlinePods = len(waits)
	if n := len(waits); n > 0 {
		r.OnlineWaitMax = round(waits[n-1].Seconds(), 2)
		r.OnlineWaitP99 = round(waits[min(n-1, int(math.Ceil(float64(n)*0.99))-1)].Seconds(), 2)
	}
}

func (s *soak) judgeLaws(r *Result, report audit.Report) {
	r.LawViolations, r.Needless = len(report.Violations), len(report.Needless)
	for _, v := range report.Violations {
		r.problems = append(r.problems, v.String())
	}
	r.problems = append(r.problems, report.Needless...)
	r.report = append(r.report, fmt.Sprintf("%d pods were made to stop; the scheduler took %d loans back by itself; %d events judged, %d too late to be put in order",
		report.EvictedPods, report.TakeBacks, report.Events, report.Late))
}

// checkLedger verifies the file, and that nothing in it is open.
func (s *soak) checkLedger(r *Result) error {
	env, err := s.town.Env(lab.Broker)
	if err != nil {
		return err
	}
	report, err := ledger.Check(filepath.Join(env.Dir, ledgerFile))
	if err != nil {
		return err
	}
	r.LedgerEntries, r.LedgerCheck = int(report.Entries), ledgerOK
	if !report.OK() {
		r.LedgerCheck = "failed"
		for _, f := range report.Faults {
			r.problems = append(r.problems, "ledger: "+f.String())
		}
	}
	for _, l := range report.OpenLoans {
		r.LeftRunning++
		r.problems = append(r.problems, fmt.Sprintf("loan %s is open in the ledger, and there is none", l.Loan))
	}
	return nil
}

// missed returns the promises that were broken, and what makes the soak worthless.
func (r *Result) missed() []error {
	var errs []error
	check := func(ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	check(r.MostUnforcedPerJob <= r.Budget && r.OverBudget == 0, "a job was taken back %d times within the window, the budget is %d", r.MostUnforcedPerJob, r.Budget)
	check(r.YoungTakeBacks == 0, "youngTakeBacks is %d, must be 0", r.YoungTakeBacks)
	check(r.LentTooSoon == 0, "lentWithinCooldown is %d, must be 0", r.LentTooSoon)
	check(r.Unrecorded == 0, "unrecordedTakeBacks is %d, must be 0", r.Unrecorded)
	check(r.Unfounded == 0, "unfoundedTakeBacks is %d, must be 0", r.Unfounded)
	check(r.OnlineWaitMax <= r.MaxGraceSeconds+slack.Seconds(), "onlineWaitSecondsMax is %v, must be at most %v", r.OnlineWaitMax, r.MaxGraceSeconds+slack.Seconds())
	check(r.LawViolations == 0, "lawViolations is %d, must be 0", r.LawViolations)
	check(r.Needless == 0, "needlessEvictions is %d, must be 0", r.Needless)
	check(r.LedgerCheck == ledgerOK, "ledgerCheck is %s, must be %s", r.LedgerCheck, ledgerOK)
	check(r.LeftRunning == 0, "leftRunning is %d, must be 0", r.LeftRunning)
	check(r.TakeBacks > r.ForcedTakeBacks && r.ForcedTakeBacks > 0, "%d jobs were taken back, %d of them for online pods: the adversary was too tame", r.TakeBacks, r.ForcedTakeBacks)
	check(r.BrokerKills > 0 && r.SchedulerKills > 0, "%d brokers and %d schedulers were killed, must be one of each at least", r.BrokerKills, r.SchedulerKills)
	return errs
}

// shownProblems bounds the list in the summary.
const shownProblems = 20

func (r *Result) write(c Config) {
	fmt.Fprintf(c.Out, "%d jobs, %d finished; %d loans, %d taken back whole, %d of them for an online pod that waited; %d times an elastic job gave a part\n",
		r.Jobs, r.JobsFinished, r.Loans, r.TakeBacks, r.ForcedTakeBacks, r.Sheds)
	for _, reason := range sorted(r.reasons) {
		fmt.Fprintf(c.Out, "  %4d %s\n", r.reasons[reason], reason)
	}
	fmt.Fprintf(c.Out, "one job was taken back %d times at most within %s, %d times without a pod that waited; the budget is %d, and %d jobs used it up\n",
		r.MostPerJob, c.Window, r.MostUnforcedPerJob, r.Budget, r.JobsAtBudget)
	for _, line := range r.report {
		fmt.Fprintln(c.Out, line)
	}
	for i, p := range r.problems {
		if i == shownProblems {
			fmt.Fprintf(c.Out, "  … and %d more\n", len(r.problems)-i)
			break
		}
		fmt.Fprintf(c.Out, "  %s\n", p)
	}
	line, err := json.Marshal(r)
	if err != nil {
		line = []byte(errors.Join(errors.New("encode the result"), err).Error())
	}
	fmt.Fprintf(c.Out, "\n%s\n", line)
}

func sorted(counts map[string]int) []string {
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}
