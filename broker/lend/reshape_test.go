package lend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// madeOne is a snapshot of one A100 with three slices of chat's and a 4g that was made of
// four others, on a loan.
func madeOne() Snapshot {
	at := func(profile mig.ProfileID, start int, use mig.Use, owner string) mig.Instance {
		return mig.Instance{Placed: mig.Placed{Profile: profile, Start: start}, Generation: 1, Use: use, Owner: owner}
	}
	var gone []mig.Placed
	for i := range 4 {
		gone = append(gone, mig.Placed{Start: i})
	}
	in := Snapshot{
		Now: noon, Boards: mig.Boards()[:1], Flavors: slicesOf,
		Tenants: []Tenant{
			{Name: "research", Cohort: "all", Quotas: []Quota{{Flavor: "a100"}, {Flavor: "a100-1g"}, {Flavor: "a100-4g"}}},
			{Name: "serving", Cohort: "all", Quotas: []Quota{{Flavor: "a100", Nominal: 1}, {Flavor: "a100-1g"}}},
		},
		Queues: []Queue{{Name: "research/q", Tenant: "research", Backfill: true}},
		Nodes: []Node{{
			Name: "n", Schedulable: true,
			Units: []Units{{Flavor: "a100-1g", Capacity: 3, Online: 3}, {Flavor: "a100-4g", Capacity: 1}},
			Cards: []Card{{Board: "A100-40GB", GPU: mig.GPU{UUID: "A", Instances: []mig.Instance{
				at(3, 0, mig.Lent, "research/big-1"), at(0, 4, mig.Busy, "x"), at(0, 5, mig.Busy, "x"), at(0, 6, mig.Busy, "x"),
			}}}},
			Reshapes: []Reshape{{
				ID: "rs", GPU: "A", Lender: "serving/chat", From: "a100-1g", Count: 4, To: "a100-4g", Made: 1,
				Destroy: gone, Create: []mig.Placed{{Profile: 3}}, JobUID: "u", State: ReshapeMade, Since: noon.Add(-time.Hour),
			}},
		}},
		Lenders: []Lender{{
			Name: "serving/chat", Tenant: "serving", Flavor: "a100-1g", Owned: 7, UnitsPerPod: 1, Desired: 3, Running: 3, Ready: 3,
			LowWater: 0.3, HighWater: 0.7, MaxGrace: time.Minute, Load: Load{Known: true, ObservedAt: noon, Coverage: 1, Slots: 100},
			MIG: &MIGRules{Reshape: true, Undo: 10 * time.Second},
		}},
		Loans: []Loan{{
			Name: "research/big-1", Job: "research/big", JobUID: "u", Borrower: "research", Queue: "research/q", Pods: 1, UnitsPerPod: 1, Live: 1, Bound: 1,
			Grants: []Grant{{"serving/chat", "n", "a100-4g", 1}}, Since: noon.Add(-time.Hour), Checkpoint: noon, Grace: time.Hour,
		}},
	}
	return in
}

