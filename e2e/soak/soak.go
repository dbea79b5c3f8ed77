// Package soak plays an adversary against Ebbtide on a real control plane, and says
// whether training jobs were taken back more often than promised, or sent back and forth.
//
// Four services of two sizes own all nodes but one. Their load jumps at random, up to all
// they own, and more often than not just after they lent something; some jumps bring a
// burst of replicas, others only load. Services are removed and made again. Jobs of many
// shapes keep the queues full: some are elastic, some ignore SIGTERM or want more grace
// than they get, some are deleted whatever they are doing. The broker and the scheduler
// are killed and started again. Everything drawn comes from the seed; when what happens
// does not, since these are real programs.
//
// Time is compressed by Speed: an hour lasts an hour/Speed. The windows of the policy
// (budget, least loan, cooldown, dwell) are divided by it. What the programs need is not:
// at the default speed a grace of 2 s stands for 24 s, a decision every half second for
// one every 6 s, and the seconds in which a killed broker comes back for a minute. The
// flap budget is off: it would end the soak after a few jumps of each service.
//
// Take-backs are counted twice: by the ledger, and by a watch of the API, for which a
// take-back is a job that is suspended. Package judge holds both against the rules. That an
// online pod waited, which overrides the budget, counts only where the watch saw one that
// asks for units of the same flavor. Package audit judges the laws.
package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/ebbtide/ebbtide/e2e/audit"
	"github.com/ebbtide/ebbtide/e2e/soak/judge"
	"github.com/ebbtide/ebbtide/e2e/trainer"
)

// Config says how long and how hard the soak is. All times but MaxGrace are those of the
// services, Speed times as long as they really take.
type Config struct {
	// Nodes with 8 GPUs each; half of them of another flavor.
	Nodes int
	// Length of the soak, and how much faster than that it runs.
	Length time.Duration
	Speed  float64
	// Budget of evictions in each Window.
	Budget int
	Window time.Duration
	// MinimumLoan, Cooldown and Dwell of the policy.
	MinimumLoan, Cooldown, Dwell time.Duration
	// MaxGrace of the services, in real time.
	MaxGrace time.Duration
	// Seed fixes what is drawn.
	Seed uint64
	// Unguarded starts the broker without an eviction budget, a minimum loan and a cooldown,
	// and judges it as if it had them: the check must then fail.
	Unguarded bool
	// Dir keeps the lab's folder; empty: a temporary one.
	Dir string
	// Out gets the summary, Log the progress.
	Out, Log io.Writer
}

// Default is the soak of `make soak`.
func Default() Config {
	return Config{
		Nodes: 20, Length: time.Hour, Speed: 12, Budget: 4, Window: time.Hour,
		MinimumLoan: 5 * time.Minute, Cooldown: 5 * time.Minute, Dwell: time.Minute,
		MaxGrace: 2 * time.Second, Seed: 1,
	}
}

// Validate returns all that is wrong with the configuration, or nil.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	check(c.Nodes >= 8 && c.Nodes <= 200 && c.Nodes%2 == 0, "--nodes is %d, must be an even number from 8 to 200", c.Nodes)
	check(c.Length >= time.Minute && c.Length <= 24*time.Hour, "--length is %s, must be 1m to 24h", c.Length)
	check(c.Speed >= 1 && c.Speed <= 60, "--speed is %v, must be 1 to 60: what the programs need would be out of all proportion", c.Speed)
	check(c.Budget >= 1 && c.Budget <= 100, "--budget is %d, must be 1 to 100", c.Budget)
	check(c.Window >= time.Minute, "--window is %s, must be at least 1m", c.Window)
	check(c.MinimumLoan > 0 && c.Cooldown > 0 && c.Dwell > 0, "minimum loan, cooldown and dwell must be above 0")
	check(c.MaxGrace >= time.Second && c.MaxGrace <= time.Minute, "--max-grace is %s, must be 1s to 1m", c.MaxGrace)
	return errors.Join(errs...)
}

// real is how long a duration of the soak lasts.
func (c Config) real(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.Speed).Round(time.Millisecond)
}

