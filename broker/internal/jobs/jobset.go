package jobs

import (
	"fmt"
	"iter"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

var kindJobSet = schema.GroupVersionKind{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"}

// jobSet: a suspension suspends the Jobs that it made, whose pods are then removed
// without a failure; spec.failurePolicy.maxRestarts counts failed Jobs alone. Its
// controller changes conditions of its own only.
func jobSet() *about {
	return &about{
		kind: kindJobSet, suspend: []string{"spec", "suspend"}, conditions: true,
		ended: func(o *unstructured.Unstructured) bool { return hasCondition(o, "Completed", "Failed") },
		sets:  func(o, _ *unstructured.Unstructured) ([]podSet, string, error) { return jobSetSets(o) },
		jobs:  true,
	}
}

func jobSetSets(o *unstructured.Unstructured) (sets []podSet, problem string, err error) {
	jobs := itemsIn(o.Object, "spec", "replicatedJobs")
	for _, job := range jobs {
		name, _, _ := unstructured.NestedString(job, "name")
		set := podSet{name: name, field: fmt.Sprintf("spec.replicatedJobs[%s].template", name)}
		if set.template, err = templateIn(job, "template", "spec", "template"); err != nil {
			return nil, "", fmt.Errorf("%s: %w", set.field, err)
		}
		pods := numberIn(job, 1, "template", "spec", "parallelism")
		pods = min(pods, numberIn(job, pods, "template", "spec", "completions"))
		set.pods = numberIn(job, 1, "replicas") * pods
		set.min = set.pods
		sets = append(sets, set)
	}
	if problem = apart(o, jobs, sets); problem == "" {
		problem = oneAfterAnother(o, jobs, sets)
	}
	return sets, problem, nil
}

// annotationExclusive of a JobSet, or of one of its Jobs, keeps the pods of others off
// where its own are, which it tells apart by a label with their priority.
const annotationExclusive = "alpha.jobset.sigs.k8s.io/exclusive-topology"

// apart says that no pod could be made: a label cannot be a number below 0.
func apart(o *unstructured.Unstructured, jobs []map[string]any, sets []podSet) string {
	for i, job := range jobs {
		annotations, _, _ := unstructured.NestedStringMap(job, "template", "metadata", "annotations")
		_, one := annotations[annotationExclusive]
		_, all := o.GetAnnotations()[annotationExclusive]
		if (one || all) && sets[i].template.Spec.PriorityClassName == v1alpha1.PriorityClassBorrower {
			return fmt.Sprintf("%s.spec.priorityClassName: JobSet's annotation %s does not work with pods of a priority below 0, which that of %s is; %s has 0",
				sets[i].field, annotationExclusive, v1alpha1.PriorityClassBorrower, v1alpha1.PriorityClassTraining)
		}
	}
	return ""
}

// oneAfterAnother says why not all pods with units run at the same time: a gang must.
func oneAfterAnother(o *unstructured.Unstructured, jobs []map[string]any, sets []podSet) string {
	gang := asking(sets)
	order, _, _ := unstructured.NestedString(o.Object, "spec", "startupPolicy", "startupPolicyOrder")
	if order == "InOrder" && len(gang) > 1 {
		return fmt.Sprintf("spec.startupPolicy.startupPolicyOrder: the pods of %s start after those of %s are ready; those of a gang start together",
			gang[1].field, gang[0].field)
	}
	on := map[string][]string{}
	for _, job := range jobs {
		name, _, _ := unstructured.NestedString(job, "name")
		for _, first := range itemsIn(job, "dependsOn") {
			before, _, _ := unstructured.NestedString(first, "name")
			on[name] = append(on[name], before)
		}
	}
	for i := range gang {
		for before := range allBefore(gang[i].name, on) {
			if slices.ContainsFunc(gang, func(s podSet) bool { return s.name == before }) {
				return fmt.Sprintf("spec.replicatedJobs[%s].dependsOn: its pods start after those of %s; those of a gang start together", gang[i].name, before)
			}
		}
	}
	return ""
}

// allBefore are those that one waits for, and those that these wait for, and so on.
func allBefore(name string, on map[string][]string) iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for next := []string{name}; len(next) > 0; next = next[1:] {
			for _, before := range on[next[0]] {
				if seen[before] {
					continue
				}
				seen[before] = true
				next = append(next, before)
				if !yield(before) {
					return
				}
			}
		}
	}
}
