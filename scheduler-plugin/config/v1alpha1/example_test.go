package v1alpha1

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// The shipped configuration enables the plugin, leaves no other preemption on and
// shows the defaults.
func TestShippedConfiguration(t *testing.T) {
	data, err := os.ReadFile("../second-scheduler.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type name struct{ Name string }
	var file struct {
		Profiles []struct {
			SchedulerName string
			Plugins       struct {
				MultiPoint struct{ Enabled, Disabled []name }
			}
			PluginConfig []struct {
				Name string
				Args runtime.RawExtension
			}
		}
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Profiles) != 1 || file.Profiles[0].SchedulerName != "ebbtide" {
		t.Fatalf("profiles = %+v", file.Profiles)
	}
	profile := file.Profiles[0]
	if diff := cmp.Diff([]name{{"Ebbtide"}}, profile.Plugins.MultiPoint.Enabled); diff != "" {
		t.Errorf("enabled (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]name{{"DefaultPreemption"}}, profile.Plugins.MultiPoint.Disabled); diff != "" {
		t.Errorf("disabled (-want +got):\n%s", diff)
	}
	if profile.PluginConfig[0].Name != "Ebbtide" {
		t.Fatalf("the first plugin configured is %s", profile.PluginConfig[0].Name)
	}
	args, err := Decode(&runtime.Unknown{Raw: profile.PluginConfig[0].Args.Raw})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	if diff := cmp.Diff(&want, args); diff != "" {
		t.Errorf("args (-defaults +shipped):\n%s", diff)
	}
}
