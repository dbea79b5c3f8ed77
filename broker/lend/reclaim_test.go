package lend

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// four is a cluster of four nodes of 8 h100. chat (pods of 8) runs on d; code (pods
// of 4) runs on a and c. Loans: small, 4 on a; gang, 8 on b and 4 on c.
func four() Snapshot {
	known := Load{Known: true, ObservedAt: noon, Coverage: 1, Requests: 10, Slots: 100}
	lender := func(name string, size, running int64) Lender {
		return Lender{
			Name: name, Tenant: "serving", Flavor: "h100", Owned: 16, UnitsPerPod: size, Desired: running, Running: running,
			Ready: running, LowWater: 0.3, HighWater: 0.7, Cooldown: time.Minute, MaxGrace: 20 * time.Second, Load: known,
		}
	}
	node := func(name string, online int64) Node {
		return Node{Name: name, Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8, Online: online}}}
	}
	loan := func(name string, age time.Duration, grants ...Grant) Loan {
		at := noon.Add(-age)
		return Loan{
			Name: name, Job: name, JobUID: name, Borrower: "research", Grants: grants, Since: at, Checkpoint: at,
			Grace: 30 * time.Second, Live: 1, Pods: 1,
		}
	}
	return Snapshot{
		Now: noon, Epoch: 3,
		Nodes:   []Node{node("a", 4), node("b", 0), node("c", 4), node("d", 8)},
		Tenants: []Tenant{{Name: "serving", Quotas: []Quota{{Flavor: "h100", Nominal: 32}}}},
		Lenders: []Lender{lender("chat", 8, 1), lender("code", 4, 2)},
		Loans: []Loan{
			loan("gang", time.Hour, Grant{"chat", "b", "h100", 8}, Grant{"code", "c", "h100", 4}),
			loan("small", 10*time.Minute, Grant{"code", "a", "h100", 4}),
		},
	}
}

func reclaimed(plan Plan) []string {
	var out []string
	for _, a := range actions(plan, ActionReclaim) {
		out = append(out, a.Loan+" "+a.Reason)
	}
	return out
}

