package lend

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// What the next decision has to know of a GPU: the state of its change and since when, for
// how long it is left alone, and what was decided and not seen.
func TestWhatIsRememberedOfGPUs(t *testing.T) {
	begun := Reshape{ID: "rs9", GPU: "B", State: ReshapeMaking, Since: noon.Add(-time.Second)}
	earlier := noon.Add(-time.Minute)
	of := func(d *decision, gpu string) (m ReshapeMemory, there bool) {
		for _, m := range d.reshapeMemory() {
			if m.GPU == gpu {
				return m, true
			}
		}
		return m, false
	}

	d, r := oneMade()
	m, _ := of(d, "A")
	if m.State != ReshapeMade || !m.Entered.Equal(r.Since) || !m.At.Equal(d.now) || !m.Quiet.Equal(d.now.Add(100*time.Second)) || !m.IdleSince.IsZero() || m.Begun != nil {
		t.Errorf("seen first: %+v", m)
	}
	d.reshapes.memory["A"] = ReshapeMemory{GPU: "A", At: earlier, Begun: &begun, Node: "n"}
	r.node.Unlendable = "toolkit"
	if m, _ = of(d, "A"); !m.At.Equal(earlier) || m.Begun != nil || m.Node != "" || !m.IdleSince.Equal(d.now) {
		t.Errorf("seen, and barred: %+v", m)
	}
	r.lender = nil
	if m, _ = of(d, "A"); !m.Quiet.Equal(d.now.Add(forgottenAfter)) {
		t.Errorf("its lender is gone: %+v", m)
	}

	d, r = oneMade()
	r.begun, r.Reshape = true, begun
	d.reshapes.memory["B"] = ReshapeMemory{GPU: "B", Node: "n", At: earlier, Begun: &begun}
	if m, _ = of(d, "B"); m.Begun == nil || m.Begun.State != ReshapeMaking || m.Node != "n" {
		t.Errorf("begun: %+v", m)
	}
	r.back = new(ReshapeAction)
	if m, _ = of(d, "B"); m.Begun == nil || m.Begun.State != ReshapeUndoing || !m.Begun.Since.Equal(d.now) || m.Node != "n" || begun.State != ReshapeMaking {
		t.Errorf("begun, and undone: %+v, from %+v", m.Begun, begun)
	}

	d, _ = oneMade()
	d.reshapes.list = nil
	for gpu, m := range map[string]ReshapeMemory{
		"quiet": {Quiet: d.now.Add(1), State: ReshapeMade, Entered: earlier, IdleSince: earlier},
		"over":  {Quiet: d.now, State: ReshapeMade, Entered: earlier, IdleSince: earlier},
		"begun": {Quiet: d.now, Begun: &begun},
	} {
		m.GPU = gpu
		d.reshapes.memory[gpu] = m
	}
	if m, there := of(d, "quiet"); !there || m.State != "" || !m.Entered.IsZero() || !m.IdleSince.IsZero() {
		t.Errorf("gone: %+v", m)
	}
	if m, there := of(d, "over"); there {
		t.Errorf("gone, and quiet is over: %+v", m)
	}
	if _, there := of(d, "begun"); !there {
		t.Error("what was begun is forgotten")
	}
}

