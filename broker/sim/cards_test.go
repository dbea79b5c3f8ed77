package sim

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/google/go-cmp/cmp"
)

const a100 = "A100-40GB"

// cutFlavors are slices of A100s, as units of flavors.
func cutFlavors() []lend.Flavor {
	return []lend.Flavor{
		{Name: "z1g", SliceOf: "big", Compute: 1, Memory: 1, Profile: "1g.5gb"},
		{Name: "z2g", SliceOf: "big", Compute: 2, Memory: 2, Profile: "2g.10gb"},
		{Name: "z3g", SliceOf: "big", Compute: 3, Memory: 4, Profile: "3g.20gb"},
	}
}

func isSlice(flavor string) bool { return flavor[0] == 'z' }

// table plans for A100s.
var table = sync.OnceValue(func() *mig.Table {
	g, _ := mig.Board(a100)
	return mig.NewTable(&g)
})

// profile of a flavor on an A100.
func profile(flavor string) mig.Profile {
	g, all := table().Geometry(), cutFlavors()
	i := slices.IndexFunc(all, func(f lend.Flavor) bool { return f.Name == flavor })
	p, ok := profileOf(&g, &all[i])
	if !ok {
		panic("an A100 has no " + flavor)
	}
	return p
}

// cutInto is a card with some slices, as package mig would cut it, and the first of them
// pinned.
func cutInto(uuid string, pinned int, demands ...mig.Demand) Card {
	plan, err := table().PlanGPU(mig.GPU{UUID: uuid}, demands)
	if err != nil {
		panic(err)
	}
	c := Card{UUID: uuid, Board: a100}
	for i, at := range plan.Create {
		c.Slices = append(c.Slices, Slice{at, i < pinned})
	}
	return c
}

func (t picker) card(uuid string) Card {
	var demands []mig.Demand
	for _, f := range cutFlavors() {
		demands = append(demands, mig.Demand{Profile: profile(f.Name).ID, Count: t.pick("slices", 0, 7)})
	}
	return cutInto(uuid, t.pick("pinned", 0, 3), demands...)
}

// remade is what the core would ask for: so many of a flavor on a card, made of a service's
// idle slices and no others. ok is false if that cannot be.
func remade(w *World, card *CardState, s *ServiceState, to string, count int) (a lend.ReshapeAction, ok bool) {
	gpu := card.GPU(nil)
	for i := range gpu.Instances {
		if in := &gpu.Instances[i]; in.Profile != profile(s.Lender.Flavor).ID {
			in.Use = mig.Busy
		}
	}
	plan, err := table().PlanGPU(gpu, []mig.Demand{{Profile: profile(to).ID, Count: count}})
	if err != nil || len(plan.Unmet) > 0 || len(plan.Destroy) == 0 {
		return a, false
	}
	return lend.ReshapeAction{
		Kind: lend.ReshapeMake, ID: fmt.Sprintf("rs-%s-%d", card.UUID, card.made), Node: w.scenario.Nodes[card.Node].Name, Lender: s.Lender.Name,
		From: s.Lender.Flavor, Count: int64(len(plan.Destroy)), To: to, Made: int64(len(plan.Create)), Plan: &plan,
	}, true
}

// reshape changes layouts of cards, or has changes undone, at random.
func (a *anything) reshape(w *World) {
	for n := range w.Scenario().Nodes {
		for _, card := range w.Cards(int32(n)) {
			if a.draws.Below(4) > 0 {
				continue
			}
			if c := card.change; c != nil {
				w.Reshape(lend.ReshapeAction{Kind: lend.ReshapeUndo, ID: c.ID, Node: w.scenario.Nodes[n].Name})
				continue
			}
			for _, s := range w.Services() {
				to := fmt.Sprintf("z%dg", 1+a.draws.Below(3))
				if !isSlice(s.Lender.Flavor) || s.Lender.Flavor == to {
					continue
				}
				if act, ok := remade(w, card, s, to, 1+a.draws.Below(3)); ok {
					w.Reshape(act)
					break
				}
			}
		}
	}
}

