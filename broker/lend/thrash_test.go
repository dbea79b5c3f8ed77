package lend

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Law 5: what a plan takes back is enough for what it says is owed, none of it
// could be spared, and a tenant's own quota is not touched.
func TestLaw5OnlyWhatIsNeededIsTaken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, _ State, in Snapshot, plan Plan) {
			victims := map[string]bool{}
			var owed []Owed
			broken := map[string]bool{}
			for _, a := range actions(plan, ActionReclaim) {
				if a.Reason == ReasonNodeUnhealthy || a.Reason == ReasonNotStarted {
					broken[a.Loan] = true
					continue
				}
				if !forLenders(a) {
					continue
				}
				if !lentTo(loanIn(in, a.Loan)) {
					t.Fatalf("%s uses its tenant's own quota and is reclaimed", a.Loan)
				}
				victims[a.Loan], owed = true, a.Owed
			}
			pods := repeat(owed, "h100")
			if len(victims) > 0 && !packs(look(in, "h100", both(victims, broken, "")).soon, pods) {
				t.Fatalf("owed %v do not fit with %v gone", pods, victims)
			}
			for v := range victims {
				if packs(look(in, "h100", both(victims, broken, v)).soon, pods) {
					t.Fatalf("%s could be spared: owed %v", v, pods)
				}
			}
		}, nil)
	})
}

// forLenders: the reclaim is for online services, and not for a queued job, a broken
// gang or a draining queue.
func forLenders(a Action) bool {
	switch a.Reason {
	case ReasonNodeUnhealthy, ReasonNotStarted, ReasonQueueDraining:
		return false
	}
	return a.Kind == ActionReclaim && a.ReclaimedFor == ""
}

func both(a, b map[string]bool, but string) map[string]bool {
	out := map[string]bool{}
	for k := range a {
		out[k] = k != but
	}
	for k := range b {
		out[k] = true
	}
	return out
}

// Law 6: nothing is lent in the cooldown or before the dwell; young loans go only
// for pods that wait or a load above the high water; a job whose budget is spent is
// not lent to.
func TestLaw6NoThrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		asked := map[string]time.Time{}
		lowFrom := map[string]time.Time{}
		evicted := map[string][]time.Time{}
		first := true
		drive(t, func(t *rapid.T, w *world, before State, in Snapshot, plan Plan) {
			if first {
				first = false
				for _, l := range in.Lenders {
					lowFrom[l.Name] = newWorld().now // a new world is idle from its start
				}
			}
			if before.Decisions == 0 {
				clear(lowFrom)
				clear(asked)
				clear(evicted)
			}
			for _, l := range in.Lenders {
				low := l.Load.Known && l.Load.Requests < 0.3*l.Load.Slots*float64(l.Owned/max(l.UnitsPerPod, 1)) || l.Desired == 0 && l.Running == 0
				if !low {
					delete(lowFrom, l.Name)
				} else if lowFrom[l.Name].IsZero() {
					lowFrom[l.Name] = in.Now
				}
				if newlyLent(plan, l.Name) == 0 {
					continue
				}
				if from := lowFrom[l.Name]; from.IsZero() || in.Now.Sub(from) < l.Dwell {
					t.Fatalf("%s lends, and is low since %v", l.Name, from)
				}
				if at := asked[l.Name]; !at.IsZero() && in.Now.Sub(at) < l.Cooldown {
					t.Fatalf("%s lends in its cooldown", l.Name)
				}
			}
			for _, a := range plan.Actions {
				switch {
				case a.Kind == ActionLend && a.Reason == ReasonLent:
					recent := slices.DeleteFunc(evicted[a.JobUID], func(at time.Time) bool { return in.Now.Sub(at) >= w.policy.EvictionWindow })
					if len(recent) >= w.policy.EvictionBudget {
						t.Fatalf("%s is lent to after %d evictions", a.Job, len(recent))
					}
				case a.Kind == ActionReclaim && a.ReclaimedFor != "":
					evicted[a.JobUID] = append(evicted[a.JobUID], in.Now)
				case forLenders(a):
					checkAge(t, w, in, a)
					evicted[a.JobUID] = append(evicted[a.JobUID], in.Now)
					if len(a.Owed) == 1 {
						asked[a.Owed[0].Lender] = in.Now
					}
				}
			}
		}, nil)
	})
}

func checkAge(t *rapid.T, w *world, in Snapshot, a Action) {
	if a.Reason == ReasonLenderPodPending || a.Reason == ReasonAboveHighWater {
		return
	}
	if age := in.Now.Sub(loanIn(in, a.Loan).Since); age < w.policy.MinimumLoan {
		t.Fatalf("%s is taken back after %s for %s", a.Loan, age, a.Reason)
	}
}

// Law 7: the same input gives the same bytes, arguments are left alone, and a
// record read back replays to the same plan.
func TestLaw7SameInputSamePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, before State, in Snapshot, plan Plan) {
			was := encode(Record{in, before, w.policy, plan}) + encode(w.state)
			again, next := Decide(in, before, w.policy)
			if now := encode(Record{in, before, w.policy, again}) + encode(next); now != was {
				t.Fatalf("first\n%s\nthen\n%s", was, now)
			}
			data, err := MarshalRecord(Record{in, before, w.policy, plan})
			if err != nil {
				t.Fatal(err)
			}
			record, err := ReadRecord(data)
			if err != nil {
				t.Fatal(err)
			}
			record.Plan = record.Replay()
			if replayed, err := MarshalRecord(record); err != nil || !bytes.Equal(replayed, data) {
				t.Fatalf("recorded\n%s\nreplayed (%v)\n%s", data, err, replayed)
			}
		}, nil)
	})
}
