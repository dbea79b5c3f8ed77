package lab

import (
	"encoding/json"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/lab/crds"
	"github.com/ebbtide/ebbtide/e2e/lab/pki"
)

func TestCheckOperators(t *testing.T) {
	running := map[string]*Part{crds.JobSet: {}}
	tests := []struct {
		name  string
		parts map[string]*Part
		start []string
		err   string
	}{
		{"all", nil, crds.Projects(), ""},
		{"trainer beside jobset", nil, []string{crds.Trainer, crds.JobSet}, ""},
		{"trainer after jobset", running, []string{crds.Trainer}, ""},
		{"trainer alone", nil, []string{crds.Trainer}, "needs jobset"},
		{"unknown", nil, []string{"kueue"}, `"kueue"`},
		{"twice at once", nil, []string{crds.KubeRay, crds.KubeRay}, "exists"},
		{"twice", running, []string{crds.JobSet}, "exists"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := (&Lab{parts: tt.parts}).checkOperators(tt.start)
			if tt.err == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want an error with %q", err, tt.err)
			}
		})
	}
}

// TestOperatorManifests checks that each project's file has the role that its account
// is bound to, and that no webhook is left to be reached by a Service.
func TestOperatorManifests(t *testing.T) {
	authority, err := pki.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{authority: authority}
	for _, name := range crds.Projects() {
		text, err := operatorManifests.ReadFile("operators/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		rights, hooks, err := l.operatorObjects(text, "127.0.0.1:4711")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(rights) != 1 {
			t.Fatalf("%s: %d objects that are no webhooks, want its role alone", name, len(rights))
		}
		var role rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict(rights[0], &role); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if role.Name != operators[name].role || len(role.Rules) == 0 {
			t.Errorf("%s: role %s with %d rules, want %s with some", name, role.Name, len(role.Rules), operators[name].role)
		}
		for _, hook := range hooks {
			checkHooks(t, name, hook)
		}
	}
}

func checkHooks(t *testing.T, operator string, text []byte) {
	t.Helper()
	var configuration struct {
		Webhooks []struct {
			Name         string `json:"name"`
			ClientConfig struct {
				URL      string `json:"url"`
				CABundle []byte `json:"caBundle"`
				Service  any    `json:"service"`
			} `json:"clientConfig"`
		} `json:"webhooks"`
	}
	if err := json.Unmarshal(text, &configuration); err != nil {
		t.Fatal(err)
	}
	last := len(configuration.Webhooks) - 1
	if last < 1 || configuration.Webhooks[last].Name != sentinelHook {
		t.Errorf("%s: %d webhooks, want at least one and the sentinel", operator, last+1)
		return
	}
	for _, hook := range configuration.Webhooks[:last] {
		c := hook.ClientConfig
		if !strings.HasPrefix(c.URL, "https://127.0.0.1:4711/") || c.Service != nil || len(c.CABundle) == 0 {
			t.Errorf("%s: webhook %s is reached by %+v, want the operator's address and the lab's authority", operator, hook.Name, c)
		}
	}
}