// Each line breaks one law, and is found.
func TestLawsOfCards(t *testing.T) {
	card := func(in *Snapshot) *Card { return &in.Nodes[0].Cards[0] }
	tests := []struct {
		name   string
		change func(*Snapshot)
		law    int // 0: none is broken
		want   string
	}{
		{"as it should be", func(*Snapshot) {}, 0, ""},
		{"an online pod has one of the slices that are gone", func(in *Snapshot) { in.Nodes[0].Units[0].Online++ }, 1, "8 units are held of 7"},
		{"so has another loan", func(in *Snapshot) {
			in.Loans = append(in.Loans, Loan{Name: "research/z", JobUID: "z", Grants: []Grant{{"serving/chat", "n", "a100-1g", 1}}, Live: 1})
		}, 1, "8 units are held of 7"},
		{"nobody has what was made, and it is still the lender's", func(in *Snapshot) { in.Loans = nil; in.Nodes[0].Units[0].Online = 4 }, 1, "8 units are held of 7"},
		{"a pod without a loan has what was made and was lent", func(in *Snapshot) {
			in.Nodes[0].Units[1].Other = 1
		}, 1, "1 units are held of 0"},
		{"the device plugin stands still", func(in *Snapshot) {
			for i := range in.Nodes[0].Units {
				u := &in.Nodes[0].Units[i]
				u.Capacity, u.Broken = 0, u.Capacity
			}
		}, 0, ""},
		{"the kubelet counts what is gone", func(in *Snapshot) { in.Nodes[0].Units[0].Capacity = 7; in.Nodes[0].Units[0].Online = 4 }, 1, "8 units are held of 7"},
		{"a change is stuck", func(in *Snapshot) { in.Nodes[0].Reshapes[0].Stuck = "in use" }, 0, ""},
		{"somebody made a slice where one is to come back", func(in *Snapshot) {
			card(in).Instances[0] = mig.Instance{Placed: mig.Placed{Profile: 1, Start: 2}, Generation: 1, Use: mig.Foreign}
		}, 2, "evicting all loans does not bring back"},
		{"a process is left of the pod that had it", func(in *Snapshot) {
			card(in).Instances[0].Use, card(in).Instances[0].Owner = mig.Busy, ""
		}, 0, ""},
		{"what is to come back has no place on the board", func(in *Snapshot) { in.Nodes[0].Reshapes[0].Destroy[3].Start = 7 }, 2, "evicting all loans does not bring back"},
		{"the owner's slices have no room beside what stays", func(in *Snapshot) {
			in.Nodes[0].Reshapes[0].Destroy = append(in.Nodes[0].Reshapes[0].Destroy[:3:3], mig.Placed{Profile: 1, Start: 2})
		}, 2, "evicting all loans does not bring back"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := madeOne()
			test.change(&in)
			found := CheckLaws(in)
			if (test.law == 0) != (len(found) == 0) || test.law != 0 && (found[0].Law != test.law || !strings.Contains(found[0].Message, test.want)) {
				t.Errorf("got %+v, want law %d: %s", found, test.law, test.want)
			}
		})
	}
}

// decideMade decides after a change to the snapshot.
func decideMade(change func(*Snapshot)) (Plan, State) {
	in := madeOne()
	change(&in)
	return Decide(in, State{At: noon.Add(-5 * time.Second), Since: noon.Add(-time.Hour)}, DefaultPolicy())
}

func pendingPod(in *Snapshot) {
	in.Lenders[0].Desired, in.Lenders[0].Pending = 4, []PendingPod{{Name: "p", Since: noon}}
}

// A loan of what was made gives way earlier than others, by what the undoing takes, and
// whole: its slices come back together.
func TestMadeSlicesComeBackInTime(t *testing.T) {
	for _, minPods := range []int64{0, 1} {
		plan, _ := decideMade(func(in *Snapshot) {
			pendingPod(in)
			n := &in.Nodes[0]
			// A second card, so that the loan has two pods.
			second := n.Cards[0]
			second.UUID, second.Instances = "B", slices.Clone(second.Instances)
			n.Cards = append(n.Cards, second)
			r := n.Reshapes[0]
			r.ID, r.GPU = "rs2", "B"
			n.Reshapes = append(n.Reshapes, r)
			n.Units[0].Capacity, n.Units[0].Online, n.Units[1].Capacity = 6, 6, 2
			in.Tenants[1].Quotas[0].Nominal = 2
			l := &in.Lenders[0]
			l.Owned, l.Running, l.Ready, l.Desired = 14, 6, 6, 7
			in.Loans[0].Grants[0].Count, in.Loans[0].Pods, in.Loans[0].Bound, in.Loans[0].Live, in.Loans[0].MinPods = 2, 2, 2, 2, minPods
		})
		asked := actions(plan, ActionReclaim)
		if len(asked) != 1 || len(asked[0].Shed) > 0 || !asked[0].ReclaimBy.Equal(noon.Add(50*time.Second)) {
			t.Fatalf("asked back: %+v, want all of the loan by 12:00:50", asked)
		}
		if len(plan.Reshapes) != 2 || plan.Reshapes[0].Kind != ReshapeUndo || plan.Reshapes[1].Kind != ReshapeUndo {
			t.Fatalf("reshapes: %+v, want both undone", plan.Reshapes)
		}
	}
}

