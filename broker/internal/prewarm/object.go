package prewarm

import (
	"fmt"
	"hash/fnv"
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilrand "k8s.io/apimachinery/pkg/util/rand"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/autoscaler"
)

// Labels and annotations of what hooks create.
const (
	// LabelPolicy is the policy's name; a name that is no label value is shortened.
	LabelPolicy = "ebbtide.dev/policy"
	// LabelHook is a Purpose.
	LabelHook = "ebbtide.dev/hook"
	// AnnotationFor is what a BeforeReturn is for: the start of a window in UTC, or
	// "reclaim".
	AnnotationFor = "ebbtide.dev/hook-for"
)

// Purpose is which of a policy's hooks.
type Purpose string

// The purposes.
const (
	BeforeLend   Purpose = "before-lend"
	BeforeReturn Purpose = "before-return"
)

// short is the purpose's part of names.
func (p Purpose) short() string { return strings.TrimPrefix(string(p), "before-") }

const (
	// mostOfName is how much of the policy's name is in an object's: whole names stay
	// below 40 characters, since controllers append to them.
	mostOfName = 26
	// mostOfLabel is the longest value of a label.
	mostOfLabel = 63
)

// Kind is a kind of which hooks may create objects.
type Kind struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

func (k Kind) String() string { return k.Kind + " of " + k.APIVersion }

// build makes the object that a hook creates.
func build(policy *v1alpha1.LendingPolicy, purpose Purpose, hook *v1alpha1.Hook, why string) (*unstructured.Unstructured, error) {
	var content map[string]any
	if err := utiljson.Unmarshal(hook.Template.Raw, &content); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	o := &unstructured.Unstructured{Object: content}
	if o.GetAPIVersion() == "" || o.GetKind() == "" {
		return nil, fmt.Errorf("template: must have an apiVersion and a kind")
	}
	labels, annotations := maps.Clone(o.GetLabels()), maps.Clone(o.GetAnnotations())
	if labels == nil {
		labels = map[string]string{}
	}
	labels[LabelPolicy], labels[LabelHook] = labelOf(policy.Name), string(purpose)
	if why != "" {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[AnnotationFor] = why
	}
	delete(o.Object, "metadata")
	delete(o.Object, "status")
	o.SetNamespace(policy.Namespace)
	o.SetName(fmt.Sprintf("%s-%s-%s", start(policy.Name, mostOfName), purpose.short(), utilrand.String(5)))
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
	o.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "LendingPolicy", Name: policy.Name, UID: policy.UID,
	}})
	return o, nil
}

// start is the beginning of a name, such that a dash may follow.
func start(name string, most int) string {
	return strings.TrimRight(name[:min(len(name), most)], "-.")
}

// labelOf is a name as the value of a label.
func labelOf(name string) string {
	if len(name) <= mostOfLabel {
		return name
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(name))
	return fmt.Sprintf("%s-%08x", start(name, mostOfLabel-9), sum.Sum32())
}

// ready tells whether the object is what the hook waits for.
func ready(o *unstructured.Unstructured, until *v1alpha1.HookUntil) bool {
	if until.Condition != "" {
		status, _ := autoscaler.Condition(o, until.Condition)
		return status == string(metav1.ConditionTrue)
	}
	path := strings.Split(strings.TrimPrefix(until.Field, "."), ".")
	value, found, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	return err == nil && found && value != nil && fmt.Sprint(value) == until.Value
}

// wanted is what the hook waits for, in words.
func wanted(until *v1alpha1.HookUntil) string {
	if until.Condition != "" {
		return "its condition " + until.Condition
	}
	return until.Field + " to be " + until.Value
}

// owned tells whether the object was made for this policy, and not for an earlier one
// of its name.
func owned(o *unstructured.Unstructured, policy *v1alpha1.LendingPolicy) bool {
	for _, ref := range o.GetOwnerReferences() {
		if ref.UID == policy.UID {
			return true
		}
	}
	return false
}
