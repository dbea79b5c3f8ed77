package deploy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const visibleDevices = "spec.containers[].env[NVIDIA_VISIBLE_DEVICES]: only none, void and the empty value are allowed"

// A pod gets GPUs by asking for them as a resource, and by nothing else that an
// API object can say.
func TestPodsAskForDevices(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	privileged := "drivers"
	if err := shared.CreateNamespace(t.Context(), privileged, map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}); err != nil {
		t.Fatal(err)
	}
	env := func(value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NVIDIA_VISIBLE_DEVICES", Value: value}}
		}
	}
	noGPU := func(pod *corev1.Pod) {
		pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.com/web:1"}}
	}
	mount := func(path string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: path}}
		}
	}
	c.tryPods(t, namespace, []podTry{
		{"all devices, asking for none", tenant, "", both(noGPU, stock, env("all")), visibleDevices},
		{"all devices, asking for one", tenant, "", env("all"), visibleDevices},
		{"one device by its number", tenant, "", both(noGPU, stock, env("0")), visibleDevices},
		{"all devices, as administrator", administrator, "", both(noGPU, stock, env("all")), visibleDevices},
		{"no devices", tenant, "", both(noGPU, stock, env("none")), ""},
		{"void", tenant, "", both(noGPU, stock, env("void")), ""},
		{"empty", tenant, "", both(noGPU, stock, env("")), ""},
		{"devices from a ConfigMap", tenant, "", func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NVIDIA_VISIBLE_DEVICES", ValueFrom: &corev1.EnvVarSource{
				ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}, Key: "b"},
			}}}
		}, visibleDevices},
		{"all devices, in an init container", tenant, "", both(noGPU, stock, func(pod *corev1.Pod) {
			pod.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "example.com/web:1",
				Env: []corev1.EnvVar{{Name: "NVIDIA_VISIBLE_DEVICES", Value: "all"}}}}
		}), visibleDevices},
		{"another variable", tenant, "", both(noGPU, stock, func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NVIDIA_DRIVER_CAPABILITIES", Value: "all"}}
		}), ""},
		{"a driver's pod, in a privileged namespace", administrator, privileged, both(noGPU, stock, env("all")), ""},
		{"a system pod", administrator, "kube-system", both(noGPU, stock, env("all")), ""},
		{"devices by a mount", tenant, "", both(noGPU, stock, mount("/var/run/nvidia-container-devices/all")),
			"must not be in /var/run/nvidia-container-devices"},
		{"another mount", tenant, "", both(noGPU, stock, mount("/var/run/app")), ""},
		{"devices by an annotation", tenant, "", both(noGPU, stock, func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{"cdi.k8s.io/gpu": "nvidia.com/gpu=all"}
		}), "metadata.annotations[cdi.k8s.io/*]: devices are asked for with resources.limits"},
		{"devices by the name of their class", tenant, "", both(stock, ask(container("deviceclass.resource.kubernetes.io/gpu.nvidia.com", "1"))),
			"resources of deviceclass.resource.kubernetes.io are counted in no quota"},
	})
}

// An ephemeral container cannot ask for resources, so it must not help itself.
func TestEphemeralContainersGetNoDevices(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	pod := create(t, c.client(t, tenant), namespace, onlinePod())
	add := func(container string) error {
		_, err := c.client(t, administrator).CoreV1().Pods(namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType,
			fmt.Appendf(nil, `{"spec": {"ephemeralContainers": [%s]}}`, container),
			metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, "ephemeralcontainers")
		return err
	}
	wantOutcome(t, add(`{"name": "debug", "image": "example.com/debug:1"}`), "")
	wantOutcome(t, add(`{"name": "debug", "image": "example.com/debug:1", "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}`), visibleDevices)
	wantOutcome(t, add(`{"name": "debug", "image": "example.com/debug:1", "resources": {"limits": {"nvidia.com/gpu": 1}}}`), "spec.ephemeralContainers[0].resources: Forbidden")
}

// deviceClass makes a class that lasts as long as the test.
func (c *cluster) deviceClass(t *testing.T, name, selector string) {
	t.Helper()
	class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if selector != "" {
		class.Spec.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: selector}}}
	}
	classes := c.client(t, administrator).ResourceV1().DeviceClasses()
	if _, err := classes.Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create the class: %v", err)
	}
	t.Cleanup(func() { _ = classes.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}) })
}

