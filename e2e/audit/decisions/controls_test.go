package decisions

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Every finding has its negative control: a decision with just that fault.
func TestFaultsAreFound(t *testing.T) {
	for name, tc := range map[string]struct {
		waiting int
		change  func(*lend.Record)
		law     int
		want    string
	}{
		"inflated claim": {1, func(r *lend.Record) { owed(r).Pods = 3 }, 5, "is owed 3 pods, and all that it runs, waits for and needs makes at most 1"},
		"claim of an adviser": {1, func(r *lend.Record) { r.Snapshot.Lenders[0].Advise = true }, 5,
			"is owed 1 pods, and all that it runs, waits for and needs makes at most 0"},
		"need behind a problem": {2, func(r *lend.Record) {
			l := &r.Snapshot.Lenders[0]
			l.Problem, l.Pending = &lend.Problem{Reason: "TargetNotFound"}, l.Pending[:1]
		}, 5, "is owed 2 pods, and all that it runs, waits for and needs makes at most 1"},
		"load of a blind lender": {2, func(r *lend.Record) {
			l := &r.Snapshot.Lenders[0]
			l.Pending, l.Desired, l.Load = nil, 1, lend.Load{Requests: 1000, Slots: 32}
		}, 5, "is owed 2 pods, and all that it runs, waits for and needs makes at most 0"},
		"claim in another shape":  {1, func(r *lend.Record) { owed(r).UnitsPerPod = 4 }, 5, "its pods are of 8 h100"},
		"claim of nobody":         {1, func(r *lend.Record) { owed(r).Lender = "serving/gone" }, 5, "serving/gone, which is no lender"},
		"no claim, all nodes":     {1, func(r *lend.Record) { reclaimIn(r).Owed = nil }, 5, "is asked back for nobody"},
		"own quota":               {1, func(r *lend.Record) { victimIn(r).Grants[0].Lender = "" }, 5, "use of its tenant's own quota"},
		"a loan that is not open": {1, func(r *lend.Record) { reclaimIn(r).Loan = "research/x" }, 5, "no open loan"},

		"lends while load is unknown": {0, func(r *lend.Record) { lends(r); r.Snapshot.Lenders[0].Load.Known = false }, 4, "its load is unknown"},
		"lends on a stale load":       {0, func(r *lend.Record) { lends(r); r.Snapshot.Lenders[0].Load.ObservedAt = now.Add(-time.Minute) }, 4, "its load is 1m0s old"},
		"lends on a thin load":        {0, func(r *lend.Record) { lends(r); r.Snapshot.Lenders[0].Load.Coverage = 0.5 }, 4, "50% of its replicas"},
		"lends beside a waiting pod":  {1, func(r *lend.Record) { r.Plan.Actions = nil; lends(r) }, 4, "1 of its pods wait"},
		"lends for an adviser":        {0, func(r *lend.Record) { lends(r); r.Snapshot.Lenders[0].Advise = true }, 4, "only takes advice"},
		"lends for a broken policy":   {0, func(r *lend.Record) { lends(r); r.Snapshot.Lenders[0].Problem = &lend.Problem{} }, 4, "cannot be used"},
		"lends for nobody":            {0, func(r *lend.Record) { lends(r).Grants[0].Lender = "serving/gone" }, 4, "nothing is known"},

		"lends what is held":     {0, func(r *lend.Record) { lends(r); r.Snapshot.Nodes[0].Units[0].Other = 1 }, 1, "8 h100 on n0, 1 too many"},
		"lends on a broken node": {0, func(r *lend.Record) { lends(r); r.Snapshot.Nodes[0].Schedulable = false }, 1, "8 too many"},
		"lends more than is owned": {0, func(r *lend.Record) { lends(r); r.Snapshot.Lenders[0].Owned = 16 }, 2,
			"lends 24 units and owns 16"},
		"own quota in the owner's way": {0, func(r *lend.Record) { lends(r).Grants[0] = lend.Grant{Node: "n0", Flavor: "h100", Count: 1} }, 2,
			"3 pods of 8 h100 no longer fit"},
	} {
		t.Run(name, func(t *testing.T) {
			r := recorded(tc.waiting)
			tc.change(&r)
			got := audit(t, r)
			if !slices.ContainsFunc(got.Violations, func(f Finding) bool {
				return f.Law == tc.law && f.Decision == 1 && strings.Contains(f.Text, tc.want)
			}) {
				t.Errorf("violations %v, want one of law %d with %q", got.Violations, tc.law, tc.want)
			}
			for _, f := range got.Violations {
				if f.Law != tc.law {
					t.Errorf("also found: %v", f)
				}
			}
		})
	}
}

