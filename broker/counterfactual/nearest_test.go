package counterfactual

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// admitted asks the core, and nothing of this package.
func admitted(c *Change, t *town, uid string) bool {
	in, prev := c.Make(t.in, t.state, uid)
	plan, _ := lend.Decide(in, prev, t.pol)
	for _, a := range plan.Actions {
		if a.Kind == lend.ActionLend && a.JobUID == uid {
			return true
		}
	}
	return false
}

// smaller is the next smaller change of the kind, if there is one that changes anything.
func smaller(c Change, t *town, j *lend.Job) (Change, bool) {
	switch c.Kind {
	case FewerPods:
		c.Pods++
		return c, c.Pods < j.Pods
	case FewerUnitsPerPod:
		c.UnitsPerPod++
		return c, c.UnitsPerPod < j.UnitsPerPod
	case BorrowingLimit:
		c.Limit--
		return c, true
	case LenderWait:
		c.lenders = c.lenders[:len(c.lenders)-1]
		return c, len(c.lenders) > 0
	case LenderLends, Resume:
		if len(c.lenders) == 0 {
			return c, false
		}
		c.lenders = c.lenders[:len(c.lenders)-1]
		return c, len(c.lenders) > 0
	case Priority:
		lower := *c.Priority - 1
		c.Priority = &lower
		return c, lower > j.Priority
	case FreeUnits:
		c.Units -= j.UnitsPerPod
		return c, c.Units > 0
	}
	return c, false
}

// judge asks about a job, and compares what is said with the core.
func judge(t interface{ Errorf(string, ...any) }, town *town, j *lend.Job) (kinds []Kind) {
	answer := Nearest(town.in, town.state, town.pol, j.UID)
	if !answer.Known || answer.Decisions > MostDecisions || answer.Admitted && len(answer.Changes) > 0 {
		t.Errorf("got %+v", answer)
	}
	if again := Nearest(town.in, town.state, town.pol, j.UID); !reflect.DeepEqual(answer, again) {
		t.Errorf("asked again: %+v, then %+v", answer, again)
	}
	for _, c := range answer.Changes {
		kinds = append(kinds, c.Kind)
		if !admitted(&c, town, j.UID) {
			t.Errorf("%+v does not admit %+v", c, j)
		}
		if less, is := smaller(c, town, j); is && admitted(&less, town, j.UID) {
			t.Errorf("%+v does as well as %+v", less, c)
		}
		for _, tenant := range []string{"research", "serving", "vision"} {
			said := fmt.Sprint(c.Text, " ", c.Lender, " ", c.Queue)
			if tenant != j.Tenant && strings.Contains(said, tenant) {
				t.Errorf("a job of %s hears of %s: %q", j.Tenant, tenant, said)
			}
		}
	}
	if !slices.IsSortedFunc(kinds, func(a, b Kind) int { return slices.Index(Kinds(), a) - slices.Index(Kinds(), b) }) {
		t.Errorf("the kinds come as %v", kinds)
	}
	return kinds
}

// What is said to admit a job does, and the next smaller change of the kind does not: by the
// core, on whatever town. No more is asked than was promised, the answer is always the same,
// and nothing of another tenant is named.
func TestWhatIsSaidIsSo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		town := newTown(seed, sizes{nodes: 2 + int(seed%9), lenders: 2 + int(seed/9%5), jobs: 3 + int(seed/45%12)})
		for range rapid.IntRange(0, 5).Draw(t, "decisions") {
			town.decide(30 * time.Second)
		}
		if len(town.in.Jobs) > 0 {
			judge(t, town, &town.in.Jobs[rapid.IntRange(0, len(town.in.Jobs)-1).Draw(t, "job")])
		}
	})
}

// The towns have jobs for every kind of change: the property is of all of them.
func TestEveryKindComesUp(t *testing.T) {
	seen := map[Kind]int{}
	for seed := range uint64(80) {
		town := newTown(seed, sizes{nodes: 6, lenders: 4, jobs: 8})
		town.decide(30 * time.Second)
		for i := range town.in.Jobs {
			for _, kind := range judge(t, town, &town.in.Jobs[i]) {
				seen[kind]++
			}
		}
	}
	t.Logf("changes by kind: %v", seen)
	for _, kind := range Kinds() {
		if seen[kind] == 0 {
			t.Errorf("no town had a change of kind %s", kind)
		}
	}
}

