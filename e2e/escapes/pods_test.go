package escapes

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// run creates a pod as mallory.
func run(pod *corev1.Pod) func(context.Context, *town) (client.Object, error) {
	return func(ctx context.Context, w *town) (client.Object, error) {
		made := pod.DeepCopy()
		return made, w.mallory.Create(ctx, made)
	}
}

// podOf returns a pod of a job that runs.
func (w *town) podOf(ctx context.Context, namespace, job string) (*corev1.Pod, error) {
	var list corev1.PodList
	if err := w.admin.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{batchv1.JobNameLabel: job}); err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("job %s has no pods", job)
	}
	return &list.Items[0], nil
}

// alter patches a pod of red's running job as mallory.
func alter(patch string) func(context.Context, *town) (client.Object, error) {
	return func(ctx context.Context, w *town) (client.Object, error) {
		pod, err := w.podOf(ctx, red, "running")
		if err != nil {
			return nil, err
		}
		return nil, w.mallory.Patch(ctx, pod, client.RawPatch(types.StrategicMergePatchType, []byte(patch)))
	}
}

func online(pod *corev1.Pod) { pod.Spec.PriorityClassName = v1alpha1.PriorityClassOnline }
func stock(pod *corev1.Pod)  { pod.Spec.SchedulerName = corev1.DefaultSchedulerName }

