package signal

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Kind says where a signal's number comes from.
type Kind string

const (
	// KindProfile is a profile that is asked of Prometheus.
	KindProfile Kind = "Profile"
	// KindScrape is a profile that is read from the target's ready pods.
	KindScrape Kind = "Scrape"
	// KindQuery is PromQL of the policy's own.
	KindQuery Kind = "Query"
	// KindPods, KindObject and KindExternal are read from the metrics APIs.
	KindPods     Kind = "Pods"
	KindObject   Kind = "Object"
	KindExternal Kind = "External"
	// KindRedis and KindKafka are backlogs.
	KindRedis Kind = "Redis"
	KindKafka Kind = "Kafka"
	// KindAutoscaler stands for what the target's autoscaler looks at: Expand puts
	// that in its place.
	KindAutoscaler Kind = "Autoscaler"
	// KindGiven is a number that somebody has read already: Sample.With adds it.
	KindGiven Kind = "Given"
)

// Spec is one signal of a LendingPolicy, resolved. The fields that belong to its
// Kind are set, and no others.
type Spec struct {
	// Name is how verdicts call the signal: the field's path, with something after
	// it where one field gives several signals.
	Name string
	Kind Kind

	// Profile, with MatchLabels that its series must have; KindProfile and KindScrape.
	// Slots is 0 where the engine is asked. Latency is the P99 above which units are
	// taken back; 0: not looked at.
	Profile string
	Slots   float64
	// SlotsMost is how many requests a replica serves at once at most, whatever is said
	// of slots: 0 is no bound.
	SlotsMost   float64
	Latency     time.Duration
	MatchLabels map[string]string
	// Port and Path of a pod's metrics; KindScrape.
	Port int32
	Path string

	// Query and what several series of it become; KindQuery.
	Query     string
	Aggregate v1alpha1.Aggregate

	// Metric of KindPods, KindObject and KindExternal; MatchLabels select it. Pods are
	// the names of the target's ready pods: they are filled in when it is read.
	Metric string
	Object v1alpha1.TargetRef
	Pods   []string

	Redis v1alpha1.RedisList
	Kafka v1alpha1.KafkaLag

	// Low and High water of a value in its own unit, and how much of it one replica
	// should have; 0: that is not known. Not for profiles, which have marks of their own.
	Low, High, PerReplica float64
}

// asked returns the spec as far as it changes what is asked.
func (s Spec) asked() Spec {
	s.Low, s.High, s.PerReplica, s.Slots, s.SlotsMost = 0, 0, 0, 0, 0
	return s
}

// ofProfile says whether the spec is a profile, however it is read.
func (s Spec) ofProfile() bool { return s.Kind == KindProfile || s.Kind == KindScrape }