// An inflated claim does not hide the victims that it asks for.
func TestInflatedClaimDoesNotHideNeedlessVictims(t *testing.T) {
	r := recorded(1)
	o := owed(&r)
	o.Pods = 2
	second := *reclaimIn(&r)
	second.Loan = "research/l0"
	if second.Loan == r.Plan.Actions[0].Loan {
		second.Loan = "research/l1"
	}
	r.Plan.Actions = append(r.Plan.Actions, second)
	if got := audit(t, r); len(got.Needless) != 2 || len(got.Violations) != 1 {
		t.Errorf("%+v: want both victims needless beside each other, and the claim a violation", got)
	}
}

// A broken gang is taken back for nobody, and rightly.
func TestLostNodeExcusesAReclaim(t *testing.T) {
	r := recorded(0)
	r.Snapshot.Nodes = r.Snapshot.Nodes[1:]
	r.Plan, _ = lend.Decide(r.Snapshot, r.State, r.Policy)
	if got := audit(t, r); got.Victims != 1 || len(got.Violations)+len(got.Needless)+len(got.Differing) != 0 {
		t.Errorf("%+v: want one loan asked back, and nothing wrong with that", got)
	}
}

// A gang that found no nodes is taken back for nobody, and rightly; one that runs
// is not.
func TestOnlyAGangThatNeverStartedExcusesAReclaim(t *testing.T) {
	for bound, want := range map[int64]int{0: 0, 1: 1} {
		r := recorded(1)
		victimIn(&r).Bound = bound
		a := reclaimIn(&r)
		a.Owed, a.Reason = nil, lend.ReasonNotStarted
		if got := audit(t, r); len(got.Violations) != want {
			t.Errorf("%d of 1 pods bound: violations %v, want %d", bound, got.Violations, want)
		}
	}
}

// A gang whose node others have filled is taken back for nobody, and rightly; one that
// has all its nodes is not, nor one on whose node there is room, or will be.
func TestOnlyACrowdedGangExcusesAReclaim(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*lend.Record, *lend.Units, *lend.Loan)
		want   int
	}{
		"others came first":     {func(_ *lend.Record, u *lend.Units, _ *lend.Loan) { u.Online = 1 }, 0},
		"its node is not full":  {func(*lend.Record, *lend.Units, *lend.Loan) {}, 1},
		"it runs":               {func(_ *lend.Record, u *lend.Units, l *lend.Loan) { u.Online, l.Bound = 1, 1 }, 1},
		"they go":               {func(_ *lend.Record, u *lend.Units, _ *lend.Loan) { u.Online, u.Leaving = 1, 1 }, 1},
		"units broke":           {func(_ *lend.Record, u *lend.Units, _ *lend.Loan) { u.Capacity, u.Broken = 7, 1 }, 1},
		"another node is full":  {func(r *lend.Record, _ *lend.Units, _ *lend.Loan) { r.Snapshot.Nodes[3].Units[0].Other = 1 }, 1},
		"another loan is there": {func(r *lend.Record, _ *lend.Units, l *lend.Loan) { beside(r, l) }, 0},
		"another loan goes":     {func(r *lend.Record, _ *lend.Units, l *lend.Loan) { beside(r, l).Reclaiming = true }, 1},
		"another loan sheds": {func(r *lend.Record, _ *lend.Units, l *lend.Loan) {
			o := beside(r, l)
			o.Shedding = o.Grants
		}, 1},
		"one of two is enough": {func(r *lend.Record, _ *lend.Units, l *lend.Loan) {
			second := *reclaimIn(r)
			second.Loan = beside(r, l).Name
			r.Plan.Actions = append(r.Plan.Actions, second)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := recorded(1)
			l, a := victimIn(&r), reclaimIn(&r)
			a.Owed, a.Reason = nil, lend.ReasonCrowdedOut
			i := slices.IndexFunc(r.Snapshot.Nodes, func(n lend.Node) bool { return n.Name == l.Grants[0].Node })
			tc.change(&r, &r.Snapshot.Nodes[i].Units[0], l)
			if got := audit(t, r); len(got.Violations) != tc.want {
				t.Errorf("violations %v, want %d", got.Violations, tc.want)
			}
		})
	}
}

