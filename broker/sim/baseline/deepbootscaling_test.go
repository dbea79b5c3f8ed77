package baseline

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRestartFactor(t *testing.T) {
	for name, tt := range map[string]struct {
		age      time.Duration
		restarts int32
		want     float64
	}{
		"new":                       {0, 0, 0},
		"as old as a restart takes": {10 * time.Second, 0, 0.5},
		"old":                       {90 * time.Second, 0, 0.9},
		"restarted":                 {90 * time.Second, 4, 0.5},
		"restarted all its time":    {90 * time.Second, 9, 0},
		"restarted longer":          {90 * time.Second, 20, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := restartFactor(tt.age, tt.restarts); !near(got, tt.want) {
				t.Errorf("is %v, want %v", got, tt.want)
			}
		})
	}
}

func TestDivide(t *testing.T) {
	waits := func(pods, per int64) scalable { return scalable{pods, pods, per, 0, 1} }
	for name, tt := range map[string]struct {
		jobs  []scalable
		units int64
		want  []int64
	}{
		"no units":                       {[]scalable{waits(1, 1)}, 0, []int64{0}},
		"all fit":                        {[]scalable{waits(1, 1), waits(2, 4)}, 9, []int64{1, 2}},
		"fills what there is":            {[]scalable{waits(1, 5), waits(1, 4), waits(1, 4)}, 8, []int64{0, 1, 1}},
		"the first of what is the same":  {[]scalable{waits(1, 8), waits(1, 4), waits(1, 4)}, 8, []int64{1, 0, 0}},
		"the first of equals":            {[]scalable{waits(1, 4), waits(1, 4), waits(1, 4)}, 8, []int64{1, 1, 0}},
		"elastic takes what is left":     {[]scalable{waits(1, 4), {1, 8, 1, 0, 1}}, 8, []int64{1, 4}},
		"grows into what is free":        {[]scalable{{1, 8, 1, 2, 0.9}}, 4, []int64{5}},
		"not for less than it costs":     {[]scalable{{4, 8, 1, 7, 0.8}}, 4, []int64{7}},
		"shrinks for one that waits":     {[]scalable{{1, 4, 2, 4, 0.9}, waits(1, 8)}, 10, []int64{2, 1}},
		"not for one as large":           {[]scalable{{1, 4, 2, 4, 0.9}, waits(1, 4)}, 6, []int64{4, 0}},
		"keeps its least for nobody":     {[]scalable{{2, 4, 2, 4, 0.9}, waits(1, 8)}, 4, []int64{4, 0}},
		"one often stopped comes behind": {[]scalable{{1, 1, 4, 0, 0.5}, waits(1, 4)}, 4, []int64{0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := divide(tt.jobs, tt.units); !slices.Equal(got, tt.want) {
				t.Errorf("divides into %v, want %v", got, tt.want)
			}
		})
	}
}

