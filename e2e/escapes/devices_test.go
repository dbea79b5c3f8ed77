package escapes

import (
	"context"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

func contains(text, words string) bool { return strings.Contains(text, words) }

// deviceWays are ways to a GPU that ask for none.
func deviceWays() []way {
	const visible = "spec.containers[].env[NVIDIA_VISIBLE_DEVICES]: only none, void and the empty value are allowed"
	seesAll := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NVIDIA_VISIBLE_DEVICES", Value: "all"}}
	}
	claim := resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
		{Name: "gpu", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.nvidia.com"}},
	}}}
	const slice = "mig-1g.5gb.ebbtide.dev"
	ofSlices := func(n int64) resourcev1.ResourceClaimSpec {
		return resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "slice", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: slice, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: n}},
		}}}
	}
	ephemeral := func(container string) func(context.Context, *town) (client.Object, error) {
		return func(ctx context.Context, w *town) (client.Object, error) {
			pod, err := w.podOf(ctx, red, "running")
			if err != nil {
				return nil, err
			}
			_, err = w.mallory.kube.CoreV1().Pods(red).Patch(ctx, pod.Name, types.StrategicMergePatchType,
				[]byte(`{"spec": {"ephemeralContainers": [`+container+`]}}`), metav1.PatchOptions{}, "ephemeralcontainers")
			return nil, err
		}
	}
	return []way{
		{"an ephemeral container with a GPU", ephemeral(`{"name": "try", "image": "registry.invalid/none", "resources": {"limits": {"nvidia.com/gpu": 8}}}`),
			invalid("spec.ephemeralContainers[0].resources: Forbidden")},
		{"an ephemeral container that sees all GPUs", ephemeral(`{"name": "try", "image": "registry.invalid/none", "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}`),
			forbidden(visible)},
		{"a pod without a GPU that sees all", run(gpuPod(red, "try", "cpu", "1", stock, seesAll)), forbidden(visible)},
		{"a pod with one GPU that sees all", run(gpuPod(red, "try", gpu, "1", seesAll)), forbidden(visible)},
		{"a pod with one GPU and variables from a ConfigMap", run(gpuPod(red, "try", gpu, "1", func(pod *corev1.Pod) {
			pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "all"}}}}
		})), forbidden("spec.containers[].envFrom: in a pod that asks for a GPU it needs a prefix")},
		{"a queued job that sees all GPUs", submit(queued(red, "try", "default", 1, 1, func(job *batchv1.Job) {
			job.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NVIDIA_VISIBLE_DEVICES", Value: "all"}}
		})), forbidden("spec.template." + visible)},
		{"a GPU by its place among the volumes", run(gpuPod(red, "try", "cpu", "1", stock, func(pod *corev1.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/var/run/nvidia-container-devices/all"}}
		})), forbidden("must not be in /var/run/nvidia-container-devices")},
		{"a claim for a GPU", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Create(ctx, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "try"}, Spec: claim})
		}, forbidden("spec.devices.requests[].deviceClassName", "claims for GPUs are counted in no quota")},
		{"a template of claims for a GPU", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Create(ctx, &resourcev1.ResourceClaimTemplate{
				ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "try"}, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: claim},
			})
		}, forbidden("spec.devices.requests[].deviceClassName", "claims for GPUs are counted in no quota")},
		{"a claim for a slice of Ebbtide's driver", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Create(ctx, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: slice}, Spec: ofSlices(1)})
		}, forbidden("spec.devices.requests[].deviceClassName", "claims for GPUs are counted in no quota")},
		{"a template for two slices by the name for one", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Create(ctx, &resourcev1.ResourceClaimTemplate{
				ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: slice}, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: ofSlices(2)},
			})
		}, forbidden("spec.devices.requests[].deviceClassName", "claims for GPUs are counted in no quota")},
		{"a claimed slice by another scheduler", run(gpuPod(red, "try", "cpu", "1", stock, func(pod *corev1.Pod) {
			pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "slice", ResourceClaimTemplateName: ptr.To(slice)}}
		})), forbidden("spec.schedulerName: a pod that asks for a GPU must name ebbtide")},
		{"a GPU by the name of its DeviceClass", run(gpuPod(red, "try", "deviceclass.resource.kubernetes.io/gpu.nvidia.com", "1", stock)),
			forbidden("resources of deviceclass.resource.kubernetes.io are counted in no quota")},
	}
}

// namespaceWays are ways to another tenant through one's namespaces.
func namespaceWays() []way {
	label := func(patch string) func(context.Context, *town) (client.Object, error) {
		return func(ctx context.Context, w *town) (client.Object, error) {
			_, err := w.mallory.kube.CoreV1().Namespaces().Patch(ctx, red, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			return nil, err
		}
	}
	const decides = "only who may update tenantquotas puts a namespace into a tenant or takes it out"
	return []way{
		{"another tenant's label on one's namespace", label(`{"metadata": {"labels": {"team": "blue"}}}`), forbidden("metadata.labels: TenantQuota ", decides)},
		{"no tenant's label on one's namespace", label(`{"metadata": {"labels": {"team": null}}}`), forbidden("metadata.labels: TenantQuota red ", decides)},
		{"a namespace with another tenant's label", func(ctx context.Context, w *town) (client.Object, error) {
			_, err := w.mallory.kube.CoreV1().Namespaces().Create(ctx,
				&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "try", Labels: map[string]string{"team": blue}}}, metav1.CreateOptions{})
			return nil, err
		}, forbidden("metadata.labels: TenantQuota blue ", decides)},
		{"a privileged namespace", label(`{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}`),
			forbidden("metadata.labels[pod-security.kubernetes.io/enforce]: only who may update tenantquotas makes a namespace privileged")},
		{"reading another tenant's queues", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.List(ctx, &v1alpha1.TrainingQueueList{}, client.InNamespace(blue))
		}, noRole("list", "trainingqueues")},
	}
}
