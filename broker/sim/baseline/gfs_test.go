package baseline

import (
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

func TestHeat(t *testing.T) {
	const hour = time.Hour
	for name, tt := range map[string]struct {
		stops []time.Duration
		want  float64
	}{
		"nobody stopped":     {nil, 9900},
		"one just now":       {[]time.Duration{100 * hour}, 9800},
		"five just now":      {[]time.Duration{100 * hour, 100 * hour, 100 * hour, 100 * hour, 100 * hour}, 6800},
		"five earlier today": {[]time.Duration{90 * hour, 90 * hour, 90 * hour, 90 * hour, 90 * hour}, 9800},
		"one a day ago":      {[]time.Duration{76 * hour}, 9900},
	} {
		t.Run(name, func(t *testing.T) {
			var h heat
			for _, at := range tt.stops {
				h.add(at)
			}
			if got := h.score(100 * hour); !near(got, tt.want) {
				t.Errorf("score is %v, want %v", got, tt.want)
			}
		})
	}
	var h heat
	h.add(0)
	if h.add(25 * hour); len(h) != 1 {
		t.Errorf("remembers %v after a day", h)
	}
}

func TestCoolest(t *testing.T) {
	for name, tt := range map[string]struct {
		home      []int64
		hot       []int32
		pods, per int64
		want      sim.Place
	}{
		"fullest that fits":    {home: []int64{8, 4, 2}, pods: 1, per: 3, want: sim.Place{Spot: 1, Pods: 1}},
		"together":             {home: []int64{4, 8, 4}, pods: 2, per: 4, want: sim.Place{Spot: 1, Pods: 2}},
		"cool before full":     {home: []int64{4, 8}, hot: []int32{0}, pods: 1, per: 4, want: sim.Place{Spot: 1, Pods: 1}},
		"cool before together": {home: []int64{8, 4}, hot: []int32{0}, pods: 2, per: 4, want: sim.Place{Spot: 1, Pods: 1}},
		"hot if it must be":    {home: []int64{4, 2}, hot: []int32{0}, pods: 1, per: 4, want: sim.Place{Spot: 0, Pods: 1}},
		"the less hot":         {home: []int64{4, 8}, hot: []int32{0, 0, 1}, pods: 1, per: 4, want: sim.Place{Spot: 1, Pods: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			onNodes(t, nil, tt.home, func(w *sim.World) {
				g := &gfs{}
				g.desk.open(w)
				g.begin(w)
				for _, i := range tt.hot {
					g.heat[i].add(w.Now())
				}
				if got := g.coolest(0, tt.pods, tt.per); got != tt.want {
					t.Errorf("goes to %+v, want %+v", got, tt.want)
				}
			})
		})
	}
}

// A service wanted 16 of its 24 units for two hours. When it wants none, the forecast, which
// was made before, leaves 8 to jobs.
func TestGFSLendsByForecast(t *testing.T) {
	for load, want := range map[float64]int64{0: 24, 2: 8, 3: 0} {
		var jobs []sim.Job
		for i := range 24 {
			jobs = append(jobs, gang(string(rune('a'+i)), 2*time.Hour+2*time.Minute, 1, 1))
		}
		curve := sim.Curve{{At: 0, Value: load}, {At: 2*time.Hour + time.Minute, Value: 0}}
		got := int64(-1)
		watch(t, "gfs", village(0, 3, 8, curve, jobs...), Past{}, func(w *sim.World) {
			if w.Now() == 2*time.Hour+2*time.Minute {
				got = w.Services()[0].Lent
			}
		})
		if got != want {
			t.Errorf("a service that wanted %v pods lends %d units, want %d", load, got, want)
		}
	}
}

// A forecast of the past counts from the first moment: yesterday the service wanted 16 of its
// 24 units at this hour.
func TestGFSKnowsThePast(t *testing.T) {
	var jobs []sim.Job
	for i := range 24 {
		jobs = append(jobs, gang(string(rune('a'+i)), time.Minute, 1, 1))
	}
	s := village(0, 3, 8, calm(0), jobs...)
	past := idlePast(s)
	past.Services[0].Load = sim.Curve{{At: -day, Value: 2}, {At: -20 * time.Hour, Value: 0}}
	most := int64(0)
	watch(t, "gfs", s, past, func(w *sim.World) {
		if w.Now() < time.Hour {
			most = max(most, w.Services()[0].Lent)
		}
	})
	if most != 8 {
		t.Errorf("lends %d units, want 8", most)
	}
}

// Who ran for the fewest unit-seconds goes, of those whose units fit what is wanted best.
func TestGFSTakesBack(t *testing.T) {
	for name, tt := range map[string]struct {
		home int
		per  int64
		jobs []sim.Job
		want []string
	}{
		"the newest":            {2, 4, []sim.Job{gang("old", 0, 1, 8), gang("new", 5*time.Minute, 1, 8)}, []string{"new"}},
		"the fewest units over": {2, 4, []sim.Job{gang("four", 0, 1, 4), gang("four-too", 0, 1, 4), gang("eight", 5*time.Minute, 1, 8)}, []string{"four-too"}},
		// After 10 minutes they ran for 10, 28 and 18 unit-minutes.
		"not the newest, if it is large": {1, 1, []sim.Job{gang("one", 0, 1, 1), gang("four", 3*time.Minute, 1, 4), gang("three", 4*time.Minute, 1, 3)}, []string{"one"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := watch(t, "gfs", village(0, tt.home, tt.per, surge(1), tt.jobs...), Past{}, nil)
			if !slices.Equal(got, tt.want) {
				t.Errorf("stopped %q, want %q", got, tt.want)
			}
		})
	}
}

func TestGFSQuota(t *testing.T) {
	onNodes(t, nil, []int64{8, 8}, func(w *sim.World) {
		g := &gfs{}
		g.desk.open(w)
		g.begin(w)
		for eta, want := range map[float64]int64{0.5: 4, 1: 9, 2: 18} {
			g.pools[0].feedback.eta = eta
			g.demands[0] = &demand{}
			g.demands[0].note(w.Time(), 7)
			if got := g.quota(w, &g.pools[0]); got != want {
				t.Errorf("eta %v: the quota is %d, want %d", eta, got, want)
			}
		}
	})
}

// One job ran through a look at the runs and another through two when one of them stops.
func TestGFSCountsGuarantees(t *testing.T) {
	g := &gfs{}
	g.takes.choose = g.choose
	s := village(0, 2, 4, surge(1), gang("old", 0, 1, 8), gang("new", 5*time.Minute, 1, 8))
	seen := false
	if _, err := sim.Run(s, watched{g, func(w *sim.World) {
		if seen || w.Now() <= 10*time.Minute {
			return
		}
		seen = true
		if e, of := g.pools[0].feedback.rate(); !near(of, 1+3./12) || !near(e, 1/of) {
			t.Errorf("%v of %v guarantees were broken, want 1 of 1.25", e, of)
		}
		if len(g.heat[0])+len(g.heat[1]) != 1 {
			t.Errorf("heat is %v", g.heat)
		}
	}}, nil); err != nil || !seen {
		t.Fatalf("looked at the rate: %t, %v", seen, err)
	}
}
