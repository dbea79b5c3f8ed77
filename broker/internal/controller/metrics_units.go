package controller

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

// amounts are who has how much: of what there is, of quotas, and of each service.
type amounts struct {
	units     *prometheus.GaugeVec
	quota     *prometheus.GaugeVec
	reclaims  *prometheus.GaugeVec
	verdict   *prometheus.GaugeVec
	load      *prometheus.GaugeVec
	low, high *prometheus.GaugeVec
	overdue   prometheus.Gauge
	lent      *prometheus.CounterVec

	// since is when lending was last counted; zero: nobody counts yet.
	since time.Time
	// longest is for how long what a decision found is taken to have been so.
	longest time.Duration
}

// newAmounts makes them. longest is how long a decision says what is so.
func newAmounts(longest time.Duration) *amounts {
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	return &amounts{
		longest:  longest,
		units:    gauges("units", "All units of the nodes, by flavor and by whose they are now: own (services, training on its own quota, other pods), lent, free, broken. They add up to what there is.", "flavor", "state"),
		quota:    gauges("quota_units", "Quotas by tenant, cohort:NAME for a cohort, and flavor: nominal, used, available, lent to other tenants, borrowed from them.", "tenant", "flavor", "state"),
		reclaims: gauges("reclaiming_units", "Units of the lender that are on loan and asked back.", "lender"),
		verdict:  gauges("lender_verdict", "Always 1: the reason of the last decision about the lender.", "lender", "reason"),
		load:     gauges("load_ratio", "Requests in flight over the slots of all owned units; absent while it is not known.", "lender"),
		low:      gauges("low_water_ratio", "The lender's low water: below it, units are lent.", "lender"),
		high:     gauges("high_water_ratio", "The lender's high water: above it, units are taken back.", "lender"),
		overdue: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "overdue_loans",
			Help: "Loans whose units were asked back, whose time is over, and which still have pods. Those in quarantine count elsewhere.",
		}),
		lent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "lent_unit_seconds_total",
			Help: "Units that services, or the unused quota of cohorts, lent to jobs, times seconds, by flavor.",
		}, []string{"flavor"}),
	}
}

// passing are those that say what is so now, and not what was.
func (a *amounts) passing() []prometheus.Collector {
	return []prometheus.Collector{a.units, a.quota, a.reclaims, a.verdict, a.load, a.low, a.high, a.overdue}
}

// decided shows what a decision found and decided.
func (a *amounts) decided(s *lend.Snapshot, plan *lend.Plan) {
	a.capacity(s)
	a.quotas(s, plan)
	a.lenders(s, plan)
	a.loans(s)
}

func (a *amounts) capacity(s *lend.Snapshot) {
	a.units.Reset()
	for _, u := range view.Totals(view.Nodes(s)) {
		for state, n := range map[string]int64{"own": u.Own, "lent": u.Lent, "free": u.Free, "broken": u.Broken} {
			a.units.WithLabelValues(u.Flavor, state).Set(float64(n))
		}
	}
}

func (a *amounts) quotas(s *lend.Snapshot, plan *lend.Plan) {
	a.quota.Reset()
	rows := view.Quotas(s, plan)
	for i := range rows {
		name := rows[i].Name
		if rows[i].Kind == view.KindCohort {
			name = lend.CohortLender(name)
		}
		for _, f := range rows[i].Flavors {
			for state, n := range map[string]int64{"nominal": f.Nominal, "used": f.Used, "available": f.Available, "lent": f.Lent, "borrowed": f.Borrowed} {
				a.quota.WithLabelValues(name, f.Flavor, state).Set(float64(n))
			}
		}
	}
}

func (a *amounts) lenders(s *lend.Snapshot, plan *lend.Plan) {
	for _, g := range []*prometheus.GaugeVec{a.reclaims, a.verdict, a.load, a.low, a.high} {
		g.Reset()
	}
	for i := range s.Lenders {
		l := &s.Lenders[i]
		a.low.WithLabelValues(l.Name).Set(l.LowWater)
		a.high.WithLabelValues(l.Name).Set(l.HighWater)
		a.reclaims.WithLabelValues(l.Name)
	}
	for i := range plan.Lenders {
		if l := &plan.Lenders[i]; l.Utilization >= 0 {
			a.load.WithLabelValues(l.Name).Set(l.Utilization)
		}
	}
	for i := range plan.Verdicts {
		if v := &plan.Verdicts[i]; v.Kind == lend.SubjectLender {
			a.verdict.WithLabelValues(v.Subject, v.Reason).Set(1)
		}
	}
}

// loans counts what is lent since the last decision, as it is now: a loan that began
// meanwhile counts from that decision on, and one that ended until it.
func (a *amounts) loans(s *lend.Snapshot) {
	passed := a.pass(s.Now)
	for i := range s.Tenants {
		for _, q := range s.Tenants[i].Quotas {
			a.lent.WithLabelValues(q.Flavor)
		}
	}
	known := map[string]bool{}
	for i := range s.Lenders {
		known[s.Lenders[i].Name] = true
	}
	overdue := 0
	for i := range s.Loans {
		l := &s.Loans[i]
		for _, g := range l.Grants {
			if g.Lender == "" {
				continue
			}
			a.lent.WithLabelValues(g.Flavor).Add(float64(g.Count) * passed.Seconds())
			if l.Reclaiming && known[g.Lender] {
				a.reclaims.WithLabelValues(g.Lender).Add(float64(g.Count))
			}
		}
		for _, g := range l.Shedding {
			if !l.Reclaiming && known[g.Lender] {
				a.reclaims.WithLabelValues(g.Lender).Add(float64(g.Count))
			}
		}
		if isOverdue(l, s.Now) {
			overdue++
		}
	}
	a.overdue.Set(float64(overdue))
}

// pass is the time since the last decision. After a pause for longer than a decision holds,
// what was before it is not counted.
func (a *amounts) pass(now time.Time) time.Duration {
	passed := now.Sub(a.since)
	if a.since.IsZero() || passed < 0 || passed > a.longest {
		passed = 0
	}
	a.since = now
	return passed
}

// isOverdue: it, or the part that is asked for, is still there after its time.
func isOverdue(l *lend.Loan, now time.Time) bool {
	if l.Quarantined || l.ReclaimBy.IsZero() || !now.After(l.ReclaimBy) {
		return false
	}
	return l.Reclaiming && l.Live > 0 || len(l.Shedding) > 0 && l.ShedLive > 0
}
