package ebbtide

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// What kube-scheduler watches leaves out pods that have ended: they hold nothing. But a
// gang is smaller by each that succeeded and that nobody makes anew. Of Jobs their status
// tells how many did; for the other kinds, the pods of queued jobs that succeeded are
// watched beside the others.

// succeededPods are those of queued jobs.
func succeededPods(client kubernetes.Interface) cache.SharedIndexInformer {
	only := func(options *metav1.ListOptions) {
		options.LabelSelector = v1alpha1.LabelQueue
		options.FieldSelector = "status.phase=" + string(corev1.PodSucceeded)
	}
	informer := coreinformers.NewFilteredPodInformer(client, metav1.NamespaceAll, 0, kinIndexers(), only)
	_ = informer.SetTransform(whoseAlone) // fails only once the informer runs
	return informer
}

// whoseAlone keeps of a pod what tells whose it is, and which units it asked for.
func whoseAlone(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	meta, spec := &pod.ObjectMeta, &pod.Spec
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: meta.Namespace, Name: meta.Name, UID: meta.UID, ResourceVersion: meta.ResourceVersion,
			Labels: meta.Labels, OwnerReferences: meta.OwnerReferences,
			CreationTimestamp: meta.CreationTimestamp, DeletionTimestamp: meta.DeletionTimestamp,
		},
		Spec: corev1.PodSpec{
			NodeName: spec.NodeName, Resources: spec.Resources, Overhead: spec.Overhead, ResourceClaims: spec.ResourceClaims,
			Containers: requestsAlone(spec.Containers), InitContainers: requestsAlone(spec.InitContainers),
		},
		Status: corev1.PodStatus{Phase: pod.Status.Phase},
	}, nil
}

func requestsAlone(containers []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(containers))
	for i := range containers {
		c := &containers[i]
		out[i] = corev1.Container{Name: c.Name, Resources: c.Resources, RestartPolicy: c.RestartPolicy}
	}
	return out
}

// onSucceeded lets a gang go that is whole without the pod that has succeeded, and wakes
// those of it that were turned away because it was not.
func (p *Ebbtide) onSucceeded(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	came := func(obj any) {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return
		}
		loan := p.book.LoanOf(pod)
		if loan == nil || !toldByPods(loan) {
			return
		}
		if len(p.placedIn(loan.UID)) > 0 {
			p.muster(logger, loan, "")
		}
		p.activate(logger, p.unplacedOf(loan))
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    came,
		UpdateFunc: func(_, after any) { came(after) },
	}
}

// toldByPods reports whether the loan's pods tell which of them have succeeded. Of a Job
// its status does; and of pods that are a job themselves, those that have ended may be of
// an earlier group of that name.
func toldByPods(loan *v1alpha1.Loan) bool { return !batch(loan) && !gated(loan) }

// membersOfGang are the loan's pods that ask for its units, those included that have
// succeeded. Where the two watches differ about a pod, it has: none runs again.
func (p *Ebbtide) membersOfGang(loan *v1alpha1.Loan) []*corev1.Pod {
	running := p.gangOf(loan)
	if !toldByPods(loan) {
		return running
	}
	succeeded := p.gangIn(p.succeeded, loan)
	is := make(map[types.UID]bool, len(succeeded))
	for _, pod := range succeeded {
		is[pod.UID] = true
	}
	return append(succeeded, slices.DeleteFunc(running, func(pod *corev1.Pod) bool { return is[pod.UID] })...)
}

// wantedOf returns how many pods the gang is: those of its loan, less those that have
// succeeded and are not made anew.
func (p *Ebbtide) wantedOf(loan *v1alpha1.Loan) int64 {
	n := wanted(loan, p.jobOf(loan))
	if !toldByPods(loan) {
		return n
	}
	for _, pod := range p.gangIn(p.succeeded, loan) {
		if p.done(pod, loan) {
			n--
		}
	}
	return n
}

var kindPyTorchJob = schema.GroupKind{Group: "kubeflow.org", Kind: "PyTorchJob"}

// done reports whether nobody makes another pod in the place of one of the loan's that
// succeeded. Who controls it says so: a PyTorchJob has each of its pods run once, unless it
// is suspended and goes on with a new loan, and a Job makes no more of them if it has
// places for all at a time. Others, such as a RayCluster, replace what has ended.
func (p *Ebbtide) done(pod *corev1.Pod, loan *v1alpha1.Loan) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || pod.DeletionTimestamp != nil {
		return false
	}
	switch schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind() {
	case kindPyTorchJob:
		return !pod.CreationTimestamp.Before(&loan.CreationTimestamp)
	case kindJob.GroupKind():
		job, err := p.jobs.Jobs(pod.Namespace).Get(owner.Name)
		// A JobSet that starts over deletes its Jobs, and makes each anew for itself.
		return err == nil && job.UID == owner.UID && job.DeletionTimestamp == nil && runsOnce(job)
	}
	return false
}

// runsOnce reports whether the Job has places for all its pods at a time.
func runsOnce(job *batchv1.Job) bool {
	parallelism, completions := job.Spec.Parallelism, job.Spec.Completions
	return completions == nil || parallelism != nil && *completions <= *parallelism
}
