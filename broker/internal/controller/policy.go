package controller

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/quota"
)

// PolicyConfig is lend.Policy with durations as people write them.
type PolicyConfig struct {
	StaleAfter        metav1.Duration `json:"staleAfter"`
	Quorum            float64         `json:"quorum"`
	UnknownGrace      metav1.Duration `json:"unknownGrace"`
	UnknownStep       metav1.Duration `json:"unknownStep"`
	TargetUtilization float64         `json:"targetUtilization"`
	// PanicThreshold: how many times its ready replicas a service must need within the
	// panic window; 0: never.
	PanicThreshold float64 `json:"panicThreshold"`
	// DispersionLimit is the variance over mean above which a load is not forecastable;
	// 0: no limit.
	DispersionLimit float64 `json:"dispersionLimit"`
	// BurstSigmas is how many standard deviations of a load are kept free; 0: none.
	BurstSigmas float64 `json:"burstSigmas"`
	// FlapBudget is how often units are asked back for one lender within FlapWindow
	// before it lends nothing new; 0: no limit.
	FlapBudget  int             `json:"flapBudget"`
	FlapWindow  metav1.Duration `json:"flapWindow"`
	MinimumLoan metav1.Duration `json:"minimumLoan"`
	// StartWithin is how long a gang may wait for its nodes; 0s: for ever.
	StartWithin metav1.Duration `json:"startWithin"`
	// StuckAfter is how long after the time of a loan's pods was over others are asked
	// instead, if they are still there; 0s: never.
	StuckAfter metav1.Duration `json:"stuckAfter"`
	// QuarantineAfter is how long after that time the loan is quarantined.
	QuarantineAfter metav1.Duration `json:"quarantineAfter"`
	EvictionBudget  int             `json:"evictionBudget"`
	EvictionWindow  metav1.Duration `json:"evictionWindow"`
	// CycleLimit is how often a job is stopped within CycleWindow until it counts as going
	// round; 0: never.
	CycleLimit  int             `json:"cycleLimit"`
	CycleWindow metav1.Duration `json:"cycleWindow"`
	// ReserveAfter is how long a job waits before room is kept for it; 0s: it never is.
	ReserveAfter metav1.Duration `json:"reserveAfter"`
	// QuotaGrace bounds the grace of a loan of quota that no service owns.
	QuotaGrace  metav1.Duration `json:"quotaGrace"`
	RestartCost metav1.Duration `json:"restartCost"`
	// StopCost is what a stopped job counts besides what it loses, as so long a time of one
	// unit.
	StopCost metav1.Duration `json:"stopCost"`
}

// FairSharing says how what can be borrowed is shared.
type FairSharing struct {
	// HalfLife of what tenants borrowed, and queues used, before now: after it, it
	// counts for half. 0s: only what they have now counts.
	HalfLife metav1.Duration `json:"halfLife"`
	// Preemption are the rules by which a tenant with a smaller share takes from one
	// with a larger, tried in order. Empty: it waits instead.
	Preemption []quota.FairRule `json:"preemption"`
}

func newPolicyConfig(p lend.Policy) PolicyConfig {
	return PolicyConfig{
		StaleAfter: duration(p.StaleAfter), Quorum: p.Quorum,
		UnknownGrace: duration(p.UnknownGrace), UnknownStep: duration(p.UnknownStep),
		TargetUtilization: p.TargetUtilization, PanicThreshold: p.PanicThreshold,
		DispersionLimit: p.DispersionLimit, BurstSigmas: p.BurstSigmas,
		FlapBudget: p.FlapBudget, FlapWindow: duration(p.FlapWindow),
		MinimumLoan: duration(p.MinimumLoan), StartWithin: duration(p.StartWithin),
		StuckAfter: duration(p.StuckAfter), QuarantineAfter: duration(actuate.QuarantineAfter),
		EvictionBudget: p.EvictionBudget, EvictionWindow: duration(p.EvictionWindow),
		CycleLimit: p.CycleLimit, CycleWindow: duration(p.CycleWindow),
		ReserveAfter: duration(p.ReserveAfter), QuotaGrace: duration(p.QuotaGrace),
		RestartCost: duration(p.RestartCost), StopCost: duration(p.StopCost),
	}
}

