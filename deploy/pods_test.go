package deploy_test

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

const gpu = corev1.ResourceName("nvidia.com/gpu")

func gpuContainer(count string) corev1.Container {
	return container(gpu, count)
}

func container(name corev1.ResourceName, count string) corev1.Container {
	return corev1.Container{
		Name: "main", Image: "example.com/train:1",
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{name: resource.MustParse(count)}},
	}
}

// onlinePod is a pod of an online service: one GPU, Ebbtide's scheduler.
func onlinePod(changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-"},
		Spec: corev1.PodSpec{
			SchedulerName:     v1alpha1.SchedulerName,
			PriorityClassName: v1alpha1.PriorityClassOnline,
			Containers:        []corev1.Container{gpuContainer("1")},
		},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

// queuedPod is a pod as the Job controller makes it from a queued job.
func queuedPod(pod *corev1.Pod) {
	pod.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
	pod.Spec.PriorityClassName = v1alpha1.PriorityClassBorrower
	pod.Finalizers = []string{"batch.kubernetes.io/job-tracking"}
	pod.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "batch/v1", Kind: "Job", Name: "train", UID: "5b0b6d2e", Controller: ptr.To(true),
	}}
}

// barePod is a pod in a queue that nobody made for a job.
func barePod(pod *corev1.Pod) {
	pod.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
	pod.Spec.PriorityClassName = ""
}

// owned makes a pod look as its controller of a kind makes it.
func owned(apiVersion, kind string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: "maker", UID: "8c11d0aa", Controller: ptr.To(true)}}
	}
}

func annotate(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value) }
}

func stock(pod *corev1.Pod) { pod.Spec.SchedulerName = corev1.DefaultSchedulerName }

// restricted makes a pod meet the Pod Security level of the same name.
func restricted(pod *corev1.Pod) {
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		RunAsNonRoot:             ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func ask(containers ...corev1.Container) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.Containers = containers }
}

func both(changes ...func(*corev1.Pod)) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for _, change := range changes {
			change(pod)
		}
	}
}

// podTry is a user who creates an online pod with a change, and what comes of it.
type podTry struct {
	name   string
	user   string
	where  string // namespace; empty: the tenant's own
	change func(*corev1.Pod)
	want   string // as for wantOutcome
}

