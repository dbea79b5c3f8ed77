package reclaim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// sighting is what was seen of one pod, and when. A zero time was not seen yet.
type sighting struct {
	online bool
	job    string
	units  int64
	node   string

	made, bound, running time.Time
	// asked to stop while it held a node and had not ended.
	asked time.Time
	// gone: it has ended, or does not exist any more.
	gone time.Time
}

// waits: it exists without a node.
func (s *sighting) waits() bool { return s.bound.IsZero() && s.gone.IsZero() }

// observer sees the pods of both namespaces. Its methods may be called from any
// goroutine.
type observer struct {
	mu     sync.Mutex
	pods   map[types.UID]*sighting
	onNode map[string]int64
	err    error
	// news is closed, and replaced, whenever something was seen.
	news chan struct{}
}

// errInterrupted is why a round is void whose watch did not last.
var errInterrupted = errors.New("the watch of the pods was interrupted")

// observe begins to look at a cluster without pods. It looks until ctx ends.
func observe(ctx context.Context, client kubernetes.Interface) (*observer, error) {
	api := client.CoreV1().Pods(metav1.NamespaceAll)
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the pods: %w", err)
	}
	w, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return nil, fmt.Errorf("watch the pods: %w", err)
	}
	o := &observer{pods: map[types.UID]*sighting{}, onNode: map[string]int64{}, news: make(chan struct{})}
	go o.follow(ctx, w)
	return o, nil
}

func (o *observer) follow(ctx context.Context, w watch.Interface) {
	defer w.Stop()
	for event := range w.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			break
		}
		o.see(pod, event.Type == watch.Deleted, time.Now())
	}
	if ctx.Err() == nil {
		o.tell(func() { o.err = errInterrupted })
	}
}

// tell changes what is known and wakes who waits.
func (o *observer) tell(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
	close(o.news)
	o.news = make(chan struct{})
}

// see takes in one event.
func (o *observer) see(pod *corev1.Pod, deleted bool, now time.Time) {
	o.tell(func() {
		s := o.pods[pod.UID]
		if s == nil {
			s = &sighting{online: pod.Namespace == onlineNamespace, job: pod.Labels[batchv1.JobNameLabel], units: unitsOf(pod), made: now}
			o.pods[pod.UID] = s
		}
		if !s.gone.IsZero() {
			return
		}
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if s.bound.IsZero() && pod.Spec.NodeName != "" {
			s.bound, s.node = now, pod.Spec.NodeName
			o.hold(s, s.units)
		}
		if s.running.IsZero() && pod.Status.Phase == corev1.PodRunning {
			s.running = now
		}
		if s.asked.IsZero() && pod.DeletionTimestamp != nil && s.node != "" && !ended {
			s.asked = now
		}
		if ended || deleted {
			s.gone = now
			o.hold(s, -s.units)
		}
	})
}

// hold counts the units of a pod on its node.
func (o *observer) hold(s *sighting, units int64) {
	if s.node == "" {
		return
	}
	o.onNode[s.node] += units
	if o.onNode[s.node] > gpusPerNode && o.err == nil {
		o.err = fmt.Errorf("node %s was given %d GPUs' worth of pods", s.node, o.onNode[s.node])
	}
}

func unitsOf(pod *corev1.Pod) int64 {
	var units int64
	for i := range pod.Spec.Containers {
		q := pod.Spec.Containers[i].Resources.Requests[lab.DefaultResource]
		units += q.Value()
	}
	return units
}

// await waits until done says so of what was seen. done is called under the lock.
func (o *observer) await(ctx context.Context, l *lab.Lab, what string, done func(pods map[types.UID]*sighting) (bool, string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nothing more came of it for %s", patience))
	defer cancel()
	for {
		o.mu.Lock()
		ok, state := done(o.pods)
		err, news := o.err, o.news
		o.mu.Unlock()
		switch {
		case err != nil:
			return fmt.Errorf("wait until %s: %w", what, err)
		case ok:
			return nil
		}
		select {
		case <-news:
		case <-l.Failed():
			return fmt.Errorf("wait until %s: %w", what, l.Err())
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w; %s", what, context.Cause(ctx), state)
		}
	}
}

// all returns a copy of what was seen.
func (o *observer) all() []sighting {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]sighting, 0, len(o.pods))
	for _, s := range o.pods {
		out = append(out, *s)
	}
	return out
}
