package lend

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/mig"
)

// slicesOf are the flavors of a world of cards, from the smallest to the largest.
var slicesOf = []Flavor{
	{Name: "a100-1g", SliceOf: "a100", Compute: 1, Memory: 1, Profile: "1g.5gb"},
	{Name: "a100-2g", SliceOf: "a100", Compute: 2, Memory: 2, Profile: "2g.10gb"},
	{Name: "a100-3g", SliceOf: "a100", Compute: 3, Memory: 4, Profile: "3g.20gb"},
	{Name: "a100-4g", SliceOf: "a100", Compute: 4, Memory: 4, Profile: "4g.20gb"},
}

// drawCards makes a random cluster of GPUs that are cut in seven.
func drawCards(r dice) *world {
	w := newWorld()
	w.flavors = slicesOf
	w.policy.MinimumLoan, w.policy.StartWithin = 20*time.Second, 40*time.Second
	w.policy.StableWindow, w.policy.FlapBudget = 10*time.Second, 0
	w.policy.EvictionBudget, w.policy.EvictionWindow = 5, 5*time.Minute
	var cards int64
	for i := range 1 + r.IntN(3) {
		n := Node{Name: fmt.Sprintf("n%d", i+1), Schedulable: true, LendLast: int32(r.IntN(2))}
		for _, f := range slicesOf {
			n.Units = append(n.Units, Units{Flavor: f.Name})
		}
		w.nodes = append(w.nodes, n)
		for k := range 1 + r.IntN(2) {
			pins := pick(r, nil, nil, []int{4, 5, 6}, []int{6}, []int{0, 3, 5}, []int{2, 5})
			w.addCard(n.Name, fmt.Sprintf("%s-%c", n.Name, 'A'+k), "A100-40GB", map[string][]int{"a100-1g": {0, 1, 2, 3, 4, 5, 6}}, pins)
			cards++
		}
	}
	left := 7 * cards
	names := []string{"lab", "research", "search", "serving"}
	for i := range 1 + r.IntN(2) {
		s := drawService(r, fmt.Sprintf("online/s%d", i), left)
		s.Flavor, s.UnitsPerPod, s.Advise, s.Scale = "a100-1g", 1, r.IntN(20) == 0, nil
		s.Owned = r.upTo(left)
		s.Desired, s.Warm = r.upTo(s.Owned/3), r.upTo(1)
		s.Dwell, s.Cooldown = 5*time.Second, 10*time.Second
		s.MaxGrace = pick(r, 20*time.Second, 20*time.Second, 30*time.Second, 5*time.Second)
		s.MIG = &MIGRules{
			Reshape: r.IntN(6) > 0, MinTrough: pick(r, 0, 20*time.Second), Change: pick(r, 0, 1*time.Second, 7*time.Second),
			Undo: pick(r, 1*time.Second, 7*time.Second),
		}
		left -= s.Owned
		w.lenders = append(w.lenders, s)
	}
	for _, name := range names {
		t := Tenant{Name: name, Cohort: "all"}
		q := Quota{Flavor: "a100"}
		for _, s := range w.lenders {
			if s.Tenant == name {
				q.Nominal += s.Owned/7 + 1
			}
		}
		q.BorrowingLimit = pick(r, nil, nil, nil, drawLimit(r))
		t.Quotas = append(t.Quotas, q)
		for _, f := range slicesOf {
			t.Quotas = append(t.Quotas, Quota{Flavor: f.Name})
		}
		w.tenants = append(w.tenants, t)
		w.queues = append(w.queues, Queue{Name: name + "/q", Tenant: name, FIFO: r.yes(), Backfill: r.IntN(4) > 0})
	}
	w.schedule()
	for range 3 + r.IntN(4) {
		w.submitSlices(r)
	}
	for range 6 {
		w.decide()
		w.step(5 * time.Second)
	}
	return w
}

func (w *world) submitSlices(r dice) {
	before := len(w.jobs)
	w.submit(r)
	for _, j := range w.jobs[before:] {
		j.Flavor, j.UnitsPerPod, j.Pods = pick(r, slicesOf...).Name, 1, 1+r.upTo(1)
	}
}

