package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	kubeconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"

	config "github.com/ebbtide/ebbtide/scheduler-plugin/config/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide"
)

// Each shipped configuration is read strictly by the scheduler itself, is valid, and
// has the profiles and the lease that its header promises.
func TestShippedConfigurations(t *testing.T) {
	own := []string{"ebbtide-system", "ebbtide-scheduler"}
	stock := []string{"kube-system", "kube-scheduler"}
	for file, want := range map[string]struct {
		lease    []string
		profiles map[string]bool // whether the profile carries the plugin
	}{
		"second-scheduler.yaml": {own, map[string]bool{"ebbtide": true}},
		"replace-default.yaml":  {stock, map[string]bool{"ebbtide": true, "default-scheduler": true}},
		"beside-default.yaml":   {stock, map[string]bool{"ebbtide": true, "default-scheduler": false}},
	} {
		t.Run(file, func(t *testing.T) {
			c, err := options.LoadConfigFromFile(klog.Background(), "../../config/"+file)
			if err != nil {
				t.Fatal(err)
			}
			if err := validation.ValidateKubeSchedulerConfiguration(c); err != nil {
				t.Fatal(err)
			}
			election := c.LeaderElection
			if diff := cmp.Diff(want.lease, []string{election.ResourceNamespace, election.ResourceName}); diff != "" || !election.LeaderElect {
				t.Errorf("leader election %v (-want +got):\n%s", election.LeaderElect, diff)
			}
			carries := map[string]bool{}
			for i := range c.Profiles {
				carries[c.Profiles[i].SchedulerName] = checkProfile(t, &c.Profiles[i])
			}
			if diff := cmp.Diff(want.profiles, carries); diff != "" {
				t.Errorf("profiles that carry the plugin (-want +got):\n%s", diff)
			}
		})
	}
}

// checkProfile reports whether the profile carries the plugin. One that does shows
// the arguments' defaults and has no preemption before Ebbtide's.
func checkProfile(t *testing.T, profile *kubeconfig.KubeSchedulerProfile) bool {
	t.Helper()
	if profile.Plugins == nil {
		return false
	}
	const preemption = "DefaultPreemption"
	at := func(plugins []kubeconfig.Plugin, name string) int {
		return slices.IndexFunc(plugins, func(plugin kubeconfig.Plugin) bool { return plugin.Name == name })
	}
	enabled := profile.Plugins.MultiPoint.Enabled
	own, theirs := at(enabled, ebbtide.Name), at(enabled, preemption)
	if own < 0 {
		return false
	}
	if at(profile.Plugins.MultiPoint.Disabled, preemption) < 0 || theirs >= 0 && theirs < own {
		t.Errorf("profile %s: %s stands before %s", profile.SchedulerName, preemption, ebbtide.Name)
	}
	for _, given := range profile.PluginConfig {
		if given.Name == ebbtide.Name {
			checkArgs(t, profile.SchedulerName, given.Args)
			return true
		}
	}
	t.Errorf("profile %s does not show the arguments of %s", profile.SchedulerName, ebbtide.Name)
	return true
}

func checkArgs(t *testing.T, profile string, given runtime.Object) {
	t.Helper()
	args, err := config.Decode(given)
	if err != nil {
		t.Errorf("profile %s: %v", profile, err)
		return
	}
	want := config.Default()
	if diff := cmp.Diff(&want, args); diff != "" {
		t.Errorf("arguments in profile %s (-defaults +shipped):\n%s", profile, diff)
	}
}

// A field that the scheduler does not know is refused, so a shipped file has none.
func TestConfigurationIsReadStrictly(t *testing.T) {
	if _, err := options.LoadConfigFromFile(klog.Background(), "testdata/unknown-field.yaml"); err == nil {
		t.Error("a configuration with an unknown field was read")
	}
}
