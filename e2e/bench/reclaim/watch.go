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
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"

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

// counts of what was seen.
type counts struct {
	// running training pods, and victims that have been asked to stop and have not.
	running, ending int64
	// bound online pods, so far.
	bound int64
}

// observer sees the pods of both namespaces. Its methods may be called from any
// goroutine.
type observer struct {
	mu     sync.Mutex
	pods   map[types.UID]*sighting
	onNode map[string]int64
	counts counts
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
	lister := &cache.ListWatch{WatchFuncWithContext: api.Watch}
	w, err := toolswatch.NewRetryWatcherWithContext(ctx, list.ResourceVersion, lister)
	if err != nil {
		return nil, fmt.Errorf("watch the pods: %w", err)
	}
	o := &observer{pods: map[types.UID]*sighting{}, onNode: map[string]int64{}, news: make(chan struct{})}
	events := make(chan stamped, backlog)
	go func() {
		defer close(events)
		for event := range w.ResultChan() {
			events <- stamped{event, time.Now()}
		}
	}()
	go o.follow(ctx, events)
	return o, nil
}

// stamped is an event and when it came. The API server drops who takes events too
// slowly, so up to backlog of them wait here.
type stamped struct {
	watch.Event
	at time.Time
}

const backlog = 1 << 16

func (o *observer) follow(ctx context.Context, events <-chan stamped) {
	for event := range events {
		if pod, ok := event.Object.(*corev1.Pod); ok {
			o.see(pod, event.Type == watch.Deleted, event.at)
			continue
		}
		o.tell(func() { o.err = fmt.Errorf("%w: %v", errInterrupted, event.Object) })
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
		if s.gone.IsZero() {
			held := s.holds()
			o.counts.add(s, -1)
			s.see(pod, deleted, now)
			o.counts.add(s, 1)
			o.hold(s, held)
		}
	})
}

// see takes in an event of this pod.
func (s *sighting) see(pod *corev1.Pod, deleted bool, now time.Time) {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	note := func(at *time.Time, is bool) {
		if is && at.IsZero() {
			*at = now
		}
	}
	s.node = pod.Spec.NodeName
	note(&s.bound, s.node != "")
	note(&s.running, pod.Status.Phase == corev1.PodRunning)
	note(&s.asked, s.node != "" && pod.DeletionTimestamp != nil && !ended)
	note(&s.gone, ended || deleted)
}

// add counts a pod, or with -1 counts it no more.
func (c *counts) add(s *sighting, sign int64) {
	switch {
	case s.online && !s.bound.IsZero():
		c.bound += sign
	case s.online || !s.gone.IsZero():
	case !s.asked.IsZero():
		c.ending += sign
	case !s.running.IsZero():
		c.running += sign
	}
}

// holds tells whether the pod has its units.
func (s *sighting) holds() bool { return !s.bound.IsZero() && s.gone.IsZero() }

// hold counts the units of a pod that was bound, or is gone, since it held them or not.
func (o *observer) hold(s *sighting, held bool) {
	switch {
	case !held && s.holds():
		o.onNode[s.node] += s.units
	case held && !s.holds():
		o.onNode[s.node] -= s.units
	}
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

// await waits until done says so of what was seen; it also says how far that is.
func (o *observer) await(ctx context.Context, l *lab.Lab, what string, done func(counts) (bool, string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nothing more came of it for %s", patience))
	defer cancel()
	for {
		o.mu.Lock()
		ok, state := done(o.counts)
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
