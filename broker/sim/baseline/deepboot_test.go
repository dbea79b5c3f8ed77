package baseline

import (
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// A unit is lent when it was idle for half a minute, and for longer if its service came
// back for it within that: the load is looked at every 15 s, and a replica takes 1 s to go.
func TestDeepBootProtects(t *testing.T) {
	const hour = time.Hour
	for name, tt := range map[string]struct {
		load sim.Curve
		want time.Duration
	}{
		"idle for ever":  {calm(0), 0},
		"idle at once":   {sim.Curve{{At: 0, Value: 1}, {At: hour, Value: 0}}, hour + 31*time.Second},
		"and used again": {sim.Curve{{At: 0, Value: 1}, {At: hour, Value: 0}, {At: hour + 15*time.Second, Value: 1}, {At: 2 * hour, Value: 0}}, 2*hour + 46*time.Second},
		"much later":     {sim.Curve{{At: 0, Value: 1}, {At: hour, Value: 0}, {At: hour + time.Minute, Value: 1}, {At: 2 * hour, Value: 0}}, hour + 31*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			at := map[string]time.Duration{}
			watch(t, "deepboot", village(0, 1, 8, tt.load, gang("job", 0, 1, 8)), Past{}, starts(at))
			if got := at["research/job"]; got != tt.want {
				t.Errorf("the job started at %s, want %s", got, tt.want)
			}
		})
	}
}

// At 10 minutes a service wants a pod of 4 units. Of its two nodes one has 6 units in
// training and the other 8.
func TestDeepBootTakesBack(t *testing.T) {
	elastic := gang("elastic", time.Second, 8, 1)
	elastic.MinPods = 1
	for name, tt := range map[string]struct {
		jobs []sim.Job
		want []string
		shed int64
	}{
		"where the fewest units train": {[]sim.Job{gang("eight", 0, 1, 8), gang("six", time.Second, 1, 6)}, []string{"six"}, 0},
		"the smallest of a node":       {[]sim.Job{gang("eight", 0, 1, 8), gang("four", time.Second, 1, 4), gang("two", time.Second, 1, 2)}, []string{"two"}, 0},
		"where nobody need stop":       {[]sim.Job{gang("six", 0, 1, 6), elastic}, nil, 4},
	} {
		t.Run(name, func(t *testing.T) {
			got, r := watch(t, "deepboot", village(0, 2, 4, surge(1), tt.jobs...), Past{}, nil)
			if !slices.Equal(got, tt.want) || r.ShedPods != tt.shed {
				t.Errorf("stopped %q and shed %d pods, want %q and %d", got, r.ShedPods, tt.want, tt.shed)
			}
		})
	}
}

// What is left over by a job that runs on 6 of 8 units is divided among those that wait.
func TestDeepBootGrowsInto(t *testing.T) {
	elastic := gang("elastic", time.Minute, 8, 1)
	elastic.MinPods = 1
	most := int64(0)
	watch(t, "deepboot", village(1, 0, 8, nil, gang("six", 0, 1, 6), elastic), Past{}, func(w *sim.World) {
		for _, j := range w.Running() {
			if w.Now() < time.Hour {
				most = max(most, j.At*j.UnitsPerPod)
			} else if j.MinPods > 0 && w.Now() > time.Hour && j.At != 8 && j.Phase == sim.Running {
				t.Errorf("at %s the elastic job has %d pods, want all 8", w.Now(), j.At)
			}
		}
	})
	if most != 6 {
		t.Errorf("a job had %d units within the first hour, want 6", most)
	}
}

// A running job shrinks for one that waits where that fills units which nobody else would.
func TestDeepBootShrinksToFill(t *testing.T) {
	elastic := gang("elastic", 0, 4, 1)
	elastic.MinPods = 2
	at := map[string]time.Duration{}
	got, r := watch(t, "deepboot", village(1, 0, 8, nil, elastic, gang("six", 10*time.Minute, 1, 6)), Past{}, starts(at))
	if want := 10*time.Minute + 5*time.Second; at["research/six"] != want || r.ShedPods != 2 || len(got) > 0 {
		t.Errorf("the job started at %s, %d pods were shed, %q stopped, want %s, 2 and nobody", at["research/six"], r.ShedPods, got, want)
	}
}

// At half past, when units are idle again, one that never ran is worth more than one that
// did and waits for longer.
func TestDeepBootDiscountsRestarts(t *testing.T) {
	load := sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 1}, {At: 30 * time.Minute, Value: 0}}
	at := map[string]time.Duration{}
	got, _ := watch(t, "deepboot", village(0, 1, 4, load, gang("stays", 0, 1, 4), gang("goes", time.Minute, 1, 4), gang("new", 11*time.Minute, 1, 4)), Past{}, starts(at))
	if want := 30*time.Minute + 31*time.Second; at["research/new"] != want || !slices.Equal(got, []string{"goes"}) {
		t.Errorf("the new job started at %s, %q stopped, want %s and one", at["research/new"], got, want)
	}
}
