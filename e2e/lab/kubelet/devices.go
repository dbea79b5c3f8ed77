package kubelet

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ErrNoDevice is in the errors about pods that their node has no device for. Such a pod
// has failed, as it has with a kubelet's device manager.
var ErrNoDevice = errors.New("no device")

// Devices hands a node's devices to pods.
type Devices interface {
	// Admit gives the pod what it asks for, unless it has it, and starts its process on
	// it. Errors other than ErrNoDevice keep the pod waiting, and it is tried again.
	Admit(ctx context.Context, pod *corev1.Pod) error
	// Release ends the process of the pod with that UID and takes its devices back. Of one
	// that has none it does nothing.
	Release(ctx context.Context, pod types.UID) error
}

// UseDevices has devices handed to the pods that ask for slices of GPUs or have
// ResourceClaims. Each of several is asked, in order. It must be called before Run.
func (k *Kubelet) UseDevices(d ...Devices) { k.devices = append(k.devices, d...) }

// SlicePrefix is that of resources which stand for slices of GPUs. Pods that ask for
// them, and those with ResourceClaims, are started here and not by kwok, since they
// start only when they have them.
const SlicePrefix = "nvidia.com/mig-"

// WholeGPU is the resource of GPUs that are not cut. Pods that ask for it are started by
// kwok, unless HandGPUs was called.
const WholeGPU = "nvidia.com/gpu"

// HandGPUs has devices handed to the pods that ask for whole GPUs, too. It must be called
// before Run.
func (k *Kubelet) HandGPUs() { k.handsGPUs = true }

// wantsDevices tells whether the pod starts only when it has been given devices. It must
// agree with the stage of kwok that starts pods.
func (k *Kubelet) wantsDevices(pod *corev1.Pod) bool {
	if len(pod.Spec.ResourceClaims) > 0 {
		return true
	}
	for _, c := range pod.Spec.Containers {
		for name := range c.Resources.Limits {
			if strings.HasPrefix(string(name), SlicePrefix) || k.handsGPUs && name == WholeGPU {
				return true
			}
		}
	}
	return false
}

// hand takes the devices of a pod that has ended, and has one that has not started get
// them first.
func (k *Kubelet) hand(ctx context.Context, l life, pod *corev1.Pod, next step) (step, error) {
	switch {
	case ended(pod):
		return next, k.release(ctx, pod.UID)
	case pod.Status.Phase == corev1.PodPending && l.term.IsZero():
		return step{act: actAdmit}, nil
	}
	return next, nil
}

// admit gives a pod its devices and writes down that it runs, or why it never will.
func (k *Kubelet) admit(ctx context.Context, pod *corev1.Pod) error {
	for _, d := range k.devices {
		err := d.Admit(ctx, pod)
		if errors.Is(err, ErrNoDevice) {
			k.log.Info("Pod has no device", "pod", pod.Namespace+"/"+pod.Name, "problem", err.Error())
			return k.do(ctx, pod, step{act: actRefuse, problem: err.Error()})
		}
		if err != nil {
			return fmt.Errorf("give pod %s/%s its devices: %w", pod.Namespace, pod.Name, err)
		}
	}
	if k.programs.Runs(pod) {
		return k.start(ctx, pod)
	}
	status := startedStatus(pod, podIP(pod), metav1.Now())
	if _, loads := pod.Annotations[AnnotationModelLoad]; loads {
		loading(status)
	}
	if err := k.writeStatus(ctx, pod, status); err != nil && !gone(err) {
		return fmt.Errorf("start pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// release takes back what a pod has that has ended.
func (k *Kubelet) release(ctx context.Context, pod types.UID) error {
	for _, d := range k.devices {
		if err := d.Release(ctx, pod); err != nil {
			return fmt.Errorf("take back the devices of pod %s: %w", pod, err)
		}
	}
	return nil
}

// loading makes the status that of a pod whose containers run and are not ready.
func loading(status *corev1.PodStatus) {
	for i := range status.Conditions {
		if t := status.Conditions[i].Type; t == corev1.PodReady || t == corev1.ContainersReady {
			status.Conditions[i].Status, status.Conditions[i].Reason = corev1.ConditionFalse, "ContainersNotReady"
		}
	}
	for i := range status.ContainerStatuses {
		status.ContainerStatuses[i].Ready = false
	}
}

// podIP is an address for a pod that nothing listens at.
func podIP(pod *corev1.Pod) string {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(pod.UID))
	n := sum.Sum32()
	return fmt.Sprintf("10.1.%d.%d", n>>8&0xff, 1+n%254)
}