// beside adds a loan of as many units on the same node.
func beside(r *lend.Record, l *lend.Loan) *lend.Loan {
	other := *l
	other.Name, other.JobUID = "research/beside", "beside"
	r.Snapshot.Loans = append(slices.Clone(r.Snapshot.Loans), other)
	return &r.Snapshot.Loans[len(r.Snapshot.Loans)-1]
}

// Units that were asked back are not lent again before the cooldown is over.
func TestLendingInTheCooldownIsFound(t *testing.T) {
	for after, want := range map[time.Duration]int{29 * time.Second: 1, 30 * time.Second: 0} {
		first := recorded(1)
		first.Snapshot.Lenders[0].Cooldown = 30 * time.Second
		first.Plan, _ = lend.Decide(first.Snapshot, first.State, first.Policy)
		second := following(first, after)
		lends(&second)
		got := audit(t, first, second)
		if len(got.Violations) != want || want == 1 && got.Violations[0].Law != 6 {
			t.Errorf("%s after: violations %v, want %d of law 6", after, got.Violations, want)
		}
	}
}

// What the scheduler took back by itself begins a cooldown too.
func TestLendingAfterATakeBackIsFound(t *testing.T) {
	r := recorded(0)
	r.Snapshot.Lenders[0].Cooldown = time.Minute
	r.Snapshot.Loans[1].Preempted = true
	lends(&r)
	if got := audit(t, r); len(got.Violations) != 1 || got.Violations[0].Law != 6 {
		t.Errorf("violations %v, want one of law 6", got.Violations)
	}
}

func TestMissingDecisionsAreCounted(t *testing.T) {
	one := recorded(0)
	two := following(one, time.Second)
	three := following(two, time.Second)
	if got := audit(t, one, two, three); got.Missing != 0 || len(got.Differing) != 0 {
		t.Errorf("%+v: want none missing", got)
	}
	if got := audit(t, one, three); got.Missing != 1 {
		t.Errorf("%d missing, want the second", got.Missing)
	}
	if got := audit(t, three); got.Missing != 2 {
		t.Errorf("%d missing, want the first two", got.Missing)
	}
	if got := audit(t, one, two, one); got.Missing != 0 {
		t.Errorf("%d missing, want none: the broker began anew", got.Missing)
	}
	two.State.Lenders[0].LowSince = now.Add(-time.Hour)
	if got := audit(t, one, two); !slices.ContainsFunc(got.Differing, func(f Finding) bool { return strings.Contains(f.Text, "another state") }) {
		t.Errorf("differing %v, want the changed state", got.Differing)
	}
}

// Whatever the core decides on random clusters, over several decisions, is lawful.
func TestTheCoreIsLawful(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := lend.Record{Snapshot: anyCluster(rt), Policy: lend.DefaultPolicy()}
		var records []lend.Record
		for range rapid.IntRange(1, 4).Draw(rt, "decisions") {
			var next lend.State
			r.Plan, next = lend.Decide(r.Snapshot, r.State, r.Policy)
			records = append(records, r)
			r.State = next
			r.Snapshot = carriedOut(r)
			step := time.Duration(rapid.IntRange(1, 120).Draw(rt, "seconds")) * time.Second
			r.Snapshot.Now = r.Snapshot.Now.Add(step)
			if n := rapid.IntRange(0, 2*len(r.Snapshot.Nodes)).Draw(rt, "crowded"); n < len(r.Snapshot.Nodes) {
				r.Snapshot.Nodes = alsoOn(r.Snapshot.Nodes, n)
			}
			for i := range r.Snapshot.Lenders {
				r.Snapshot.Lenders[i].Desired = int64(rapid.IntRange(0, 4).Draw(rt, "desired"))
				r.Snapshot.Lenders[i].Load = anyLoad(rt, r.Snapshot.Now)
			}
		}
		got := audit(t, records...)
		if len(got.Violations)+len(got.Needless)+len(got.Differing) != 0 || got.Missing != 0 {
			rt.Fatalf("%+v", got)
		}
	})
}

