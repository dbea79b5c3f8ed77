package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/ebbtide/ebbtide/e2e/demo/day"
	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/traces"
	"github.com/ebbtide/ebbtide/e2e/trainer"
	"github.com/ebbtide/ebbtide/e2e/virtual"
)

// setupLimit is how long everything may take before the day begins.
const setupLimit = 5 * time.Minute

// Show is what is different from demo to demo.
type Show interface {
	// Raise starts the town.
	Raise(ctx context.Context, targetsURL string) (*Town, error)
	// Ready sets the scene. It may start players that act until ctx ends; what it returns
	// waits for the end of what it began itself, also with an error.
	Ready(ctx, setup context.Context, players *errgroup.Group) (stop func(), err error)
	// Look is called at each frame, with the replicas that the service has now.
	Look(real time.Time, now time.Duration, replicas int64)
	// Finish is called when the day is over, while all players still act.
	Finish(ctx context.Context) error
	// Account returns what came of it, when all players have ended.
	Account() (Told, error)
}

// Told is the account of a replay: how it is written, and the targets that were missed.
type Told interface {
	Write(out io.Writer)
	Missed() []error
}

// Play is one replay.
type Play struct {
	Config  Config
	Day     *day.Day
	Fleet   *engine.Fleet
	Trainer *trainer.Trainer
	Town    *Town
	Jobs    *Jobs
	clock   virtual.Clock
	model   engine.Model
}

// NewPlay reads the traces for a service of so many replicas at its peak.
func NewPlay(c Config, model engine.Model, replicas int64) (*Play, error) {
	curve, err := traces.DeepSeekDay()
	if err != nil {
		return nil, err
	}
	rates, err := traces.AzureWeek("conv")
	if err != nil {
		return nil, err
	}
	sizes, err := traces.AzureRequests()
	if err != nil {
		return nil, err
	}
	p := &Play{Config: c, Jobs: NewJobs(), model: model}
	if p.Day, err = day.New(replicas, curve, rates, mondayNoon); err != nil {
		return nil, err
	}
	perReplica := requestRate(model, sizes, c.Target)
	p.Fleet, err = engine.NewFleet(model, sizes, func(at time.Duration) float64 {
		at += c.From
		return p.Day.Load(at) * p.Day.Variation(at) * perReplica
	}, c.Seed)
	return p, err
}

// requestRate is the number of requests per second that fill a share of a
// replica's slots, by Little's law.
func requestRate(m engine.Model, sizes []traces.Tokens, share float64) float64 {
	seconds := 0.0
	for _, t := range sizes {
		seconds += m.ServiceSeconds(t.Prompt, t.Output)
	}
	return share * float64(m.Slots) / (seconds / float64(len(sizes)))
}

// Run replays the show and writes what came of it. With Check, it fails if a target was
// missed.
func (p *Play) Run(ctx context.Context, s Show) error {
	server, err := engine.NewServer()
	if err != nil {
		return err
	}
	server.Add(p.Fleet)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(groupCtx) })
	group.Go(func() error {
		defer cancel()
		return p.perform(groupCtx, s, server.TargetsURL())
	})
	return group.Wait()
}

// perform runs the whole show: set up, the day, and the account of it.
func (p *Play) perform(ctx context.Context, s Show, targetsURL string) (err error) {
	began := time.Now()
	setup, cancelSetup := context.WithTimeoutCause(ctx, setupLimit, errors.New("the demo did not get ready in time"))
	defer cancelSetup()
	p.Town, err = s.Raise(setup, targetsURL)
	if p.Town != nil {
		defer func() { err = errors.Join(err, p.Town.Stop()) }()
	}
	if err == nil {
		err = p.stage(ctx, setup, s, began)
	}
	if err != nil {
		if p.Town != nil {
			p.Town.Keep()
		}
		return err
	}
	told, err := s.Account()
	if err != nil {
		p.Town.Keep()
		return err
	}
	told.Write(p.Config.Out)
	if missed := told.Missed(); p.Config.Check && len(missed) > 0 {
		p.Town.Keep()
		return fmt.Errorf("check: %w", errors.Join(missed...))
	}
	return nil
}

// stage starts the players, waits for the scene to be set and plays the day.
func (p *Play) stage(ctx, setup context.Context, s Show, began time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	players, ctx := errgroup.WithContext(ctx)
	end := func() error { cancel(); return players.Wait() }

	p.Trainer = trainer.New(p.Town.Client(), logr.Discard())
	players.Go(func() error { return p.Trainer.Run(ctx) })
	players.Go(func() error { return engine.Follow(ctx, p.Town.Client(), ServingTeam, ServiceSelector, p.Fleet) })
	stop, err := s.Ready(ctx, setup, players)
	if stop != nil {
		defer stop()
	}
	if err != nil {
		return errors.Join(err, end())
	}
	fmt.Fprintf(p.Config.Log, "demo: ready after %s\n", time.Since(began).Round(100*time.Millisecond))

	if p.clock, err = virtual.NewClock(time.Now(), p.Config.From, p.Config.Speed); err != nil {
		return errors.Join(err, end())
	}
	traffic := p.clock
	traffic.Begin = 0 // the fleet's own time; its traffic adds From
	players.Go(func() error { engine.Play(ctx, p.Fleet, traffic); return nil })
	return errors.Join(p.play(ctx, s), end())
}

// Open brings the service to its first number of replicas.
func (p *Play) Open(ctx context.Context) error {
	replicas := p.Day.Replicas(p.Config.From)
	if err := p.Town.Scale(ctx, replicas); err != nil {
		return err
	}
	return p.Town.AwaitReady(ctx, replicas)
}

// play follows the curve until the day is over, and lets the auditors catch up with its
// last events.
func (p *Play) play(ctx context.Context, s Show) error {
	t := time.NewTicker(Frame)
	defer t.Stop()
	replicas := p.Day.Replicas(p.Config.From)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.Town.Failed():
			return p.Town.Err()
		case real := <-t.C:
			now := p.clock.At(real)
			if now >= p.Config.To {
				if err := p.catchUp(ctx); err != nil {
					return err
				}
				return s.Finish(ctx)
			}
			if want := p.Day.Replicas(now); want != replicas {
				if err := p.Town.Scale(ctx, want); err != nil {
					return err
				}
				replicas = want
			}
			s.Look(real, now, replicas)
		}
	}
}

func (p *Play) catchUp(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(Hold + Frame):
		return nil
	}
}

// Load is how full all replicas' slots are that the service can have.
func (p *Play) Load(replicas int64) float64 {
	totals := p.Fleet.Totals()
	return float64(totals.InFlight+totals.Waiting) / float64(replicas*int64(p.model.Slots))
}