// Specs resolves the signals of a policy, in their order. It fails on what the API
// server's validation would have refused too, and on what only the profiles know,
// naming the field.
func Specs(signals []v1alpha1.Signal) ([]Spec, error) {
	specs := make([]Spec, 0, len(signals))
	requests := "" // the profile that gives the requests in flight
	for i := range signals {
		path := fmt.Sprintf("spec.signals[%d]", i)
		spec, err := resolve(path, &signals[i])
		if err != nil {
			return nil, err
		}
		if spec.ofProfile() && profiles[spec.Profile].requests() {
			if requests != "" {
				return nil, fmt.Errorf("%s.profile: profile %s gives requests in flight, and so does %s: a policy can have one such profile", path, spec.Profile, requests)
			}
			requests = spec.Profile
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// Expand puts what a target's autoscaler looks at in the place of every spec of
// KindAutoscaler. With nothing to put there, such a spec stays, and is not known.
func Expand(specs, autoscaler []Spec) []Spec {
	if len(autoscaler) == 0 {
		return specs
	}
	var expanded []Spec
	for _, s := range specs {
		if s.Kind == KindAutoscaler {
			expanded = append(expanded, autoscaler...)
		} else {
			expanded = append(expanded, s)
		}
	}
	return expanded
}

func resolve(path string, s *v1alpha1.Signal) (Spec, error) {
	spec := Spec{Name: path, MatchLabels: s.MatchLabels}
	source, more := source(s)
	if more {
		return Spec{}, fmt.Errorf("%s: exactly one of profile, query, pods, object, external, redis, kafka and autoscaler must be set", path)
	}
	if err := foreign(path, source, s); err != nil {
		return Spec{}, err
	}
	switch spec.Kind = source; source {
	case KindProfile:
		return resolveProfile(spec, s)
	case KindAutoscaler:
		return spec, nil
	case KindQuery:
		spec.Query, spec.Aggregate = s.Query, s.Aggregate
		if !slices.Contains([]v1alpha1.Aggregate{"", v1alpha1.AggregateSum, v1alpha1.AggregateMax}, s.Aggregate) {
			return Spec{}, fmt.Errorf("%s.aggregate: %q is neither Sum nor Max", path, s.Aggregate)
		}
	case KindPods:
		spec.Metric = s.Pods.Metric
	case KindExternal:
		spec.Metric = s.External.Metric
	case KindObject:
		spec.Metric, spec.Object = s.Object.Metric, s.Object.Object
	case KindRedis:
		spec.Redis = *s.Redis
	case KindKafka:
		spec.Kafka = *s.Kafka
	}
	return spec, spec.marks(s)
}

// source is the one that is set; more says that it is not exactly one.
func source(s *v1alpha1.Signal) (kind Kind, more bool) {
	var set []Kind
	for _, c := range []struct {
		kind Kind
		is   bool
	}{
		{KindProfile, s.Profile != ""}, {KindQuery, s.Query != ""}, {KindPods, s.Pods != nil},
		{KindObject, s.Object != nil}, {KindExternal, s.External != nil}, {KindRedis, s.Redis != nil},
		{KindKafka, s.Kafka != nil}, {KindAutoscaler, s.Autoscaler != nil && *s.Autoscaler},
	} {
		if c.is {
			set = append(set, c.kind)
		}
	}
	if len(set) != 1 {
		return "", true
	}
	return set[0], false
}

// foreign says which field is set that belongs to another source: one that was ignored
// would look as if it did something.
func foreign(path string, source Kind, s *v1alpha1.Signal) error {
	for _, f := range []struct {
		field     string
		set       bool
		belongsTo []Kind
	}{
		{"slots", s.Slots != 0, []Kind{KindProfile}},
		{"scrape", s.Scrape != nil, []Kind{KindProfile}},
		{"latency", s.Latency != nil, []Kind{KindProfile}},
		{"aggregate", s.Aggregate != "", []Kind{KindQuery}},
		{"matchLabels", len(s.MatchLabels) > 0, []Kind{KindProfile, KindPods, KindExternal}},
	} {
		if f.set && !slices.Contains(f.belongsTo, source) {
			return fmt.Errorf("%s.%s: belongs to %s, and the signal's source is %s", path, f.field, either(f.belongsTo), strings.ToLower(string(source)))
		}
	}
	if source == KindAutoscaler && (s.LowWater != "" || s.HighWater != "" || s.PerReplica != "") {
		return fmt.Errorf("%s: an autoscaler has marks of its own: lowWater, highWater and perReplica belong to a value", path)
	}
	return nil
}

// either lists sources by the names of their fields.
func either(kinds []Kind) string {
	var names []string
	for _, k := range kinds {
		names = append(names, strings.ToLower(string(k)))
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " or " + names[n-1]
	}
	return strings.Join(names, "")
}

func resolveProfile(spec Spec, s *v1alpha1.Signal) (Spec, error) {
	p, ok := LookupProfile(s.Profile)
	if !ok {
		return Spec{}, fmt.Errorf("%s.profile: %q is not a known profile; want %s", spec.Name, s.Profile, strings.Join(ProfileNames(), ", "))
	}
	spec.Profile, spec.Slots = p.Name, float64(s.Slots)
	if s.Scrape != nil {
		if p.Port == 0 {
			return Spec{}, fmt.Errorf("%s.scrape: the service's own pods do not serve the metrics of profile %s", spec.Name, p.Name)
		}
		spec.Kind = KindScrape
		spec.Port, spec.Path = cmp.Or(s.Scrape.Port, p.Port), cmp.Or(s.Scrape.Path, p.Path)
	}
	if err := p.accepts(spec.Name, s); err != nil {
		return Spec{}, err
	}
	if s.Latency != nil {
		spec.Latency = s.Latency.Duration
	}
	return spec, nil
}

// marks reads the numbers of a value.
func (spec *Spec) marks(s *v1alpha1.Signal) error {
	var err error
	if spec.Low, err = number(spec.Name+".lowWater", s.LowWater); err != nil {
		return err
	}
	if spec.High, err = number(spec.Name+".highWater", s.HighWater); err != nil {
		return err
	}
	if spec.Low >= spec.High {
		return fmt.Errorf("%s: lowWater must be below highWater", spec.Name)
	}
	if s.PerReplica == "" {
		return nil
	}
	if spec.PerReplica, err = number(spec.Name+".perReplica", s.PerReplica); err != nil {
		return err
	}
	if spec.PerReplica == 0 {
		return fmt.Errorf("%s.perReplica: must be above 0", spec.Name)
	}
	return nil
}

func number(path, text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !plausible(v) {
		return 0, fmt.Errorf("%s: %q is not a number from 0 to 1e15", path, text)
	}
	return v, nil
}
