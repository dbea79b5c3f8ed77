package demo

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ebbtide/ebbtide/e2e/audit"
	"github.com/ebbtide/ebbtide/e2e/demo/picture"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
)

// slack is what the programs may need beyond a grace.
const slack = 2 * time.Second

// show is one replay in progress.
type show struct {
	*stage.Play
	config  Config
	feed    *feed
	auditor *audit.Auditor
	screen  *screen

	samples   []picture.Sample
	reclaimed int
	demand    demand
	report    audit.Report
}

// Run replays the day and writes what came of it. With Check, it fails if a law
// was broken or a target missed.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	play, err := stage.NewPlay(c.Config, model(), int64(c.Nodes))
	if err != nil {
		return err
	}
	c.introduce()
	return play.Run(ctx, &show{Play: play, config: c, screen: newScreen(c)})
}

// Raise starts the lab, the tenants and the service.
func (s *show) Raise(ctx context.Context, targetsURL string) (*stage.Town, error) {
	return newTown(ctx, s.config, targetsURL)
}

// Ready brings the service to its first number of replicas, fills the queue and begins to
// watch.
func (s *show) Ready(ctx, setup context.Context, players *errgroup.Group) (stop func(), err error) {
	if s.feed, err = newFeed(s.config, s.Town, s.Jobs); err != nil {
		return nil, err
	}
	if err := s.Open(setup); err != nil {
		return nil, err
	}
	if stop, err = s.Jobs.Watch(ctx, s.Town.Client()); err != nil {
		return nil, err
	}
	if err := stage.Fill(setup, s.feed.fill); err != nil {
		return stop, err
	}
	auditor, stopAuditor, err := audit.Start(ctx, s.Town.Client(), s.Town.Dynamic(), audit.Options{
		Resource: resourceGPU, MaxGrace: s.config.MaxGrace, Slack: slack, Settle: stage.Settle, Hold: stage.Hold,
	})
	if err != nil {
		return stop, err
	}
	s.auditor = auditor
	players.Go(func() error { return stage.KeepFilled(ctx, s.feed.fill) })
	stopWatch := stop
	return func() { stopAuditor(); stopWatch() }, nil
}

// Look takes a sample, and shows it.
func (s *show) Look(real time.Time, now time.Duration, replicas int64) {
	s.watchDemand(real, now)
	sample := s.sample(now)
	s.samples = append(s.samples, sample)
	s.screen.show(s, sample, replicas)
}

// sample takes the state for the picture.
func (s *show) sample(now time.Duration) picture.Sample {
	usage, report := s.auditor.Usage(), s.auditor.Report()
	sample := picture.Sample{
		At: now, Load: s.Load(int64(s.config.Nodes)),
		Online: usage.Online, Lent: usage.Bound, Reclaims: report.Reclaimed - s.reclaimed,
	}
	s.reclaimed = report.Reclaimed
	return sample
}

// watchDemand compares what waits with what is lendable and not lent.
func (s *show) watchDemand(real time.Time, now time.Duration) {
	lendable := s.Day.Lendable(now, s.config.Notice())*gpusPerNode - s.auditor.Usage().Lent
	s.demand.look(real, s.Jobs.Waiting(units), lendable)
}

// Finish takes what the auditor has seen.
func (s *show) Finish(context.Context) error {
	s.screen.done()
	s.report = s.auditor.Report()
	return nil
}
