package lend

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// twoMade is madeOne with the same on a second card, B, with a change of its own, and no
// loans: nobody has what was made.
func twoMade() Snapshot {
	in := madeOne()
	in.Loans = nil
	n := &in.Nodes[0]
	n.Cards[0].Instances[0].Use, n.Cards[0].Instances[0].Owner = mig.Idle, ""
	b := n.Cards[0]
	b.UUID, b.Instances = "B", slices.Clone(b.Instances)
	n.Cards = append(n.Cards, b)
	r := n.Reshapes[0]
	r.ID, r.GPU = "rs2", "B"
	n.Reshapes = append(n.Reshapes, r)
	n.Units[0].Capacity, n.Units[0].Online, n.Units[1].Capacity = 6, 6, 2
	in.Tenants[1].Quotas[0].Nominal = 2
	l := &in.Lenders[0]
	l.Owned, l.Running, l.Ready, l.Desired = 14, 6, 6, 6
	return in
}

// ownBig gives the node a third card, C, whose only slice is a 4g that nothing was made of.
func ownBig(in *Snapshot) {
	n := &in.Nodes[0]
	c := Card{Board: "A100-40GB", GPU: mig.GPU{UUID: "C", Instances: []mig.Instance{{Placed: mig.Placed{Profile: 3}, Generation: 1, Use: mig.Busy, Owner: "y"}}}}
	n.Cards = append(n.Cards, c)
	n.Units[1].Capacity++
}

func loanOf(lender, flavor string, count int64) Loan {
	return Loan{
		Name: "research/big-1", Job: "research/big", JobUID: "u", Borrower: "research", Queue: "research/q", Pods: count, UnitsPerPod: 1, Live: count, Bound: count,
		Grants: []Grant{{lender, "n", flavor, count}}, Since: noon.Add(-time.Hour), Checkpoint: noon, Grace: time.Hour,
	}
}

// ofTwo has a 2g made on card B in place of the 4g.
func ofTwo(n *Node) {
	two := mig.Placed{Profile: 1}
	n.Reshapes[1].To, n.Reshapes[1].Create = "a100-2g", []mig.Placed{two}
	n.Cards[1].Instances[0].Placed = two
	n.Units[1].Capacity = 1
}

