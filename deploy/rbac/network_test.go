package rbac_test

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// workload is what makes pods.
type workload struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Template corev1.PodTemplateSpec `json:"template"`
	} `json:"spec"`
}

// installed are the workloads and the NetworkPolicies of the whole install.
func installed(t *testing.T, stream []byte) (workloads []workload, policies []networkingv1.NetworkPolicy) {
	t.Helper()
	for _, document := range bytes.Split(stream, []byte("\n---\n")) {
		var w workload
		if err := yaml.Unmarshal(document, &metav1.TypeMeta{}); err != nil {
			t.Fatal(err)
		}
		_ = yaml.Unmarshal(document, &w) // most are no workloads
		switch w.Kind {
		case "StatefulSet", "Deployment", "DaemonSet":
			workloads = append(workloads, w)
		case "NetworkPolicy":
			var p networkingv1.NetworkPolicy
			if err := yaml.UnmarshalStrict(document, &p); err != nil {
				t.Fatal(err)
			}
			policies = append(policies, p)
		}
	}
	return workloads, policies
}

// Every pod of Ebbtide's has a NetworkPolicy for both ways, which lets in declared clients
// only, on ports that there are, and lets nothing out to the rest of the world but to the
// API server's ports.
func TestNetworkPolicies(t *testing.T) {
	workloads, policies := installed(t, rendered(t))
	if len(workloads) != 3 {
		t.Fatalf("%d workloads were rendered, want 3", len(workloads))
	}
	for _, w := range workloads {
		t.Run(w.Name, func(t *testing.T) {
			var policy *networkingv1.NetworkPolicy
			for i := range policies {
				selector, err := metav1.LabelSelectorAsSelector(&policies[i].Spec.PodSelector)
				if err != nil {
					t.Fatal(err)
				}
				if policies[i].Namespace == w.Namespace && selector.Matches(labels.Set(w.Spec.Template.Labels)) {
					policy = &policies[i]
				}
			}
			if policy == nil || len(policy.Spec.PolicyTypes) != 2 {
				t.Fatal("no NetworkPolicy is for both ways")
			}
			for _, wrong := range loose(&policy.Spec, w.Spec.Template.Spec.Containers[0].Ports) {
				t.Error(wrong)
			}
		})
	}
	open := networkingv1.NetworkPolicySpec{
		Ingress: []networkingv1.NetworkPolicyIngressRule{{}}, Egress: []networkingv1.NetworkPolicyEgressRule{{}},
	}
	if len(loose(&open, nil)) != 2 {
		t.Error("a policy that lets everything pass is found good")
	}
}

// loose is what a policy lets pass that it must not.
func loose(spec *networkingv1.NetworkPolicySpec, ports []corev1.ContainerPort) (wrong []string) {
	for _, rule := range spec.Ingress {
		authenticated := len(rule.Ports) == 1 && rule.Ports[0].Port.String() == "ext-metrics"
		if len(rule.From) == 0 && !authenticated || len(rule.Ports) == 0 {
			wrong = append(wrong, "anybody may come in")
		}
		for _, p := range rule.Ports {
			if !slices.ContainsFunc(ports, func(c corev1.ContainerPort) bool { return c.Name == p.Port.String() }) {
				wrong = append(wrong, "there is no port "+p.Port.String())
			}
		}
	}
	for _, rule := range spec.Egress {
		if len(rule.To) > 0 && rule.To[0].NamespaceSelector != nil {
			continue
		}
		var out []string
		for _, p := range rule.Ports {
			out = append(out, p.Port.String())
		}
		if strings.Join(out, " ") != "443 6443" {
			wrong = append(wrong, "it may go anywhere on ports "+strings.Join(out, " "))
		}
	}
	return wrong
}

// The patches that the page shows are patches of what there is.
func TestWideningTheNetwork(t *testing.T) {
	page, err := os.ReadFile("../../docs/security/network.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	if len(shown) < 3 {
		t.Fatalf("the page shows %d patches", len(shown))
	}
	for _, m := range shown {
		disk := filesys.MakeFsInMemory()
		if err := disk.WriteFile("base.yaml", rendered(t)); err != nil {
			t.Fatal(err)
		}
		text := append([]byte("resources: [base.yaml]\n"), m[1]...)
		if err := disk.WriteFile("kustomization.yaml", text); err != nil {
			t.Fatal(err)
		}
		all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, ".")
		if err != nil {
			t.Errorf("%s: %v", m[1], err)
			continue
		}
		stream, err := all.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		_, before := installed(t, rendered(t))
		_, after := installed(t, stream)
		changed := 0
		for i := range after {
			for j := range before {
				a, _ := yaml.Marshal(after[i].Spec)
				b, _ := yaml.Marshal(before[j].Spec)
				if after[i].Name == before[j].Name && !bytes.Equal(a, b) {
					changed++
				}
			}
		}
		if changed == 0 {
			t.Errorf("this changes nothing:\n%s", m[1])
		}
	}
}