// Claims for GPUs are counted in no quota, so there are none.
func TestClaimsForGPUs(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	c.deviceClass(t, "h100", `device.driver == "gpu.nvidia.com"`)
	c.deviceClass(t, "own", `device.driver == "gpu.ebbtide.dev"`)
	c.deviceClass(t, "nic", `device.driver == "nic.example.com"`)
	c.deviceClass(t, "anything", "")
	exactly := func(class string) resourcev1.DeviceRequest {
		return resourcev1.DeviceRequest{Name: "r-" + class[:3], Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class}}
	}
	first := func(classes ...string) resourcev1.DeviceRequest {
		r := resourcev1.DeviceRequest{Name: "r"}
		for i, class := range classes {
			r.FirstAvailable = append(r.FirstAvailable, resourcev1.DeviceSubRequest{Name: fmt.Sprintf("s%d", i), DeviceClassName: class})
		}
		return r
	}
	const notCounted = "claims for GPUs are counted in no quota"
	// The API server learns of the classes from a watch, of the one of anything last.
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "claim"}}
		claim.Spec.Devices.Requests = []resourcev1.DeviceRequest{exactly("anything")}
		_, err := c.client(t, administrator).ResourceV1().ResourceClaims(namespace).Create(ctx, claim, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "anything may be a GPU"), fmt.Sprintf("the classes are not seen yet: %v", err)
	})
	tests := []struct {
		name     string
		user     string
		requests []resourcev1.DeviceRequest
		want     string
	}{
		{"NVIDIA's class", tenant, []resourcev1.DeviceRequest{exactly("gpu.nvidia.com")}, notCounted},
		{"NVIDIA's class, as administrator", administrator, []resourcev1.DeviceRequest{exactly("gpu.nvidia.com")}, notCounted},
		{"NVIDIA's class, by the scheduler", scheduler, []resourcev1.DeviceRequest{exactly("gpu.nvidia.com")}, ""},
		{"Ebbtide's slices", tenant, []resourcev1.DeviceRequest{exactly("mig-1g.5gb.ebbtide.dev")}, notCounted},
		{"Ebbtide's driver", tenant, []resourcev1.DeviceRequest{exactly("own")}, "own may be a GPU, and " + notCounted},
		{"NVIDIA's slices", tenant, []resourcev1.DeviceRequest{exactly("mig.nvidia.com")}, notCounted},
		{"a class of the cluster's own", tenant, []resourcev1.DeviceRequest{exactly("h100")}, "h100 may be a GPU, and " + notCounted},
		{"a class of anything", tenant, []resourcev1.DeviceRequest{exactly("anything")}, "anything may be a GPU, and " + notCounted},
		{"a GPU beside a network card", tenant, []resourcev1.DeviceRequest{exactly("nic"), exactly("h100")}, notCounted},
		{"a GPU if there is one", tenant, []resourcev1.DeviceRequest{first("h100", "nic")}, notCounted},
		{"a GPU if there is nothing else", tenant, []resourcev1.DeviceRequest{first("nic", "gpu.nvidia.com")}, notCounted},
		{"a network card", tenant, []resourcev1.DeviceRequest{exactly("nic")}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec := resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: test.requests}}
			client := c.client(t, test.user)
			if test.user != administrator { // edit has no rights on claims of its own accord
				client = c.client(t, test.user, "system:masters")
			}
			options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
			_, err := client.ResourceV1().ResourceClaims(namespace).Create(t.Context(),
				&resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "claim"}, Spec: spec}, options)
			wantOutcome(t, err, test.want)
			_, err = client.ResourceV1().ResourceClaimTemplates(namespace).Create(t.Context(), &resourcev1.ResourceClaimTemplate{
				ObjectMeta: metav1.ObjectMeta{Name: "template"}, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: spec},
			}, options)
			wantOutcome(t, err, test.want)
		})
	}
}

// A template for one device of the class whose name it has is counted, and nothing like it.
func TestTemplatesForSlices(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	const class, notCounted = "mig-4g.20gb.ebbtide.dev", "claims for GPUs are counted in no quota"
	request := func(edit func(*resourcev1.ExactDeviceRequest)) []resourcev1.DeviceRequest {
		r := &resourcev1.ExactDeviceRequest{DeviceClassName: class}
		if edit != nil {
			edit(r)
		}
		return []resourcev1.DeviceRequest{{Name: "r", Exactly: r}}
	}
	twice := append(request(nil), resourcev1.DeviceRequest{Name: "s", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class}})
	first := []resourcev1.DeviceRequest{{Name: "r", FirstAvailable: []resourcev1.DeviceSubRequest{{Name: "s", DeviceClassName: class}}}}
	for _, test := range []struct {
		name, template string
		requests       []resourcev1.DeviceRequest
		want           string
	}{
		{"one slice", class, request(nil), ""},
		{"by another name", "try", request(nil), notCounted},
		{"by another class's name", "mig-1g.5gb.ebbtide.dev", request(nil), notCounted},
		{"two slices", class, request(func(r *resourcev1.ExactDeviceRequest) { r.Count = 2 }), notCounted},
		{"all slices", class, request(func(r *resourcev1.ExactDeviceRequest) { r.AllocationMode = resourcev1.DeviceAllocationModeAll }), notCounted},
		{"two requests", class, twice, notCounted},
		{"if there is one", class, first, notCounted},
		{"of one's choice", class, request(func(r *resourcev1.ExactDeviceRequest) {
			r.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: "true"}}}
		}), notCounted},
		{"that is not in the layout", class, request(func(r *resourcev1.ExactDeviceRequest) {
			r.Tolerations = []resourcev1.DeviceToleration{{Key: "gpu.ebbtide.dev/not-in-layout", Operator: resourcev1.DeviceTolerationOpExists}}
		}), notCounted},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: test.requests}}
			options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
			client := c.client(t, tenant, "system:masters")
			_, err := client.ResourceV1().ResourceClaimTemplates(namespace).Create(t.Context(), &resourcev1.ResourceClaimTemplate{
				ObjectMeta: metav1.ObjectMeta{Name: test.template}, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: spec},
			}, options)
			wantOutcome(t, err, test.want)
			_, err = client.ResourceV1().ResourceClaims(namespace).Create(t.Context(),
				&resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: test.template}, Spec: spec}, options)
			wantOutcome(t, err, notCounted) // a claim by itself is no pod's
		})
	}
}

