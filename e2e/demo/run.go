package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/ebbtide/ebbtide/e2e/audit"
	"github.com/ebbtide/ebbtide/e2e/demo/day"
	"github.com/ebbtide/ebbtide/e2e/demo/picture"
	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/traces"
	"github.com/ebbtide/ebbtide/e2e/trainer"
	"github.com/ebbtide/ebbtide/e2e/virtual"
)

const (
	// frame is how often the driver looks at the curve and takes a sample.
	frame = 200 * time.Millisecond
	// setupLimit is how long everything may take before the day begins.
	setupLimit = 5 * time.Minute
	// hold is how long the auditor waits to put events in order, slack what the
	// programs may need beyond a grace, settle the time for two of them to agree.
	hold   = 700 * time.Millisecond
	slack  = 2 * time.Second
	settle = 5 * time.Second
	// mondayNoon is where in the Azure week the day begins.
	mondayNoon = 36 * time.Hour
)

// show is one replay in progress.
type show struct {
	config  Config
	day     *day.Day
	town    *town
	fleet   *engine.Fleet
	feed    *feed
	trainer *trainer.Trainer
	auditor *audit.Auditor
	clock   virtual.Clock

	samples []picture.Sample
	demand  demand
	report  audit.Report
}

// Run replays the day and writes what came of it. With Check, it fails if a law
// was broken or a target missed.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	s := &show{config: c}
	if err := s.load(); err != nil {
		return err
	}
	server, err := engine.NewServer()
	if err != nil {
		return err
	}
	server.Add(s.fleet)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(groupCtx) })
	group.Go(func() error {
		defer cancel()
		return s.perform(groupCtx, server.TargetsURL())
	})
	return group.Wait()
}

// load reads the traces.
func (s *show) load() error {
	curve, err := traces.DeepSeekDay()
	if err != nil {
		return err
	}
	rates, err := traces.AzureWeek("conv")
	if err != nil {
		return err
	}
	if s.day, err = day.New(int64(s.config.Nodes), curve, rates, mondayNoon); err != nil {
		return err
	}
	sizes, err := traces.AzureRequests()
	if err != nil {
		return err
	}
	model := engine.DefaultModel("deepseek-r1")
	perReplica := requestRate(model, sizes, s.config.Target)
	s.fleet, err = engine.NewFleet(model, sizes, func(at time.Duration) float64 {
		at += s.config.From
		return s.day.Load(at) * s.day.Variation(at) * perReplica
	}, s.config.Seed)
	return err
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

// perform runs the whole show: set up, the day, and the account of it.
func (s *show) perform(ctx context.Context, targetsURL string) (err error) {
	s.config.introduce()
	began := time.Now()
	setup, cancelSetup := context.WithTimeoutCause(ctx, setupLimit, errors.New("the demo did not get ready in time"))
	defer cancelSetup()
	s.town, err = newTown(setup, s.config, targetsURL)
	if s.town != nil {
		defer func() { err = errors.Join(err, s.town.Stop()) }()
	}
	if err == nil {
		err = s.stage(ctx, setup, began)
	}
	if err != nil && s.town != nil {
		s.town.Keep()
	}
	if err != nil {
		return err
	}
	account, err := s.account()
	if err != nil {
		s.town.Keep()
		return err
	}
	account.write(s.config.Out)
	if missed := account.missed(); s.config.Check && len(missed) > 0 {
		s.town.Keep()
		return fmt.Errorf("check: %w", errors.Join(missed...))
	}
	return nil
}

// stage starts the players, waits for the scene to be set and plays the day.
func (s *show) stage(ctx, setup context.Context, began time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	players, ctx := errgroup.WithContext(ctx)
	end := func() error { cancel(); return players.Wait() }

	s.trainer = trainer.New(s.town.Client(), logr.Discard())
	players.Go(func() error { return s.trainer.Run(ctx) })
	players.Go(func() error { return engine.Follow(ctx, s.town.Client(), servingTeam, serviceSelector, s.fleet) })
	stopFeed, err := s.ready(ctx, setup)
	if err != nil {
		return errors.Join(err, end())
	}
	defer stopFeed()
	auditor, stopAuditor, err := audit.Start(ctx, s.town.Client(), s.town.Dynamic(), audit.Options{
		Resource: resourceGPU, MaxGrace: s.config.MaxGrace, Slack: slack, Settle: settle, Hold: hold,
	})
	if err != nil {
		return errors.Join(err, end())
	}
	defer stopAuditor()
	s.auditor = auditor
	fmt.Fprintf(s.config.Log, "demo: ready after %s\n", time.Since(began).Round(100*time.Millisecond))

	if s.clock, err = virtual.NewClock(time.Now(), s.config.From, s.config.Speed); err != nil {
		return errors.Join(err, end())
	}
	traffic := s.clock
	traffic.Begin = 0 // the fleet's own time; its traffic adds From
	players.Go(func() error { engine.Play(ctx, s.fleet, traffic); return nil })
	players.Go(func() error { return s.feed.run(ctx) })
	err = s.play(ctx)
	return errors.Join(err, end())
}

// ready brings the service to its first number of replicas and fills the queue.
func (s *show) ready(ctx, setup context.Context) (func(), error) {
	var err error
	if s.feed, err = newFeed(s.town); err != nil {
		return nil, err
	}
	replicas := s.day.Replicas(s.config.From)
	if err := s.town.scale(setup, replicas); err != nil {
		return nil, err
	}
	if err := s.town.awaitReady(setup, replicas); err != nil {
		return nil, err
	}
	stop, err := s.feed.watch(ctx, s.town.Client())
	if err != nil {
		return nil, err
	}
	for {
		enough, err := s.feed.fill(setup)
		if err != nil {
			return stop, err
		}
		if enough {
			return stop, nil
		}
	}
}

// play follows the curve until the day is over.
func (s *show) play(ctx context.Context) error {
	t := time.NewTicker(frame)
	defer t.Stop()
	screen := newScreen(s.config)
	replicas, reclaimed := s.day.Replicas(s.config.From), 0
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.town.Failed():
			return s.town.Err()
		case real := <-t.C:
			now := s.clock.At(real)
			if now >= s.config.To {
				screen.done()
				return s.finish(ctx)
			}
			if want := s.day.Replicas(now); want != replicas {
				if err := s.town.scale(ctx, want); err != nil {
					return err
				}
				replicas = want
			}
			s.watchDemand(real, now)
			sample := s.sample(now, &reclaimed)
			s.samples = append(s.samples, sample)
			screen.show(s, sample, replicas)
		}
	}
}

// sample takes the state for the picture.
func (s *show) sample(now time.Duration, reclaimed *int) picture.Sample {
	totals, usage, report := s.fleet.Totals(), s.auditor.Usage(), s.auditor.Report()
	slots := float64(s.config.Nodes * engine.DefaultModel(service).Slots)
	sample := picture.Sample{
		At: now, Load: float64(totals.InFlight+totals.Waiting) / slots,
		Online: usage.Online, Lent: usage.Bound, Reclaims: report.Reclaimed - *reclaimed,
	}
	*reclaimed = report.Reclaimed
	return sample
}

// watchDemand compares what waits with what is lendable and not lent.
func (s *show) watchDemand(real time.Time, now time.Duration) {
	lendable := s.day.Lendable(now, s.config.notice())*gpusPerNode - s.auditor.Usage().Lent
	s.demand.look(real, s.feed.counts().WaitingUnits, lendable)
}

// finish lets the auditor catch up with the last events of the day.
func (s *show) finish(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(hold + frame):
	}
	s.report = s.auditor.Report()
	return nil
}
