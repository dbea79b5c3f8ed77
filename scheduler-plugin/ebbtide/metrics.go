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
		Help:           "Loans that the scheduler took back by itself.",
		StabilityLevel: metrics.ALPHA,
	})
	evictedPodsTotal = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      subsystem,
		Name:           "evicted_pods_total",
		Help:           "Pods that the scheduler told to stop, of loans and others.",
		StabilityLevel: metrics.ALPHA,
	})
	outrankedPodsTotal = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      subsystem,
		Name:           "outranked_pods_total",
		Help:           "Pods without a loan that had to make way for a pod of their own tenant with a higher priority.",
		StabilityLevel: metrics.ALPHA,
	})
	undosTotal = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      subsystem,
		Name:           "undos_total",
		Help:           "Reshapes of GPUs that the scheduler asked to be undone by itself.",
		StabilityLevel: metrics.ALPHA,
	})
	gangTimeoutsTotal = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      subsystem,
		Name:           "gang_timeouts_total",
		Help:           "Gangs that gave their places up because not all of their pods could be placed in time.",
		StabilityLevel: metrics.ALPHA,
	})
)

// all are the plugin's metrics.
var all = []metrics.Registerable{takeBacksTotal, evictedPodsTotal, outrankedPodsTotal, undosTotal, gangTimeoutsTotal}

func init() {
	legacyregistry.MustRegister(all...)
}
