package ebbtide

import (
	"cmp"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// wakeAtOnce is how many pods that wait for quota are tried when some comes free.
// Each that cannot use it passes the turn on.
const wakeAtOnce = 16

// blocked remembers, by tenant, the pods that wait for its nominal quota. After a
// restart every pod is tried anyway.
type blocked struct {
	mu      sync.Mutex
	tenants map[string]map[types.UID]*corev1.Pod
	of      map[types.UID]string
}

func newBlocked() *blocked {
	return &blocked{tenants: map[string]map[types.UID]*corev1.Pod{}, of: map[types.UID]string{}}
}

func (b *blocked) note(tenant string, pod *corev1.Pod) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(pod.UID)
	if b.tenants[tenant] == nil {
		b.tenants[tenant] = map[types.UID]*corev1.Pod{}
	}
	b.tenants[tenant][pod.UID], b.of[pod.UID] = pod, tenant
}

func (b *blocked) forget(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(pod)
}

func (b *blocked) drop(pod types.UID) {
	tenant, known := b.of[pod]
	if !known {
		return
	}
	delete(b.of, pod)
	if delete(b.tenants[tenant], pod); len(b.tenants[tenant]) == 0 {
		delete(b.tenants, tenant)
	}
}

func (b *blocked) has(pod types.UID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, known := b.of[pod]
	return known
}

// next returns the tenant's pods that are to be tried first: the highest priority,
// then the oldest. The one given is left out.
func (b *blocked) next(tenant string, except types.UID) []*corev1.Pod {
	b.mu.Lock()
	defer b.mu.Unlock()
	pods := make([]*corev1.Pod, 0, len(b.tenants[tenant]))
	for uid, pod := range b.tenants[tenant] {
		if uid != except {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(x, y *corev1.Pod) int {
		return cmp.Or(cmp.Compare(book.Priority(y), book.Priority(x)),
			x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.UID, y.UID))
	})
	return pods[:min(len(pods), wakeAtOnce)]
}

// wake tries pods again that wait for quota of the tenants, of which some came free.
func (p *Ebbtide) wake(logger klog.Logger, tenants []string) {
	for _, tenant := range tenants {
		p.activate(logger, p.blocked.next(tenant, ""))
	}
}

// passOn tries the next pods in line: this one is not held up by quota, and does not
// use what came free.
func (p *Ebbtide) passOn(logger klog.Logger, pod *corev1.Pod, tenant string) {
	p.activate(logger, p.blocked.next(tenant, pod.UID))
}
