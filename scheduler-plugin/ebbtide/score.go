package ebbtide

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// PreScore skips the scoring of pods on a loan: the broker chose their nodes.
func (p *Ebbtide) PreScore(_ context.Context, state fwk.CycleState, _ *corev1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	if c, ok := readCycle(state); !ok || c.loan != nil {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// Score prefers, for an online pod, the node with the fewest units left after
// it, and among those one without loans: whole nodes stay whole for large pods,
// and loans are not boxed in.
func (p *Ebbtide) Score(_ context.Context, state fwk.CycleState, _ *corev1.Pod, info fwk.NodeInfo) (int64, *fwk.Status) {
	c, ok := readCycle(state)
	if !ok {
		return 0, nil
	}
	var left int64
	for _, r := range c.requests {
		left += freeUnits(info, r.Resource) - r.Units
	}
	loaned := slices.ContainsFunc(p.book.LoansOn(info.Node().Name), book.Open)
	return rawScore(left, loaned), nil
}

// ScoreExtensions returns the plugin itself: raw scores are normalized.
func (p *Ebbtide) ScoreExtensions() fwk.ScoreExtensions { return p }

// NormalizeScore ranks the nodes from 0 to 100.
func (p *Ebbtide) NormalizeScore(_ context.Context, _ fwk.CycleState, _ *corev1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	rank(scores)
	return nil
}

// rawScore orders placements; higher is better and the scale means nothing.
func rawScore(left int64, loaned bool) int64 {
	score := -2 * left
	if loaned {
		score--
	}
	return score
}

// rank replaces raw scores by their rank, spread over the framework's range, so
// that one huge node does not flatten the difference between all others. Equal
// scores stay equal; a single score becomes the best.
func rank(scores fwk.NodeScoreList) {
	distinct := make([]int64, 0, len(scores))
	for _, s := range scores {
		distinct = append(distinct, s.Score)
	}
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)
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
