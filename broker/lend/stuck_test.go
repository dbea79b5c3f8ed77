package lend

import (
	"testing"
	"time"
)

// TestStuckPart: what an elastic job was to give back, and whose pods do not go, is waited for
// as long as that of a whole loan; then others are asked.
func TestStuckPart(t *testing.T) {
	in, pol := elasticWorld(), DefaultPolicy()
	wait(&in, 2)
	tune := &in.Loans[1]
	tune.Shedding, tune.ShedLive, tune.ShedKilled = []Grant{{Lender: "serving/chat", Node: "a", Flavor: "h100", Count: 2}}, 2, true
	tune.Pods, tune.ReclaimBy, tune.ReclaimID = 6, in.Now.Add(-time.Second), "r-1-1"
	state := State{At: in.Now.Add(-5 * time.Second)}
	began := in.Now
	for after := time.Duration(0); after <= pol.StuckAfter; after += 5 * time.Second {
		in.Now = began.Add(after)
		in.Lenders[0].Load.ObservedAt = in.Now
		var plan Plan
		plan, state = Decide(in, state, pol)
		asked := reclaims(&plan)
		if late := after >= pol.StuckAfter; late != (len(asked) > 0) {
			t.Fatalf("%s after it was killed: asked back: %+v", after, asked)
		}
	}
	// As soon as they are gone nobody is counted twice.
	tune.ShedLive, tune.ShedKilled = 0, false
	_, state = Decide(in, state, pol)
	for _, m := range state.Loans {
		if !m.ShedKilledSince.IsZero() {
			t.Errorf("it is still remembered: %+v", m)
		}
	}
}

// TestStuckNever: where nobody is to be asked instead, units that do not come back are waited
// for, and so they are for as long as nobody was told to die.
func TestStuckNever(t *testing.T) {
	for name, change := range map[string]func(*Loan, *Policy){
		"a policy without":   func(_ *Loan, p *Policy) { p.StuckAfter = 0 },
		"who was not killed": func(l *Loan, _ *Policy) { l.Killed = false },
		"who has gone":       func(l *Loan, _ *Policy) { l.Live = 0 },
		"nobody else":        nil,
	} {
		in, pol := elasticWorld(), DefaultPolicy()
		wait(&in, 4)
		gang := &in.Loans[0]
		gang.Reclaiming, gang.ReclaimBy, gang.ReclaimID, gang.Killed = true, in.Now.Add(-time.Second), "r-1-1", true
		if change != nil {
			change(gang, &pol)
		}
		state, asked := State{At: in.Now.Add(-5 * time.Second)}, 0
		for range 20 {
			in.Now = in.Now.Add(5 * time.Second)
			in.Lenders[0].Load.ObservedAt = in.Now
			var plan Plan
			plan, state = Decide(in, state, pol)
			asked += len(reclaims(&plan))
		}
		if others := change == nil; others != (asked > 0) {
			t.Errorf("%s: %d are asked instead", name, asked)
		}
	}
}
