package gather

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/autoscaler"
	"github.com/ebbtide/ebbtide/broker/internal/demand"
	"github.com/ebbtide/ebbtide/broker/internal/schedule"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Demand remembers loads, and says what the past makes of the future. demand.Demand is
// one.
type Demand interface {
	Outlook
	Observe(lender string, now time.Time, load lend.Load, shape demand.Shape) lend.Load
	SawStart(lender, uid string, scheduled, ready time.Time)
	Keep(lenders map[string]bool)
}

// Outlook is what the past says.
type Outlook interface {
	Forecast(lender string, now time.Time) *lend.Forecast
	Notice(lender string) time.Duration
	Unread(lender string, now time.Time) bool
}

// Hooks know what is done before units are lent; prewarm.Runner does.
type Hooks interface {
	State(policy *v1alpha1.LendingPolicy) *lend.Preparation
}

// Reasons why nothing new is lent although nothing is wrong, and why a target is not
// scaled.
const (
	ReasonRollout          = "RolloutInProgress"
	ReasonAtMax            = "AutoscalerAtMax"
	ReasonAutoscalerBlind  = "AutoscalerBlind"
	ReasonAutoscalerPaused = "AutoscalerPaused"
	ReasonUnread           = "AutoscalersUnread"
	ReasonPastUnread       = "PastUnread"
	ReasonLendingDisabled  = "LendingDisabled"
	ReasonHasAutoscaler    = "AutoscalerOnTarget"
	ReasonNoScale          = "NoScaleSubresource"
	ReasonPaused           = lend.ReasonPaused
)

// hold keeps a lender's first reason to lend nothing new.
func (l *lender) hold(reason, message string) {
	if l.Hold == nil {
		l.Hold = &lend.Problem{Reason: reason, Message: message}
	}
}

// holds looks for reasons to lend nothing new.
func (l *lender) holds(rolling bool, unread string) {
	ref := l.policy.Spec.TargetRef
	switch o := &l.opinion; {
	case l.policy.Spec.Paused:
		l.hold(ReasonPaused, "spec.paused is true")
	case unread != "":
		l.hold(ReasonUnread, unread)
	case rolling:
		l.hold(ReasonRollout, fmt.Sprintf("%s %s is being rolled out", ref.Kind, ref.Name))
	case o.Blind != "":
		l.hold(ReasonAutoscalerBlind, o.Blind)
	case o.Paused != nil:
		l.hold(ReasonAutoscalerPaused, fmt.Sprintf("%s is paused, and could not ask for units back", o.Paused))
	case o.AtMax != nil:
		l.hold(ReasonAtMax, fmt.Sprintf("%s is at its maximum of %d replicas, and may need more than it can say", o.AtMax, o.AtMax.Max))
	}
}

// scaling sets the lender's Scale, or says why the broker does not scale its target.
func (l *lender) scaling(t *target, unread string) {
	s := &l.policy.Spec.Scaling
	if s.Mode != v1alpha1.ScalingManage {
		return
	}
	ref := l.policy.Spec.TargetRef
	refuse := func(reason, format string, args ...any) {
		l.refused = &lend.Problem{Reason: reason, Message: "spec.scaling.mode: " + fmt.Sprintf(format, args...)}
	}
	switch {
	case s.Max == nil || s.Min < 1 || *s.Max < s.Min:
		l.problem(ReasonInvalidPolicy, "spec.scaling: mode Manage needs max, and min from 1 to max")
	case unread != "":
		refuse(ReasonUnread, "%s", unread)
	case !l.opinion.None():
		refuse(ReasonHasAutoscaler, "%s has the same target", l.opinion.Names())
	case !t.scalable:
		refuse(ReasonNoScale, "%s %s has no scale subresource", ref.Kind, ref.Name)
	default:
		l.Scale = &lend.Scale{Min: int64(s.Min), Max: int64(*s.Max), Replicas: t.replicas}
	}
}

// expand puts what the autoscalers look at in the place of the signal autoscaler, and
// bounds slots by what Knative lets a replica have.
func (l *lender) expand(backends autoscaler.Backends) {
	i := slices.IndexFunc(l.specs, func(s signal.Spec) bool { return s.Kind == signal.KindAutoscaler })
	if i >= 0 {
		looked, missing := l.opinion.Signals(l.specs[i].Name, l.Running, backends)
		l.specs, l.missing = signal.Expand(l.specs, looked), missing
	}
	limit := float64(l.opinion.Slots)
	if limit == 0 {
		return
	}
	l.specs = slices.Clone(l.specs)
	for i := range l.specs {
		if l.specs[i].Profile != "" {
			l.specs[i].SlotsMost = limit // what the engine says may be less
		}
	}
}

// outlook fills in what is expected of a lender's load, and when.
func (g *Gatherer) outlook(l *lender, now time.Time) {
	l.steps(l.policy.Spec.Behavior)
	g.floors(l, now)
	if g.Hooks != nil {
		l.Prepare = g.Hooks.State(l.policy)
	}
	shape := demand.Shape{Quantile: l.quantile(), MaxGrace: l.MaxGrace}
	if g.Demand == nil {
		return
	}
	for _, s := range l.starts {
		g.Demand.SawStart(l.Name, s.uid, s.scheduled, s.ready)
	}
	l.Load = g.Demand.Observe(l.Name, now, l.Load, shape)
	if g.Demand.Unread(l.Name, now) {
		l.hold(ReasonPastUnread, "its past is not read yet, without which a load that is low now looks as if it stayed so")
	}
	l.Forecast, l.Notice = g.Demand.Forecast(l.Name, now), g.Demand.Notice(l.Name)
}

