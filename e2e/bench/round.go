package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
)

const (
	creators = 16
	// roundLimit bounds the placing of a round's pods.
	roundLimit = 5 * time.Minute
	// stallLimit bounds the time without any pod placed.
	stallLimit = 30 * time.Second
	pollEvery  = 50 * time.Millisecond
)

// round is what one scheduler did.
type round struct {
	scheduler scheduler
	pods      int
	// nodes that got any of the pods.
	nodes int
	// took is the time from the first pod to the last that was seen with a node.
	took time.Duration
	// cpu is what the scheduler's process used within that time.
	cpu time.Duration
}

// podsPerSecond counts the pods after the first, with which the time begins.
func (r round) podsPerSecond() float64 { return float64(r.pods-1) / r.took.Seconds() }

// cpuPerPod is the processor time that one pod took.
func (r round) cpuPerPod() time.Duration { return r.cpu / time.Duration(r.pods-1) }

// round places pods with one scheduler and leaves the cluster empty.
func (b *bench) round(ctx context.Context, s scheduler, number, pods int) (r round, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("round %d, %s: %w", number, s, err)
		}
	}()
	if err := b.createPods(ctx, s, number, pods); err != nil {
		return round{}, err
	}
	placed, err := b.watch(ctx, s, pods)
	if err != nil {
		return round{}, err
	}
	stop := func() error { return b.lab.Part(string(s)).Stop() }
	if err := b.start(ctx, s); err != nil {
		placed.stop()
		return round{}, err
	}
	profile := b.profile(ctx, s, number)
	r, err = placed.wait(ctx)
	if err := errors.Join(err, profile(), stop()); err != nil {
		return round{}, err
	}
	return r, b.removePods(ctx)
}

// createPods makes the round's pods. No scheduler runs meanwhile.
func (b *bench) createPods(ctx context.Context, s scheduler, number, pods int) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(creators)
	for i := range pods {
		group.Go(func() error {
			pod := podFor(s, fmt.Sprintf("round-%d-%05d", number, i))
			if _, err := b.pods.CoreV1().Pods(namespace).Create(groupCtx, pod, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("create pod %s: %w", pod.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// removePods deletes all pods at once and waits until they are gone. They never
// ran, so there is nothing to stop.
func (b *bench) removePods(ctx context.Context) error {
	api := b.pods.CoreV1().Pods(namespace)
	now := metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}
	if err := api.DeleteCollection(ctx, now, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("remove the pods: %w", err)
	}
	err := wait.PollUntilContextTimeout(ctx, pollEvery, roundLimit, true, func(ctx context.Context) (bool, error) {
		left, err := api.List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil && len(left.Items) == 0, err
	})
	if err != nil {
		return fmt.Errorf("wait until the pods are gone: %w", err)
	}
	return nil
}

// whyPending tells of one pod without a node what the scheduler says about it.
func (b *bench) whyPending(ctx context.Context) string {
	list, err := b.pods.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName="})
	if err != nil {
		return err.Error()
	}
	for i := range list.Items {
		for _, condition := range list.Items[i].Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Message != "" {
				return fmt.Sprintf("of pod %s the scheduler says: %s", list.Items[i].Name, condition.Message)
			}
		}
	}
	return fmt.Sprintf("of the %d pods without a node the scheduler says nothing", len(list.Items))
}
