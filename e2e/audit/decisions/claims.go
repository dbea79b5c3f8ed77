package decisions

import (
	"fmt"
	"math"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// most bounds what is counted, so that no sum of it overflows.
const most = 1 << 40

// asleep: the service is scaled to zero, and idle by its owner's own word.
func asleep(l *lend.Lender) bool { return l.Desired == 0 && l.Running == 0 && len(l.Pending) == 0 }

// loadUnknown says why a lender's load tells nothing; empty if it can be used.
func loadUnknown(l *lend.Lender, now time.Time, pol *lend.Policy) string {
	load := &l.Load
	age := now.Sub(load.ObservedAt)
	switch {
	case !load.Known:
		return "its load is unknown"
	case age < 0 || age > pol.StaleAfter:
		return fmt.Sprintf("its load is %s old", age)
	case !numbers(load):
		return "its load is not a number"
	case load.Slots == 0 && len(load.Signals) == 0 && !asleep(l):
		return "it has no signal"
	case asleep(l):
		return ""
	case !(load.Coverage >= pol.Quorum):
		return fmt.Sprintf("%.0f%% of its replicas were heard from, fewer than %.0f%%", load.Coverage*100, pol.Quorum*100)
	case l.Ready <= 0 && l.Desired > 0:
		return "it has no ready replica"
	}
	return ""
}

func numbers(load *lend.Load) bool {
	values := []float64{load.Requests, load.Slots}
	for _, s := range load.Signals {
		values = append(values, s.Value, s.Low, s.High)
	}
	for _, v := range values {
		if !(v >= 0) || math.IsInf(v, 1) {
			return false
		}
	}
	return true
}

// ceiling is the most pods beyond those running that the facts of a decision let a
// lender be owed: pods that wait or are desired, replicas that the load, a panic, the
// schedule or the past needs, and warm ones, within what it owns. It asks nothing of the
// plan.
func ceiling(l *lend.Lender, rec *record) int64 {
	if l.Advise || l.UnitsPerPod <= 0 {
		return 0
	}
	room := max(0, l.Owned/l.UnitsPerPod-l.Running)
	pending := int64(len(l.Pending))
	if l.Problem != nil { // its need is not known, but that pods wait is
		return min(pending, room)
	}
	want := max(l.Desired, l.Running+pending, windows(l, rec.Snapshot.Now))
	switch {
	case loadUnknown(l, rec.Snapshot.Now, &rec.Policy) == "":
		want = max(want, loadNeeds(l, &rec.Policy), panics(l, rec), likely(l, &rec.Policy)) + warm(l, &rec.Policy)
	default:
		want = max(want, blindly(l, rec), panics(l, rec))
	}
	return min(max(0, want-l.Running), room)
}

// replicas serve so many requests at the target utilization.
func replicas(l *lend.Lender, requests float64, pol *lend.Policy) int64 {
	target := pol.TargetUtilization
	if target <= 0 {
		target = lend.DefaultPolicy().TargetUtilization
	}
	if l.Load.Slots <= 0 {
		return 0
	}
	return ceil(requests / (l.Load.Slots * target))
}

// loadNeeds is how many replicas a known load needs.
func loadNeeds(l *lend.Lender, pol *lend.Policy) int64 {
	pods := replicas(l, l.Load.Requests, pol)
	push := l.Steps.Push
	if push <= 0 {
		push = lend.DefaultPush
	}
	running := float64(l.Running)
	pushed := max(running*(1+push), running+float64(l.Steps.PushPods))
	for _, s := range l.Load.Signals {
		if s.Value > s.High {
			pods = max(pods, ceil(min(running*s.Value/s.High, pushed)))
		}
		if s.PerReplica > 0 {
			pods = max(pods, ceil(min(s.Value/s.PerReplica, max(pushed, 1))))
		}
		if s.Rising && s.Value >= s.Low {
			pods = max(pods, l.Running+1)
		}
	}
	return pods
}

// panics is what the last seconds needed, or a panic that was remembered.
func panics(l *lend.Lender, rec *record) int64 {
	pods := int64(0)
	if asked := replicas(l, l.Load.Panic, &rec.Policy); rec.Policy.PanicThreshold > 0 &&
		float64(asked) >= rec.Policy.PanicThreshold*float64(max(l.Ready, 1)) {
		pods = asked
	}
	for _, m := range rec.State.Lenders {
		if m.Name == l.Name && !m.PanicUntil.Before(rec.Snapshot.Now) {
			pods = max(pods, m.PanicPods, replicas(l, l.Load.Panic, &rec.Policy))
		}
	}
	return pods
}

// windows is what the schedule keeps now, or so soon that it has to be asked back.
func windows(l *lend.Lender, now time.Time) int64 {
	notice := max(l.Notice, l.MaxGrace)
	pods := int64(0)
	for _, f := range l.Floors {
		if now.Before(f.Until) && !now.Before(f.From.Add(-notice)) {
			pods = max(pods, ceil(float64(f.Units)/float64(l.UnitsPerPod)))
		}
	}
	return pods
}

// likely is what the past says that the load will need.
func likely(l *lend.Lender, pol *lend.Policy) int64 {
	f := l.Forecast
	if f == nil {
		return 0
	}
	pods := replicas(l, f.Season, pol)
	if pol.DispersionLimit > 0 && f.Dispersion > pol.DispersionLimit {
		pods = max(pods, replicas(l, f.Floor, pol))
	}
	return pods
}

// warm is how many replicas are kept above the need.
func warm(l *lend.Lender, pol *lend.Policy) int64 {
	pods := ceil(float64(l.Warm) / float64(l.UnitsPerPod))
	if f := l.Forecast; f != nil && l.Load.Slots > 0 {
		pods = max(pods, ceil(pol.BurstSigmas*math.Sqrt(l.Load.Requests*max(f.Dispersion, f.Scatter, 1))/l.Load.Slots),
			ceil(float64(replicas(l, l.Load.Requests, pol))*(f.Growth-1)))
	}
	return pods
}

// blindly is how many replicas a lender has room for again whose load has been
// unknown for too long: what was not lent then, and one more with every step.
func blindly(l *lend.Lender, rec *record) int64 {
	for _, m := range rec.State.Lenders {
		late := rec.Snapshot.Now.Sub(m.UnknownSince) - rec.Policy.UnknownGrace
		if m.Name != l.Name || m.UnknownSince.IsZero() || late <= 0 {
			continue
		}
		steps := int64(most)
		if rec.Policy.UnknownStep > 0 {
			steps = int64(late/rec.Policy.UnknownStep) + 1
		}
		return max(0, l.Owned-m.UnknownLent)/l.UnitsPerPod + steps
	}
	return 0
}

// ceil rounds up. The tolerance keeps 7.000000001 from becoming 8.
func ceil(v float64) int64 {
	if !(v > 0) {
		return 0
	}
	return int64(min(math.Ceil(v-1e-9), most))
}
