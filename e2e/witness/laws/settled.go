package laws

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
)

func suspended(j *batchv1.Job) bool { return j.Spec.Suspend != nil && *j.Spec.Suspend }

func finished(j *batchv1.Job) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
}

// loanOf is the open loan of a job.
func (w *World) loanOf(job types.UID) *loan {
	for _, l := range w.loans {
		if job != "" && l.object.Spec.Job.UID == job && l.open() {
			return l
		}
	}
	return nil
}

// Stirred is when the status of a queue changed last in more than in when its jobs may start,
// which is another time whenever it is said, and which queue that was.
func (w *World) Stirred() (time.Time, string) { return w.stirred, w.stirring }

func (w *World) applyQueue(o *v1alpha1.TrainingQueue, e history.Event) {
	name := o.Namespace + "/" + o.Name
	before := w.queues[name]
	keep(w.queues, name, o, e.Deleted)
	if before != nil && !e.Deleted && !reflect.DeepEqual(said(before), said(o)) {
		w.stirred, w.stirring = e.At, name
	}
}

// said is a queue's status without estimates.
func said(q *v1alpha1.TrainingQueue) *v1alpha1.TrainingQueueStatus {
	s := q.Status.DeepCopy()
	for i := range s.Waiting {
		s.Waiting[i].EstimatedStart = nil
	}
	return s
}

// Open returns the names of the loans that hold units, sorted.
func (w *World) Open() []string {
	var names []string
	for name, l := range w.loans {
		if l.open() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Unsettled says what is not as it should be when nothing is on its way any more, sorted. Of
// jobs that are not batch Jobs only the loans are looked at.
func (w *World) Unsettled() []string {
	var out []string
	for _, l := range w.loans {
		if why := w.unsettledLoan(l); why != "" {
			out = append(out, fmt.Sprintf("loan %s %s", l.name, why))
		}
	}
	for _, j := range w.jobs {
		if j.Labels[v1alpha1.LabelQueue] != "" && len(j.OwnerReferences) == 0 && !suspended(j) && !finished(j) && w.loanOf(j.UID) == nil {
			out = append(out, fmt.Sprintf("job %s/%s may run and has no loan", j.Namespace, j.Name))
		}
	}
	for _, p := range w.pods {
		if why := w.unsettledPod(p); why != "" {
			out = append(out, fmt.Sprintf("pod %s %s", p.name(), why))
		}
	}
	for name, p := range w.policies {
		if lent := w.lentOf(name); p.Status.Lent != lent && !w.reshaped(name) {
			out = append(out, fmt.Sprintf("lender %s says that it lends %d, and open loans hold %d", name, p.Status.Lent, lent))
		}
	}
	out = append(out, w.overfull()...)
	slices.Sort(out)
	return out
}

func (w *World) unsettledLoan(l *loan) string {
	switch {
	case l.is(quarantinedCondition):
		return ""
	case l.object.DeletionTimestamp != nil:
		return "is being deleted"
	case !l.open():
		return "has been returned and is still there"
	case l.is(v1alpha1.LoanReclaiming):
		return "is being asked back"
	case len(l.object.Status.Shedding) > 0:
		return "is being asked for a part"
	case !l.is(v1alpha1.LoanActive):
		return "is not Active"
	case l.object.Spec.Job.Kind != "Job":
		return ""
	}
	return w.unsettledJob(l)
}

// unsettledJob says why a loan's job does not run as it should.
func (w *World) unsettledJob(l *loan) string {
	j := w.jobs[l.object.Spec.Job.UID]
	switch {
	case j == nil:
		return "is of a job that is gone"
	case finished(j):
		return "is of a job that has ended"
	case suspended(j):
		return "is of a job that is suspended"
	}
	running := int64(j.Status.Succeeded)
	for _, p := range w.pods {
		if p.job == j.UID && p.holds() && p.object.DeletionTimestamp == nil {
			running++
		}
	}
	if running < l.keptPods() {
		return fmt.Sprintf("is for %d pods, of which %d run", l.keptPods(), running)
	}
	return ""
}

func (w *World) unsettledPod(p *pod) string {
	if p.object.DeletionTimestamp != nil && p.holds() {
		if l := w.loanOf(p.job); l != nil && l.is(quarantinedCondition) {
			return ""
		}
		return "is being deleted"
	}
	waits := p.object.Spec.NodeName == "" && p.object.Status.Phase == corev1.PodPending && p.object.DeletionTimestamp == nil
	if !waits || p.object.Spec.SchedulerName != v1alpha1.SchedulerName || p.object.Labels[v1alpha1.LabelQueue] != "" {
		return ""
	}
	for resource := range p.units {
		if !w.promised(p, resource) {
			return ""
		}
	}
	for name, n := range w.nodes {
		if selects(p.object, n.object) && w.room(name, p.units) {
			return "waits, and could go to node " + name
		}
	}
	return ""
}

// room tells whether a node has units for a pod, or would if it had back what it lends.
func (w *World) room(node string, units map[string]int64) bool {
	for resource, n := range units {
		q := w.nodes[node].object.Status.Allocatable[corev1.ResourceName(resource)]
		left := q.Value()
		for _, p := range w.pods {
			if l := w.loanOf(p.job); p.object.Spec.NodeName == node && p.holds() && (l == nil || l.is(quarantinedCondition)) {
				left -= p.units[resource]
			}
		}
		if left < n {
			return false
		}
	}
	return true
}

// overfull are the nodes on which loans, and pods without loans, have more than there is.
func (w *World) overfull() (out []string) {
	held := map[place]int64{}
	for _, l := range w.loans {
		if l.open() {
			for _, g := range l.held {
				held[place{g.Node, l.object.Spec.Resource}] += g.Count
			}
		}
	}
	for _, p := range w.pods {
		if p.holds() && w.loanOf(p.job) == nil && len(p.object.Labels[v1alpha1.LabelQueue]) == 0 {
			for resource, n := range p.units {
				held[place{p.object.Spec.NodeName, resource}] += n
			}
		}
	}
	for at, n := range held {
		if on := w.nodes[at.node]; on != nil && on.has[at.resource] != nil && n > on.has[at.resource].last() {
			out = append(out, fmt.Sprintf("node %s has %d of %s, loans and pods hold %d", at.node, on.has[at.resource].last(), at.resource, n))
		}
	}
	return out
}
