package copies_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ebbtide/ebbtide/e2e/supply"
)

// everything is an install with all that brings arguments or containers along.
const everything = `{agent: {enabled: true}, dynamicResources: {enabled: true}, externalMetrics: {enabled: true, secretName: a},
broker: {replicas: 2, certificate: {secretName: b}}, scheduler: {certificate: {secretName: c}}, monitors: {enabled: true, rules: true}}`

// TestArgumentsAreFlags: every container runs a program that there is, with flags that it
// has; every path in its arguments and probes is one that is mounted or served.
func TestArgumentsAreFlags(t *testing.T) {
	seen := 0
	for name, object := range chart(t, everything) {
		template, found, _ := unstructured.NestedMap(object.Object, "spec", "template")
		if !found {
			continue
		}
		var pod corev1.PodTemplateSpec
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template, &pod); err != nil {
			t.Fatal(err)
		}
		for _, c := range pod.Spec.Containers {
			seen++
			image := strings.TrimPrefix(c.Image[:strings.LastIndex(c.Image, ":")], "ghcr.io/ebbtide/")
			program, err := supply.Find(image)
			if err != nil {
				t.Errorf("%s: image %s: %v", name, c.Image, err)
				continue
			}
			if len(c.Command) > 0 {
				t.Errorf("%s: its command is not the image's own", name)
			}
			known := flags(t, program)
			for _, argument := range c.Args {
				flag, value, _ := strings.Cut(argument, "=")
				if !known[flag] {
					t.Errorf("%s: %s has no flag %s", name, image, flag)
				}
				if strings.HasPrefix(value, "/etc/") && !mounted(c.VolumeMounts, value) {
					t.Errorf("%s: %s: nothing is mounted there", name, argument)
				}
			}
			for _, mount := range c.VolumeMounts {
				if mount.Name != "ledger" && !volume(pod.Spec.Volumes, mount.Name) {
					t.Errorf("%s: there is no volume %s", name, mount.Name)
				}
			}
			for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
				if probe == nil || !port(c.Ports, probe.HTTPGet.Port.StrVal) {
					t.Errorf("%s: a probe is missing, or asks at no port", name)
				}
			}
		}
	}
	if seen != 3 {
		t.Errorf("%d containers were seen, want 3", seen)
	}
}

func mounted(mounts []corev1.VolumeMount, path string) bool {
	for _, m := range mounts {
		if strings.HasPrefix(path, m.MountPath+"/") {
			return true
		}
	}
	return false
}

func volume(volumes []corev1.Volume, name string) bool {
	for _, v := range volumes {
		if v.Name == name {
			return true
		}
	}
	return false
}

func port(ports []corev1.ContainerPort, name string) bool {
	for _, p := range ports {
		if p.Name == name {
			return true
		}
	}
	return false
}

// flags are those that a program's help lists.
func flags(t *testing.T, p supply.Program) map[string]bool {
	t.Helper()
	// Not as images are built: what a lab or a test has compiled is taken again.
	run := exec.CommandContext(t.Context(), "go", "run", p.Package, "--help")
	run.Dir = root
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%s --help: %v\n%s", p.Name, err, out)
	}
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z0-9-]+)`).FindAllSubmatch(out, -1) {
		all[string(m[1])] = true
	}
	if len(all) < 5 {
		t.Fatalf("%s lists %d flags, which cannot be all:\n%s", p.Name, len(all), out)
	}
	return all
}
