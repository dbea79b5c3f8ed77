package lend

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An elastic loan of eight one-GPU pods on two nodes, of which it can do with five,
// beside a gang of four that stops whole.
func elasticWorld() Snapshot {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	start := now.Add(-time.Hour)
	loan := func(name string, pods, min int64, checkpoint time.Time, grants ...Grant) Loan {
		return Loan{
			Name: "research/" + name, Job: "research/" + name, JobUID: name, Borrower: "research", Queue: "research/default",
			Attempt: 1, Pods: pods, MinPods: min, UnitsPerPod: 1, Grants: grants, Since: start, Checkpoint: checkpoint,
			Grace: time.Minute, Live: pods, Bound: pods,
		}
	}
	grant := func(node string, n int64) Grant {
		return Grant{Lender: "serving/chat", Node: node, Flavor: "h100", Count: n}
	}
	node := func(name string, online int64) Node {
		return Node{Name: name, Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8, Online: online}}}
	}
	return Snapshot{
		Now: now, Epoch: 1,
		Tenants: []Tenant{{Name: "research"}, {Name: "serving", Quotas: []Quota{{Flavor: "h100", Nominal: 16}}}},
		Queues:  []Queue{{Name: "research/default", Tenant: "research", Backfill: true}},
		Nodes:   []Node{node("a", 0), node("b", 4)},
		Lenders: []Lender{{
			Name: "serving/chat", Tenant: "serving", Flavor: "h100", Owned: 16, UnitsPerPod: 1, Running: 4,
			MaxGrace: 30 * time.Second, Load: Load{Known: true, ObservedAt: now},
		}},
		Loans: []Loan{
			// Just saved: stopping it loses next to nothing, and still it stays.
			loan("gang", 4, 0, now, grant("a", 4)),
			loan("tune", 8, 5, start, grant("a", 4), grant("b", 4)),
		},
	}
}

func wait(in *Snapshot, pods int64) {
	in.Lenders[0].Pending = make([]PendingPod, pods)
	for i := range in.Lenders[0].Pending {
		in.Lenders[0].Pending[i] = PendingPod{Name: string(rune('a' + i)), Since: in.Now}
	}
}

func reclaims(p *Plan) (out []Action) {
	for _, a := range p.Actions {
		if a.Kind == ActionReclaim {
			out = append(out, a)
		}
	}
	return out
}

func TestElasticWorkersGoFirst(t *testing.T) {
	in := elasticWorld()
	wait(&in, 3)
	plan, _ := Decide(in, State{}, DefaultPolicy())
	asked := reclaims(&plan)
	if len(asked) != 1 || asked[0].Loan != "research/tune" || units(asked[0].Shed) != 3 {
		t.Fatalf("asked back: %+v, want three units of tune", asked)
	}
	if by := asked[0].ReclaimBy; !by.Equal(in.Now.Add(30 * time.Second)) {
		t.Errorf("by %s, want what the lender allows", by)
	}
	if v := verdictOf(&plan, SubjectLoan, "research/tune"); v != asked[0].Reason {
		t.Errorf("the verdict on tune is %s, want %s", v, asked[0].Reason)
	}
	// One more than it can do without: it still gives three, and the gang goes whole.
	wait(&in, 4)
	plan, _ = Decide(in, State{}, DefaultPolicy())
	asked = reclaims(&plan)
	if len(asked) != 1 || asked[0].Loan != "research/gang" || asked[0].Shed != nil {
		t.Errorf("asked back: %+v, want the gang alone, since it is enough", asked)
	}
	wait(&in, 7)
	plan, _ = Decide(in, State{}, DefaultPolicy())
	asked = reclaims(&plan)
	if len(asked) != 2 || asked[0].Shed != nil || units(asked[1].Shed) != 3 {
		t.Errorf("asked back: %+v, want the gang and three units of tune", asked)
	}
}

