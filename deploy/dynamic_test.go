package deploy_test

import (
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/mig"
)

// Every profile of every board can be asked for by its resource, and no two classes are
// for the same.
func TestDeviceClassesOfAllProfiles(t *testing.T) {
	manifests, err := deploy.Manifests(deploy.DynamicResources)
	if err != nil {
		t.Fatal(err)
	}
	classes := map[string]string{}
	for _, text := range strings.Split(string(manifests), "\n---\n") {
		var class resourcev1.DeviceClass
		if err := yaml.Unmarshal([]byte(text), &class); err != nil {
			t.Fatal(err)
		}
		if class.Kind != "DeviceClass" {
			continue
		}
		resource := *class.Spec.ExtendedResourceName
		if _, twice := classes[resource]; twice {
			t.Errorf("two classes stand for %s", resource)
		}
		classes[resource] = class.Spec.Selectors[0].CEL.Expression
	}
	for _, board := range mig.Boards() {
		for _, p := range board.Profiles {
			if !strings.HasSuffix(classes[p.Resource()], "profile == '"+p.Name+"'") {
				t.Errorf("%s: no class stands for %s and selects %s (%q)", board.Board, p.Resource(), p.Name, classes[p.Resource()])
			}
		}
	}
	if classes["nvidia.com/gpu"] == "" {
		t.Error("no class stands for nvidia.com/gpu")
	}
}
