package lend

import (
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// bothIdle is twoMade with a job that wants so many of what was made, and no memory of
// anything but that the lender has been low for an hour.
func bothIdle(pods int64) (Snapshot, State) {
	in := twoMade()
	in.Jobs = []Job{{Name: "research/big", UID: "u", Tenant: "research", Queue: "research/q", Flavor: "a100-4g", Pods: pods, UnitsPerPod: 1, Created: noon}}
	long := noon.Add(-time.Hour)
	return in, State{At: noon.Add(-5 * time.Second), Since: long, Lenders: []LenderState{{Name: "serving/chat", LowSince: long, OpenSince: long}}}
}

// A gang gets what was made whole or not at all, as one grant for each node and lender, with
// the grace that the way back leaves; its lender reads what it has lent.
func TestLendMade(t *testing.T) {
	tests := []struct {
		name   string
		pods   int64
		change func(in *Snapshot)
		lent   int64
		grace  time.Duration
		says   string
	}{
		{"one", 1, func(*Snapshot) {}, 1, 50 * time.Second, "1 unit of a100-4g, made of 4 units of a100-1g lent by serving/chat"},
		{"two", 2, func(*Snapshot) {}, 2, 50 * time.Second, "2 units of a100-4g, made of 8 units of a100-1g lent by serving/chat"},
		{"three", 3, func(*Snapshot) {}, 0, 0, "2 are available now"},
		{"a job whose grace is as long", 1, func(in *Snapshot) { in.Jobs[0].Grace = 50 * time.Second }, 1, 50 * time.Second, "lent by serving/chat"},
		{"a job whose grace is longer", 1, func(in *Snapshot) { in.Jobs[0].Grace = 51 * time.Second }, 1, 50 * time.Second, "its pods get 50s, not their grace of 51s"},
		{"of two lenders, by the shorter grace", 2, func(in *Snapshot) {
			other := in.Lenders[0]
			other.Name, other.MaxGrace = "serving/chat2", 40*time.Second
			in.Lenders[0].Owned, in.Lenders[0].Running, in.Lenders[0].Ready, in.Lenders[0].Desired = 7, 3, 3, 3
			other.Owned, other.Running, other.Ready, other.Desired = 7, 3, 3, 3
			in.Lenders = append(in.Lenders, other)
			in.Nodes[0].Reshapes[1].Lender = other.Name
		}, 2, 30 * time.Second, "2 units of a100-4g, made of 4 units of a100-1g lent by serving/chat, 4 units of a100-1g lent by serving/chat2"},
		{"of two lenders, of which the first has the shorter grace", 2, func(in *Snapshot) {
			other := in.Lenders[0]
			in.Lenders[0].Owned, in.Lenders[0].Running, in.Lenders[0].Ready, in.Lenders[0].Desired = 7, 3, 3, 3
			other.Name, other.Owned, other.Running, other.Ready, other.Desired = "serving/chat2", 7, 3, 3, 3
			in.Lenders[0].MaxGrace = 40 * time.Second
			in.Lenders = append(in.Lenders, other)
			in.Nodes[0].Reshapes[1].Lender = other.Name
		}, 2, 30 * time.Second, "2 units of a100-4g"},
		{"of a lender in another tree", 1, func(in *Snapshot) { in.Tenants[0].Cohort = "" }, 0, 0, "cannot borrow"},
		{"where other slices are unknown", 1, func(in *Snapshot) { in.Nodes[0].Cards[0].Instances[0].Use = mig.Unknown }, 1, 50 * time.Second, "lent by"},
		{"another's that it may have", 1, func(in *Snapshot) {
			in.Nodes[0].Reshapes[0].JobUID, in.Nodes[0].Reshapes[1].JobUID = "gone", "gone"
		}, 1, 50 * time.Second, "lent by"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in, state := bothIdle(test.pods)
			test.change(&in)
			if len(in.Lenders) == 2 {
				l := state.Lenders[0]
				l.Name = in.Lenders[1].Name
				state.Lenders = append(state.Lenders, l)
			}
			plan, _ := Decide(in, state, DefaultPolicy())
			var lent int64
			for _, a := range actions(plan, ActionLend) {
				if a.MaxGrace != test.grace {
					t.Errorf("grace %s, want %s", a.MaxGrace, test.grace)
				}
				for i, g := range a.Grants {
					if lent += g.Count; g.Flavor != "a100-4g" || i > 0 && compareGrants(a.Grants[i-1], g) >= 0 {
						t.Errorf("grants %+v", a.Grants)
					}
				}
			}
			said := ""
			for _, v := range plan.Verdicts {
				if v.Kind == SubjectJob {
					said = v.Message
				}
			}
			if lent != test.lent || !strings.Contains(said, test.says) {
				t.Errorf("%d are lent, want %d; %q, want %q", lent, test.lent, said, test.says)
			}
			if strings.Contains(said, "not their grace") != strings.Contains(test.says, "not their grace") {
				t.Errorf("the job reads %q", said)
			}
			if lent > 0 { // and what was made for nobody goes back at once, or is kept for the others
				for _, r := range plan.Reshapes {
					if r.Kind != ReshapeUndo {
						t.Errorf("%+v", r)
					}
				}
			}
		})
	}
}
