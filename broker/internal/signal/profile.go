package signal

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Scope says for whom one series of a profile speaks.
type Scope string

const (
	// ScopePod: for the replica that its pod label names. A series of a pod that is not
	// the target's says nothing about the target, and is not looked at.
	ScopePod Scope = "Pod"
	// ScopeService: for the whole service, as a gateway or an autoscaler does.
	ScopeService Scope = "Service"
)

// Measure is what a profile can say about a service.
type Measure string

const (
	// Running and Waiting requests: in the batch, and in the queue before it.
	Running Measure = "running requests"
	Waiting Measure = "waiting requests"
	// KV is the used share of the KV cache, 0 to 1.
	KV Measure = "KV cache use"
	// Slots is how many requests one replica serves at once.
	Slots Measure = "slots"
	// TTFT is the P99 of the time to the first token, and Latency that of a whole
	// request (or its mean, where an engine has no histogram), in seconds. They are NaN
	// while no request ends, which is neither slow nor idle.
	TTFT    Measure = "ttft p99"
	Latency Measure = "latency"
	// Utilization of the GPUs and Memory used of them, 0 to 1. They corroborate.
	Utilization Measure = "utilization"
	Memory      Measure = "memory"
	// Errors is the share of requests that failed, 0 to 1.
	Errors Measure = "errors"
	// Desired is the number of replicas that an autoscaler wants.
	Desired Measure = "desired replicas"
)

// Take says how a measure's number is made of its series.
type Take string

const (
	// TakeValue is the value of a gauge, and the default.
	TakeValue Take = "Value"
	// TakeRate is what a counter grows by in a second. Of a counter of the seconds that
	// requests took, that is how many were in flight on average (Little's law).
	TakeRate Take = "Rate"
	// TakeP99 is the 99th percentile of a histogram's new observations.
	TakeP99 Take = "P99"
)

// Join says what several series of one replica become.
type Join string

const (
	JoinSum  Join = "Sum" // the default
	JoinMax  Join = "Max"
	JoinMean Join = "Mean"
)

// Profile is what one engine, gateway or exporter calls its load. It is data: the
// PromQL is made from it, and the scraper reads by it.
type Profile struct {
	// Name as in a LendingPolicy.
	Name  string `json:"name"`
	Scope Scope  `json:"scope"`
	// Port and Path at which the service's own pods serve these metrics. Port 0: they
	// do not.
	Port int32  `json:"port,omitempty"`
	Path string `json:"path,omitempty"`
	// Slots is how many requests one replica serves at once, if neither the policy nor
	// the engine says. 0: the policy must say, unless there is a measure of it.
	Slots float64 `json:"slots,omitempty"`
	// Labels that name the namespace and the pod, the likelier ones first. Absent:
	// namespace and pod.
	Labels []Labels `json:"labels,omitempty"`
	// Needs are labels of which matchLabels must have one, because without it the
	// series would be those of several services.
	Needs []string `json:"needs,omitempty"`
	// Own: of scope Service, but told by the service's own pods, so that at zero replicas
	// there is nobody to tell.
	Own bool `json:"own,omitempty"`
	// Measures, each once.
	Measures []Metric `json:"measures"`
}

// Labels are the names of two labels. An empty one does not exist.
type Labels struct {
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
}

// Metric is how a measure is read.
type Metric struct {
	Measure Measure `json:"measure"`
	Take    Take    `json:"take,omitempty"`
	// Series that have it, newer names before older ones: the first that is there counts.
	Series []Series `json:"series"`
	// Over: the measure is the series' share of the sum of these, or, with TakeRate,
	// their mean in relation to these.
	Over []Series `json:"over,omitempty"`
	// Parts are the labels that tell a replica's parts apart, where other labels do not:
	// series that differ in those only are one number told twice, of which the highest
	// counts. Absent: every series is a part.
	Parts []string `json:"parts,omitempty"`
	Join  Join     `json:"join,omitempty"`
	// Each: the number is a mean over the replicas.
	Each bool `json:"each,omitempty"`
	// Optional: not every release tells it, and where none of a target's replicas does the
	// rest is believed. Where one did or does, one that does not is not heard in full.
	Optional bool `json:"optional,omitempty"`
}

// Series names a metric and what its labels must be.
type Series struct {
	Name  string            `json:"name"`
	Match map[string]string `json:"match,omitempty"`
	// MatchRegexp are anchored regular expressions.
	MatchRegexp map[string]string `json:"matchRegexp,omitempty"`
	// Scale turns the metric's unit into requests, seconds or a share. 0 is 1.
	Scale float64 `json:"scale,omitempty"`
}

