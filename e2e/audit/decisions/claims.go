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
	case load.Slots == 0 && len(load.Signals) == 0:
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
// lender be owed: pods that wait or are desired, replicas that the load needs, and
// warm ones, within what it owns. It asks nothing of the plan.
func ceiling(l *lend.Lender, rec *record) int64 {
	if l.Advise || l.UnitsPerPod <= 0 {
		return 0
	}
	room := max(0, l.Owned/l.UnitsPerPod-l.Running)
	pending := int64(len(l.Pending))
	if l.Problem != nil { // its need is not known, but that pods wait is
		return min(pending, room)
	}
	want := max(l.Desired, l.Running+pending)
	switch {
	case loadUnknown(l, rec.Snapshot.Now, &rec.Policy) == "":
		want = max(want, loadNeeds(l, &rec.Policy)) + ceil(float64(l.Warm)/float64(l.UnitsPerPod))
	case asleep(l):
		want += ceil(float64(l.Warm) / float64(l.UnitsPerPod))
	default:
		want = max(want, blindly(l, rec))
	}
	return min(max(0, want-l.Running), room)
}

// loadNeeds is how many replicas a known load needs.
func loadNeeds(l *lend.Lender, pol *lend.Policy) int64 {
	target := pol.TargetUtilization
	if target <= 0 {
		target = lend.DefaultPolicy().TargetUtilization
	}
	pods := int64(0)
	if l.Load.Slots > 0 {
		pods = ceil(l.Load.Requests / (l.Load.Slots * target))
	}
	for _, s := range l.Load.Signals {
		if s.Value > s.High { // pushes up, by half at most
			pods = max(pods, ceil(float64(l.Running)*min(s.Value/s.High, 1.5)))
		}
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
