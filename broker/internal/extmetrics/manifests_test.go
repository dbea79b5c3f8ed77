package extmetrics

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// TestManifests: what the component adds to the whole install leads from the API
// server to the port on which the server listens, under the name that it certifies.
func TestManifests(t *testing.T) {
	deploy, err := filepath.Abs("../../../deploy/kustomize")
	if err != nil {
		t.Fatal(err)
	}
	overlay := t.TempDir()
	relative, err := filepath.Rel(overlay, deploy)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("resources: [%[1]s/default]\ncomponents: [%[1]s/components/external-metrics]\n", relative)
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), overlay)
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string][]byte{}
	for _, r := range resources.Resources() {
		content, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		objects[r.GetKind()+" "+r.GetName()] = content
	}
	read := func(name string, into any) {
		t.Helper()
		if objects[name] == nil {
			t.Fatalf("%s is missing", name)
		}
		if err := yaml.UnmarshalStrict(objects[name], into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var api struct {
		Spec struct {
			Service struct{ Name, Namespace string }
		}
	}
	if err := yaml.Unmarshal(objects["APIService v1beta1.external.metrics.k8s.io"], &api); err != nil {
		t.Fatal(err)
	}
	if at := api.Spec.Service; ServiceName != at.Name+"."+at.Namespace+".svc" {
		t.Errorf("the API leads to %+v, the certificate is for %s", at, ServiceName)
	}
	var service corev1.Service
	read("Service "+api.Spec.Service.Name, &service)
	var set appsv1.StatefulSet
	read("StatefulSet ebbtide-broker", &set)
	port := service.Spec.Ports[0].TargetPort.StrVal
	if !slices.ContainsFunc(set.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == port && p.ContainerPort == 6443 }) {
		t.Errorf("the broker has no port %s", port)
	}
	for key, value := range service.Spec.Selector {
		if set.Spec.Template.Labels[key] != value {
			t.Errorf("the service does not select the broker: %s=%s", key, value)
		}
	}
	var policy networkingv1.NetworkPolicy
	read("NetworkPolicy ebbtide-broker", &policy)
	if !slices.ContainsFunc(policy.Spec.Ingress, func(rule networkingv1.NetworkPolicyIngressRule) bool {
		return len(rule.From) == 0 && len(rule.Ports) == 1 && rule.Ports[0].Port.StrVal == port
	}) {
		t.Errorf("nothing may reach port %s", port)
	}
	var role rbacv1.ClusterRole
	read("ClusterRole ebbtide-external-metrics-reader", &role)
	for _, d := range descriptions {
		if !slices.Contains(role.Rules[0].Resources, d.name) {
			t.Errorf("a reader may not read %s", d.name)
		}
	}
}