// disturbCards lets something happen to a world of cards.
func (w *world) disturbCards(r dice) {
	n := pick(r, w.cards.nodes...)
	card := pick(r, n.cards...)
	switch pick(r, "world", "world", "world", "world", "job", "occupy", "leave", "fix", "unlendable", "dead", "stuck", "hide", "heal", "heal", "preempt") {
	case "world":
		switch s := pick(r, w.lenders...); pick(r, "load", "low", "scale", "finish", "restart", "outlook", "ahead", "cordon") {
		case "load":
			s.util = pick(r, 0, 0.1, 0.29, 0.4, 0.6, 0.75, -1)
		case "low":
			s.util, s.Forecast, s.Floors = 0.05, nil, nil
		case "scale":
			s.Desired = r.upTo(s.Owned + 1)
		case "outlook":
			w.foresee(r, s)
		case "ahead":
			s.Forecast = &Forecast{Growth: 1, Ahead: []Ahead{{Within: time.Hour, Load: r.Float64() * 100 * float64(s.Owned)}}}
		default:
			w.upset(r)
		}
	case "job":
		w.submitSlices(r)
	case "occupy":
		if len(card.slices) == 0 {
			break
		}
		if s := pick(r, card.slices...); w.uses(n)[s].use == mig.Idle {
			s.use = pick(r, mig.Busy, mig.Unknown, mig.Draining)
		}
	case "leave", "heal":
		w.heal(n)
	case "fix":
		card.fixed = pick(r, "", "rebooted")
	case "unlendable":
		n.unlendable = pick(r, "", "toolkit")
	case "dead":
		n.agent = pick(r, "dead", "refuses")
	case "stuck":
		if r.IntN(4) == 0 {
			n.agent = "stuck"
		}
	case "hide":
		n.unknown, n.hidden = r.yes(), r.IntN(4) == 0
	case "preempt":
		w.preemptCard(r, n)
	}
}

func (w *world) heal(n *cutNode) {
	n.agent, n.unlendable, n.unknown, n.hidden = "", "", false, false
	for _, c := range n.cards {
		c.fixed = ""
		for _, s := range c.slices {
			s.use = ""
		}
	}
	for _, r := range n.reshapes {
		r.Stuck = ""
	}
}

// preemptCard is what the scheduler does by itself.
func (w *world) preemptCard(r dice, n *cutNode) {
	if len(n.reshapes) == 0 {
		return
	}
	of := pick(r, n.reshapes...)
	if !of.undo {
		of.undo, of.Since, of.done = true, w.now, time.Time{}
	}
	for _, l := range w.loans {
		if l.Name == of.loan && !l.Reclaiming && !l.Finished {
			l.Preempted = true
		}
	}
}

// driveCards runs a random cluster of cards.
func driveCards(t *rapid.T, check func(t *rapid.T, w *world, before State, in Snapshot, plan Plan), applied func(t *rapid.T, w *world)) {
	r := roll(t)
	w := drawCards(r)
	k := new(Decider) // which builds the boards' tables once
	for range rapid.IntRange(10, 60).Draw(t, "ticks") {
		w.disturbCards(r)
		w.step(time.Duration(pick(r, 1, 5, 5, 5, 10, 30)) * time.Second)
		before := w.state
		in := w.snapshot()
		plan, next := k.Decide(in, w.state, w.policy)
		w.state = next
		if check != nil {
			check(t, w, before, in, plan)
		}
		w.enact(plan)
		if applied != nil {
			applied(t, w)
		}
	}
}

// Laws 1 and 2 hold with cards, what is destroyed is idle, each layout is one that the board
// allows (the world panics otherwise), and nothing is lent that the cards do not show idle.
func TestCardsKeepTheLaws(t *testing.T) {
	made, lent := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		driveCards(t, func(t *rapid.T, w *world, _ State, _ Snapshot, plan Plan) {
			w.checkSlices(t, plan)
			for _, a := range plan.Reshapes {
				if a.Kind == ReshapeMake {
					made++
				}
			}
			lent += len(actions(plan, ActionLend))
		}, func(t *rapid.T, w *world) {
			if broken := CheckLaws(w.snapshot()); len(broken) > 0 {
				t.Fatal(broken)
			}
		})
	})
	if made == 0 || lent == 0 {
		t.Fatalf("%d reshapes and %d loans: the worlds are too dull to show anything", made, lent)
	}
	t.Logf("%d reshapes, %d loans", made, lent)
}

