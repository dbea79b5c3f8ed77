package gather_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/demand"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/lend"
)

func rules(selection autoscalingv2.ScalingPolicySelect, stable int32, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	r := &autoscalingv2.HPAScalingRules{Policies: policies}
	if selection != "" {
		r.SelectPolicy = &selection
	}
	if stable > 0 {
		r.StabilizationWindowSeconds = &stable
	}
	return r
}

func pods(n, seconds int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: n, PeriodSeconds: seconds}
}

func percent(n, seconds int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: n, PeriodSeconds: seconds}
}

// TestSteps: a HorizontalPodAutoscaler's behavior, with 40 units owned in replicas of two,
// of which one runs.
func TestSteps(t *testing.T) {
	const push = lend.DefaultPush
	minutes := func(n time.Duration) time.Duration { return n * time.Minute }
	for name, test := range map[string]struct {
		behavior *v1alpha1.Behavior
		want     lend.Steps
		problem  string
	}{
		"absent": {nil, lend.Steps{LendUnits: 4, LendEvery: minutes(2), Push: push}, ""},
		"empty":  {&v1alpha1.Behavior{}, lend.Steps{LendUnits: 4, LendEvery: minutes(2), Push: push}, ""},
		"down 300 s, 10 % in 120 s": {&v1alpha1.Behavior{Lend: rules("", 300, percent(10, 120))},
			lend.Steps{LendUnits: 4, LendEvery: minutes(2), LendAfter: minutes(5), Push: push}, ""},
		"the faster": {&v1alpha1.Behavior{Lend: rules("Max", 0, percent(10, 120), pods(3, 60))},
			lend.Steps{LendUnits: 6, LendEvery: minutes(1), Push: push}, ""},
		"the slower": {&v1alpha1.Behavior{Lend: rules("Min", 0, percent(10, 120), pods(3, 60))},
			lend.Steps{LendUnits: 4, LendEvery: minutes(2), Push: push}, ""},
		"at least a unit": {&v1alpha1.Behavior{Lend: rules("", 0, percent(1, 60))}, lend.Steps{LendUnits: 1, LendEvery: minutes(1), Push: push}, ""},
		"up 4 pods in 60 s": {&v1alpha1.Behavior{Reclaim: rules("", 0, pods(4, 60))},
			lend.Steps{LendUnits: 4, LendEvery: minutes(2), Push: 1e-15, PushPods: 4}, ""},
		"up 100 %": {&v1alpha1.Behavior{Reclaim: rules("", 0, percent(100, 15))}, lend.Steps{LendUnits: 4, LendEvery: minutes(2), Push: 1}, ""},
		"up, the larger": {&v1alpha1.Behavior{Reclaim: rules("", 0, pods(4, 15), percent(100, 15))},
			lend.Steps{LendUnits: 4, LendEvery: minutes(2), Push: 1e-15, PushPods: 4}, ""},
		"up, the smaller": {&v1alpha1.Behavior{Reclaim: rules("Min", 0, pods(4, 15), percent(100, 15))},
			lend.Steps{LendUnits: 4, LendEvery: minutes(2), Push: 1}, ""},
		"no reclaim": {&v1alpha1.Behavior{Reclaim: rules("Disabled", 0)}, lend.Steps{},
			"spec.behavior.reclaim.selectPolicy: must be Max or Min: what a service needs is always given back"},
		"late reclaim": {&v1alpha1.Behavior{Reclaim: rules("", 60)}, lend.Steps{},
			"spec.behavior.reclaim.stabilizationWindowSeconds: must be 0: what a service needs is given back at once"},
		"no value":  {&v1alpha1.Behavior{Lend: rules("", 0, pods(0, 60))}, lend.Steps{}, "spec.behavior.lend.policies[0].value: must be at least 1"},
		"no period": {&v1alpha1.Behavior{Lend: rules("", 0, pods(1, 0))}, lend.Steps{}, "spec.behavior.lend.policies[0].periodSeconds: must be from 1 to 1800"},
		"type": {&v1alpha1.Behavior{Lend: rules("", 0, autoscalingv2.HPAScalingPolicy{Type: "Nodes", Value: 1, PeriodSeconds: 1})}, lend.Steps{},
			"spec.behavior.lend.policies[0].type: must be Pods or Percent"},
		"selection": {&v1alpha1.Behavior{Lend: rules("Mean", 0)}, lend.Steps{}, "spec.behavior.lend.selectPolicy: must be Max, Min or Disabled"},
		"window":    {&v1alpha1.Behavior{Lend: rules("", 3601)}, lend.Steps{}, "spec.behavior.lend.stabilizationWindowSeconds: must be from 0 to 3600"},
	} {
		t.Run(name, func(t *testing.T) {
			l, _, _ := chat(t, nil, func(s *v1alpha1.LendingPolicySpec) { s.Owned, s.Behavior = ptr.To[int64](40), test.behavior })
			if test.problem != "" {
				if l.Problem == nil || l.Problem.Message != test.problem {
					t.Errorf("problem %v, want %s", l.Problem, test.problem)
				}
				return
			}
			if diff := cmp.Diff(test.want, l.Steps); diff != "" || l.Problem != nil || l.Hold != nil {
				t.Errorf("problem %v, hold %v (-want +got):\n%s", l.Problem, l.Hold, diff)
			}
		})
	}
	l, _, _ := chat(t, nil, func(s *v1alpha1.LendingPolicySpec) { s.Behavior = &v1alpha1.Behavior{Lend: rules("Disabled", 0)} })
	if l.Hold == nil || l.Hold.Reason != "LendingDisabled" {
		t.Errorf("hold %+v, want that lending is disabled", l.Hold)
	}
}