func TestReclaim(t *testing.T) {
	waits := []PendingPod{{Name: "p"}}
	high := func(l *Lender) { l.Load.Requests = 190 } // 95% of two replicas' slots
	for name, tc := range map[string]struct {
		change func(in *Snapshot)
		want   []string
	}{
		"nothing is owed": {func(in *Snapshot) {}, nil},
		"the cheap loan makes room for a small pod": {
			func(in *Snapshot) { in.Lenders[1].Pending = waits }, []string{"small " + ReasonLenderPodPending},
		},
		"a large pod needs the node that the gang holds": {
			func(in *Snapshot) { in.Lenders[0].Pending = waits }, []string{"gang " + ReasonLenderPodPending},
		},
		// The small pod's victim is spared: the gang, which goes for the high load,
		// frees room for it too.
		"one victim serves two classes": {
			func(in *Snapshot) { in.Lenders[1].Pending = waits; high(&in.Lenders[0]) }, []string{"gang " + ReasonLenderPodPending},
		},
		"room that comes free by itself is enough": {
			func(in *Snapshot) { in.Lenders[1].Pending = waits; in.Loans[1].Finished = true }, nil,
		},
		"leaving pods make room": {
			func(in *Snapshot) {
				in.Lenders[1].Pending, in.Lenders[1].Running, in.Nodes[0].Units[0].Leaving = waits, 1, 4
			}, nil,
		},
		"nothing is taken in vain": {
			func(in *Snapshot) { in.Lenders[0].Pending = waits; in.Nodes[1].Schedulable = false }, nil,
		},
		"nobody gets more than it owns": {
			func(in *Snapshot) { in.Lenders[1].Pending, in.Lenders[1].Owned = waits, 8 }, nil,
		},
		"own quota is never taken": {
			func(in *Snapshot) {
				in.Lenders[0].Pending = waits
				in.Loans[0].Grants[0].Lender, in.Loans[0].Grants[1].Lender = "", ""
			}, nil,
		},
		"an adviser's pods do not wait for a loan": {
			func(in *Snapshot) { in.Lenders[0].Pending, in.Lenders[0].Advise = waits, true }, []string{"gang " + ReasonLenderPodPending},
		},
		"an adviser takes nothing else": {
			func(in *Snapshot) { high(&in.Lenders[0]); in.Lenders[0].Advise = true }, nil,
		},
		"a broken policy still gets its pods placed": {
			func(in *Snapshot) {
				in.Lenders[0].Pending, in.Lenders[0].Problem = waits, &Problem{Reason: "X"}
			}, []string{"gang " + ReasonLenderPodPending},
		},
		"a broken policy takes nothing else": {
			func(in *Snapshot) { high(&in.Lenders[0]); in.Lenders[0].Problem = &Problem{Reason: "X"} }, nil,
		},
		"a young loan is not taken for need": {
			func(in *Snapshot) { in.Lenders[0].Desired, in.Loans[0].Since = 2, noon.Add(-time.Minute) }, nil,
		},
		"an old one is": {
			func(in *Snapshot) { in.Lenders[0].Desired = 2 }, []string{"gang " + ReasonNeedRose},
		},
		"warm units wait for the older loan": {
			func(in *Snapshot) { in.Lenders[1].Warm, in.Loans[1].Since = 1, noon }, []string{"gang " + ReasonNeedRose},
		},
		"a node without which a gang is broken": {
			func(in *Snapshot) { in.Nodes = in.Nodes[1:] }, []string{"small " + ReasonNodeUnhealthy},
		},
		"a blind snapshot loses no node": {func(in *Snapshot) { in.Nodes = nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := four()
			tc.change(&in)
			plan, _ := Decide(in, State{}, DefaultPolicy())
			if diff := cmp.Diff(tc.want, reclaimed(plan)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// At equal loss a lender's own units go first, whatever the loans are called.
func TestReclaimTakesOwnUnitsAtEqualLoss(t *testing.T) {
	in := four()
	in.Lenders[1].Pending = []PendingPod{{Name: "p"}}
	other := in.Loans[1]
	other.Name, other.JobUID, other.Grants = "another", "another", []Grant{{"chat", "b", "h100", 4}}
	in.Loans = []Loan{other, in.Loans[1]}
	in.Nodes[1].Units[0].Other, in.Nodes[2].Units[0].Other = 4, 4
	plan, _ := Decide(in, State{}, DefaultPolicy())
	if diff := cmp.Diff([]string{"small " + ReasonLenderPodPending}, reclaimed(plan)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// For warm units, a job that was stopped too often goes last; for a pod that waits
// the cheapest goes, whoever that is.
func TestReclaimSparesWhoWasStoppedTooOften(t *testing.T) {
	in := four()
	in.Loans[0].Checkpoint = noon.Add(-5 * time.Minute)
	often := State{Jobs: []JobState{{UID: "small"}}}
	for i := range 4 {
		often.Jobs[0].Evictions = append(often.Jobs[0].Evictions, noon.Add(time.Duration(i-30)*time.Minute))
	}
	in.Lenders[1].Warm = 1
	for name, tc := range map[string]struct {
		prev State
		want string
	}{"never stopped": {State{}, "small"}, "stopped often": {often, "gang"}} {
		plan, _ := Decide(in, tc.prev, DefaultPolicy())
		if diff := cmp.Diff([]string{tc.want + " " + ReasonNeedRose}, reclaimed(plan)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	in.Lenders[1].Pending = []PendingPod{{Name: "p"}}
	plan, _ := Decide(in, often, DefaultPolicy())
	// The gang makes room for the warm unit as well, and small is spared. It goes for the
	// sake of the pod that waits nonetheless.
	if diff := cmp.Diff([]string{"gang " + ReasonLenderPodPending}, reclaimed(plan)); diff != "" {
		t.Errorf("pending and warm (-want +got):\n%s", diff)
	}
	in.Lenders[1].Warm = 0
	plan, _ = Decide(in, often, DefaultPolicy())
	if diff := cmp.Diff([]string{"small " + ReasonLenderPodPending}, reclaimed(plan)); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
}

// A pod that waits is not made to wait longer because another lender, which allows more,
// needs so much that who would have gone for the pod is spared.
func TestReclaimHurriesForTheMostUrgent(t *testing.T) {
	in := four()
	in.Loans[0].Checkpoint = noon.Add(-5 * time.Minute)
	often := State{Jobs: []JobState{{UID: "small"}}}
	for i := range 4 {
		often.Jobs[0].Evictions = append(often.Jobs[0].Evictions, noon.Add(time.Duration(i-30)*time.Minute))
	}
	in.Loans[0].Grants[1].Lender = "chat"
	in.Lenders[0].Warm, in.Lenders[0].MaxGrace = 1, time.Minute
	in.Lenders[1].Pending, in.Lenders[1].MaxGrace = []PendingPod{{Name: "p"}}, 5*time.Second
	for i := range in.Loans {
		in.Loans[i].Grace = time.Hour
	}
	plan, _ := Decide(in, often, DefaultPolicy())
	asked := reclaims(&plan)
	if len(asked) == 0 {
		t.Fatal("nothing is asked back")
	}
	for _, a := range asked {
		if a.Reason == ReasonLenderPodPending && a.ReclaimBy.Sub(noon) > 5*time.Second || len(asked) == 1 && a.Reason != ReasonLenderPodPending {
			t.Errorf("%s of %s by %s: the pod may wait for 5 s", a.Reason, a.Loan, a.ReclaimBy)
		}
	}
}

// A lender that is owed what cannot be had yet lends nothing more: it would only
// have to take that back as well.
func TestNothingIsLentWhileSomethingIsOwed(t *testing.T) {
	in := four()
	in.Tenants[0].Cohort = "lab"
	in.Tenants = append([]Tenant{{Name: "research", Cohort: "lab", Quotas: []Quota{{Flavor: "h100"}}}}, in.Tenants...)
	in.Queues = []Queue{{Name: "q", Tenant: "research"}}
	in.Jobs = []Job{{Name: "j", UID: "j", Tenant: "research", Queue: "q", Flavor: "h100", Pods: 1, UnitsPerPod: 4}}
	in.Loans = in.Loans[:1]
	in.Lenders = in.Lenders[:1]
	in.Lenders[0].Owned = 32
	plan, _ := Decide(in, State{At: in.Now}, DefaultPolicy())
	if newlyLent(plan, "chat") != 4 {
		t.Fatalf("with nothing owed, the plan is %+v", plan.Actions)
	}
	in.Lenders[0].Desired, in.Loans[0].Since = 2, noon.Add(-time.Minute)
	plan, _ = Decide(in, State{At: in.Now}, DefaultPolicy())
	if len(plan.Actions) > 0 || plan.Lenders[0].Lendable != 0 {
		t.Errorf("with a pod owed and the loan young, the plan is %+v", plan)
	}
}

// A reclaim carries what the actuator and the auditor need, and starts the cooldown
// of who asked.
func TestReclaimAction(t *testing.T) {
	in := four()
	in.Lenders[1].Pending = []PendingPod{{Name: "p"}}
	in.Lenders[1].MaxGrace = 5 * time.Second
	in.Loans[1].Grants[0].Lender = "chat" // who allows more than code, which asks
	plan, next := Decide(in, State{Decisions: 41}, DefaultPolicy())
	want := []Action{{
		Kind: ActionReclaim, Loan: "small", Job: "small", JobUID: "small",
		ReclaimBy: noon.Add(5 * time.Second), ReclaimID: "r-3-42",
		LostWork: 4 * (600 + 60), // ten minutes and the restart, on 4 units
		Owed:     []Owed{{Lender: "code", Flavor: "h100", UnitsPerPod: 4, Pods: 1}},
		Asking:   []string{"code"},
		Reason:   ReasonLenderPodPending, Message: "online pods of code wait for the units",
	}}
	if diff := cmp.Diff(want, plan.Actions); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if at := next.Lenders[1].LastReclaim; !at.Equal(noon) {
		t.Errorf("code was last given units at %v", at)
	}
	if at := next.Lenders[0].LastReclaim; !at.IsZero() {
		t.Errorf("chat asked for nothing, and has %v", at)
	}
	if len(next.Jobs) != 1 || next.Jobs[0].UID != "small" || len(next.Jobs[0].Evictions) != 1 {
		t.Errorf("evictions: %+v", next.Jobs)
	}
	// The same reclaim, decided again because it was not carried out, counts once.
	in.Now = noon.Add(5 * time.Second)
	if _, next = Decide(in, next, DefaultPolicy()); len(next.Jobs[0].Evictions) != 1 {
		t.Errorf("evictions after a retry: %+v", next.Jobs)
	}
}

// What ends: returned when no pod is left, killed when the grace is over.
func TestLoansEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(l *Loan)
		want   string
	}{
		"active":                       {func(l *Loan) {}, ""},
		"active, not started":          {func(l *Loan) { l.Live = 0 }, ""},
		"ended":                        {func(l *Loan) { l.Finished, l.Live = true, 0 }, "Return Released"},
		"ended, pods going":            {func(l *Loan) { l.Finished = true }, ""},
		"reclaimed and gone":           {func(l *Loan) { l.Reclaiming, l.Live = true, 0 }, "Return Returned"},
		"preempted and gone":           {func(l *Loan) { l.Preempted, l.Live = true, 0 }, "Return Preempted"},
		"grace runs":                   {func(l *Loan) { l.Reclaiming, l.ReclaimBy = true, noon.Add(1) }, ""},
		"grace over":                   {func(l *Loan) { l.Reclaiming, l.ReclaimBy = true, noon }, "Evict GraceExpired"},
		"grace over, killed already":   {func(l *Loan) { l.Reclaiming, l.ReclaimBy, l.Killed = true, noon, true }, ""},
		"reclaimed, no deadline known": {func(l *Loan) { l.Reclaiming = true }, "Evict GraceExpired"},
	} {
		t.Run(name, func(t *testing.T) {
			in := four()
			tc.change(&in.Loans[1])
			plan, _ := Decide(in, State{At: in.Now}, DefaultPolicy())
			var got string
			if i := slices.IndexFunc(plan.Actions, func(a Action) bool { return a.Loan == "small" }); i >= 0 {
				got = string(plan.Actions[i].Kind) + " " + plan.Actions[i].Reason
			}
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// A pod waits and one more is needed: each alone would be served by the loan of one unit
// that loses least, and both together by one of two units that loses less than those.
func TestReclaimChoosesForAllClassesTogether(t *testing.T) {
	in := four()
	in.Nodes = []Node{{Name: "a", Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8, Online: 4}}}}
	in.Lenders = in.Lenders[1:] // code
	l := &in.Lenders[0]
	l.UnitsPerPod, l.Owned, l.Running, l.Ready, l.Desired, l.Warm = 1, 8, 4, 4, 4, 1
	l.Pending = []PendingPod{{Name: "p"}}
	l.Load.Slots = 1000
	loan := func(name string, lost time.Duration, units int64) Loan {
		return Loan{
			Name: name, Job: name, JobUID: name, Borrower: "research", Pods: 1, Live: 1, Grace: time.Second,
			Grants: []Grant{{"code", "a", "h100", units}}, Since: noon.Add(-time.Hour), Checkpoint: noon.Add(-lost),
		}
	}
	in.Loans = []Loan{loan("both", 2*time.Minute, 2), loan("one", 4*time.Minute, 1), loan("other", 270*time.Second, 1)}
	plan, _ := Decide(in, State{}, DefaultPolicy())
	if diff := cmp.Diff([]string{"both " + ReasonLenderPodPending}, reclaimed(plan)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
