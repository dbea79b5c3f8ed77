package crds_test

import (
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/lab/crds"
)

// TestManifests: every kind is there, whole, and serves and stores the version that is
// used; the suspend fields exist in its schema.
func TestManifests(t *testing.T) {
	type properties map[string]struct {
		Type       string         `json:"type"`
		Properties map[string]any `json:"properties"`
	}
	type definition struct {
		Kind string `json:"kind"`
		Spec struct {
			Group string `json:"group"`
			Names struct {
				Kind string `json:"kind"`
			} `json:"names"`
			Versions []struct {
				Name    string `json:"name"`
				Served  bool   `json:"served"`
				Storage bool   `json:"storage"`
				Schema  struct {
					OpenAPIV3Schema struct {
						Properties properties `json:"properties"`
					} `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	// The kinds, and the field of spec that keeps them from running.
	want := map[string]string{
		"jobset.x-k8s.io/v1alpha2 JobSet":                      "suspend",
		"leaderworkerset.x-k8s.io/v1 LeaderWorkerSet":          "",
		"kubeflow.org/v1 PyTorchJob":                           "runPolicy",
		"kubeflow.org/v1 MPIJob":                               "runPolicy",
		"trainer.kubeflow.org/v1alpha1 TrainJob":               "suspend",
		"trainer.kubeflow.org/v1alpha1 TrainingRuntime":        "",
		"trainer.kubeflow.org/v1alpha1 ClusterTrainingRuntime": "",
		"ray.io/v1 RayJob":                                     "suspend",
		"ray.io/v1 RayCluster":                                 "suspend",
	}
	manifests, err := crds.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	for _, manifest := range manifests {
		var d definition
		if err := yaml.Unmarshal(manifest, &d); err != nil {
			t.Fatal(err)
		}
		for _, v := range d.Spec.Versions {
			name := d.Spec.Group + "/" + v.Name + " " + d.Spec.Names.Kind
			field, wanted := want[name]
			if !v.Storage || !wanted {
				continue
			}
			delete(want, name)
			_, has := v.Schema.OpenAPIV3Schema.Properties["spec"].Properties[field]
			if d.Kind != "CustomResourceDefinition" || !v.Served || field != "" && !has {
				t.Errorf("%s: a %s, served %t, spec.%s %t", name, d.Kind, v.Served, field, has)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestManifestsOfProjects(t *testing.T) {
	all, err := crds.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	var one [][]byte
	for _, project := range crds.Projects() {
		part, err := crds.Manifests(project)
		if err != nil || len(part) == 0 {
			t.Fatalf("%s: %d, %v", project, len(part), err)
		}
		one = append(one, part...)
	}
	if !slices.EqualFunc(all, one, slices.Equal) {
		t.Errorf("%d definitions one by one, %d together", len(one), len(all))
	}
	if _, err := crds.Manifests("volcano"); err == nil {
		t.Error("a project that there is not")
	}
}
