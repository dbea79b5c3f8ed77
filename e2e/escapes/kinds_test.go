package escapes

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// The kinds of jobs that red may make beside Jobs.
var (
	jobSets     = schema.GroupVersionKind{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"}
	trainJobs   = schema.GroupVersionKind{Group: "trainer.kubeflow.org", Version: "v1alpha1", Kind: "TrainJob"}
	pyTorchJobs = schema.GroupVersionKind{Group: "kubeflow.org", Version: "v1", Kind: "PyTorchJob"}
	mpiJobs     = schema.GroupVersionKind{Group: "kubeflow.org", Version: "v1", Kind: "MPIJob"}
	rayJobs     = schema.GroupVersionKind{Group: "ray.io", Version: "v1", Kind: "RayJob"}
	rayClusters = schema.GroupVersionKind{Group: "ray.io", Version: "v1", Kind: "RayCluster"}
)

func otherKinds() []schema.GroupVersionKind {
	return []schema.GroupVersionKind{jobSets, trainJobs, pyTorchJobs, mpiJobs, rayJobs, rayClusters}
}

const jobSetName = "jobset.sigs.k8s.io/jobset-name"

// template is a pod template of one GPU, with changes to its spec.
func template(changes map[string]any) map[string]any {
	spec := map[string]any{
		"restartPolicy": "Never", "terminationGracePeriodSeconds": int64(1),
		"containers": []any{map[string]any{
			"name": "main", "image": "registry.invalid/none", "resources": map[string]any{"limits": map[string]any{string(gpu): "1"}},
		}},
	}
	maps.Copy(spec, changes)
	return map[string]any{"spec": spec}
}

// of is a job of some kind of red's in a queue; of no queue if that is empty.
func of(kind schema.GroupVersionKind, queue string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(kind)
	o.SetNamespace(red)
	o.SetName("try")
	o.SetLabels(map[string]string{"by": "hand"})
	if queue != "" {
		o.SetLabels(map[string]string{"by": "hand", v1alpha1.LabelQueue: queue})
	}
	return o
}

func jobSet(queue string, pods int64, template map[string]any) *unstructured.Unstructured {
	return of(jobSets, queue, map[string]any{"replicatedJobs": []any{map[string]any{
		"name": "workers", "template": map[string]any{"spec": map[string]any{
			"backoffLimit": int64(0), "parallelism": pods, "completions": pods, "template": template,
		}},
	}}})
}

func pyTorchJob(queue string, template map[string]any) *unstructured.Unstructured {
	return of(pyTorchJobs, queue, map[string]any{
		"runPolicy": map[string]any{"suspend": false},
		"pytorchReplicaSpecs": map[string]any{"Worker": map[string]any{
			"replicas": int64(1), "restartPolicy": "OnFailure", "template": template,
		}},
	})
}

func mpiJob(queue string, template map[string]any) *unstructured.Unstructured {
	return of(mpiJobs, queue, map[string]any{"mpiReplicaSpecs": map[string]any{"Worker": map[string]any{"replicas": int64(1), "template": template}}})
}

func trainJob(queue string) *unstructured.Unstructured {
	return of(trainJobs, queue, map[string]any{"runtimeRef": map[string]any{"name": "none"}})
}

func rayClusterSpec(workers int64) map[string]any {
	return map[string]any{
		"headGroupSpec": map[string]any{"rayStartParams": map[string]any{}, "template": map[string]any{"spec": map[string]any{
			"containers": []any{map[string]any{"name": "head", "image": "registry.invalid/none"}},
		}}},
		"workerGroupSpecs": []any{map[string]any{
			"groupName": "workers", "replicas": workers, "minReplicas": int64(0), "maxReplicas": int64(100),
			"rayStartParams": map[string]any{}, "template": template(map[string]any{"restartPolicy": "Always"}),
		}},
	}
}

func rayCluster(queue string, workers int64) *unstructured.Unstructured {
	return of(rayClusters, queue, rayClusterSpec(workers))
}

func rayJob(queue string) *unstructured.Unstructured {
	return of(rayJobs, queue, map[string]any{"entrypoint": "train", "shutdownAfterJobFinishes": true, "rayClusterSpec": rayClusterSpec(1)})
}

// send creates an object as mallory, and then does the rest.
func send(o client.Object, then ...func(ctx context.Context, w *town, made client.Object) error) func(context.Context, *town) (client.Object, error) {
	return func(ctx context.Context, w *town) (client.Object, error) {
		made := o.DeepCopyObject().(client.Object)
		if err := w.mallory.Create(ctx, made); err != nil {
			return nil, err
		}
		for _, step := range then {
			if err := step(ctx, w, made); err != nil {
				return nil, err
			}
		}
		return made, nil
	}
}

// write patches what was made, as mallory.
func write(patch string) func(context.Context, *town, client.Object) error {
	return func(ctx context.Context, w *town, made client.Object) error {
		return w.mallory.Patch(ctx, made, client.RawPatch(types.MergePatchType, []byte(patch)))
	}
}

// edit is write by the operations of a JSON patch.
func edit(patch string) func(context.Context, *town, client.Object) error {
	return func(ctx context.Context, w *town, made client.Object) error {
		return w.mallory.Patch(ctx, made, client.RawPatch(types.JSONPatchType, []byte(patch)))
	}
}

// onceBound waits until so many pods with a label have nodes.
func onceBound(key, value string, n int) func(context.Context, *town, client.Object) error {
	return func(ctx context.Context, w *town, _ client.Object) error {
		bound := 0
		err := wait.PollUntilContextTimeout(ctx, pace, patience, true, func(ctx context.Context) (bool, error) {
			var list corev1.PodList
			err := w.admin.List(ctx, &list, client.InNamespace(red), client.MatchingLabels{key: value})
			bound = 0
			for i := range list.Items {
				// Whoever is made in the same second may be taken for the oldest of a group.
				if pod := &list.Items[i]; pod.Spec.NodeName != "" && time.Since(pod.CreationTimestamp.Time) > time.Second {
					bound++
				}
			}
			return bound >= n, err
		})
		if err != nil {
			return fmt.Errorf("wait for %d pods with nodes, there are %d: %w", n, bound, err)
		}
		return nil
	}
}

// orphaned deletes an object of red's, but not what it made.
func orphaned(o client.Object) func(context.Context, *town, client.Object) error {
	return func(ctx context.Context, w *town, _ client.Object) error {
		o := o.DeepCopyObject().(client.Object)
		return w.mallory.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationOrphan))
	}
}

