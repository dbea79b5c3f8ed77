package autoscaler

import (
	"cmp"
	"slices"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Ref names a workload.
type Ref struct{ Namespace, Group, Kind, Name string }

// refOf is the target that an object's reference names.
func refOf(namespace, apiVersion, kind, name string) Ref {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return Ref{}
	}
	return Ref{namespace, gv.Group, kind, name}
}

// Autoscaler is what one autoscaler says about its target.
type Autoscaler struct {
	Kind, Name string
	// Desired replicas; 0 if it says nothing.
	Desired int64
	// Min and Max replicas that it keeps to. Max 0: none is set.
	Min, Max int64
	// Blind says why it cannot tell what its target needs; empty if it can.
	Blind string
	// AtMax: it would want more replicas than it may.
	AtMax bool
	// Paused: somebody told it to leave the replicas alone.
	Paused bool
	// CPUOnly: it looks at CPU and at nothing else.
	CPUOnly bool
	// Crons are the times for which it keeps replicas.
	Crons []Cron
	// Slots is how many requests one replica is let have at once; 0: not limited.
	Slots int64

	metrics []metric
}

// String is how messages call it.
func (a *Autoscaler) String() string { return a.Kind + " " + a.Name }

// Cron is a number of replicas that an autoscaler keeps at times that come again.
type Cron struct {
	// Name is how verdicts call it.
	Name                 string
	Start, End, Timezone string
	Replicas             int64
}

// Opinion is what all autoscalers of one target say. The zero Opinion is that there is
// none.
type Opinion struct {
	// All of them, by kind and name.
	All []Autoscaler
	// Desired and Max are the highest of theirs, Min too.
	Desired, Min, Max int64
	// Blind and Slots are those of the first that has any.
	Blind string
	Slots int64
	// AtMax and Paused are the first that is; nil: none.
	AtMax, Paused *Autoscaler
	// Notes are what the target's owner should know, though nothing is decided by it.
	Notes []string
}

// None: nothing scales the target.
func (o *Opinion) None() bool { return len(o.All) == 0 }

// Names of all, for messages.
func (o *Opinion) Names() string {
	names := make([]string, len(o.All))
	for i := range o.All {
		names[i] = o.All[i].String()
	}
	return strings.Join(names, " and ")
}

// Set is all autoscalers of a cluster, by what they scale.
type Set struct {
	all map[Ref][]Autoscaler
}

// NewSet reads the objects. It changes none of them.
func NewSet(hpas []autoscalingv2.HorizontalPodAutoscaler, found *Found) *Set {
	s := &Set{all: map[Ref][]Autoscaler{}}
	metrics := map[types.NamespacedName]*autoscalingv2.HorizontalPodAutoscaler{}
	for i := range hpas {
		hpa := &hpas[i]
		if so := scaledObjectOf(hpa); so != "" {
			metrics[types.NamespacedName{Namespace: hpa.Namespace, Name: so}] = hpa
		}
		ref := hpa.Spec.ScaleTargetRef
		s.add(refOf(hpa.Namespace, ref.APIVersion, ref.Kind, ref.Name), ofHPA(hpa))
	}
	found.each(ScaledObjects, func(o *unstructured.Unstructured) {
		hpa := metrics[types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}]
		s.add(ofScaledObject(o, hpa))
	})
	found.each(VariantAutoscalings, func(o *unstructured.Unstructured) { s.add(ofVariant(o)) })
	s.knative(found)
	for _, list := range s.all {
		slices.SortFunc(list, func(a, b Autoscaler) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
		})
	}
	return s
}

func (s *Set) add(ref Ref, a Autoscaler) {
	if ref != (Ref{}) {
		s.all[ref] = append(s.all[ref], a)
	}
}

// Of is what all autoscalers of the target say.
func (s *Set) Of(ref Ref) Opinion {
	o := Opinion{All: s.all[ref]}
	for i := range o.All {
		a := &o.All[i]
		o.Desired, o.Min, o.Max = max(o.Desired, a.Desired), max(o.Min, a.Min), max(o.Max, a.Max)
		o.Blind, o.Slots = cmp.Or(o.Blind, a.Blind), cmp.Or(o.Slots, a.Slots)
		if a.AtMax && o.AtMax == nil {
			o.AtMax = a
		}
		if a.Paused && o.Paused == nil {
			o.Paused = a
		}
		if a.CPUOnly {
			o.Notes = append(o.Notes, a.String()+" looks at CPU only: inference can saturate its GPUs at low CPU, so it may scale up too late")
		}
	}
	return o
}

// integer is a number at a path of an object; ok is false if there is none.
func integer(o *unstructured.Unstructured, path ...string) (n int64, ok bool) {
	value, found, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	if err != nil || !found {
		return 0, false
	}
	switch v := value.(type) {
	case int64:
		return v, true
	case float64:
		return int64(v), true
	}
	return 0, false
}

func text(o *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, path...)
	return s
}

// Condition is the status and the reason of one of an object's conditions; empty if it
// has none of that type.
func Condition(o *unstructured.Unstructured, kind string) (status, reason string) {
	value, _, _ := unstructured.NestedFieldNoCopy(o.Object, "status", "conditions")
	list, _ := value.([]any)
	for _, item := range list {
		if c, ok := item.(map[string]any); ok && c["type"] == kind {
			status, _ = c["status"].(string)
			reason, _ = c["reason"].(string)
			return status, reason
		}
	}
	return "", ""
}
