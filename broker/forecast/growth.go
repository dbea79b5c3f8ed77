package forecast

import (
	"math"
	"slices"
)

const (
	// adaptation is the step by which a broken bound changes the share of breaks that is
	// allowed for (γ of Gibbs and Candès, "Adaptive Conformal Inference Under
	// Distribution Shift", NeurIPS 2021, who use 0.005).
	adaptation = 0.005
	// unmeasured is the growth, less 1, that is expected before enough was measured: that
	// a load of 30 %, below which the default marks of a policy call it low, may be one of
	// 70 %, above which they call it high. It is what the band of 30/70 lends by.
	unmeasured = 0.7/0.3 - 1
)

// growth learns by how much, as a share of the load, the highest load of the near future
// exceeds it where the last hour and the season do not cover that. It keeps one such excess
// for each slot of the last seven days.
type growth struct {
	target float64 // the share of breaks that is asked for
	// allowed is the share that is allowed for now. Below 0 breaks are made up for: that
	// takes a week at most.
	allowed float64
	excess  []float64 // oldest first, at most aWeek
	sorted  []float64 // the same by size
}

func newGrowth(quantile float64) growth {
	target := min(max(1-quantile, 0), 1)
	return growth{target: target, allowed: target}
}

// enough is how many excesses must be known: those of a day, since services go by days, and
// so many that the highest of them is a bound as good as is asked for. Of n excesses and the
// next one, each is the highest with the same chance, so that the next exceeds all with a
// chance of one in n+1; below 1/target-1 no bound can be had from what was seen (Vovk,
// Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005; Lei and others,
// "Distribution-Free Predictive Inference for Regression", JASA 2018).
func (g *growth) enough() int64 {
	if g.target <= 0 {
		return aWeek
	}
	return min(max(aDay, int64(math.Ceil(1/g.target-1e-9))-1), aWeek)
}

// bound is the excess that holds as often as is allowed for. Where there is too little to
// say, it is the highest so far, and not below unmeasured until there is enough.
func (g *growth) bound() float64 {
	n := len(g.sorted)
	if n == 0 {
		return unmeasured
	}
	highest := max(g.sorted[n-1], 0)
	rank := int(math.Ceil(float64(n+1) * (1 - g.allowed))) // beyond n where allowed is 0
	switch {
	case int64(n) < g.enough():
		return max(highest, unmeasured)
	case rank > n:
		return highest
	}
	return max(g.sorted[max(rank, 1)-1], 0)
}

// learn takes in what the excess was in one slot, after it was bounded by bound.
func (g *growth) learn(excess float64) {
	var broken float64
	if excess > g.bound() {
		broken = 1
	}
	if int64(len(g.sorted)) >= g.enough() {
		g.allowed += adaptation * (g.target - broken)
		g.allowed = min(max(g.allowed, -adaptation*g.target*float64(aWeek)), g.target)
	}
	if int64(len(g.excess)) == aWeek {
		i, _ := slices.BinarySearch(g.sorted, g.excess[0])
		g.sorted = slices.Delete(g.sorted, i, i+1)
		g.excess = append(g.excess[:0], g.excess[1:]...)
	}
	g.excess = append(g.excess, excess)
	i, _ := slices.BinarySearch(g.sorted, excess)
	g.sorted = slices.Insert(g.sorted, i, excess)
}
