package town

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func TestTownIsSizedByItsFirstWeek(t *testing.T) {
	c := Default()
	c.Drain = 0
	two, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Length, c.Warmup = Week, Week/2
	one, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if one.Pool != two.Pool || !reflect.DeepEqual(one.Tenants, two.Tenants) || !reflect.DeepEqual(one.Nodes, two.Nodes) {
		t.Errorf("the second week changes the pool, quotas or nodes: %d and %d GPUs", one.Pool, two.Pool)
	}
	for i := range one.Services {
		a, b := one.Services[i].Load, two.Services[i].Load[:len(one.Services[i].Load)]
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: the second week changes the load of the first", one.Services[i].Lender.Name)
		}
	}
	if one.Jobs[0] != two.Jobs[0] || len(one.Jobs) >= len(two.Jobs) {
		t.Errorf("%d and %d jobs", len(one.Jobs), len(two.Jobs))
	}
	if err := two.Play().Validate(); err != nil {
		t.Error(err)
	}
}

// What the page of the main experiment says of services is so.
func TestServices(t *testing.T) {
	c := Default()
	c.Drain = 0
	town, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range town.Services {
		above, n := 0, 0
		full := float64(s.Most()) * s.Slots
		for _, p := range s.Load {
			if p.At < Week {
				if n++; p.Value > full*Target*1.1 {
					above++
				}
			}
		}
		// The 99.9th percentile of what may be drawn takes 80 % of the slots, but for the
		// scatter of independent requests.
		if share := float64(above) / float64(n); share > 0.001 {
			t.Errorf("%s: %.4f of the first week is above what replicas are meant for", s.Lender.Name, share)
		}
		if s.Lender.Owned != c.Owned || s.Lender.Owned%s.Lender.UnitsPerPod != 0 {
			t.Errorf("%s: owns %d in replicas of %d", s.Lender.Name, s.Lender.Owned, s.Lender.UnitsPerPod)
		}
	}
}

func TestHoles(t *testing.T) {
	for service, holes := range map[string]int{"m-mid": 118, "m-small": 61} {
		r, err := model(service)()
		if err != nil {
			t.Fatal(err)
		}
		unknown := 0
		for _, p := range r.points {
			if math.IsNaN(p.low) {
				unknown++
			}
		}
		if unknown != holes {
			t.Errorf("%s: %d bins are unknown, want %d", service, unknown, holes)
		}
		whole := r.bridged()
		for at := time.Duration(0); at < 2*Week; at += Look {
			if b := whole.at(at); math.IsNaN(b.low) {
				t.Fatalf("%s: unknown at %s", service, at)
			}
		}
	}
}

func TestRecordingBetweenPoints(t *testing.T) {
	r := recording{period: time.Hour, points: []band{{10 * time.Minute, 10, 20}, {40 * time.Minute, 40, 80}}}
	for at, want := range map[time.Duration]float64{
		10 * time.Minute: 10, 25 * time.Minute: 25, 40 * time.Minute: 40,
		55 * time.Minute: 25, 0: 20, 70 * time.Minute: 10, 60 * time.Minute: 20,
	} {
		if got := r.at(at).low; math.Abs(got-want) > 1e-9 {
			t.Errorf("at %s: %g, want %g", at, got, want)
		}
	}
}

// Changing one thing that is drawn does not change what else is.
func TestDrawsAreApart(t *testing.T) {
	c := Default()
	jobs := []job{{0, time.Hour, 8, "cluster04"}, {0, time.Hour, 16, "cluster04"}, {0, time.Hour, 1, "cluster04"}}
	before := c.played(jobs)
	c.Costs.Elastic = 0
	for i, j := range c.played(jobs) {
		if j.MinPods != 0 || j.Costs != before[i].Costs {
			t.Errorf("%s: %+v, was %+v", j.Name, j, before[i])
		}
	}
	c.Costs.Elastic, c.Costs.Saves = 1, 0
	for i, j := range c.played(jobs) {
		if j.SaveTakes != 0 || j.Restart != before[i].Restart || j.Units() != jobs[i].gpus || jobs[i].gpus > 1 && j.MinPods*2 != j.Pods {
			t.Errorf("%s: %+v, was %+v", j.Name, j, before[i])
		}
	}
}
