package deploy_test

import (
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/mig"
)

// Every profile of every board can be asked for by its resource, and no two classes are
// for the same.
func TestDeviceClassesOfAllProfiles(t *testing.T) {
	manifests, err := deploy.Manifests(deploy.DynamicResources)
	if err != nil {
		t.Fatal(err)
	}
	classes := map[string]string{}
	for _, text := range strings.Split(string(manifests), "\n---\n") {
		var class resourcev1.DeviceClass
		if err := yaml.Unmarshal([]byte(text), &class); err != nil {
			t.Fatal(err)
		}
		if class.Kind != "DeviceClass" {
			continue
		}
		resource := *class.Spec.ExtendedResourceName
		if _, twice := classes[resource]; twice {
			t.Errorf("two classes stand for %s", resource)
		}
		classes[resource] = class.Spec.Selectors[0].CEL.Expression
	}
	for _, board := range mig.Boards() {
		for _, p := range board.Profiles {
			if !strings.HasSuffix(classes[p.Resource()], "profile == '"+p.Name+"'") {
				t.Errorf("%s: no class stands for %s and selects %s (%q)", board.Board, p.Resource(), p.Name, classes[p.Resource()])
			}
		}
	}
	if classes["nvidia.com/gpu"] == "" {
		t.Error("no class stands for nvidia.com/gpu")
	}
}

// An agent publishes the devices of its own node under its own name, and nobody else does.
func TestResourceSlicesAreTheNodesOwn(t *testing.T) {
	c := testCluster(t)
	manifests, err := deploy.Manifests(deploy.AgentAccess, deploy.DynamicResources)
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.Apply(t.Context(), manifests); err != nil {
		t.Fatal(err)
	}
	c.agentsMake(t, "resource.k8s.io", "resourceslices")
	const agents = "an agent publishes the devices of gpu.ebbtide.dev on its own node only"
	administrators := c.as(administrator, "system:masters")
	for _, test := range []struct {
		name         string
		as           *rest.Config
		driver, node string
		want         string
	}{
		{"its own", c.onNode("node-a"), "gpu.ebbtide.dev", "node-a", ""},
		{"another node's", c.onNode("node-a"), "gpu.ebbtide.dev", "node-b", agents},
		{"another driver's", c.onNode("node-a"), "gpu.nvidia.com", "node-a", agents},
		{"without a node", c.onNode(""), "gpu.ebbtide.dev", "node-a", agents},
		{"by somebody else", administrators, "gpu.ebbtide.dev", "node-a", "only Ebbtide's agents publish devices of gpu.ebbtide.dev"},
		{"another driver's by somebody else", administrators, "gpu.nvidia.com", "node-a", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, err := kubernetes.NewForConfig(test.as)
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.ResourceV1().ResourceSlices().Create(t.Context(), &resourcev1.ResourceSlice{
				ObjectMeta: metav1.ObjectMeta{Name: "slice"},
				Spec: resourcev1.ResourceSliceSpec{
					Driver: test.driver, Pool: resourcev1.ResourcePool{Name: test.node, ResourceSliceCount: 1}, NodeName: &test.node,
					Devices: []resourcev1.Device{{Name: "gpu-0"}},
				},
			}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			wantOutcome(t, err, test.want)
		})
	}
}

// A claim for a slice is given to one pod, by Ebbtide's scheduler.
func TestClaimsAreOnePods(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	schedulers := c.client(t, scheduler, "system:masters").ResourceV1().ResourceClaims(namespace)
	made, err := schedulers.Create(t.Context(), &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "claim"},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "mig-1g.5gb.ebbtide.dev"}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	given := func(pods ...string) *resourcev1.ResourceClaim {
		out := made.DeepCopy()
		out.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
			{Request: "r", Driver: "gpu.ebbtide.dev", Pool: "n", Device: "gpu-0-mig-1g5gb-19-0"},
		}}}
		for _, pod := range pods {
			out.Status.ReservedFor = append(out.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod, UID: types.UID(pod)})
		}
		return out
	}
	dry := metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}
	others := c.client(t, "system:kube-scheduler", "system:masters").ResourceV1().ResourceClaims(namespace)
	const oneScheduler = "only Ebbtide's scheduler gives GPUs to claims, and claims to pods"
	_, err = others.UpdateStatus(t.Context(), given("a"), dry)
	wantOutcome(t, err, oneScheduler)
	_, err = schedulers.UpdateStatus(t.Context(), given("a", "b"), dry)
	wantOutcome(t, err, "a claim for a GPU is one pod's")
	if made, err = schedulers.UpdateStatus(t.Context(), given(), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = others.UpdateStatus(t.Context(), given("a"), dry)
	wantOutcome(t, err, oneScheduler)
	gone := made.DeepCopy() // as the controller of claims does
	gone.Status.Allocation = nil
	_, err = others.UpdateStatus(t.Context(), gone, dry)
	wantOutcome(t, err, "")
}