// So it is whoever asks: nobody, or a service with a shorter grace.
func TestMadeSlicesComeBackForOthers(t *testing.T) {
	drained, _ := decideMade(func(in *Snapshot) { in.Queues[0].Drain = true })
	if asked := actions(drained, ActionReclaim); len(asked) != 1 || !asked[0].ReclaimBy.Equal(noon.Add(50*time.Second)) {
		t.Errorf("a draining queue: asked back %+v, want by 12:00:50", asked)
	}
	hurried, _ := decideMade(func(in *Snapshot) {
		in.Tenants[1].Quotas[0].Nominal = 2
		rank := in.Lenders[0]
		rank.Name, rank.Owned, rank.Running, rank.Ready, rank.Desired, rank.MaxGrace = "serving/rank", 1, 0, 0, 1, 30*time.Second
		rank.Pending = []PendingPod{{Name: "p", Since: noon}}
		in.Lenders = append(in.Lenders, rank)
	})
	if asked := actions(hurried, ActionReclaim); len(asked) != 1 || !asked[0].ReclaimBy.Equal(noon.Add(20*time.Second)) {
		t.Errorf("another service: asked back %+v, want by 12:00:20", asked)
	}
}

// What a loan frees counts for pods that are owed: nothing else is asked back.
func TestWhoHasWhatWasMade(t *testing.T) {
	tests := []struct {
		name        string
		change      func(*Snapshot)
		asked, undo int
	}{
		{"nobody waits", func(*Snapshot) {}, 0, 0},
		{"its loan goes anyway", func(in *Snapshot) {
			pendingPod(in)
			in.Loans[0].Reclaiming, in.Loans[0].ReclaimBy = true, noon.Add(time.Minute)
		}, 0, 1},
		{"its loan goes, and it is being undone", func(in *Snapshot) {
			pendingPod(in)
			in.Loans[0].Reclaiming, in.Loans[0].ReclaimBy = true, noon.Add(time.Minute)
			in.Nodes[0].Reshapes[0].State, in.Nodes[0].Reshapes[0].Since = ReshapeUndoing, noon.Add(-time.Second)
		}, 0, 0},
		{"its loan has ended by itself", func(in *Snapshot) {
			pendingPod(in)
			in.Loans[0].Finished = true
		}, 0, 1},
		{"nobody has it, and it is being undone", func(in *Snapshot) {
			pendingPod(in)
			in.Loans = nil
			in.Nodes[0].Reshapes[0].State, in.Nodes[0].Reshapes[0].Since = ReshapeUndoing, noon.Add(-time.Second)
		}, 0, 0},
		{"the lender has gone", func(in *Snapshot) { in.Lenders, in.Loans = nil, nil }, 0, 1},
		{"the lender's slices are not to be reshaped any more", func(in *Snapshot) { in.Lenders[0].MIG, in.Loans = nil, nil }, 0, 1},
		{"nor while a loan has it", func(in *Snapshot) { in.Lenders[0].MIG = nil }, 0, 0},
		{"it is stuck", func(in *Snapshot) { pendingPod(in); in.Loans = nil; in.Nodes[0].Reshapes[0].Stuck = "x" }, 0, 0},
		{"somebody else is on it", func(in *Snapshot) {
			pendingPod(in)
			in.Loans = nil
			in.Nodes[0].Units[1].Other = 1
			in.Nodes[0].Cards[0].Instances[0].Use = mig.Busy
		}, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plan, _ := decideMade(test.change)
			if len(actions(plan, ActionReclaim)) != test.asked || len(plan.Reshapes) != test.undo {
				t.Errorf("plan %s, want %d asked back and %d undone", encode(plan), test.asked, test.undo)
			}
		})
	}
}

// The lender of what is stuck reads that it is lost, and it is not lent.
func TestStuckIsTold(t *testing.T) {
	plan, _ := decideMade(func(in *Snapshot) { in.Nodes[0].Reshapes[0].Stuck, in.Loans = "in use by another client", nil })
	i := slices.IndexFunc(plan.Verdicts, func(v Verdict) bool { return v.Subject == "serving/chat" })
	if !strings.Contains(plan.Verdicts[i].Message, "; 4 units of GPU A on n cannot be had back: in use by another client") || plan.Lenders[0].Lent != 4 {
		t.Errorf("verdict %+v, lent %d", plan.Verdicts[i], plan.Lenders[0].Lent)
	}
}