func (a *anything) undoAll(w *World) {
	for n, node := range w.Scenario().Nodes {
		for _, r := range w.Reshapes(int32(n)) {
			w.Reshape(lend.ReshapeAction{Kind: lend.ReshapeUndo, ID: r.ID, Node: node.Name})
		}
	}
}

// workshop is a node with one card of seven small slices, the last three of them pinned, of
// a service that uses two at first.
func workshop(jobs ...Job) *Scenario {
	s := &Scenario{
		Length: 10 * time.Hour, Check: true, Flavors: cutFlavors(), Jobs: List(jobs), Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC),
		Services: []Service{{
			Lender: lend.Lender{Name: "chat", Flavor: "z1g", Owned: 7, UnitsPerPod: 1},
			Load:   Curve{{0, 2}, {3 * time.Hour, 7}}, Slots: 1, Target: 1, Drain: time.Second,
		}},
	}
	card := cutInto("GPU-0", 0, mig.Demand{Profile: profile("z1g").ID, Count: 7})
	for i := range card.Slices {
		card.Slices[i].Pinned = i >= 4
	}
	s.Nodes = []Node{{Name: "a", Units: []NodeUnits{{"big", 1}}, Cards: []Card{card}}}
	return s
}

// uses writes down what is done with a card's slices.
func uses(w *World) (out string) {
	for _, in := range w.Cards(0)[0].GPU(nil).Instances {
		p, _ := w.Cards(0)[0].geometry.Profile(in.Profile)
		out += fmt.Sprintf("%s@%d#%d %s%s, ", p.Name[:2], in.Start, in.Generation, in.Use, in.Owner)
	}
	return out
}

func TestACardIsReshaped(t *testing.T) {
	type seen struct {
		Uses    string
		States  []lend.ReshapeState
		Lent    int64
		Pending int
	}
	got := map[string]seen{}
	look := func(name string) func(*World) {
		return func(w *World) {
			s := seen{Uses: uses(w), Lent: w.Services()[0].Lent, Pending: len(w.Services()[0].Pending)}
			for _, r := range w.Reshapes(0) {
				s.States = append(s.States, r.State)
			}
			got[name] = s
		}
	}
	remake := func(w *World) {
		act, ok := remade(w, w.Cards(0)[0], w.Services()[0], "z3g", 1)
		if !ok {
			t.Fatal("nothing can be made")
		}
		w.Reshape(act)
	}
	undo := func(w *World) {
		w.Reshape(lend.ReshapeAction{Kind: lend.ReshapeUndo, ID: w.Reshapes(0)[0].ID, Node: "a"})
	}
	wide := func(w *World) int32 { return w.spotAt(0, "z3g") }
	play := script{
		{time.Hour, remake}, {time.Hour, look("making")},
		{time.Hour + 15*time.Second, look("made")},
		{2 * time.Hour, func(w *World) { w.Start(w.byName["j"], []Place{{wide(w), 0, 1}}) }}, {2 * time.Hour, look("held")},
		{3 * time.Hour, undo}, {3 * time.Hour, look("waits for the job")}, {3 * time.Hour, stops("j", minute)},
		{3*time.Hour + 30*time.Second, look("undoing")},
		{3*time.Hour + 45*time.Second, look("undone")}, {3*time.Hour + 46*time.Second, look("taken")},
	}
	job := Job{Name: "j", Flavor: "z3g", Duration: 2 * time.Hour, Pods: 1, UnitsPerPod: 1, Costs: Costs{Exit: 30 * time.Second, Grace: minute}}
	r := mustRun(t, workshop(job), &play)
	one := "1g@4#5 Pinned, 1g@5#6 Pinned, 1g@6#7 Pinned, "
	want := map[string]seen{
		"making":            {one, []lend.ReshapeState{lend.ReshapeMaking}, 4, 0},
		"made":              {"3g@0#8 Idle, " + one, []lend.ReshapeState{lend.ReshapeMade}, 4, 0},
		"held":              {"3g@0#8 Lentj, " + one, []lend.ReshapeState{lend.ReshapeMade}, 4, 0},
		"waits for the job": {"3g@0#8 Lentj, " + one, []lend.ReshapeState{lend.ReshapeUndoing}, 4, 4},
		"undoing":           {one, []lend.ReshapeState{lend.ReshapeUndoing}, 4, 4},
		"undone":            {"1g@0#9 Idle, 1g@1#10 Idle, 1g@2#11 Idle, 1g@3#12 Idle, " + one, nil, 0, 0},
		"taken":             {"1g@0#9 Busy, 1g@1#10 Busy, 1g@2#11 Busy, 1g@3#12 Busy, " + one, nil, 0, 0},
	}
	want["undone"] = seen{want["taken"].Uses, nil, 0, 0} // those who wait come first
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// A whole GPU and 7 slices are 14 sevenths. 2 of them are online for 3 hours, 3 until the
	// slices are back, and then 7; the job holds 3 for an hour and half a minute.
	near(t, "capacity", r.Capacity, 2*10)
	near(t, "online", r.Online, (2*3+3*45./3600+7*(7-45./3600))/7)
	near(t, "lent", r.Lent, 3*(1+30./3600)/7)
	near(t, "idle", r.Services[0].Idle, 5*3/7.)
	near(t, "lent by the service", r.Services[0].Lent, 4*(2+45./3600)/7)
	near(t, "stopping", r.Stopping, 3*(30./3600)/7)
	near(t, "rolled back", r.RolledBack, 3*1/7.)
	if r.Reshapes != 1 || r.OnlineWaited != 4 {
		t.Errorf("%d changes, %d pods waited, want 1, 4", r.Reshapes, r.OnlineWaited)
	}
}

