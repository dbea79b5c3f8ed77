package trainer

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	ebbtidev1 "github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// watch follows the queued Jobs and their pods until ctx ends. The returned
// function waits for that.
func (t *Trainer) watch(ctx context.Context) (func(), error) {
	factory := informers.NewSharedInformerFactoryWithOptions(t.client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = ebbtidev1.LabelQueue }))
	jobs := factory.Batch().V1().Jobs().Informer()
	pods := factory.Core().V1().Pods().Informer()
	observeJob := func(obj any) {
		if j, ok := obj.(*batchv1.Job); ok {
			t.observeJob(j)
		}
	}
	observePod := func(obj any) {
		if p, ok := obj.(*corev1.Pod); ok {
			t.observePod(p, time.Now())
		}
	}
	if _, err := jobs.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: observeJob}); err != nil {
		return nil, err
	}
	if _, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    observePod,
		UpdateFunc: func(_, obj any) { observePod(obj) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if p, ok := obj.(*corev1.Pod); ok {
				t.forgetPod(p, time.Now())
			}
		},
	}); err != nil {
		return nil, err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), jobs.HasSynced, pods.HasSynced) {
		factory.Shutdown()
		return nil, fmt.Errorf("fill the caches: %w", context.Cause(ctx))
	}
	return factory.Shutdown, nil
}

// write does what a tick found due. An error is tried again with the next tick.
func (t *Trainer) write(ctx context.Context, d due, now time.Time) {
	for _, j := range d.succeed {
		if err := t.succeed(ctx, j); err != nil && ctx.Err() == nil {
			t.log.V(1).Info("Job could not be finished; trying again", "job", j.namespace+"/"+j.name, "err", err.Error())
		}
	}
	for _, j := range d.annotate {
		if !t.limit.AllowN(now, 1) {
			return
		}
		if err := t.annotate(ctx, j, now); err != nil && ctx.Err() == nil {
			t.log.V(1).Info("Checkpoint could not be written down; trying again", "job", j.namespace+"/"+j.name, "err", err.Error())
		}
	}
}

// succeed ends all pods of the job with exit code 0, as its processes would. If
// one of them is gone by then, the job was stopped at the last moment: its work
// is saved, and what is left of it ends as soon as it runs again.
func (t *Trainer) succeed(ctx context.Context, j *job) error {
	t.mu.Lock()
	members := maps.Clone(j.pods)
	t.mu.Unlock()
	whole := true
	for uid, p := range members {
		patch, err := succeeded(uid, p.container, metav1.Now())
		if err != nil {
			return err
		}
		_, err = t.client.CoreV1().Pods(j.namespace).Patch(ctx, p.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			whole = false
		case err != nil:
			return fmt.Errorf("end pod %s/%s: %w", j.namespace, p.name, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	j.finishing, j.finished = false, whole
	j.work.stop(time.Now(), true)
	return nil
}

func succeeded(uid types.UID, container string, now metav1.Time) ([]byte, error) {
	status := corev1.PodStatus{
		Phase: corev1.PodSucceeded,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "PodCompleted", LastTransitionTime: now},
			{Type: corev1.ContainersReady, Status: corev1.ConditionFalse, Reason: "PodCompleted", LastTransitionTime: now},
		},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: container,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: 0, Reason: "Completed", StartedAt: now, FinishedAt: now,
			}},
		}},
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid}, "status": status})
	if err != nil {
		return nil, fmt.Errorf("encode a pod status: %w", err)
	}
	return patch, nil
}

func (t *Trainer) annotate(ctx context.Context, j *job, now time.Time) error {
	t.mu.Lock()
	at := j.checkpoint
	t.mu.Unlock()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		ebbtidev1.AnnotationLastCheckpoint: at.UTC().Format(time.RFC3339),
	}}})
	if err != nil {
		return fmt.Errorf("encode a checkpoint: %w", err)
	}
	_, err = t.client.BatchV1().Jobs(j.namespace).Patch(ctx, j.name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("annotate job %s/%s: %w", j.namespace, j.name, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	j.shown, j.annotated = at, now
	return nil
}
