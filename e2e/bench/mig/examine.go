package mig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// examiner compares plans for one board with the best there is.
type examiner struct {
	board   *mig.Geometry
	table   *mig.Table
	layouts []layout
	plans   []mig.Plan
	errs    []error
	result
}

// visit is shown a state and demands.
type visit func(*mig.GPU, [][]mig.Demand)

// exhaust visits every nth state, from one on, with all demands.
func exhaust(g *mig.Geometry, all []layout, from, step int, visit visit) {
	demands := demandsOf(g)
	k := 0
	for _, l := range all {
		usesOf(len(l), func(uses []mig.Use) {
			if k++; k%step == from {
				visit(state(l, uses), demands)
			}
		})
	}
}

// sample visits states that are drawn, with demands that are.
func sample(g *mig.Geometry, all []layout, r *rand.Rand, n int, visit visit) {
	for range n {
		l := all[r.IntN(len(all))]
		uses := drawUses(r, len(l))
		var demands [][]mig.Demand
		for range 12 {
			var d []mig.Demand
			for range r.IntN(4) {
				p := g.Profiles[r.IntN(len(g.Profiles))]
				d = append(d, mig.Demand{Profile: p.ID, Count: r.IntN(p.Max + 2), Weight: r.IntN(4)})
			}
			demands = append(demands, d)
		}
		visit(state(l, uses), demands)
	}
}

// state is a GPU with a layout that is used so.
func state(l layout, uses []mig.Use) *mig.GPU {
	gpu := &mig.GPU{UUID: "GPU-0"}
	for i, at := range l {
		gpu.Instances = append(gpu.Instances, mig.Instance{Placed: at, Generation: int64(i + 1), Use: uses[i]})
	}
	return gpu
}

// examine compares all plans for one state.
func (e *examiner) examine(gpu *mig.GPU, demands [][]mig.Demand) {
	e.plans, e.errs = slices.Grow(e.plans[:0], len(demands))[:len(demands)], slices.Grow(e.errs[:0], len(demands))[:len(demands)]
	for k, d := range demands {
		e.plans[k], e.errs[k] = e.table.PlanGPU(*gpu, d)
	}
	e.states++
	e.cases += len(demands)
	all := outcomes(e.board, e.layouts, gpu)
	for k, d := range demands {
		fault := ""
		if e.errs[k] != nil {
			fault = e.errs[k].Error()
		} else if touched := e.carryOut(gpu, e.plans[k]); touched != "" {
			e.fixedTouched++
			fault = touched
		} else {
			fault = e.compare(e.plans[k], d, all)
		}
		if fault == "" {
			fault = e.again(gpu, e.plans[k], d)
		}
		if fault != "" {
			e.mismatches++
			if e.first == "" {
				e.first = fmt.Sprintf("%s: %v, demand %v: plan %+v", fault, gpu.Instances, d, e.plans[k])
			}
		}
	}
}

// compare says in what a plan differs from the best there is.
func (e *examiner) compare(p mig.Plan, demands []mig.Demand, all []*outcome) string {
	want, met := best(e.board, all, demands)
	var destroyed []mig.Placed
	for _, in := range p.Destroy {
		destroyed = append(destroyed, in.Placed)
	}
	if !slices.Equal(destroyed, want.destroyed) || !slices.Equal(p.Create, want.created) {
		return fmt.Sprintf("the best destroys %v and creates %v", want.destroyed, want.created)
	}
	for _, d := range demands {
		met -= d.Count * max(d.Weight, 1)
	}
	for _, d := range p.Unmet {
		met += d.Count * max(d.Weight, 1)
	}
	if met != 0 {
		return fmt.Sprintf("what is said to be unmet is wrong by a weight of %d", met)
	}
	return ""
}

// carryOut does what a plan says step by step, and says what it touches that it must not.
func (e *examiner) carryOut(gpu *mig.GPU, p mig.Plan) string {
	now := make(layout, 0, 16)
	for _, in := range gpu.Instances {
		now = append(now, in.Placed)
	}
	for _, in := range p.Destroy {
		k := slices.Index(gpu.Instances, in)
		if k < 0 || in.Use != mig.Idle && in.Use != mig.Remnant {
			return fmt.Sprintf("it destroys %v", in)
		}
		now = slices.DeleteFunc(now, func(at mig.Placed) bool { return at == in.Placed })
	}
	for _, at := range p.Create {
		if now = append(now, at); !legal(e.board, now) {
			return fmt.Sprintf("creating %v leaves a layout that the board does not allow", at)
		}
	}
	return e.undo(gpu, p, now)
}

// undo looks that the way back leads to what was there.
func (e *examiner) undo(gpu *mig.GPU, p mig.Plan, now layout) string {
	destroy, create := p.Undo()
	for _, at := range destroy {
		k := slices.Index(now, at)
		if k < 0 {
			return fmt.Sprintf("the undo destroys %v, which is not there", at)
		}
		now = slices.Delete(now, k, k+1)
	}
	for _, at := range create {
		if now = append(now, at); !legal(e.board, now) {
			return fmt.Sprintf("the undo creates %v, which leaves a layout that the board does not allow", at)
		}
	}
	slices.SortFunc(now, byPlace)
	if !slices.EqualFunc(now, gpu.Instances, func(at mig.Placed, in mig.Instance) bool { return at == in.Placed }) {
		return fmt.Sprintf("after the undo there is %v", now)
	}
	return ""
}

// again looks that there is nothing left to do once a plan was carried out.
func (e *examiner) again(gpu *mig.GPU, p mig.Plan, demands []mig.Demand) string {
	if p.Empty() {
		return ""
	}
	after := mig.GPU{UUID: gpu.UUID}
	for _, in := range gpu.Instances {
		if !slices.Contains(p.Destroy, in) {
			after.Instances = append(after.Instances, in)
		}
	}
	for _, at := range p.Create {
		after.Instances = append(after.Instances, mig.Instance{Placed: at, Generation: 9, Use: mig.Idle})
	}
	if next, err := e.table.PlanGPU(after, demands); err != nil || !next.Empty() {
		return fmt.Sprintf("planning again gives %+v, %v", next, err)
	}
	return ""
}

// meanTime is the processor time of one plan in microseconds, with what it takes to
// collect its garbage, over some of the cases. It is not by the clock, which also counts
// when others have the processor.
func (s subject) meanTime(all []layout) (float64, error) {
	t := mig.NewTable(&s.board)
	var planning time.Duration
	plans := 0
	var fault error
	each := func(gpu *mig.GPU, demands [][]mig.Demand) {
		begin, err := processorTime()
		fault = errors.Join(fault, err)
		for range timed {
			for _, d := range demands {
				if _, err := t.PlanGPU(*gpu, d); err != nil {
					fault = errors.Join(fault, err)
				}
			}
		}
		end, err := processorTime()
		fault = errors.Join(fault, err)
		planning += end - begin
		plans += timed * len(demands)
	}
	if s.sampled {
		sample(&s.board, all, rand.New(rand.NewPCG(0, 32)), 500, each)
	} else {
		exhaust(&s.board, all, 0, 20, each)
	}
	return float64(planning.Nanoseconds()) / 1000 / float64(max(plans, 1)), fault
}

// timed is how often each plan is made to time it: one takes less than clocks can tell.
const timed = 4

// processorTime is what this process has used so far.
func processorTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read the processor time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