// tryPods tries each in a test of its own; none of the pods comes to be. namespace is
// the tenant's own.
func (c *cluster) tryPods(t *testing.T, namespace string, tries []podTry) {
	t.Helper()
	for _, try := range tries {
		t.Run(try.name, func(t *testing.T) {
			where := try.where
			if where == "" {
				where = namespace
			}
			_, err := c.client(t, try.user).CoreV1().Pods(where).Create(t.Context(), onlinePod(try.change),
				metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			wantOutcome(t, err, try.want)
		})
	}
}

func TestCreatingPods(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	grace := func(seconds int64) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.TerminationGracePeriodSeconds = ptr.To(seconds) }
	}
	class := func(name string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.PriorityClassName = name }
	}
	onNode := func(pod *corev1.Pod) { pod.Spec.NodeName = "gpu-7" }
	noGPU := ask(corev1.Container{Name: "main", Image: "example.com/web:1"})
	c.tryPods(t, namespace, []podTry{
		{"online pod", tenant, "", func(*corev1.Pod) {}, ""},
		{"stock scheduler", tenant, "", stock, "spec.schedulerName: a pod that asks for a GPU must name ebbtide, not default-scheduler"},
		{"stock scheduler, as administrator", administrator, "", stock, "spec.schedulerName: a pod that asks for a GPU must name ebbtide"},
		{"stock scheduler, MIG slice", tenant, "", both(stock, ask(container("nvidia.com/mig-1g.10gb", "1"))),
			"spec.schedulerName: a pod that asks for a GPU must name ebbtide"},
		{"stock scheduler, time slice", tenant, "", both(stock, ask(container("nvidia.com/gpu.shared", "1"))),
			"spec.schedulerName: a pod that asks for a GPU must name ebbtide"},
		{"stock scheduler, second container", tenant, "", both(stock, func(pod *corev1.Pod) {
			pod.Spec.Containers = []corev1.Container{{Name: "web", Image: "example.com/web:1"}, gpuContainer("1")}
		}), "spec.schedulerName: a pod that asks for a GPU must name ebbtide"},
		{"stock scheduler, init container", tenant, "", both(stock, noGPU, func(pod *corev1.Pod) {
			first := gpuContainer("1")
			first.Name = "first"
			pod.Spec.InitContainers = []corev1.Container{first}
		}), "spec.schedulerName: a pod that asks for a GPU must name ebbtide"},
		{"stock scheduler, no GPU", tenant, "", both(stock, noGPU), ""},
		{"stock scheduler, zero GPUs", tenant, "", both(stock, ask(gpuContainer("0"))), ""},
		{"stock scheduler, another device", tenant, "", both(stock, ask(container("nvidia.com/hostdev", "1"))), ""},
		{"stock scheduler, in kube-system", administrator, "kube-system", stock, ""},
		{"stock scheduler, in ebbtide-system", administrator, "ebbtide-system", both(stock, restricted), ""},

		{"a GPU requested without a limit", tenant, "", func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: corev1.ResourceList{gpu: resource.MustParse("1")}}
		}, "Limit must be set for non overcommitable resources"},
		{"a GPU of the pod and not of a container", tenant, "", both(noGPU, func(pod *corev1.Pod) {
			pod.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{gpu: resource.MustParse("1")}}
		}), "spec.resources.limits[nvidia.com/gpu]: Unsupported value"},
		{"a GPU as overhead", tenant, "", both(noGPU, func(pod *corev1.Pod) {
			pod.Spec.Overhead = corev1.ResourceList{gpu: resource.MustParse("1")}
		}), "Pod Overhead set without corresponding RuntimeClass defined Overhead"},
		{"more GPUs than numbers can add up", tenant, "", ask(gpuContainer("9223372036854775807")), "must be at most 1000000 of a GPU resource"},
		{"more GPUs, in an init container", tenant, "", func(pod *corev1.Pod) {
			first := gpuContainer("1000001")
			first.Name = "first"
			pod.Spec.InitContainers = []corev1.Container{first}
		}, "must be at most 1000000 of a GPU resource"},
		{"more slices", tenant, "", ask(container("nvidia.com/mig-1g.10gb", "1e18")), "must be at most 1000000 of a GPU resource"},
		{"negative GPUs", tenant, "", ask(gpuContainer("-1")), "must be greater than or equal to 0"},
		{"half a GPU", tenant, "", ask(gpuContainer("500m")), "must be an integer"},

		{"node of its own choice", tenant, "", onNode, "spec.nodeName: must not be set on a pod that asks for a GPU"},
		{"node of its own choice, no GPU", tenant, "", both(onNode, noGPU), ""},
		{"system class", tenant, "", class("system-node-critical"), "spec.priorityClassName: the system classes are not for pods that ask for a GPU"},
		{"system class, no GPU", tenant, "", both(class("system-node-critical"), noGPU), ""},

		{"queued pod, by the Job controller", jobController, "", queuedPod, ""},
		{"queued pod of a job, by hand", tenant, "", queuedPod, "metadata.ownerReferences: only the Job controller makes"},
		{"queued pod of its own", tenant, "", barePod, ""},
		{"queued pod of its own, without a GPU", tenant, "", both(noGPU, barePod), ""},
		{"queued pod of a replica set", replicaSets, "", both(barePod, owned("apps/v1", "ReplicaSet")), ""},
		{"queued pod of a PyTorchJob", operator, "", both(barePod, owned("kubeflow.org/v1", "PyTorchJob")), ""},
		{"queued pod for the stock scheduler, without a GPU", tenant, "", both(noGPU, barePod, stock),
			"spec.schedulerName: must be ebbtide for a pod in a queue"},
		{"queued pod in a queue without a name", tenant, "", both(barePod, func(pod *corev1.Pod) { pod.Labels[v1alpha1.LabelQueue] = "" }),
			"metadata.labels[ebbtide.dev/queue]: must name a TrainingQueue"},
		{"queued pod of its own, above all", tenant, "", both(barePod, class("ebbtide-online")),
			"spec.priorityClassName: a pod of a queued job must be below ebbtide-online"},
		{"queued pod of its own, with ten days of grace", tenant, "", both(barePod, grace(864000)),
			"spec.terminationGracePeriodSeconds: must be at most 3600"},
		{"queued pod of its own, on a node of its choice", tenant, "", both(barePod, onNode), "spec.nodeName: must not be set"},
		{"queued pod that says it is admitted", tenant, "", both(barePod, annotate(v1alpha1.AnnotationAttempt, "1")),
			"metadata.annotations[ebbtide.dev/attempt, ebbtide.dev/skipped-attempts]: only the broker writes them"},
		{"queued pod that says it was taken back", tenant, "", both(barePod, annotate(v1alpha1.AnnotationTakenBack, "1")),
			"metadata.annotations[ebbtide.dev/taken-back]: is never written on a pod of a queued job"},
		{"queued pod that says where it is told", tenant, "", both(barePod, annotate(v1alpha1.AnnotationReclaimHook, ":8080/reclaim")), ""},
		{"pod of a job, by hand, without the label", tenant, "", both(queuedPod, func(pod *corev1.Pod) { pod.Labels = nil }),
			"metadata.ownerReferences: only the Job controller makes"},
		{"queued pod above all", jobController, "", both(queuedPod, class("ebbtide-online")),
			"spec.priorityClassName: a pod of a queued job must be below ebbtide-online"},
		{"queued pod with an hour of grace", jobController, "", both(queuedPod, grace(3600)), ""},
		{"queued pod with ten days of grace", jobController, "", both(queuedPod, grace(864000)),
			"spec.terminationGracePeriodSeconds: must be at most 3600"},
		{"online pod with two hours of grace", tenant, "", grace(7200), ""},
		{"queued pod with a finalizer", jobController, "", both(queuedPod, func(pod *corev1.Pod) { pod.Finalizers = []string{"example.com/stay"} }),
			"metadata.finalizers: none may be added to a pod of a queued job"},
		{"a job's UID on a pod of no job", tenant, "", func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"batch.kubernetes.io/controller-uid": "5b0b6d2e"}
		}, "metadata.labels[batch.kubernetes.io/controller-uid, controller-uid]: only the Job controller writes them"},
		{"a job's UID, no GPU", tenant, "", both(noGPU, func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"controller-uid": "5b0b6d2e"}
		}), ""},
		{"a job's name on a pod of no job", tenant, "", func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"job-name": "train"}
		}, ""},
		{"forged notice", tenant, "", func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{v1alpha1.AnnotationReclaimBy: "2030-01-01T00:00:00Z"}
		}, "metadata.annotations[ebbtide.dev/reclaim-by]: only the broker and the scheduler write it"},
	})
}