// checkSlices: the plan lends and changes no more than is idle.
func (w *world) checkSlices(t *rapid.T, plan Plan) {
	type at struct{ node, flavor string }
	left := map[at]int64{}
	for _, n := range w.cards.nodes {
		for s, u := range w.uses(n) {
			if u.use == mig.Idle && !n.unknown && !n.hidden {
				left[at{n.name, s.flavor}]++
			}
		}
	}
	for _, a := range actions(plan, ActionLend) {
		for _, g := range a.Grants {
			left[at{g.Node, g.Flavor}] -= g.Count
		}
	}
	for _, r := range plan.Reshapes {
		n := w.cards.of(r.Node)
		if r.Kind == ReshapeUndo {
			continue
		}
		left[at{r.Node, r.From}] -= r.Count
		if _, card := w.cards.card(r.Plan.GPU); n.unlendable != "" || n.unknown || n.hidden || card.fixed != "" || r.Count != int64(len(r.Plan.Destroy)) || r.Made != int64(len(r.Plan.Create)) {
			t.Fatalf("%+v on node %+v", r, n)
		}
		if l := w.service(r.Lender); !l.MIG.Reshape || l.MaxGrace <= l.MIG.Undo {
			t.Fatalf("%s is reshaped with grace %s and rules %+v", r.Lender, l.MaxGrace, l.MIG)
		}
	}
	for k, n := range left {
		if n < 0 {
			t.Fatalf("%d more of %s on %s are lent or changed than are idle: %s", -n, k.flavor, k.node, encode(plan))
		}
	}
}

// Law 3 with cards: whatever state a card is in, pods that wait have their slices after the
// grace, a few ticks and no more.
func TestLaw3WithCards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawCards(r)
		for range rapid.IntRange(0, 30).Draw(t, "ticks") {
			w.disturbCards(r)
			w.step(5 * time.Second)
			w.decide()
		}
		if len(w.cards.nodes) != len(w.nodes) {
			t.Skip("a node is lost")
		}
		w.policy.MinimumLoan = time.Hour
		for i := range w.nodes {
			w.nodes[i].Schedulable = true
		}
		for _, n := range w.cards.nodes {
			w.heal(n)
		}
		for _, s := range w.lenders {
			s.Advise, s.Desired = false, s.Owned
		}
		for _, j := range w.jobs { // those that will not go, even when they are killed
			j.lingers = false
		}
		w.schedule()
		var longest time.Duration
		for _, s := range w.lenders {
			longest = max(longest, s.MaxGrace)
		}
		// Undoing that nobody had asked for yet begins with the next decision, and each of
		// the pods' end, the kill and the agent's steps is seen in a tick of its own.
		for range int(longest/(5*time.Second)) + 6 {
			w.decide()
			w.step(5 * time.Second)
		}
		for _, s := range w.lenders {
			if len(s.waits) > 0 {
				t.Fatalf("%d pods of %s still wait: loans %s, cards %s", len(s.waits), s.Name, encode(w.snapshot().Loans), encode(w.snapshot().Nodes))
			}
		}
	})
}

// Equal snapshots give equal plans, also after they were written and read, and whether or not
// the Decider knows earlier ones or tells what it does.
func TestCardsAreReplayed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		brief := &Decider{Brief: true}
		driveCards(t, func(t *rapid.T, w *world, before State, in Snapshot, plan Plan) {
			again, next := Decide(in, before, w.policy)
			if encode(again) != encode(plan) {
				t.Fatalf("two plans for one snapshot:\n%s\n%s", encode(plan), encode(again))
			}
			checkBrief(t, brief, in, before, w.policy, plan, next)
			data, err := MarshalRecord(Record{Snapshot: in, State: before, Policy: w.policy, Plan: plan})
			if err != nil {
				t.Fatal(err)
			}
			rec, err := ReadRecord(data)
			if err != nil {
				t.Fatal(err)
			}
			if replayed := rec.Replay(); encode(replayed) != encode(plan) {
				t.Fatalf("the replay is another plan:\n%s\n%s", encode(plan), encode(replayed))
			}
		}, nil)
	})
}

// What is hidden is not lent, and more load never has more made or lent.
func TestHiddenCardsAndLoadNeverLendMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		driveCards(t, func(t *rapid.T, w *world, before State, in Snapshot, plan Plan) {
			hidden := in
			hidden.Nodes = slices.Clone(in.Nodes)
			for i := range hidden.Nodes {
				n := &hidden.Nodes[i]
				n.Cards = slices.Clone(n.Cards)
				for k := range n.Cards {
					n.Cards[k].Instances = slices.Clone(n.Cards[k].Instances)
					for m := range n.Cards[k].Instances {
						n.Cards[k].Instances[m].Use = mig.Unknown
					}
				}
			}
			blind, _ := Decide(hidden, before, w.policy)
			if len(actions(blind, ActionLend)) > 0 || makes(blind) > 0 {
				t.Fatalf("lent on cards of which nothing is known: %s", encode(blind))
			}
			busy := in
			busy.Lenders = slices.Clone(in.Lenders)
			for i := range busy.Lenders {
				busy.Lenders[i].Load.Requests = busy.Lenders[i].Load.Requests*2 + 70*float64(busy.Lenders[i].Owned)
			}
			loaded, _ := Decide(busy, before, w.policy)
			byService := slices.ContainsFunc(actions(loaded, ActionLend), func(a Action) bool {
				return slices.ContainsFunc(a.Grants, func(g Grant) bool { return w.service(g.Lender) != nil })
			})
			if makes(loaded) > 0 || byService {
				t.Fatalf("lent under a load of two thirds: %s", encode(loaded))
			}
		}, nil)
	})
}

