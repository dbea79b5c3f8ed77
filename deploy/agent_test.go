package deploy_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const agent = "system:serviceaccount:ebbtide-agent:ebbtide-agent"

// onNode is an agent with the token of a pod on a node; empty: of no pod.
func (c *cluster) onNode(node string) *rest.Config {
	config := c.as(agent, "system:serviceaccounts", "system:serviceaccounts:ebbtide-agent", "system:authenticated")
	if node != "" {
		config.Impersonate.Extra = map[string][]string{"authentication.kubernetes.io/node-name": {node}}
	}
	return config
}

// agentAccess applies what agents may do, for the time of a test.
func (c *cluster) agentAccess(t *testing.T) {
	t.Helper()
	manifests, err := deploy.Manifests(deploy.AgentAccess)
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.Apply(t.Context(), manifests); err != nil {
		t.Fatal(err)
	}
	c.agentsMake(t, "ebbtide.dev", "gpunodes")
}

// agentsMake waits until agents may, which the API server learns from watches.
func (c *cluster) agentsMake(t *testing.T, group, plural string) {
	t.Helper()
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		allowed, why, err := c.may(ctx, agent, "create", group, plural, "")
		return allowed, fmt.Sprintf("%s may not create %s yet: %s %v", agent, plural, why, err)
	})
}

// An agent writes the status of its own node's GPUNode, and restarts its own node's
// device plugin. A node that was taken over can do no more.
func TestAgentsKeepToTheirNode(t *testing.T) {
	c := testCluster(t)
	c.agentAccess(t)
	gpuNodes := func(config *rest.Config) dynamic.ResourceInterface {
		client, err := dynamic.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		return client.Resource(schema.GroupVersionResource{Group: "ebbtide.dev", Version: "v1alpha1", Resource: "gpunodes"})
	}
	t.Cleanup(func() {
		for _, name := range []string{"gpu-0", "gpu-1"} {
			_ = gpuNodes(c.as(administrator)).Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
		}
	})
	own := gpuNodes(c.onNode("gpu-0"))
	_, err := own.Create(t.Context(), ebbtideObject(t, "GPUNode", "gpu-1", "spec: {}"), metav1.CreateOptions{})
	wantRefusal(t, err, "an agent writes the GPUNode of its own node only")
	_, err = gpuNodes(c.onNode("")).Create(t.Context(), ebbtideObject(t, "GPUNode", "gpu-0", "spec: {}"), metav1.CreateOptions{})
	wantRefusal(t, err, "an agent writes with the token of its pod")
	foreign := ebbtideObject(t, "GPUNode", "gpu-0", "spec: {}")
	foreign.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "gpu-1", UID: "1"}})
	_, err = own.Create(t.Context(), foreign, metav1.CreateOptions{})
	wantRefusal(t, err, "a GPUNode is owned by its node and nothing else")
	_, err = own.Create(t.Context(), ebbtideObject(t, "GPUNode", "gpu-0", "spec: {}"), metav1.CreateOptions{})
	wantOutcome(t, err, "")
	status := []byte(`{"apiVersion": "ebbtide.dev/v1alpha1", "kind": "GPUNode", "status": {"driver": "580.1", "gpus": [{"uuid": "GPU-0", "healthy": true}]}}`)
	apply := metav1.PatchOptions{FieldManager: "ebbtide-agent"}
	_, err = own.Patch(t.Context(), "gpu-0", types.ApplyPatchType, status, apply, "status")
	wantOutcome(t, err, "")
	_, err = gpuNodes(c.onNode("gpu-1")).Patch(t.Context(), "gpu-0", types.ApplyPatchType, status, apply, "status")
	wantRefusal(t, err, "an agent writes the GPUNode of its own node only")
	if _, err = own.Patch(t.Context(), "gpu-0", types.MergePatchType, []byte(`{"spec": {"pinned": []}}`), metav1.PatchOptions{}); err == nil {
		t.Error("an agent may write spec")
	}
}

