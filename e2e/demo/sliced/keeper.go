package sliced

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
)

// deletionCost tells the service's controller to stop other replicas first.
const deletionCost = "100"

// keeper has the service's controller stop the replicas on pinned slices last, as whoever
// runs a service on pinned slices does: pins stay where replicas are, and elsewhere they
// leave no room for larger slices.
type keeper struct {
	client  kubernetes.Interface
	witness *witness
	pods    chan *corev1.Pod
}

func newKeeper(client kubernetes.Interface, w *witness) *keeper {
	return &keeper{client: client, witness: w, pods: make(chan *corev1.Pod, 1024)}
}

// run marks the replicas on pinned slices until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(k.client, 0, informers.WithNamespace(stage.ServingTeam),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = stage.ServiceSelector }))
	see := func(obj any) {
		if pod, ok := obj.(*corev1.Pod); ok && k.marks(pod) {
			select {
			case k.pods <- pod:
			case <-ctx.Done():
			}
		}
	}
	if _, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: see, UpdateFunc: func(_, obj any) { see(obj) },
	}); err != nil {
		return fmt.Errorf("watch the replicas: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	for {
		select {
		case <-ctx.Done():
			return nil
		case pod := <-k.pods:
			if err := k.mark(ctx, pod); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// marks tells whether the pod is on a pinned slice and not marked.
func (k *keeper) marks(pod *corev1.Pod) bool {
	if pod.Annotations[corev1.PodDeletionCost] != "" || pod.Status.Phase != corev1.PodRunning {
		return false
	}
	refs, err := v1alpha1.ParseInstances(pod.Annotations[v1alpha1.AnnotationInstances])
	return err == nil && len(refs) == 1 && k.witness.pinned(refs[0].GPU, int(refs[0].Start))
}

func (k *keeper) mark(ctx context.Context, pod *corev1.Pod) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, corev1.PodDeletionCost, deletionCost)
	_, err := k.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("mark the replica on a pinned slice %s: %w", pod.Name, err)
	}
	return nil
}
