package rehearse

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// structural is a kind's schema as the API server takes it.
func structural(t *testing.T, kind string) *schema.Structural {
	t.Helper()
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(all[kind])
	if err != nil {
		t.Fatal(err)
	}
	var v1 apiextensionsv1.JSONSchemaProps
	if err := json.Unmarshal(data, &v1); err != nil {
		t.Fatal(err)
	}
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&v1, &internal, nil); err != nil {
		t.Fatal(err)
	}
	s, err := schema.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Defaults are those that the API server's own code gives.
func TestDefaultsAreTheAPIServers(t *testing.T) {
	for name, tc := range map[string]struct{ kind, spec string }{
		"a policy":           {"LendingPolicy", `{"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}}`},
		"a policy that says": {"LendingPolicy", `{"lowWater": "10%", "headroom": {"warm": 0}, "signals": [{"profile": "sglang"}], "dwell": "0s"}`},
		"parts of a policy": {"LendingPolicy", `{"schedule": [{"keep": 3}, {"timezone": "Asia/Tokyo"}], "mig": {}, "scaling": {"mode": "Manage", "max": 4},
			"hooks": {"beforeLend": {}, "beforeReturn": {"timeout": "1s"}}, "reclaim": {}, "behavior": {"lend": {}}}`},
		"nulls":        {"LendingPolicy", `{"dwell": null, "headroom": null, "reclaim": {"maxGrace": null}}`},
		"a quota":      {"TenantQuota", `{"flavors": [{"name": "h100"}, {"name": "a100", "nominal": 3}], "weight": 2}`},
		"a bare quota": {"TenantQuota", `{}`},
		"a queue":      {"TrainingQueue", `{}`},
		"a fair queue": {"TrainingQueue", `{"order": "FairShare", "paused": true}`},
	} {
		t.Run(name, func(t *testing.T) {
			fields := func() map[string]any {
				f, err := fieldsOf([]byte(`{"apiVersion": "` + v1alpha1.GroupVersion.String() + `", "kind": "` + tc.kind + `", "metadata": {"name": "x"}, "spec": ` + tc.spec + `}`))
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			want, got := fields(), fields()
			defaulting.Default(want, structural(t, tc.kind))
			if err := fill(&unstructured.Unstructured{Object: got}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("defaults (-API server +here):\n%s", diff)
			}
			if cmp.Equal(want, fields()) {
				t.Error("nothing was given a default: nothing is compared")
			}
		})
	}
}
