package lend

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// A lender's slices are reshaped while it may lend some.
func TestReshapes(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*lender)
		want   bool
	}{
		"it may":               {func(*lender) {}, true},
		"it is shut":           {func(l *lender) { l.open = false }, false},
		"it is short":          {func(l *lender) { l.short = true }, false},
		"it has nothing":       {func(l *lender) { l.lendable = 0 }, false},
		"its are no slices":    {func(l *lender) { l.MIG = nil }, false},
		"in their shape only":  {func(l *lender) { l.MIG = new(MIGRules) }, false},
		"it has less than one": {func(l *lender) { l.lendable = -1 }, false},
	} {
		l := &lender{Lender: Lender{MIG: &MIGRules{Reshape: true}}, open: true, lendable: 1}
		test.change(l)
		if got := l.reshapes(); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Those of the job's tenant come first, and then those with most to lend; of other quotas,
// trees and flavors none.
func TestWhoCouldMake(t *testing.T) {
	in, _ := wholeOne()
	in.Tenants[0].Quotas = append(in.Tenants[0].Quotas, Quota{Flavor: "a100-2g"})
	in.Tenants = append(in.Tenants, Tenant{Name: "zoo", Cohort: "others", Quotas: in.Tenants[0].Quotas})
	one := in.Lenders[0]
	in.Lenders = nil
	lendable := map[string]int64{"a": 3, "b": 5, "c": 4, "d": 9, "e": 9, "f": 9, "g": 9}
	tenants := map[string]string{"c": "research", "d": "zoo", "g": "nobody"}
	flavors := map[string]string{"e": "a100-4g", "f": "other"}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		l := one
		l.Name = name
		if tenants[name] != "" {
			l.Tenant = tenants[name]
		}
		if flavors[name] != "" {
			l.Flavor = flavors[name]
		}
		in.Lenders = append(in.Lenders, l)
	}
	d := begin(in, State{}, DefaultPolicy())
	for _, l := range d.lenders {
		l.open, l.lendable = true, lendable[l.Name]
	}
	id, _ := d.books.used.Tenant("research")
	got := ""
	for _, l := range (&admission{decision: d}).whoCouldMake(&ask{Job: &Job{Tenant: "research", Flavor: "a100-4g"}, tenant: id}) {
		got += l.Name
	}
	if got != "cba" {
		t.Errorf("asked are %q, want c, which is its tenant's, then b and a", got)
	}
}

// twoWhole is wholeOne with a second card on a second node.
func twoWhole() (Snapshot, State) {
	in, state := wholeOne()
	n := in.Nodes[0]
	n.Name, n.Units, n.Cards = "o", slices.Clone(n.Units), slices.Clone(n.Cards)
	n.Cards[0].UUID, n.Cards[0].Instances = "B", slices.Clone(n.Cards[0].Instances)
	in.Nodes = append(in.Nodes, n)
	in.Tenants[1].Quotas[0].Nominal = 2
	l := &in.Lenders[0]
	l.Owned, l.Running, l.Ready, l.Desired = 14, 6, 6, 6
	return in, state
}

