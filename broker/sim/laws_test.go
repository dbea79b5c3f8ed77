package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// halfway is a world in which a bit of everything goes on: two services, of which one has
// replicas that start, wait and go; a job that waits, one that runs and gives pods up, one
// that stops; a node that is down.
func halfway(t *testing.T) *World {
	t.Helper()
	service := func(name string, load Curve) Service {
		return Service{
			Lender: lend.Lender{Name: name, Flavor: "gpu", Owned: 16, UnitsPerPod: 2},
			Load:   load, Slots: 1, Target: 1, Reload: time.Hour, Drain: time.Hour,
		}
	}
	s := &Scenario{
		Length: 24 * time.Hour, Failures: Failures{Repair: time.Hour},
		Services: []Service{
			service("a", Curve{{0, 2}, {5 * minute, 4}, {10 * minute, 3}}),
			service("b", Curve{{0, 1}, {20 * minute, 8}}),
		},
		Jobs: List([]Job{
			{Name: "runs", Flavor: "gpu", Duration: 2 * time.Hour, Pods: 4, MinPods: 1, UnitsPerPod: 2, Costs: Costs{Exit: time.Hour, Grace: time.Hour}},
			{Name: "stops", Flavor: "gpu", Duration: 2 * time.Hour, Pods: 2, UnitsPerPod: 2, Costs: Costs{Exit: time.Hour, Grace: time.Hour}},
			{Name: "waits", Flavor: "gpu", Duration: 2 * time.Hour, Pods: 1, UnitsPerPod: 2},
		}),
	}
	for _, name := range []string{"n1", "n2", "n3", "n4"} {
		s.Nodes = append(s.Nodes, Node{Name: name, Units: []NodeUnits{{"gpu", 8}}})
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &stepper{World: newWorld(s), policy: &script{
		{minute, starts("runs", Place{1, 0, 3}, Place{1, Nobody, 1})},
		{minute, starts("stops", Place{2, 1, 2})},
		{15 * minute, func(w *World) { w.Shed(w.byName["runs"], []Place{{1, 0, 1}}, time.Hour) }},
		{16 * minute, stops("stops", time.Hour)},
		{17 * minute, func(w *World) { w.failure(3) }},
	}}
	r.meter.begin(r.World, "halfway")
	r.pull()
	r.agenda.add(event{at: 0, kind: evSample})
	for r.now < 30*minute && r.err == nil && r.step(s.Length) {
	}
	if err := r.err; err != nil {
		t.Fatal(err)
	}
	w := r.World
	a, b, runs := w.services[0], w.services[1], w.byName["runs"]
	if len(a.starts) == 0 || w.spots[2].Leaving == 0 || len(b.Pending) == 0 || len(runs.Going) == 0 || !w.spots[3].Down {
		t.Fatalf("not much goes on: %+v %+v %+v", a, b, w.spots)
	}
	return w
}

func TestLawsHold(t *testing.T) {
	if err := halfway(t).CheckLaws(); err != nil {
		t.Error(err)
	}
}

// Each law speaks when what it is about is broken.
func TestLawsSpeak(t *testing.T) {
	job := func(w *World, name string) *JobState { return w.byName[name] }
	for name, c := range map[string]struct {
		harm func(w *World)
		want string
	}{
		"more than there is":     {func(w *World) { w.spots[1].Training = 9 }, "what is held fits"},
		"more leaves than is":    {func(w *World) { w.spots[0].Leaving = w.spots[0].Online + 1 }, "what is held fits"},
		"less than nothing":      {func(w *World) { w.spots[1].Training = -1 }, "what is held fits"},
		"a job less":             {func(w *World) { w.spots[2].Training -= 2 }, "every unit is in one hand"},
		"a replica less":         {func(w *World) { w.spots[0].Online -= 2 }, "every unit is in one hand"},
		"a unit appears":         {func(w *World) { w.spots[2].Capacity++ }, "every unit is somewhere"},
		"free is forgotten":      {func(w *World) { w.rooms.free[0]-- }, "every unit is somewhere"},
		"up on a node down":      {func(w *World) { w.spots[3].Down = false }, "every unit is somewhere"},
		"down on a node up":      {func(w *World) { w.nodes[3].down = false }, "nobody is on a node that is down"},
		"a job is listed twice":  {func(w *World) { w.waiting = append(w.waiting, w.waiting[0]) }, "every job is in one place"},
		"a job runs and waits":   {func(w *World) { w.waiting = append([]*JobState{w.running[0]}, w.waiting...) }, "every job is in one place"},
		"jobs change places":     {func(w *World) { w.running[0], w.running[1] = w.running[1], w.running[0] }, "every job is in one place"},
		"a job is forgotten":     {func(w *World) { w.waiting = nil }, "every job is in one place"},
		"a name is forgotten":    {func(w *World) { delete(w.byName, "waits") }, "every job is in one place"},
		"one counts less":        {func(w *World) { w.counted-- }, "every job is in one place"},
		"one waits and runs":     {func(w *World) { w.waiting[0].Phase = Running }, "a job holds what it says"},
		"one that waits holds":   {func(w *World) { w.waiting[0].Held = 1 }, "a job holds what it says"},
		"one that waits ends":    {func(w *World) { w.waiting[0].due = 1 }, "a job holds what it says"},
		"one runs and waits":     {func(w *World) { w.running[0].Phase = Waiting }, "a job holds what it says"},
		"more pods than places":  {func(w *World) { job(w, "runs").Held++ }, "a job holds what it says"},
		"more pods work":         {func(w *World) { job(w, "runs").At++ }, "a job holds what it says"},
		"fewer work than must":   {func(w *World) { job(w, "runs").MinPods = 4 }, "a job holds what it says"},
		"one works and stops":    {func(w *World) { job(w, "stops").At = 1 }, "a job holds what it says"},
		"one gives up another's": {func(w *World) { job(w, "runs").Going[0].Spot = 0 }, "a job holds what it says"},
		"one never ends":         {func(w *World) { job(w, "runs").due = 0 }, "a job holds what it says"},
		"more saved than done":   {func(w *World) { job(w, "runs").work.saved = job(w, "runs").work.done + 1 }, "a job holds what it says"},
		"more done than all":     {func(w *World) { job(w, "runs").work.done = job(w, "runs").all() + 1 }, "a job holds what it says"},
		"a replica runs nowhere": {func(w *World) { w.services[0].Running++ }, "services hold what they say"},
		"one serves too early":   {func(w *World) { w.services[0].Ready++ }, "services hold what they say"},
		"one is not wanted":      {func(w *World) { w.services[1].Desired-- }, "services hold what they say"},
		"more than it owns":      {func(w *World) { w.services[1].Lender.Owned = 2 }, "services hold what they say"},
		"one never serves":       {func(w *World) { w.services[0].told = false }, "services hold what they say"},
		"the younger is first":   {func(w *World) { w.services[1].Pending[0] = 24 * time.Hour }, "services hold what they say"},
		"more is lent":           {func(w *World) { w.services[0].Lent++ }, "what is lent is lent by somebody"},
		"somebody else lends":    {func(w *World) { job(w, "stops").Places[0].Lender = 0 }, "what is lent is lent by somebody"},
		"the bill is too high":   {func(w *World) { w.meter.lent++ }, "the bill is for what is held"},
		"online is not billed":   {func(w *World) { w.meter.online = 0 }, "the bill is for what is held"},
		"who goes is not billed": {func(w *World) { w.meter.leaving-- }, "the bill is for what is held"},
		"a spot is lost":         {func(w *World) { w.rooms.listed[0]++ }, "spots are found by what is free"},
		"a spot is in no set":    {func(w *World) { w.rooms.groups[0][w.rooms.listed[0]].remove(0) }, "spots are found by what is free"},
		"the agenda miscounts":   {func(w *World) { w.agenda.overdue++ }, "the agenda forgets"},
		"the agenda piles up": {func(w *World) {
			for range 2*few + len(w.agenda.events) {
				w.agenda.add(event{at: time.Hour, kind: evJobEnd, job: w.running[0]})
				w.agenda.overdue++
			}
		}, "the agenda forgets"},
	} {
		t.Run(name, func(t *testing.T) {
			w := halfway(t)
			c.harm(w)
			if err := w.CheckLaws(); err == nil || !strings.HasPrefix(err.Error(), `law "`+c.want+`": `) {
				t.Errorf("%v, want the law %q", err, c.want)
			}
		})
	}
}

// A run with Scenario.Check ends when a law is broken.
func TestARunChecksLaws(t *testing.T) {
	s := desk(Job{Name: "j", Duration: time.Hour, Pods: 1, UnitsPerPod: 1})
	_, err := Run(s, tireless(func(w *World) { w.spots[0].Training++ }), nil)
	if want := `at 0s: law "every unit is in one hand": a gpu: training 1, but jobs hold 0; online 0 without those leaving, but replicas hold 0`; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}