// Whoever is counted beyond what the node has besides what was made is on what was made, and
// nobody else is taken for that.
func TestStrangers(t *testing.T) {
	tests := []struct {
		name   string
		change func(in *Snapshot, n *Node)
		on     string // GPUs
		law1   bool   // is broken
	}{
		{"nobody", func(*Snapshot, *Node) {}, "", false},
		{"a pod that no card shows yet", func(_ *Snapshot, n *Node) { n.Units[1].Other = 1 }, "A", false},
		{"a pod of a service", func(_ *Snapshot, n *Node) { n.Units[1].Online = 1 }, "A", false},
		{"two", func(_ *Snapshot, n *Node) { n.Units[1].Other = 2 }, "AB", false},
		{"three have no place", func(_ *Snapshot, n *Node) { n.Units[1].Other = 3 }, "AB", true},
		{"one that a card shows", func(_ *Snapshot, n *Node) {
			n.Units[1].Other, n.Cards[1].Instances[0].Use, n.Cards[1].Instances[0].Owner = 1, mig.Busy, "x"
		}, "B", false},
		{"one that a card shows, and another", func(_ *Snapshot, n *Node) {
			n.Units[1].Other, n.Cards[1].Instances[0].Use, n.Cards[1].Instances[0].Owner = 2, mig.Busy, "x"
		}, "AB", false},
		{"one that a card shows on the first, and another", func(_ *Snapshot, n *Node) {
			n.Units[1].Other, n.Cards[0].Instances[0].Use, n.Cards[0].Instances[0].Owner = 2, mig.Busy, "x"
		}, "AB", false},
		{"one on another profile", func(_ *Snapshot, n *Node) {
			ofTwo(n)
			n.Units = slices.Insert(n.Units, 1, Units{Flavor: "a100-2g", Capacity: 1, Other: 1})
		}, "B", false},
		{"one on another profile, beside one that a card shows", func(_ *Snapshot, n *Node) {
			ofTwo(n)
			n.Units = slices.Insert(n.Units, 1, Units{Flavor: "a100-2g", Capacity: 1, Other: 1})
			n.Cards[0].Instances[0].Use = mig.Foreign
		}, "AB", false},
		{"the node has no such units", func(_ *Snapshot, n *Node) { n.Units = n.Units[:1] }, "", false},
		{"a loan of what is not there is no stranger", func(in *Snapshot, n *Node) {
			in.Loans = []Loan{loanOf("serving/other", "a100-4g", 1)}
		}, "", true},
		{"one too many for the node's own, while nothing is counted", func(in *Snapshot, n *Node) {
			ownBig(in)
			n.Units[1].Other, n.Units[1].Capacity = 2, 0
		}, "A", true},
		{"something that is not counted", func(_ *Snapshot, n *Node) { n.Cards[1].Instances[0].Use = mig.Foreign }, "B", false},
		{"one of the node's own is not on it", func(in *Snapshot, n *Node) { ownBig(in); n.Units[1].Other = 1 }, "", false},
		{"nor while the device plugin stands still", func(in *Snapshot, n *Node) {
			ownBig(in)
			n.Units[1].Other, n.Units[1].Capacity, n.Units[1].Broken = 1, 0, 3
		}, "", false},
		{"nor while it starts anew", func(in *Snapshot, n *Node) {
			ownBig(in)
			n.Units[1].Other, n.Units[1].Capacity = 1, 0
		}, "", true},
		{"one too many for the node's own", func(in *Snapshot, n *Node) { ownBig(in); n.Units[1].Other = 2 }, "A", false},
		{"one beside a loan of the node's own", func(in *Snapshot, n *Node) {
			ownBig(in)
			n.Units[1].Other = 1
			in.Loans = []Loan{loanOf("serving/other", "a100-4g", 1)}
		}, "A", false},
		{"none beside one that ends", func(in *Snapshot, n *Node) {
			ownBig(in)
			n.Units[1].Other = 1
			in.Loans = []Loan{loanOf("serving/other", "a100-4g", 1)}
			in.Loans[0].Preempted = true
		}, "", false},
		{"none beside one that sheds it", func(in *Snapshot, n *Node) {
			ownBig(in)
			n.Units[1].Other = 1
			in.Loans = []Loan{loanOf("serving/other", "a100-4g", 1)}
			in.Loans[0].Shedding, in.Loans[0].ReclaimBy = in.Loans[0].Grants, noon.Add(time.Minute)
		}, "", false},
		{"one beside the loan of the other", func(in *Snapshot, n *Node) {
			n.Units[1].Other = 1
			in.Loans = []Loan{loanOf("serving/chat", "a100-4g", 1)}
		}, "B", false},
		{"two beside the loan of the other", func(in *Snapshot, n *Node) {
			n.Units[1].Other = 2
			in.Loans = []Loan{loanOf("serving/chat", "a100-4g", 1)}
		}, "B", true},
		{"one in place of the loan of both", func(in *Snapshot, n *Node) {
			n.Units[1].Other = 1
			in.Loans = []Loan{loanOf("serving/chat", "a100-4g", 2)}
			in.Loans[0].Finished, in.Loans[0].Live = true, 0
		}, "A", false},
		{"one on what is not said to be made yet, and is there", func(_ *Snapshot, n *Node) {
			n.Units[1].Other = 1
			n.Reshapes[0].State, n.Reshapes[1].State = ReshapeMaking, ReshapeMaking
			n.Cards[0].Instances = n.Cards[0].Instances[1:]
		}, "B", false},
		{"none on what is being undone and gone", func(_ *Snapshot, n *Node) {
			n.Units[1].Other = 1
			n.Reshapes[0].State = ReshapeUndoing
		}, "A", false},
		{"one of the node's own on a card that is lost", func(in *Snapshot, n *Node) {
			ownBig(in)
			n.Units[1].Other, n.Cards = 1, n.Cards[:2]
		}, "", false},
		{"one of the node's own that its card does not show", func(in *Snapshot, n *Node) {
			ownBig(in)
			n.Units[1].Other, n.Cards[2].Instances = 1, nil
		}, "", false},
		{"one on a card that is lost, and another", func(in *Snapshot, n *Node) {
			ownBig(in)
			n.Units[1].Other, n.Cards = 2, n.Cards[:2]
		}, "A", false},
		{"one on a card that is lost and cannot be handed out", func(in *Snapshot, n *Node) {
			ownBig(in)
			n.Units[1].Other, n.Units[1].Capacity, n.Units[1].Broken, n.Cards = 1, 2, 1, n.Cards[:2]
		}, "", false},
		{"one on what was made, while the node counts what was taken", func(in *Snapshot, n *Node) {
			ownBig(in)
			r := n.Reshapes[1]
			r.ID, r.GPU, r.State, r.From, r.Count, r.To, r.Made = "rs3", "C", ReshapeMaking, "a100-4g", 1, "a100-2g", 1
			r.Destroy, r.Create = []mig.Placed{n.Cards[2].Instances[0].Placed}, []mig.Placed{{Profile: 1}}
			n.Cards[2].Instances, n.Reshapes, n.Units[1].Other = nil, append(n.Reshapes, r), 1
		}, "A", false},
		{"no card is shown", func(_ *Snapshot, n *Node) { n.Units[1].Other, n.Cards = 1, nil }, "A", false},
		{"no card is shown, and all is counted as broken", func(_ *Snapshot, n *Node) {
			n.Units[1].Other, n.Units[1].Capacity, n.Units[1].Broken, n.Cards = 3, 0, 2, nil
		}, "A", false},
		{"no card is shown, and nothing is counted", func(_ *Snapshot, n *Node) {
			n.Units[1].Other, n.Units[1].Capacity, n.Cards = 1, 0, nil
		}, "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := twoMade()
			test.change(&in, &in.Nodes[0])
			plan, _ := Decide(in, State{At: noon.Add(-5 * time.Second)}, DefaultPolicy())
			i := slices.IndexFunc(plan.Verdicts, func(v Verdict) bool { return v.Subject == "serving/chat" })
			var on string
			for _, gpu := range []string{"A", "B"} {
				if strings.Contains(plan.Verdicts[i].Message, "4 units of GPU "+gpu+" on n cannot be had back: somebody without a loan is on it") {
					on += gpu
				}
			}
			if on != test.on {
				t.Errorf("strangers are on %q, want %q: %s", on, test.on, plan.Verdicts[i].Message)
			}
			law1 := slices.ContainsFunc(CheckLaws(in), func(v Violation) bool { return v.Law == 1 })
			if law1 != test.law1 {
				t.Errorf("laws: %+v", CheckLaws(in))
			}
		})
	}
}

// Who is told that units are stuck reads what the agent says of it, whoever is on them.
func TestStuckComesBeforeStrangers(t *testing.T) {
	in := twoMade()
	in.Nodes[0].Units[1].Other, in.Nodes[0].Reshapes[0].Stuck = 1, "in use by another client"
	plan, _ := Decide(in, State{At: noon.Add(-5 * time.Second)}, DefaultPolicy())
	i := slices.IndexFunc(plan.Verdicts, func(v Verdict) bool { return v.Subject == "serving/chat" })
	if m := plan.Verdicts[i].Message; !strings.Contains(m, "GPU A on n cannot be had back: in use by another client") || strings.Contains(m, "GPU B") {
		t.Error(m)
	}
}
