package soak

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// tick is how often loads and replicas follow the tide.
const tick = 200 * time.Millisecond

// kills counts what was done to the programs, and knows when no scheduler ran.
type kills struct {
	mu                  sync.Mutex
	brokers, schedulers int
	absences            int // of services
	schedulerAway       []span
}

// span is a time, open while to is zero.
type span struct{ from, to time.Time }

// overlap is how much of both there is.
func (s span) overlap(from, to time.Time) time.Duration {
	end := to
	if !s.to.IsZero() && s.to.Before(to) {
		end = s.to
	}
	if s.from.After(from) {
		from = s.from
	}
	return max(end.Sub(from), 0)
}

// perturb starts all that disturbs, until ctx ends.
func (s *soak) perturb(ctx context.Context, players *errgroup.Group) {
	away := make([]bool, len(services))
	var mu sync.Mutex
	set := func(i int, is bool) {
		mu.Lock()
		defer mu.Unlock()
		away[i] = is
	}
	players.Go(func() error { return s.feed.run(ctx) })
	players.Go(func() error {
		return s.follow(ctx, func(i int) bool {
			mu.Lock()
			defer mu.Unlock()
			return !away[i]
		})
	})
	moves := s.config.script()
	// One goroutine for each act: they overlap, but nothing is killed twice at once.
	for _, which := range []act{actSurge, actLeave, actKillBroker, actKillScheduler} {
		players.Go(func() error {
			for _, m := range moves {
				if m.act != which {
					continue
				}
				if !s.await(ctx, m.at) {
					return nil
				}
				if err := s.do(ctx, m, set); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// await waits for a time of the soak; false: ctx has ended before.
func (s *soak) await(ctx context.Context, at time.Duration) bool {
	s.tide.mu.Lock()
	due := s.tide.start.Add(s.config.real(at))
	s.tide.mu.Unlock()
	return pause(ctx, time.Until(due))
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// do carries out one move. What it takes away it brings back, even when the soak has
// ended meanwhile.
func (s *soak) do(ctx context.Context, m move, away func(i int, is bool)) error {
	always := context.WithoutCancel(ctx)
	switch m.act {
	case actSurge:
		s.tide.rise(m.service, m.surge)
	case actLeave:
		away(m.service, true)
		if err := s.town.leave(always, m.service, m.length%2 == 0); err != nil {
			return err
		}
		pause(ctx, s.config.real(m.length))
		if err := s.returns(always, m.service); err != nil {
			return err
		}
		away(m.service, false)
		s.kills.mu.Lock()
		s.kills.absences++
		s.kills.mu.Unlock()
	case actKillBroker:
		return s.restart(ctx, lab.Broker, m.length)
	case actKillScheduler:
		return s.restart(ctx, lab.Scheduler, m.length)
	}
	return nil
}

// returns makes a service again once what it was is gone.
func (s *soak) returns(ctx context.Context, i int) error {
	limit, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	for {
		name := services[i].name
		policy := &v1alpha1.LendingPolicy{}
		err := s.town.api.Get(limit, client.ObjectKey{Namespace: name, Name: name}, policy)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("wait until policy %s is gone: %w", name, err)
		}
		if err != nil {
			return s.town.enter(limit, i)
		}
		pause(limit, tick)
	}
}

// restart kills a program, and starts it again after a while.
func (s *soak) restart(ctx context.Context, name string, length time.Duration) error {
	part := s.town.Part(name)
	killed := time.Now()
	if err := part.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	s.kills.mu.Lock()
	if name == lab.Scheduler {
		s.kills.schedulers++
		s.kills.schedulerAway = append(s.kills.schedulerAway, span{from: killed})
	} else {
		s.kills.brokers++
	}
	s.kills.mu.Unlock()
	pause(ctx, s.config.real(length))
	if err := part.Start(); err != nil {
		return fmt.Errorf("start %s again: %w", name, err)
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
	defer cancel()
	if err := part.WaitReady(limit); err != nil {
		return fmt.Errorf("wait for %s: %w", name, err)
	}
	if name == lab.Scheduler {
		s.kills.mu.Lock()
		s.kills.schedulerAway[len(s.kills.schedulerAway)-1].to = time.Now()
		s.kills.mu.Unlock()
	}
	return nil
}

// follow gives each service the load of the moment, and the replicas that its
// autoscaler wants, until ctx ends.
func (s *soak) follow(ctx context.Context, present func(i int) bool) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	last := make([]int64, len(services))
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			for i, service := range services {
				share, replicas := s.tide.load(i, now)
				s.dial.set(service.name, share*float64(service.replicas(s.config)*slots))
				if !present(i) {
					last[i] = 0
					continue
				}
				if replicas == last[i] {
					continue
				}
				if err := s.town.scale(ctx, i, replicas); err != nil {
					return ended(ctx, err)
				}
				last[i] = replicas
			}
		}
	}
}

// drain ends the soak: usual loads, no jobs, and a wait until nothing is left of them.
func (s *soak) drain(ctx context.Context) error {
	s.tide.end()
	for i, service := range services {
		s.dial.set(service.name, service.usual*float64(service.replicas(s.config)*slots))
		if err := s.town.scale(ctx, i, 1); err != nil {
			return err
		}
	}
	limit, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	for {
		// Again each time: one that was being submitted may come a little later.
		if err := s.deleteJobs(ctx); err != nil {
			return err
		}
		left, err := s.leftovers(limit)
		if err == nil && left == 0 {
			return nil
		}
		if limit.Err() != nil {
			s.left = max(left, 1) // and the account says so
			return ctx.Err()
		}
		pause(limit, tick)
	}
}

// deleteJobs deletes those that there are.
func (s *soak) deleteJobs(ctx context.Context) error {
	for _, team := range borrowers {
		err := s.town.Client().BatchV1().Jobs(team).DeleteCollection(ctx,
			metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("delete the jobs of %s: %w", team, err)
		}
	}
	return nil
}

// leftovers counts Loans, jobs and their pods.
func (s *soak) leftovers(ctx context.Context) (int, error) {
	var loans v1alpha1.LoanList
	if err := s.town.api.List(ctx, &loans); err != nil {
		return 0, fmt.Errorf("list the loans: %w", err)
	}
	n := len(loans.Items)
	for _, team := range borrowers {
		jobs, err := s.town.Client().BatchV1().Jobs(team).List(ctx, metav1.ListOptions{})
		if err != nil {
			return n, fmt.Errorf("list the jobs of %s: %w", team, err)
		}
		pods, err := s.town.Client().CoreV1().Pods(team).List(ctx, metav1.ListOptions{})
		if err != nil {
			return n, fmt.Errorf("list the pods of %s: %w", team, err)
		}
		n += len(jobs.Items) + len(pods.Items)
	}
	return n, nil
}
