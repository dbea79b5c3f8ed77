package mig_test

import (
	"testing"

	"github.com/ebbtide/ebbtide/mig"
)

func a100(b testing.TB) mig.Geometry {
	g, ok := mig.BoardFor("0x20B010DE")
	if !ok {
		b.Fatal("no board")
	}
	return g
}

// sevenths is an A100 cut in seven, the three upper ones pinned.
func sevenths() mig.GPU {
	gpu := mig.GPU{UUID: "GPU-0"}
	for i := range 7 {
		use := mig.Idle
		if i >= 4 {
			use = mig.Pinned
		}
		gpu.Instances = append(gpu.Instances, mig.Instance{Placed: mig.Placed{Start: i}, Generation: 1, Use: use})
	}
	return gpu
}

func BenchmarkPlanGPU(b *testing.B) {
	g := a100(b)
	table := mig.NewTable(&g)
	some := []mig.Demand{{Profile: 3, Count: 1}, {Profile: 1, Count: 2}, {Profile: 0, Count: 3}, {Profile: 2, Count: 1}}
	var all []mig.Demand
	for _, p := range g.Profiles {
		all = append(all, mig.Demand{Profile: p.ID, Count: p.Max})
	}
	for _, bench := range []struct {
		name    string
		gpu     mig.GPU
		demands []mig.Demand
	}{
		{"reshape", sevenths(), []mig.Demand{{Profile: 3, Count: 1}}},
		{"four profiles beside pins", sevenths(), some},
		{"four profiles on an empty GPU", mig.GPU{}, some},
		{"all profiles on an empty GPU", mig.GPU{}, all},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := table.PlanGPU(bench.gpu, bench.demands); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
