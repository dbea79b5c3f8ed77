package manifest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	groupAdmission = "admissionregistration.k8s.io"
	kindValidating = "ValidatingAdmissionPolicy"
	kindMutating   = "MutatingAdmissionPolicy"
	kindBinding    = "Binding" // suffix of both kinds
	sentinelName   = "ebbtide-lab-sentinel"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// enforced waits until the API server acts on the admission policies among
// objects.
//
// The server learns of policies through a watch and swaps them in as a whole, up
// to a second later, and reports this nowhere. So a sentinel policy of the same
// kind is applied after them: policies arrive in the order in which they were
// written, hence once the sentinel acts, so do they. What the sentinel is tried
// on is a dry run under a name drawn for the purpose.
func (a *Applier) enforced(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, kind := range []string{kindValidating, kindMutating} {
		if !holdsPolicy(objects, kind) {
			continue
		}
		nonce := fmt.Sprintf("%s-%016x", sentinelName, rand.Uint64())
		if err := a.applyAll(ctx, sentinel(kind, nonce)); err != nil {
			return err
		}
		for !a.sentinelActs(ctx, kind, nonce) {
			if err := pause(ctx, settleInterval); err != nil {
				return fmt.Errorf("wait until each %s is enforced: %w", kind, err)
			}
		}
	}
	return nil
}

func holdsPolicy(objects []*unstructured.Unstructured, kind string) bool {
	for _, obj := range objects {
		gvk := obj.GroupVersionKind()
		if gvk.Group == groupAdmission && (gvk.Kind == kind || gvk.Kind == kind+kindBinding) {
			return true
		}
	}
	return false
}

// sentinel returns a policy of the kind, and its binding, that acts on the
// creation of a ConfigMap called nonce and on nothing else.
func sentinel(kind, nonce string) []*unstructured.Unstructured {
	object := func(kind string, spec map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": groupAdmission + "/v1",
			"kind":       kind,
			"metadata":   map[string]any{"name": sentinelName},
			"spec":       spec,
		}}
	}
	policy := map[string]any{
		"failurePolicy": "Fail",
		"matchConstraints": map[string]any{
			"resourceRules": []any{map[string]any{
				"apiGroups": []any{""}, "apiVersions": []any{"v1"},
				"operations": []any{"CREATE"}, "resources": []any{"configmaps"},
			}},
		},
		"matchConditions": []any{map[string]any{
			"name": "sentinel", "expression": fmt.Sprintf("object.metadata.name == %q", nonce),
		}},
	}
	// Policies and bindings arrive by watches of their own: the sentinel acts only when
	// both have come so far.
	binding := map[string]any{"policyName": sentinelName, "matchResources": map[string]any{
		"resourceRules": []any{map[string]any{
			"apiGroups": []any{""}, "apiVersions": []any{"v1"},
			"operations": []any{"CREATE"}, "resources": []any{"configmaps"}, "resourceNames": []any{nonce},
		}},
	}}
	if kind == kindValidating {
		policy["validations"] = []any{map[string]any{"expression": "false", "message": "seen"}}
		binding["validationActions"] = []any{"Deny"}
	} else {
		policy["reinvocationPolicy"] = "Never"
		policy["mutations"] = []any{map[string]any{
			"patchType": "JSONPatch",
			"jsonPatch": map[string]any{
				"expression": `[JSONPatch{op: "add", path: "/data", value: {"seen": "yes"}}]`,
			},
		}}
	}
	return []*unstructured.Unstructured{object(kind, policy), object(kind+kindBinding, binding)}
}

func (a *Applier) sentinelActs(ctx context.Context, kind, nonce string) bool {
	probe := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": nonce},
	}}
	made, err := a.client.Resource(configMaps).Namespace(corev1.NamespaceDefault).Create(ctx, probe,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if kind == kindValidating {
		return err != nil && strings.Contains(err.Error(), sentinelName) && apierrors.IsInvalid(err)
	}
	if err != nil {
		return false
	}
	seen, _, err := unstructured.NestedString(made.Object, "data", "seen")
	return err == nil && seen != ""
}
