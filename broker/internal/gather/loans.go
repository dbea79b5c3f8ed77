package gather

import (
	"cmp"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// loan is a Loan on its way into the snapshot.
type loan struct {
	lend.Loan
	object *v1alpha1.Loan
	pods   []*corev1.Pod // that exist and have not ended
	beside []*corev1.Pod // such pods that ask for no units
	marked bool          // the scheduler took a pod
	over   int64         // pods of this admission that have ended
	left   map[place]int64
	// presence of the nodes; nil: all answer.
	presence *Presence
	// unsure: there are units of which it is not known whether they are held by the job.
	unsure bool
	// unread: the job cannot be read now.
	unread bool
}

// ConditionPreempted on a Loan remembers, beyond the pods, that the scheduler
// took it back by itself.
const ConditionPreempted = "Preempted"

// ConditionPartLost on a Loan says that what it last gave up was not given back, but went
// away with its node.
const ConditionPartLost = "PartLost"

// place is where units are.
type place struct{ node, flavor string }

func newLoan(object *v1alpha1.Loan) *loan {
	l := &loan{object: object, left: map[place]int64{}}
	spec := &object.Spec
	l.Name = object.Namespace + "/" + object.Name
	l.Job = object.Namespace + "/" + spec.Job.Name
	l.JobUID = string(spec.Job.UID)
	l.Borrower, l.Queue = spec.Borrower, object.Namespace+"/"+spec.Queue
	l.Attempt, l.Pods = spec.Attempt, int64(object.KeptPods())
	l.MinPods, l.UnitsPerPod = int64(spec.MinPods), spec.UnitsPerPod
	l.Since = object.CreationTimestamp.UTC()
	for _, grant := range object.Status.Shedding {
		l.Shedding = append(l.Shedding, lend.Grant(grant))
	}
	for _, grant := range object.Held() {
		l.Grants = append(l.Grants, lend.Grant(grant))
		l.left[place{grant.Node, grant.Flavor}] += grant.Count
	}
	slices.SortFunc(l.Grants, func(a, b lend.Grant) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Lender, b.Lender), cmp.Compare(a.Flavor, b.Flavor))
	})
	l.Reclaiming = meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.LoanReclaiming)
	l.Quarantined = meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.LoanQuarantined)
	l.ReclaimID, l.ReclaimedFor = object.Status.ReclaimID, string(object.Status.ReclaimedFor)
	if by := object.Status.ReclaimBy; by != nil {
		l.ReclaimBy = by.UTC()
	}
	return l
}

// Returned tells whether a Loan's units are proven free: it is over, and waits
// only to be deleted.
func Returned(object *v1alpha1.Loan) bool {
	return meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.LoanReturned)
}

// Nodes are where a Loan has units.
func Nodes(object *v1alpha1.Loan) map[string]bool {
	nodes := map[string]bool{}
	for _, g := range object.Held() {
		nodes[g.Node] = true
	}
	return nodes
}

// lateness is how much later than its Loan's closing a pod must have been made that it
// does not count: the clocks of those who write the two differ, and a scheduler whose watch
// of Loans was interrupted learns of the closing up to half a minute later.
const lateness = 45 * time.Second

// Late tells whether a pod came too late to get units of its Loan: it has no node, and was
// made when the Loan was closed to new pods. A job that has ended, or is stopped, may own
// what goes on making such pods.
func Late(pod *corev1.Pod, object *v1alpha1.Loan) bool {
	if pod.Spec.NodeName != "" {
		return false
	}
	for _, c := range object.Status.Conditions {
		closes := c.Type == v1alpha1.LoanReclaiming && c.Status == metav1.ConditionTrue ||
			c.Type == v1alpha1.LoanActive && c.Status == metav1.ConditionFalse
		if closes && pod.CreationTimestamp.After(c.LastTransitionTime.Add(lateness)) {
			return true
		}
	}
	return false
}

// count adds a pod of the loan's job and returns what it holds beyond the grant.
func (l *loan) count(pod *corev1.Pod, held map[string]int64) map[string]int64 {
	if l.presence.Over(pod) {
		if l.current(pod) {
			l.over++
		}
		return nil
	}
	l.pods = append(l.pods, pod)
	beyond := map[string]int64{}
	for flavor, n := range held {
		at := place{pod.Spec.NodeName, flavor}
		covered := min(n, l.left[at])
		l.left[at] -= covered
		if n > covered {
			beyond[flavor] = n - covered
		}
	}
	return beyond
}

// current: the pod is of this admission. One that was made before the loan is of an
// earlier one, but where pods that exist are what is admitted.
func (l *loan) current(pod *corev1.Pod) bool {
	return l.gated() || !pod.CreationTimestamp.Before(&l.object.CreationTimestamp)
}

