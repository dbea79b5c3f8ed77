package mig

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// nodeTimes are processor times of plans for nodes of eight A100.
type nodeTimes struct {
	plans         int
	mean, longest time.Duration
}

// planNodes times plans for nodes in states that are drawn, with demands for up to three
// profiles, which is what one lender's pods and one job ask for. Each plan is carried out,
// to see that it touches nothing that it must not.
func planNodes(n int) (nodeTimes, error) {
	g := board("A100-40GB", 0, 1, 2, 3, 4)
	all := layouts(&g)
	t := mig.NewTable(&g)
	r := rand.New(rand.NewPCG(0, 33))
	e := examiner{board: &g}
	tables := []*mig.Table{t, t, t, t, t, t, t, t}
	times := nodeTimes{plans: n}
	for range n {
		gpus := make([]mig.GPU, len(tables))
		for i := range gpus {
			l := all[r.IntN(len(all))]
			gpus[i] = *state(l, drawUses(r, len(l)))
		}
		var demands []mig.Demand
		for range 1 + r.IntN(3) {
			p := g.Profiles[r.IntN(len(g.Profiles))]
			demands = append(demands, mig.Demand{Profile: p.ID, Count: 1 + r.IntN(2*p.Max), Weight: r.IntN(3)})
		}
		begin, err := processorTime()
		if err != nil {
			return times, err
		}
		plans, _, err := mig.PlanNode(gpus, tables, demands)
		if err != nil {
			return times, fmt.Errorf("plan a node: %w", err)
		}
		end, err := processorTime()
		if err != nil {
			return times, err
		}
		times.mean += (end - begin) / time.Duration(n)
		times.longest = max(times.longest, end-begin)
		for i, p := range plans {
			if fault := e.carryOut(&gpus[i], p); fault != "" {
				return times, fmt.Errorf("plan %+v for %v: %s", p, gpus[i].Instances, fault)
			}
		}
	}
	return times, nil
}

// drawUses draws what instances are used for. Half of them are idle.
func drawUses(r *rand.Rand, n int) []mig.Use {
	uses := make([]mig.Use, n)
	for i := range uses {
		uses[i] = allUses[max(r.IntN(2*len(allUses))-len(allUses), 0)]
	}
	return uses
}
