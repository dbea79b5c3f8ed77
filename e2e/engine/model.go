// Package engine simulates an online inference service: replicas that serve
// requests the way vLLM does, a gateway that spreads arrivals over them, and
// real HTTP /metrics with vLLM's names for a real Prometheus to scrape.
//
// It is a discrete-event simulation in virtual time: Fleet.Advance plays all
// that happens up to a moment, in order, from a seeded source, so that equal
// calls give equal results. It promises that no request is lost: what a replica
// had when it went away waits at the gateway again, and what the gateway turns
// away because it is full is counted.
//
// The engine is simpler than vLLM in four ways. A token takes the same time
// whatever the batch; a prompt is not chunked; a request is admitted only when
// the KV cache holds all of it to the end, so nothing is ever preempted; and a
// request's latencies are counted when it ends, its first token's too.
package engine

import (
	"errors"
	"fmt"
	"math"
)

// Model is what one replica is.
type Model struct {
	// Name is the label model_name.
	Name string
	// Slots is how many requests run at once (vLLM: --max-num-seqs).
	Slots int
	// PromptSecondsPerToken and DecodeSecondsPerToken are in virtual seconds.
	PromptSecondsPerToken float64
	DecodeSecondsPerToken float64
	// KVTokens is the capacity of the KV cache.
	KVTokens int64
}

// blockSize is the number of tokens in a KV block, vLLM's default.
const blockSize = 16

// DefaultModel is a replica that decodes 20 tokens per second for each request,
// the speed DeepSeek published for its service, with few enough slots that a day
// of requests can be replayed on a part of one core.
func DefaultModel(name string) Model {
	return Model{
		Name:                  name,
		Slots:                 32,
		PromptSecondsPerToken: 0.00025,
		DecodeSecondsPerToken: 0.05,
		KVTokens:              131072,
	}
}

// Validate returns all that is wrong with the model, or nil.
func (m Model) Validate() error {
	var errs []error
	if m.Name == "" {
		errs = append(errs, errors.New("model: Name must not be empty"))
	}
	if m.Slots < 1 {
		errs = append(errs, fmt.Errorf("model: Slots is %d, must be at least 1", m.Slots))
	}
	for name, v := range map[string]float64{"PromptSecondsPerToken": m.PromptSecondsPerToken, "DecodeSecondsPerToken": m.DecodeSecondsPerToken} {
		if !(v > 0) || math.IsInf(v, 0) {
			errs = append(errs, fmt.Errorf("model: %s is %v, must be above 0", name, v))
		}
	}
	if m.KVTokens < blockSize {
		errs = append(errs, fmt.Errorf("model: KVTokens is %d, must be at least %d", m.KVTokens, blockSize))
	}
	return errors.Join(errs...)
}

// ServiceSeconds is how long a request of that size runs once admitted.
func (m Model) ServiceSeconds(prompt, output int32) float64 {
	return float64(prompt)*m.PromptSecondsPerToken + float64(output)*m.DecodeSecondsPerToken
}
