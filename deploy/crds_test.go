package deploy_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

func ebbtideResource(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "ebbtide.dev", Version: "v1alpha1", Resource: plural}
}

// ebbtideObject reads the YAML of one of Ebbtide's kinds; namespaced kinds are
// given the test's namespace by the client.
func ebbtideObject(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(spec), &object.Object); err != nil {
		t.Fatalf("read the test's own YAML: %v", err)
	}
	if object.Object == nil {
		object.Object = map[string]any{}
	}
	object.SetAPIVersion("ebbtide.dev/v1alpha1")
	object.SetKind(kind)
	object.SetName(name)
	return object
}

// What the reference shows of a LendingPolicy is accepted as it stands there.
func TestDocumentedLendingPolicyIsAccepted(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/lendingpolicy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil || !found {
		t.Fatalf("read the page's YAML: %v", err)
	}
	c := testCluster(t)
	namespace := c.namespace(t)
	object.SetNamespace(namespace)
	_, err = c.ebbtide(t, administrator, "lendingpolicies", true, namespace).Create(t.Context(), object,
		metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict, DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Error(err)
	}
}

// The shortest form a user may write is accepted, and what was left out is
// filled in.
func TestShortestFormGetsDefaults(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	tests := []struct {
		name, kind, plural string
		namespaced         bool
		short, want        string
	}{{
		name: "LendingPolicy", kind: "LendingPolicy", plural: "lendingpolicies", namespaced: true,
		short: `spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}}`,
		want: `
targetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}
mode: Lend
signals: [{profile: vllm}]
lowWater: 30%
highWater: 70%
dwell: 5m
cooldown: 5m
headroom: {warm: 1, quantile: "0.99", refill: Always}
scaling: {mode: Observe, min: 1}
reclaim: {maxGrace: 60s}
`,
	}, {
		name: "LendingPolicy with empty groups", kind: "LendingPolicy", plural: "lendingpolicies", namespaced: true,
		short: `spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}, headroom: {}, reclaim: {}}`,
		want: `
targetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}
mode: Lend
signals: [{profile: vllm}]
lowWater: 30%
highWater: 70%
dwell: 5m
cooldown: 5m
headroom: {warm: 1, quantile: "0.99", refill: Always}
scaling: {mode: Observe, min: 1}
reclaim: {maxGrace: 60s}
`,
	}, {
		name: "TenantQuota", kind: "TenantQuota", plural: "tenantquotas",
		short: `spec: {namespaces: {matchLabels: {team: a}}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 16}]}`,
		want: `
namespaces: {matchLabels: {team: a}}
flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 16}]
weight: 1
maxPriorityClass: ebbtide-online
`,
	}, {
		name: "TenantQuota that only borrows", kind: "TenantQuota", plural: "tenantquotas",
		short: `spec: {namespaces: {}, cohort: lab, weight: 0, flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
		want: `
namespaces: {}
cohort: lab
flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 0}]
weight: 0
maxPriorityClass: ebbtide-online
`,
	}, {
		name: "TenantQuota with slices", kind: "TenantQuota", plural: "tenantquotas",
		short: `
spec:
  namespaces: {}
  flavors:
  - {name: h100, resource: nvidia.com/gpu, nominal: 16}
  - {name: h100-1g, resource: nvidia.com/mig-1g.10gb, sliceOf: h100, slices: {compute: 1, memory: 1}}
`,
		want: `
namespaces: {}
flavors:
- {name: h100, resource: nvidia.com/gpu, nominal: 16}
- {name: h100-1g, resource: nvidia.com/mig-1g.10gb, nominal: 0, sliceOf: h100, slices: {compute: 1, memory: 1}}
weight: 1
maxPriorityClass: ebbtide-online
`,
	}, {
		name: "cohort without a quota", kind: "TenantQuota", plural: "tenantquotas",
		short: `spec: {}`,
		want:  `{flavors: [], weight: 1, maxPriorityClass: ebbtide-online}`,
	}, {
		name: "cohort below another", kind: "TenantQuota", plural: "tenantquotas",
		short: `spec: {parent: lab, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4, lendingLimit: 8}]}`,
		want: `