// Replicas take pinned slices first, and then those that jobs get last; those go first that
// are on slices which are not pinned.
func TestReplicasOnSlices(t *testing.T) {
	seats := func(w *World) (out [7]bool) {
		for i, s := range w.Cards(0)[0].slices {
			out[i] = s.service == 0 && !s.leaving
		}
		return out
	}
	for name, c := range map[string]struct {
		pinned func(i int) bool
		want   map[time.Duration][7]bool
	}{
		"the last three": {func(i int) bool { return i >= 4 }, map[time.Duration][7]bool{
			0:             {4: true, 5: true},
			time.Hour:     {2: true, 3: true, 4: true, 5: true, 6: true},
			2 * time.Hour: {3: true, 4: true, 5: true, 6: true},
			3 * time.Hour: {6: true},
		}},
		"the first three": {func(i int) bool { return i < 3 }, map[time.Duration][7]bool{
			0:             {0: true, 1: true},
			time.Hour:     {0: true, 1: true, 2: true, 5: true, 6: true},
			2 * time.Hour: {0: true, 1: true, 2: true, 6: true},
			3 * time.Hour: {2: true},
		}},
	} {
		s := workshop()
		for i := range s.Nodes[0].Cards[0].Slices {
			s.Nodes[0].Cards[0].Slices[i].Pinned = c.pinned(i)
		}
		s.Services[0].Load = Curve{{0, 2}, {time.Hour, 5}, {2 * time.Hour, 4}, {3 * time.Hour, 1}}
		got, _ := watched(t, s, seats)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("pinned are %s: %s", name, diff)
		}
	}
}