// Two loans of slices that were made on one node are told apart by who holds which, and
// else by whom they were made for.
func TestWhichLoanHasWhich(t *testing.T) {
	for _, cards := range []bool{true, false} {
		in := madeOne()
		n := &in.Nodes[0]
		second := n.Cards[0]
		second.UUID, second.Instances = "B", slices.Clone(second.Instances)
		n.Cards = append(n.Cards, second)
		r := n.Reshapes[0]
		r.ID, r.GPU, r.JobUID = "rs2", "B", "v"
		n.Reshapes = append(n.Reshapes, r)
		n.Units[0].Capacity, n.Units[0].Online, n.Units[1].Capacity = 6, 6, 2
		other := in.Loans[0]
		other.Name, other.JobUID, other.Job = "research/other-1", "v", "research/other"
		in.Loans = append(in.Loans, other)
		// The kubelet gave each the other's.
		n.Cards[0].Instances[0].Owner, n.Cards[1].Instances[0].Owner = "research/other-1", "research/big-1"
		want := "rs2"
		if !cards {
			n.Cards, want = nil, "rs"
		}
		in.Loans[0].Reclaiming, in.Loans[0].ReclaimBy = true, noon.Add(time.Minute)
		plan, _ := Decide(in, State{At: noon.Add(-5 * time.Second)}, DefaultPolicy())
		if len(plan.Reshapes) != 1 || plan.Reshapes[0].ID != want {
			t.Errorf("undone: %+v, want %s", plan.Reshapes, want)
		}
	}
}

// undoneAndMore is the snapshot with a pod that waits, and another loan of the lender's on
// a second node.
func undoneAndMore() Snapshot {
	in := madeOne()
	pendingPod(&in)
	in.Tenants[1].Quotas[0].Nominal = 2
	in.Lenders[0].Owned = 11
	in.Nodes = append(in.Nodes, Node{Name: "n2", Schedulable: true, Units: []Units{{Flavor: "a100-1g", Capacity: 4}}})
	in.Loans = append(in.Loans, Loan{
		Name: "research/plain-1", Job: "research/plain", JobUID: "w", Borrower: "research", Queue: "research/q", Pods: 4, UnitsPerPod: 1, Live: 4, Bound: 4,
		Grants: []Grant{{"serving/chat", "n2", "a100-1g", 4}}, Since: noon.Add(-time.Hour), Checkpoint: noon.Add(-50 * time.Minute), Grace: time.Hour,
	})
	return in
}

// An undoing is late from when it was asked for, not from when the change was made: until
// then nobody else's units are asked back.
func TestUndoingIsTimedFromItsBeginning(t *testing.T) {
	in := undoneAndMore()
	state := State{
		At: noon.Add(-5 * time.Second), Since: noon.Add(-time.Hour),
		Reshapes: []ReshapeMemory{{GPU: "A", At: noon.Add(-time.Hour), Quiet: noon.Add(time.Minute), State: ReshapeMade, Entered: noon.Add(-time.Hour)}},
	}
	plan, asked := Decide(in, state, DefaultPolicy())
	if a := actions(plan, ActionReclaim); len(a) != 1 || a[0].Loan != "research/big-1" || len(plan.Reshapes) != 1 {
		t.Fatalf("plan %s, want the cheaper loan asked back and its slices undone", encode(plan))
	}
	r := &in.Nodes[0].Reshapes[0]
	in.Loans[0].Reclaiming, in.Loans[0].ReclaimBy = true, noon.Add(50*time.Second)
	for name, since := range map[string]time.Time{"nobody says when": {}, "an agent's clock is slow": noon.Add(-3 * time.Minute), "or fast": noon.Add(time.Hour)} {
		r.State, r.Since = ReshapeUndoing, since
		state := asked
		for _, after := range []time.Duration{time.Second, 5 * time.Second, 2 * time.Minute} {
			in.Now = noon.Add(after)
			in.Lenders[0].Load.ObservedAt = in.Now
			if plan, state = Decide(in, state, DefaultPolicy()); len(actions(plan, ActionReclaim)) > 0 {
				t.Errorf("%s: after %s: %s", name, after, encode(plan))
			}
		}
		in.Now = noon.Add(2*time.Minute + 5*time.Second)
		in.Lenders[0].Load.ObservedAt = in.Now
		if plan, _ = Decide(in, state, DefaultPolicy()); len(actions(plan, ActionReclaim)) != 1 {
			t.Errorf("%s: nobody else is asked once it is late: %s", name, encode(plan))
		}
	}
}