// podWays are ways out through pods that no queue knows.
func podWays() []way {
	const beyond = "tenant red: 4 of 4 units of flavor h100 are used"
	bound := func(ctx context.Context, w *town, made client.Object) error { return w.awaitBound(ctx, made.GetName()) }
	pod := func(units string, changes ...func(*corev1.Pod)) *corev1.Pod {
		return gpuPod(red, "try", gpu, units, changes...)
	}
	return []way{
		{"a pod for another scheduler", run(pod("1", stock)),
			forbidden("spec.schedulerName: a pod that asks for a GPU must name ebbtide, not default-scheduler")},
		{"a Deployment for another scheduler", rollOut(stock), buysNothing(cannotMakePods("must name ebbtide, not default-scheduler"))},
		{"a pod with a nodeName", run(pod("1", func(pod *corev1.Pod) { pod.Spec.NodeName = "gpu-1" })),
			forbidden("spec.nodeName: must not be set on a pod that asks for a GPU")},
		{"binding a pod to a node by hand", func(ctx context.Context, w *town) (client.Object, error) {
			made := pod("5")
			if err := w.mallory.Create(ctx, made); err != nil {
				return nil, err
			}
			return nil, w.mallory.kube.CoreV1().Pods(red).Bind(ctx, &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Name: made.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "gpu-1"},
			}, metav1.CreateOptions{})
		}, noRole("create", "pods/binding")},
		{"binding a pod to a node as the namespace's administrator", func(ctx context.Context, w *town) (client.Object, error) {
			made := pod("8")
			if err := w.mallory.Create(ctx, made); err != nil {
				return nil, err
			}
			binding := &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: made.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "gpu-1"},
			}
			return nil, w.marvin.kube.CoreV1().Pods(red).Bind(ctx, binding, metav1.CreateOptions{})
		}, forbidden("pods/binding: only schedulers, which may bind the pods of all namespaces, give pods nodes")},
		{"a pod within the quota", run(pod("2")), buysNothing(podRuns)},
		{"a pod beyond the quota", fill(pod("1")), podWaits(beyond)},
		{"an online pod beyond the quota", run(pod("5", online)), podWaits("of 4 units of flavor h100 are used, and the pod asks for 5")},
		{"a pod larger than the quota", run(pod("8")), podWaits("tenant red: 2 of 4 units of flavor h100 are used, and the pod asks for 8")},
		{"a pod with a job's name beyond the quota", fill(pod("1", func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"job-name": "waiting", batchv1.JobNameLabel: "waiting"}
		})), podWaits(beyond)},
		{"a Deployment beyond the quota", rollOut(), buysNothing(runs(2))},
		{"a pod beyond the quota in another namespace", fill(gpuPod(second, "try", gpu, "1")), podWaits(beyond)},
		{"a pod in a namespace of no tenant", run(gpuPod(nobody, "try", gpu, "1")), podWaits("namespace nobody belongs to no tenant")},
		{"mig-* instead of gpu", run(gpuPod(red, "try", slice, "1")), podWaits("tenant red has no quota for nvidia.com/mig-1g.10gb")},
		{"mig-* that nobody has a quota for", run(gpuPod(red, "try", unnamed, "1")), podWaits("tenant red has no quota for nvidia.com/mig-3g.40gb")},
		{"a system PriorityClass", run(pod("1", func(pod *corev1.Pod) { pod.Spec.PriorityClassName = "system-node-critical" })),
			forbidden("spec.priorityClassName: the system classes are not for pods that ask for a GPU")},
		{"a PriorityClass above the tenant's highest", run(pod("1", func(pod *corev1.Pod) { pod.Spec.PriorityClassName = lofty })),
			podWaits("is above ebbtide-online (1000000), the highest class of tenant red")},
		{"a PriorityClass of one's own", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Value: 999999999})
		}, noRole("create", "priorityclasses")},
		{"a priority without a class", run(pod("1", func(pod *corev1.Pod) { pod.Spec.Priority = ptr.To[int32](2000001) })),
			forbidden("the integer value of priority (2000001) must not be provided in pod spec")},
		{"negative quantities", run(pod("-1")), invalid("must be greater than or equal to 0")},
		{"overflowing quantities", run(pod("9223372036854775807", func(pod *corev1.Pod) {
			second := *pod.Spec.Containers[0].DeepCopy()
			second.Name = "second"
			pod.Spec.Containers = append(pod.Spec.Containers, second)
		})), invalid("must be at most 1000000 of a GPU resource")},
		{"GPUs of the pod instead of its containers", run(pod("0", func(pod *corev1.Pod) {
			pod.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{gpu: resource.MustParse("1")}}
		})), invalid("spec.resources.limits[nvidia.com/gpu]")},
		{"adding a pod to somebody's gang", func(ctx context.Context, w *town) (client.Object, error) {
			var job batchv1.Job
			if err := w.admin.Get(ctx, types.NamespacedName{Namespace: red, Name: "running"}, &job); err != nil {
				return nil, err
			}
			return nil, w.mallory.Create(ctx, pod("1", func(pod *corev1.Pod) {
				pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(&job, batchv1.SchemeGroupVersion.WithKind("Job"))}
			}))
		}, forbidden("metadata.ownerReferences: only the Job controller makes a pod that asks for a GPU part of a Job")},
		{"an ownerless pod with a job's labels", run(pod("1", func(pod *corev1.Pod) {
			pod.Labels = map[string]string{v1alpha1.LabelQueue: "paused", "job-name": "waiting", batchv1.JobNameLabel: "waiting"}
		})), queuedPodWaits("QueuePaused")},
		{"an ownerless pod with a job's UID", run(pod("1", func(pod *corev1.Pod) {
			pod.Labels = map[string]string{batchv1.ControllerUidLabel: "5b0b6d2e"}
		})), forbidden("only the Job controller writes them on a pod that asks for a GPU")},
		{"taking a running pod out of its job", alter(`{"metadata": {"ownerReferences": [{"$patch": "replace"}]}}`),
			forbidden("metadata.ownerReferences: only the Job controller takes a pod that asks for a GPU out of its Job")},
		{"putting a running pod into a group", send(pod("2"), bound, write(`{"metadata": {"labels": {"ebbtide.dev/pod-group": "pair"}}}`)),
			forbidden("the label ebbtide.dev/pod-group")},
		{"putting a running pod under another job", send(pod("2"), bound, func(ctx context.Context, w *town, made client.Object) error {
			var job batchv1.Job
			if err := w.admin.Get(ctx, types.NamespacedName{Namespace: red, Name: "running"}, &job); err != nil {
				return err
			}
			return write(fmt.Sprintf(`{"metadata": {"ownerReferences": [{"apiVersion": "example.com/v1", "kind": "Foo", "name": "x", "uid": %q, "controller": true}]}}`, job.UID))(ctx, w, made)
		}), forbidden("metadata.ownerReferences: a pod that asks for a GPU does not join what did not make it")},
		{"a pod with the name of a group beyond the quota", joinGroupInName, podWaits(beyond)},
		{"a pod that says it is a part of a PyTorchJob", podOfTorch, buysNothing(podRuns)},
		{"a finalizer on a running pod", alter(`{"metadata": {"finalizers": ["example.com/stay"]}}`),
			forbidden("metadata.finalizers: none may be added to a pod of a queued job")},
		{"more GPUs for a running pod", alter(`{"spec": {"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": 8}}}]}}`),
			invalid("pod updates may not change fields other than")},
		{"resizing a running pod", func(ctx context.Context, w *town) (client.Object, error) {
			pod, err := w.podOf(ctx, red, "running")
			if err != nil {
				return nil, err
			}
			patch := []byte(`{"spec": {"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": 8}, "requests": {"nvidia.com/gpu": 8}}}]}}`)
			_, err = w.mallory.kube.CoreV1().Pods(red).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "resize")
			return nil, err
		}, invalid("only cpu and memory resources are mutable")},
		{"evicting another tenant's pods", func(ctx context.Context, w *town) (client.Object, error) {
			pod, err := w.podOf(ctx, blue, "theirs")
			if err != nil {
				return nil, err
			}
			return nil, w.mallory.kube.CoreV1().Pods(blue).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: blue, Name: pod.Name}})
		}, noRole("create", "pods/eviction")},
	}
}

