package lab_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// The object comes before its definition and its namespace, which Apply puts
// right.
const definitions = `
kind: Boat
apiVersion: lab.example.com/v1
metadata: {name: tender, namespace: harbour}
spec: {length: 4}
---
# nothing but a comment
---
kind: Namespace
apiVersion: v1
metadata: {name: harbour}
---
kind: CustomResourceDefinition
apiVersion: apiextensions.k8s.io/v1
metadata: {name: boats.lab.example.com}
spec:
  group: lab.example.com
  scope: Namespaced
  names: {kind: Boat, plural: boats}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {length: {type: integer, maximum: 100}}
`

func applyDefinitions(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	for range 2 { // the second time changes nothing
		if err := l.Apply(ctx, []byte(definitions)); err != nil {
			t.Fatal(err)
		}
	}
	boats := schema.GroupVersionResource{Group: "lab.example.com", Version: "v1", Resource: "boats"}
	if _, err := l.Dynamic().Resource(boats).Namespace("harbour").Get(ctx, "tender", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	err := l.Apply(ctx, []byte(strings.SplitN(strings.Replace(definitions, "length: 4", "length: 400", 1), "---", 2)[0]))
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "apply Boat harbour/tender") {
		t.Errorf("an invalid boat: %v, want Invalid, naming it", err)
	}
	err = l.Apply(ctx, []byte("metadata: {name: x}"))
	if err == nil || !strings.Contains(err.Error(), "manifest 0") {
		t.Errorf("a document of no kind: %v, want an error naming the manifest", err)
	}
}

const policies = `
kind: ValidatingAdmissionPolicy
apiVersion: admissionregistration.k8s.io/v1
metadata: {name: no-secrets}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  matchConditions:
  - {name: named, expression: "object.metadata.name == 'secret'"}
  validations:
  - {expression: "false", message: "no secrets in the open"}
---
kind: ValidatingAdmissionPolicyBinding
apiVersion: admissionregistration.k8s.io/v1
metadata: {name: no-secrets}
spec: {policyName: no-secrets, validationActions: [Deny]}
---
kind: MutatingAdmissionPolicy
apiVersion: admissionregistration.k8s.io/v1
metadata: {name: stamp}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  matchConditions:
  - {name: named, expression: "object.metadata.name == 'stamped'"}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: "Object{data: {'by': 'policy'}}"}
---
kind: MutatingAdmissionPolicyBinding
apiVersion: admissionregistration.k8s.io/v1
metadata: {name: stamp}
spec: {policyName: stamp}
`

// admissionPolicies must hold at the very first request after Apply.
func admissionPolicies(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	if err := l.Apply(ctx, []byte(policies)); err != nil {
		t.Fatal(err)
	}
	create := func(name string) (*corev1.ConfigMap, error) {
		return l.Client().CoreV1().ConfigMaps(tenant).Create(ctx,
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	}
	if _, err := create("secret"); err == nil || !strings.Contains(err.Error(), "no secrets in the open") {
		t.Errorf("create a forbidden ConfigMap: %v, want the policy's message", err)
	}
	made, err := create("stamped")
	if err != nil {
		t.Fatal(err)
	}
	if made.Data["by"] != "policy" {
		t.Errorf("a ConfigMap to be changed has %v", made.Data)
	}
	if _, err := create("plain"); err != nil {
		t.Error(err)
	}
}

func unknownProgram(t *testing.T, l *lab.Lab) {
	_, err := l.StartBroker(t.Context(), lab.Program{Name: lab.Kwok})
	if err == nil || !strings.Contains(err.Error(), "start kwok: a part of that name exists") {
		t.Errorf("a broker called kwok: %v", err)
	}
	if l.Part("no such part") != nil {
		t.Error("a part of no lab's was found")
	}
}

// lostNode deletes a pod on a node that is lost: nobody confirms its end.
func lostNode(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	if err := l.AddNodes(ctx, []lab.NodeSpec{{Name: "far", GPUs: 1}}); err != nil {
		t.Fatal(err)
	}
	p := pod("marooned", nil)
	p.Spec.NodeName = "far"
	pods := l.Client().CoreV1().Pods(tenant)
	if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, time.Minute, func(ctx context.Context) (bool, string) {
		p, err := pods.Get(ctx, "marooned", metav1.GetOptions{})
		return err == nil && describe(p) == "Running ready", "the pod is not ready"
	})
	if err := l.LoseNode(ctx, "far"); err != nil {
		t.Fatal(err)
	}
	remove(t, l, "marooned", 1)
	// A pod on a good node, deleted later and with a longer grace, goes first.
	terminate(t, l, pod("control", map[string]string{"lab.ebbtide.dev/exit-after": "2s"}), 30, func() {})
	if _, err := pods.Get(ctx, "marooned", metav1.GetOptions{}); err != nil {
		t.Errorf("the pod on the lost node: %v, want it there until its kubelet is back", err)
	}
	if err := l.RecoverNode(ctx, "far"); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, time.Minute, func(ctx context.Context) (bool, string) {
		_, err := pods.Get(ctx, "marooned", metav1.GetOptions{})
		return apierrors.IsNotFound(err), "the pod is still there"
	})
}

func TestMissingProgramIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "controlplane"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := lab.Start(t.Context(), lab.Options{BinDir: dir})
	if err == nil || !strings.Contains(err.Error(), "find program kwok") {
		t.Errorf("got %v, want an error naming kwok", err)
	}
}
