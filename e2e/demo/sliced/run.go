package sliced

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
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

const (
	// frame is how often the driver looks at the curve and takes a sample, shown how often
	// it says where it is.
	frame = 200 * time.Millisecond
	shown = 10 * time.Second
	// setupLimit is how long everything may take before the night begins.
	setupLimit = 5 * time.Minute
	// hold is how long the auditor waits to put events in order, slack what the programs
	// may need beyond a grace, settle the time for two of them to agree.
	hold   = 700 * time.Millisecond
	slack  = 3 * time.Second
	settle = 5 * time.Second
	// mondayNoon is where in the Azure week the day begins, noon when it does.
	mondayNoon = 36 * time.Hour
	noon       = 12 * time.Hour
)

// show is one replay in progress.
type show struct {
	config  Config
	day     *day.Day
	town    *town
	fleet   *engine.Fleet
	feed    *feed
	trainer *trainer.Trainer
	// auditors judge each size of slices.
	auditors [2]*audit.Auditor
	witness  *witness
	trouble  *trouble
	clock    virtual.Clock

	samples []picture.Sample
	reports [2]audit.Report
	writes  []simgpu.Write
	// misshapen are the cards that have not their layout, in words.
	misshapen []string
}

// Run replays the night and writes what came of it. With Check, it fails if a law was
// broken or a target missed.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	s := &show{config: c, witness: newWitness()}
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
	if s.day, err = day.New(s.config.slices(), curve, rates, mondayNoon); err != nil {
		return err
	}
	sizes, err := traces.AzureRequests()
	if err != nil {
		return err
	}
	seconds := 0.0
	for _, t := range sizes {
		seconds += model().ServiceSeconds(t.Prompt, t.Output)
	}
	// By Little's law, what fills the target's share of a replica's slots.
	perReplica := s.config.Target * float64(model().Slots) / (seconds / float64(len(sizes)))
	s.fleet, err = engine.NewFleet(model(), sizes, func(at time.Duration) float64 {
		at += s.config.From
		return s.day.Load(at) * s.day.Variation(at) * perReplica
	}, s.config.Seed)
	return err
}

// perform runs the whole show: set up, the night, and the account of it.
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

// stage starts the players, waits for the scene to be set and plays the night.
func (s *show) stage(ctx, setup context.Context, began time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	players, ctx := errgroup.WithContext(ctx)
	end := func() error { cancel(); return players.Wait() }
	s.trainer = trainer.New(s.town.Client(), logr.Discard())
	players.Go(func() error { return s.trainer.Run(ctx) })
	players.Go(func() error { return engine.Follow(ctx, s.town.Client(), servingTeam, serviceSelector, s.fleet) })
	players.Go(func() error { return newKeeper(s.town.Client(), s.witness).run(ctx) })
	stop, err := s.ready(ctx, setup)
	defer stop()
	if err != nil {
		return errors.Join(err, end())
	}
	fmt.Fprintf(s.config.Log, "demo: ready after %s\n", time.Since(began).Round(100*time.Millisecond))
	if s.clock, err = virtual.NewClock(time.Now(), s.config.From, s.config.Speed); err != nil {
		return errors.Join(err, end())
	}
	traffic := s.clock
	traffic.Begin = 0 // the fleet's own time; its traffic adds From
	players.Go(func() error { engine.Play(ctx, s.fleet, traffic); return nil })
	players.Go(func() error { return s.feed.run(ctx) })
	s.trouble = newTrouble(s.town, s.witness)
	players.Go(func() error { return s.trouble.run(ctx) })
	err = s.play(ctx)
	return errors.Join(err, end())
}

// ready brings the service to its first number of replicas, waits until the pins are
// known, fills the queues and begins to watch. What it returns ends what it began, when
// ctx has ended.
func (s *show) ready(ctx, setup context.Context) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, one := range stops {
			one()
		}
	}
	began := func(end func(), err error) error {
		if err == nil {
			stops = append(stops, end)
		}
		return err
	}
	if s.feed, err = newFeed(s.town); err != nil {
		return stop, err
	}
	if err := began(s.witness.watch(ctx, s.town.Dynamic())); err != nil {
		return stop, err
	}
	if err := s.awaitPins(setup); err != nil {
		return stop, err
	}
	replicas := s.day.Replicas(s.config.From)
	if err := s.town.scale(setup, replicas); err != nil {
		return stop, err
	}
	if err := s.town.awaitReady(setup, replicas); err != nil {
		return stop, err
	}
	if err := began(s.feed.watch(ctx, s.town.Client())); err != nil {
		return stop, err
	}
	for i, b := range []size{small, large} {
		auditor, end, err := audit.Start(ctx, s.town.Client(), s.town.Dynamic(), audit.Options{
			Resource: string(b.resource), Flavor: b.flavor, Others: b == large, MaxGrace: s.config.MaxGrace, Slack: slack, Settle: settle, Hold: hold,
		})
		if err := began(end, err); err != nil {
			return stop, err
		}
		s.auditors[i] = auditor
	}
	for {
		enough, err := s.feed.fill(setup)
		if err != nil || enough {
			return stop, err
		}
	}
}

