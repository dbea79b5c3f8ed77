package sample

import (
	"math"
	"math/rand/v2"
)

const (
	features = 16
	batch    = 32
	rate     = 0.05
)

// Model is a logistic regression after some steps.
type Model struct {
	// Seed fixes the data and the order in which they are looked at.
	Seed uint64 `json:"seed"`
	// Step counts the steps done.
	Step    int64     `json:"step"`
	Weights []float64 `json:"weights"`
}

// NewModel is a model that has learned nothing.
func NewModel(seed uint64) *Model {
	return &Model{Seed: seed, Weights: make([]float64, features)}
}

// Train does steps until so many are done.
func (m *Model) Train(steps int64) {
	for m.Step < steps {
		m.step()
	}
}

// step looks at the batch of the next step, which is drawn for it alone: nothing but
// the model has to be saved.
func (m *Model) step() {
	source := rand.New(rand.NewPCG(m.Seed, uint64(m.Step)+1))
	truth := truth(m.Seed)
	gradient := make([]float64, features)
	x := make([]float64, features)
	for range batch {
		label := draw(source, truth, x)
		miss := sigmoid(dot(m.Weights, x)) - label
		for i := range gradient {
			gradient[i] += float64(miss * x[i])
		}
	}
	for i := range m.Weights {
		m.Weights[i] -= float64(rate / batch * gradient[i])
	}
	m.Step++
}

// Loss is the mean surprise about data that no step looks at.
func (m *Model) Loss() float64 {
	const examples = 2000
	source := rand.New(rand.NewPCG(m.Seed, math.MaxUint64))
	truth := truth(m.Seed)
	x := make([]float64, features)
	sum := 0.0
	for range examples {
		label := draw(source, truth, x)
		p := sigmoid(dot(m.Weights, x))
		sum -= label*math.Log(p) + (1-label)*math.Log(1-p)
	}
	return sum / examples
}

// truth is what there is to be learned.
func truth(seed uint64) []float64 {
	source := rand.New(rand.NewPCG(seed, 0))
	weights := make([]float64, features)
	for i := range weights {
		weights[i] = source.NormFloat64()
	}
	return weights
}

// draw makes one example: it fills x and returns its label, 0 or 1.
func draw(source *rand.Rand, truth, x []float64) float64 {
	for i := range x {
		x[i] = source.NormFloat64()
	}
	if source.Float64() < sigmoid(dot(truth, x)) {
		return 1
	}
	return 0
}

// dot rounds each product, so that no compiler fuses it with the sum: the same model
// comes out of every build.
func dot(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i] * b[i])
	}
	return sum
}

func sigmoid(z float64) float64 { return 1 / (1 + math.Exp(-z)) }