// TestFloors: the schedule's windows, the present or the next, and how long before one a
// hook begins. now is a Monday, or what it is.
func TestFloors(t *testing.T) {
	from := now.UTC().Truncate(time.Hour).Add(2 * time.Hour)
	cron := func(at time.Time) string { return at.Format("4 15 2 1 *") }
	next := v1alpha1.Window{Start: cron(from), End: cron(from.Add(time.Hour)), Timezone: "UTC", Keep: 8}
	present := v1alpha1.Window{Start: cron(from.Add(-4 * time.Hour)), End: cron(from.Add(time.Hour)), Keep: 4}
	l, _, _ := chat(t, nil, func(s *v1alpha1.LendingPolicySpec) {
		s.Schedule = []v1alpha1.Window{next, present}
		s.Hooks = &v1alpha1.Hooks{BeforeReturn: &v1alpha1.Hook{Timeout: metav1.Duration{Duration: 3 * time.Minute}}}
	})
	want := []lend.Floor{
		{Name: "schedule[0]", Units: 8, From: from, Until: from.Add(time.Hour), Lead: 3 * time.Minute},
		{Name: "schedule[1]", Units: 4, From: from.Add(-4 * time.Hour), Until: from.Add(time.Hour), Lead: 3 * time.Minute},
	}
	if diff := cmp.Diff(want, l.Floors); diff != "" || l.Problem != nil {
		t.Errorf("problem %v (-want +got):\n%s", l.Problem, diff)
	}
	for field, w := range map[string]v1alpha1.Window{
		"spec.schedule[0].start":    {Start: "0 25 * * *", End: "0 8 * * *", Keep: 1},
		"spec.schedule[0].end":      {Start: "0 8 * * *", End: "daily", Keep: 1},
		"spec.schedule[0].timezone": {Start: "0 8 * * *", End: "0 9 * * *", Timezone: "Mars/Olympus", Keep: 1},
	} {
		l, _, _ := chat(t, nil, func(s *v1alpha1.LendingPolicySpec) { s.Schedule = []v1alpha1.Window{w} })
		if l.Problem == nil || l.Problem.Reason != "InvalidPolicy" || len(l.Problem.Message) < len(field) || l.Problem.Message[:len(field)] != field {
			t.Errorf("problem %v, want one of %s", l.Problem, field)
		}
	}
}

