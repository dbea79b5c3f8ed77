package actuate

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// said is what a decision says about one lender. The view and the verdict are nil where
// the plan has none.
type said struct {
	view    *lend.LenderView
	verdict *lend.Verdict
	// refused is why the target is not scaled although it should be; nil if it is.
	refused *lend.Problem
	// notes are for the policy's owner.
	notes []string
	// slices are what the policy keeps of GPUs; nil: nothing.
	slices *gather.Slices
}

// lenderStatus puts into a policy's status all that was decided, except how much is
// lent.
func lenderStatus(policy *v1alpha1.LendingPolicy, l *lend.Lender, said said) {
	view, v := said.view, said.verdict
	s := &policy.Status
	s.ObservedGeneration = policy.Generation
	s.Notice = metav1.Duration{Duration: l.Notice.Round(time.Second)}
	s.Advice = nil
	c := conditions{&s.Conditions, policy.Generation}
	c.resolved(l, said.notes)
	c.forecastable(l, view, v)
	c.scaling(policy, l, said.refused)
	c.pinned(said.slices)
	if v != nil {
		lends := v.Reason == lend.ReasonBelowLowWater ||
			(v.Reason == lend.ReasonOwnedOverNominal && view != nil && view.Lendable > 0)
		c.set(v1alpha1.ConditionLending, truth(lends), v.Reason, v.Message)
	}
	if view != nil {
		s.Owned, s.Held, s.Need = view.Owned, view.Held, view.Need
		s.Headroom, s.Lendable = view.Headroom, view.Lendable
		s.Load = loadText(view.Utilization)
		if l.Advise && view.Advice != nil {
			s.Advice = adviceStatus(view.Advice)
		}
	}
}

// conditions of one LendingPolicy.
type conditions struct {
	list       *[]metav1.Condition
	generation int64
}

func (c conditions) set(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(c.list, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: c.generation,
	})
}

func truth(is bool) metav1.ConditionStatus {
	if is {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// resolved: the policy's target is known, and so is its load.
func (c conditions) resolved(l *lend.Lender, notes []string) {
	if l.Problem == nil {
		known := "the target, its flavor and the owned units are known"
		c.set(v1alpha1.ConditionAccepted, metav1.ConditionTrue, "Accepted", strings.Join(append([]string{known}, notes...), "; "))
	} else {
		c.set(v1alpha1.ConditionAccepted, metav1.ConditionFalse, l.Problem.Reason, l.Problem.Message)
	}
	if l.Load.Known {
		c.set(v1alpha1.ConditionSignalsKnown, metav1.ConditionTrue, "Known", "every signal answered")
	} else {
		c.set(v1alpha1.ConditionSignalsKnown, metav1.ConditionFalse, lend.ReasonLoadUnknown, l.Load.Unknown)
	}
}

// forecastable: what the core made of the load's past. Which dispersion is too high is
// the core's to say, and it says so in what it does.
func (c conditions) forecastable(l *lend.Lender, view *lend.LenderView, v *lend.Verdict) {
	kind := v1alpha1.ConditionForecastable
	switch {
	case v != nil && v.Reason == lend.ReasonLoadNotForecastable:
		c.set(kind, metav1.ConditionFalse, v.Reason, v.Message)
	case l.Forecast != nil && view != nil && view.NeedBy == lend.NeedByFloor:
		c.set(kind, metav1.ConditionFalse, lend.ReasonLoadNotForecastable,
			"the load varies so much that the highest load of seven days is kept")
	case l.Forecast == nil:
		c.set(kind, metav1.ConditionUnknown, "PastUnknown", "too little is known of the load's past")
	default:
		c.set(kind, metav1.ConditionTrue, "PastKnown", "the load's past says how much it may rise")
	}
}

// scaling is said only where the policy's writer wants the broker to scale.
func (c conditions) scaling(policy *v1alpha1.LendingPolicy, l *lend.Lender, refused *lend.Problem) {
	if policy.Spec.Scaling.Mode != v1alpha1.ScalingManage {
		meta.RemoveStatusCondition(c.list, v1alpha1.ConditionScaling)
		return
	}
	if reason, message := refusedScaling(policy, l, refused); reason != "" {
		c.set(v1alpha1.ConditionScaling, metav1.ConditionFalse, reason, message)
		return
	}
	c.set(v1alpha1.ConditionScaling, metav1.ConditionTrue, "Managed",
		fmt.Sprintf("the broker sets between %d and %d replicas", l.Scale.Min, l.Scale.Max))
}

// pinned is said only where the policy's writer wants slices to be kept.
func (c conditions) pinned(s *gather.Slices) {
	kind := v1alpha1.ConditionPinned
	switch {
	case s == nil:
		meta.RemoveStatusCondition(c.list, kind)
	case s.Cards == 0:
		c.set(kind, metav1.ConditionFalse, "NoAgent", "spec.mig.pinned: nothing is kept, since no agent says of any GPU what it can be cut into")
	case s.Unseen > 0:
		c.set(kind, metav1.ConditionFalse, "NoAgent", fmt.Sprintf("spec.mig.pinned: nothing is kept on %d nodes, which have no agent", s.Unseen))
	case s.Units < s.Wanted:
		c.set(kind, metav1.ConditionFalse, "SlicesMissing", fmt.Sprintf("%d of %d slices that are to be kept are there, and not lent", s.Units, s.Wanted))
	case s.Bad > 0:
		c.set(kind, metav1.ConditionFalse, "BadlyPlaced", fmt.Sprintf(
			"on %d of %d GPUs the slices that are kept are not at the slots %s, where they leave the most for others; they get there as the service's pods are replaced", s.Bad, s.Cards, list(s.Best)))
	default:
		c.set(kind, metav1.ConditionTrue, "WellPlaced", fmt.Sprintf("%d slices of each of %d GPUs are kept, where they leave the most for others", s.Pinned, s.Cards))
	}
}

// list is 4, 5, 6.
func list(numbers []int) string {
	var texts []string
	for _, n := range numbers {
		texts = append(texts, strconv.Itoa(n))
	}
	return strings.Join(texts, ", ")
}

// adviceStatus is the book of an adviser in the API's units.
func adviceStatus(a *lend.Advice) *v1alpha1.Advice {
	return &v1alpha1.Advice{
		Since:         metav1.NewTime(a.Since).Rfc3339Copy(),
		LentUnits:     a.Lent,
		LentUnitHours: fmt.Sprintf("%.1f", a.UnitSeconds/3600),
		Reclaims:      a.Reclaims,
		PodsWaited:    a.Waited,
		LongestWait:   metav1.Duration{Duration: a.LongestWait.Round(time.Second)},
	}
}

func loadText(utilization float64) string {
	if utilization < 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.0f%%", math.Round(utilization*100))
}
