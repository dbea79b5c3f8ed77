package kubelet

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
)

// watchBackoff keeps a kubelet close to an API server that comes back. An
// informer's, of up to a minute, would add to every pod's grace period in a
// scenario that stops the server.
var watchBackoff = wait.Backoff{
	Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 6, Cap: time.Second,
}

// watch keeps store up to date with the cluster until ctx ends. Of the pods, only
// those bound to a node are seen.
func (k *Kubelet) watch(ctx context.Context, resource string, kind runtime.Object, store cache.ReflectorStore) {
	source := cache.NewFilteredListWatchFromClient(k.client.CoreV1().RESTClient(), resource, metav1.NamespaceAll,
		func(o *metav1.ListOptions) {
			if resource == "pods" {
				o.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
			}
		})
	cache.NewReflectorWithOptions(source, kind, store, cache.ReflectorOptions{
		Name: "kubelet-" + resource, Backoff: &watchBackoff,
	}).RunWithContext(ctx)
}

// The methods below make the Kubelet the store that its watch of pods writes to.

// Add sees a pod for the first time.
func (k *Kubelet) Add(obj any) error { return k.Update(obj) }

// Update sees a pod after it has changed.
func (k *Kubelet) Update(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("watch the pods: got a %T", obj)
	}
	if err := k.pods.Update(pod); err != nil {
		return err
	}
	k.mu.Lock()
	k.lives[pod.UID] = k.lives[pod.UID].observe(pod, time.Now())
	k.mu.Unlock()
	k.queue.Add(keyOf(pod))
	return nil
}

// Delete forgets a pod that is gone.
func (k *Kubelet) Delete(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("watch the pods: got a %T", obj)
	}
	k.mu.Lock()
	delete(k.lives, pod.UID)
	k.mu.Unlock()
	err := k.pods.Delete(pod)
	k.queue.Add(keyOf(pod)) // it may have left something behind
	return err
}

// Replace sees all pods there are, at first and after the watch was interrupted.
// What was known of those that are still there stays known.
func (k *Kubelet) Replace(objs []any, resourceVersion string) error {
	if err := k.pods.Replace(objs, resourceVersion); err != nil {
		return err
	}
	present := make(map[types.UID]bool, len(objs))
	for _, obj := range objs {
		if err := k.Update(obj); err != nil {
			return err
		}
		present[obj.(*corev1.Pod).UID] = true
	}
	for _, c := range k.programs.All() {
		if !present[c.UID] {
			k.queue.Add(key{namespacedName: c.Namespace + "/" + c.Name, uid: c.UID})
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for uid := range k.lives {
		if !present[uid] {
			delete(k.lives, uid)
			k.queue.Add(key{uid: uid}) // it may have left something behind
		}
	}
	return nil
}

// Resync does nothing: every pod's next step is in the queue.
func (k *Kubelet) Resync() error { return nil }
