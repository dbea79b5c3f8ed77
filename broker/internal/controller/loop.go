package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/extmetrics"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// loop makes one decision after the other. Its fields are set before run.
type loop struct {
	gatherer *gather.Gatherer
	actuator *actuate.Actuator
	ledger   *segments.Set
	outside  *outside
	history  *history.History
	policy   lend.Policy
	clock    clock.WithTicker
	// actTimeout bounds how long one plan may take, from before it is made.
	actTimeout time.Duration
	pace       *pace
	// resources hears what the flavors are made of.
	resources *resources
	board     *Board
	record    *recorder
	metrics   *Metrics
	tide      *tide
	// wanted shows the training demand to others.
	wanted *extmetrics.Board

	decider lend.Decider
	state   lend.State
	// goneBefore is how many objects were remembered after the last forgetting.
	goneBefore int
}

// run decides whenever it is due until ctx ends, or until the process must stop.
func (l *loop) run(ctx context.Context) error {
	garbage := newGarbage()
	for l.pace.wait(ctx) {
		l.pace.begin()
		garbage.begin()
		err := l.decide(ctx)
		if errors.Is(err, actuate.ErrStop) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			logr.FromContextOrDiscard(ctx).Error(err, "The decision was not carried out whole; it is repeated")
		}
		l.pace.end(err)
		garbage.end()
	}
	return nil
}

// decide is one decision.
func (l *loop) decide(ctx context.Context) error {
	began := l.clock.Now()
	log := logr.FromContextOrDiscard(ctx)
	outer := ctx // hooks have time of their own
	ctx, cancel := context.WithTimeout(ctx, l.actTimeout)
	defer cancel()

	// 1. What is the cluster like, and who had what before?
	if err := l.history.Follow(l.ledger); err != nil {
		l.metrics.decisions.WithLabelValues(outcomeBlind).Inc()
		return err
	}
	view, err := l.gatherer.Gather(ctx, began, l.actuator.Epoch)
	if err != nil {
		l.metrics.decisions.WithLabelValues(outcomeBlind).Inc()
		return err
	}
	l.resources.set(view.Resources)
	l.forget(ctx)
	l.checkLaws(log, &view.Snapshot)

	// 2. What is to be done?
	plan, next := l.decider.Decide(view.Snapshot, l.state, l.policy)
	record := lend.Record{Snapshot: view.Snapshot, State: l.state, Policy: l.policy, Plan: plan}
	l.state, l.pace.due = next, view.Snapshot.NextFloor()

	// 3. Show it before it happens, so that a plan that stops the process is on record.
	l.board.setNamespaces(view.Namespaces)
	l.board.show(record, view.Freed, l.history.Returns(view.Snapshot.Now))
	if err := l.record.write(record); err != nil {
		log.Error(err, "The decision is not on record")
	}

	// 4. Do it.
	err = l.actuator.Apply(ctx, view, &plan)
	l.wanted.Publish(view.Snapshot.Now, extmetrics.Demand(&view.Snapshot, &plan))
	if err := l.tide.hooks.Reconcile(outer, view.Policies, &view.Snapshot, &plan); err != nil {
		log.Error(err, "A hook is looked after again with the next decision")
	}

	// 5. Let others know how far the ledger is.
	err = errors.Join(err, l.checkpoint())
	err = errors.Join(err, l.outside.publish(outer, l.actuator.Epoch))

	// 6. Count it.
	outcome := outcomeDone
	if err != nil {
		outcome = outcomeIncomplete
	}
	l.metrics.decisions.WithLabelValues(outcome).Inc()
	l.metrics.seconds.Observe(l.clock.Since(began).Seconds())
	l.metrics.decided(view, &plan)
	l.countLedger()
	log.V(2).Info("Decided", "actions", len(plan.Actions), "jobs", len(view.Snapshot.Jobs), "loans", len(view.Snapshot.Loans),
		"duration", l.clock.Since(began).String())
	return err
}

// mostGone is how many objects that are gone are remembered between pods and their jobs
// before those are forgotten that nothing is below.
const mostGone = 1024

// forget drops them.
func (l *loop) forget(ctx context.Context) {
	gone := l.gatherer.Chains.Gone()
	if gone < mostGone || gone < 2*l.goneBefore {
		return
	}
	var pods corev1.PodList
	if err := l.gatherer.Cache.List(ctx, &pods); err != nil {
		return // another time
	}
	l.gatherer.Chains.Forget(func(yield func(metav1.Object) bool) {
		for i := range pods.Items {
			if !yield(&pods.Items[i]) {
				return
			}
		}
	})
	l.goneBefore = l.gatherer.Chains.Gone() // are above pods that are there
}

// checkpoint has the ledger write one if it is time.
func (l *loop) checkpoint() error {
	if err := l.ledger.Tick(); err != nil {
		return fmt.Errorf("%w: write a checkpoint: %w", actuate.ErrStop, err)
	}
	return nil
}

func (l *loop) countLedger() {
	seq, hash := l.ledger.Head()
	l.metrics.entries.Set(float64(seq))
	var head uint64
	for _, b := range hash[:6] {
		head = head<<8 | uint64(b)
	}
	l.metrics.head.Set(float64(head))
}
