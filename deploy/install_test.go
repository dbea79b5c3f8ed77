package deploy_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy"
)

// wholeInstall renders deploy/kustomize/default as `kubectl apply -k` does, by
// "kind namespace/name".
func wholeInstall(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	options := krusty.MakeDefaultOptions()
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), "kustomize/default")
	if err != nil {
		t.Fatalf("render: %v", err)
	}
	rendered, err := resources.AsYaml()
	if err != nil {
		t.Fatalf("write as YAML: %v", err)
	}
	return objects(t, rendered)
}

func objects(t *testing.T, stream []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	found := map[string]*unstructured.Unstructured{}
	for _, document := range bytes.Split(stream, []byte("\n---\n")) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			t.Fatalf("read %q: %v", document, err)
		}
		found[fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())] = object
	}
	return found
}

// A program that installs Ebbtide and a person with kubectl get the same cluster.
func TestManifestsAreTheInstallWithoutWorkloads(t *testing.T) {
	stream, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	whole, some := wholeInstall(t), objects(t, bytes.TrimPrefix(stream, []byte("---\n")))
	for name, object := range some {
		if whole[name] == nil {
			t.Errorf("%s is not part of the whole install", name)
			continue
		}
		if diff := cmp.Diff(whole[name].Object, object.Object); diff != "" {
			t.Errorf("%s differs (-whole +Manifests):\n%s", name, diff)
		}
	}
	for name, object := range whole {
		workload := object.GetNamespace() == "ebbtide-system" && !strings.HasPrefix(object.GetAPIVersion(), "rbac.") &&
			object.GetKind() != "ServiceAccount"
		if !workload && some[name] == nil {
			t.Errorf("%s is missing from Manifests", name)
		}
	}
}

// The API server knows every field of the workloads, and lets their pods into
// the namespace they are for, at its Pod Security level.
func TestWorkloadsAreAccepted(t *testing.T) {
	c := testCluster(t)
	client, err := dynamic.NewForConfig(c.as(administrator))
	if err != nil {
		t.Fatal(err)
	}
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
	plurals := map[string]string{
		"StatefulSet": "statefulsets", "Deployment": "deployments", "Service": "services",
		"NetworkPolicy": "networkpolicies", "ConfigMap": "configmaps", "PodDisruptionBudget": "poddisruptionbudgets",
	}
	tried := map[string]int{}
	for name, object := range wholeInstall(t) {
		plural, ok := plurals[object.GetKind()]
		if !ok {
			continue
		}
		tried[object.GetKind()]++
		t.Run(name, func(t *testing.T) {
			gvr := schema.FromAPIVersionAndKind(object.GetAPIVersion(), "").GroupVersion().WithResource(plural)
			if _, err := client.Resource(gvr).Namespace(object.GetNamespace()).Create(t.Context(), object, options); err != nil {
				t.Errorf("create: %v", err)
			}
			template, ok, err := unstructured.NestedMap(object.Object, "spec", "template")
			if err != nil || !ok {
				return
			}
			pod := &corev1.Pod{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template, pod); err != nil {
				t.Fatalf("read the pod template: %v", err)
			}
			pod.GenerateName = object.GetName() + "-"
			dropClaims(pod)
			_, err = c.client(t, administrator).CoreV1().Pods(object.GetNamespace()).Create(t.Context(), pod, options)
			if err != nil {
				t.Errorf("create a pod of it: %v", err)
			}
		})
	}
	if diff := cmp.Diff(map[string]int{"StatefulSet": 1, "Deployment": 1, "Service": 1, "NetworkPolicy": 2, "ConfigMap": 2, "PodDisruptionBudget": 1}, tried); diff != "" {
		t.Errorf("workloads tried (-want +got):\n%s", diff)
	}
}

// dropClaims takes away the mounts of volumes that only a StatefulSet's
// controller adds.
func dropClaims(pod *corev1.Pod) {
	have := map[string]bool{}
	for _, volume := range pod.Spec.Volumes {
		have[volume.Name] = true
	}
	for i := range pod.Spec.Containers {
		var mounts []corev1.VolumeMount
		for _, mount := range pod.Spec.Containers[i].VolumeMounts {
			if have[mount.Name] {
				mounts = append(mounts, mount)
			}
		}
		pod.Spec.Containers[i].VolumeMounts = mounts
	}
}

// The scheduler's configuration is kept beside its code, where it is documented
// and tested; kustomize reads files below its own folder only.
func TestSchedulerConfigIsTheDocumentedOne(t *testing.T) {
	documented, err := os.ReadFile("../scheduler-plugin/config/second-scheduler.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile("kustomize/scheduler/scheduler-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(documented), string(shipped)); diff != "" {
		t.Errorf("copy scheduler-plugin/config/second-scheduler.yaml over it (-documented +shipped):\n%s", diff)
	}
}