func TestClearFewest(t *testing.T) {
	for name, tt := range map[string]struct {
		free      []int64
		jobs      []holding
		per, pods int64
		want      []giving
		fit       int64
	}{
		"fits already": {free: []int64{8}, jobs: []holding{{[]int64{8}, 0, 8, 8}}, per: 8, pods: 1, fit: 1},
		"fewest in training": {
			free: []int64{4, 2}, per: 8, pods: 1, fit: 1,
			jobs: []holding{{[]int64{0, 6}, 0, 6, 6}, {[]int64{2, 0}, 0, 2, 2}, {[]int64{2, 0}, 0, 2, 2}},
			want: []giving{{1, true, []int64{0, 0}}, {2, true, []int64{0, 0}}},
		},
		"fewest of those that help": {
			free: []int64{0, 0}, per: 8, pods: 1, fit: 1,
			jobs: []holding{{[]int64{4, 0}, 0, 4, 4}, {[]int64{0, 8}, 0, 8, 8}},
			want: []giving{{1, true, []int64{0, 0}}},
		},
		"shrinks before it stops": {
			free: []int64{0}, per: 2, pods: 1, fit: 1,
			jobs: []holding{{[]int64{2}, 0, 2, 2}, {[]int64{6}, 4, 1, 6}},
			want: []giving{{1, false, []int64{2}}},
		},
		"shrinks, then stops the smallest": {
			free: []int64{0}, per: 6, pods: 1, fit: 1,
			jobs: []holding{{[]int64{3}, 0, 3, 9}, {[]int64{2}, 1, 1, 2}, {[]int64{3}, 0, 3, 3}},
			want: []giving{{0, true, []int64{0}}, {2, true, []int64{0}}},
		},
		"spares whom it stops in vain": {
			free: []int64{0}, per: 4, pods: 1, fit: 1,
			jobs: []holding{{[]int64{6}, 0, 6, 6}, {[]int64{1}, 0, 1, 1}, {[]int64{1}, 0, 1, 1}},
			want: []giving{{0, true, []int64{0}}},
		},
		"the newest of equals": {
			free: []int64{0}, per: 4, pods: 1, fit: 1,
			jobs: []holding{{[]int64{4}, 0, 4, 4}, {[]int64{4}, 0, 4, 4}},
			want: []giving{{1, true, []int64{0}}},
		},
		"a gang frees all it has": {
			free: []int64{0, 0}, per: 8, pods: 2, fit: 2,
			jobs: []holding{{[]int64{8, 8}, 0, 8, 16}},
			want: []giving{{0, true, []int64{0, 0}}},
		},
		"as many as can be had": {
			free: []int64{-1, 0}, per: 8, pods: 3, fit: 1,
			jobs: []holding{{[]int64{0, 8}, 0, 8, 8}},
			want: []giving{{0, true, []int64{0, 0}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, fit := clearFewest(tt.free, tt.jobs, tt.per, tt.pods)
			if !slices.EqualFunc(got, tt.want, func(a, b giving) bool {
				return a.job == b.job && a.stop == b.stop && (a.stop || slices.Equal(a.shed, b.shed))
			}) || fit != tt.fit {
				t.Errorf("gives %+v, %d fit, want %+v, %d", got, fit, tt.want, tt.fit)
			}
		})
	}
}

// Pods fit as far as stopping everybody makes room for them, and nobody gives what they
// have not.
func TestClearFewestIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spots := rapid.IntRange(1, 4).Draw(t, "spots")
		free := make([]int64, spots)
		for i := range free {
			free[i] = rapid.Int64Range(-1, 4).Draw(t, "free")
		}
		var jobs []holding
		for range rapid.IntRange(0, 6).Draw(t, "jobs") {
			j := holding{units: make([]int64, spots), per: rapid.Int64Range(1, 4).Draw(t, "per")}
			pods := int64(0)
			for i := range free {
				if free[i] >= 0 {
					n := rapid.Int64Range(0, 2).Draw(t, "pods")
					j.units[i] = n * j.per
					pods += n
				}
			}
			j.all, j.spare = pods*j.per, rapid.Int64Range(0, max(pods-1, 0)).Draw(t, "spare")
			jobs = append(jobs, j)
		}
		per, pods := rapid.Int64Range(1, 6).Draw(t, "size"), rapid.Int64Range(1, 5).Draw(t, "wanted")
		most, before := int64(0), slices.Clone(free)
		held := make([][]int64, len(jobs))
		for i, f := range free {
			if f >= 0 {
				for _, j := range jobs {
					f += j.units[i]
				}
				most += f / per
			}
		}
		spare := make([]int64, len(jobs))
		for i, j := range jobs {
			held[i], spare[i] = slices.Clone(j.units), j.spare
		}
		give, fit := clearFewest(free, jobs, per, pods)
		if fit < min(pods, most) {
			t.Fatalf("%d fit of %d, %d could", fit, pods, most)
		}
		slots := int64(0)
		for i, f := range before {
			if f < 0 {
				continue
			}
			for _, g := range give {
				switch {
				case g.stop:
					f += held[g.job][i]
				default:
					f += g.shed[i] * jobs[g.job].per
					if spare[g.job] -= g.shed[i]; spare[g.job] < 0 || g.shed[i]*jobs[g.job].per > held[g.job][i] {
						t.Fatalf("job %d gives %d pods on %d", g.job, g.shed[i], i)
					}
				}
			}
			slots += f / per
		}
		if slots != fit {
			t.Fatalf("%d fit, said %d", slots, fit)
		}
	})
}
