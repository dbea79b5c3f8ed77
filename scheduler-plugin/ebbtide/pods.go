package ebbtide

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// Names of the plugin's indexes on the scheduler's pods.
const (
	byController = "ebbtide.dev/controller"
	// byName is by the group that a pod names, other than upstream's (see byGroup).
	byName = "ebbtide.dev/group"
	// byWaiting is by scheduler, and by scheduler and namespace.
	byWaiting = "ebbtide.dev/waiting"
)

func podIndexers() cache.Indexers {
	indexers := kinIndexers()
	indexers[byGroup] = func(obj any) ([]string, error) {
		if pod, ok := obj.(*corev1.Pod); ok && groupName(pod) != "" {
			return []string{groupName(pod)}, nil
		}
		return nil, nil
	}
	indexers[byWaiting] = func(obj any) ([]string, error) {
		if pod, ok := obj.(*corev1.Pod); ok && waits(pod) {
			return []string{pod.Spec.SchedulerName, pod.Spec.SchedulerName + "/" + pod.Namespace}, nil
		}
		return nil, nil
	}
	return indexers
}

// kinIndexers are those of them by which the pods of a job are found.
func kinIndexers() cache.Indexers {
	return cache.Indexers{
		byController: func(obj any) ([]string, error) {
			pod, ok := obj.(*corev1.Pod)
			if !ok {
				return nil, nil
			}
			if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
				return []string{pod.Namespace + "/" + string(owner.UID)}, nil
			}
			return nil, nil
		},
		byName: func(obj any) ([]string, error) {
			if pod, ok := obj.(*corev1.Pod); ok && pod.Labels[v1alpha1.LabelPodGroup] != "" {
				return []string{pod.Namespace + "/" + pod.Labels[v1alpha1.LabelPodGroup]}, nil
			}
			return nil, nil
		},
	}
}

func waits(pod *corev1.Pod) bool { return pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil }

// activate puts pods back into the queue, without backoff. Those that ask for what nobody
// counts are among them: it may have been counted when they were refused.
func (p *Ebbtide) activate(logger klog.Logger, pods []*corev1.Pod) {
	wake := map[string]*corev1.Pod{}
	for _, pod := range pods {
		if len(book.Requests(pod, nil)) > 0 {
			wake[pod.Namespace+"/"+pod.Name] = pod
		}
	}
	// While the scheduler is still being put together there are no pods, and
	// nothing to activate them with.
	if len(wake) > 0 {
		p.handle.Activate(logger, wake)
	}
}

// podsOf returns the pods of the loan's job, as far as is known: those whose latest loan
// is one of that job.
func (p *Ebbtide) podsOf(loan *v1alpha1.Loan) []*corev1.Pod { return p.podsIn(p.pods, loan) }

func (p *Ebbtide) podsIn(pods cache.Indexer, loan *v1alpha1.Loan) []*corev1.Pod {
	return slices.DeleteFunc(p.maybeOf(pods, loan), func(pod *corev1.Pod) bool { return !p.isOf(pod, loan) })
}

// isOf reports whether the pod is of the loan's job.
func (p *Ebbtide) isOf(pod *corev1.Pod, loan *v1alpha1.Loan) bool {
	of := p.book.LoanOf(pod)
	return of != nil && of.Spec.Job.UID == loan.Spec.Job.UID
}

// maybeOf returns all those of the pods that are of the loan's job, and perhaps others.
// They are looked for from above, since their chains may have become known after they did:
// under all that the job has below it, and in the group that it is.
func (p *Ebbtide) maybeOf(pods cache.Indexer, loan *v1alpha1.Loan) []*corev1.Pod {
	job := &loan.Spec.Job
	out := p.podsUnder(pods, loan.Namespace, job.UID)
	if !gated(loan) && job.PodGroup == "" {
		return out
	}
	if job.PodGroup != "" {
		out = append(out, indexed(pods, byName, loan.Namespace+"/"+job.PodGroup)...)
	}
	if gated(loan) {
		if pod := p.leadOf(loan); pod != nil {
			out = append(out, pod)
		}
	}
	seen := make(map[types.UID]bool, len(out))
	return slices.DeleteFunc(out, func(pod *corev1.Pod) bool {
		if seen[pod.UID] {
			return true
		}
		seen[pod.UID] = true
		return false
	})
}

// gangOf returns those of the loan's pods that ask for its units. Others, such as the
// head of a cluster of pods or what launches them, are no part of the gang: they are not
// waited for, hold nothing, and end with their job.
func (p *Ebbtide) gangOf(loan *v1alpha1.Loan) []*corev1.Pod { return p.gangIn(p.pods, loan) }

func (p *Ebbtide) gangIn(pods cache.Indexer, loan *v1alpha1.Loan) []*corev1.Pod {
	return slices.DeleteFunc(p.podsIn(pods, loan), func(pod *corev1.Pod) bool {
		return book.Units(pod, corev1.ResourceName(loan.Spec.Resource)) <= 0
	})
}

// pendingOf returns those of the loan's pods that have no node yet.
func (p *Ebbtide) pendingOf(loan *v1alpha1.Loan) []*corev1.Pod {
	var out []*corev1.Pod
	for _, pod := range p.podsOf(loan) {
		if waits(pod) {
			out = append(out, pod)
		}
	}
	return out
}

// pending returns all pods of the plugin's profiles that have no node yet.
func (p *Ebbtide) pending() []*corev1.Pod { return p.pendingIn("") }

// pendingIn returns those of one namespace ("/name"), or of all (empty).
func (p *Ebbtide) pendingIn(namespace string) []*corev1.Pod {
	var out []*corev1.Pod
	for _, name := range p.profiles.list(p.handle.ProfileName()) {
		out = append(out, p.podsBy(byWaiting, name+namespace)...)
	}
	return out
}

func (p *Ebbtide) podsBy(index, key string) []*corev1.Pod { return indexed(p.pods, index, key) }

func indexed(pods cache.Indexer, index, key string) []*corev1.Pod {
	objs, err := pods.ByIndex(index, key)
	if err != nil {
		return nil
	}
	out := make([]*corev1.Pod, 0, len(objs))
	for _, obj := range objs {
		if pod, ok := obj.(*corev1.Pod); ok {
			out = append(out, pod)
		}
	}
	return out
}