// By hand: what is recalled is kept until its time is over, never more than is owned; a
// paused policy lends nothing new.
func TestByHand(t *testing.T) {
	until := now.Add(time.Hour).UTC()
	for name, test := range map[string]struct {
		recall *v1alpha1.Recall
		want   []lend.Floor
	}{
		"all":      {&v1alpha1.Recall{Until: metav1.NewTime(until)}, []lend.Floor{{Name: "recall", Units: 40, From: now, Until: until}}},
		"some":     {&v1alpha1.Recall{Keep: ptr.To[int64](8), Until: metav1.NewTime(until)}, []lend.Floor{{Name: "recall", Units: 8, From: now, Until: until}}},
		"too many": {&v1alpha1.Recall{Keep: ptr.To[int64](41), Until: metav1.NewTime(until)}, []lend.Floor{{Name: "recall", Units: 40, From: now, Until: until}}},
		"over":     {&v1alpha1.Recall{Until: metav1.NewTime(now)}, nil},
		"nothing":  {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l, _, _ := chat(t, nil, func(s *v1alpha1.LendingPolicySpec) { s.Owned, s.Recall = ptr.To[int64](40), test.recall })
			if diff := cmp.Diff(test.want, l.Floors); diff != "" || l.Problem != nil || l.Hold != nil {
				t.Errorf("problem %v, hold %v (-want +got):\n%s", l.Problem, l.Hold, diff)
			}
		})
	}
	l, _, _ := chat(t, nil, func(s *v1alpha1.LendingPolicySpec) { s.Paused = true })
	if l.Hold == nil || l.Hold.Reason != "Paused" {
		t.Errorf("hold %+v, want that it is paused", l.Hold)
	}
}

// TestWindowsPass: a window that is over makes room for the next one.
func TestWindowsPass(t *testing.T) {
	p := policy("chat", 12)
	p.Spec.Schedule = []v1alpha1.Window{{Start: "0 8 * * *", End: "0 18 * * *", Keep: 8}}
	g, _ := newGatherer(append(without(cluster(), "chat", "LendingPolicy"), p)...)
	day := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct{ at, from time.Duration }{
		{7 * time.Hour, 8 * time.Hour}, {9 * time.Hour, 8 * time.Hour}, {18 * time.Hour, 32 * time.Hour}, {10 * time.Hour, 8 * time.Hour},
	} {
		view, err := g.Gather(t.Context(), day.Add(test.at), 1)
		if err != nil {
			t.Fatal(err)
		}
		if f := view.Snapshot.Lenders[0].Floors; len(f) != 1 || !f[0].From.Equal(day.Add(test.from)) {
			t.Errorf("at %s: %+v, want it from %s", test.at, f, test.from)
		}
	}
}

// memory is a Demand that notes what it is told.
type memory struct {
	shape   demand.Shape
	started map[string]time.Duration
	kept    map[string]bool
	unread  bool
}

func (m *memory) Observe(_ string, _ time.Time, load lend.Load, shape demand.Shape) lend.Load {
	m.shape = shape
	load.Panic = 42
	return load
}
func (m *memory) Forecast(string, time.Time) *lend.Forecast { return &lend.Forecast{Growth: 1.5} }
func (m *memory) Notice(string) time.Duration               { return 90 * time.Second }
func (m *memory) SawStart(_, uid string, scheduled, ready time.Time) {
	m.started[uid] = ready.Sub(scheduled)
}
func (m *memory) Unread(string, time.Time) bool { return m.unread }
func (m *memory) Keep(names map[string]bool)    { m.kept = names }

