package doctor

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	extensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy"
)

var update = flag.Bool("update", false, "write shipped.json")

// role is a role or a binding of either scope.
type role struct {
	rbacv1.ClusterRole `json:",inline"`
	RoleRef            rbacv1.RoleRef   `json:"roleRef"`
	Subjects           []rbacv1.Subject `json:"subjects"`
}

// documents are those of an install. It takes seconds to render them.
var documents = sync.OnceValues(func() ([][]byte, error) {
	stream, err := deploy.Manifests()
	return bytes.Split(bytes.TrimPrefix(stream, []byte("---\n")), []byte("\n---\n")), err
})

// manifests reads what an install has.
func manifests(t *testing.T) (out Manifests, definitions []*extensionsv1.CustomResourceDefinition) {
	t.Helper()
	all, err := documents()
	if err != nil {
		t.Fatal(err)
	}
	out = Manifests{Definitions: map[string]string{}, Classes: map[string]int32{}, Accounts: map[string][]Right{}}
	roles := map[string][]rbacv1.PolicyRule{}
	var bindings []role
	for _, document := range all {
		var kind struct {
			Kind string `json:"kind"`
		}
		decode(t, document, &kind)
		switch kind.Kind {
		case "CustomResourceDefinition":
			crd := &extensionsv1.CustomResourceDefinition{}
			decode(t, document, crd)
			out.Definitions[crd.Name] = Digest(crd)
			definitions = append(definitions, crd)
		case "PriorityClass":
			var class schedulingv1.PriorityClass
			decode(t, document, &class)
			out.Classes[class.Name] = class.Value
		case "ClusterRole", "Role":
			var r role
			decode(t, document, &r)
			roles[r.Kind+" "+r.Namespace+"/"+r.Name] = r.Rules
		case "ClusterRoleBinding", "RoleBinding":
			var r role
			decode(t, document, &r)
			bindings = append(bindings, r)
		}
	}
	for _, b := range bindings {
		in := ""
		if b.RoleRef.Kind == "Role" {
			in = b.Namespace
		}
		for _, s := range b.Subjects {
			if s.Kind == "ServiceAccount" && s.Namespace == system {
				out.Accounts[s.Name] = append(out.Accounts[s.Name], rights(b.Namespace, roles[b.RoleRef.Kind+" "+in+"/"+b.RoleRef.Name])...)
			}
		}
	}
	return out, definitions
}

func decode(t *testing.T, document []byte, into any) {
	t.Helper()
	if err := yaml.Unmarshal(document, into); err != nil {
		t.Fatal(err)
	}
}

// rights are those of a role's rules, one by one. A role of others (system:kube-scheduler)
// has none here.
func rights(ns string, rules []rbacv1.PolicyRule) (out []Right) {
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, name := range names {
					plural, sub, _ := strings.Cut(resource, "/")
					out = append(out, Right{Namespace: ns, Group: group, Resource: plural, Subresource: sub, Name: name, Verbs: rule.Verbs})
				}
			}
		}
	}
	return out
}

// What is looked for is what the manifests install.
func TestShipped(t *testing.T) {
	want, _ := manifests(t)
	if *update {
		text, err := json.MarshalIndent(want, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("shipped.json", append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, Shipped()); diff != "" {
		t.Errorf("shipped.json is not what the manifests say; -update writes it:\n%s", diff)
	}
	if len(want.Definitions) != 5 || len(want.Classes) != 3 || len(want.Accounts["ebbtide-broker"]) < 50 || len(want.Accounts["ebbtide-scheduler"]) < 15 {
		t.Errorf("the manifests have %d definitions, %d classes, %d and %d rights", len(want.Definitions), len(want.Classes),
			len(want.Accounts["ebbtide-broker"]), len(want.Accounts["ebbtide-scheduler"]))
	}
}

// What the API server fills in is no change.
func TestDigestAfterDefaults(t *testing.T) {
	want, definitions := manifests(t)
	for _, crd := range definitions {
		extensionsv1.SetDefaults_CustomResourceDefinition(crd)
		extensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
		if got := Digest(crd); got != want.Definitions[crd.Name] {
			t.Errorf("%s has another digest with its defaults", crd.Name)
		}
		crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Description += "x"
		if got := Digest(crd); got == want.Definitions[crd.Name] {
			t.Errorf("%s has the same digest with another schema", crd.Name)
		}
	}
}