// A pod that claims a slice is held to what one is that asks for it.
func TestPodsThatClaimSlices(t *testing.T) {
	c := testCluster(t)
	claims := func(template string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.com/web:1"}}
			pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: &template}}
			pod.Spec.PriorityClassName = ""
		}
	}
	const slice = "mig-4g.20gb.ebbtide.dev"
	online := func(pod *corev1.Pod) { pod.Spec.PriorityClassName = "ebbtide-online" }
	c.tryPods(t, c.namespace(t), []podTry{
		{"by Ebbtide's scheduler", tenant, "", claims(slice), ""},
		{"by another scheduler", tenant, "", both(claims(slice), stock), "spec.schedulerName: a pod that asks for a GPU must name ebbtide"},
		{"on a node", tenant, "", both(claims(slice), func(pod *corev1.Pod) { pod.Spec.NodeName = "n" }), "spec.nodeName: must not be set"},
		{"online", tenant, "", both(claims(slice), online), "claims for GPUs are for pods below ebbtide-online"},
		{"something else, by another scheduler", tenant, "", both(claims("nic"), stock), ""},
	})
}

// A claim that is older than the policies can still be labelled and deleted.
func TestOldClaimsCanGo(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	claims := c.client(t, administrator).ResourceV1().ResourceClaims(namespace)
	_, err := c.client(t, scheduler, "system:masters").ResourceV1().ResourceClaims(namespace).Create(t.Context(), &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "old", Finalizers: []string{"example.com/stay"}},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.nvidia.com"}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := claims.Delete(t.Context(), "old", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = claims.Patch(t.Context(), "old", types.MergePatchType, []byte(`{"metadata": {"finalizers": null}}`), metav1.PatchOptions{})
	if err != nil {
		t.Errorf("let the claim go: %v", err)
	}
}

// A GPU goes by no name that is not counted.
func TestDeviceClassesStandForCountedResources(t *testing.T) {
	c := testCluster(t)
	const mustStand = "spec.extendedResourceName: a class of GPUs must stand for nvidia.com/gpu"
	tests := []struct{ name, class, selector, resource, want string }{
		{"NVIDIA's as nvidia.com/gpu", "gpu.nvidia.com", `device.driver == "gpu.nvidia.com"`, "nvidia.com/gpu", ""},
		{"NVIDIA's as a slice", "mig.nvidia.com", `device.driver == "gpu.nvidia.com"`, "nvidia.com/mig-1g.10gb", ""},
		{"NVIDIA's as nothing", "gpu.nvidia.com", `device.driver == "gpu.nvidia.com"`, "", ""},
		{"NVIDIA's by another name", "gpu.nvidia.com", `device.driver == "gpu.nvidia.com"`, "example.com/fast", mustStand},
		{"Ebbtide's as a slice", "mig-1g.5gb.ebbtide.dev", `device.driver == "gpu.ebbtide.dev"`, "nvidia.com/mig-1g.5gb", ""},
		{"Ebbtide's as another slice", "mig-1g.5gb.ebbtide.dev", `device.driver == "gpu.ebbtide.dev"`, "nvidia.com/mig-4g.20gb", "must stand for nvidia.com/NAME"},
		{"Ebbtide's by another name", "fast", `device.driver == "gpu.ebbtide.dev"`, "example.com/fast", mustStand},
		{"the cluster's own by another name", "fast", `device.driver == "gpu.nvidia.com"`, "example.com/fast", mustStand},
		{"the cluster's own by a name like it", "fast", `device.driver == "gpu.nvidia.com"`, "nvidia.com/gpux", mustStand},
		{"anything by another name", "fast", "", "example.com/fast", mustStand},
		{"a network card by its name", "nic", `device.driver == "nic.example.com"`, "example.com/nic", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: test.class}}
			if test.selector != "" {
				class.Spec.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: test.selector}}}
			}
			if test.resource != "" {
				class.Spec.ExtendedResourceName = ptr.To(test.resource)
			}
			_, err := c.client(t, administrator).ResourceV1().DeviceClasses().Create(t.Context(), class,
				metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			wantOutcome(t, err, test.want)
		})
	}
}