// rules are what is held against what happened, in real time.
func (c Config) rules() judge.Rules {
	return judge.Rules{
		Budget: c.Budget, Window: c.real(c.Window), Minimum: c.real(c.MinimumLoan), Cooldown: c.real(c.Cooldown), Slack: time.Second,
	}
}

const (
	// setupLimit is how long everything may take before the soak begins, and drainLimit
	// until nothing is left of it.
	setupLimit = 5 * time.Minute
	drainLimit = time.Minute
	// slack is what an online pod may wait beyond the grace, for a decision, a scheduling
	// cycle, and what the scheduler does alone while no broker runs.
	slack = 5 * time.Second
	// The auditor allows for a scheduler that is away; the witness knows when it was.
	away = 10 * time.Second
	hold = time.Second
)

// soak is one in progress.
type soak struct {
	config  Config
	dial    *dial
	town    *town
	tide    *tide
	witness *witness
	auditor *audit.Auditor
	seen    audit.Report // in the end
	trainer *trainer.Trainer
	feed    *feed
	kills   kills
	left    int // of what should have ended
}

// Run plays the adversary and writes what came of it. It fails if a promise was broken.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	s := &soak{config: c}
	var err error
	if s.dial, err = newDial(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.dial.serve(ctx) })
	group.Go(func() error {
		defer cancel()
		return s.perform(ctx)
	})
	return group.Wait()
}

// perform sets everything up, plays, and settles.
func (s *soak) perform(ctx context.Context) (err error) {
	c := s.config
	fmt.Fprintf(c.Log, "soak: %d nodes, %s in %s, seed %d; grace %s (%s of the soak), budget %d in %s\n",
		c.Nodes, c.Length, c.real(c.Length), c.Seed, c.MaxGrace, time.Duration(float64(c.MaxGrace)*c.Speed), c.Budget, c.Window)
	setup, cancel := context.WithTimeoutCause(ctx, setupLimit, errors.New("the soak did not get ready in time"))
	defer cancel()
	s.town, err = newTown(setup, c, s.dial)
	if s.town != nil {
		defer func() { err = errors.Join(err, s.town.Stop()) }()
	}
	if err == nil {
		err = s.play(ctx, setup)
	}
	if err == nil {
		err = s.settle()
	}
	if err != nil && s.town != nil {
		s.town.Keep()
	}
	return err
}

// play runs the players until the soak is over and nothing is left of it.
func (s *soak) play(ctx, setup context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	players, ctx := errgroup.WithContext(ctx)
	end := func() error { cancel(); return players.Wait() }

	s.trainer = trainer.New(s.town.Client(), logr.Discard())
	players.Go(func() error { return s.trainer.Run(ctx) })
	s.tide = newTide(s.config)
	s.witness = newWitness(s.tide)
	stopWitness, err := s.witness.start(ctx, s.town.Client(), s.town.Dynamic())
	if err != nil {
		return errors.Join(err, end())
	}
	defer stopWitness()
	auditor, stopAuditor, err := audit.Start(ctx, s.town.Client(), s.town.Dynamic(), audit.Options{
		Resource: resourceGPU, MaxGrace: s.config.MaxGrace, Slack: slack + away, Settle: slack + away, Hold: hold,
	})
	if err != nil {
		return errors.Join(err, end())
	}
	defer stopAuditor()
	s.auditor = auditor
	if err := s.town.open(setup); err != nil {
		return errors.Join(err, end())
	}
	s.tide.begin(time.Now())
	s.feed = newFeed(s.config, s.town)
	adversary, stop := context.WithTimeout(ctx, s.config.real(s.config.Length))
	defer stop()
	s.perturb(adversary, players)
	select {
	case <-adversary.Done():
	case <-s.town.Failed():
		return errors.Join(s.town.Err(), end())
	}
	if ctx.Err() != nil { // half a soak proves nothing
		return errors.Join(fmt.Errorf("the soak was interrupted: %w", context.Cause(ctx)), end())
	}
	if err = s.drain(ctx); err == nil {
		s.seen, err = s.auditor.Final(ctx)
	}
	return errors.Join(err, end())
}
