package audit

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	ebbtidev1 "github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// maker is an object that stands between a job and its pods.
type maker struct {
	uid types.UID
	by  *metav1.OwnerReference // who made it, nil: nobody
}

// wholeJobs are the kinds of which an object is a job with all the pods below it.
var wholeJobs = map[string]bool{
	"Job": true, "JobSet": true, "TrainJob": true, "PyTorchJob": true, "MPIJob": true, "RayJob": true, "RayCluster": true,
}

// mostMakers bounds how far a pod's job is looked for.
const mostMakers = 8

// jobOf is the job that a pod is a part of, empty if it is of none: the topmost object
// above it, if that is of a kind of jobs; of pods that wait in a queue else their group,
// the leader that the pod follows, or the pod itself.
func (c *cluster) jobOf(p *corev1.Pod) types.UID {
	leader, top, kind := p.UID, types.UID(""), ""
	by := madeBy(p.OwnerReferences)
	for range mostMakers {
		if by == nil {
			break
		}
		top, kind = by.UID, by.Kind
		if kind == "Pod" {
			leader = top
		}
		by = c.makers[top].by
	}
	switch group := p.Labels[ebbtidev1.LabelPodGroup]; {
	case wholeJobs[kind]:
		return top
	case p.Labels[ebbtidev1.LabelQueue] == "":
		return ""
	case group != "" && kind == "":
		return groupJob(p.Namespace, group)
	}
	return leader
}

// groupJob stands for a group of pods, which has no object of its own.
func groupJob(namespace, name string) types.UID { return types.UID("group/" + namespace + "/" + name) }

// loanJob is the job that a Loan is for.
func loanJob(l *ebbtidev1.Loan) types.UID {
	if group := l.Spec.Job.PodGroup; group != "" {
		return groupJob(l.Namespace, group)
	}
	return l.Spec.Job.UID
}

// madeBy is the controller, or else a Job.
func madeBy(refs []metav1.OwnerReference) *metav1.OwnerReference {
	for i := range refs {
		if refs[i].Controller != nil && *refs[i].Controller {
			return &refs[i]
		}
	}
	for i := range refs {
		if refs[i].Kind == "Job" {
			return &refs[i]
		}
	}
	return nil
}