// recall keeps what somebody asked for by hand.
func (l *lender) recall(now time.Time) {
	r := l.policy.Spec.Recall
	if r == nil || !now.Before(r.Until.Time) {
		return
	}
	keep := l.Owned
	if r.Keep != nil {
		keep = min(*r.Keep, l.Owned)
	}
	l.Floors = append(l.Floors, lend.Floor{Name: lend.FloorRecall, Units: keep, From: now, Until: r.Until.UTC()})
}

func (l *lender) quantile() float64 {
	text := l.policy.Spec.Headroom.Quantile
	if text == "" {
		return 0 // the default
	}
	q, err := strconv.ParseFloat(text, 64)
	if err != nil || !(q > 0 && q < 1) {
		l.problem(ReasonInvalidPolicy, "spec.headroom.quantile: %q is not above 0 and below 1", text)
		return 0
	}
	return q
}

// floors are the windows of the policy's schedule, and those of ScaledObjects' crons: what
// KEDA will ask for then had better be there.
func (g *Gatherer) floors(l *lender, now time.Time) {
	var lead time.Duration
	if h := l.policy.Spec.Hooks; h != nil && h.BeforeReturn != nil {
		lead = h.BeforeReturn.Timeout.Duration
	}
	add := func(name string, w times, units int64) error {
		from, until, err := g.windows.around(w, now)
		if err == nil && !until.IsZero() {
			l.Floors = append(l.Floors, lend.Floor{Name: name, Units: units, From: from.UTC(), Until: until.UTC(), Lead: lead})
		}
		return err
	}
	l.recall(now)
	for i, w := range l.policy.Spec.Schedule {
		if err := add(fmt.Sprintf("schedule[%d]", i), times{w.Start, w.End, w.Timezone}, w.Keep); err != nil {
			l.problem(ReasonInvalidPolicy, "spec.schedule[%d].%v", i, err)
		}
	}
	for i := range l.opinion.All {
		for _, c := range l.opinion.All[i].Crons {
			if err := add(c.Name, times{c.Start, c.End, c.Timezone}, product(c.Replicas, l.UnitsPerPod)); err != nil {
				l.notes = append(l.notes, fmt.Sprintf("%s: %v: nothing is kept for it", c.Name, err))
			}
		}
	}
	slices.SortFunc(l.Floors, func(a, b lend.Floor) int { return cmp.Compare(a.Name, b.Name) })
}

// product multiplies what others write, and ends at the largest number: one that wrapped
// around would keep nothing. What is below 0 keeps nothing either.
func product(a, b int64) int64 {
	switch {
	case a <= 0 || b <= 0:
		return 0
	case a > math.MaxInt64/b:
		return math.MaxInt64
	}
	return a * b
}

// times say when a window comes.
type times struct{ start, end, timezone string }

// windows remembers the windows of schedules: reading one costs more than a decision
// should spend, and until it is over the answer is the same. The zero windows is ready to
// use.
type windows struct {
	known map[times]*window
	round map[times]bool
}

type window struct {
	parsed             schedule.Window
	err                error
	asked, from, until time.Time
}

// begin forgets what the last round did not ask for.
func (w *windows) begin() {
	for t := range w.known {
		if !w.round[t] {
			delete(w.known, t)
		}
	}
	w.round = map[times]bool{}
}

// around is schedule.Window.Around. Its error names the field.
func (w *windows) around(t times, now time.Time) (from, until time.Time, err error) {
	if w.known == nil {
		w.known, w.round = map[times]*window{}, map[times]bool{}
	}
	w.round[t] = true
	k := w.known[t]
	if k == nil {
		k = &window{}
		k.parsed, k.err = schedule.Parse(t.start, t.end, t.timezone)
		w.known[t] = k
	}
	if k.err != nil {
		return time.Time{}, time.Time{}, k.err
	}
	if k.asked.IsZero() || now.Before(k.asked) || !now.Before(k.until) {
		k.asked = now
		k.from, k.until = k.parsed.Around(now)
	}
	return k.from, k.until, nil
}

// start is how a replica began to serve.
type start struct {
	uid              string
	scheduled, ready time.Time
}

// longestStart bounds what is believed to be a start: a pod that was ready for the first
// time much earlier looks as if it had begun only now.
const longestStart = time.Hour

// started is how a ready pod began to serve; ok is false where that cannot be told.
func started(pod *corev1.Pod, ready time.Time) (start, bool) {
	for _, c := range pod.Status.ContainerStatuses {
		if c.RestartCount > 0 {
			return start{}, false
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			took := ready.Sub(c.LastTransitionTime.Time)
			return start{string(pod.UID), c.LastTransitionTime.Time, ready}, took >= 0 && took <= longestStart
		}
	}
	return start{}, false
}