func TestAgentsRestartTheDevicePlugin(t *testing.T) {
	c := testCluster(t)
	c.agentAccess(t)
	pods := c.client(t, administrator).CoreV1().Pods("kube-system")
	for name, labels := range map[string]map[string]string{
		"plugin": {"app.kubernetes.io/name": "nvidia-device-plugin"}, "operators": {"app": "nvidia-device-plugin-daemonset"},
		"dns": {"k8s-app": "dns"},
	} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Spec:       corev1.PodSpec{NodeName: "gpu-0", Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
		}
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	try := func(node, pod string) error {
		client, err := dynamic.NewForConfig(c.onNode(node))
		if err != nil {
			t.Fatal(err)
		}
		zero := int64(0)
		return client.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace("kube-system").
			Delete(t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: &zero})
	}
	wantRefusal(t, try("gpu-1", "plugin"), "an agent restarts pods of its own node only")
	wantRefusal(t, try("gpu-0", "dns"), "an agent restarts pods of NVIDIA's device plugin only")
	wantOutcome(t, try("gpu-0", "plugin"), "")
	wantOutcome(t, try("gpu-0", "operators"), "")
	zero := int64(0)
	if err := pods.Delete(t.Context(), "dns", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
}

// The whole install with the component has the agent in a namespace that takes it, and
// what takes it is that namespace only.
func TestAgentComponent(t *testing.T) {
	all := withComponents(t, "agent", "dynamic-resources")
	set := all["DaemonSet ebbtide-agent/ebbtide-agent"]
	if set == nil {
		t.Fatal("there is no DaemonSet")
	}
	for namespace, want := range map[string]string{"ebbtide-system": "restricted", "ebbtide-agent": "privileged"} {
		if enforce := all["Namespace /"+namespace].GetLabels()["pod-security.kubernetes.io/enforce"]; enforce != want {
			t.Errorf("%s enforces %q, want %s", namespace, enforce, want)
		}
	}
	for name, object := range all {
		subjects, _, _ := unstructured.NestedSlice(object.Object, "subjects")
		for _, s := range subjects {
			subject := s.(map[string]any)
			account := fmt.Sprintf("ServiceAccount %v/%v", subject["namespace"], subject["name"])
			if subject["kind"] == "ServiceAccount" && subject["namespace"] != "kube-system" && all[account] == nil {
				t.Errorf("%s: there is no %s", name, account)
			}
		}
	}
	c := testCluster(t)
	c.agentAccess(t)
	client, err := dynamic.NewForConfig(c.as(administrator))
	if err != nil {
		t.Fatal(err)
	}
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
	_, err = client.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}).Namespace("ebbtide-agent").
		Create(t.Context(), set, options)
	wantOutcome(t, err, "")

	classes := c.client(t, administrator).NodeV1().RuntimeClasses()
	if _, err := classes.Create(t.Context(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "nvidia"}, Handler: "nvidia"}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = classes.Delete(context.WithoutCancel(t.Context()), "nvidia", metav1.DeleteOptions{}) })
	template, _, err := unstructured.NestedMap(set.Object, "spec", "template")
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template, pod); err != nil {
		t.Fatal(err)
	}
	pod.GenerateName = "ebbtide-agent-"
	for _, container := range pod.Spec.Containers {
		if container.Image != "ghcr.io/ebbtide/ebbtide-agent:v0.1.0" {
			t.Errorf("image %s", container.Image)
		}
	}
	try := func(namespace, account string) error {
		pod := pod.DeepCopy()
		pod.Spec.ServiceAccountName = account
		_, err := c.client(t, daemonSets, "system:masters").CoreV1().Pods(namespace).Create(t.Context(), pod, options)
		return err
	}
	wantOutcome(t, try("ebbtide-agent", "ebbtide-agent"), "")
	wantOutcome(t, try("ebbtide-system", "ebbtide-scheduler"), `violates PodSecurity "restricted:latest"`)
}

// withComponents renders the whole install with components as an overlay adds them.
func withComponents(t *testing.T, components ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	folder := t.TempDir()
	here, err := filepath.Abs("kustomize")
	if err != nil {
		t.Fatal(err)
	}
	up, err := filepath.Rel(folder, here)
	if err != nil {
		t.Fatal(err)
	}
	overlay := "resources: [" + up + "/default]\ncomponents:\n"
	for _, name := range components {
		overlay += "- " + up + "/components/" + name + "\n"
	}
	disk := filesys.MakeFsOnDisk()
	if err := disk.WriteFile(folder+"/kustomization.yaml", []byte(overlay)); err != nil {
		t.Fatal(err)
	}
	options := krusty.MakeDefaultOptions()
	resources, err := krusty.MakeKustomizer(options).Run(disk, folder)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, rendered)
}
