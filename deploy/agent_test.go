package deploy_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/ebbtide/ebbtide/deploy"
)

const agent = "system:serviceaccount:ebbtide-system:ebbtide-agent"

// onNode is an agent with the token of a pod on a node; empty: of no pod.
func (c *cluster) onNode(node string) *rest.Config {
	config := c.as(agent, "system:serviceaccounts", "system:serviceaccounts:ebbtide-system", "system:authenticated")
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

// The whole install with the component has the agent, and a namespace that takes it.
func TestAgentComponent(t *testing.T) {
	disk := filesys.MakeFsOnDisk()
	folder := t.TempDir()
	here, err := filepath.Abs("kustomize")
	if err != nil {
		t.Fatal(err)
	}
	up, err := filepath.Rel(folder, here)
	if err != nil {
		t.Fatal(err)
	}
	overlay := "resources: [" + up + "/default]\ncomponents: [" + up + "/components/agent]\n"
	if err := disk.WriteFile(folder+"/kustomization.yaml", []byte(overlay)); err != nil {
		t.Fatal(err)
	}
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified
	resources, err := krusty.MakeKustomizer(options).Run(disk, folder)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, rendered)
	set := all["DaemonSet ebbtide-system/ebbtide-agent"]
	if set == nil {
		t.Fatal("there is no DaemonSet")
	}
	if enforce := all["Namespace /ebbtide-system"].GetLabels()["pod-security.kubernetes.io/enforce"]; enforce != "privileged" {
		t.Errorf("the namespace enforces %s", enforce)
	}
	client, err := dynamic.NewForConfig(testCluster(t).as(administrator))
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}).Namespace("ebbtide-system").
		Create(t.Context(), set, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	wantOutcome(t, err, "")
	images := []string{}
	for _, c := range set.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"].([]any) {
		images = append(images, c.(map[string]any)["image"].(string))
	}
	if !slices.Equal(images, []string{"ghcr.io/ebbtide/ebbtide-agent:latest"}) {
		t.Errorf("images %v", images)
	}
}
