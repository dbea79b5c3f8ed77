package product

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// Of every tick that is not decided in full, a whole decision would do nothing, and would
// remember the same.
func TestSparedTicksWouldDoNothing(t *testing.T) {
	spared, made := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		o := Defaults()
		o.Forecast, o.Relend = seed%3 > 0, time.Duration(seed%2)*5*time.Second
		rules := roll(seed).rules()
		var p *policy
		o.Seen = func(lend.Snapshot, lend.Plan) { made++ }
		o.spared = func(in lend.Snapshot, before, after lend.State) {
			spared++
			plan, want := lend.Decide(in, before, p.rules)
			if len(plan.Actions)+len(plan.Reshapes)+len(plan.Scales) > 0 {
				t.Fatalf("at %s a whole decision would do %+v", in.Now, plan.Actions)
			}
			// What is too old to matter goes when the next whole decision is made.
			want.Jobs, want.Loans = after.Jobs, after.Loans
			if diff := cmp.Diff(want, after, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("at %s a whole decision would remember (-want +got):\n%s", in.Now, diff)
			}
		}
		p = New(rules, o).(*policy)
		if _, err := sim.Run(small(seed, false), p, nil); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%d ticks were spared, %d decisions made", spared, made)
	if spared < made/10 {
		t.Errorf("only %d ticks were spared, and %d decisions made", spared, made)
	}
}

// Runs in which ticks are spared are those in which none is.
func TestSparingTicksChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		o := Defaults()
		o.Forecast, o.Relend = seed%3 > 0, time.Duration(seed%2)*5*time.Second
		got := results(t, small(seed, false), New(roll(seed).rules(), o))
		o.always = true
		if want := results(t, small(seed, false), New(roll(seed).rules(), o)); got != want {
			t.Fatalf("in full:\n%s\nspared:\n%s", want, got)
		}
	})
}

type fataler interface{ Fatal(...any) }

func results(t fataler, s *sim.Scenario, p sim.Policy) string {
	r, err := sim.Run(s, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(struct {
		*sim.Result
		Queueing, JCT, Waited sim.Sketch
	}{r, r.Queueing, r.JCT, r.OnlineWait})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
