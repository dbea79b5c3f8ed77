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
// others it reads what sizes pods come in, and which nodes their service prefers.
func (p *Ebbtide) PreScore(_ context.Context, state fwk.CycleState, pod *corev1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	c, ok := readCycle(state)
	if !ok || c.loan != nil {
		return fwk.NewStatus(fwk.Skip)
	}
	c.mixes = make([]pack.Mix, len(c.requests))
	for i, r := range c.requests {
		c.mixes[i] = pack.NewMix(p.account.Shapes(r.Resource))
	}
	c.pools = p.poolsOf(pod, c)
	return nil
}

// Score prefers, for a bare pod, units that no loan counts on, then those whose
// loans cost the least; then the pool of nodes that its service prefers; then the node
// whose fragmentation grows least, that of its cards included, and among those the one
// with the fewest units left.
func (p *Ebbtide) Score(_ context.Context, state fwk.CycleState, pod *corev1.Pod, info fwk.NodeInfo) (int64, *fwk.Status) {
	c, ok := readCycle(state)
	if !ok || c.mixes == nil {
		return 0, nil
	}
	place := pack.Place{Later: c.pools.at(info)}
	for i, r := range c.requests {
		free := p.freeUnits(info, r.Resource)
		place.Growth += c.mixes[i].Growth(free, r.Units)
		place.Left += free - r.Units
	}
	place.Growth += p.cutUp(c, pod, info)
	if name := info.Node().Name; p.account.LoansOn(name) > 0 {
		for _, r := range c.requests {
			place.Displaced += p.displaced(info, r)
		}
	}
	return pack.Score(place), nil
}

// cutUp returns how much less may be made of the cards on the node once the pod has its
// slices, in thousandths of a memory slot. It is 0 where slices stay as they are anyway:
// those that are pinned, and those of nodes without an agent.
func (p *Ebbtide) cutUp(c *cycle, pod *corev1.Pod, info fwk.NodeInfo) int64 {
	asks := slicesAsked(c.requests)
	if len(asks) == 0 {
		return 0
	}
	n := p.slicesOn(c, info.Node().Name)
	if n == nil {
		return 0
	}
	room := p.roomOn(n, pod.UID, info.GetPods())
	before := room.Open()
	room.Find(pod.UID, p.whoIs(pod, nil, n.Name), asks)
	return 1000 * int64(before-room.Open())
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
	if p.freeUnits(info, r.Resource)-promised >= r.Units {
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

// Where loans would lose something on some nodes and nothing on others, the first get
// at most mostDisplacing and the others at least leastSparing. The plugin weighs 10:
// so the last of the others is ahead by more than what all scorers together say that
// a pod does not ask for by itself: fit, balance and images weigh 1 each, and the
// default spreading 2.
const (
	mostDisplacing = 24
	leastSparing   = 76
)

// Where a service has pools, the nodes of the best one are as far ahead of the others.
// Where there are displacing nodes besides, less is left between them: from mostLater
// to leastBest.
const (
	mostLater = 84
	leastBest = 92
)

// rank replaces raw scores by their rank, spread over the framework's range, so
// that one huge node does not flatten the difference between all others. Equal
// scores stay equal; a single score becomes the best.
func rank(scores fwk.NodeScoreList) {
	var displacing, sparing []int64 // each score once; few: nodes are much alike
	for _, s := range scores {
		to := &sparing
		if pack.Displaces(s.Score) {
			to = &displacing
		}
		if at, found := slices.BinarySearch(*to, s.Score); !found {
			*to = slices.Insert(*to, at, s.Score)
		}
	}
	bands := bandsOf(displacing, sparing)
	for i, s := range scores {
		for _, b := range bands {
			if b.least <= s.Score && s.Score <= b.scores[len(b.scores)-1] {
				scores[i].Score = spread(s.Score, b.scores, b.low, b.high)
				break
			}
		}
	}
}

// band is a part of the framework's range, and the raw scores that are spread over it.
type band struct {
	scores    []int64
	least     int64 // the lowest of them
	low, high int64
}

// bandsOf keeps apart what is to be kept apart of two lists of ascending scores.
func bandsOf(displacing, sparing []int64) []band {
	var bands []band
	add := func(scores []int64, low, high int64) {
		if len(scores) > 0 {
			bands = append(bands, band{scores, scores[0], low, high})
		}
	}
	later, best := byPool(sparing)
	switch {
	case len(sparing) == 0:
		add(displacing, fwk.MinScore, fwk.MaxScore)
	case len(displacing) == 0 && len(later) == 0:
		add(best, fwk.MinScore, fwk.MaxScore)
	case len(displacing) == 0:
		add(later, fwk.MinScore, mostDisplacing)
		add(best, leastSparing, fwk.MaxScore)
	case len(later) == 0:
		add(displacing, fwk.MinScore, mostDisplacing)
		add(best, leastSparing, fwk.MaxScore)
	default:
		add(displacing, fwk.MinScore, mostDisplacing)
		add(later, leastSparing, mostLater)
		add(best, leastBest, fwk.MaxScore)
	}
	return bands
}

// byPool parts ascending scores of places where no loan loses anything: those of the
// best pool that there is, and the others.
func byPool(sparing []int64) (later, best []int64) {
	if len(sparing) == 0 {
		return nil, nil
	}
	first := pack.Later(sparing[len(sparing)-1])
	at := slices.IndexFunc(sparing, func(s int64) bool { return pack.Later(s) == first })
	return sparing[:at], sparing[at:]
}

// spread returns the rank of a score among all, between least and most.
func spread(score int64, among []int64, least, most int64) int64 {
	steps := int64(len(among) - 1)
	if steps == 0 {
		return most
	}
	at, _ := slices.BinarySearch(among, score)
	return least + int64(at)*(most-least)/steps
}
