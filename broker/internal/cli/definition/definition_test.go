package definition

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// object reads a spec as the object that has it.
func object(t *testing.T, kind, spec string) *unstructured.Unstructured {
	t.Helper()
	text := "apiVersion: " + v1alpha1.GroupVersion.String() + "\nkind: " + kind + "\nmetadata: {name: bad}\nspec: " + spec
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(asJSON); err != nil {
		t.Fatal(err)
	}
	if kind != "TenantQuota" {
		u.SetNamespace("serving")
	}
	return u
}

func of(t *testing.T, u *unstructured.Unstructured) *Definition {
	t.Helper()
	d, err := Of(u.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// refused are the objects that an API server was seen to refuse, and how it is said here.
func refused(t *testing.T) (said map[string]string, want map[string][]string) {
	t.Helper()
	text, err := os.ReadFile("../../../../deploy/testdata/refusals.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Kind, Name, Spec string
		Want             []string
	}
	if err := yaml.UnmarshalStrict(text, &cases); err != nil {
		t.Fatal(err)
	}
	said, want = map[string]string{}, map[string][]string{}
	for _, tc := range cases {
		name := tc.Kind + " with " + tc.Name
		u := object(t, tc.Kind, tc.Spec)
		said[name], want[name] = "", tc.Want
		if err := of(t, u).Admit(u); err != nil {
			said[name] = err.Error()
		}
	}
	return said, want
}

// What the API server refuses is refused, in its words.
func TestBadObjectsAreRefused(t *testing.T) {
	said, want := refused(t)
	if len(want) < 100 {
		t.Fatalf("%d objects are too few to be all", len(want))
	}
	for name, words := range want {
		if said[name] == "" {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, word := range words {
			if !strings.Contains(said[name], word) {
				t.Errorf("%s: the refusal does not say %q:\n%s", name, word, said[name])
			}
		}
	}
}

// Each rule of the definitions was broken by one of the objects, and so was each word of
// their schemas that can be.
func TestEveryRuleIsBroken(t *testing.T) {
	said, _ := refused(t)
	all := ""
	for _, text := range said {
		all += text + "\n"
	}
	files, err := filepath.Glob("../../../../deploy/crds/ebbtide.dev_*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules, bounds := 0, map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(text, &crd); err != nil {
			t.Fatal(err)
		}
		if crd.Spec.Names.Kind == "GPUNode" { // which agents write, and nobody plays
			continue
		}
		root := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		delete(root.Properties, "status") // nobody creates it
		visit(*root, func(s apiextensionsv1.JSONSchemaProps) {
			for _, rule := range s.XValidations {
				rules++
				if !strings.Contains(rule.Rule, "oldSelf") && !strings.Contains(all, rule.Message) {
					t.Errorf("%s: no object breaks the rule %q", crd.Spec.Names.Kind, rule.Message)
				}
			}
			for words, has := range boundsOf(s) {
				bounds[words] = bounds[words] || has
			}
		})
	}
	for words, has := range bounds {
		if has && !strings.Contains(all, words) {
			t.Errorf("no object is refused with %q", words)
		}
	}
	if rules < 30 || !bounds["should match"] {
		t.Errorf("only %d rules were found in %v", rules, files)
	}
}

// boundsOf are the words with which the bounds that a schema has are told.
func boundsOf(s apiextensionsv1.JSONSchemaProps) map[string]bool {
	return map[string]bool{
		"greater than or equal to": s.Minimum != nil, "less than or equal to": s.Maximum != nil,
		"should match": s.Pattern != "", "Unsupported value": len(s.Enum) > 0, "Required value": len(s.Required) > 0,
		"at least 1 chars": s.MinLength != nil, "Too long": s.MaxLength != nil,
		"at least 1 items": s.MinItems != nil, "must have at most": s.MaxItems != nil || s.MaxProperties != nil,
		"at least 1 properties": s.MinProperties != nil, "Duplicate value": s.XListType != nil && *s.XListType != "atomic",
	}
}

func visit(s apiextensionsv1.JSONSchemaProps, see func(apiextensionsv1.JSONSchemaProps)) {
	see(s)
	for _, p := range s.Properties {
		visit(p, see)
	}
	if s.Items != nil && s.Items.Schema != nil {
		visit(*s.Items.Schema, see)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		visit(*s.AdditionalProperties.Schema, see)
	}
}

// What is sound is admitted, with the defaults of the definition.
func TestSoundObjectsGetDefaults(t *testing.T) {
	u := object(t, "LendingPolicy", `{targetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}, highWater: 80%, dwell: null, headroom: {warm: 3}}`)
	u.Object["status"] = map[string]any{"lent": int64(4)}
	if err := of(t, u).Admit(u); err != nil {
		t.Fatal(err)
	}
	want := object(t, "LendingPolicy", `{targetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}, mode: Lend, signals: [{profile: vllm}],
		lowWater: 30%, highWater: 80%, dwell: 5m, cooldown: 5m, headroom: {warm: 3, quantile: "0.99", refill: Always}, scaling: {mode: Observe, min: 1}, reclaim: {maxGrace: 60s}}`)
	if diff := cmp.Diff(want.Object, u.Object); diff != "" {
		t.Errorf("admitted (-want +got):\n%s", diff)
	}
}

// A change is held against what the object was.
func TestChangesThatAreRefused(t *testing.T) {
	const flavors = `flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4}]`
	for name, tc := range map[string]struct{ from, to, want string }{
		"a tenant becomes a cohort": {`{namespaces: {}, ` + flavors + `}`, `{` + flavors + `}`, "spec: Invalid value: namespaces cannot be added or removed"},
		"a tenant moves":            {`{namespaces: {}, cohort: a, ` + flavors + `}`, `{namespaces: {}, cohort: b, ` + flavors + `}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := object(t, "TenantQuota", tc.from), object(t, "TenantQuota", tc.to)
			d := of(t, from)
			for _, u := range []*unstructured.Unstructured{from, to} {
				if err := d.Admit(u); err != nil {
					t.Fatal(err)
				}
			}
			err := d.AdmitChange(from, to)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestUnknownVersions(t *testing.T) {
	u := object(t, "LendingPolicy", "{}")
	u.SetAPIVersion("ebbtide.dev/v9")
	if _, err := Of(u.GroupVersionKind()); err == nil || err.Error() != "apiVersion: there is no kind LendingPolicy in version ebbtide.dev/v9" {
		t.Error(err)
	}
}