// awaitPins waits until the pinned slices of all cards are known.
func (s *show) awaitPins(ctx context.Context) error {
	t := time.NewTicker(frame)
	defer t.Stop()
	for !s.witness.allPinned(int(s.config.cards()), pinnedPerCard) {
		select {
		case <-t.C:
		case <-s.town.Failed():
			return s.town.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for the pinned slices of %d cards: %w", s.config.cards(), context.Cause(ctx))
		}
	}
	return nil
}

// play follows the curve until the night is over.
func (s *show) play(ctx context.Context) error {
	t := time.NewTicker(frame)
	defer t.Stop()
	replicas, reclaimed := s.day.Replicas(s.config.From), 0
	var said time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.town.Failed():
			return s.town.Err()
		case real := <-t.C:
			now := s.clock.At(real)
			if now >= s.config.To {
				return s.finish(ctx)
			}
			if want := s.day.Replicas(now); want != replicas {
				if err := s.town.scale(ctx, want); err != nil {
					return err
				}
				replicas = want
			}
			sample := s.sample(now, &reclaimed)
			s.samples = append(s.samples, sample)
			if real.Sub(said) >= shown {
				said = real
				s.say(sample, replicas)
			}
		}
	}
}

// sample takes the state for the picture, in slices of one.
func (s *show) sample(now time.Duration, reclaimed *int) picture.Sample {
	totals := s.fleet.Totals()
	slots := float64(s.config.slices() * int64(model().Slots))
	sample := picture.Sample{At: now, Load: float64(totals.InFlight+totals.Waiting) / slots}
	taken := 0
	for i, b := range []size{small, large} {
		usage := s.auditors[i].Usage()
		sample.Online += usage.Online * b.compute
		sample.Lent += usage.Bound * b.compute
		taken += s.auditors[i].Report().Reclaimed
	}
	sample.Reclaims, *reclaimed = taken-*reclaimed, taken
	return sample
}

func (s *show) say(sample picture.Sample, replicas int64) {
	at := (sample.At + noon) % (24 * time.Hour)
	small, large, jobs := s.auditors[0].Usage(), s.auditors[1].Usage(), s.feed.counts()
	line := fmt.Sprintf("%02d:%02d load %3.0f%% replicas %3d/%-3d lent %3d×1g %2d×4g, %2d cards reshaped, jobs %3d wait, %3d done",
		int(at.Hours()), int(at.Minutes())%60, sample.Load*100, small.Online, replicas, small.Bound, large.Bound, s.witness.inForce(), jobs.Waiting, jobs.Finished)
	if n := len(s.auditors[0].Report().Violations) + len(s.auditors[1].Report().Violations); n > 0 {
		line += fmt.Sprintf(", %d VIOLATIONS", n)
	}
	fmt.Fprintln(s.config.Log, line)
}

// finish lets the auditors catch up with the last events, and the cards come to the end of
// what is being made and undone, and reads what was written to them.
func (s *show) finish(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(hold + frame):
	}
	for i, auditor := range s.auditors {
		s.reports[i] = auditor.Report()
	}
	if err := s.awaitLayouts(ctx); err != nil {
		return err
	}
	for _, node := range s.town.nodes {
		cards, err := s.town.Cards(node)
		if err != nil {
			return err
		}
		writes, err := cards.Writes()
		if err != nil {
			return err
		}
		s.writes = append(s.writes, writes...)
	}
	return nil
}

// awaitLayouts waits until each card has the layout that it should have, and notes which
// have not after the time that an undo may take.
func (s *show) awaitLayouts(ctx context.Context) error {
	t := time.NewTicker(frame)
	defer t.Stop()
	late := time.After(s.config.MaxGrace + slack + settle)
	for {
		var gpus []device.GPU
		for _, node := range s.town.nodes {
			cards, err := s.town.Cards(node)
			if err != nil {
				return err
			}
			read, err := cards.Read(ctx)
			if err != nil {
				return fmt.Errorf("read the cards of %s: %w", node, err)
			}
			gpus = append(gpus, read...)
		}
		s.misshapen = s.witness.misshapen(gpus)
		if n := int(s.config.cards()); len(gpus) != n {
			s.misshapen = append(s.misshapen, fmt.Sprintf("there are %d cards, not %d", len(gpus), n))
		}
		if len(s.misshapen) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			return nil
		case <-t.C:
		}
	}
}