//go:embed profiles/*.yaml
var files embed.FS

var profiles = load(files)

// load panics on a profile that is wrong: they are part of the program.
func load(files fs.FS) map[string]*Profile {
	names, err := fs.Glob(files, "profiles/*.yaml")
	if err != nil {
		panic(err)
	}
	all := make(map[string]*Profile, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			panic(err)
		}
		p := &Profile{Path: "/metrics", Labels: []Labels{{Namespace: "namespace", Pod: "pod"}}}
		if err := yaml.UnmarshalStrict(text, p); err != nil {
			panic(fmt.Sprintf("read %s: %v", name, err))
		}
		if "profiles/"+p.Name+".yaml" != name || p.Scope == "" || len(p.Measures) == 0 {
			panic(fmt.Sprintf("read %s: its name, scope and measures must be set, the first as the file's", name))
		}
		all[p.Name] = p
	}
	return all
}

// LookupProfile returns a built-in profile by its name. It must not be changed.
func LookupProfile(name string) (*Profile, bool) {
	p, ok := profiles[name]
	return p, ok
}

// ProfileNames are the names of the built-in profiles, sorted.
func ProfileNames() []string { return slices.Sorted(maps.Keys(profiles)) }

// metric is how the profile reads a measure; nil if it does not have it.
func (p *Profile) metric(m Measure) *Metric {
	i := slices.IndexFunc(p.Measures, func(metric Metric) bool { return metric.Measure == m })
	if i < 0 {
		return nil
	}
	return &p.Measures[i]
}

// requests says whether the profile gives requests in flight.
func (p *Profile) requests() bool { return p.metric(Running) != nil }

// latency is the measure that a policy's latency is about; nil if there is none.
func (p *Profile) latency() *Metric {
	if m := p.metric(TTFT); m != nil {
		return m
	}
	return p.metric(Latency)
}

// wanted says whether a policy asks for a measure at all.
func (p *Profile) wanted(m *Metric, spec Spec) bool {
	return m.Measure != TTFT && m.Measure != Latency || spec.Latency > 0 && m == p.latency()
}

// accepts says what a policy asks of the profile that it does not have.
func (p *Profile) accepts(path string, s *v1alpha1.Signal) error {
	switch {
	case s.LowWater != "" || s.HighWater != "" || s.PerReplica != "":
		return fmt.Errorf("%s: a profile has marks of its own: lowWater, highWater and perReplica belong to a value", path)
	case s.Latency != nil && p.latency() == nil:
		return fmt.Errorf("%s.latency: profile %s has no latency", path, p.Name)
	case s.Slots > 0 && !p.requests():
		return fmt.Errorf("%s.slots: profile %s gives no requests in flight", path, p.Name)
	case p.requests() && s.Slots == 0 && p.Slots == 0 && p.metric(Slots) == nil:
		return fmt.Errorf("%s.slots: must be set: profile %s does not know how many requests one replica serves at once", path, p.Name)
	}
	return p.selects(path, s.MatchLabels)
}

// selects says what is wrong with the labels that a policy selects series by.
func (p *Profile) selects(path string, match map[string]string) error {
	for _, label := range slices.Sorted(maps.Keys(match)) {
		if !model.LegacyValidation.IsValidLabelName(label) {
			return fmt.Errorf("%s.matchLabels: %q is not a label's name in Prometheus: letters, digits and _", path, label)
		}
	}
	for _, label := range p.Needs {
		if match[label] != "" {
			return nil
		}
	}
	if len(p.Needs) > 0 {
		return fmt.Errorf("%s.matchLabels: profile %s needs one of %s, or it would count other services too", path, p.Name, strings.Join(p.Needs, ", "))
	}
	return nil
}

// names are the metrics that a measure is looked for by, as an owner would.
func (m *Metric) names() string {
	var names []string
	for _, s := range slices.Concat(m.Series, m.Over) {
		if name := s.flat(m.Take); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// flat is the series' name as it is stored: a histogram is looked for by its count.
func (s Series) flat(t Take) string {
	if t == TakeP99 {
		return s.Name + "_count"
	}
	return s.Name
}

// nothingEnded says whether a value is what a share or a percentile of an idle replica is:
// of what ended in the window, where nothing did.
func (m *Metric) nothingEnded(v float64) bool { return m.overWindow() && math.IsNaN(v) }

// overWindow says whether the measure needs more than one sample of its series.
func (m *Metric) overWindow() bool { return m.Take == TakeRate || m.Take == TakeP99 }