// scene is a cluster of one service of another tenant that owns 16 GPUs on two nodes and
// uses none, and a job that wants all of them.
func scene(change func(*lend.Snapshot)) *town {
	t := &town{pol: lend.DefaultPolicy(), state: lend.State{At: now.Add(-15 * time.Second), Lenders: []lend.LenderState{
		{Name: "serving/chat", LowSince: now.Add(-time.Hour)},
	}}}
	t.in = lend.Snapshot{
		Now: now, Epoch: 1,
		Nodes: []lend.Node{
			{Name: "gpu-0", Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8}}},
			{Name: "gpu-1", Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8}}},
			{Name: "gpu-2", Schedulable: true, Units: []lend.Units{{Flavor: "a100", Capacity: 8}}},
		},
		Tenants: []lend.Tenant{
			{Name: "research", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "a100"}, {Flavor: "h100"}}},
			{Name: "serving", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 16}}},
		},
		Queues: []lend.Queue{{Name: "research/q", Tenant: "research", Backfill: true}},
		Lenders: []lend.Lender{{
			Name: "serving/chat", Tenant: "serving", Flavor: "h100", Owned: 16, UnitsPerPod: 1, LowWater: 0.3, HighWater: 0.7,
			Dwell: 5 * time.Minute, Cooldown: 5 * time.Minute, MaxGrace: time.Minute,
			Load: lend.Load{Known: true, ObservedAt: now, Coverage: 1, Slots: 10},
		}},
		Jobs: []lend.Job{{Name: "research/bert", UID: "bert", Tenant: "research", Queue: "research/q", Created: now.Add(-time.Minute), Flavor: "h100", Pods: 2, UnitsPerPod: 8}},
	}
	change(&t.in)
	return t
}