func TestChangingPods(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	makeOnline := func(t *testing.T) *corev1.Pod { return create(t, c.client(t, tenant), namespace, onlinePod()) }
	// Without an owner, which does not exist: the garbage collector runs here too.
	orphan := func(pod *corev1.Pod) { pod.OwnerReferences = nil }
	makeQueued := func(t *testing.T) *corev1.Pod {
		return create(t, c.client(t, jobController), namespace, onlinePod(queuedPod, orphan))
	}
	// Of a job that exists, so that the garbage collector lets its pods be, and that
	// the Job controller leaves to somebody else.
	owner, err := c.client(t, tenant).BatchV1().Jobs(namespace).Create(t.Context(), trainingJob(func(job *batchv1.Job) {
		job.Spec.ManagedBy = ptr.To("example.com/nobody")
	}), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create a job: %v", err)
	}
	makeOwned := func(t *testing.T) *corev1.Pod {
		return create(t, c.client(t, jobController), namespace, onlinePod(queuedPod, func(pod *corev1.Pod) {
			pod.OwnerReferences[0].Name, pod.OwnerReferences[0].UID = owner.Name, owner.UID
			for _, key := range []string{"batch.kubernetes.io/controller-uid", "controller-uid"} {
				pod.Labels[key] = string(owner.UID)
			}
			for _, key := range []string{"batch.kubernetes.io/job-name", "job-name"} {
				pod.Labels[key] = owner.Name
			}
		}))
	}
	makeWeb := func(t *testing.T) *corev1.Pod {
		return create(t, c.client(t, tenant), namespace, onlinePod(ask(corev1.Container{Name: "main", Image: "example.com/web:1"})))
	}
	// A pod of its own, in a group of two.
	makeBare := func(t *testing.T) *corev1.Pod {
		return create(t, c.client(t, tenant), namespace, onlinePod(barePod, annotate(v1alpha1.AnnotationPodGroupSize, "2"), func(pod *corev1.Pod) {
			pod.Labels[v1alpha1.LabelPodGroup] = "pair"
		}))
	}
	torch := c.jobOf(t, "pytorchjob", namespace, "waiting")
	set := statefulSet(t, c.client(t, operator), namespace, nil)
	ofOwner := func(apiVersion, kind string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			owned(apiVersion, kind)(pod)
			made := &pod.OwnerReferences[0]
			made.Name, made.UID = torch.GetName(), torch.GetUID()
			if kind == "StatefulSet" {
				made.Name, made.UID = set.Name, set.UID
			}
		}
	}
	makeMade := func(apiVersion, kind string) func(*testing.T) *corev1.Pod {
		return func(t *testing.T) *corev1.Pod {
			return create(t, c.client(t, operator), namespace, onlinePod(barePod, ofOwner(apiVersion, kind)))
		}
	}
	notice := func(value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{v1alpha1.AnnotationReclaimBy: value}
		}
	}
	label := func(value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Labels = map[string]string{v1alpha1.LabelQueue: value} }
	}
	const (
		onlyEbbtide = "metadata.annotations[ebbtide.dev/reclaim-by]: only the broker and the scheduler write it"
		outOfJob    = "metadata.ownerReferences: only the Job controller takes a pod that asks for a GPU out of its Job"
		jobUID      = "metadata.labels[batch.kubernetes.io/controller-uid, controller-uid]: only the Job controller writes them"
		jobName     = "metadata.labels[batch.kubernetes.io/job-name, job-name]: cannot be added to, changed on or removed"
		labelStays  = "metadata.labels[ebbtide.dev/queue]: cannot be added to, changed on or removed from a pod"

		joinsNothing   = "metadata.ownerReferences: a pod that asks for a GPU does not join what did not make it"
		takenBack      = "metadata.annotations[ebbtide.dev/taken-back]: is never written on a pod of a queued job"
		whichGroup     = "metadata: the label ebbtide.dev/pod-group and the annotation ebbtide.dev/pod-group-size cannot"
		onlyBroker     = "metadata.annotations[ebbtide.dev/attempt, ebbtide.dev/skipped-attempts]: only the broker writes them"
		staysWithMaker = "metadata.ownerReferences: a pod in a queue stays with what made it"
	)
	tests := []struct {
		name   string
		pod    func(*testing.T) *corev1.Pod
		before func(*corev1.Pod) // done by the broker first
		user   string
		change func(*corev1.Pod)
		want   string
	}{
		{"tenant forges the notice", makeQueued, nil, tenant, notice("2030-01-01T00:00:00Z"), onlyEbbtide},
		{"broker gives notice", makeQueued, nil, broker, notice("2030-01-01T00:00:00Z"), ""},
		{"scheduler gives notice", makeQueued, nil, scheduler, notice("2030-01-01T00:00:00Z"), ""},
		{"tenant puts the notice off", makeQueued, notice("2030-01-01T00:00:00Z"), tenant, notice("2031-01-01T00:00:00Z"), onlyEbbtide},
		{"tenant removes the notice", makeQueued, notice("2030-01-01T00:00:00Z"), tenant,
			func(pod *corev1.Pod) { delete(pod.Annotations, v1alpha1.AnnotationReclaimBy) }, onlyEbbtide},
		{"tenant annotates a pod under notice", makeQueued, notice("2030-01-01T00:00:00Z"), tenant,
			func(pod *corev1.Pod) { pod.Annotations["example.com/run"] = "12" }, ""},
		{"tenant moves a pod to another queue", makeQueued, nil, tenant, label("fast"), labelStays},
		{"tenant takes a pod out of its queue", makeQueued, nil, tenant, func(pod *corev1.Pod) { pod.Labels = nil }, labelStays},
		{"tenant puts an online pod in a queue", makeOnline, nil, tenant, label("default"), labelStays},
		{"tenant puts an online pod into a job", makeOnline, nil, tenant, func(pod *corev1.Pod) {
			queued := onlinePod(queuedPod)
			pod.OwnerReferences = queued.OwnerReferences
		}, "metadata.ownerReferences: only the Job controller makes"},
		{"tenant frees a pod of its job", makeOwned, nil, tenant, orphan, outOfJob},
		{"broker frees a pod of its job", makeOwned, nil, broker, orphan, outOfJob},
		{"tenant makes the job a mere owner", makeOwned, nil, tenant,
			func(pod *corev1.Pod) { pod.OwnerReferences[0].Controller = ptr.To(false) }, outOfJob},
		{"garbage collector orphans a pod", makeOwned, nil, collector, orphan, outOfJob},
		{"Job controller frees a pod", makeOwned, nil, jobController, orphan, ""},
		{"tenant takes off the job's UID", makeOwned, nil, tenant,
			func(pod *corev1.Pod) { delete(pod.Labels, "batch.kubernetes.io/controller-uid") }, jobUID},
		{"tenant names another job's UID", makeOwned, nil, tenant,
			func(pod *corev1.Pod) { pod.Labels["controller-uid"] = "another" }, jobUID},
		{"tenant takes off the job's name", makeOwned, nil, tenant,
			func(pod *corev1.Pod) { delete(pod.Labels, "job-name") }, jobName},
		{"tenant names another job", makeOwned, nil, tenant,
			func(pod *corev1.Pod) { pod.Labels["batch.kubernetes.io/job-name"] = "another" }, jobName},
		{"tenant adds a job's UID to an online pod", makeOnline, nil, tenant, func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"batch.kubernetes.io/controller-uid": "5b0b6d2e"}
		}, jobUID},
		{"tenant labels a job's pod otherwise", makeOwned, nil, tenant,
			func(pod *corev1.Pod) { pod.Labels["example.com/run"] = "12" }, ""},
		{"Job controller relabels a pod", makeOwned, nil, jobController,
			func(pod *corev1.Pod) { delete(pod.Labels, "controller-uid") }, ""},
		{"tenant holds on to a pod", makeQueued, nil, tenant,
			func(pod *corev1.Pod) { pod.Finalizers = append(pod.Finalizers, "example.com/stay") },
			"metadata.finalizers: none may be added to a pod of a queued job"},
		{"tenant joins a group", makeBare, nil, tenant, func(pod *corev1.Pod) { pod.Labels[v1alpha1.LabelPodGroup] = "others" }, whichGroup},
		{"tenant leaves a group", makeBare, nil, tenant, func(pod *corev1.Pod) { delete(pod.Labels, v1alpha1.LabelPodGroup) }, whichGroup},
		{"tenant makes a group smaller", makeBare, nil, tenant, annotate(v1alpha1.AnnotationPodGroupSize, "1"), whichGroup},
		{"tenant puts an online pod into a group", makeOnline, nil, tenant, func(pod *corev1.Pod) {
			pod.Labels = map[string]string{v1alpha1.LabelPodGroup: "pair"}
		}, whichGroup},
		{"tenant puts an online pod into a group of a LeaderWorkerSet", makeOnline, nil, tenant, func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"leaderworkerset.sigs.k8s.io/name": "inference"}
		}, whichGroup},
		{"tenant gives an online pod a group's size", makeOnline, nil, tenant, annotate(v1alpha1.AnnotationPodGroupSize, "2"), whichGroup},
		{"tenant puts a pod without a GPU into a group", makeWeb, nil, tenant, func(pod *corev1.Pod) {
			pod.Labels = map[string]string{v1alpha1.LabelPodGroup: "pair"}
		}, ""},
		{"tenant puts an online pod under a PyTorchJob", makeOnline, nil, tenant, owned("kubeflow.org/v1", "PyTorchJob"), joinsNothing},
		{"tenant puts an online pod under something else", makeOnline, nil, tenant, owned("example.com/v1", "Foo"), joinsNothing},
		{"operator takes up an online pod", makeOnline, nil, operator, owned("kubeflow.org/v1", "PyTorchJob"), joinsNothing},
		{"replica set takes up an online pod", makeOnline, nil, replicaSets, owned("apps/v1", "ReplicaSet"), ""},
		{"daemon set takes up an online pod", makeOnline, nil, daemonSets, owned("apps/v1", "DaemonSet"), ""},
		{"tenant puts a pod without a GPU under something else", makeWeb, nil, tenant, owned("example.com/v1", "Foo"), ""},
		{"garbage collector frees an online pod of its maker", func(t *testing.T) *corev1.Pod {
			return create(t, c.client(t, operator), namespace, onlinePod(ofOwner("kubeflow.org/v1", "PyTorchJob")))
		}, nil, collector, orphan, ""},
		{"tenant says that a pod was taken back", makeBare, nil, tenant, annotate(v1alpha1.AnnotationTakenBack, "1"), takenBack},
		{"scheduler says that a pod was taken back", makeBare, nil, scheduler, annotate(v1alpha1.AnnotationTakenBack, "1"), takenBack},
		{"tenant says that a pod is admitted", makeBare, nil, tenant, annotate(v1alpha1.AnnotationAttempt, "1"), onlyBroker},
		{"tenant says that an attempt was skipped", makeBare, nil, tenant, annotate("ebbtide.dev/skipped-attempts", "1"), onlyBroker},
		{"broker admits a pod", makeBare, nil, broker, annotate(v1alpha1.AnnotationAttempt, "1"), ""},
		{"scheduler admits a pod", makeBare, nil, scheduler, annotate(v1alpha1.AnnotationAttempt, "1"), onlyBroker},
		{"tenant takes back that a pod is admitted", makeBare, annotate(v1alpha1.AnnotationAttempt, "1"), tenant,
			func(pod *corev1.Pod) { delete(pod.Annotations, v1alpha1.AnnotationAttempt) }, onlyBroker},
		{"tenant reports a checkpoint", makeBare, nil, tenant, annotate(v1alpha1.AnnotationLastCheckpoint, "2030-01-01T00:00:00Z"), ""},
		{"tenant says where a pod is told", makeBare, nil, tenant, annotate(v1alpha1.AnnotationReclaimHook, ":8080/reclaim"), ""},
		{"tenant puts a pod under a PyTorchJob", makeBare, nil, tenant, owned("kubeflow.org/v1", "PyTorchJob"), staysWithMaker},
		{"operator takes up a pod", makeBare, nil, operator, owned("kubeflow.org/v1", "PyTorchJob"), staysWithMaker},
		{"replica set takes up a pod", makeBare, nil, replicaSets, owned("apps/v1", "ReplicaSet"), ""},
		{"tenant frees a pod of its maker", makeMade("kubeflow.org/v1", "PyTorchJob"), nil, tenant, orphan, staysWithMaker},
		{"garbage collector frees a pod of its maker", makeMade("kubeflow.org/v1", "PyTorchJob"), nil, collector, orphan, staysWithMaker},
		{"garbage collector frees a pod of a stateful set", makeMade("apps/v1", "StatefulSet"), nil, collector, orphan, ""},
		{"garbage collector frees a leader", func(t *testing.T) *corev1.Pod {
			return create(t, c.client(t, operator), namespace, onlinePod(barePod, annotate("leaderworkerset.sigs.k8s.io/size", "3"), func(pod *corev1.Pod) {
				pod.Labels["leaderworkerset.sigs.k8s.io/name"] = "inference"
			}, ofOwner("apps/v1", "StatefulSet")))
		}, nil, collector, orphan, staysWithMaker},
		{"Job controller lets a pod go", makeQueued, nil, jobController, func(pod *corev1.Pod) { pod.Finalizers = nil }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pod := test.pod(t)
			if test.before != nil {
				pod = patch(t, c.client(t, broker), pod, test.before)
			}
			changed := pod.DeepCopy()
			test.change(changed)
			var groups []string
			if test.user == daemonSets {
				groups = []string{"system:serviceaccounts:kube-system"}
			}
			_, err := c.client(t, test.user, groups...).CoreV1().Pods(namespace).Patch(t.Context(), pod.Name,
				types.StrategicMergePatchType, difference(t, pod, changed), metav1.PatchOptions{})
			wantOutcome(t, err, test.want)
		})
	}
}

func create(t *testing.T, client kubernetes.Interface, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	made, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create a pod: %v", err)
	}
	return made
}

func patch(t *testing.T, client kubernetes.Interface, pod *corev1.Pod, change func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	changed := pod.DeepCopy()
	change(changed)
	made, err := client.CoreV1().Pods(pod.Namespace).Patch(t.Context(), pod.Name,
		types.StrategicMergePatchType, difference(t, pod, changed), metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("patch a pod: %v", err)
	}
	return made
}