// Lend is the policy as the core wants it.
func (c *Config) Lend() lend.Policy {
	p := &c.Policy
	return lend.Policy{
		StaleAfter: p.StaleAfter.Duration, Quorum: p.Quorum,
		UnknownGrace: p.UnknownGrace.Duration, UnknownStep: p.UnknownStep.Duration,
		TargetUtilization: p.TargetUtilization, StableWindow: c.Signals.StableWindow.Duration,
		PanicThreshold: p.PanicThreshold, DispersionLimit: p.DispersionLimit, BurstSigmas: p.BurstSigmas,
		FlapBudget: p.FlapBudget, FlapWindow: p.FlapWindow.Duration,
		MinimumLoan: p.MinimumLoan.Duration, StartWithin: p.StartWithin.Duration, StuckAfter: p.StuckAfter.Duration,
		EvictionBudget: p.EvictionBudget, EvictionWindow: p.EvictionWindow.Duration,
		CycleLimit: p.CycleLimit, CycleWindow: p.CycleWindow.Duration,
		ReserveAfter: p.ReserveAfter.Duration, QuotaGrace: p.QuotaGrace.Duration,
		FairPreemption: c.FairSharing.Preemption,
		RestartCost:    p.RestartCost.Duration, StopCost: p.StopCost.Duration,
	}
}

// validate returns what is wrong, by field. Decisions are interval apart at most.
func (p *PolicyConfig) validate(interval time.Duration) field.ErrorList {
	c := checker{at: field.NewPath("policy")}
	c.positive("staleAfter", p.StaleAfter)
	c.want(p.StaleAfter.Duration >= interval, "staleAfter", p.StaleAfter.Duration.String(), "must not be below interval: every sample would be stale")
	c.want(p.Quorum > 0 && p.Quorum <= 1, "quorum", p.Quorum, "must be above 0 and at most 1")
	c.notNegative("unknownGrace", p.UnknownGrace)
	c.positive("unknownStep", p.UnknownStep)
	c.want(p.TargetUtilization > 0 && p.TargetUtilization <= 1, "targetUtilization", p.TargetUtilization, "must be above 0 and at most 1")
	c.want(p.PanicThreshold == 0 || p.PanicThreshold > 1, "panicThreshold", p.PanicThreshold, "must be above 1, or 0 for never")
	c.want(p.DispersionLimit >= 0, "dispersionLimit", p.DispersionLimit, "must not be negative")
	c.want(p.BurstSigmas >= 0, "burstSigmas", p.BurstSigmas, "must not be negative")
	c.want(p.FlapBudget >= 0, "flapBudget", p.FlapBudget, "must not be negative")
	c.positive("flapWindow", p.FlapWindow)
	c.notNegative("minimumLoan", p.MinimumLoan)
	c.notNegative("startWithin", p.StartWithin)
	c.notNegative("stuckAfter", p.StuckAfter)
	c.positive("quarantineAfter", p.QuarantineAfter)
	c.want(p.EvictionBudget >= 1, "evictionBudget", p.EvictionBudget, "must be at least 1")
	c.positive("evictionWindow", p.EvictionWindow)
	c.want(p.CycleLimit >= 0, "cycleLimit", p.CycleLimit, "must not be negative")
	c.positive("cycleWindow", p.CycleWindow)
	c.notNegative("reserveAfter", p.ReserveAfter)
	c.positive("quotaGrace", p.QuotaGrace)
	c.notNegative("restartCost", p.RestartCost)
	c.notNegative("stopCost", p.StopCost)
	return c.errs
}

func (f *FairSharing) validate() field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("fairSharing")
	if d := f.HalfLife.Duration; d != 0 && d < history.LeastHalfLife {
		errs = append(errs, field.Invalid(at.Child("halfLife"), d.String(),
			"must be at least "+history.LeastHalfLife.String()+", or 0s to count only what is held now"))
	}
	known := []quota.FairRule{quota.LessThanOrEqualToFinalShare, quota.LessThanInitialShare}
	for i, rule := range f.Preemption {
		switch {
		case !slices.Contains(known, rule):
			errs = append(errs, field.NotSupported(at.Child("preemption").Index(i), rule, known))
		case slices.Contains(f.Preemption[:i], rule):
			errs = append(errs, field.Duplicate(at.Child("preemption").Index(i), rule))
		}
	}
	return errs
}

// checker collects what is wrong with the fields of one object.
type checker struct {
	at   *field.Path
	errs field.ErrorList
}

func (c *checker) want(ok bool, name string, value any, rule string) {
	if !ok {
		c.errs = append(c.errs, field.Invalid(c.at.Child(name), value, rule))
	}
}

func (c *checker) positive(name string, d metav1.Duration) {
	c.want(d.Duration > 0, name, d.Duration.String(), "must be greater than 0s")
}

func (c *checker) notNegative(name string, d metav1.Duration) {
	c.want(d.Duration >= 0, name, d.Duration.String(), "must not be negative")
}