// What is made of which card, and what is told where nothing is.
func TestMake(t *testing.T) {
	of2g := func(in *Snapshot) {
		in.Tenants[0].Quotas = append(in.Tenants[0].Quotas, Quota{Flavor: "a100-2g"})
		slices.SortFunc(in.Tenants[0].Quotas, func(a, b Quota) int { return strings.Compare(a.Flavor, b.Flavor) })
		for i := range in.Jobs {
			in.Jobs[i].Flavor = "a100-2g"
		}
	}
	tests := []struct {
		name   string
		pods   []int64
		change func(in *Snapshot, state *State)
		makes  string // node:count for job …
		says   string // what the first job reads
	}{
		{"one", []int64{1}, func(*Snapshot, *State) {}, "n:4 u000", "a GPU is being reshaped for it on n (of 4 units of a100-1g lent by serving/chat)"},
		{"two, on two cards", []int64{2}, func(*Snapshot, *State) {}, "n:4 u000, o:4 u000", "2 GPUs are being reshaped for it on n"},
		{"two jobs", []int64{1, 1}, func(*Snapshot, *State) {}, "n:4 u000, o:4 u001", "on n (of 4"},
		{"three jobs", []int64{1, 1, 1}, func(*Snapshot, *State) {}, "n:4 u000, o:4 u001", "on n (of 4"},
		{"three for one", []int64{3}, func(*Snapshot, *State) {}, "", "2 are available now"},
		{"on the node that is lent first", []int64{1}, func(in *Snapshot, _ *State) { in.Nodes[0].LendLast = 1 }, "o:4 u000", "on o (of 4"},
		{"both on one card", []int64{2}, func(in *Snapshot, _ *State) { of2g(in) }, "n:4 u000", "on n (of 4"},
		{"the card where fewer go", []int64{1}, func(in *Snapshot, _ *State) {
			of2g(in)
			// On n only a 2g that costs two; on o there is a gap of one beside a single one.
			c := &in.Nodes[1].Cards[0]
			c.Instances = append(c.Instances[:3:3], a1g(1, idle, idle, idle)...)
			in.Nodes[1].Units[0].Capacity = 6
			in.Lenders[0].Owned = 13
		}, "o:1 u000", "on o (of 1 unit"},
		{"on more cards, where on the fewest too many go", []int64{2}, func(in *Snapshot, _ *State) {
			of2g(in)
			c := &in.Nodes[1].Cards[0]
			c.Instances = append(c.Instances[:3:3], a1g(1, idle, busy, busy)...)
			in.Nodes[1].Units[0].Capacity, in.Nodes[1].Units[0].Online = 6, 5
			n := in.Nodes[1]
			n.Name, n.Units, n.Cards = "p", slices.Clone(n.Units), slices.Clone(n.Cards)
			n.Cards[0].UUID = "C"
			in.Nodes = append(in.Nodes, n)
			in.Tenants[1].Quotas[0].Nominal = 3
			l := &in.Lenders[0]
			l.Owned, l.Running, l.Ready, l.Desired, l.Warm = 19, 13, 13, 13, 4
		}, "o:1 u000, p:1 u000", "on o"},
		{"no more than the lender may lend", []int64{2}, func(in *Snapshot, _ *State) { in.Lenders[0].Warm = 1 }, "", "1 is available now"},
		{"one of two, where that is all it may", []int64{1, 1}, func(in *Snapshot, _ *State) { in.Lenders[0].Warm = 1 }, "n:4 u000", "on n"},
		{"no more than its tenant may lend", []int64{1}, func(in *Snapshot, _ *State) { in.Tenants[1].Quotas[0].LendingLimit = new(int64) }, "", "the lending limits of its cohort allow 0"},
		{"not where others will have one", []int64{1}, func(in *Snapshot, _ *State) { in.Nodes[0].Units[0].Promised = 1 }, "o:4 u000", "on o"},
		{"not with a grace that is too short", []int64{1}, func(in *Snapshot, _ *State) { in.Lenders[0].MaxGrace = 10 * time.Second }, "", "serving/chat allows 10s of grace, which is no longer than giving its slices back in their shape takes"},
		{"nor with none", []int64{1}, func(in *Snapshot, _ *State) { in.Lenders[0].MaxGrace, in.Lenders[0].MIG.Undo = 0, -1 }, "", "serving/chat allows 0s of grace"},
		{"not for a short while", []int64{1}, func(_ *Snapshot, state *State) { state.Lenders[0].LowSince = noon.Add(-119 * time.Second) }, "", "slices of serving/chat are reshaped for no less than 2m0s, and its trough has lasted since"},
		{"just long enough", []int64{1}, func(_ *Snapshot, state *State) { state.Lenders[0].LowSince = noon.Add(-120 * time.Second) }, "n:4 u000", ""},
		{"not on a card that was changed lately", []int64{1}, func(_ *Snapshot, state *State) {
			state.Reshapes = []ReshapeMemory{{GPU: "A", Quiet: noon.Add(time.Second), At: noon.Add(-time.Minute)}}
		}, "o:4 u000", "on o"},
		{"not for a job that was taken back too often", []int64{1, 1}, func(_ *Snapshot, state *State) {
			state.Jobs = []JobState{{UID: "u000", Evictions: slices.Repeat([]time.Time{noon.Add(-time.Minute)}, DefaultPolicy().EvictionBudget)}}
		}, "n:4 u001", "was taken back"},
		{"not for one whose tenant may not borrow", []int64{1}, func(in *Snapshot, _ *State) { in.Tenants[0].Quotas[0].BorrowingLimit = new(int64) }, "", "borrow"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in, state := twoWhole()
			wantFours(&in, test.pods...)
			test.change(&in, &state)
			plan, _ := Decide(in, state, DefaultPolicy())
			var made []string
			for _, r := range plan.Reshapes {
				if r.Count != int64(len(r.Plan.Destroy)) || r.Made != int64(len(r.Plan.Create)) || r.Kind != ReshapeMake {
					t.Errorf("%+v", r)
				}
				made = append(made, r.Node+":"+string('0'+rune(r.Count))+" "+r.JobUID)
			}
			i := slices.IndexFunc(plan.Verdicts, func(v Verdict) bool { return v.UID == "u000" })
			if got := strings.Join(made, ", "); got != test.makes || !strings.Contains(plan.Verdicts[i].Message, test.says) {
				t.Errorf("made %q, want %q; the first job reads %q, want %q", got, test.makes, plan.Verdicts[i].Message, test.says)
			}
		})
	}
}

