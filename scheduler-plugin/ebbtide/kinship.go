package ebbtide

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/kin"
)

// Whose pod a pod is follows from its chain of controllers, and from that alone. The
// chain may become known after the pod, and so no index is made by it: pods are found
// from above (see podsOf), and what is counted by chains is counted anew (see relate).

const (
	// settledAfter is how long after a pod was made its controllers are known, if all of
	// their kind are: they are older than it, and watched beside it.
	settledAfter = time.Minute
	// mostGone is how many deleted objects are remembered before those that nothing is
	// left of are forgotten.
	mostGone = 1000
)

// kinResources are the kinds between pods and jobs that a cluster may not have. The
// others, Jobs and StatefulSets, are watched with what every scheduler watches.
func kinResources() []schema.GroupVersionResource {
	return slices.DeleteFunc(lineage.Kinds(), func(r schema.GroupVersionResource) bool {
		return r.Group == kindJob.Group || r.Group == appsv1.GroupName
	})
}

// linked takes over an object between pods and jobs.
func (p *Ebbtide) linked(logger klog.Logger, object metav1.Object) {
	if p.chains.Put(object) {
		namespace, uid := object.GetNamespace(), object.GetUID()
		p.relate(logger, append(p.podsUnder(p.pods, namespace, uid), p.podsUnder(p.succeeded, namespace, uid)...))
	}
}

// relinked is linked for an object that may be another of the same name.
func (p *Ebbtide) relinked(logger klog.Logger, before, now metav1.Object) {
	if before.GetUID() != now.GetUID() {
		p.chains.Delete(before.GetNamespace(), before.GetUID())
	}
	p.linked(logger, now)
}

// relate lets everybody know that pods have another chain: what they count for may be
// another's, they may run by now, and their gangs may be whole. What their loans keep from
// others on their nodes is less, and they may be taken back by now.
func (p *Ebbtide) relate(logger klog.Logger, pods []*corev1.Pod) {
	if len(pods) == 0 {
		return
	}
	uids := make([]types.UID, len(pods))
	loans := map[types.UID]*v1alpha1.Loan{}
	for i, pod := range pods {
		uids[i] = pod.UID
		if loan := p.book.LoanOf(pod); loan != nil {
			loans[loan.UID] = loan
		}
		if holds(pod) {
			for _, r := range book.Requests(pod, nil) {
				p.stirs.note(pod.Spec.NodeName, r.Resource)
			}
		}
	}
	p.wake(logger, p.account.Retrace(uids...))
	p.activate(logger, slices.DeleteFunc(pods, func(pod *corev1.Pod) bool { return !waits(pod) }))
	for _, loan := range loans {
		if len(p.placedIn(loan.UID)) > 0 {
			p.muster(logger, loan, "")
		}
	}
}

// podsUnder returns those of the pods that the object controls, or any of those below it.
func (p *Ebbtide) podsUnder(pods cache.Indexer, namespace string, uid types.UID) []*corev1.Pod {
	out := indexed(pods, byController, namespace+"/"+string(uid))
	for _, below := range p.chains.Below(namespace, uid) {
		out = append(out, indexed(pods, byController, namespace+"/"+string(below))...)
	}
	return out
}

func (p *Ebbtide) onStatefulSet(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if set, ok := obj.(*appsv1.StatefulSet); ok {
				p.linked(logger, set)
			}
		},
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*appsv1.StatefulSet)
			set, ok2 := after.(*appsv1.StatefulSet)
			if ok1 && ok2 {
				p.relinked(logger, old, set)
			}
		},
		DeleteFunc: func(obj any) {
			if set, ok := deleted[*appsv1.StatefulSet](obj); ok {
				p.chains.Delete(set.Namespace, set.UID)
			}
		},
	}
}

// onKin is the same for kinds that a cluster may not have. Some of their objects are
// jobs, which may say that their loans were taken back.
func (p *Ebbtide) onKin(logger klog.Logger) kin.Change {
	return func(before, now *metav1.PartialObjectMetadata) {
		switch {
		case now == nil:
			p.chains.Delete(before.Namespace, before.UID)
			return
		case before == nil:
			p.linked(logger, now)
		default:
			p.relinked(logger, before, now)
		}
		p.restore(p.book.LoanOfJob(now.Namespace, now.UID))
	}
}

