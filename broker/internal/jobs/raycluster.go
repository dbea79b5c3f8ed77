package jobs

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var kindRayCluster = schema.GroupVersionKind{Group: "ray.io", Version: "v1", Kind: "RayCluster"}

// rayCluster: it never ends by itself. A suspension deletes its pods; it counts no
// restarts. Its controller changes conditions of its own only.
func rayCluster() *about {
	return &about{
		kind: kindRayCluster, suspend: []string{"spec", "suspend"}, conditions: true,
		ended:  func(*unstructured.Unstructured) bool { return false },
		sets:   func(o, _ *unstructured.Unstructured) ([]podSet, string, error) { return raySets(o, "spec") },
		resize: resizeRay, setOf: "ray.io/group",
	}
}

// raySets are the pods of the cluster that stands at path.
func raySets(o *unstructured.Unstructured, path ...string) (sets []podSet, problem string, err error) {
	found, _, _ := unstructured.NestedFieldNoCopy(o.Object, path...)
	cluster, _ := found.(map[string]any)
	field := "spec"
	if len(path) > 1 {
		field = "spec." + path[1]
	}
	head := podSet{name: "", field: field + ".headGroupSpec.template", pods: 1, min: 1}
	if head.template, err = templateIn(cluster, "headGroupSpec", "template"); err != nil {
		return nil, "", fmt.Errorf("%s: %w", head.field, err)
	}
	sets = append(sets, head)
	for _, group := range itemsIn(cluster, "workerGroupSpecs") {
		set, err := rayGroup(group, field)
		if err != nil {
			return nil, "", err
		}
		sets = append(sets, set)
	}
	if on, _, _ := unstructured.NestedBool(cluster, "enableInTreeAutoscaling"); on {
		problem = field + ".enableInTreeAutoscaling: with it Ray changes the cluster's size, which then is not the one that was admitted"
	}
	return sets, problem, nil
}

// rayGroup is a group of workers. It is elastic if it says with how many it can do;
// that it needs none is what the API has by default, and says nothing. A replica of
// several hosts comes and goes as a whole.
func rayGroup(group map[string]any, field string) (set podSet, err error) {
	name, _, _ := unstructured.NestedString(group, "groupName")
	set = podSet{name: name, field: fmt.Sprintf("%s.workerGroupSpecs[%s].template", field, name)}
	if set.template, err = templateIn(group, "template"); err != nil {
		return set, fmt.Errorf("%s: %w", set.field, err)
	}
	if stopped, _, _ := unstructured.NestedBool(group, "suspend"); stopped {
		return set, nil
	}
	least := numberIn(group, 0, "minReplicas")
	replicas := max(numberIn(group, least, "replicas"), least)
	replicas = min(replicas, max(numberIn(group, replicas, "maxReplicas"), 0))
	hosts := max(numberIn(group, 1, "numOfHosts"), 1)
	set.pods = replicas * hosts
	set.min = set.pods
	if least >= 1 && hosts == 1 {
		set.min = min(least, set.pods)
	}
	return set, nil
}

// resizeRay writes the groups anew: a merge patch has lists as a whole. Workers that are
// going are named, or KubeRay would count them as running and stop as many others.
func resizeRay(o *unstructured.Unstructured, fields map[string]any, to sizes, going map[string][]string) error {
	found, _, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "workerGroupSpecs")
	list, _ := found.([]any)
	groups := runtime.DeepCopyJSONValue(list).([]any)
	changed := false
	for _, item := range groups {
		group, ok := item.(map[string]any)
		if !ok {
			continue
		}
		name, _, _ := unstructured.NestedString(group, "groupName")
		pods, changes := to[name]
		if !changes || name == "" || numberIn(group, 1, "numOfHosts") > 1 {
			continue
		}
		group["replicas"] = pods
		if err := unstructured.SetNestedStringSlice(group, going[name], "scaleStrategy", "workersToDelete"); err != nil {
			return fmt.Errorf("workerGroupSpecs[%s]: %w", name, err)
		}
		changed = true
	}
	if !changed {
		return nil
	}
	return unstructured.SetNestedSlice(fields, groups, "spec", "workerGroupSpecs")
}
