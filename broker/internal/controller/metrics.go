package controller

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/guard"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
)

const (
	namespace = "ebbtide"
	subsystem = "broker"
)

// Outcomes of a decision.
const (
	outcomeDone       = "done"
	outcomeIncomplete = "incomplete"
	outcomeBlind      = "blind"
)

// Metrics of the broker. Labels are bounded by the number of LendingPolicies. What waits
// and what is on loan, an extmetrics.Board shows.
type Metrics struct {
	decisions  *prometheus.CounterVec
	seconds    prometheus.Histogram
	reclaims   prometheus.Histogram
	steps      *prometheus.HistogramVec
	violations *prometheus.CounterVec
	actions    *prometheus.CounterVec
	reasons    *prometheus.CounterVec
	lender     map[string]*prometheus.GaugeVec
	cycling    prometheus.Gauge
	strange    *prometheus.GaugeVec
	stuck      *prometheus.GaugeVec
	known      *prometheus.GaugeVec
	age        *prometheus.GaugeVec
	entries    prometheus.Gauge
	head       prometheus.Gauge
	reshapes   *prometheus.GaugeVec
	changes    *prometheus.CounterVec
	past       pastCollector
	lately     *lately
	amounts    *amounts
	outside    *headMetrics
	scrub      *scrubMetrics
	// policies looks at admission policies; nil while nobody does.
	policies atomic.Pointer[guard.Guard]
}

// The gauges of a lender's arithmetic, in units.
var lenderGauges = map[string]string{
	"owned_units":    "Units that lending counts with.",
	"held_units":     "Units held by the lender's own pods.",
	"need_units":     "Units the lender must keep now.",
	"headroom_units": "Units kept free above the need.",
	"lent_units":     "Units on loan, reclaiming ones included.",
	"lendable_units": "Units that could be lent in addition.",
}

// NewMetrics registers the broker's metrics. What a decision found is shown until, by the
// clock, some intervals between decisions have passed without another.
func NewMetrics(registry prometheus.Registerer, clk clock.PassiveClock, interval time.Duration) *Metrics {
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	m := &Metrics{
		decisions: counters("decisions_total", "Decisions by outcome: done, incomplete (a step failed and is repeated), blind (the cluster could not be read).", "outcome"),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "decision_seconds",
			Help:    "Time of a decision, from reading the cluster to the last write.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		reclaims: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "reclaim_seconds",
			Help:    "Time from asking for a loan's units, or a part, to the proof that they are free.",
			Buckets: []float64{1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600},
		}),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "reclaim_step_seconds",
			Help:    "Time from asking for a loan's units until a step was taken: told (the pods know), stopped (the job is suspended, and its pods end), killed (what was left when the time was over).",
			Buckets: []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600},
		}, []string{"step"}),
		violations: counters("law_violations_total", "Decisions whose snapshot broke an invariant, by law. It must stay 0.", "law"),
		actions:    counters("actions_total", "Actions that decisions asked for, by kind: Lend, Reclaim, Evict, Return.", "kind"),
		reasons:    counters("reclaims_total", "Loans that decisions asked back, by reason.", "reason"),
		strange:    newStrange(),
		cycling: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "cycling_jobs",
			Help: "Jobs that were taken back at least policy.cycleLimit times within policy.cycleWindow.",
		}),
		lender:  map[string]*prometheus.GaugeVec{},
		known:   gauges("signal_state", "1 if the lender's load is known, 0 if not.", "lender"),
		age:     gauges("signal_age_seconds", "Age of the oldest sample of the lender's load; absent while there is none.", "lender"),
		entries: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "ledger_entries", Help: "Entries in the ledger."}),
		head:    prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "ledger_head", Help: "First 48 bits of the hash of the ledger's head, to compare with an export."}),
	}
	m.outside, m.scrub = newHeadMetrics(registry), newScrubMetrics(registry)
	m.reshapes = gauges("reshapes", "Changes of GPUs' layouts in force, by state: Making, Made, Undoing, Stuck.", "state")
	m.stuck = gauges("quarantined_units", "Units of loans whose pods do not go although their time was over long ago, by flavor: nobody has them.", "flavor")
	m.changes = counters("reshapes_total", "Changes of GPUs' layouts that came further, by what the ledger calls it: RESHAPE_DONE, RESHAPE_UNDONE, RESHAPE_FAILED.", "entry")
	registry.MustRegister(m.decisions, m.seconds, m.reclaims, m.steps, m.violations, m.actions, m.reasons, m.entries, m.head, m.changes, &m.past, policyCollector{m.policies.Load})
	for _, law := range []string{"1", "2"} { // those that a snapshot can be checked for
		m.violations.WithLabelValues(law)
	}
	m.amounts = newAmounts(lasting(interval))
	registry.MustRegister(m.amounts.lent)
	shown := append(m.amounts.passing(), m.cycling, m.strange, m.stuck, m.known, m.age, m.reshapes)
	for name, help := range lenderGauges {
		m.lender[name] = gauges(name, help, "lender")
		shown = append(shown, m.lender[name])
	}
	m.lately = newLately(clk, interval, shown...)
	registry.MustRegister(m.lately)
	for _, step := range []string{stepTold, stepStopped, stepKilled} {
		m.steps.WithLabelValues(step)
	}
	for _, kind := range []ledger.Kind{ledger.ReshapeDone, ledger.ReshapeUndone, ledger.ReshapeFailed} {
		m.changes.WithLabelValues(kind.String())
	}
	for _, outcome := range []string{outcomeDone, outcomeIncomplete, outcomeBlind} {
		m.decisions.WithLabelValues(outcome)
	}
	for _, kind := range []lend.ActionKind{lend.ActionLend, lend.ActionReclaim, lend.ActionEvict, lend.ActionReturn} {
		m.actions.WithLabelValues(string(kind))
	}
	for _, reason := range reclaimReasons {
		m.reasons.WithLabelValues(reason)
	}
	return m
}

