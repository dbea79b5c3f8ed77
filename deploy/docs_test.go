package deploy_test

import (
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// documented are the plurals of what the pages show, and whether they are of a namespace.
var documented = map[string]struct {
	plural     string
	namespaced bool
}{
	"TenantQuota":           {"tenantquotas", false},
	"GPUNode":               {"gpunodes", false},
	"LendingPolicy":         {"lendingpolicies", true},
	"TrainingQueue":         {"trainingqueues", true},
	"Deployment":            {"deployments", true},
	"Job":                   {"jobs", true},
	"ResourceClaimTemplate": {"resourceclaimtemplates", true},
}

// What the pages on slices show is accepted as it stands there.
func TestDocumentedSlicesAreAccepted(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	options := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict, DryRun: []string{metav1.DryRunAll}}
	for page, want := range map[string]int{
		"../docs/tasks/lend-slices.md": 6, "../docs/reference/dynamic-resources.md": 2, "../docs/reference/gpunode.md": 1,
	} {
		objects := shown(t, page)
		if len(objects) != want {
			t.Errorf("%s shows %d objects, want %d", page, len(objects), want)
		}
		for _, object := range objects {
			t.Run(page+" "+object.GetKind()+" "+object.GetName(), func(t *testing.T) {
				known, ok := documented[object.GetKind()]
				if !ok {
					t.Fatalf("kind %s is not known here", object.GetKind())
				}
				as := c.as(administrator)
				if object.GetKind() == "GPUNode" {
					as = c.as(broker, "system:masters")
				}
				client, err := dynamic.NewForConfig(as)
				if err != nil {
					t.Fatal(err)
				}
				of := ""
				if known.namespaced {
					of = namespace
				}
				object.SetNamespace(of)
				gvr := schema.FromAPIVersionAndKind(object.GetAPIVersion(), "").GroupVersion().WithResource(known.plural)
				var at dynamic.ResourceInterface = client.Resource(gvr)
				if known.namespaced {
					at = client.Resource(gvr).Namespace(of)
				}
				if _, err := at.Create(t.Context(), object, options); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// shown are the objects in a page's YAML, but for kustomizations.
func shown(t *testing.T, page string) (all []*unstructured.Unstructured) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		for _, document := range strings.Split(block, "\n---\n") {
			object := &unstructured.Unstructured{}
			if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
				t.Fatalf("%s: %v:\n%s", page, err, document)
			}
			if object.GetKind() != "Kustomization" {
				all = append(all, object)
			}
		}
	}
	return all
}
