package escapes

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// change patches one of red's jobs as mallory.
func change(name, patch string) func(context.Context, *town) (client.Object, error) {
	return func(ctx context.Context, w *town) (client.Object, error) {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: name}}
		return job, w.mallory.Patch(ctx, job, client.RawPatch(types.MergePatchType, []byte(patch)))
	}
}

// submit creates a job as mallory, in red's namespace unless it says another.
func submit(job *batchv1.Job) func(context.Context, *town) (client.Object, error) {
	return func(ctx context.Context, w *town) (client.Object, error) {
		made := job.DeepCopy()
		return made, w.mallory.Create(ctx, made)
	}
}

// jobWays are ways out through training jobs.
func jobWays() []way {
	template := func(change func(*corev1.PodTemplateSpec)) func(*batchv1.Job) {
		return func(job *batchv1.Job) { change(&job.Spec.Template) }
	}
	job := func(changes ...func(*batchv1.Job)) *batchv1.Job {
		return queued(red, "try", "default", 1, 1, changes...)
	}
	return []way{
		{"un-suspending a queued job", change("waiting", `{"spec": {"suspend": false}}`),
			forbidden("spec.suspend: only the broker starts a job that waits in a queue")},
		{"creating a job that is not suspended", submit(queued(red, "try", "paused", 1, 1, func(job *batchv1.Job) { job.Spec.Suspend = ptr.To(false) })),
			jobWaits("QueuePaused")},
		{"un-suspending by server-side apply with force", func(ctx context.Context, w *town) (client.Object, error) {
			_, err := w.mallory.kube.BatchV1().Jobs(red).Patch(ctx, "waiting", types.ApplyPatchType,
				[]byte(`{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "waiting"}, "spec": {"suspend": false}}`),
				metav1.PatchOptions{FieldManager: "ebbtide-broker", Force: ptr.To(true)})
			return nil, err
		}, forbidden("spec.suspend: only the broker starts a job")},
		{"another queue after submission", change("waiting", `{"metadata": {"labels": {"ebbtide.dev/queue": "default"}}}`),
			forbidden("metadata.labels[ebbtide.dev/queue]: is set when the job is created")},
		{"taking a job out of its queue", change("waiting", `{"metadata": {"labels": {"ebbtide.dev/queue": null}}}`),
			invalid("metadata.labels[ebbtide.dev/queue]: must name a TrainingQueue, and stays on the job once set")},
		{"another tenant's queue", submit(queued(red, "try", "theirs", 1, 1)), jobWaits("UnknownQueue")},
		{"a job in another tenant's namespace", submit(queued(blue, "try", "theirs", 1, 1)), noRole("create", "jobs")},
		{"the queue on the pods instead of the job", submit(job(func(job *batchv1.Job) {
			delete(job.Labels, v1alpha1.LabelQueue)
			job.Spec.Template.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
		})), invalid("spec.template.metadata.labels[ebbtide.dev/queue]: is copied from the Job's own metadata.labels")},
		{"a queued job for another scheduler", submit(queued(red, "try", "paused", 1, 1, template(func(pod *corev1.PodTemplateSpec) {
			pod.Spec.SchedulerName = corev1.DefaultSchedulerName
		}))), buysNothing(waitsForEbbtide)},
		{"a queued job with a high PriorityClass", submit(job(template(func(pod *corev1.PodTemplateSpec) {
			pod.Spec.PriorityClassName = v1alpha1.PriorityClassOnline
		}))), forbidden("spec.template.spec.priorityClassName: ebbtide-online is not for jobs in a queue")},
		{"a queued job above the tenant's highest class", submit(job(template(func(pod *corev1.PodTemplateSpec) {
			pod.Spec.PriorityClassName = lofty
		}))), jobWaits("PriorityClassTooHigh")},
		{"a queued job with a nodeName", submit(job(template(func(pod *corev1.PodTemplateSpec) { pod.Spec.NodeName = "gpu-1" }))),
			forbidden("spec.template.spec.nodeName: must not be set for a job in a queue")},
		{"a huge grace period", submit(job(template(func(pod *corev1.PodTemplateSpec) {
			pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](864000)
		}))), invalid("spec.template.spec.terminationGracePeriodSeconds: 864000 is more than 3600")},
		{"finalizers on a job's pods", submit(job(template(func(pod *corev1.PodTemplateSpec) { pod.Finalizers = []string{"example.com/stay"} }))),
			forbidden("spec.template.metadata.finalizers: must be empty")},
		{"parallelism raised after admission", change("running", `{"spec": {"parallelism": 8}}`),
			forbidden("spec.parallelism: cannot change while the job holds units")},
		{"the pod template edited after admission", change("running", `{"spec": {"template": {"spec": {"priorityClassName": "ebbtide-borrower"}}}}`),
			invalid("spec.template", "field is immutable")},
		{"a job larger than what may be borrowed", submit(queued(red, "try", "default", 4, 4)), jobWaits("OverBorrowingLimit", "NoLendableUnits")},
		{"a job made larger while it waits", func(ctx context.Context, w *town) (client.Object, error) {
			made := queued(red, "try", "default", 16, 1, func(job *batchv1.Job) { job.Spec.Completions = nil })
			if err := w.mallory.Create(ctx, made); err != nil {
				return nil, err
			}
			return made, w.mallory.Patch(ctx, made, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"parallelism": 100}}`)))
		}, jobWaits("OverBorrowingLimit", "NoLendableUnits")},
		{"overflowing quantities in a job", submit(job(template(func(pod *corev1.PodTemplateSpec) {
			pod.Spec = gpuPod("", "", gpu, "9223372036854775807").Spec
			pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		}))), invalid("spec.template.spec.containers[].resources.limits: must be at most 1000000 of a GPU resource")},
		{"a job that somebody else manages", submit(job(func(job *batchv1.Job) { job.Spec.ManagedBy = ptr.To("example.com/mine") })), buysNothing(hasLoanAndNoPods)},
		{"deleting and re-creating to jump the queue", recreate, buysNothing(isLast)},
		{"a finalizer on a job and a long grace", stay, buysNothing(ownerGetsBack)},
		{"deleting borrowing pods with a day of grace", linger, buysNothing(ownerGetsBack)},
		{"deleting a job and keeping its pods", orphan, buysNothing(ownerGetsBack)},
	}
}

// stay borrows what blue does not use, with the longest grace there may be, and
// holds on to the job that does so while it is being deleted.
func stay(ctx context.Context, w *town) (client.Object, error) {
	return w.borrowAndDelete(ctx, metav1.DeletePropagationBackground, func(job *batchv1.Job) {
		job.Finalizers = []string{"example.com/stay"}
		job.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600)
	})
}

// orphan deletes a job that borrows, but not its pods.
func orphan(ctx context.Context, w *town) (client.Object, error) {
	return w.borrowAndDelete(ctx, metav1.DeletePropagationOrphan, func(*batchv1.Job) {})
}

// linger deletes the pods of a job that borrows, and gives them a day to go.
func linger(ctx context.Context, w *town) (client.Object, error) {
	made, err := w.borrow(ctx, func(*batchv1.Job) {})
	if err != nil {
		return nil, err
	}
	return made, w.mallory.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(red),
		client.MatchingLabels{batchv1.JobNameLabel: made.Name}, client.GracePeriodSeconds(86400))
}

// borrowAndDelete deletes a job that borrows in some way while it runs.
func (w *town) borrowAndDelete(ctx context.Context, how metav1.DeletionPropagation, change func(*batchv1.Job)) (client.Object, error) {
	made, err := w.borrow(ctx, change)
	if err != nil {
		return nil, err
	}
	return made, w.mallory.Delete(ctx, made, client.PropagationPolicy(how))
}

// borrow runs a job of two own and four borrowed units.
func (w *town) borrow(ctx context.Context, change func(*batchv1.Job)) (*batchv1.Job, error) {
	made := queued(red, "try", "default", 6, 1, change)
	if err := w.mallory.Create(ctx, made); err != nil {
		return nil, err
	}
	return made, w.awaitRunning(ctx, made.Name, 6)
}

// ownerGetsBack: blue's service grows to all that blue was promised, and gets it.
func ownerGetsBack(ctx context.Context, w *town, _ client.Object) (bool, string) {
	const replicas = blueNominal - 4
	if err := w.scaleChat(ctx, replicas); err != nil {
		return false, err.Error()
	}
	pods, err := w.pods(ctx, blue)
	return err == nil && pods == 2+replicas, fmt.Sprintf("%d pods of blue's have a node, want %d (%v)", pods, 2+replicas, err)
}

// waitsForEbbtide: whatever scheduler the job wished for, it waits for Ebbtide's.
func waitsForEbbtide(ctx context.Context, w *town, made client.Object) (bool, string) {
	var job batchv1.Job
	if err := w.admin.Get(ctx, client.ObjectKeyFromObject(made), &job); err != nil {
		return false, err.Error()
	}
	scheduler := job.Spec.Template.Spec.SchedulerName
	return scheduler == v1alpha1.SchedulerName && ptr.Deref(job.Spec.Suspend, false), fmt.Sprintf("it is for scheduler %s", scheduler)
}

// awaitRunning waits until a job of red's has so many pods on nodes.
func (w *town) awaitRunning(ctx context.Context, job string, pods int) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		var list corev1.PodList
		err := w.admin.List(ctx, &list, client.InNamespace(red), client.MatchingLabels{batchv1.JobNameLabel: job})
		bound := 0
		for i := range list.Items {
			if list.Items[i].Spec.NodeName != "" {
				bound++
			}
		}
		return bound == pods, err
	})
	if err != nil {
		return fmt.Errorf("wait until job %s has %d pods on nodes: %w", job, pods, err)
	}
	return nil
}

// hasLoanAndNoPods: what its loan holds is the tenant's own, and nobody runs on it.
func hasLoanAndNoPods(ctx context.Context, w *town, made client.Object) (bool, string) {
	loan, err := w.loanOf(ctx, red, made.GetName())
	if err != nil || loan == nil {
		return false, fmt.Sprintf("no loan: %v", err)
	}
	pods, err := w.podsOf(ctx, red, made.GetName())
	return err == nil && pods == 0, fmt.Sprintf("%d pods (%v)", pods, err)
}

// recreate deletes the job that is first in the paused queue, and makes it again
// with a date of its own.
func recreate(ctx context.Context, w *town) (client.Object, error) {
	first := queued(red, "try-1", "paused", 1, 1)
	second := queued(red, "try-2", "paused", 1, 1)
	for _, job := range []*batchv1.Job{first, second} {
		if err := w.mallory.Create(ctx, job); err != nil {
			return nil, err
		}
	}
	if err := w.mallory.Delete(ctx, first, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		return nil, err
	}
	again := queued(red, "try-3", "paused", 1, 1)
	again.CreationTimestamp = metav1.Date(2001, time.January, 1, 0, 0, 0, 0, time.UTC)
	return again, w.mallory.Create(ctx, again)
}

// isLast: the job is behind all others of its queue, in the queue's own words.
func isLast(ctx context.Context, w *town, made client.Object) (bool, string) {
	if made.GetCreationTimestamp().Year() == 2001 {
		return false, "the job has the date that it wished for"
	}
	var queue v1alpha1.TrainingQueue
	if err := w.admin.Get(ctx, types.NamespacedName{Namespace: red, Name: "paused"}, &queue); err != nil {
		return false, err.Error()
	}
	waiting := queue.Status.Waiting
	said := fmt.Sprintf("the queue says %+v", waiting)
	return len(waiting) == 3 && waiting[2].Name == made.GetName() && waiting[2].Position == 3, said
}
