// Package kubelet plays the part of every node's kubelet in what takes time: a
// container that becomes ready only when its model is loaded, one that runs for
// a while and completes, and one that is asked to stop and takes its grace.
//
// It promises what a kubelet promises about the end of a pod. A pod with a
// deletion timestamp gets SIGTERM when the kubelet first sees it, leaves after
// AnnotationExitAfter with AnnotationExitCode, and is killed (137) once its grace
// period has passed, whichever comes first. A shorter grace period given later
// counts from the moment it is seen; a longer one is ignored. The pod's terminal
// phase stands in its status before the object is deleted with grace 0, so that
// a Job's controller counts it as it would in a cluster.
//
// All delays are measured from the moment of observation, on the monotonic
// clock; patching a pod in the meantime does not restart them. A malformed
// annotation fails the pod with reason InvalidLabAnnotation rather than being
// ignored. The kubelet of a node labelled LabelNodeLost does nothing.
//
// A pod whose image stands for a program (see RunPrograms) runs as a real process and
// makes its own end: its phase follows its exit status, and the annotations about times
// and exit codes say nothing about it. SIGTERM and SIGKILL come when a kubelet would
// send them. If its object is removed before it has ended, its process is killed; on a
// node that is lost it runs on until the node is back.
//
// A pod that asks for slices of GPUs, or has ResourceClaims, starts when it has been given
// devices (see UseDevices; HandGPUs: also one that asks for whole GPUs), and fails with reason UnexpectedAdmissionError if there are
// none.
//
// All other pods are started by kwok, which keeps the nodes, too.
package kubelet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/e2e/lab/container"
)

const (
	workers    = 16
	retryFirst = 20 * time.Millisecond
	retryMost  = time.Second
	// lostRecheck is how often a pod whose node is lost is looked at again.
	lostRecheck = 500 * time.Millisecond
)

// Kubelet watches the bound pods of a cluster and moves them through their lives.
type Kubelet struct {
	client kubernetes.Interface
	log    logr.Logger
	pods   cache.Store
	nodes  cache.Store
	queue  workqueue.TypedRateLimitingInterface[key]
	// programs runs the pods that are processes; nil: there are none.
	programs *container.Runtime
	devices  []Devices
	// handsGPUs: pods on whole GPUs get devices, too.
	handsGPUs bool

	mu    sync.Mutex
	lives map[types.UID]life
}

// key names one pod, not one name: a pod that replaces another of the same name
// starts a life of its own.
type key struct {
	namespacedName string
	uid            types.UID
}

// New returns a Kubelet that talks to the cluster through client, which should
// not limit its own rate.
func New(client kubernetes.Interface, log logr.Logger) *Kubelet {
	return &Kubelet{
		client: client,
		log:    log,
		pods:   cache.NewStore(cache.MetaNamespaceKeyFunc),
		nodes:  cache.NewStore(cache.MetaNamespaceKeyFunc),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[key](retryFirst, retryMost)),
		lives: map[types.UID]life{},
	}
}

// RunPrograms has the pods whose images stand for programs run by r, which must be
// closed only after Run has returned. It must be called before Run.
func (k *Kubelet) RunPrograms(r *container.Runtime) { k.programs = r }

// Run works until ctx ends and returns once all its goroutines have.
func (k *Kubelet) Run(ctx context.Context) {
	ctx = klog.NewContext(ctx, k.log)
	var group sync.WaitGroup
	group.Go(func() { k.watch(ctx, "nodes", &corev1.Node{}, k.nodes) })
	group.Go(func() { k.watch(ctx, "pods", &corev1.Pod{}, k) })
	for range workers {
		group.Go(func() { k.work(ctx) })
	}
	<-ctx.Done()
	k.queue.ShutDown()
	group.Wait()
}

func keyOf(pod *corev1.Pod) key {
	return key{namespacedName: pod.Namespace + "/" + pod.Name, uid: pod.UID}
}

func (k *Kubelet) work(ctx context.Context) {
	for {
		item, shutdown := k.queue.Get()
		if shutdown {
			return
		}
		again, err := k.step(ctx, item)
		switch {
		case err != nil && ctx.Err() == nil:
			k.log.V(1).Info("Pod could not be moved on; trying again", "pod", item.namespacedName, "err", err.Error())
			k.queue.AddRateLimited(item)
		case err == nil:
			k.queue.Forget(item)
			if again > 0 {
				k.queue.AddAfter(item, again)
			}
		}
		k.queue.Done(item)
	}
}

// step does what is due for one pod now and says when to look again; 0 means not
// before the pod changes.
func (k *Kubelet) step(ctx context.Context, item key) (time.Duration, error) {
	obj, exists, err := k.pods.GetByKey(item.namespacedName)
	if err != nil {
		return 0, err
	}
	pod, ok := obj.(*corev1.Pod)
	if !exists || !ok || pod.UID != item.uid {
		if err := k.release(ctx, item.uid); err != nil {
			return 0, err
		}
		return k.bury(item.uid)
	}
	if k.Lost(pod.Spec.NodeName) {
		return lostRecheck, nil
	}
	k.mu.Lock()
	current := k.lives[pod.UID]
	k.mu.Unlock()
	now := time.Now()
	next := current.next(pod)
	if k.programs.Runs(pod) {
		if next, err = k.follow(current, pod); err != nil {
			return 0, err
		}
	}
	if k.wantsDevices(pod) {
		if next, err = k.hand(ctx, current, pod, next); err != nil {
			return 0, err
		}
	}
	if next.act == actNothing {
		return 0, nil
	}
	if wait := next.at.Sub(now); wait > 0 {
		return wait, nil
	}
	return 0, k.do(ctx, pod, next)
}

// Lost reports that the node has no working kubelet. One that is not known,
// or not yet, has none.
func (k *Kubelet) Lost(name string) bool {
	obj, exists, err := k.nodes.GetByKey(name)
	node, ok := obj.(*corev1.Node)
	if err != nil || !exists || !ok {
		return true
	}
	_, lost := node.Labels[LabelNodeLost]
	return lost
}

// do carries out one action. An end is written into the status first; seeing it
// there makes the removal of the object the pod's next step.
func (k *Kubelet) do(ctx context.Context, pod *corev1.Pod, next step) error {
	var err error
	switch next.act {
	case actStart:
		return k.start(ctx, pod)
	case actSignal:
		return k.signal(pod, next.signal)
	case actAdmit:
		return k.admit(ctx, pod)
	case actRemove:
		err = k.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
	default:
		if next.ends() {
			// Before others are told that the pod has ended, and may take its place.
			if err := k.release(ctx, pod.UID); err != nil {
				return err
			}
		}
		err = k.writeStatus(ctx, pod, next.status(pod, metav1.Now()))
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("move pod %s/%s on: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

func (k *Kubelet) writeStatus(ctx context.Context, pod *corev1.Pod, status *corev1.PodStatus) error {
	patch, err := statusPatch(pod.UID, status)
	if err != nil {
		return err
	}
	_, err = k.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name,
		types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// gone reports that the pod is no longer there, or that its name is another
// pod's by now.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }
