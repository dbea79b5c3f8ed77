package ebbtide

import (
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// waiting remembers the bare pods that lack units: since when, and whether
// they were promised a node. It is rebuilt after a restart, when every pod's
// patience begins anew.
type waiting struct {
	mu   sync.Mutex
	pods map[types.UID]*waiter
}

type waiter struct {
	pod      *corev1.Pod
	requests []book.Request
	since    time.Time
	promised bool
	alarm    clock.Timer
}

func newWaiting() *waiting { return &waiting{pods: map[types.UID]*waiter{}} }

// see notes that the pod lacks units now, and voids what it was promised before.
func (w *waiting) see(pod *corev1.Pod, requests []book.Request, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.pods[pod.UID]
	if known == nil {
		known = &waiter{since: now}
		w.pods[pod.UID] = known
	}
	known.pod, known.requests, known.promised = pod, requests, false
}

// since returns since when the pod has been waiting; now if it is not known.
func (w *waiting) since(uid types.UID, now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := w.pods[uid]; known != nil {
		return known.since
	}
	return now
}

// promise notes that units are coming free for the pod.
func (w *waiting) promise(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := w.pods[uid]; known != nil {
		known.promised = true
	}
}

// arm replaces the pod's alarm.
func (w *waiting) arm(uid types.UID, alarm clock.Timer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.pods[uid]
	if known == nil {
		alarm.Stop()
		return
	}
	if known.alarm != nil {
		known.alarm.Stop()
	}
	known.alarm = alarm
}

// forget drops a pod that is bound or gone.
func (w *waiting) forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods[uid].drop()
	delete(w.pods, uid)
}

// drop stops the alarm.
func (known *waiter) drop() {
	if known != nil && known.alarm != nil {
		known.alarm.Stop()
	}
}

// alike counts the pods, the given one excepted, that are of its shape, wait
// since ripe or longer and were promised nothing. It drops those that do not wait
// any more: a pod may be deleted in the midst of its cycle, and is then noted by
// see after it was forgotten.
func (w *waiting) alike(pod *corev1.Pod, requests []book.Request, ripe time.Time, waits func(*corev1.Pod) bool) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int64
	for uid, other := range w.pods {
		if !waits(other.pod) {
			other.drop()
			delete(w.pods, uid)
			continue
		}
		if uid != pod.UID && !other.promised && !other.since.After(ripe) &&
			slices.Equal(other.requests, requests) && sameShape(other.pod, pod) {
			n++
		}
	}
	return n
}

// sameShape reports whether two pods fit the same nodes, as far as the pods say, and
// as many of them as there is room for: nothing but what they ask for keeps them
// apart. A pod of a group is not like one of none, which can start without others.
func sameShape(a, b *corev1.Pod) bool {
	return a.Namespace == b.Namespace && groupName(a) == groupName(b) && book.Priority(a) == book.Priority(b) && sociable(a) && sociable(b) &&
		reflect.DeepEqual(a.Spec.NodeSelector, b.Spec.NodeSelector) &&
		reflect.DeepEqual(a.Spec.Affinity, b.Spec.Affinity) &&
		reflect.DeepEqual(a.Spec.Tolerations, b.Spec.Tolerations) &&
		reflect.DeepEqual(asks(a), asks(b))
}

// sociable reports whether the pod stands no other of its kind in the way: by its
// affinity to pods, spread, host ports or volumes.
func sociable(pod *corev1.Pod) bool {
	if a := pod.Spec.Affinity; a != nil && (a.PodAffinity != nil || a.PodAntiAffinity != nil) {
		return false
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			return false
		}
	}
	for i := range pod.Spec.Containers {
		if slices.ContainsFunc(pod.Spec.Containers[i].Ports, func(port corev1.ContainerPort) bool { return port.HostPort != 0 }) {
			return false
		}
	}
	return len(pod.Spec.TopologySpreadConstraints) == 0 && len(pod.Spec.ResourceClaims) == 0
}

// asks returns everything that the pod asks for, processors and memory included.
func asks(pod *corev1.Pod) map[corev1.ResourceName]int64 {
	out := map[corev1.ResourceName]int64{}
	for name, quantity := range resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}) {
		if out[name] = quantity.Value(); name == corev1.ResourceCPU {
			out[name] = quantity.MilliValue()
		}
	}
	return out
}