// What is begun is remembered with its places, counts as made until it is seen, and has
// another name the next time.
func TestBegunIsRemembered(t *testing.T) {
	in, state := twoWhole()
	wantFours(&in, 1)
	plan, next := Decide(in, state, DefaultPolicy())
	i := slices.IndexFunc(next.Reshapes, func(m ReshapeMemory) bool { return m.GPU == "A" })
	if i < 0 || next.Reshapes[i].Begun == nil {
		t.Fatalf("%+v", next.Reshapes)
	}
	m := next.Reshapes[i]
	if m.Node != "n" || !m.At.Equal(noon) || !m.Quiet.Equal(noon.Add(2*time.Minute)) || len(m.Begun.Destroy) != 4 || len(m.Begun.Create) != 1 || m.Begun.ID != plan.Reshapes[0].ID {
		t.Errorf("%+v, %+v", m, m.Begun)
	}
	in.Now = noon.Add(5 * time.Second)
	in.Lenders[0].Load.ObservedAt = in.Now
	// Until it is seen, what is to go counts once although it is shown.
	if u := begin(in, next, DefaultPolicy()).in.Nodes[0].Units[0]; u.Capacity != 7 {
		t.Errorf("%+v, want 7", u)
	}
	if again, _ := Decide(in, next, DefaultPolicy()); len(again.Reshapes) > 0 {
		t.Errorf("made again: %+v", again.Reshapes)
	}
	j := &ask{Job: &Job{UID: "u"}}
	ids := map[string]bool{}
	for _, id := range []string{
		reshapeID(j, mig.Plan{GPU: "A", Base: "x"}, noon), reshapeID(j, mig.Plan{GPU: "A", Base: "x"}, noon.Add(time.Second)),
		reshapeID(j, mig.Plan{GPU: "B", Base: "x"}, noon), reshapeID(j, mig.Plan{GPU: "A", Base: "y"}, noon),
		reshapeID(&ask{Job: &Job{UID: "u", Attempt: 1}}, mig.Plan{GPU: "A", Base: "x"}, noon), reshapeID(&ask{Job: &Job{UID: "v"}}, mig.Plan{GPU: "A", Base: "x"}, noon),
	} {
		ids[id] = true
	}
	if len(ids) != 6 || !ids[reshapeID(j, mig.Plan{GPU: "A", Base: "x"}, noon)] {
		t.Errorf("names %v", ids)
	}
}
