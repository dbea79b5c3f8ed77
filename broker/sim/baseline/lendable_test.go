package baseline

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// What is foreseen is what the autoscaler comes to want, in each sample.
func TestWantedIsWhatIsWanted(t *testing.T) {
	s := city(20, 50, 2*day)
	s.Services[0].Load = append(sim.Curve{{At: 0, Value: 3}, {At: time.Hour, Value: nan}, {At: 90 * time.Minute, Value: 1}}, s.Services[0].Load[20:]...)
	curves, err := wanted(Past{Until: 3 * day, Services: s.Services})
	if err != nil {
		t.Fatal(err)
	}
	looks := 0
	_, err = sim.Run(s, watched{&policy{keeps: nothing{}, line: line{tiers: ownAlone()}}, func(w *sim.World) {
		for i, v := range w.Services() {
			if looks++; curves[i].At(w.Now()) != float64(v.Desired) {
				t.Fatalf("at %s %s wants %d, foreseen was %v", w.Now(), v.Lender.Name, v.Desired, curves[i].At(w.Now()))
			}
		}
	}}, nil)
	if err != nil || looks < 1000 {
		t.Fatalf("looked %d times: %v", looks, err)
	}
}

// The oracle gives a service its units back when grace and model load are left.
func TestOracleLooksAsFarAsItMust(t *testing.T) {
	long := gang("long", 0, 1, 8)
	long.Duration = 12 * time.Hour
	s := village(0, 1, 8, sim.Curve{{At: 0, Value: 0}, {At: time.Hour, Value: 1}}, long)
	stopped := time.Duration(0)
	watch(t, "oracle", s, Past{}, func(w *sim.World) {
		for _, j := range w.Running() {
			if j.Phase == sim.Stopping && stopped == 0 {
				stopped = w.Now()
			}
		}
	})
	if want := time.Hour - 30*time.Second - 20*time.Second; stopped != want {
		t.Errorf("took back at %s, want %s: grace is 30 s, loading takes 20 s", stopped, want)
	}
}

// A service of which nothing is known before keeps all that it has: not known is not idle.
func TestNothingIsLentOfWhatIsNotKnown(t *testing.T) {
	for _, name := range []string{"static-split", "quota-cron"} {
		for known, want := range map[float64]int64{nan: 0, 0: 8} {
			s := village(0, 1, 8, sim.Curve{{At: 0, Value: 0}}, gang("a", 0, 1, 8))
			past := Past{From: -day, Services: []sim.Service{s.Services[0]}}
			past.Services[0].Load = sim.Curve{{At: -day, Value: known}, {At: 0, Value: 0}}
			most := int64(0)
			watch(t, name, s, past, func(w *sim.World) { most = max(most, w.Services()[0].Lent) })
			if most != want {
				t.Errorf("%s: %d units were lent after a load of %v, want %d", name, most, known, want)
			}
		}
	}
}

func TestLevels(t *testing.T) {
	past := func(load ...sim.Point) Past {
		return Past{From: -day, Services: []sim.Service{{
			Lender: lend.Lender{Name: "serving/chat", Flavor: "gpu", Owned: 80, UnitsPerPod: 8}, Load: load, Slots: 1, Target: 1,
		}}}
	}
	for name, tt := range map[string]struct {
		past         Past
		period, part time.Duration
		want         []int64
	}{
		"the whole past": {past(sim.Point{At: -2 * day, Value: 3}, sim.Point{At: -time.Hour, Value: 7}, sim.Point{At: 0, Value: 9}), day, day, []int64{7}},
		"a part and the next": {
			past(sim.Point{At: -day, Value: 1}, sim.Point{At: -18 * time.Hour, Value: 2}, sim.Point{At: -12 * time.Hour, Value: 5}, sim.Point{At: -6 * time.Hour, Value: 0}),
			day, 6 * time.Hour, []int64{2, 5, 5, 1},
		},
		"days on top of each other": {past(sim.Point{At: -day, Value: 4}, sim.Point{At: -11 * time.Hour, Value: 6}), 12 * time.Hour, 6 * time.Hour, []int64{6, 6}},
		"no more than it has":       {past(sim.Point{At: -day, Value: 400}), day, day, []int64{10}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := level(tt.past, tt.period, tt.part)
			if err != nil || !slices.Equal(got.most[0], tt.want) {
				t.Errorf("got %v (%v), want %v", got.most, err, tt.want)
			}
		})
	}
}

func TestNew(t *testing.T) {
	for _, name := range Names() {
		s := city(5, 0, 8*day)
		p, err := New(name, Before(s, 7*day))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Name() != name {
			t.Errorf("%s calls itself %s", name, p.Name())
		}
	}
	for name, tt := range map[string]struct {
		policy string
		past   Past
		want   string
	}{
		"unknown":         {"magic", Past{}, `policy: "magic" is none of pools-apart, static-split`},
		"no past":         {"static-split", Past{}, "policy static-split: past: is from 0s until 0s, must be some time"},
		"past too short":  {"quota-cron", Past{Until: time.Hour}, "policy quota-cron: past: 1h0m0s are known, a timetable needs at least 24h0m0s"},
		"past unplayable": {"static-split", Past{Until: day, Services: make([]sim.Service, 1)}, "policy static-split: playing the past: scenario: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tt.policy, tt.past)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s…", err, tt.want)
			}
		})
	}
}

// The page has a row for each policy.
func TestPageListsAll(t *testing.T) {
	page, err := os.ReadFile("../../../docs/reference/baselines.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		if !strings.Contains(string(page), "\n| `"+name+"`") && !strings.Contains(string(page), ", `"+name+"`") {
			t.Errorf("docs/reference/baselines.md has no row for %s", name)
		}
	}
}
