package signal

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Spec is one signal of a LendingPolicy, resolved: either Profile is set, or
// Query with its water marks.
type Spec struct {
	// Name is how verdicts call a query: the field's path.
	Name    string
	Profile string
	Slots   float64
	Query   string
	Low     float64
	High    float64
}

// Specs resolves the signals of a policy. It fails on what the API server's
// validation would have refused too, naming the field.
func Specs(signals []v1alpha1.Signal) ([]Spec, error) {
	specs := make([]Spec, 0, len(signals))
	profileSeen := false
	for i, s := range signals {
		path := fmt.Sprintf("spec.signals[%d]", i)
		if s.Profile != "" {
			p, ok := LookupProfile(s.Profile)
			if !ok {
				return nil, fmt.Errorf("%s.profile: %q is not a known profile; want vllm", path, s.Profile)
			}
			if profileSeen {
				return nil, fmt.Errorf("%s.profile: a policy can have one profile", path)
			}
			profileSeen = true
			slots := s.Slots
			if slots == 0 {
				slots = p.Slots
			}
			specs = append(specs, Spec{Name: path, Profile: p.Name, Slots: float64(slots)})
			continue
		}
		low, errLow := strconv.ParseFloat(s.LowWater, 64)
		high, errHigh := strconv.ParseFloat(s.HighWater, 64)
		if s.Query == "" || errLow != nil || errHigh != nil || low >= high {
			return nil, fmt.Errorf("%s: a query needs lowWater and highWater, numbers with lowWater below highWater", path)
		}
		specs = append(specs, Spec{Name: path, Query: s.Query, Low: low, High: high})
	}
	return specs, nil
}

// Target is a lender whose load is asked for.
type Target struct {
	// Name is the LendingPolicy's namespace/name.
	Name      string
	Namespace string
	Specs     []Spec
}

// Reading is one finite, plausible value and when it was taken.
type Reading struct {
	Value float64
	At    time.Time
}

// Sample is the answers to all questions about one target. A question that was
// not answered has a reason in Missing and no reading.
type Sample struct {
	// Pods of the profile by name: only readings that are present and plausible.
	Running, Waiting, KV map[string]Reading
	// Queries by Spec.Name.
	Queries map[string]Reading
	// Missing says, by question, why there is no answer.
	Missing map[string]string
}

// The questions of a profile, as Missing calls them.
const (
	askRunning = "running requests"
	askWaiting = "waiting requests"
	askKV      = "KV cache use"
)

// Source answers all questions about a target. It returns when all are answered
// or timed out, and never fails as a whole.
type Source interface {
	Fetch(ctx context.Context, t Target) Sample
}

// maxPlausible: exporters write "blank" as huge integers.
const maxPlausible = 1e15

func plausible(v float64) bool {
	return !math.IsNaN(v) && v >= 0 && v <= maxPlausible
}