// kindWays are ways out through jobs of other kinds.
func kindWays() []way {
	const onlyBroker = "uspend: only the broker starts a job that waits in a queue"
	online := map[string]any{"priorityClassName": v1alpha1.PriorityClassOnline}
	onItsPods := template(nil)
	onItsPods["metadata"] = map[string]any{"labels": map[string]any{v1alpha1.LabelQueue: "default"}}
	return []way{
		{"un-suspending a queued JobSet", send(jobSet("paused", 1, template(nil)), write(`{"spec": {"suspend": false}}`)), forbidden(onlyBroker)},
		{"un-suspending a queued PyTorchJob", send(pyTorchJob("paused", template(nil)), write(`{"spec": {"runPolicy": {"suspend": false}}}`)), forbidden(onlyBroker)},
		{"un-suspending a queued RayJob", send(rayJob("paused"), write(`{"spec": {"suspend": false}}`)), forbidden(onlyBroker)},
		{"un-suspending a queued TrainJob by replacing its spec", send(trainJob("paused"), write(`{"spec": {"suspend": null}}`)), forbidden(onlyBroker)},
		{"creating a PyTorchJob that is not suspended", send(pyTorchJob("paused", template(nil))), buysNothing(isSuspended("spec", "runPolicy", "suspend"))},
		{"creating an MPIJob without a runPolicy", send(mpiJob("paused", template(nil))), buysNothing(isSuspended("spec", "runPolicy", "suspend"))},
		{"another queue for a RayCluster", send(rayCluster("paused", 1), write(`{"metadata": {"labels": {"ebbtide.dev/queue": "default"}}}`)),
			forbidden("metadata.labels[ebbtide.dev/queue]: is set when the job is created")},
		{"the queue on a JobSet's pods instead of the JobSet", send(jobSet("", 1, onItsPods)), invalid("label the JobSet instead of its pods")},
		{"an MPIJob with a high PriorityClass", send(mpiJob("paused", template(online))), forbidden(".spec.priorityClassName: ebbtide-online is not for jobs in a queue")},
		{"a PyTorchJob with a huge grace period", send(pyTorchJob("paused", template(map[string]any{"terminationGracePeriodSeconds": int64(864000)}))),
			invalid(".spec.terminationGracePeriodSeconds: 864000 is more than 3600")},
		{"a JobSet for another scheduler", send(jobSet("default", 1, template(map[string]any{"schedulerName": "default-scheduler"}))), buysNothing(holdsItsLoan(1))},
		{"a RayCluster made larger after admission", send(rayCluster("default", 1), onceBound("ray.io/cluster", "try", 2),
			edit(`[{"op": "replace", "path": "/spec/workerGroupSpecs/0/replicas", "value": 8}]`)),
			forbidden("cannot change while the job holds units; suspend the job first")},
		{"a JobSet's Job made larger after admission", send(jobSet("default", 1, template(nil)), onceBound(jobSetName, "try", 1), func(ctx context.Context, w *town, _ client.Object) error {
			return w.mallory.Patch(ctx, childJob(), client.RawPatch(types.MergePatchType, []byte(`{"spec": {"parallelism": 8, "completions": 8}}`)))
		}), buysNothing(holdsItsLoan(1))},
		{"forging the attempt of a JobSet", send(jobSet("paused", 1, template(nil)), write(`{"metadata": {"annotations": {"ebbtide.dev/attempt": "1"}}}`)),
			forbidden("metadata.annotations: only the broker writes ebbtide.dev/attempt")},
		{"forging that a RayCluster was taken back", send(rayCluster("paused", 1), write(`{"metadata": {"annotations": {"ebbtide.dev/taken-back": "1"}}}`)),
			forbidden("metadata.annotations[ebbtide.dev/taken-back]: only the scheduler writes it")},
		{"forging that an MPIJob is admitted", send(mpiJob("paused", template(nil)), write(`{"metadata": {"annotations": {"ebbtide.dev/admission": "{\"admitted\":true}"}}}`)),
			forbidden("metadata.annotations: only the broker writes")},
		{"a job that says it is a part of another", partOf, buysNothing(noPodRuns)},
		{"a pod that says it is a part of another job", podPartOf, buysNothing(noPodRuns)},
		{"making a job that waits a part of another", send(jobSet("paused", 1, template(nil)),
			write(`{"metadata": {"ownerReferences": [{"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "x", "uid": "y", "controller": true}]}}`)),
			forbidden("metadata.ownerReferences: a job that waits in a queue cannot become a part of another one")},
		{"taking a Job out of its JobSet", send(jobSet("default", 1, template(nil)), onceBound(jobSetName, "try", 1), func(ctx context.Context, w *town, _ client.Object) error {
			return w.mallory.Patch(ctx, childJob(), client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"ownerReferences": null}}`)))
		}), forbidden("metadata.ownerReferences: what a job in a queue has made stays a part of it")},
		{"deleting a JobSet and keeping its Jobs", send(jobSet("default", 6, template(nil)), onceBound(jobSetName, "try", 6), orphaned(jobSet("", 0, nil))), buysNothing(ownerGetsBack)},
		{"deleting a JobSet's Job and keeping its pods", send(jobSet("default", 6, template(nil)), onceBound(jobSetName, "try", 6), orphaned(childJob())), buysNothing(ownerGetsBack)},
		{"deleting a RayCluster and keeping its pods", send(rayCluster("default", 6), onceBound("ray.io/cluster", "try", 7), orphaned(rayCluster("", 0))), buysNothing(ownerGetsBack)},
	}
}

// childJob is the Job that JobSet "try" makes.
func childJob() *unstructured.Unstructured {
	job := &unstructured.Unstructured{}
	job.SetAPIVersion("batch/v1")
	job.SetKind("Job")
	job.SetNamespace(red)
	job.SetName("try-workers-0")
	return job
}

// partOf makes a Job that names a TrainJob that waits as its controller.
func partOf(ctx context.Context, w *town) (client.Object, error) {
	train, err := send(trainJob("paused"))(ctx, w)
	if err != nil {
		return nil, err
	}
	job := queued(red, "part", "default", 1, 1)
	job.Spec.Template.Spec.SchedulerName = v1alpha1.SchedulerName
	job.Spec.Template.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
	job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(train, trainJobs)}
	return job, w.mallory.Create(ctx, job)
}

// podPartOf makes an online pod, of no queue by its label, that names a RayCluster that
// waits as its controller.
func podPartOf(ctx context.Context, w *town) (client.Object, error) {
	cluster, err := send(rayCluster("paused", 1))(ctx, w)
	if err != nil {
		return nil, err
	}
	pod := gpuPod(red, "part", gpu, "1", online)
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cluster, rayClusters)}
	return pod, w.mallory.Create(ctx, pod)
}

// isSuspended: the job waits, whatever it says.
func isSuspended(path ...string) func(context.Context, *town, client.Object) (bool, string) {
	return func(ctx context.Context, w *town, made client.Object) (bool, string) {
		o := made.DeepCopyObject().(*unstructured.Unstructured)
		if err := w.admin.Get(ctx, client.ObjectKeyFromObject(made), o); err != nil {
			return false, err.Error()
		}
		suspended, _, _ := unstructured.NestedBool(o.Object, path...)
		return suspended, "it is not suspended"
	}
}

// holdsItsLoan: the job runs on its loan, and as many of its pods as that is for.
func holdsItsLoan(pods int) func(context.Context, *town, client.Object) (bool, string) {
	return func(ctx context.Context, w *town, made client.Object) (bool, string) {
		loan, err := w.loanOf(ctx, red, made.GetName())
		if err != nil || loan == nil {
			return false, fmt.Sprintf("it has no loan (%v)", err)
		}
		all, err := w.pods(ctx, red)
		return err == nil && all == 2+pods, fmt.Sprintf("%d pods beside the others', want %d (%v)", all-2, pods, err)
	}
}

// settled is how long a pod must have been there without a node: the scheduler would
// have placed it long before.
const settled = 4 * time.Second

// noPodRuns: there is a pod, and none has a node but those of red's own job.
func noPodRuns(ctx context.Context, w *town, _ client.Object) (bool, string) {
	var list corev1.PodList
	if err := w.admin.List(ctx, &list, client.InNamespace(red)); err != nil {
		return false, err.Error()
	}
	bound, waiting := 0, 0
	for i := range list.Items {
		switch pod := &list.Items[i]; {
		case pod.Spec.NodeName != "":
			bound++
		case time.Since(pod.CreationTimestamp.Time) > settled:
			waiting++
		}
	}
	return bound == 2 && waiting == 1, fmt.Sprintf("%d pods have nodes, %d wait for %s", bound, waiting, settled)
}

// queuedPodWaits: no pod runs, and this one's condition says why.
func queuedPodWaits(reason string) answer {
	return buysNothing(func(ctx context.Context, w *town, made client.Object) (bool, string) {
		if ok, said := noPodRuns(ctx, w, made); !ok {
			return false, said
		}
		var pod corev1.Pod
		if err := w.admin.Get(ctx, client.ObjectKeyFromObject(made), &pod); err != nil {
			return false, err.Error()
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == v1alpha1.ConditionAdmitted && c.Status == corev1.ConditionFalse && c.Reason == reason {
				return true, ""
			}
		}
		return false, fmt.Sprintf("the pod waits, but says %+v", pod.Status.Conditions)
	})
}

// queuedPod is a pod of red's in a queue, by itself.
func queuedPod(name, queue string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := gpuPod(red, name, gpu, "1", changes...)
	metav1.SetMetaDataLabel(&pod.ObjectMeta, v1alpha1.LabelQueue, queue)
	return pod
}

func inGroup(pod *corev1.Pod) {
	metav1.SetMetaDataLabel(&pod.ObjectMeta, v1alpha1.LabelPodGroup, "pair")
	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, v1alpha1.AnnotationPodGroupSize, "2")
}

// queuedPodWays are ways out through pods that are in a queue by themselves.
func queuedPodWays() []way {
	join := func(ctx context.Context, w *town) (client.Object, error) {
		for _, name := range []string{"one", "two"} {
			if err := w.mallory.Create(ctx, queuedPod(name, "default", inGroup)); err != nil {
				return nil, err
			}
		}
		if err := onceBound(v1alpha1.LabelPodGroup, "pair", 2)(ctx, w, nil); err != nil {
			return nil, err
		}
		return run(queuedPod("three", "default", inGroup))(ctx, w)
	}
	leave := func(patch string) func(context.Context, *town) (client.Object, error) {
		return send(queuedPod("one", "paused", inGroup), write(patch))
	}
	return []way{
		{"a pod in a queue", run(queuedPod("try", "default")), buysNothing(holdsItsLoan(1))},
		{"a pod in a paused queue", run(queuedPod("try", "paused")), queuedPodWaits("QueuePaused")},
		{"a pod in a queue for another scheduler", run(queuedPod("try", "default", stock)), forbidden("schedulerName")},
		{"an online pod in a queue", run(queuedPod("try", "default", online)), forbidden("spec.priorityClassName: a pod of a queued job must be below ebbtide-online")},
		{"a pod in a queue that says it is admitted", run(queuedPod("try", "paused", func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{v1alpha1.AnnotationAttempt: "1"}
		})), forbidden("metadata.annotations[ebbtide.dev/attempt, ebbtide.dev/skipped-attempts]: only the broker writes them")},
		{"one pod more in an admitted group", join, buysNothing(holdsGroup)},
		{"taking a pod out of its group", leave(`{"metadata": {"labels": {"ebbtide.dev/pod-group": null}}}`), forbidden("the label ebbtide.dev/pod-group")},
		{"another size for a group", leave(`{"metadata": {"annotations": {"ebbtide.dev/pod-group-size": "1"}}}`), forbidden("the annotation ebbtide.dev/pod-group-size")},
		{"putting a pod in a queue under another job", send(queuedPod("try", "default"), onceBound(v1alpha1.LabelQueue, "default", 3), func(ctx context.Context, w *town, made client.Object) error {
			patch := client.MergeFrom(made.DeepCopyObject().(client.Object))
			made.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: "RayCluster", Name: "x", UID: "y", Controller: ptr.To(true)}})
			return w.mallory.Patch(ctx, made, patch)
		}), forbidden("metadata.ownerReferences: a pod in a queue stays with what made it")},
	}
}

// holdsGroup: the two pods that were admitted have nodes, and the third has none.
func holdsGroup(ctx context.Context, w *town, made client.Object) (bool, string) {
	var pod corev1.Pod
	if err := w.admin.Get(ctx, client.ObjectKeyFromObject(made), &pod); err != nil {
		return false, err.Error()
	}
	all, err := w.pods(ctx, red)
	waits := time.Since(pod.CreationTimestamp.Time) > settled
	return err == nil && all == 4 && pod.Spec.NodeName == "" && waits, fmt.Sprintf("%d pods have nodes (%v), among them it: %t", all, err, pod.Spec.NodeName != "")
}