// gated: the job is pods that no object with a suspend field has made.
func (l *loan) gated() bool {
	job := &l.object.Spec.Job
	return job.Kind == "Pod" && job.APIVersion == "v1"
}

// finish joins the job, nil if it is gone, and returns the snapshot's part.
func (l *loan) finish(job *jobs.Job, priority int32, now time.Time) lend.Loan {
	l.Live, l.Bound = int64(len(l.pods)), l.bound()
	l.shedding()
	// The scheduler marks the pods that it takes, and the job that it stops.
	taken := l.marked || (job != nil && job.TakenBack != 0 && job.TakenBack == l.Attempt)
	l.Preempted = !l.Reclaiming &&
		(taken || meta.IsStatusConditionTrue(l.object.Status.Conditions, ConditionPreempted))
	l.Killed = l.Live > 0 && l.killed(l.pods)
	if l.unsure && l.Live == 0 {
		l.Live, l.Killed = 1, true // nothing is proven free, and there is nobody to kill
	}
	l.Finished = l.finished(job)
	l.Checkpoint = l.Since
	l.Grace = corev1.DefaultTerminationGracePeriodSeconds * time.Second
	if job != nil {
		l.Priority = priority
		saved := l.checkpoints(job).Since(l.Since, now)
		l.Checkpoint, l.CheckpointNote = saved.At, saved.Note
		l.Grace = job.Grace()
	}
	return l.Loan
}

// finished tells whether the job, nil if it is gone, needs its units no more. A suspended
// one has no use for them: either its admission did not get that far, or its owner stopped
// it; it waits in its queue again after the return.
func (l *loan) finished(job *jobs.Job) bool {
	asked := l.Reclaiming || l.Preempted
	if l.unread || l.gated() && asked { // the end of pods is how they are stopped
		return false
	}
	return job == nil || job.Finished || job.Suspended && !asked
}

// checkpoints is what the job, and its pods, say of them.
func (l *loan) checkpoints(job *jobs.Job) lend.Checkpoints {
	said := lend.Checkpoints{Every: job.CheckpointEvery, Last: []time.Time{job.LastCheckpoint}}
	for _, pod := range slices.Concat(l.pods, l.beside) {
		if text := pod.Annotations[v1alpha1.AnnotationLastCheckpoint]; text != "" {
			_, at := lend.ReadCheckpoints("", text)
			said.Last = append(said.Last, at)
		}
	}
	return said
}

// shedding counts the pods that are still to go of those that the job is to do without.
func (l *loan) shedding() {
	leaving := Leaving(l.pods, l.object)
	l.shedOrder(leaving)
	l.ShedLive = int64(len(leaving))
	l.ShedKilled = l.ShedLive > 0 && l.killed(leaving)
}

// coming is how many of the gang's pods are still to be made.
func (l *loan) coming() int64 {
	if l.Reclaiming || l.Preempted || l.Finished || l.gated() {
		return 0
	}
	return max(0, l.Pods-l.Live-l.over)
}

// bound is how many of the gang's pods do not wait for a node. Pods that have ended
// or failed for good are not missed, but while there was none yet all are.
func (l *loan) bound() int64 {
	if len(l.pods) == 0 && l.over == 0 {
		return 0
	}
	bound := l.Pods
	for _, p := range l.pods {
		if p.Spec.NodeName == "" && p.DeletionTimestamp == nil {
			bound--
		}
	}
	return max(bound, 0)
}

// killed: none of the pods could be hurried more.
func (l *loan) killed(pods []*corev1.Pod) bool {
	return !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return !l.presence.killed(p) })
}

// Disrupted remembers the pods that the scheduler took, because one, and the mark on
// it, may be gone before the next decision. The zero value is ready to use.
type Disrupted struct {
	mu   sync.Mutex
	pods map[types.UID]*corev1.Pod
}

// Note looks at a pod as a watch saw it, and reports whether it is marked, and may be a
// job's.
func (d *Disrupted) Note(pod *corev1.Pod) bool {
	_, queued := pod.Labels[v1alpha1.LabelQueue]
	if !v1alpha1.Preempted(pod) || (!queued && metav1.GetControllerOfNoCopy(pod) == nil) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pods == nil {
		d.pods = map[types.UID]*corev1.Pod{}
	}
	d.pods[pod.UID] = pod
	return true
}

// mark tells the open loans of whose jobs pods were noted, and forgets all other pods.
func (d *Disrupted) mark(c *count) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for uid, pod := range d.pods {
		l, kin := c.loanOf(pod)
		if kin == own && c.asks(pod, l) {
			l.marked = l.marked || l.current(pod)
		}
		if kin != own && kin != unclear {
			delete(d.pods, uid)
		}
	}
}
