package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
)

type metrics struct {
	calls     *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	reshapes  *prometheus.CounterVec
	now       *prometheus.GaugeVec
	instances *prometheus.GaugeVec
	recovered prometheus.Counter
	stuck     prometheus.Counter
	lost      prometheus.Counter
	heartbeat prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	name := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "ebbtide", Subsystem: "agent", Name: n, Help: help}
	}
	counter := func(n, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(name(n, help)))
	}
	m := &metrics{
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "ebbtide", Subsystem: "agent", Name: "driver_call_duration_seconds",
			Help:    "How long calls of the driver took, by call: Read, Create, Destroy, Repair.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 9),
		}, []string{"call"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts(name("driver_errors_total",
			"Calls of the driver that failed, by call.")), []string{"call"}),
		reshapes: prometheus.NewCounterVec(prometheus.CounterOpts(name("reshapes_total",
			"Changes of layouts that came to a state, by state: Made, Undone, Refused.")), []string{"state"}),
		now: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("reshapes",
			"Changes of layouts now, by state.")), []string{"state"}),
		instances: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("instances",
			"MIG instances of the node's layouts, by state.")), []string{"state"}),
		recovered: counter("reshapes_recovered_total", "Changes that were found half done after a start, and carried on."),
		stuck:     counter("reshapes_stuck_total", "Changes that could go neither on nor back."),
		lost:      counter("layouts_lost_total", "Times that a GPU had lost all its instances."),
		heartbeat: prometheus.NewGauge(prometheus.GaugeOpts(name("published_timestamp_seconds",
			"When the status was last published."))),
	}
	for _, call := range []string{"Read", journal.StepCreate, journal.StepDestroy, journal.StepRepair} {
		m.calls.WithLabelValues(call)
		m.failures.WithLabelValues(call)
	}
	for _, state := range []string{v1alpha1.ReshapeMade, v1alpha1.ReshapeUndone, v1alpha1.ReshapeRefused} {
		m.reshapes.WithLabelValues(state)
	}
	if r != nil {
		r.MustRegister(m.calls, m.failures, m.reshapes, m.now, m.instances, m.recovered, m.stuck, m.lost, m.heartbeat)
	}
	return m
}

func (m *metrics) call(name string, took time.Duration, err error) {
	m.calls.WithLabelValues(name).Observe(took.Seconds())
	if err != nil {
		m.failures.WithLabelValues(name).Inc()
	}
}

func (m *metrics) ended(r *journal.Reshape) {
	if r.Done() || r.State == v1alpha1.ReshapeMade {
		m.reshapes.WithLabelValues(r.State).Inc()
	}
}

func (m *metrics) state(s v1alpha1.GPUNodeStatus) {
	for _, state := range []string{
		v1alpha1.InstanceReady, v1alpha1.InstanceRemnant, v1alpha1.InstanceForeign, v1alpha1.InstanceStuck, v1alpha1.InstanceAbsent,
	} {
		n := 0
		for _, g := range s.GPUs {
			for _, i := range g.Instances {
				if i.State == state {
					n++
				}
			}
		}
		m.instances.WithLabelValues(state).Set(float64(n))
	}
	for _, state := range []string{
		v1alpha1.ReshapeMaking, v1alpha1.ReshapeMade, v1alpha1.ReshapeUndoing, v1alpha1.ReshapeUndone, v1alpha1.ReshapeRefused, v1alpha1.ReshapeStuck,
	} {
		n := 0
		for _, r := range s.Reshapes {
			if r.State == state {
				n++
			}
		}
		m.now.WithLabelValues(state).Set(float64(n))
	}
}
