package gather

import (
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// How fast is lent where a policy says nothing.
const (
	lendShare = 10 // percent of the owned units, and at least one unit
	lendEvery = 2 * time.Minute
)

// noShare is a lend.Steps.Push that adds no replica; 0 would be the default.
const noShare = 1e-15

// steps takes over spec.behavior, once it is known what is owned and what runs.
func (l *lender) steps(b *v1alpha1.Behavior) {
	l.Steps = lend.Steps{
		LendUnits: max(l.Owned*lendShare/100, 1), LendEvery: lendEvery, Push: lend.DefaultPush,
	}
	if b == nil {
		return
	}
	if rules := b.Lend; rules != nil && l.sound("spec.behavior.lend", rules) {
		l.lendSteps(rules)
	}
	if rules := b.Reclaim; rules != nil && l.sound("spec.behavior.reclaim", rules) {
		l.reclaimSteps(rules)
	}
}

// sound tells whether the rules are what a HorizontalPodAutoscaler would take.
func (l *lender) sound(path string, rules *autoscalingv2.HPAScalingRules) bool {
	why := ""
	switch s := rules.StabilizationWindowSeconds; {
	case s != nil && (*s < 0 || *s > 3600):
		why = ".stabilizationWindowSeconds: must be from 0 to 3600"
	case rules.Tolerance != nil:
		why = ".tolerance: is not supported; water marks are the tolerance of lending"
	}
	switch ptr.Deref(rules.SelectPolicy, autoscalingv2.MaxChangePolicySelect) {
	case autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect:
	default:
		why = ".selectPolicy: must be Max, Min or Disabled"
	}
	for i, p := range rules.Policies {
		switch at := fmt.Sprintf(".policies[%d]", i); {
		case p.Type != autoscalingv2.PodsScalingPolicy && p.Type != autoscalingv2.PercentScalingPolicy:
			why = at + ".type: must be Pods or Percent"
		case p.Value < 1:
			why = at + ".value: must be at least 1"
		case p.PeriodSeconds < 1 || p.PeriodSeconds > 1800:
			why = at + ".periodSeconds: must be from 1 to 1800"
		}
	}
	if why != "" {
		l.problem(ReasonInvalidPolicy, "%s%s", path, why)
	}
	return why == ""
}

// before tells whether a policy with one rate goes before one with another.
func before(rules *autoscalingv2.HPAScalingRules, rate, other float64) bool {
	if ptr.Deref(rules.SelectPolicy, autoscalingv2.MaxChangePolicySelect) == autoscalingv2.MinChangePolicySelect {
		return rate < other
	}
	return rate > other
}

func disabled(rules *autoscalingv2.HPAScalingRules) bool {
	return ptr.Deref(rules.SelectPolicy, "") == autoscalingv2.DisabledPolicySelect
}

// lendSteps: of several policies the one that lends most in the long run, or least, is
// the step.
func (l *lender) lendSteps(rules *autoscalingv2.HPAScalingRules) {
	l.Steps.LendAfter = time.Duration(ptr.Deref(rules.StabilizationWindowSeconds, 0)) * time.Second
	if disabled(rules) {
		l.hold(ReasonLendingDisabled, "spec.behavior.lend.selectPolicy is Disabled")
		return
	}
	chosen := 0.0
	for i, p := range rules.Policies {
		units := int64(p.Value) * max(l.UnitsPerPod, 1)
		if p.Type == autoscalingv2.PercentScalingPolicy {
			units = l.Owned * int64(p.Value) / 100
		}
		units = max(units, 1)
		rate := float64(units) / float64(p.PeriodSeconds)
		if i == 0 || before(rules, rate, chosen) {
			chosen = rate
			l.Steps.LendUnits, l.Steps.LendEvery = units, time.Duration(p.PeriodSeconds)*time.Second
		}
	}
}

// reclaimSteps: what a signal asks for comes at once, so no policy's period matters.
func (l *lender) reclaimSteps(rules *autoscalingv2.HPAScalingRules) {
	switch {
	case disabled(rules):
		l.problem(ReasonInvalidPolicy, "spec.behavior.reclaim.selectPolicy: must be Max or Min: what a service needs is always given back")
		return
	case ptr.Deref(rules.StabilizationWindowSeconds, 0) > 0:
		l.problem(ReasonInvalidPolicy, "spec.behavior.reclaim.stabilizationWindowSeconds: must be 0: what a service needs is given back at once")
		return
	case len(rules.Policies) == 0:
		return
	}
	var chosen float64 // replicas
	for i, p := range rules.Policies {
		pods := float64(p.Value)
		if p.Type == autoscalingv2.PercentScalingPolicy {
			pods *= float64(l.Running) / 100
		}
		if i > 0 && !before(rules, pods, chosen) {
			continue
		}
		chosen = pods
		if p.Type == autoscalingv2.PercentScalingPolicy {
			l.Steps.Push, l.Steps.PushPods = float64(p.Value)/100, 0
		} else {
			l.Steps.Push, l.Steps.PushPods = noShare, int64(p.Value)
		}
	}
}