// TestSheddingRunsItsCourse: what is being shed comes free, is killed when the grace is
// over, and is returned once its pods are gone; the loan goes on all the while.
func TestSheddingRunsItsCourse(t *testing.T) {
	in := elasticWorld()
	wait(&in, 3)
	tune := &in.Loans[1]
	tune.Pods, tune.ReclaimBy, tune.ReclaimID = 5, in.Now.Add(30*time.Second), "r-1-1"
	tune.Shedding = []Grant{{Lender: "serving/chat", Node: "a", Flavor: "h100", Count: 3}}
	tune.ShedLive = 3
	for name, tc := range map[string]struct {
		edit func()
		want []Action
	}{
		"asked": {func() {}, nil},
		"overdue": {func() { in.Now = tune.ReclaimBy; in.Lenders[0].Load.ObservedAt = in.Now }, []Action{{
			Kind: ActionEvict, Reason: ReasonGraceExpired, Message: "3 pods left when the grace ended at 2026-03-01T12:00:30Z",
		}}},
		"killed": {func() { in.Now = tune.ReclaimBy; tune.ShedKilled = true }, nil},
		"gone": {func() { tune.ShedLive, tune.Live = 0, 5 }, []Action{{
			Kind: ActionReturn, Reason: ReasonReturned, Message: "the units are free after the reclaim",
		}}},
		"gone with the node": {func() {
			tune.ShedLive, tune.Live = 0, 5
			for i := range in.Nodes {
				in.Nodes[i].Silent = in.Nodes[i].Name == tune.Shedding[0].Node
			}
		}, []Action{{
			Kind: ActionReturn, Reason: ReasonNodeUnhealthy, Message: "node a is gone or silent: what it has of the loan is broken",
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			before := in
			before.Loans = append([]Loan(nil), in.Loans...)
			before.Lenders = append([]Lender(nil), in.Lenders...)
			before.Nodes = append([]Node(nil), in.Nodes...)
			defer func() { in, tune = before, &before.Loans[1] }()
			tune = &in.Loans[1]
			tc.edit()
			for i := range tc.want {
				a := &tc.want[i]
				a.Loan, a.Job, a.JobUID, a.Shed = "research/tune", "research/tune", "tune", tune.Shedding
			}
			plan, _ := Decide(in, State{}, DefaultPolicy())
			if diff := cmp.Diff(tc.want, plan.Actions, cmp.Comparer(func(a, b []Action) bool {
				return len(a) == 0 && len(b) == 0 || cmp.Equal([]any{a}, []any{b}, cmp.Comparer(func(x, y time.Time) bool { return x.Equal(y) }))
			})); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if found := CheckLaws(in); found != nil {
				t.Errorf("laws: %v", found)
			}
		})
	}
}

// TestShrinkingFurther: a second pod waits while the first one's units are coming free. The
// loan gives up one more, and the first that it gives up with it.
func TestShrinkingFurther(t *testing.T) {
	in := elasticWorld()
	wait(&in, 2)
	tune := &in.Loans[1]
	tune.Pods, tune.ReclaimBy, tune.ReclaimID, tune.ShedLive = 7, in.Now.Add(20*time.Second), "r-1-1", 1
	tune.Shedding = []Grant{{Lender: "serving/chat", Node: "a", Flavor: "h100", Count: 1}}
	plan, _ := Decide(in, State{}, DefaultPolicy())
	asked := reclaims(&plan)
	if len(asked) != 1 || asked[0].Loan != "research/tune" || units(asked[0].Shed) != 2 {
		t.Fatalf("asked back: %+v, want two units of tune in all", asked)
	}
	if by := asked[0].ReclaimBy; !by.Equal(in.Now.Add(30 * time.Second)) {
		t.Errorf("by %s, want the grace anew", by)
	}
	// What it can do without is counted with what goes already.
	wait(&in, 4)
	plan, _ = Decide(in, State{}, DefaultPolicy())
	for _, a := range reclaims(&plan) {
		if a.Loan == "research/tune" && units(a.Shed) > 3 {
			t.Errorf("asked back: %+v, of which it needs five", a)
		}
	}
}

// TestShrinkingAfterAReturn: what the plan itself returns is not asked for again. Told to
// give up both, a job would go below what it needs.
func TestShrinkingAfterAReturn(t *testing.T) {
	in := elasticWorld()
	wait(&in, 2)
	tune := &in.Loans[1]
	tune.Pods, tune.Live, tune.Bound = 7, 7, 7
	tune.ReclaimBy, tune.ReclaimID, tune.ShedLive = in.Now.Add(20*time.Second), "r-1-1", 0
	tune.Shedding = []Grant{{Lender: "serving/chat", Node: "a", Flavor: "h100", Count: 1}}
	plan, _ := Decide(in, State{}, DefaultPolicy())
	if first := plan.Actions[0]; first.Kind != ActionReturn || units(first.Shed) != 1 {
		t.Fatalf("first: %+v, want the return of one unit", first)
	}
	asked := reclaims(&plan)
	if len(asked) != 1 || asked[0].Loan != "research/tune" || units(asked[0].Shed) != 1 {
		t.Fatalf("asked back: %+v, want one more unit of tune", asked)
	}
}

func units(grants []Grant) (n int64) {
	for _, g := range grants {
		n += g.Count
	}
	return n
}

func verdictOf(p *Plan, kind SubjectKind, subject string) string {
	for _, v := range p.Verdicts {
		if v.Kind == kind && v.Subject == subject {
			return v.Reason
		}
	}
	return ""
}

// TestSheddingInOrder: a job that keeps its lowest indexes gives up the others, also where
// that frees more than is wanted, or nothing; and is stopped whole where they do not help.
func TestSheddingInOrder(t *testing.T) {
	for name, tc := range map[string]struct {
		order []string
		want  map[string]int64 // shed by node; nil: the gang is stopped
	}{
		"any":             {nil, map[string]int64{"b": 1, "a": 1}},
		"the right ones":  {[]string{"b", "b", "a"}, map[string]int64{"b": 2}},
		"one too many":    {[]string{"c", "b", "a"}, map[string]int64{"b": 1, "c": 1, "a": 1}},
		"of no use":       {[]string{"c", "c", "c"}, nil},
		"nobody knows":    {[]string{"elsewhere"}, nil},
		"ends too early":  {[]string{"b"}, nil},
		"none is too few": {[]string{"b", "elsewhere", "b", "a"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := elasticWorld()
			wait(&in, 2)
			in.Nodes = append(in.Nodes, Node{Name: "c", Units: []Units{{Flavor: "h100", Capacity: 8}}}) // cordoned
			tune := &in.Loans[1]
			tune.Grants = append(tune.Grants, Grant{Lender: "serving/chat", Node: "c", Flavor: "h100", Count: 3})
			tune.Pods, tune.Live, tune.Bound, tune.MinPods, tune.ShedOrder = 11, 11, 11, 8, tc.order
			plan, _ := Decide(in, State{}, DefaultPolicy())
			asked := reclaims(&plan)
			if len(asked) != 1 {
				t.Fatalf("asked back: %+v", asked)
			}
			if tc.want == nil {
				if asked[0].Shed != nil {
					t.Errorf("sheds %v", asked[0].Shed)
				}
				return
			}
			got := map[string]int64{}
			for _, g := range asked[0].Shed {
				got[g.Node] += g.Count
			}
			if name == "any" {
				if units(asked[0].Shed) != 2 || got["c"] > 0 {
					t.Errorf("sheds %v", got)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("sheds (-want +got):\n%s", diff)
			}
		})
	}
}