// follow keeps what depends on a pod that others depend on: one that controls pods, or
// that stands for a gang. before is nil if it is new.
func (p *Ebbtide) follow(logger klog.Logger, before, now *corev1.Pod) {
	if lineage.Leads(now) {
		p.linked(logger, now)
	}
	if before != nil && moved(before, now) {
		p.relate(logger, []*corev1.Pod{now})
	}
	if before == nil {
		if chain, complete := p.chains.Chain(now); !complete {
			p.kin.Kick(chain[len(chain)-1].Kind)
		}
	}
	loan := p.book.LoanOf(now)
	if loan != nil && loan.Spec.Job.UID == now.UID {
		p.followLead(logger, loan, before, now)
	}
}

// moved reports whether the pod says otherwise than before whose it is.
func moved(before, now *corev1.Pod) bool {
	a, b := metav1.GetControllerOfNoCopy(before), metav1.GetControllerOfNoCopy(now)
	return (a == nil) != (b == nil) || a != nil && a.UID != b.UID ||
		before.Labels[v1alpha1.LabelQueue] != now.Labels[v1alpha1.LabelQueue] ||
		before.Labels[v1alpha1.LabelPodGroup] != now.Labels[v1alpha1.LabelPodGroup]
}

// followLead is follow for the pod that stands for the loan's gang.
func (p *Ebbtide) followLead(logger klog.Logger, loan *v1alpha1.Loan, before, now *corev1.Pod) {
	switch {
	case !leads(now) && (before == nil || leads(before)):
		p.breakUp(loan, "the pod that stands for the gang has ended")
		p.stir(loan)
	case before == nil:
		p.activate(logger, p.pendingOf(loan))
	}
}

// unfollow is follow for a pod that is gone.
func (p *Ebbtide) unfollow(logger klog.Logger, pod *corev1.Pod) {
	p.chains.Delete(pod.Namespace, pod.UID)
	loan := p.book.LoanOf(pod)
	if loan == nil {
		return
	}
	if loan.Spec.Job.UID == pod.UID {
		p.breakUp(loan, "the pod that stands for the gang is gone")
		p.stir(loan)
	}
	p.unbegun(logger, loan)
}

// leadOf returns the pod that stands for a gated job; nil if that very pod is gone.
func (p *Ebbtide) leadOf(loan *v1alpha1.Loan) *corev1.Pod {
	pod, exists := p.current(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: loan.Namespace, Name: loan.Spec.Job.Name, UID: loan.Spec.Job.UID}})
	if !exists {
		return nil
	}
	return pod
}

// leads reports whether a pod can stand for a gang. One whose gang may go on without
// it would be another job by then.
func leads(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil && !ended(pod) }

// broken reports whether the pod that stands for a gated job has ended: the rest is to
// end too, and gets no more pods.
func (p *Ebbtide) broken(loan *v1alpha1.Loan) bool {
	if !gated(loan) {
		return false
	}
	pod := p.leadOf(loan)
	return pod == nil || !leads(pod)
}

// orphaned reports whether the pod names a controller that there is not, and not just
// one that is not known yet.
func (p *Ebbtide) orphaned(pod *corev1.Pod, now time.Time) bool {
	chain, complete := p.chains.Chain(pod)
	return !complete && p.kin.Settled(chain[len(chain)-1].Kind) && now.Sub(pod.CreationTimestamp.Time) > settledAfter
}

// forgetKin forgets deleted objects of which nothing is left, once they are many.
func (p *Ebbtide) forgetKin() {
	if p.chains.Gone() < mostGone {
		return
	}
	p.chains.Forget(func(yield func(metav1.Object) bool) {
		for _, obj := range p.pods.List() {
			if pod, ok := obj.(*corev1.Pod); ok && !yield(pod) {
				return
			}
		}
	})
}