// alsoOn lets somebody in on a node whom nobody has reckoned with.
func alsoOn(nodes []lend.Node, at int) []lend.Node {
	nodes = slices.Clone(nodes)
	n := &nodes[at]
	n.Units = slices.Clone(n.Units)
	n.Units[0].Other++
	return nodes
}

// anyCluster has two lenders of different shapes, one team that borrows and one
// with quota of its own.
func anyCluster(t *rapid.T) lend.Snapshot {
	nodes := rapid.IntRange(1, 5).Draw(t, "nodes")
	half := int64(nodes) * 8 / 2
	in := lend.Snapshot{
		Now: now, Epoch: 1,
		Tenants: []lend.Tenant{
			{Name: "research", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "h100", Nominal: int64(rapid.IntRange(0, 8).Draw(t, "own"))}}},
			{Name: "serving", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 2 * half}}},
		},
		Queues: []lend.Queue{{Name: "research/default", Tenant: "research", Backfill: true}},
	}
	for i := range nodes {
		in.Nodes = append(in.Nodes, lend.Node{
			Name: fmt.Sprintf("n%d", i), Schedulable: rapid.IntRange(0, 9).Draw(t, "cordoned") > 0,
			Units: []lend.Units{{Flavor: "h100", Capacity: 8, Other: int64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "other"))}},
		})
	}
	for i, size := range []int64{8, rapid.SampledFrom([]int64{1, 2, 4, 8}).Draw(t, "size")} {
		l := lend.Lender{
			Name: fmt.Sprintf("serving/s%d", i), Tenant: "serving", Flavor: "h100", Owned: half, UnitsPerPod: size,
			Desired: int64(rapid.IntRange(0, 2).Draw(t, "desired")), Ready: 1,
			LowWater: 0.5, HighWater: 0.8, Cooldown: time.Minute, MaxGrace: time.Minute,
			Warm: int64(rapid.IntRange(0, 4).Draw(t, "warm")), Load: anyLoad(t, now),
		}
		if rapid.IntRange(0, 9).Draw(t, "problem") == 0 {
			l.Problem = &lend.Problem{Reason: "TargetNotFound", Message: "no such target"}
		}
		for p := range rapid.IntRange(0, 2).Draw(t, "pending") {
			l.Pending = append(l.Pending, lend.PendingPod{Name: fmt.Sprintf("p%d", p), Since: now})
		}
		in.Lenders = append(in.Lenders, l)
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "loans") {
		node := rapid.IntRange(0, nodes-1).Draw(t, "node")
		count := rapid.SampledFrom([]int64{1, 2, 4, 8}).Draw(t, "count")
		free := &in.Nodes[node].Units[0]
		if left := free.Capacity - free.Other - lentOn(&in, node); left < count {
			continue
		}
		in.Loans = append(in.Loans, lend.Loan{
			Name: fmt.Sprintf("research/l%d", i), Job: fmt.Sprintf("research/j%d", i), JobUID: fmt.Sprintf("j%d", i),
			Borrower: "research", Queue: "research/default", Attempt: 1, Pods: 1, Live: 1, Bound: int64(rapid.IntRange(0, 1).Draw(t, "bound")),
			Grants: []lend.Grant{{Lender: fmt.Sprintf("serving/s%d", i%2), Node: in.Nodes[node].Name, Flavor: "h100", Count: count}},
			Since:  now.Add(-time.Hour), Checkpoint: now.Add(-time.Duration(i+1) * time.Minute),
			Preempted: rapid.IntRange(0, 9).Draw(t, "preempted") == 0,
		})
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "jobs") {
		in.Jobs = append(in.Jobs, lend.Job{
			Name: fmt.Sprintf("research/w%d", i), UID: fmt.Sprintf("w%d", i), Tenant: "research", Queue: "research/default",
			Created: now.Add(-time.Hour), Flavor: "h100", Pods: int64(rapid.IntRange(1, 2).Draw(t, "pods")),
			UnitsPerPod: rapid.SampledFrom([]int64{1, 2, 4, 8}).Draw(t, "units"),
		})
	}
	return in
}

