package signal

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"
)

// Target is a lender whose load is asked for.
type Target struct {
	// Name is the LendingPolicy's namespace/name.
	Name      string
	Namespace string
	// Tenant whose service it is: tenants do not wait for each other's pods. Empty: the
	// namespace is taken for one.
	Tenant string
	// Workload is the name of the target itself: its pods' names begin with it.
	Workload string
	// Specs of the policy, those included that Expand put into them.
	Specs []Spec
	// Pods that hold units and are not terminating, by Name: those that are read
	// directly, and those whose mean a metric of KindPods is.
	Pods []Pod
}

// Pod is a pod of a target. One without an IP is not read.
type Pod struct {
	Name string
	IP   string
}

// Reading is one finite, plausible value and when it was taken.
type Reading struct {
	Value float64
	At    time.Time
	// Silent is how many of the target's pods Value has no part of, where it is a mean over
	// them. What they would have said is not known, however it was filled in.
	Silent int
}

// Readings are one measure's values: by pod in a profile of ScopePod, and under ""
// in one of ScopeService. Only those are in it that are present and plausible, and NaN
// where nothing ended in the window of a rate or percentile: that is an answer too.
type Readings map[string]Reading

// Sample is the answers to all questions about one target. A question that was
// not answered has a reason in Missing and no reading.
type Sample struct {
	// Profiles has what was read of each profile, by Spec.Name.
	Profiles map[string]map[Measure]Readings
	// Values by Spec.Name.
	Values map[string]Reading
	// Missing says why there is no answer: by Spec.Name, or by Spec.Name and measure
	// as Missing.of has it. It names the metrics that were looked for.
	Missing Missing
	// Absent are the questions of Missing that were answered in full: nobody has it. All
	// others failed, and what the answer would have been is not known.
	Absent map[string]bool
	// Had is what was last heard of measures that need not be there, within the last hour
	// and of the target's own pods, by the question as in Missing. What was there and is
	// not now is not known, and is not taken for something that the engine does not tell.
	Had map[string]Readings
}

// Missing says, by question, why it has no answer.
type Missing map[string]string

// of is the question about one measure of a profile.
func of(spec string, m Measure) string { return spec + ", " + string(m) }

// With returns the sample with readings, and reasons for those that there are not,
// for specs of KindGiven, by Spec.Name. The sample itself is not changed.
func (s Sample) With(readings map[string]Reading, missing Missing) Sample {
	values, reasons := maps.Clone(s.Values), maps.Clone(s.Missing)
	if values == nil {
		values = map[string]Reading{}
	}
	if reasons == nil {
		reasons = Missing{}
	}
	maps.Copy(values, readings)
	maps.Copy(reasons, missing)
	s.Values, s.Missing = values, reasons
	return s
}

// Source answers all questions about a target. It returns when all are answered
// or timed out, and never fails as a whole.
type Source interface {
	Fetch(ctx context.Context, t Target) Sample
}

// ValueReader reads the one number of a signal that is not PromQL. namespace is the
// policy's. The reading has the time at which the value was true, not that of the
// answer, where the source says it. The text of an error is shown to the policy's
// owner: it says what is missing, and names no address.
type ValueReader interface {
	Read(ctx context.Context, namespace string, s Spec) (Reading, error)
}

// maxPlausible: exporters write "blank" as huge integers.
const maxPlausible = 1e15

// remembered is for how long a measure that need not be there is expected again.
const remembered = time.Hour

// remember returns what the target had within the last hour of measures that need not be
// there: as of old, and what the new sample has of it.
func (t Target) remember(old map[string]Readings, s Sample, now time.Time) map[string]Readings {
	had := map[string]Readings{}
	for _, spec := range t.Specs {
		if !spec.ofProfile() {
			continue
		}
		profile := profiles[spec.Profile]
		for _, m := range profile.Measures {
			if !m.Optional {
				continue
			}
			question, readings := of(spec.Name, m.Measure), Readings{}
			for key, r := range old[question] {
				if now.Sub(r.At) <= remembered {
					readings[key] = r
				}
			}
			for key, r := range s.Profiles[spec.Name][m.Measure] {
				if profile.Scope == ScopeService || slices.ContainsFunc(t.Pods, func(p Pod) bool { return p.Name == key }) {
					readings[key] = Reading{Value: r.Value, At: now}
				}
			}
			if len(readings) > 0 {
				had[question] = readings
			}
		}
	}
	return had
}

// plausible says whether a value can be true: what is not counts as not heard.
func plausible(v float64) bool {
	return !math.IsNaN(v) && v >= 0 && v <= maxPlausible
}