// Who is on what is being undone is asked back, however long ago that began, and nobody else
// is; it has its grace, and the undoing too, before anything is given up.
func TestLoansOfWhatIsUndoneAreAskedBack(t *testing.T) {
	for _, ago := range []time.Duration{time.Second, time.Hour} {
		for _, waits := range []bool{false, true} {
			in := undoneAndMore()
			if !waits {
				in.Lenders[0].Desired, in.Lenders[0].Pending = 3, nil
			}
			r := &in.Nodes[0].Reshapes[0]
			r.State, r.Since = ReshapeUndoing, noon.Add(-ago)
			plan, state := Decide(in, State{At: noon.Add(-5 * time.Second), Since: noon.Add(-2 * time.Hour)}, DefaultPolicy())
			a := actions(plan, ActionReclaim)
			if len(a) != 1 || a[0].Loan != "research/big-1" || a[0].Reason != ReasonSlicesUndone || !a[0].ReclaimBy.Equal(noon.Add(50*time.Second)) {
				t.Fatalf("after %s: %s, want the loan asked back by 12:00:50", ago, encode(plan))
			}
			in.Loans[0].Reclaiming, in.Loans[0].ReclaimBy = true, a[0].ReclaimBy
			for after, more := range map[time.Duration]int{5 * time.Second: 0, 110 * time.Second: 0, 125 * time.Second: 1} {
				in.Now = noon.Add(after)
				in.Lenders[0].Load.ObservedAt = in.Now
				plan, _ := Decide(in, state, DefaultPolicy())
				if n := len(actions(plan, ActionReclaim)); waits && n != more || !waits && n != 0 {
					t.Errorf("after %s, and %s: %d more asked back: %s", ago, after, n, encode(plan))
				}
			}
		}
	}
}

// A loan that goes on is taken to be on what stays rather than on what is being undone.
func TestNewLoanIsNotOnWhatIsUndone(t *testing.T) {
	for _, uid := range []string{"u", "v"} {
		plan, _ := decideMade(func(in *Snapshot) {
			n := &in.Nodes[0]
			second := n.Cards[0]
			second.UUID, second.Instances = "B", slices.Clone(second.Instances)
			n.Cards = append(n.Cards, second)
			for i := range n.Cards { // nobody has taken either yet
				n.Cards[i].Instances[0].Use, n.Cards[i].Instances[0].Owner = mig.Idle, ""
			}
			r := n.Reshapes[0]
			r.ID, r.GPU, r.JobUID = "rs2", "B", uid
			n.Reshapes = append(n.Reshapes, r)
			n.Reshapes[0].State, n.Reshapes[0].Since = ReshapeUndoing, noon.Add(-time.Second)
			n.Units[0].Capacity, n.Units[0].Online, n.Units[1].Capacity = 6, 6, 2
			in.Tenants[1].Quotas[0].Nominal = 2
			in.Lenders[0].Owned, in.Lenders[0].Running, in.Lenders[0].Ready, in.Lenders[0].Desired = 14, 6, 6, 6
			in.Loans[0].Bound, in.Loans[0].Since = 0, noon.Add(-time.Second)
		})
		if len(plan.Actions)+len(plan.Reshapes) > 0 {
			t.Errorf("the job of rs2 is %s: %s", uid, encode(plan))
		}
	}
}

// waitsForMade is the snapshot with the job waiting for what was made, which nobody has.
func waitsForMade() Snapshot {
	in := madeOne()
	in.Loans = nil
	in.Nodes[0].Cards[0].Instances[0].Use, in.Nodes[0].Cards[0].Instances[0].Owner = mig.Idle, ""
	in.Jobs = []Job{{UID: "u", Name: "research/big", Tenant: "research", Queue: "research/q", Flavor: "a100-4g", Pods: 1, UnitsPerPod: 1}}
	in.Lenders[0].MIG.Change = 2 * time.Second
	return in
}