// Nobody has what was made: it goes back if it came too late, if it cannot be lent for long,
// if nobody waits for such or nobody who waits can have it, and else it is kept.
func TestIdles(t *testing.T) {
	for name, test := range map[string]struct {
		change func(d *decision, r *reshape)
		jobs   bool
		want   string
	}{
		"nobody waits":                         {func(*decision, *reshape) {}, false, "no job waits for what was made"},
		"somebody waits who cannot have it":    {func(*decision, *reshape) {}, true, "no job that waits can have what was made"},
		"kept for one that waits for more":     {func(_ *decision, r *reshape) { r.kept = true }, false, ""},
		"being made, and somebody waits":       {func(d *decision, r *reshape) { r.State, r.Since = ReshapeMaking, d.now }, true, ""},
		"being made for as long as it may be":  {func(d *decision, r *reshape) { r.State, r.Since = ReshapeMaking, d.now.Add(-r.late()) }, true, ""},
		"being made for longer":                {func(d *decision, r *reshape) { r.State, r.Since = ReshapeMaking, d.now.Add(-r.late()-1) }, true, "it was not made in time"},
		"its lender has to wait":               {func(d *decision, _ *reshape) { d.lenders[0].open = false }, true, ""},
		"nothing new is lent there":            {func(_ *decision, r *reshape) { r.node.Unlendable = "toolkit" }, true, "nothing new is lent on the node: toolkit"},
		"nothing new is lent where it is made": {func(d *decision, r *reshape) { r.node.Unlendable, r.State, r.Since = "toolkit", ReshapeMaking, d.now }, true, ""},
		"nor on what somebody holds":           {func(_ *decision, r *reshape) { r.node.Unlendable = "toolkit"; r.card.Instances[0].Use = mig.Busy }, true, ""},
		"it cannot be lent for long": {func(d *decision, r *reshape) {
			r.card.Instances[0].Use = mig.Busy
			d.reshapes.memory[r.GPU] = ReshapeMemory{IdleSince: d.now.Add(-r.late() - 1)}
		}, true, "what was made could not be lent since"},
		"no job was considered": {func(d *decision, _ *reshape) { d.line = nil }, true, "no job waits for what was made"},
		"they wait for something else": {func(d *decision, _ *reshape) {
			for slot := range d.line.briefs {
				d.line.tell(slot, outcome{ReasonQueuePaused, "x"})
			}
		}, true, "no job waits for what was made"},
		"they are refused": {func(d *decision, _ *reshape) {
			for slot := range d.line.briefs {
				d.line.briefs[slot].refused = true
			}
		}, true, "no job waits for what was made"},
		"they have gone": {func(d *decision, _ *reshape) {
			for slot := range d.line.briefs {
				d.line.alive[slot] = false
			}
		}, true, "no job waits for what was made"},
		"they wait for others":           {func(_ *decision, r *reshape) { r.To = "a100-1g" }, true, "no job waits for what was made"},
		"for what nobody ever asked for": {func(_ *decision, r *reshape) { r.To = "a100-7g" }, true, "no job waits for what was made"},
	} {
		in := madeOne()
		in.Loans = nil
		in.Nodes[0].Cards[0].Instances[0].Use, in.Nodes[0].Cards[0].Instances[0].Owner = mig.Idle, ""
		if test.jobs {
			wantFours(&in, 9) // more than there can be
			in.Jobs = append(in.Jobs, Job{UID: "z", Name: "research/z", Tenant: "research", Queue: "research/none", Flavor: "a100-1g", Pods: 1, UnitsPerPod: 1})
		}
		d := begin(in, State{}, DefaultPolicy())
		d.countRooms()
		d.assess()
		d.book()
		d.admit()
		d.lenders[0].open, d.lenders[0].gate = true, ""
		r := d.reshapes.list[0]
		r.back, r.kept = nil, false
		d.reshapes.wanted = nil
		test.change(d, r)
		_, got := d.idles(r)
		if got != test.want && (test.want == "" || len(got) < len(test.want) || got[:len(test.want)] != test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// Changes whose lender is gone are undone, or given up on, as those of others.
func TestChangesOfNobody(t *testing.T) {
	for name, change := range map[string]func(*Snapshot){
		"a loan has it":                   func(*Snapshot) {},
		"nobody has it":                   func(in *Snapshot) { in.Loans = nil },
		"a loan has it, and it is undone": func(in *Snapshot) { in.Nodes[0].Reshapes[0].State = ReshapeUndoing },
		"nobody has it, and it is undone": func(in *Snapshot) { in.Loans, in.Nodes[0].Reshapes[0].State = nil, ReshapeUndoing },
	} {
		in := madeOne()
		in.Lenders = nil
		change(&in)
		plan, next := Decide(in, State{At: noon.Add(-5 * time.Second)}, DefaultPolicy())
		undoes := len(plan.Reshapes) == 1 && plan.Reshapes[0].Kind == ReshapeUndo
		if want := name == "nobody has it"; undoes != want || len(next.Reshapes) != 1 {
			t.Errorf("%s: %s, remembered %+v", name, encode(plan.Reshapes), next.Reshapes)
		}
	}
}

// Whoever needs the units has a change undone, once, and one that is lost not at all.
func TestCallBack(t *testing.T) {
	d, r := oneMade()
	r.standIn = new(loan)
	d.callBack(r, ReasonNeedRose, "x")
	if first := r.back; first == nil || first.ID != r.ID || first.Node != "n" || first.Lender != r.Lender || !r.standIn.ending {
		t.Errorf("%+v", r.back)
	}
	d.callBack(r, ReasonReshapeUnused, "y")
	if r.back.Reason != ReasonNeedRose {
		t.Errorf("%+v", r.back)
	}
	for name, change := range map[string]func(*reshape){
		"broken": func(r *reshape) { r.broken = "x" }, "undone": func(r *reshape) { r.State = ReshapeUndoing },
	} {
		d, r := oneMade()
		change(r)
		d.callBack(r, ReasonNeedRose, "x")
		if r.back != nil {
			t.Errorf("%s: %+v", name, r.back)
		}
	}
}
