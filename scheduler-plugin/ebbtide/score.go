package ebbtide

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/pack"
)

// PreScore skips the scoring of pods on a loan: the broker chose their nodes. For
// others it reads what sizes pods come in.
func (p *Ebbtide) PreScore(_ context.Context, state fwk.CycleState, _ *corev1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	c, ok := readCycle(state)
	if !ok || c.loan != nil {
		return fwk.NewStatus(fwk.Skip)
	}
	c.mixes = make([]pack.Mix, len(c.requests))
	for i, r := range c.requests {
		c.mixes[i] = pack.NewMix(p.account.Shapes(r.Resource))
	}
	return nil
}

// Score prefers, for a bare pod, units that no loan counts on, then those whose
// loans cost the least; then the node whose fragmentation grows least, and among
// those the one with the fewest units left.
func (p *Ebbtide) Score(_ context.Context, state fwk.CycleState, _ *corev1.Pod, info fwk.NodeInfo) (int64, *fwk.Status) {
	c, ok := readCycle(state)
	if !ok || c.mixes == nil {
		return 0, nil
	}
	var place pack.Place
	for i, r := range c.requests {
		free := freeUnits(info, r.Resource)
		place.Growth += c.mixes[i].Growth(free, r.Units)
		place.Left += free - r.Units
	}
	if name := info.Node().Name; p.account.LoansOn(name) > 0 {
		for _, r := range c.requests {
			place.Displaced += p.displaced(info, r)
		}
	}
	return pack.Score(place), nil
}

// displaced returns what it would cost the open loans that have yet to take units
// which the request would; 0 if there are enough beside them.
func (p *Ebbtide) displaced(info fwk.NodeInfo, r book.Request) float64 {
	used := p.usedByJob(info, r.Resource)
	var promised int64
	var cost float64
	for _, loan := range p.book.LoansOn(info.Node().Name) {
		if corev1.ResourceName(loan.Spec.Resource) != r.Resource || !book.Open(loan) {
			continue
		}
		if due := book.GrantedOn(loan, info.Node().Name) - used[loan.Spec.Job.UID]; due > 0 {
			promised += due
			cost += p.lostWork(loan, p.clock.Now())
		}
	}
	if freeUnits(info, r.Resource)-promised >= r.Units {
		return 0
	}
	return cost
}

// ScoreExtensions returns the plugin itself: raw scores are normalized.
func (p *Ebbtide) ScoreExtensions() fwk.ScoreExtensions { return p }

// NormalizeScore ranks the nodes from 0 to 100.
func (p *Ebbtide) NormalizeScore(_ context.Context, _ fwk.CycleState, _ *corev1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	rank(scores)
	return nil
}

// rank replaces raw scores by their rank, spread over the framework's range, so
// that one huge node does not flatten the difference between all others. Equal
// scores stay equal; a single score becomes the best.
func rank(scores fwk.NodeScoreList) {
	var distinct []int64 // few: nodes are much alike
	for _, s := range scores {
		if at, found := slices.BinarySearch(distinct, s.Score); !found {
			distinct = slices.Insert(distinct, at, s.Score)
		}
	}
	steps := int64(len(distinct) - 1)
	for i := range scores {
		if steps == 0 {
			scores[i].Score = fwk.MaxScore
			continue
		}
		at, _ := slices.BinarySearch(distinct, scores[i].Score)
		scores[i].Score = int64(at) * fwk.MaxScore / steps
	}
}
