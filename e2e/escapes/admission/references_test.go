package admission_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy"
)

// kind is a custom kind as the API server knows it: what it keeps, and what it refuses.
type kind struct {
	keeps  *structuralschema.Structural
	checks validation.SchemaValidator
}

// tenantKinds are those that tenants write. Loans are the broker's, TenantQuotas and GPUNodes
// are of no namespace.
func tenantKinds(t *testing.T) map[string]kind {
	t.Helper()
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]kind{}
	for _, document := range bytes.Split(manifests, []byte("\n---\n")) {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(document, &crd); err != nil || crd.Kind != "CustomResourceDefinition" || crd.Spec.Group != "ebbtide.dev" {
			continue
		}
		if crd.Spec.Scope != apiextensionsv1.NamespaceScoped || crd.Spec.Names.Kind == "Loan" {
			continue
		}
		var schema apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &schema, nil); err != nil {
			t.Fatal(err)
		}
		var k kind
		if k.keeps, err = structuralschema.NewStructural(&schema); err != nil {
			t.Fatal(err)
		}
		if k.checks, _, err = validation.NewSchemaValidator(&schema); err != nil {
			t.Fatal(err)
		}
		found[crd.Spec.Names.Kind] = k
	}
	return found
}

// each calls visit for every object below a value, with its path; what a template holds is
// not of the kind.
func each(value any, path string, visit func(path string, object map[string]any)) {
	switch v := value.(type) {
	case map[string]any:
		visit(path, v)
		for key, below := range v {
			if key != "template" {
				each(below, path+"."+key, visit)
			}
		}
	case []any:
		for _, below := range v {
			each(below, path+"[]", visit)
		}
	}
}

// A reference cannot leave its namespace: whatever names one beside a reference is not kept,
// and a name with another namespace in it is refused. KAI's CVE-2026-24176 was a reference to
// pods of others.
func TestReferencesStayInTheirNamespace(t *testing.T) {
	page, err := os.ReadFile("../../../docs/reference/lendingpolicy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	shown, _, _ := strings.Cut(rest, "```")
	samples := map[string]string{
		"LendingPolicy": strings.Replace(shown, "  - query: sum", "  - object: {object: {apiVersion: v1, kind: Service, name: chat}, metric: rps}\n    highWater: \"5\"\n    lowWater: \"1\"\n  - query: sum", 1),
		"TrainingQueue": "{apiVersion: ebbtide.dev/v1alpha1, kind: TrainingQueue, metadata: {name: q}, spec: {order: FIFO, limits: {flavors: [{name: h100, units: 8}]}}}",
	}
	kinds := tenantKinds(t)
	if len(kinds) != len(samples) {
		t.Fatalf("tenants write %d kinds, and %d are tried", len(kinds), len(samples))
	}
	fields, names := 0, 0
	for name, k := range kinds {
		read := func() map[string]any {
			object := map[string]any{}
			if err := yaml.Unmarshal([]byte(samples[name]), &object); err != nil {
				t.Fatal(err)
			}
			return object
		}
		if errs := validation.ValidateCustomResource(nil, read(), k.checks); len(errs) > 0 {
			t.Fatalf("the sample of a %s: %v", name, errs)
		}
		for _, field := range []string{"namespace", "namespaces", "targetNamespace", "namespaceSelector", "namespaceName"} {
			object := read()
			each(object["spec"], "spec", func(path string, o map[string]any) {
				if !strings.HasSuffix(path, "nodeSelector") { // labels have names of their users' choice
					o[field] = "victim"
					fields++
				}
			})
			pruning.Prune(object, k.keeps, true)
			each(object["spec"], "spec", func(path string, o map[string]any) {
				if o[field] == "victim" {
					t.Errorf("%s keeps %s.%s", name, path, field)
				}
			})
		}
		for _, evil := range []string{"victim/chat", "../victim/chat", "victim%2Fchat", "..", "/", "victim:chat", "chat?namespace=victim"} {
			for _, path := range []string{"spec.targetRef", "spec.signals[].object.object"} {
				object, tried := read(), false
				each(object["spec"], "spec", func(at string, o map[string]any) {
					if at == path {
						o["name"], tried = evil, true
					}
				})
				if !tried {
					continue
				}
				names++
				if errs := validation.ValidateCustomResource(nil, object, k.checks); len(errs) == 0 {
					t.Errorf("%s takes %s.name: %q", name, path, evil)
				}
			}
		}
	}
	if fields < 50 || names != 14 {
		t.Errorf("only %d fields and %d names were tried", fields, names)
	}
	// What is kept is seen to be kept.
	object := map[string]any{"spec": map[string]any{"order": "victim"}}
	pruning.Prune(object, kinds["TrainingQueue"].keeps, true)
	if object["spec"].(map[string]any)["order"] != "victim" {
		t.Error("all is pruned")
	}
}
