package ebbtide

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// Names of the plugin's indexes on the scheduler's pods.
const (
	byJob = "ebbtide.dev/job"
	// byWaiting is by scheduler, and by scheduler and namespace.
	byWaiting = "ebbtide.dev/waiting"
)

func podIndexers() cache.Indexers {
	return cache.Indexers{
		byGroup: func(obj any) ([]string, error) {
			if pod, ok := obj.(*corev1.Pod); ok && groupName(pod) != "" {
				return []string{groupName(pod)}, nil
			}
			return nil, nil
		},
		byJob: func(obj any) ([]string, error) {
			pod, ok := obj.(*corev1.Pod)
			if !ok {
				return nil, nil
			}
			job, ok := book.JobOf(pod)
			if !ok {
				return nil, nil
			}
			return []string{pod.Namespace + "/" + string(job)}, nil
		},
		byWaiting: func(obj any) ([]string, error) {
			if pod, ok := obj.(*corev1.Pod); ok && waits(pod) {
				return []string{pod.Spec.SchedulerName, pod.Spec.SchedulerName + "/" + pod.Namespace}, nil
			}
			return nil, nil
		},
	}
}

func waits(pod *corev1.Pod) bool { return pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil }

// activate puts pods back into the queue, without backoff.
func (p *Ebbtide) activate(logger klog.Logger, pods []*corev1.Pod) {
	resources := p.account.Resources()
	wake := map[string]*corev1.Pod{}
	for _, pod := range pods {
		if len(book.Requests(pod, resources)) > 0 {
			wake[pod.Namespace+"/"+pod.Name] = pod
		}
	}
	// While the scheduler is still being put together there are no pods, and
	// nothing to activate them with.
	if len(wake) > 0 {
		p.handle.Activate(logger, wake)
	}
}

// podsOf returns the pods that the loan's job controls.
func (p *Ebbtide) podsOf(loan *v1alpha1.Loan) []*corev1.Pod {
	return p.podsBy(byJob, loan.Namespace+"/"+string(loan.Spec.Job.UID))
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

func (p *Ebbtide) podsBy(index, key string) []*corev1.Pod {
	objs, err := p.pods.ByIndex(index, key)
	if err != nil {
		return nil
	}
	pods := make([]*corev1.Pod, 0, len(objs))
	for _, obj := range objs {
		if pod, ok := obj.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods
}
