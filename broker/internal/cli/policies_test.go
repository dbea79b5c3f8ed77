package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

// A kind that the broker admits is one that the admission policies suspend and guard.
func TestPoliciesKnowEveryKind(t *testing.T) {
	files, err := filepath.Glob("../../../deploy/kustomize/cluster/admission-*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	policies := map[string]*unstructured.Unstructured{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range documents(t, text) {
			if !strings.HasSuffix(o.GetKind(), "Binding") {
				policies[o.GetName()] = o
			}
		}
		// Which kinds have parts is said in several places.
		for _, list := range bytes.Split(text, []byte("'batch/Job'"))[1:] {
			before, _, _ := bytes.Cut(list, []byte("]"))
			for _, f := range jobs.Fields()[1:] {
				if name := "'" + f.Kind.Group + "/" + f.Kind.Kind + "'"; !bytes.Contains(before, []byte(name)) {
					t.Errorf("%s: a list of the kinds that have parts lacks %s", file, name)
				}
			}
		}
	}
	for _, f := range jobs.Fields() {
		resource, _ := meta.UnsafeGuessKindToResource(f.Kind)
		guards, defaults := "ebbtide-kinds", "ebbtide-kind-defaults"
		if f.Kind == kindJob {
			guards, defaults = "ebbtide-jobs", "ebbtide-job-defaults"
		}
		for _, name := range []string{guards, defaults, "ebbtide-jobs-of-the-scheduler"} {
			if !matches(policies[name], f.Kind.Group, resource.Resource) {
				t.Errorf("policy %s is not for %s", name, resource.GroupResource())
			}
		}
	}
	// Both look at the same pods.
	if a, b := variable(policies["ebbtide-kinds"], "templates"), variable(policies["ebbtide-kind-defaults"], "templates"); a == "" || a != b {
		t.Errorf("the pod templates of ebbtide-kinds are\n%s\nand those of ebbtide-kind-defaults\n%s", a, b)
	}
}

func matches(policy *unstructured.Unstructured, group, resource string) bool {
	rules, _, _ := unstructured.NestedSlice(policy.Object, "spec", "matchConstraints", "resourceRules")
	return slices.ContainsFunc(rules, func(item any) bool {
		rule := item.(map[string]any)
		groups, _, _ := unstructured.NestedStringSlice(rule, "apiGroups")
		resources, _, _ := unstructured.NestedStringSlice(rule, "resources")
		return slices.Contains(groups, group) && slices.Contains(resources, resource)
	})
}

func variable(policy *unstructured.Unstructured, name string) string {
	variables, _, _ := unstructured.NestedSlice(policy.Object, "spec", "variables")
	for _, item := range variables {
		if v := item.(map[string]any); v["name"] == name {
			return v["expression"].(string)
		}
	}
	return ""
}
