package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
)

// errInterrupted is why a round is void whose watch did not last.
var errInterrupted = errors.New("the watch of the pods was interrupted")

// placements sees pods get their nodes.
type placements struct {
	bench     *bench
	scheduler scheduler
	want      int
	watch     watch.Interface
}

// watch begins to look before the scheduler starts, so that no pod is missed.
func (b *bench) watch(ctx context.Context, s scheduler, pods int) (*placements, error) {
	api := b.pods.CoreV1().Pods(namespace)
	list, err := api.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("list the pods: %w", err)
	}
	// A server that thinks the watch too slow ends it; it goes on where it was then.
	w, err := toolswatch.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{WatchFuncWithContext: api.Watch})
	if err != nil {
		return nil, fmt.Errorf("watch the pods: %w", err)
	}
	return &placements{bench: b, scheduler: s, want: pods, watch: w}, nil
}

func (p *placements) stop() { p.watch.Stop() }

// wait returns once all pods have a node. It fails when a node gets more pods than
// it has GPUs, when nothing is placed for a while, and when a pod goes.
func (p *placements) wait(ctx context.Context) (round, error) {
	defer p.stop()
	ctx, cancel := context.WithTimeoutCause(ctx, roundLimit, fmt.Errorf("not all pods were placed within %s", roundLimit))
	defer cancel()
	seen, onNode := make(map[string]bool, p.want), map[string]int{}
	var first, last reading
	stall := time.NewTimer(stallLimit)
	defer stall.Stop()
	for len(seen) < p.want {
		pod, err := p.next(ctx, stall.C)
		if err != nil {
			return round{}, fmt.Errorf("after %d of %d pods were placed: %w", len(seen), p.want, err)
		}
		if pod.Spec.NodeName == "" || seen[pod.Name] {
			continue
		}
		seen[pod.Name] = true
		if onNode[pod.Spec.NodeName]++; onNode[pod.Spec.NodeName] > gpusPerNode {
			return round{}, fmt.Errorf("node %s got more than %d pods of one GPU", pod.Spec.NodeName, gpusPerNode)
		}
		stall.Reset(stallLimit)
		if len(seen) == 1 || len(seen) == p.want {
			now, err := p.read()
			if err != nil {
				return round{}, err
			}
			if len(seen) == 1 {
				first = now
			}
			last = now
		}
	}
	return round{scheduler: p.scheduler, pods: p.want, nodes: len(onNode), took: last.at.Sub(first.at), cpu: last.cpu - first.cpu}, nil
}

// next is the pod of the next event.
func (p *placements) next(ctx context.Context, stalled <-chan time.Time) (*corev1.Pod, error) {
	select {
	case event, open := <-p.watch.ResultChan():
		pod, ok := event.Object.(*corev1.Pod)
		switch {
		case !open:
			return nil, errInterrupted
		case !ok:
			return nil, fmt.Errorf("%w: %v", errInterrupted, event.Object)
		case event.Type == watch.Deleted:
			return nil, fmt.Errorf("pod %s was deleted in the midst of its round", pod.Name)
		}
		return pod, nil
	case <-stalled:
		return nil, fmt.Errorf("none for %s; %s", stallLimit, p.bench.whyPending(ctx))
	case <-p.bench.lab.Failed():
		return nil, p.bench.lab.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// reading is the clock and what the scheduler's process has used by then.
type reading struct {
	at  time.Time
	cpu time.Duration
}

func (p *placements) read() (reading, error) {
	now := time.Now()
	cpu, err := cpuTime(p.bench.lab.Part(string(p.scheduler)).PID())
	if err != nil {
		return reading{}, err
	}
	return reading{at: now, cpu: cpu}, nil
}