// joinGroupInName uses up red's quota with a pod that names a group, lets the group have a
// loan, and then creates one pod more.
func joinGroupInName(ctx context.Context, w *town) (client.Object, error) {
	first := gpuPod(red, "first", gpu, "2")
	first.Labels = map[string]string{v1alpha1.LabelPodGroup: "pair"}
	if err := w.mallory.Create(ctx, first); err != nil {
		return nil, err
	}
	if err := w.awaitBound(ctx, first.Name); err != nil {
		return nil, err
	}
	for _, name := range []string{"one", "two"} {
		if err := w.mallory.Create(ctx, queuedPod(name, "default", inGroup)); err != nil {
			return nil, err
		}
	}
	if err := onceBound(v1alpha1.LabelPodGroup, "pair", 3)(ctx, w, nil); err != nil {
		return nil, err
	}
	return run(gpuPod(red, "try", gpu, "1"))(ctx, w)
}

// podOfTorch makes a pod, of no queue by its label, that names a PyTorchJob that waits as
// its controller.
func podOfTorch(ctx context.Context, w *town) (client.Object, error) {
	torch, err := send(pyTorchJob("paused", template(nil)))(ctx, w)
	if err != nil {
		return nil, err
	}
	pod := gpuPod(red, "part", gpu, "2")
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(torch, pyTorchJobs)}
	return pod, w.mallory.Create(ctx, pod)
}

// awaitBound waits until a pod of red's has a node.
func (w *town) awaitBound(ctx context.Context, name string) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		var pod corev1.Pod
		err := w.admin.Get(ctx, types.NamespacedName{Namespace: red, Name: name}, &pod)
		return pod.Spec.NodeName != "", client.IgnoreNotFound(err)
	})
	if err != nil {
		return fmt.Errorf("wait until pod %s has a node: %w", name, err)
	}
	return nil
}

// fill uses up what is left of red's nominal quota, and then creates the pod.
func fill(pod *corev1.Pod) func(context.Context, *town) (client.Object, error) {
	return func(ctx context.Context, w *town) (client.Object, error) {
		first := gpuPod(red, "first", gpu, "2")
		if err := w.mallory.Create(ctx, first); err != nil {
			return nil, err
		}
		if err := w.awaitBound(ctx, first.Name); err != nil {
			return nil, err
		}
		return run(pod)(ctx, w)
	}
}

// rollOut makes a Deployment of four one-GPU pods, of which two fit the quota.
func rollOut(changes ...func(*corev1.Pod)) func(context.Context, *town) (client.Object, error) {
	return func(ctx context.Context, w *town) (client.Object, error) {
		labels := map[string]string{"app": "try"}
		made := &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "try"},
			Spec: appsv1.DeploymentSpec{
				Replicas: ptr.To[int32](4), Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: gpuPod(red, "", gpu, "1", changes...).Spec,
				},
			},
		}
		return made, w.mallory.Create(ctx, made)
	}
}

// cannotMakePods: the Deployment says that its pods are refused, and why.
func cannotMakePods(words string) func(context.Context, *town, client.Object) (bool, string) {
	return func(ctx context.Context, w *town, made client.Object) (bool, string) {
		var d appsv1.Deployment
		if err := w.admin.Get(ctx, client.ObjectKeyFromObject(made), &d); err != nil {
			return false, err.Error()
		}
		for _, c := range d.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue && contains(c.Message, words) {
				return d.Status.Replicas == 0, fmt.Sprintf("%d replicas", d.Status.Replicas)
			}
		}
		return false, fmt.Sprintf("its conditions are %+v", d.Status.Conditions)
	}
}

// runs: so many pods of the Deployment have a node, and the others say that the
// quota is used up.
func runs(n int) func(context.Context, *town, client.Object) (bool, string) {
	return func(ctx context.Context, w *town, _ client.Object) (bool, string) {
		var pods corev1.PodList
		if err := w.admin.List(ctx, &pods, client.InNamespace(red), client.MatchingLabels{"app": "try"}); err != nil {
			return false, err.Error()
		}
		bound, waiting, said := 0, 0, ""
		for i := range pods.Items {
			pod := &pods.Items[i]
			said += describe(pod) + "; "
			if pod.Spec.NodeName != "" {
				bound++
			} else if contains(describe(pod), "4 of 4 units of flavor h100 are used") {
				waiting++
			}
		}
		return bound == n && waiting == 4-n, said
	}
}