// prepared is a Hooks that has one answer.
type prepared struct{ lend.Preparation }

func (p prepared) State(*v1alpha1.LendingPolicy) *lend.Preparation { return &p.Preparation }

// TestMemory: what is remembered and prepared enters the snapshot, and how replicas
// started is told.
func TestMemory(t *testing.T) {
	at := func(ago time.Duration) metav1.Time { return metav1.Time{Time: now.Add(-ago)} }
	serves := func(name string, scheduled, ready time.Duration, restarts int32) pod {
		p := online(name).on("gpu-1")
		p.Status.Conditions = []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at(scheduled)},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at(ready)},
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: restarts}}
		return p
	}
	p := policy("chat", 12)
	p.Spec.Headroom.Quantile = "0.995"
	g, signals := newGatherer(append(without(cluster(), "chat", "LendingPolicy"), p,
		serves("first", 3*time.Hour, 3*time.Hour-45*time.Second, 0), serves("again", time.Hour, time.Minute, 1), serves("long", 3*time.Hour, time.Minute, 0))...)
	idle := signal.Readings{"chat-1": {At: now}}
	signals.sample = heard(idle, idle, idle)
	m := &memory{started: map[string]time.Duration{}}
	g.Demand, g.Hooks = m, prepared{lend.Preparation{Message: "warming"}}
	view, err := g.Gather(t.Context(), now, 1)
	if err != nil {
		t.Fatal(err)
	}
	l := view.Snapshot.Lenders[0]
	if l.Load.Panic != 42 || l.Notice != 90*time.Second || l.Forecast == nil || l.Forecast.Growth != 1.5 || l.Prepare == nil || l.Prepare.Message != "warming" {
		t.Errorf("got %+v", l)
	}
	if m.shape != (demand.Shape{Quantile: 0.995, MaxGrace: time.Minute}) || !m.kept["serving/chat"] || len(m.kept) != 1 {
		t.Errorf("told %+v, kept %v", m.shape, m.kept)
	}
	if diff := cmp.Diff(map[string]time.Duration{"first": 45 * time.Second}, m.started); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
	if l.Hold != nil {
		t.Errorf("hold %+v", l.Hold)
	}
	m.unread = true
	if view, err = g.Gather(t.Context(), now, 2); err != nil {
		t.Fatal(err)
	}
	if h := view.Snapshot.Lenders[0].Hold; h == nil || h.Reason != "PastUnread" {
		t.Errorf("with its past unread: hold %+v", h)
	}
	for _, text := range []string{"0.0", "1.5", "high"} {
		l, _, _ := chat(t, nil, func(s *v1alpha1.LendingPolicySpec) { s.Headroom.Quantile = text })
		if want := `spec.headroom.quantile: "` + text + `" is not above 0 and below 1`; l.Problem == nil || l.Problem.Message != want {
			t.Errorf("problem %v, want %s", l.Problem, want)
		}
	}
}

// TestPools: nodes of a first pool are lent last, those of no pool first.
func TestPools(t *testing.T) {
	p := policy("chat", 12)
	pool := func(product string) v1alpha1.Pool {
		return v1alpha1.Pool{NodeSelector: map[string]string{"product": product}}
	}
	p.Spec.Pools = []v1alpha1.Pool{pool("h100"), pool("l40s")}
	other := policy("other", 2)
	other.Spec.Pools = []v1alpha1.Pool{pool("none"), pool("h100")}
	view := gatherAll(t, append(without(cluster(), "chat", "LendingPolicy"), p, other, node("gpu-5", "l40s", 4),
		tenant("third", flavor("l40s", "l40s", 4)))...)
	got := map[string]int32{}
	for _, n := range view.Snapshot.Nodes {
		got[n.Name] = n.LendLast
	}
	if diff := cmp.Diff(map[string]int32{"gpu-0": 2, "gpu-1": 2, "gpu-5": 1, "gpu-9": 0}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
