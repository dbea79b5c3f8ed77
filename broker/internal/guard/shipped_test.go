package guard_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	defaults "k8s.io/kubernetes/pkg/apis/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/internal/guard"
	"github.com/ebbtide/ebbtide/deploy"
)

var update = flag.Bool("update", false, "write policies.json")

// rendered is what is shipped, rendered once: that takes seconds.
var rendered = sync.OnceValues(func() ([]byte, error) { return deploy.Manifests() })

// installed are the policies and bindings of every install, by kind and name.
func installed(t *testing.T) map[string]client.Object {
	t.Helper()
	stream, err := rendered()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]client.Object{}
	for _, o := range []client.Object{
		&registration.ValidatingAdmissionPolicy{}, &registration.ValidatingAdmissionPolicyBinding{},
		&registration.MutatingAdmissionPolicy{}, &registration.MutatingAdmissionPolicyBinding{},
	} {
		kinds[reflect.TypeOf(o).Elem().Name()] = o
	}
	out := map[string]client.Object{}
	for _, document := range bytes.Split(bytes.TrimPrefix(stream, []byte("---\n")), []byte("\n---\n")) {
		var kind struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		if kinds[kind.Kind] == nil {
			continue
		}
		o := kinds[kind.Kind].DeepCopyObject().(client.Object)
		if err := yaml.UnmarshalStrict(document, o); err != nil {
			t.Fatal(err)
		}
		out[kind.Kind+" "+o.GetName()] = o
	}
	return out
}

// The broker knows the policies that are shipped with it.
func TestShippedPolicies(t *testing.T) {
	have := map[string]string{}
	for name, o := range installed(t) {
		have[name] = guard.Digest(o)
	}
	if *update {
		text, err := json.MarshalIndent(have, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("policies.json", append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(have) < 30 {
		t.Errorf("only %d policies and bindings are shipped", len(have))
	}
	if diff := cmp.Diff(guard.Shipped(), have); diff != "" {
		t.Errorf("run go test ./broker/internal/guard -update (-known +shipped):\n%s", diff)
	}
}

// What the API server fills in is no change. Its defaults are its own code's.
func TestDefaultsAreNoChange(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := defaults.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	filled := 0
	for name, o := range installed(t) {
		stored := o.DeepCopyObject().(client.Object)
		scheme.Default(stored)
		if !cmp.Equal(o, stored) {
			filled++
		}
		if guard.Digest(stored) != guard.Digest(o) {
			t.Errorf("%s has another digest with defaults:\n%s", name, cmp.Diff(o, stored))
		}
	}
	if filled < 20 {
		t.Errorf("defaults changed %d objects only", filled)
	}
}
