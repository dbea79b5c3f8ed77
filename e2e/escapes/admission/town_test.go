package admission_test

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/escapes/admission"
)

// alice is a tenant; the others are Ebbtide's own, and an administrator.
var (
	alice     = admission.User{Name: "alice"}
	root      = admission.User{Name: "root", Groups: []string{"system:masters"}, Quotas: true}
	broker    = admission.User{Name: "system:serviceaccount:ebbtide-system:ebbtide-broker", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ebbtide-system"}}
	scheduler = admission.User{Name: "system:serviceaccount:ebbtide-system:ebbtide-scheduler", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ebbtide-system"}}
	kubelet   = admission.User{Name: "system:node:gpu-0", Groups: []string{"system:nodes"}}
)

type town struct{ *admission.Judge }

// newTown has all policies, a tenant's namespace red and those that are left out.
func newTown(t *testing.T) *town {
	t.Helper()
	return without(t, "")
}

// without has all policies but one.
func without(t *testing.T, policy string) *town {
	t.Helper()
	stream, err := deploy.Manifests(deploy.AgentAccess, deploy.DynamicResources)
	if err != nil {
		t.Fatal(err)
	}
	var kept [][]byte
	for _, document := range bytes.Split(stream, []byte("\n---\n")) {
		if policy == "" || !bytes.Contains(document, []byte("\n  name: "+policy+"\n")) {
			kept = append(kept, document)
		}
	}
	stream = bytes.Join(kept, []byte("\n---\n"))
	namespace := func(name string, labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	w := &town{}
	w.Judge, err = admission.New(t.Context(), stream,
		[]admission.User{alice, root, broker, scheduler, kubelet},
		[]*corev1.Namespace{
			namespace("red", map[string]string{"team": "red"}), namespace("kube-system", nil), namespace("ebbtide-system", nil),
			namespace("drivers", map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}),
		},
		w.read(t, `{apiVersion: ebbtide.dev/v1alpha1, kind: TenantQuota, metadata: {name: red}, spec: {namespaces: {matchLabels: {team: red}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// read is an object from YAML.
func (*town) read(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatalf("read %s: %v", text, err)
	}
	return o
}