// A change that is undone before it has come to its end makes nothing.
func TestAChangeIsCutShort(t *testing.T) {
	var seen []string
	look := func(w *World) { seen = append(seen, uses(w)) }
	play := script{
		{time.Hour, func(w *World) {
			act, _ := remade(w, w.Cards(0)[0], w.Services()[0], "z2g", 2)
			w.Reshape(act)
		}},
		{time.Hour + 10*time.Second, func(w *World) {
			undo := lend.ReshapeAction{Kind: lend.ReshapeUndo, ID: w.Reshapes(0)[0].ID, Node: "a"}
			w.Reshape(undo)
			w.Reshape(undo)                                                                   // which is to ask once
			w.Reshape(lend.ReshapeAction{Kind: lend.ReshapeUndo, ID: "long gone", Node: "a"}) // for nothing
		}},
		{time.Hour + 24*time.Second, look}, {time.Hour + 25*time.Second, look},
	}
	mustRun(t, workshop(), &play)
	pinned := "1g@4#5 Pinned, 1g@5#6 Pinned, 1g@6#7 Pinned, "
	want := []string{pinned, "1g@0#8 Idle, 1g@1#9 Idle, 1g@2#10 Idle, 1g@3#11 Idle, " + pinned}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

// A plan that the card does not allow is refused, whoever made it.
func TestReshapesThatAreRefused(t *testing.T) {
	good := func(w *World) lend.ReshapeAction {
		act, ok := remade(w, w.Cards(0)[0], w.Services()[0], "z3g", 1)
		if !ok {
			t.Fatal("nothing can be made")
		}
		act.ID = "rs"
		return act
	}
	for want, change := range map[string]func(w *World, a *lend.ReshapeAction){
		`reshape rs: there is no node "b"`:                             func(w *World, a *lend.ReshapeAction) { a.Node = "b" },
		"reshape rs on a: nothing is to be made of anything":           func(w *World, a *lend.ReshapeAction) { a.Plan = nil },
		"reshape rs on a: it has no card GPU-9":                        func(w *World, a *lend.ReshapeAction) { a.Plan.GPU = "GPU-9" },
		"reshape rs on a: there is no lender talk":                     func(w *World, a *lend.ReshapeAction) { a.Lender = "talk" },
		"reshape rs on a: the lender has no z2g to make z3g of":        func(w *World, a *lend.ReshapeAction) { a.From = "z2g" },
		"reshape rs on a: its cards cannot have z1g and big7":          func(w *World, a *lend.ReshapeAction) { a.To = "big7" },
		"reshape rs on a: it does not destroy and create what it says": func(w *World, a *lend.ReshapeAction) { a.Count++ },
		"reshape rs on a: it creates what is not z2g":                  func(w *World, a *lend.ReshapeAction) { a.To = "z2g" },
		"reshape rs on a: it is for the layout empty, and the card's is 0@0#1,0@1#2,0@2#3,0@3#4,0@4#5,0@5#6,0@6#7": func(w *World, a *lend.ReshapeAction) {
			a.Plan.Base = "empty"
		},
		"reshape rs on a: it destroys what is not idle z1g": func(w *World, a *lend.ReshapeAction) {
			a.Plan.Destroy[0] = w.Cards(0)[0].GPU(nil).Instances[4] // which is pinned
		},
		"reshape rs on a: it destroys what is not idle z1g ": func(w *World, a *lend.ReshapeAction) {
			w.Cards(0)[0].slices[0].service = 0
		},
		"reshape rs on a: 3g.20gb at slot 0: it overlaps 1g.5gb at slot 3": func(w *World, a *lend.ReshapeAction) {
			a.Plan.Destroy = a.Plan.Destroy[:3]
			a.Count = 3
		},
		"reshape rs on a: there is one of that name already": func(w *World, a *lend.ReshapeAction) {
			first := good(w)
			w.Reshape(first)
		},
		"reshape rs on a: the card is changed already, by other": func(w *World, a *lend.ReshapeAction) {
			first := good(w)
			first.ID = "other"
			w.Reshape(first)
		},
	} {
		play := script{{time.Hour, func(w *World) {
			act := good(w)
			change(w, &act)
			w.Reshape(act)
		}}}
		_, err := Run(workshop(), &play, nil)
		if err == nil || err.Error() != "at 1h0m0s: policy script: "+strings.TrimSpace(want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

// Jobs get no pinned slices, and none that were made for another lender's sake.
func TestSlicesThatJobsMayNotHave(t *testing.T) {
	job := func(flavor string, pods int64) Job {
		return Job{Name: "j", Flavor: flavor, Duration: time.Hour, Pods: pods, UnitsPerPod: 1}
	}
	put := func(flavor string, lender int32, pods int64) step {
		return step{2 * time.Hour, func(w *World) { w.Start(w.byName["j"], []Place{{w.spotAt(0, flavor), lender, pods}}) }}
	}
	make3g := step{time.Hour, func(w *World) {
		act, _ := remade(w, w.Cards(0)[0], w.Services()[0], "z3g", 1)
		w.Reshape(act)
	}}
	undo := step{2 * time.Hour, func(w *World) {
		w.Reshape(lend.ReshapeAction{Kind: lend.ReshapeUndo, ID: w.Reshapes(0)[0].ID, Node: "a"})
	}}
	for name, c := range map[string]struct {
		job    Job
		script script
		want   string
	}{
		"all that are not pinned": {job("z1g", 4), script{put("z1g", 0, 4)}, ""},
		"one that is pinned":      {job("z1g", 5), script{put("z1g", 0, 5)}, "start j: 5 units of z1g on a, which has 4 free of z1g"},
		"one that was made":       {job("z3g", 1), script{make3g, put("z3g", 0, 1)}, ""},
		"one that nobody lends":   {job("z3g", 1), script{make3g, put("z3g", Nobody, 1)}, "start j: 1 units of z3g on a, which has 0 free of z3g"},
		"one that is not made":    {job("z3g", 1), script{put("z3g", 0, 1)}, "start j: 1 units of z3g on a, which has 0 free of z3g"},
		"one that is undone":      {job("z3g", 1), script{make3g, undo, put("z3g", 0, 1)}, "start j: 1 units of z3g on a, which has 0 free of z3g"},
	} {
		_, err := Run(workshop(c.job), &c.script, nil)
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != "at 2h0m0s: policy script: "+c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// What is still there of slices that are to be undone is nobody's.
func TestSlicesThatAreUndone(t *testing.T) {
	job := func(name string) Job {
		return Job{Name: name, Flavor: "z2g", Duration: 5 * time.Hour, Pods: 1, UnitsPerPod: 1}
	}
	put := func(name string) func(*World) {
		return func(w *World) { w.Start(w.byName[name], []Place{{w.spotAt(0, "z2g"), 0, 1}}) }
	}
	play := script{
		{time.Hour, func(w *World) {
			act, _ := remade(w, w.Cards(0)[0], w.Services()[0], "z2g", 2)
			act.Job = "b"
			w.Reshape(act)
		}},
		{2 * time.Hour, put("a")},
		{2 * time.Hour, func(w *World) {
			w.Reshape(lend.ReshapeAction{Kind: lend.ReshapeUndo, ID: w.Reshapes(0)[0].ID, Node: "a"})
		}},
		{2*time.Hour + minute, put("b")},
	}
	_, err := Run(workshop(job("a"), job("b")), &play, nil)
	if want := "at 2h1m0s: policy script: start b: 1 units of z2g on a, which has 0 free of z2g"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

// A job takes first what was made for it.
func TestSlicesThatWereMadeForAJob(t *testing.T) {
	s := workshop(Job{Name: "b", Flavor: "z2g", Duration: time.Hour, Pods: 1, UnitsPerPod: 1})
	s.Services[0].Lender.Owned = 14
	s.Nodes[0].Cards = append(s.Nodes[0].Cards, s.Nodes[0].Cards[0])
	s.Nodes[0].Cards[1].UUID = "GPU-1"
	play := script{
		{time.Hour, func(w *World) {
			for i, name := range []string{"a", "b"} {
				act, _ := remade(w, w.Cards(0)[i], w.Services()[0], "z2g", 1)
				act.Job = name
				w.Reshape(act)
			}
		}},
		{2 * time.Hour, func(w *World) { w.Start(w.byName["b"], []Place{{w.spotAt(0, "z2g"), 0, 1}}) }},
		{2 * time.Hour, func(w *World) {
			for i, want := range []mig.Use{mig.Idle, mig.Lent} {
				g := w.Cards(0)[i].GPU(func(*JobState) string { return "loan" })
				for _, in := range g.Instances {
					if in.Profile == profile("z2g").ID && (in.Use != want || want == mig.Lent && in.Owner != "loan") {
						t.Errorf("card %d has %+v, want it %s", i, in, want)
					}
				}
			}
		}},
	}
	mustRun(t, s, &play)
	if len(play) > 0 {
		t.Error("the test did nothing")
	}
}

func TestCardsThatCannotBePlayed(t *testing.T) {
	for want, change := range map[string]func(s *Scenario){
		`nodes[0] (a).cards[0].board: there is no "B1000"`:                                                  func(s *Scenario) { s.Nodes[0].Cards[0].Board = "B1000" },
		`nodes[0] (a).cards[0].uuid: must be given`:                                                         func(s *Scenario) { s.Nodes[0].Cards[0].UUID = "" },
		`nodes[0] (a).cards[0].slices[1]: 1g.5gb at slot 7: it may begin at [0 1 2 3 4 5 6] only`:           func(s *Scenario) { s.Nodes[0].Cards[0].Slices = []Slice{{}, {Placed: mig.Placed{Start: 7}}} },
		`nodes[0] (a).cards[0].slices[1]: profile 0 at 0 must come after profile 0 at 0: they are in order`: func(s *Scenario) { s.Nodes[0].Cards[0].Slices = []Slice{{}, {}} },
		`nodes[0] (a).cards[0].slices[0]: no flavor has profile 0 of A100-40GB`:                             func(s *Scenario) { s.Flavors[0].Profile = "" },
		`nodes[0] (a).units: "z2g" is what cards[0] is cut into, and must not be given`:                     func(s *Scenario) { s.Nodes[0].Units = append(s.Nodes[0].Units, NodeUnits{"z2g", 1}) },
		`flavors[1].name: is "z1g", must come after "z1g": they are in order, each once`:                    func(s *Scenario) { s.Flavors[1].Name = "z1g" },
		`flavors[1] (z2g).profile: is "1g.5gb", which is that of z1g`:                                       func(s *Scenario) { s.Flavors[1].Profile = "1g.5gb" },
		`flavors[1] (z2g).compute: is 8, must be from 0 to 7`:                                               func(s *Scenario) { s.Flavors[1].Compute = 8 },
		`services[0] (chat).unitsPerPod: is 2, must be 1: "z1g" is a slice of a GPU`:                        func(s *Scenario) { s.Services[0].Lender.UnitsPerPod = 2 },
		`reshapeTakes: is -1ns, must be at least 0, and at most 876000h0m0s`:                                func(s *Scenario) { s.ReshapeTakes = -1 },
		`node b: cards[0].uuid: is "GPU-0", which is a card of node a`: func(s *Scenario) {
			s.Nodes = append(s.Nodes, Node{Name: "b", Cards: s.Nodes[0].Cards})
		},
	} {
		s := workshop()
		change(s)
		if _, err := Run(s, firstFit{}, nil); err == nil || err.Error() != "scenario: "+want {
			t.Errorf("%v\nwant scenario: %s", err, want)
		}
	}
	s := workshop(Job{Name: "j", Flavor: "z1g", Pods: 1, UnitsPerPod: 2})
	if _, err := Run(s, firstFit{}, nil); err == nil || err.Error() != `at 0s: job j: unitsPerPod: is 2, must be 1: "z1g" is a slice of a GPU` {
		t.Error(err)
	}
}

// midway is a card of which a job has one slice that was made and one that was not.
func midway(t *testing.T) *World {
	t.Helper()
	s := workshop(
		Job{Name: "made", Flavor: "z2g", Duration: 9 * time.Hour, Pods: 1, UnitsPerPod: 1},
		Job{Name: "own", Flavor: "z1g", Duration: 9 * time.Hour, Pods: 1, UnitsPerPod: 1},
	)
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &stepper{World: newWorld(s), policy: &script{
		{minute, func(w *World) { w.Start(w.byName["own"], []Place{{w.spotAt(0, "z1g"), 0, 1}}) }},
		{minute, func(w *World) {
			act, _ := remade(w, w.Cards(0)[0], w.Services()[0], "z2g", 1)
			w.Reshape(act)
		}},
		{2 * minute, func(w *World) { w.Start(w.byName["made"], []Place{{w.spotAt(0, "z2g"), 0, 1}}) }},
	}}
	r.meter.begin(r.World, "midway")
	r.pull()
	r.agenda.add(event{at: 0, kind: evSample})
	for r.now < 3*minute && r.err == nil && r.step(s.Length) {
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	if err := r.CheckLaws(); err != nil {
		t.Fatal(err)
	}
	return r.World
}

func TestLawsOfCardsSpeak(t *testing.T) {
	card := func(w *World) *CardState { return w.Cards(0)[0] }
	of := func(w *World, name string) *slice {
		all := card(w).slices
		return all[slices.IndexFunc(all, func(s *slice) bool { return s.job == w.byName[name] })]
	}
	for name, c := range map[string]struct {
		harm func(w *World)
		want string
	}{
		"a slice where none may be": {func(w *World) { card(w).slices[5].Start = 7 }, "cards are cut as their boards allow"},
		"a slice twice":             {func(w *World) { card(w).slices[5].Start = card(w).slices[4].Start }, "cards are cut as their boards allow"},
		"a change of another card":  {func(w *World) { card(w).change.card = nil }, "cards are cut as their boards allow"},
		"a change never ends":       {func(w *World) { card(w).change.State = lend.ReshapeMaking }, "cards are cut as their boards allow"},
		"a change ends too early":   {func(w *World) { card(w).change.due = 1 }, "cards are cut as their boards allow"},
		"one that nobody made":      {func(w *World) { of(w, "made").of = &change{} }, "cards are cut as their boards allow"},
		"one is lost": {func(w *World) {
			card(w).Card = &Card{UUID: "GPU-0", Slices: append(card(w).Slices, Slice{Placed: mig.Placed{Start: 7}})}
		}, "every unit is somewhere"},
		"in two hands":             {func(w *World) { of(w, "own").service = 0 }, "every slice is in one hand"},
		"pinned and lent":          {func(w *World) { of(w, "own").pinned = true }, "every slice is in one hand"},
		"nobody's, and it is held": {func(w *World) { of(w, "own").job = nil }, "every slice is in one hand"},
		"another job's":            {func(w *World) { of(w, "own").job = w.byName["made"] }, "every slice is in one hand"},
		"a pin is forgotten":       {func(w *World) { w.spots[1].Pinned-- }, "every slice is in one hand"},
		"one more is kept":         {func(w *World) { w.spots[1].Kept++ }, "every slice is in one hand"},
	} {
		t.Run(name, func(t *testing.T) {
			w := midway(t)
			c.harm(w)
			if err := w.CheckLaws(); err == nil || !strings.HasPrefix(err.Error(), `law "`+c.want+`": `) {
				t.Errorf("%v, want the law %q", err, c.want)
			}
		})
	}
}