func makes(p Plan) (units int64) {
	for _, a := range p.Reshapes {
		if a.Kind == ReshapeMake {
			units += a.Count
		}
	}
	return units
}

// Of one service and jobs of one profile, more load never has more slices changed.
func TestMoreLoadChangesNoMore(t *testing.T) {
	total := int64(0)
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawCards(r)
		w.lenders = w.lenders[:1]
		s := w.lenders[0]
		s.Advise, s.MIG.Reshape, s.MIG.MinTrough, s.MIG.Change, s.MIG.Undo = false, true, 0, 0, time.Second
		flavor := pick(r, slicesOf[1:]...).Name
		for _, j := range w.jobs {
			j.Flavor = flavor
		}
		for range 8 {
			w.step(5 * time.Second)
			w.agents()
			in := w.snapshot()
			var last int64
			for k := range 6 {
				more := in
				more.Lenders = slices.Clone(in.Lenders)
				l := &more.Lenders[0]
				l.Load.Requests = 100 * float64(l.Owned) * float64(5-k) * 0.07
				plan, _ := Decide(more, w.state, w.policy)
				if n := makes(plan); n < last {
					t.Fatalf("%d units are changed, and %d with more load: %s", n, last, encode(plan))
				} else {
					last = n
				}
			}
			total += last
			w.decide()
		}
	})
	if total == 0 {
		t.Fatal("nothing was ever changed")
	}
}

// JSON keeps all that a decision about cards depends on.
func TestCardsInJSON(t *testing.T) {
	in := Snapshot{
		Boards: mig.Boards()[:1],
		Nodes: []Node{{
			Name: "n", Unlendable: "toolkit", Units: []Units{{Flavor: "f", Pinned: 3}},
			Cards: []Card{{GPU: mig.GPU{UUID: "A", Instances: []mig.Instance{{Placed: mig.Placed{Profile: 3, Start: 4}, Generation: 7, Use: mig.Lent, Owner: "a/b"}}}, Board: "x", Fixed: "y"}},
			Reshapes: []Reshape{{
				ID: "i", GPU: "A", Lender: "l", From: "f", Count: 4, To: "t", Made: 1, Destroy: []mig.Placed{{Start: 1}}, Create: []mig.Placed{{Profile: 3}},
				JobUID: "u", State: ReshapeMade, Since: noon, Stuck: "s",
			}},
		}},
		Flavors: []Flavor{{Name: "f", Profile: "1g.5gb"}},
		Lenders: []Lender{{Name: "l", MIG: &MIGRules{Reshape: true, MinTrough: 1, Change: 2, Undo: 3}, Forecast: &Forecast{Ahead: []Ahead{{Within: 4, Load: 5}}}}},
	}
	state := State{Reshapes: []ReshapeMemory{{GPU: "A", Quiet: noon, Begun: &Reshape{ID: "j"}, Node: "n", At: noon, State: ReshapeMade, Entered: noon, IdleSince: noon}}}
	plan := Plan{Reshapes: []ReshapeAction{{Kind: ReshapeMake, ID: "i", Node: "n", Lender: "l", From: "f", Count: 4, To: "t", Made: 1, Job: "a/b", JobUID: "u", Plan: &mig.Plan{GPU: "A", Base: "b", Create: []mig.Placed{{Profile: 3}}}, Reason: "r", Message: "m"}}}
	data, err := MarshalRecord(Record{Snapshot: in, State: state, Plan: plan})
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ReadRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]any{{in.Nodes, rec.Snapshot.Nodes}, {in.Lenders, rec.Snapshot.Lenders}, {in.Flavors, rec.Snapshot.Flavors}, {state.Reshapes, rec.State.Reshapes}, {plan.Reshapes, rec.Plan.Reshapes}} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("wrote %+v, read %+v", pair[0], pair[1])
		}
	}
	if len(rec.Snapshot.Boards) != 1 || rec.Snapshot.Boards[0].Board != in.Boards[0].Board {
		t.Errorf("boards: %+v", rec.Snapshot.Boards)
	}
}