// watchMade decides every five seconds and says when the change was undone, or the job got
// what was made; it gives up after an hour.
func watchMade(in Snapshot, before func(in *Snapshot, after time.Duration)) (undone, lent time.Duration, message string) {
	state := State{At: noon.Add(-5 * time.Second), Since: noon.Add(-time.Hour)}
	for after := time.Duration(0); after < time.Hour; after += 5 * time.Second {
		in.Now = noon.Add(after)
		in.Lenders[0].Load.ObservedAt = in.Now
		if before != nil {
			before(&in, after)
		}
		var plan Plan
		plan, state = Decide(in, state, DefaultPolicy())
		if a := actions(plan, ActionLend); len(a) > 0 {
			return -1, after, a[0].Message
		}
		if len(plan.Reshapes) > 0 {
			return after, -1, plan.Reshapes[0].Message
		}
	}
	return -1, -1, ""
}

// What was made and cannot be lent is not kept for ever, and what can be lent again in time is.
func TestWhatCannotBeLentGoesBack(t *testing.T) {
	made := func(in *Snapshot) *mig.Instance { return &in.Nodes[0].Cards[0].Instances[0] }
	for name, change := range map[string]func(*Snapshot){
		"a process without a pod stays on it": func(in *Snapshot) { made(in).Use = mig.Busy },
		"what runs on it is not known":        func(in *Snapshot) { made(in).Use = mig.Unknown },
		"the GPU is gone":                     func(in *Snapshot) { in.Nodes[0].Cards = nil },
		"the node is cordoned":                func(in *Snapshot) { in.Nodes[0].Schedulable = false },
		"maxGrace is too short":               func(in *Snapshot) { in.Lenders[0].MaxGrace = 5 * time.Second },
	} {
		in := waitsForMade()
		change(&in)
		// As long as making it and undoing it would have to last to pay, and a minute.
		if undone, _, message := watchMade(in, nil); undone != 3*time.Minute+5*time.Second || !strings.Contains(message, "could not be lent since 2026-01-05T12:00:00Z") {
			t.Errorf("%s: undone after %s: %s", name, undone, message)
		}
	}
	in := waitsForMade()
	if _, lent, _ := watchMade(in, func(in *Snapshot, after time.Duration) {
		made(in).Use, in.Lenders[0].Dwell = mig.Busy, 0
		switch {
		case after == 2*time.Minute: // for a moment, in which its lender has to wait
			made(in).Use, in.Lenders[0].Dwell = mig.Idle, time.Hour
		case after >= 4*time.Minute:
			made(in).Use = mig.Idle
		}
	}); lent != 4*time.Minute {
		t.Errorf("what is free again was lent after %s", lent)
	}
}

// A sample between the marks does not undo what a job waits for, and does what nobody does.
func TestBetweenTheMarksSlicesAreKeptForTheirJob(t *testing.T) {
	between := func(in *Snapshot, after time.Duration) {
		in.Lenders[0].Load.Requests, in.Lenders[0].LowWater = 0, 0.1
		if after < 30*time.Second {
			in.Lenders[0].Load.Requests = 100
		}
	}
	if undone, lent, message := watchMade(waitsForMade(), between); lent != 30*time.Second {
		t.Errorf("lent after %s, undone after %s: %s", lent, undone, message)
	}
	making := waitsForMade()
	making.Nodes[0].Cards[0].Instances = making.Nodes[0].Cards[0].Instances[1:]
	making.Nodes[0].Reshapes[0].State, making.Nodes[0].Reshapes[0].Since = ReshapeMaking, noon.Add(-time.Second)
	making.Nodes[0].Units[1].Capacity = 0
	if undone, _, message := watchMade(making, between); undone < time.Minute {
		t.Errorf("undone after %s: %s", undone, message)
	}
	nobody := waitsForMade()
	nobody.Jobs = nil
	if undone, _, _ := watchMade(nobody, between); undone != 0 {
		t.Errorf("for nobody: undone after %s", undone)
	}
	if undone, _, message := watchMade(waitsForMade(), func(in *Snapshot, _ time.Duration) {
		in.Lenders[0].Load.Requests, in.Lenders[0].LowWater = 100, 0.1
	}); undone != 3*time.Minute+5*time.Second {
		t.Errorf("undone after %s: %s", undone, message)
	}
}

