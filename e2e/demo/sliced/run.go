package sliced

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ebbtide/ebbtide/e2e/audit"
	"github.com/ebbtide/ebbtide/e2e/demo/picture"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

const (
	// shown is how often the driver says where it is.
	shown = 10 * time.Second
	// slack is what the programs may need beyond a grace.
	slack = 3 * time.Second
)

// show is one replay in progress.
type show struct {
	*stage.Play
	config Config
	feed   *feed
	// auditors judge each size of slices.
	auditors [2]*audit.Auditor
	witness  *witness
	trouble  *trouble

	samples   []picture.Sample
	reclaimed int
	said      time.Time
	reports   [2]audit.Report
	writes    []simgpu.Write
	// misshapen are the cards that have not their layout, in words.
	misshapen []string
}

// Run replays the night and writes what came of it. With Check, it fails if a law was
// broken or a target missed.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	play, err := stage.NewPlay(c.Config, model(), c.slices())
	if err != nil {
		return err
	}
	c.introduce()
	return play.Run(ctx, &show{Play: play, config: c, witness: newWitness()})
}

// Raise starts the lab, the tenants and the service.
func (s *show) Raise(ctx context.Context, targetsURL string) (*stage.Town, error) {
	return newTown(ctx, s.config, targetsURL)
}

// Ready waits until the pins are known, brings the service to its first number of replicas,
// fills the queues and begins to watch, and to make trouble.
func (s *show) Ready(ctx, setup context.Context, players *errgroup.Group) (stop func(), err error) {
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
	if s.feed, err = newFeed(s.config, s.Town, s.Jobs); err != nil {
		return stop, err
	}
	if err := began(s.witness.watch(ctx, s.Town.Dynamic())); err != nil {
		return stop, err
	}
	if err := s.awaitPins(setup); err != nil {
		return stop, err
	}
	if err := s.Open(setup); err != nil {
		return stop, err
	}
	if err := began(s.Jobs.Watch(ctx, s.Town.Client())); err != nil {
		return stop, err
	}
	for i, b := range sizes {
		auditor, end, err := audit.Start(ctx, s.Town.Client(), s.Town.Dynamic(), audit.Options{
			Resource: string(b.resource), Flavor: b.flavor, Others: b == large, MaxGrace: s.config.MaxGrace, Slack: slack, Settle: stage.Settle, Hold: stage.Hold,
		})
		if err := began(end, err); err != nil {
			return stop, err
		}
		s.auditors[i] = auditor
	}
	if err := stage.Fill(setup, s.feed.fill); err != nil {
		return stop, err
	}
	players.Go(func() error { return stage.KeepFilled(ctx, s.feed.fill) })
	s.trouble = newTrouble(s.Town, s.witness)
	players.Go(func() error { return s.trouble.run(ctx) })
	return stop, nil
}

// awaitPins waits until the pinned slices of all cards are known.
func (s *show) awaitPins(ctx context.Context) error {
	t := time.NewTicker(stage.Frame)
	defer t.Stop()
	for !s.witness.allPinned(int(s.config.cards()), pinnedPerCard) {
		select {
		case <-t.C:
		case <-s.Town.Failed():
			return s.Town.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for the pinned slices of %d cards: %w", s.config.cards(), context.Cause(ctx))
		}
	}
	return nil
}

// Look takes a sample, and says now and then where the night is.
func (s *show) Look(real time.Time, now time.Duration, replicas int64) {
	sample := s.sample(now)
	s.samples = append(s.samples, sample)
	if real.Sub(s.said) >= shown {
		s.said = real
		s.say(sample, replicas)
	}
}

// sample takes the state for the picture, in slices of one.
func (s *show) sample(now time.Duration) picture.Sample {
	sample := picture.Sample{At: now, Load: s.Load(s.config.slices())}
	taken := 0
	for i, b := range sizes {
		usage := s.auditors[i].Usage()
		sample.Online += usage.Online * b.compute
		sample.Lent += usage.Bound * b.compute
		taken += s.auditors[i].Report().Reclaimed
	}
	sample.Reclaims, s.reclaimed = taken-s.reclaimed, taken
	return sample
}

func (s *show) say(sample picture.Sample, replicas int64) {
	small, large, jobs := s.auditors[0].Usage(), s.auditors[1].Usage(), s.Jobs.Counts()
	line := fmt.Sprintf("%s load %3.0f%% replicas %3d/%-3d lent %3d×1g %2d×4g, %2d cards reshaped, jobs %3d wait, %3d done",
		stage.ClockTime(sample.At), sample.Load*100, small.Online, replicas, small.Bound, large.Bound, s.witness.inForce(), jobs.Waiting, jobs.Finished)
	if n := len(s.auditors[0].Report().Violations) + len(s.auditors[1].Report().Violations); n > 0 {
		line += fmt.Sprintf(", %d VIOLATIONS", n)
	}
	fmt.Fprintln(s.config.Log, line)
}

// Finish takes what the auditors have seen, lets the cards come to the end of what is being
// made and undone, and reads what was written to them.
func (s *show) Finish(ctx context.Context) error {
	for i, auditor := range s.auditors {
		s.reports[i] = auditor.Report()
	}
	if err := s.awaitLayouts(ctx); err != nil {
		return err
	}
	for _, node := range s.config.nodes() {
		cards, err := s.Town.Cards(node)
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
	t := time.NewTicker(stage.Frame)
	defer t.Stop()
	late := time.After(s.config.MaxGrace + slack + stage.Settle)
	for {
		gpus, err := s.gpus(ctx)
		if err != nil {
			return err
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

// gpus reads the cards of all nodes.
func (s *show) gpus(ctx context.Context) ([]device.GPU, error) {
	var gpus []device.GPU
	for _, node := range s.config.nodes() {
		cards, err := s.Town.Cards(node)
		if err != nil {
			return nil, err
		}
		read, err := cards.Read(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the cards of %s: %w", node, err)
		}
		gpus = append(gpus, read...)
	}
	return gpus, nil
}
