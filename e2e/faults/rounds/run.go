package rounds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/e2e/faults/stage"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/witness"
)

// Config says how much is broken.
type Config struct {
	Stage stage.Config
	// Seed fixes what is drawn.
	Seed uint64
	// Rounds are made, Block of them before the broker is stopped and all is judged.
	Rounds, Block int
	// Within is how soon after the faults all must be stable, and Silence for how long
	// nothing may be written at the end of each block.
	Within, Silence time.Duration
	// API fails instead of what else would be broken; nil: it does not.
	API API
	// UntilGuilty ends after the round in which something was found.
	UntilGuilty bool
	Out         io.Writer
}

// Result is what was broken and found.
type Result struct {
	Rounds int
	// Sigkills were of any process, BrokerKills of the broker among them; Sigstops of any.
	Sigkills, BrokerKills, Sigstops int
	// Reached are the points at which a process was killed, Missed those that it did not
	// come to, by how often.
	Reached, Missed map[string]int
	// What was found.
	AckedLost, Duplicates, DoubleLent, SilentGaps, ChainBreaks int
	// Converge is how long each round took until all was stable, and Late those that took
	// longer than they may. Noisy are blocks after which something went on being written.
	Converge    []time.Duration
	Late, Noisy int
	// Findings say each in a line, with seed and round.
	Findings []string
	// Loans and Entries were seen: none of them would be a run that tried nothing.
	Loans, Entries int
	// Undecided are histories of a unit for which the search for an order took too long.
	Undecided int
}

// Tried is an error of rounds in which nothing came about that could have been found.
func (r *Result) Tried() error {
	if r.Rounds == 0 {
		return nil
	}
	var errs []error
	if r.Loans == 0 || r.Entries == 0 {
		errs = append(errs, fmt.Errorf("%d loans and %d entries of a ledger were seen in %d rounds: nothing was tried", r.Loans, r.Entries, r.Rounds))
	}
	if hit, missed := total(r.Reached), total(r.Missed); hit < missed {
		errs = append(errs, fmt.Errorf("only %d of %d processes came to the step at which they were to be killed", hit, hit+missed))
	}
	return errors.Join(errs...)
}

func total(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

// Guilty tells whether anything was found.
func (r *Result) Guilty() bool {
	return r.AckedLost+r.Duplicates+r.DoubleLent+r.SilentGaps+r.ChainBreaks+r.Late+r.Noisy > 0
}

// P99 is the time that 99 of 100 rounds did not exceed.
func (r *Result) P99() time.Duration {
	if len(r.Converge) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.Converge))
	return sorted[(len(sorted)*99+99)/100-1]
}

// rig is a run in progress.
type rig struct {
	c       Config
	town    *stage.Town
	acks    acks
	witness *witness.Witness
	result  Result

	replicas int32
	round    int
	name     string
	// leads is the epoch that must have begun for a round to be over.
	leads int64
	// doubled is what was last seen in two hands.
	doubled string
}

// Run starts a town, breaks it and says what was found. The error says what could not be
// done; what was found is in the result.
func Run(ctx context.Context, c Config) (_ Result, err error) {
	r := &rig{c: c, result: Result{Reached: map[string]int{}, Missed: map[string]int{}}}
	r.c.Stage.Logf = r.say
	if r.town, err = stage.New(ctx, r.c.Stage); r.town != nil {
		defer func() { err = errors.Join(err, r.town.Close()) }()
	}
	if err != nil {
		return r.result, err
	}
	r.acks = acks{town: r.town, shown: map[uint64]string{}}
	if err := r.begin(ctx); err != nil {
		return r.result, err
	}
	for first := 0; first < c.Rounds; first += c.Block {
		if err := r.block(ctx, first, min(first+c.Block, c.Rounds)); err != nil {
			return r.result, fmt.Errorf("seed %d, round %d, %s: %w", c.Seed, r.round+1, r.name, err)
		}
		if c.UntilGuilty && r.result.Guilty() {
			break
		}
	}
	return r.result, nil
}

func (r *rig) say(text string, args ...any) { fmt.Fprintf(r.c.Out, text+"\n", args...) }

// begin lets jobs come and the service demand all, so that the first round can lend.
func (r *rig) begin(ctx context.Context) error {
	r.name = "the beginning"
	random := randomOf(r.c.Seed, -1)
	if err := errors.Join(r.move(ctx, surge, random), r.town.Turn(ctx, random)); err != nil {
		return err
	}
	r.leads = 1
	took, why, err := r.settle(ctx)
	if err == nil && took > 2*r.c.Within {
		err = fmt.Errorf("nothing was broken yet, and after %s %s", took.Round(time.Second), why)
	}
	return err
}

// block makes rounds, and has all that happened in them judged.
func (r *rig) block(ctx context.Context, first, end int) error {
	if err := r.watch(ctx); err != nil {
		return err
	}
	defer r.unwatch()
	for r.round = first; r.round < end; r.round++ {
		if err := r.one(ctx); err != nil {
			return err
		}
		if r.c.UntilGuilty && r.result.Guilty() {
			break
		}
	}
	r.round = min(r.round, end-1)
	r.name = fmt.Sprintf("the end of rounds %d to %d", first+1, r.round+1)
	if r.c.Silence > 0 {
		if took, err := r.witness.Settle(ctx, r.c.Within, r.c.Silence); err != nil {
			r.result.Noisy++
			r.found("%s passed, and then: %v", took.Round(time.Millisecond), err)
		}
	}
	return r.judge(ctx)
}