// wholeOne is the snapshot before anything was made, with nobody's job.
func wholeOne() (Snapshot, State) {
	in := waitsForMade()
	in.Jobs = nil
	n := &in.Nodes[0]
	n.Reshapes = nil
	n.Units = []Units{{Flavor: "a100-1g", Capacity: 7, Online: 3}, {Flavor: "a100-4g"}}
	card := &n.Cards[0]
	card.Instances = card.Instances[1:]
	for i := range 4 {
		card.Instances = append(card.Instances, mig.Instance{Placed: mig.Placed{Start: i}, Generation: 1, Use: mig.Idle})
	}
	low := LenderState{Name: "serving/chat", LowSince: noon.Add(-time.Hour), OpenSince: noon.Add(-time.Hour)}
	return in, State{At: noon.Add(-5 * time.Second), Since: noon.Add(-time.Hour), Lenders: []LenderState{low}}
}

// wantFours are waiting jobs of so many pods each, in this order.
func wantFours(in *Snapshot, pods ...int64) {
	for i, n := range pods {
		in.Jobs = append(in.Jobs, Job{
			UID: fmt.Sprintf("u%03d", i), Name: fmt.Sprintf("research/j%03d", i), Tenant: "research", Queue: "research/q",
			Flavor: "a100-4g", Pods: n, UnitsPerPod: 1, Created: noon.Add(time.Duration(i-1000) * time.Second),
		})
	}
}

func upToOne(most int64) (out []int64) {
	for n := most; n > 0; n-- {
		out = append(out, n)
	}
	return out
}

// However many jobs nothing can be made for, the one behind them gets what can be: at once
// where that is seen without a search, and else in its turn.
func TestJobsThatCannotBeServedStarveNobody(t *testing.T) {
	in, state := wholeOne()
	wantFours(&in, upToOne(80)...)
	if plan, _ := Decide(in, state, DefaultPolicy()); len(plan.Reshapes) != 1 || plan.Reshapes[0].JobUID != "u079" {
		t.Errorf("plan %+v, want slices made for the last job", plan.Reshapes)
	}
	// Cards that look as if, on nodes where other pods will have one of the units.
	state.Decisions = 1
	for i := range 99 {
		n := in.Nodes[0]
		n.Name = fmt.Sprintf("o%03d", i)
		n.Units = []Units{{Flavor: "a100-1g", Capacity: 7, Online: 3, Promised: 1}, {Flavor: "a100-4g"}}
		n.Cards = slices.Clone(n.Cards)
		n.Cards[0].UUID = n.Name
		in.Nodes = append(in.Nodes, n)
	}
	in.Tenants[1].Quotas[0].Nominal = 100
	l := &in.Lenders[0]
	l.Owned, l.Running, l.Ready, l.Desired = 700, 300, 300, 300
	wait := func(uid string, plan Plan) string {
		i := slices.IndexFunc(plan.Verdicts, func(v Verdict) bool { return v.UID == uid })
		return plan.Verdicts[i].Message
	}
	plan, next := Decide(in, state, DefaultPolicy())
	if len(plan.Reshapes) > 0 || !strings.Contains(wait("u079", plan), "GPUs were not looked through for it now") || !strings.Contains(wait("u000", plan), "may not lend as many slices now") {
		t.Fatalf("reshapes %+v, the first job reads %q, the last one %q", plan.Reshapes, wait("u000", plan), wait("u079", plan))
	}
	for decisions := 2; len(plan.Reshapes) == 0; decisions++ {
		if decisions > 4 {
			t.Fatalf("nothing is made after %d decisions", decisions)
		}
		in.Now = in.Now.Add(5 * time.Second)
		in.Lenders[0].Load.ObservedAt = in.Now
		plan, next = Decide(in, next, DefaultPolicy())
	}
	if plan.Reshapes[0].JobUID != "u079" {
		t.Errorf("made %+v, want it for the last job", plan.Reshapes)
	}
}

// Jobs of another size read as well what is in the way.
func TestWhyNothingIsMadeIsToldToAll(t *testing.T) {
	in, state := wholeOne()
	in.Nodes[0].Cards[0].Instances[4].Use = mig.Busy
	wantFours(&in, 1, 2, 1)
	in.Tenants[1].Quotas[0].Nominal = 2
	plan, _ := Decide(in, state, DefaultPolicy())
	for _, v := range plan.Verdicts {
		if v.Kind == SubjectJob && !strings.Contains(v.Message, "on no GPU are idle slices") {
			t.Errorf("%s reads %q", v.Subject, v.Message)
		}
	}
}
