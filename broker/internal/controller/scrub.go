package controller

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// scrubEvery is how often a leader looks through all of its ledger.
const scrubEvery = time.Hour

const reasonLedgerDamaged = "LedgerDamaged"

// scrub looks through the ledger while it is used: a disk forgets in places that nobody
// reads.
type scrub struct {
	book interface {
		Verify() (*ledger.Report, error)
	}
	namespace string
	clock     clock.WithTicker
	events    events.EventRecorder
	log       logr.Logger
	shown     *scrubMetrics

	wrong atomic.Pointer[error]
}

// mayLend says why nothing new may be lent: damage was found. It stays so until the broker
// starts again, which looks at everything.
func (s *scrub) mayLend() error {
	if err := s.wrong.Load(); err != nil {
		return *err
	}
	return nil
}

// run looks once every hour until ctx ends.
func (s *scrub) run(ctx context.Context) {
	ticks := s.clock.NewTicker(scrubEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C():
			s.look(ctx)
		}
	}
}

func (s *scrub) look(ctx context.Context) {
	began := s.clock.Now()
	report, err := s.book.Verify()
	if ctx.Err() != nil {
		return // the ledger may have been closed
	}
	faults := 1
	if err == nil {
		err, faults = report.Err(), report.FaultCount
	}
	s.shown.checked.Set(float64(s.clock.Now().Unix()))
	if err == nil {
		s.log.V(1).Info("The ledger is sound", "entries", report.Entries, "head", report.HeadSeq, "duration", s.clock.Since(began).String())
		if s.mayLend() == nil {
			s.shown.faults.Set(0)
		}
		return
	}
	s.shown.faults.Set(float64(faults))
	err = fmt.Errorf("the ledger was looked through, and is not sound: %w. Nothing new is lent until the broker has started with a sound one", err)
	s.wrong.Store(&err)
	s.log.Error(err, "Nothing new is lent")
	about := &coordinationv1.Lease{
		TypeMeta:   metav1.TypeMeta{APIVersion: coordinationv1.SchemeGroupVersion.String(), Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: published.LeaseName},
	}
	text := "Stopped lending: " + err.Error()
	s.events.Eventf(about, nil, corev1.EventTypeWarning, reasonLedgerDamaged, "Scrub", "%s", text[:min(len(text), 1024)])
}

// scrubbed has nothing new lent once the ledger was found damaged. What it returns waits
// until it is looked at no more.
func (b *broker) scrubbed(ctx context.Context, actuator *actuate.Actuator, book actuate.Ledger) (stop func()) {
	verified, is := book.(interface {
		Verify() (*ledger.Report, error)
	})
	if !is {
		return func() {}
	}
	s := &scrub{
		book: verified, namespace: b.namespace, clock: b.clock, events: b.mgr.GetEventRecorder("ebbtide-broker"),
		log: b.mgr.GetLogger().WithName("ledger"), shown: b.metrics.scrub,
	}
	actuator.MayLend = both(actuator.MayLend, s.mayLend)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// both says no if one of two does; the first may be nil.
func both(one, other func() error) func() error {
	return func() error {
		if one != nil {
			if err := one(); err != nil {
				return err
			}
		}
		return other()
	}
}

// scrubMetrics show what was found.
type scrubMetrics struct{ faults, checked prometheus.Gauge }

func newScrubMetrics(registry prometheus.Registerer) *scrubMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: "ledger", Name: name, Help: help})
	}
	m := &scrubMetrics{
		faults:  gauge("faults", "Faults that were found when all of the ledger was looked through. Nothing new is lent unless it is 0."),
		checked: gauge("checked_timestamp_seconds", "When all of the ledger was looked through last while it was used; 0: not since the start, when it was found sound."),
	}
	registry.MustRegister(m.faults, m.checked)
	return m
}
