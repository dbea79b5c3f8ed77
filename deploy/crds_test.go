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
			[]string{"spec.signals[0]", "exactly one of profile, query, pods, object, external, redis, kafka and autoscaler must be set"}},
		{"LendingPolicy", "signal with neither profile nor query",
			`{` + target + `, signals: [{lowWater: "1", highWater: "2"}]}`,
			[]string{"spec.signals[0]", "exactly one of profile, query, pods, object, external, redis, kafka and autoscaler must be set"}},
		{"LendingPolicy", "query without water marks",
			`{` + target + `, signals: [{query: up}]}`,
			[]string{"spec.signals[0]", "lowWater and highWater must be set"}},
		{"LendingPolicy", "query with its marks swapped",
			`{` + target + `, signals: [{query: up, lowWater: "20", highWater: "5"}]}`,
			[]string{"spec.signals[0]", "lowWater must be below highWater"}},
		{"LendingPolicy", "second signal is the bad one",
			`{` + target + `, signals: [{profile: vllm}, {query: up}]}`,
			[]string{"spec.signals[1]", "lowWater and highWater must be set"}},
		{"LendingPolicy", "slots without a profile",
			`{` + target + `, signals: [{query: up, lowWater: "1", highWater: "2", slots: 8}]}`,
			[]string{"spec.signals[0]", "slots, scrape and latency belong to a profile"}},
		{"LendingPolicy", "unknown profile",
			`{` + target + `, signals: [{profile: abacus}]}`,
			[]string{"spec.signals[0].profile", "supported values", "vllm"}},
		{"LendingPolicy", "metric without water marks",
			`{` + target + `, signals: [{external: {metric: queue_depth}}]}`,
			[]string{"spec.signals[0]", "lowWater and highWater must be set"}},
		{"LendingPolicy", "an aggregate of a profile",
			`{` + target + `, signals: [{profile: vllm, aggregate: Max}]}`,
			[]string{"spec.signals[0]", "aggregate belongs to a query"}},
		{"LendingPolicy", "labels of a query",
			`{` + target + `, signals: [{query: up, lowWater: "1", highWater: "2", matchLabels: {model: a}}]}`,
			[]string{"spec.signals[0]", "matchLabels belong to a profile, pods or external"}},
		{"LendingPolicy", "marks of a profile",
			`{` + target + `, signals: [{profile: vllm, lowWater: "1", highWater: "2"}]}`,
			[]string{"spec.signals[0]", "a profile and an autoscaler have marks of their own"}},
		{"LendingPolicy", "latency of nothing",
			`{` + target + `, signals: [{profile: vllm, latency: 0s}]}`,
			[]string{"spec.signals[0].latency", "latency must be between 1ms and 1h"}},
		{"LendingPolicy", "a Redis at an address of its own",
			`{` + target + `, signals: [{redis: {address: "10.0.0.1:6379", list: tasks}, lowWater: "1", highWater: "2"}]}`,
			[]string{"unknown field", "spec.signals[0].redis.address"}},
		{"LendingPolicy", "a window that never ends",
			`{` + target + `, schedule: [{start: "0 8 * * *", end: "0 8 * * *", keep: 4}]}`,
			[]string{"spec.schedule[0]", "start and end must differ"}},
		{"LendingPolicy", "a window that keeps nothing",
			`{` + target + `, schedule: [{start: "0 8 * * *", end: "0 18 * * *", keep: 0}]}`,
			[]string{"spec.schedule[0].keep", "greater than or equal to 1"}},
		{"LendingPolicy", "scaling without a maximum",
			`{` + target + `, scaling: {mode: Manage}}`,
			[]string{"spec.scaling", "mode Manage needs max, and min at most max"}},
		{"LendingPolicy", "scaling from above its maximum",
			`{` + target + `, scaling: {mode: Manage, min: 5, max: 4}}`,
			[]string{"spec.scaling", "mode Manage needs max, and min at most max"}},
		{"LendingPolicy", "a quantile that is always met",
			`{` + target + `, headroom: {quantile: "1"}}`,
			[]string{"spec.headroom.quantile", "should match"}},
		{"LendingPolicy", "a headroom that is never refilled",
			`{` + target + `, headroom: {refill: Never}}`,
			[]string{"spec.headroom.refill", "Always", "WhenUsed"}},
		{"LendingPolicy", "a hook that waits for nothing",
			`{` + target + `, hooks: {beforeLend: {template: {apiVersion: v1, kind: ConfigMap}, until: {}}}}`,
			[]string{"spec.hooks.beforeLend.until", "exactly one of condition and field must be set"}},
		{"LendingPolicy", "a hook that waits for a field of any value",
			`{` + target + `, hooks: {beforeLend: {template: {apiVersion: v1, kind: ConfigMap}, until: {field: .status.phase}}}}`,
			[]string{"spec.hooks.beforeLend.until", "field and value must be set together"}},
		{"LendingPolicy", "a hook of no kind",
			`{` + target + `, hooks: {beforeLend: {template: {apiVersion: v1}, until: {condition: Ready}}}}`,
			[]string{"spec.hooks.beforeLend.template.kind"}},
		{"LendingPolicy", "a pool of all nodes",
			`{` + target + `, pools: [{nodeSelector: {}}]}`,
			[]string{"spec.pools[0].nodeSelector", "at least 1 properties"}},
		{"LendingPolicy", "no signals",
			`{` + target + `, signals: []}`,
			[]string{"spec.signals", "at least 1 items"}},
		{"LendingPolicy", "negative owned",
			`{` + target + `, owned: -1}`,
			[]string{"spec.owned", "greater than or equal to 1"}},
		{"LendingPolicy", "owned of nothing",
			`{` + target + `, owned: 0}`,
			[]string{"spec.owned", "greater than or equal to 1"}},
		{"LendingPolicy", "owned of more than all clusters have",
			`{` + target + `, owned: 1000000000}`,
			[]string{"spec.owned", "less than or equal to 1000000"}},
		{"LendingPolicy", "owned beyond the largest number",
			`{` + target + `, owned: 1.0e30}`,
			[]string{"spec.owned", "must be of type integer"}},
		{"LendingPolicy", "headroom near the largest number",
			`{` + target + `, headroom: {warm: 4611686018427387904}}`,
			[]string{"spec.headroom.warm", "less than or equal to 1000000"}},
		{"LendingPolicy", "more slots than 32 bits count",
			`{` + target + `, signals: [{profile: vllm, slots: 4294967296}]}`,
			[]string{"spec.signals[0].slots", "less than or equal to 1000000"}},
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
		{"LendingPolicy", "a target in another namespace",
			`{targetRef: {apiVersion: apps/v1, kind: Deployment, name: ../../rival/deployments/chat}}`,
			[]string{"spec.targetRef.name", "should match"}},
		{"LendingPolicy", "misspelt field",
			`{` + target + `, lowwater: 10%}`,
			[]string{"unknown field", "spec.lowwater"}},

		{"TenantQuota", "lending limit above nominal",
			tenantOf(`nominal: 4, lendingLimit: 5`),
			[]string{"spec:", "flavors[].lendingLimit must not exceed nominal for a tenant"}},
		{"TenantQuota", "negative nominal",
			tenantOf(`nominal: -1`),
			[]string{"spec.flavors[0].nominal", "greater than or equal to 0"}},
		{"TenantQuota", "nominal above all clusters",
			tenantOf(`nominal: 1000001`),
			[]string{"spec.flavors[0].nominal", "less than or equal to 1000000"}},
		{"TenantQuota", "nominal near the largest number",
			tenantOf(`nominal: 4611686018427387904`),
			[]string{"spec.flavors[0].nominal", "less than or equal to 1000000"}},
		{"TenantQuota", "nominal beyond the largest number",
			tenantOf(`nominal: 9223372036854775808`),
			[]string{"spec.flavors[0].nominal", "must be of type integer"}},
		{"TenantQuota", "nominal in scientific notation",
			tenantOf(`nominal: 1.0e30`),
			[]string{"spec.flavors[0].nominal", "must be of type integer"}},
		{"TenantQuota", "nominal of half a unit",
			tenantOf(`nominal: 0.5`),
			[]string{"spec.flavors[0].nominal", "must be of type integer"}},
		{"TenantQuota", "nominal as a quantity",
			tenantOf(`nominal: 4k`),
			[]string{"spec.flavors[0].nominal", "must be of type integer"}},
		{"TenantQuota", "negative borrowing limit",
			tenantOf(`nominal: 4, borrowingLimit: -1`),
			[]string{"spec.flavors[0].borrowingLimit", "greater than or equal to 0"}},
		{"TenantQuota", "borrowing limit beyond the largest number",
			tenantOf(`nominal: 4, borrowingLimit: 1.0e30`),
			[]string{"spec.flavors[0].borrowingLimit", "must be of type integer"}},
		{"TenantQuota", "borrowing limit near the largest number",
			tenantOf(`nominal: 4, borrowingLimit: 4611686018427387904`),
			[]string{"spec.flavors[0].borrowingLimit", "less than or equal to 1000000000"}},
		{"TenantQuota", "negative lending limit",
			tenantOf(`nominal: 4, lendingLimit: -1`),
			[]string{"spec.flavors[0].lendingLimit", "greater than or equal to 0"}},
		{"TenantQuota", "a cohort's lending limit near the largest number",
			`{flavors: [{name: h100, resource: nvidia.com/gpu, lendingLimit: 4611686018427387904}]}`,
			[]string{"spec.flavors[0].lendingLimit", "less than or equal to 1000000000"}},
		{"TenantQuota", "negative weight",
			`{weight: -1}`,
			[]string{"spec.weight", "greater than or equal to 0"}},
		{"TenantQuota", "weight above all",
			`{weight: 1001}`,
			[]string{"spec.weight", "less than or equal to 1000"}},
		{"TenantQuota", "no flavors",
			`{namespaces: {}, flavors: []}`,
			[]string{"spec:", "flavors must not be empty for a tenant"}},
		{"TenantQuota", "flavors left out",
			`{namespaces: {}}`,
			[]string{"spec:", "flavors must not be empty for a tenant"}},
		{"TenantQuota", "same flavor twice",
			`{namespaces: {}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4}, {name: h100, resource: nvidia.com/gpu, nominal: 8}]}`,
			[]string{"spec.flavors[1]", "Duplicate value", "h100"}},
		{"TenantQuota", "too many flavors",
			`{flavors: [` + strings.Repeat(`{name: h100, resource: nvidia.com/gpu},`, 17) + `]}`,
			[]string{"spec.flavors", "must have at most 16 items"}},
		{"TenantQuota", "flavor name in capitals",
			`{namespaces: {}, flavors: [{name: H100, resource: nvidia.com/gpu, nominal: 4}]}`,
			[]string{"spec.flavors[0].name", "should match"}},
		{"TenantQuota", "flavor without a resource",
			`{namespaces: {}, flavors: [{name: h100, resource: "", nominal: 4}]}`,
			[]string{"spec.flavors[0].resource", "resource must be nvidia.com/gpu"}},
		{"TenantQuota", "flavor of a resource that nobody guards",
			`{namespaces: {}, flavors: [{name: nic, resource: nvidia.com/hostdev, nominal: 4}]}`,
			[]string{"spec.flavors[0].resource", "the admission policies guard no other"}},
		{"TenantQuota", "flavor of memory",
			`{namespaces: {}, flavors: [{name: ram, resource: memory, nominal: 4}]}`,
			[]string{"spec.flavors[0].resource", "the admission policies guard no other"}},
		{"TenantQuota", "cohort of a cohort",
			`{cohort: lab}`,
			[]string{"spec:", "a cohort names its parent"}},
		{"TenantQuota", "parent of a tenant",
			`{namespaces: {}, parent: lab, flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
			[]string{"spec:", "a tenant names its cohort"}},
		{"TenantQuota", "itself as parent",
			`{parent: bad}`,
			[]string{"spec.parent must name another cohort"}},
		{"TenantQuota", "cohort that no object can be called",
			`{namespaces: {}, cohort: Lab/1, flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
			[]string{"spec.cohort", "should match"}},
		{"TenantQuota", "parent that no object can be called",
			`{parent: "-"}`,
			[]string{"spec.parent", "should match"}},
		{"TenantQuota", "empty cohort",
			`{namespaces: {}, cohort: "", flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
			[]string{"spec.cohort", "at least 1 chars"}},

		{"TenantQuota", "slice of itself",
			slicesOf(`sliceOf: h100-1g, slices: {compute: 1, memory: 1}`),
			[]string{"spec.flavors[1]", "sliceOf must name another flavor"}},
		{"TenantQuota", "slice of a flavor that is not there",
			slicesOf(`sliceOf: a100, slices: {compute: 1, memory: 1}`),
			[]string{"spec:", "flavors[].sliceOf must name a flavor of the same TenantQuota"}},
		{"TenantQuota", "slice of a slice",
			`{namespaces: {}, flavors: [{name: h100, resource: nvidia.com/gpu}, ` +
				`{name: 2g, resource: nvidia.com/mig-2g.20gb, sliceOf: h100, slices: {compute: 2, memory: 2}}, ` +
				`{name: 1g, resource: nvidia.com/mig-1g.10gb, sliceOf: 2g, slices: {compute: 1, memory: 1}}]}`,
			[]string{"spec:", "that is not a slice itself"}},
		{"TenantQuota", "slices of nothing",
			slicesOf(`slices: {compute: 1, memory: 1}`),
			[]string{"spec.flavors[1]", "sliceOf and slices are given together"}},
		{"TenantQuota", "a slice of no size",
			slicesOf(`sliceOf: h100`),
			[]string{"spec.flavors[1]", "sliceOf and slices are given together"}},
		{"TenantQuota", "a slice with a quota",
			slicesOf(`nominal: 1, sliceOf: h100, slices: {compute: 1, memory: 1}`),
			[]string{"spec.flavors[1]", "a flavor with sliceOf draws on the quota of that flavor"}},
		{"TenantQuota", "a slice with a borrowing limit",
			slicesOf(`borrowingLimit: 0, sliceOf: h100, slices: {compute: 1, memory: 1}`),
			[]string{"spec.flavors[1]", "a flavor with sliceOf draws on the quota of that flavor"}},
		{"TenantQuota", "a slice with a lending limit",
			slicesOf(`lendingLimit: 0, sliceOf: h100, slices: {compute: 1, memory: 1}`),
			[]string{"spec.flavors[1]", "a flavor with sliceOf draws on the quota of that flavor"}},
		{"TenantQuota", "a slice without memory",
			slicesOf(`sliceOf: h100, slices: {compute: 1}`),
			[]string{"spec.flavors[1].slices.memory", "Required value"}},
		{"TenantQuota", "a slice of no compute",
			slicesOf(`sliceOf: h100, slices: {compute: 0, memory: 1}`),
			[]string{"spec.flavors[1].slices.compute", "greater than or equal to 1"}},
		{"TenantQuota", "a slice of more compute than a GPU",
			slicesOf(`sliceOf: h100, slices: {compute: 8, memory: 1}`),
			[]string{"spec.flavors[1].slices.compute", "less than or equal to 7"}},
		{"TenantQuota", "a slice of more memory than a GPU",
			slicesOf(`sliceOf: h100, slices: {compute: 7, memory: 9}`),
			[]string{"spec.flavors[1].slices.memory", "less than or equal to 8"}},

		{"TrainingQueue", "unknown order",
			`{order: LIFO}`,
			[]string{"spec.order", "supported values", "FIFO"}},
		{"TrainingQueue", "no weight",
			`{weight: 0}`,
			[]string{"spec.weight", "greater than or equal to 1"}},
		{"TrainingQueue", "negative weight",
			`{weight: -1}`,
			[]string{"spec.weight", "greater than or equal to 1"}},
		{"TrainingQueue", "weight above all",
			`{weight: 1001}`,
			[]string{"spec.weight", "less than or equal to 1000"}},
		{"TrainingQueue", "negative number of jobs",
			`{limits: {jobs: -1}}`,
			[]string{"spec.limits.jobs", "greater than or equal to 0"}},
		{"TrainingQueue", "more jobs than 32 bits count",
			`{limits: {jobs: 4294967296}}`,
			[]string{"spec.limits.jobs", "less than or equal to 1000000"}},
		{"TrainingQueue", "negative limit",
			`{limits: {flavors: [{name: h100, units: -1}]}}`,
			[]string{"spec.limits.flavors[0].units", "greater than or equal to 0"}},
		{"TrainingQueue", "limit beyond the largest number",
			`{limits: {flavors: [{name: h100, units: 1.0e30}]}}`,
			[]string{"spec.limits.flavors[0].units", "must be of type integer"}},
		{"TrainingQueue", "limit near the largest number",
			`{limits: {flavors: [{name: h100, units: 4611686018427387904}]}}`,
			[]string{"spec.limits.flavors[0].units", "less than or equal to 1000000000"}},
		{"TrainingQueue", "limit of no flavor",
			`{limits: {flavors: [{name: "", units: 1}]}}`,
			[]string{"spec.limits.flavors[0].name", "at least 1 chars"}},
		{"TrainingQueue", "limit without units",
			`{limits: {flavors: [{name: h100}]}}`,
			[]string{"spec.limits.flavors[0].units", "Required value"}},
		{"TrainingQueue", "two limits of one flavor",
			`{limits: {flavors: [{name: h100, units: 1}, {name: h100, units: 2}]}}`,
			[]string{"spec.limits.flavors[1]", "Duplicate value"}},

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

// tenantOf is a tenant with these words about its only flavor.
func tenantOf(quota string) string {
	return `{namespaces: {}, flavors: [{name: h100, resource: nvidia.com/gpu, ` + quota + `}]}`
}

// slicesOf is a tenant with these words about a MIG profile of its GPUs.
func slicesOf(words string) string {
	return `{namespaces: {}, flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4}, ` +
		`{name: h100-1g, resource: nvidia.com/mig-1g.10gb, ` + words + `}]}`
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
