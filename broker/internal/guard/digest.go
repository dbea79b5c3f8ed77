package guard

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// shipped are the digests of deploy/kustomize/cluster, by "Kind name".
//
//go:embed policies.json
var shipped []byte

// Shipped is what lending relies on: the digest of each policy and binding that every
// install has, by "Kind name".
func Shipped() map[string]string {
	var out map[string]string
	if err := json.Unmarshal(shipped, &out); err != nil {
		panic(fmt.Sprintf("the embedded list of policies: %v", err)) // a test reads it
	}
	return out
}

// wanted is Shipped, with what an administrator stands by instead.
func wanted(accept map[string]string) map[string]string {
	out := Shipped()
	maps.Copy(out, accept)
	return out
}

// Digest names what a policy or a binding says, whether the API server has filled in its
// defaults or not. Of other objects it is empty.
func Digest(o client.Object) string {
	var spec any
	switch o := o.DeepCopyObject().(type) {
	case *registration.ValidatingAdmissionPolicy:
		o.Spec.FailurePolicy = ptr.To(ptr.Deref(o.Spec.FailurePolicy, registration.Fail))
		fill(o.Spec.MatchConstraints)
		spec = o.Spec
	case *registration.MutatingAdmissionPolicy:
		o.Spec.FailurePolicy = ptr.To(ptr.Deref(o.Spec.FailurePolicy, registration.Fail))
		fill(o.Spec.MatchConstraints)
		spec = o.Spec
	case *registration.ValidatingAdmissionPolicyBinding:
		fill(o.Spec.MatchResources)
		spec = o.Spec
	case *registration.MutatingAdmissionPolicyBinding:
		fill(o.Spec.MatchResources)
		spec = o.Spec
	default:
		return ""
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return "" // equal to nothing
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// fill sets the defaults of the API server.
func fill(m *registration.MatchResources) {
	if m == nil {
		return
	}
	m.MatchPolicy = ptr.To(ptr.Deref(m.MatchPolicy, registration.Equivalent))
	for _, selector := range []**metav1.LabelSelector{&m.NamespaceSelector, &m.ObjectSelector} {
		if *selector == nil {
			*selector = &metav1.LabelSelector{}
		}
	}
	for _, rules := range [][]registration.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			rules[i].Scope = ptr.To(ptr.Deref(rules[i].Scope, registration.AllScopes))
		}
	}
}
