package jobs

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// templateIn reads the pod template of a map.
func templateIn(of map[string]any, path ...string) (corev1.PodTemplateSpec, error) {
	var template corev1.PodTemplateSpec
	found, _, err := unstructured.NestedFieldNoCopy(of, path...)
	if err != nil {
		return template, err
	}
	fields, ok := found.(map[string]any)
	if !ok {
		return template, errors.New("there is no pod template")
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &template); err != nil {
		return template, fmt.Errorf("read the pod template: %w", err)
	}
	return template, nil
}

// numberIn reads a whole number of a map, or else says what it is by default.
func numberIn(of map[string]any, byDefault int64, path ...string) int64 {
	n, found, err := unstructured.NestedInt64(of, path...)
	if !found || err != nil {
		return byDefault
	}
	return n
}

// itemsIn reads the objects of a list.
func itemsIn(of map[string]any, path ...string) []map[string]any {
	found, _, _ := unstructured.NestedFieldNoCopy(of, path...)
	list, _ := found.([]any)
	var items []map[string]any
	for _, item := range list {
		if fields, ok := item.(map[string]any); ok {
			items = append(items, fields)
		}
	}
	return items
}

// hasCondition tells whether one of the conditions is true.
func hasCondition(o *unstructured.Unstructured, kinds ...string) bool {
	for _, c := range itemsIn(o.Object, "status", "conditions") {
		for _, kind := range kinds {
			if c["type"] == kind && c["status"] == string(corev1.ConditionTrue) {
				return true
			}
		}
	}
	return false
}
