package deploy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
headroom: {warm: 1}
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
headroom: {warm: 1}
reclaim: {maxGrace: 60s}
`,
	}, {
		name: "TenantQuota", kind: "TenantQuota", plural: "tenantquotas",
		short: `spec: {namespaces: {matchLabels: {team: a}}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 16}]}`,
		want: `
namespaces: {matchLabels: {team: a}}
flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 16}]
maxPriorityClass: ebbtide-online
`,
	}, {
		name: "TrainingQueue", kind: "TrainingQueue", plural: "trainingqueues", namespaced: true,
		short: ``,
		want:  `{order: Priority, backfill: true}`,
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
	tests := []struct {
		kind, name string
		spec       string
		want       []string // all of these are in the refusal
	}{
		{"LendingPolicy", "low water above high water",
			`{` + target + `, lowWater: 80%, highWater: 70%}`,
			[]string{"spec:", "lowWater must be below highWater"}},
		{"LendingPolicy", "low water equal to high water",
			`{` + target + `, lowWater: 70%}`,
			[]string{"spec:", "lowWater must be below highWater"}},
		{"LendingPolicy", "water mark without a percent sign",
			`{` + target + `, lowWater: "30"}`,
			[]string{"spec.lowWater", "should match"}},
		{"LendingPolicy", "water mark above the whole",
			`{` + target + `, highWater: 101%}`,
			[]string{"spec.highWater", "should match"}},
		{"LendingPolicy", "signal with both profile and query",
			`{` + target + `, signals: [{profile: vllm, query: up, lowWater: "1", highWater: "2"}]}`,
			[]string{"spec.signals[0]", "exactly one of profile and query must be set"}},
		{"LendingPolicy", "signal with neither profile nor query",
			`{` + target + `, signals: [{lowWater: "1", highWater: "2"}]}`,
			[]string{"spec.signals[0]", "exactly one of profile and query must be set"}},
		{"LendingPolicy", "query without water marks",
			`{` + target + `, signals: [{query: up}]}`,
			[]string{"spec.signals[0]", "query needs lowWater and highWater"}},
		{"LendingPolicy", "query with its marks swapped",
			`{` + target + `, signals: [{query: up, lowWater: "20", highWater: "5"}]}`,
			[]string{"spec.signals[0]", "lowWater must be below highWater"}},
		{"LendingPolicy", "second signal is the bad one",
			`{` + target + `, signals: [{profile: vllm}, {query: up}]}`,
			[]string{"spec.signals[1]", "query needs lowWater and highWater"}},
		{"LendingPolicy", "slots without a profile",
			`{` + target + `, signals: [{query: up, lowWater: "1", highWater: "2", slots: 8}]}`,
			[]string{"spec.signals[0]", "slots belongs to a profile"}},
		{"LendingPolicy", "unknown profile",
			`{` + target + `, signals: [{profile: abacus}]}`,
			[]string{"spec.signals[0].profile", "supported values", "vllm"}},
		{"LendingPolicy", "no signals",
			`{` + target + `, signals: []}`,
			[]string{"spec.signals", "at least 1 items"}},
		{"LendingPolicy", "negative owned",
			`{` + target + `, owned: -1}`,
			[]string{"spec.owned", "greater than or equal to 1"}},
		{"LendingPolicy", "owned of nothing",
			`{` + target + `, owned: 0}`,
			[]string{"spec.owned", "greater than or equal to 1"}},
		{"LendingPolicy", "negative headroom",
			`{` + target + `, headroom: {warm: -1}}`,
			[]string{"spec.headroom.warm", "greater than or equal to 0"}},
		{"LendingPolicy", "grace of nothing",
			`{` + target + `, reclaim: {maxGrace: 0s}}`,
			[]string{"spec.reclaim.maxGrace", "maxGrace must be between 1s and 1h"}},
		{"LendingPolicy", "grace of two hours",
			`{` + target + `, reclaim: {maxGrace: 2h}}`,
			[]string{"spec.reclaim.maxGrace", "maxGrace must be between 1s and 1h"}},
		{"LendingPolicy", "grace that is no duration",
			`{` + target + `, reclaim: {maxGrace: soon}}`,
			[]string{"spec.reclaim.maxGrace", "Duration", "maxGrace must be between 1s and 1h"}},
		{"LendingPolicy", "negative dwell",
			`{` + target + `, dwell: -1s}`,
			[]string{"spec.dwell", "dwell must not be negative"}},
		{"LendingPolicy", "negative cooldown",
			`{` + target + `, cooldown: -1s}`,
			[]string{"spec.cooldown", "cooldown must not be negative"}},
		{"LendingPolicy", "unknown mode",
			`{` + target + `, mode: Maybe}`,
			[]string{"spec.mode", "supported values", "Advise"}},
		{"LendingPolicy", "no target",
			`{owned: 4}`,
			[]string{"spec.targetRef", "Required value"}},
		{"LendingPolicy", "target without a name",
			`{targetRef: {apiVersion: apps/v1, kind: Deployment, name: ""}}`,
			[]string{"spec.targetRef.name", "at least 1 chars"}},
		{"LendingPolicy", "misspelt field",
			`{` + target + `, lowwater: 10%}`,
			[]string{"unknown field", "spec.lowwater"}},

		{"TenantQuota", "lending limit above nominal",
			`{namespaces: {}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4, lendingLimit: 5}]}`,
			[]string{"spec.flavors[0]", "lendingLimit must not exceed nominal"}},
		{"TenantQuota", "negative nominal",
			`{namespaces: {}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: -1}]}`,
			[]string{"spec.flavors[0].nominal", "greater than or equal to 0"}},
		{"TenantQuota", "no nominal",
			`{namespaces: {}, flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
			[]string{"spec.flavors[0].nominal", "Required value"}},
		{"TenantQuota", "negative borrowing limit",
			`{namespaces: {}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4, borrowingLimit: -1}]}`,
			[]string{"spec.flavors[0].borrowingLimit", "greater than or equal to 0"}},
		{"TenantQuota", "no flavors",
			`{namespaces: {}, flavors: []}`,
			[]string{"spec.flavors", "at least 1 items"}},
		{"TenantQuota", "same flavor twice",
			`{namespaces: {}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4}, {name: h100, resource: nvidia.com/gpu, nominal: 8}]}`,
			[]string{"spec.flavors[1]", "Duplicate value", "h100"}},
		{"TenantQuota", "flavor name in capitals",
			`{namespaces: {}, flavors: [{name: H100, resource: nvidia.com/gpu, nominal: 4}]}`,
			[]string{"spec.flavors[0].name", "should match"}},
		{"TenantQuota", "flavor without a resource",
			`{namespaces: {}, flavors: [{name: h100, resource: "", nominal: 4}]}`,
			[]string{"spec.flavors[0].resource", "at least 1 chars"}},
		{"TenantQuota", "no namespaces",
			`{flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4}]}`,
			[]string{"spec.namespaces", "Required value"}},

		{"TrainingQueue", "unknown order",
			`{order: LIFO}`,
			[]string{"spec.order", "supported values", "FIFO"}},

		{"Loan", "no grants",
			strings.Replace(loanSpec, `grants: [{lender: serving/chat, node: gpu-7, flavor: h100, count: 8}]`, `grants: []`, 1),
			[]string{"spec.grants", "at least 1 items"}},
		{"Loan", "grant of nothing",
			strings.Replace(loanSpec, `count: 8`, `count: 0`, 1),
			[]string{"spec.grants[0].count", "greater than or equal to 1"}},
		{"Loan", "attempt before the first",
			strings.Replace(loanSpec, `attempt: 1`, `attempt: 0`, 1),
			[]string{"spec.attempt", "greater than or equal to 1"}},
		{"Loan", "no job",
			strings.Replace(loanSpec, `job: {apiVersion: batch/v1, kind: Job, name: train, uid: u-1}, `, ``, 1),
			[]string{"spec.job", "Required value"}},
	}
	plurals := map[string]string{
		"LendingPolicy": "lendingpolicies", "TenantQuota": "tenantquotas",
		"TrainingQueue": "trainingqueues", "Loan": "loans",
	}
	for _, test := range tests {
		t.Run(test.kind+" with "+test.name, func(t *testing.T) {
			into := c.ebbtide(t, broker, plurals[test.kind], test.kind != "TenantQuota", namespace)
			if test.kind != "Loan" {
				into = c.ebbtide(t, administrator, plurals[test.kind], test.kind != "TenantQuota", namespace)
			}
			_, err := into.Create(t.Context(), ebbtideObject(t, test.kind, "bad", "spec: "+test.spec),
				metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict, DryRun: []string{metav1.DryRunAll}})
			wantRefusal(t, err, test.want...)
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
	if err := unstructured.SetNestedField(loan.Object, int64(2), "spec", "attempt"); err != nil {
		t.Fatal(err)
	}
	_, err = loans.Update(t.Context(), loan, metav1.UpdateOptions{})
	wantRefusal(t, err, "spec", "a Loan's spec is immutable")
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