// watch begins to watch with fresh eyes.
func (r *rig) watch(ctx context.Context) error {
	books := func() []string {
		path, err := r.town.LedgerPath()
		if err != nil {
			return nil
		}
		files, err := filepath.Glob(strings.TrimSuffix(path, ".db") + "*.db")
		if err != nil {
			return nil
		}
		return files
	}
	account := "system:serviceaccount:" + lab.SystemNamespace + ":"
	var err error
	r.witness, err = witness.Start(ctx, witness.Options{
		Config: r.town.Config(), AuditLog: r.town.AuditLog(), Books: books,
		Actors: []string{account + "ebbtide-broker", account + "ebbtide-scheduler"},
	})
	if err != nil {
		return fmt.Errorf("call a witness: %w", err)
	}
	return nil
}

func (r *rig) unwatch() {
	if r.witness != nil {
		r.witness.Close()
		r.witness = nil
	}
}

// one is one round.
func (r *rig) one(ctx context.Context) error {
	f := draw(r.c.Seed, r.round)
	r.name, r.doubled = f.String(), ""
	random := randomOf(r.c.Seed, r.round)
	began := time.Now()
	if err := r.town.Turn(ctx, random); err != nil {
		return err
	}
	before, pid := r.acks.epoch, r.town.Part(lab.Broker).PID()
	if err := r.breakIt(ctx, &f, random); err != nil {
		return err
	}
	r.leads = before
	// One that was only stopped may lead on, if its Lease was not wanted by anybody.
	if r.c.API == nil && (f.part == lab.Broker && f.how != halt || f.alone) {
		r.leads = before + 1
	}
	if r.c.API != nil && r.town.Part(lab.Broker).PID() != pid { // it could not renew its Lease
		r.leads = before + 1
	}
	broken := time.Since(began)
	took, why, err := r.settle(ctx)
	if err != nil {
		return err
	}
	r.result.Rounds++
	r.result.Converge = append(r.result.Converge, took)
	if took > r.c.Within {
		r.result.Late++
		r.found("not stable within %s: %s", r.c.Within, why)
	}
	r.say("round %4d %-70s %5.1f s broken, stable after %4.1f s: last %s", r.round+1, r.name, broken.Seconds(), took.Seconds(), why)
	if err := r.town.Err(); err != nil {
		return fmt.Errorf("a part of the lab ended: %w", err)
	}
	return nil
}

// breakIt breaks what the round is about.
func (r *rig) breakIt(ctx context.Context, f *fault, random *rand.Rand) error {
	if r.c.API != nil {
		return r.failAPI(ctx, random)
	}
	return r.strike(ctx, f, random)
}

// examine judges the ledger's file while the broker is dead.
func (r *rig) examine() error { return r.readBook(false) }

func (r *rig) readBook(settled bool) error {
	path, err := r.town.LedgerPath()
	if err != nil {
		return err
	}
	file, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !settled {
		return nil // killed before it was made
	}
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	r.count(r.acks.judge(file, settled))
	return nil
}

// judge stops the broker, has all judged, and starts it again.
func (r *rig) judge(ctx context.Context) error {
	r.acks.look(ctx)
	broker := r.town.Part(lab.Broker)
	if err := broker.Stop(); err != nil {
		return fmt.Errorf("stop the broker: %w", err)
	}
	if err := r.readBook(true); err != nil {
		return err
	}
	report, err := r.witness.Judge(ctx)
	if err != nil {
		return fmt.Errorf("hear the witness: %w", err)
	}
	r.result.Loans, r.result.Entries = r.result.Loans+report.Loans, report.Entries
	r.result.Undecided += report.Undecided
	r.count(tally{
		AckedLost: report.AckedLost, Duplicates: report.Duplicates, DoubleLent: report.DoubleLent,
		SilentGaps: report.SilentGaps, ChainBreaks: report.ChainBreaks, findings: report.Findings,
	})
	r.say("judged    %d events, %d loans, %d writes, %d entries, settled: %v, %d histories undecided: %d findings",
		report.Events, report.Loans, report.Writes, report.Entries, report.Settled, report.Undecided, len(report.Findings))
	if err := broker.Start(); err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	return nil
}

// double notes a unit or a job in two hands, once in a round.
func (r *rig) double(text string) {
	if r.doubled == text {
		return
	}
	r.doubled = text
	r.count(tally{DoubleLent: 1, findings: []string{text}})
}

func (r *rig) count(t tally) {
	r.result.AckedLost += t.AckedLost
	r.result.Duplicates += t.Duplicates
	r.result.DoubleLent += t.DoubleLent
	r.result.SilentGaps += t.SilentGaps
	r.result.ChainBreaks += t.ChainBreaks
	for _, text := range t.findings {
		r.found("%s", text)
	}
}

// mostFindings is how many are told.
const mostFindings = 100

// found tells a finding with what makes it come again.
func (r *rig) found(text string, args ...any) {
	line := fmt.Sprintf("seed %d, round %d, %s: ", r.c.Seed, r.round+1, r.name) + fmt.Sprintf(text, args...)
	if len(r.result.Findings) < mostFindings {
		r.result.Findings = append(r.result.Findings, line)
		r.say("found     %s", line)
	}
}