func TestNearest(t *testing.T) {
	eight := int64(8)
	for name, test := range map[string]struct {
		change func(*lend.Snapshot)
		state  func(*lend.State)
		want   []Change
	}{
		"nothing is in its way": {func(*lend.Snapshot) {}, nil, nil},
		"the service keeps a half": {func(in *lend.Snapshot) { in.Lenders[0].Warm = 8 }, nil, []Change{
			{Kind: FewerPods, Pods: 1, Text: "With 1 pod instead of 2 it would be admitted now."},
			{Kind: FewerUnitsPerPod, UnitsPerPod: 4, Text: "With 4 units in each pod instead of 8 it would be admitted now."},
			{Kind: FreeUnits, Flavor: "h100", Units: 8, Nodes: 1, Text: "With 8 units of h100 free in addition, on 1 node, it would be admitted now."},
		}},
		"a limit": {func(in *lend.Snapshot) { in.Tenants[0].Quotas[1].BorrowingLimit = &eight }, nil, []Change{
			{Kind: FewerPods, Pods: 1, Text: "With 1 pod instead of 2 it would be admitted now."},
			{Kind: FewerUnitsPerPod, UnitsPerPod: 4, Text: "With 4 units in each pod instead of 8 it would be admitted now."},
			{Kind: BorrowingLimit, Flavor: "h100", Limit: 16, Text: "With a borrowing limit of 16 units of h100 for its tenant it would be admitted now."},
		}},
		"another flavor": {func(in *lend.Snapshot) {
			in.Nodes[2].Units[0].Capacity = 16
			in.Tenants[0].Quotas[0].Nominal = 16
			in.Lenders[0].Hold = &lend.Problem{Reason: "RollingOut"}
		}, nil, []Change{
			{Kind: OtherFlavor, Flavor: "a100", Text: "On a100 instead of h100 it would be admitted now."},
			{Kind: FreeUnits, Flavor: "h100", Units: 16, Nodes: 2, Text: "With 16 units of h100 free in addition, on 2 nodes, it would be admitted now."},
		}},
		"the dwell of another tenant's service": {func(in *lend.Snapshot) { in.Lenders[0].Dwell = 61 * time.Minute }, nil, []Change{
			{Kind: LenderWait, At: now.Add(time.Minute), Services: 1, Text: "At 12:01:00 UTC it would be admitted if loads stay as they are: a service of another tenant has been idle for long enough by then."},
			{Kind: FreeUnits, Flavor: "h100", Units: 16, Nodes: 2, Text: "With 16 units of h100 free in addition, on 2 nodes, it would be admitted now."},
		}},
		"the cooldown of its tenant's own": {func(in *lend.Snapshot) {
			in.Lenders[0].Tenant, in.Lenders[0].Name = "research", "research/chat"
			in.Tenants[0].Quotas[1].Nominal, in.Tenants[1].Quotas[0].Nominal = 16, 0
		}, func(s *lend.State) {
			s.Lenders[0].Name, s.Lenders[0].LastReclaim = "research/chat", now.Add(-3*time.Minute)
		}, []Change{
			{Kind: LenderWait, At: now.Add(2 * time.Minute), Services: 1, Lender: "research/chat", Text: "At 12:02:00 UTC it would be admitted if loads stay as they are: service research/chat has been idle for long enough by then."},
			{Kind: FreeUnits, Flavor: "h100", Units: 16, Nodes: 2, Text: "With 16 units of h100 free in addition, on 2 nodes, it would be admitted now."},
		}},
		"an adviser": {func(in *lend.Snapshot) { in.Lenders[0].Advise = true }, nil, []Change{
			{Kind: LenderLends, Services: 1, Text: "If a service of another tenant lent, which only advises, it would be admitted now."},
			{Kind: FreeUnits, Flavor: "h100", Units: 16, Nodes: 2, Text: "With 16 units of h100 free in addition, on 2 nodes, it would be admitted now."},
		}},
		"its queue is paused": {func(in *lend.Snapshot) { in.Queues[0].Paused = true }, nil, []Change{
			{Kind: Resume, Queue: "research/q", Text: "If queue research/q, which is paused, were resumed it would be admitted now."},
		}},
		"the service is paused": {func(in *lend.Snapshot) { in.Lenders[0].Hold = &lend.Problem{Reason: lend.ReasonPaused} }, nil, []Change{
			{Kind: Resume, Services: 1, Text: "If a service of another tenant lent, which is paused, it would be admitted now."},
			{Kind: FreeUnits, Flavor: "h100", Units: 16, Nodes: 2, Text: "With 16 units of h100 free in addition, on 2 nodes, it would be admitted now."},
		}},
		"another job is before it": {func(in *lend.Snapshot) {
			before := in.Jobs[0]
			before.Name, before.UID, before.Priority = "research/albert", "albert", 5
			in.Jobs = append([]lend.Job{before}, in.Jobs...)
		}, nil, []Change{
			{Kind: Priority, Priority: new(int32), Text: "With priority 6 instead of 0 it would be admitted now."},
			{Kind: FreeUnits, Flavor: "h100", Units: 16, Nodes: 2, Text: "With 16 units of h100 free in addition, on 2 nodes, it would be admitted now."},
		}},
		"paused and too large": {func(in *lend.Snapshot) {
			in.Queues[0].Paused, in.Jobs[0].Pods = true, 100
		}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			town := scene(test.change)
			if test.state != nil {
				test.state(&town.state)
			}
			for i := range test.want {
				if test.want[i].Priority != nil {
					*test.want[i].Priority = 6
				}
			}
			got := Nearest(town.in, town.state, town.pol, "bert")
			if diff := cmp.Diff(test.want, got.Changes, cmpopts.IgnoreUnexported(Change{}), cmpopts.EquateEmpty()); diff != "" || !got.Complete {
				t.Errorf("complete: %v (-want +got):\n%s", got.Complete, diff)
			}
			if got.Admitted != (name == "nothing is in its way") {
				t.Errorf("admitted: %v", got.Admitted)
			}
		})
	}
}

// What cannot be answered within the bound is not answered by halves.
func TestTheBound(t *testing.T) {
	town := scene(func(in *lend.Snapshot) {
		in.Jobs[0].Pods, in.Jobs[0].UnitsPerPod = 10000, 1<<40
		for i := range 3000 {
			l := in.Lenders[0]
			l.Name, l.Advise = fmt.Sprintf("serving/x%04d", i), true
			in.Lenders = append(in.Lenders, l)
		}
	})
	got := Nearest(town.in, town.state, town.pol, "bert")
	if got.Decisions > MostDecisions || len(got.Changes) > 0 {
		t.Errorf("got %d changes from %d decisions", len(got.Changes), got.Decisions)
	}
	if nobody := Nearest(town.in, town.state, town.pol, "nobody"); nobody.Known || nobody.Decisions != 0 {
		t.Errorf("a job that does not wait: %+v", nobody)
	}
}