// reclaimReasons are those of reclaims.
var reclaimReasons = []string{
	lend.ReasonLenderPodPending, lend.ReasonAboveHighWater, lend.ReasonNeedRose, lend.ReasonLenderUnknownTooLong, lend.ReasonNodeUnhealthy,
	lend.ReasonCrowdedOut, lend.ReasonSlicesUndone, lend.ReasonNotStarted, lend.ReasonOwnerWants, lend.ReasonFairShare, lend.ReasonOutranked,
	lend.ReasonQueueDraining,
}

// Steps of a reclaim.
const (
	stepTold    = "told"
	stepStopped = "stopped"
	stepKilled  = "killed"
)

// reclaimed observes one finished reclaim.
func (m *Metrics) reclaimed(how *course.Reclaim) {
	m.reclaims.Observe(how.Ended.Seconds)
	for step, at := range map[string]*course.Step{stepTold: how.Told, stepStopped: how.Stopped, stepKilled: how.Killed} {
		if at != nil {
			m.steps.WithLabelValues(step).Observe(at.Seconds)
		}
	}
}

// decided shows a decision. Lenders that are gone vanish.
func (m *Metrics) decided(view *gather.View, plan *lend.Plan) {
	for _, action := range plan.Actions {
		m.actions.WithLabelValues(string(action.Kind)).Inc()
		if action.Kind == lend.ActionReclaim {
			m.reasons.WithLabelValues(action.Reason).Inc()
		}
	}
	m.lately.decided(view.Snapshot.Now)
	m.amounts.decided(&view.Snapshot, plan)
	m.cycling.Set(float64(len(plan.Cycling)))
	for _, g := range m.lender {
		g.Reset()
	}
	for _, l := range plan.Lenders {
		for name, value := range map[string]int64{
			"owned_units": l.Owned, "held_units": l.Held, "need_units": l.Need,
			"headroom_units": l.Headroom, "lent_units": l.Lent, "lendable_units": l.Lendable,
		} {
			m.lender[name].WithLabelValues(l.Name).Set(float64(value))
		}
	}
	m.strangers(view.Strangers)
	m.reshaping(&view.Snapshot)
	m.quarantined(&view.Snapshot)
	m.known.Reset()
	m.age.Reset()
	for _, l := range view.Snapshot.Lenders {
		m.known.WithLabelValues(l.Name).Set(0)
		if l.Load.Known {
			m.known.WithLabelValues(l.Name).Set(1)
		}
		if !l.Load.ObservedAt.IsZero() {
			m.age.WithLabelValues(l.Name).Set(view.Snapshot.Now.Sub(l.Load.ObservedAt).Seconds())
		}
	}
}

// reshaped counts an entry about a change of a GPU's layout.
func (m *Metrics) reshaped(kind ledger.Kind) { m.changes.WithLabelValues(kind.String()).Inc() }

// reshaping shows the changes of GPUs' layouts that are in force.
func (m *Metrics) reshaping(s *lend.Snapshot) {
	states := map[string]int{"Stuck": 0, string(lend.ReshapeMaking): 0, string(lend.ReshapeMade): 0, string(lend.ReshapeUndoing): 0}
	for i := range s.Nodes {
		for _, r := range s.Nodes[i].Reshapes {
			if r.Stuck != "" {
				states["Stuck"]++
				continue
			}
			states[string(r.State)]++
		}
	}
	for state, n := range states {
		m.reshapes.WithLabelValues(state).Set(float64(n))
	}
}

// quarantined shows the units that nobody has. There is a number for each flavor.
func (m *Metrics) quarantined(s *lend.Snapshot) {
	m.stuck.Reset()
	for i := range s.Tenants {
		for _, q := range s.Tenants[i].Quotas {
			m.stuck.WithLabelValues(q.Flavor)
		}
	}
	for i := range s.Loans {
		for _, g := range s.Loans[i].Grants {
			if s.Loans[i].Quarantined {
				m.stuck.WithLabelValues(g.Flavor).Add(float64(g.Count))
			}
		}
	}
}
