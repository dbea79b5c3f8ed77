package ebbtide

import (
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const subsystem = "ebbtide_scheduler"

var (
	takeBacksTotal = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      subsystem,
		Name:           "takebacks_total",
		Help:           "Loans that the scheduler took back by itself for an online pod.",
		StabilityLevel: metrics.ALPHA,
	})
	evictedPodsTotal = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      subsystem,
		Name:           "evicted_pods_total",
		Help:           "Pods of loans that the scheduler told to stop.",
		StabilityLevel: metrics.ALPHA,
	})
	gangTimeoutsTotal = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      subsystem,
		Name:           "gang_timeouts_total",
		Help:           "Gangs that gave their places up because not all of their pods could be placed in time.",
		StabilityLevel: metrics.ALPHA,
	})
)

func init() {
	legacyregistry.MustRegister(takeBacksTotal, evictedPodsTotal, gangTimeoutsTotal)
}