func lentOn(in *lend.Snapshot, node int) int64 {
	n := int64(0)
	for _, l := range in.Loans {
		for _, g := range l.Grants {
			if g.Node == in.Nodes[node].Name {
				n += g.Count
			}
		}
	}
	return n
}

func anyLoad(t *rapid.T, at time.Time) lend.Load {
	return lend.Load{
		Known: rapid.IntRange(0, 5).Draw(t, "known") > 0, ObservedAt: at.Add(-time.Duration(rapid.SampledFrom([]int{0, 10, 60}).Draw(t, "age")) * time.Second),
		Coverage: rapid.SampledFrom([]float64{1, 1, 0.5}).Draw(t, "coverage"),
		Requests: float64(rapid.IntRange(0, 60).Draw(t, "requests")), Slots: 16,
	}
}

// carriedOut is the cluster after a plan, had it been carried out at once.
func carriedOut(r lend.Record) lend.Snapshot {
	in := r.Snapshot
	in.Lenders, in.Loans, in.Jobs = slices.Clone(in.Lenders), slices.Clone(in.Loans), slices.Clone(in.Jobs)
	for _, a := range r.Plan.Actions {
		switch a.Kind {
		case lend.ActionReclaim, lend.ActionReturn:
			in.Loans = slices.DeleteFunc(in.Loans, func(l lend.Loan) bool { return l.Name == a.Loan })
		case lend.ActionLend:
			in.Jobs = slices.DeleteFunc(in.Jobs, func(j lend.Job) bool { return j.UID == a.JobUID })
			in.Loans = append(in.Loans, lend.Loan{
				Name: a.Loan, Job: a.Job, JobUID: a.JobUID, Borrower: "research", Queue: "research/default",
				Attempt: a.Attempt, Pods: 1, Bound: 1, Live: 1, Grants: a.Grants, Since: in.Now, Checkpoint: in.Now,
			})
		}
	}
	return in
}

// following is the next decision on the same cluster, later.
func following(r lend.Record, after time.Duration) lend.Record {
	_, r.State = lend.Decide(r.Snapshot, r.State, r.Policy)
	in := carriedOut(r)
	in.Now = in.Now.Add(after)
	l := &in.Lenders[0]
	l.Pending, l.Desired, l.Load.ObservedAt = nil, 1, in.Now
	r.Snapshot = in
	r.Plan, _ = lend.Decide(r.Snapshot, r.State, r.Policy)
	return r
}

func reclaimIn(r *lend.Record) *lend.Action {
	i := slices.IndexFunc(r.Plan.Actions, func(a lend.Action) bool { return a.Kind == lend.ActionReclaim })
	return &r.Plan.Actions[i]
}

func owed(r *lend.Record) *lend.Owed { return &reclaimIn(r).Owed[0] }

func victimIn(r *lend.Record) *lend.Loan {
	name := reclaimIn(r).Loan
	i := slices.IndexFunc(r.Snapshot.Loans, func(l lend.Loan) bool { return l.Name == name })
	return &r.Snapshot.Loans[i]
}

// lends adds a loan of a whole node, n0, which is free now.
func lends(r *lend.Record) *lend.Action {
	r.Snapshot.Loans = slices.DeleteFunc(r.Snapshot.Loans, func(l lend.Loan) bool { return l.Grants[0].Node == "n0" })
	r.Plan.Actions = append(r.Plan.Actions, lend.Action{
		Kind: lend.ActionLend, Loan: "research/new", Job: "research/new", JobUID: "new",
		Grants: []lend.Grant{{Lender: "serving/chat", Node: "n0", Flavor: "h100", Count: 8}},
	})
	return &r.Plan.Actions[len(r.Plan.Actions)-1]
}
