package jobs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// podSet is pods of a job that are made from one template.
type podSet struct {
	// name is its own within the job, and field is where its template stands.
	name, field string
	// pods run at once; with min of them the job can go on. min is pods where it cannot
	// do with fewer.
	pods, min int64
	template  corev1.PodTemplateSpec
}

// asks are the units that one of the pods asks for.
func (s *podSet) asks() map[corev1.ResourceName]int64 {
	asks := map[corev1.ResourceName]int64{}
	see := func(list corev1.ResourceList) {
		for name := range list {
			if !strings.Contains(string(name), "/") {
				continue // what every node has
			}
			if n := UnitsOf(&s.template.Spec, name); n > 0 {
				asks[name] = n
			}
		}
	}
	for _, containers := range [][]corev1.Container{s.template.Spec.Containers, s.template.Spec.InitContainers} {
		for i := range containers {
			see(containers[i].Resources.Requests)
			see(containers[i].Resources.Limits)
		}
	}
	for _, name := range v1alpha1.ClaimedResources(&s.template.Spec) {
		asks[name] = UnitsOf(&s.template.Spec, name)
	}
	return asks
}

// asking are the sets whose pods ask for units.
func asking(sets []podSet) []podSet {
	var ask []podSet
	for i := range sets {
		if sets[i].pods > 0 && len(sets[i].asks()) > 0 {
			ask = append(ask, sets[i])
		}
	}
	return ask
}

// setGang works out the job's gang. If none of the pods asks for units, all of them
// count: what is wrong with that is said where the flavors are known.
func (j *Job) setGang(sets []podSet) {
	gang := asking(sets)
	for i := range gang {
		if why := unlike(&gang[0], &gang[i]); why != "" {
			j.problem("%s", why)
		}
	}
	if len(gang) == 0 {
		gang = sets
	}
	j.Pods, j.MinPods = 0, 0
	for i := range gang {
		set := &gang[i]
		if i == 0 {
			j.Template = set.template
		}
		j.Pods += set.pods
		j.MinPods += min(set.min, set.pods)
	}
	if j.MinPods >= j.Pods {
		j.MinPods = 0
	}
}

// unlike says how the pods of two sets differ in what matters for where they may run.
func unlike(a, b *podSet) string {
	switch {
	case !maps.Equal(a.asks(), b.asks()):
		return fmt.Sprintf("all pods of a gang that ask for units must ask for the same: those of %s ask for %s, those of %s for %s",
			a.field, text(a.asks()), b.field, text(b.asks()))
	case !maps.Equal(a.template.Spec.NodeSelector, b.template.Spec.NodeSelector):
		return fmt.Sprintf("all pods of a gang that ask for units must have the same nodeSelector: those of %s and of %s do not", a.field, b.field)
	case a.template.Spec.PriorityClassName != b.template.Spec.PriorityClassName:
		return fmt.Sprintf("all pods of a gang that ask for units must have the same priorityClassName: those of %s and of %s do not", a.field, b.field)
	}
	return ""
}

// text names resources in order.
func text(asks map[corev1.ResourceName]int64) string {
	if len(asks) == 0 {
		return "none"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(asks)) {
		parts = append(parts, fmt.Sprintf("%d %s", asks[name], name))
	}
	return strings.Join(parts, ", ")
}

// problem notes what is wrong, unless something is already.
func (j *Job) problem(format string, args ...any) {
	if j.Problem == "" {
		j.Problem = fmt.Sprintf(format, args...)
	}
}

// smaller shares fewer pods with units out among the sets: those give first of which
// pods are on their way out, and then those that stand last. It returns the new sizes of
// those that change. That the job can do with so few has been seen.
func smaller(sets []podSet, pods int64, going map[string][]string) sizes {
	gang := asking(sets)
	over := -pods
	for i := range gang {
		over += gang[i].pods
	}
	changed := sizes{}
	give := func(set *podSet, n int64) {
		if n = min(n, set.pods-min(set.min, set.pods), over); n > 0 {
			set.pods -= n
			over -= n
			changed[set.name] = set.pods
		}
	}
	for i := range gang {
		give(&gang[i], int64(len(going[gang[i].name])))
	}
	for i := len(gang) - 1; i >= 0; i-- {
		give(&gang[i], over)
	}
	return changed
}