parent: lab
flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4, lendingLimit: 8}]
weight: 1
maxPriorityClass: ebbtide-online
`,
	}, {
		name: "TrainingQueue", kind: "TrainingQueue", plural: "trainingqueues", namespaced: true,
		short: ``,
		want:  `{order: Priority, backfill: true, weight: 1}`,
	}, {
		name: "TrainingQueue with limits", kind: "TrainingQueue", plural: "trainingqueues", namespaced: true,
		short: `spec: {order: FairShare, drain: true, limits: {jobs: 0, flavors: [{name: h100, units: 0}]}}`,
		want:  `{order: FairShare, backfill: true, drain: true, weight: 1, limits: {jobs: 0, flavors: [{name: h100, units: 0}]}}`,
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			into := c.ebbtide(t, administrator, test.plural, test.namespaced, namespace)
			object := ebbtideObject(t, test.kind, "shortest", test.short)
			made, err := into.Create(t.Context(), object, metav1.CreateOptions{
				DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict,
			})
			if err != nil {
				t.Fatalf("create: %v", err)
			}
			var want map[string]any
			if err := yaml.Unmarshal([]byte(test.want), &want); err != nil {
				t.Fatalf("read the test's own YAML: %v", err)
			}
			if diff := cmp.Diff(numbersAsFloats(t, want), numbersAsFloats(t, made.Object["spec"])); diff != "" {
				t.Errorf("spec after defaulting (-want +got):\n%s", diff)
			}
		})
	}
}

// numbersAsFloats makes two decodings of the same document comparable: one of
// them reads whole numbers as integers.
func numbersAsFloats(t *testing.T, value any) any {
	t.Helper()
	text, err := yaml.Marshal(value)
	if err != nil {
		t.Fatalf("write YAML: %v", err)
	}
	var out any
	if err := yaml.Unmarshal(text, &out); err != nil {
		t.Fatalf("read YAML: %v", err)
	}
	return out
}

const target = `targetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}`

// What one object can get wrong is refused, and the refusal names the field and
// the rule.
func TestBadObjectsAreRefused(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	text, err := os.ReadFile("testdata/refusals.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tests []struct {
		Kind, Name, Spec string
		Want             []string // all of these are in the refusal
	}
	if err := yaml.UnmarshalStrict(text, &tests); err != nil || len(tests) == 0 {
		t.Fatalf("read %d refusals: %v", len(tests), err)
	}
	plurals := map[string]string{
		"LendingPolicy": "lendingpolicies", "TenantQuota": "tenantquotas",
		"TrainingQueue": "trainingqueues", "Loan": "loans",
	}
	for _, test := range tests {
		t.Run(test.Kind+" with "+test.Name, func(t *testing.T) {
			into := c.ebbtide(t, broker, plurals[test.Kind], test.Kind != "TenantQuota", namespace)
			if test.Kind != "Loan" {
				into = c.ebbtide(t, administrator, plurals[test.Kind], test.Kind != "TenantQuota", namespace)
			}
			_, err := into.Create(t.Context(), ebbtideObject(t, test.Kind, "bad", "spec: "+test.Spec),
				metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict, DryRun: []string{metav1.DryRunAll}})
			wantRefusal(t, err, test.Want...)
		})
	}
}

const loanSpec = `{job: {apiVersion: batch/v1, kind: Job, name: train, uid: u-1}, attempt: 1, borrower: research, ` +
	`queue: default, resource: nvidia.com/gpu, pods: 1, unitsPerPod: 8, ` +
	`grants: [{lender: serving/chat, node: gpu-7, flavor: h100, count: 8}], opID: op-1, epoch: 1}`

func TestLoanSpecIsImmutable(t *testing.T) {
	c := testCluster(t)
	loans := c.ebbtide(t, broker, "loans", true, c.namespace(t))
	loan, err := loans.Create(t.Context(), ebbtideObject(t, "Loan", "train-1", "spec: "+loanSpec), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create as the broker: %v", err)
	}
	_, err = loans.Patch(t.Context(), loan.GetName(), types.MergePatchType, []byte(`{"spec": {"attempt": 2}}`), metav1.PatchOptions{})
	wantRefusal(t, err, "spec", "a Loan's spec is immutable")
}

// A tenant does not become a cohort, nor a cohort a tenant; what else an
// administrator changes of either is accepted.
func TestTenantQuotaStaysWhatItIs(t *testing.T) {
	c := testCluster(t)
	quotas := c.ebbtide(t, administrator, "tenantquotas", false, "")
	const h100 = `flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4}]`
	tests := []struct{ name, from, to, want string }{
		{"a tenant becomes a cohort", `{namespaces: {matchLabels: {team: none}}, ` + h100 + `}`, `{` + h100 + `}`, "namespaces cannot be added or removed"},
		{"a cohort becomes a tenant", `{` + h100 + `}`, `{namespaces: {matchLabels: {team: none}}, ` + h100 + `}`, "namespaces cannot be added or removed"},
		{"a tenant gets other namespaces", `{namespaces: {matchLabels: {team: none}}, ` + h100 + `}`, `{namespaces: {matchLabels: {team: nobody}}, ` + h100 + `}`, ""},
		{"a tenant moves to another cohort", `{namespaces: {matchLabels: {team: none}}, cohort: a, ` + h100 + `}`, `{namespaces: {matchLabels: {team: none}}, cohort: b, ` + h100 + `}`, ""},
		{"a cohort loses its quota", `{parent: a, ` + h100 + `}`, `{parent: a}`, ""},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := fmt.Sprintf("transition-%d", i)
			made, err := quotas.Create(t.Context(), ebbtideObject(t, "TenantQuota", name, "spec: "+test.from), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			changed := ebbtideObject(t, "TenantQuota", name, "spec: "+test.to)
			changed.SetResourceVersion(made.GetResourceVersion())
			_, err = quotas.Update(t.Context(), changed, metav1.UpdateOptions{})
			wantOutcome(t, err, test.want)
			if err := quotas.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// wantRefusal checks that the API server refused, and said all of words.
func wantRefusal(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted, want it refused")
	}
	if !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) && !apierrors.IsBadRequest(err) {
		t.Fatalf("refused for another reason than the object: %v", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the refusal does not say %q:\n%v", word, err)
		}
	}
}
