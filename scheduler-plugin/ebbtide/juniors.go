package ebbtide

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/account"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/outrank"
)

// junior is what may make way for a pod of the same tenant, whole.
type junior struct {
	outrank.Junior
	loan  *v1alpha1.Loan // nil if it is pods without a loan
	pods  []*corev1.Pod
	frees account.Use
	// lent: it takes nothing of the tenant's quota, and is taken back for its units.
	lent bool
}

// house is what uses the tenant's nominal quota, seen from a pod that wants some.
type house struct {
	juniors []junior
	// leaving are pods that are on their way out, and frees what comes free so.
	leaving []*corev1.Pod
	frees   account.Use
	// stalled are loans that should be on their way out, and nobody sees to it.
	stalled []*v1alpha1.Loan
}

// survey sorts out who of the tenant is leaving and who may be made to.
func (p *Ebbtide) survey(c *cycle, now time.Time) *house {
	h := &house{frees: c.tenant.Nothing()}
	p.surveyPods(c, h, now)
	for _, loan := range p.book.Loans() {
		if frees := p.account.TakenBy(c.tenant, loan.UID); frees != nil {
			p.surveyLoan(c, h, loan, frees, now)
		}
	}
	return h
}

func (p *Ebbtide) surveyPods(c *cycle, h *house, now time.Time) {
	at, senior := map[string]int{}, map[string]bool{}
	for _, held := range p.account.Holders(c.tenant, c.priority, p.taken.podSet()) {
		pod, exists := p.current(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: held.Namespace, Name: held.Name, UID: held.UID}})
		if !exists {
			continue
		}
		due, told := p.due(pod, nil, now)
		switch {
		case told && now.After(due.Add(overdue)):
			continue // stuck: nobody can make it go
		case p.taken.hasPod(pod.UID), told && !due.After(now.Add(p.longestGrace(nil)+slack)):
			h.leaving, h.frees = append(h.leaving, pod), h.frees.Plus(1, held.Takes)
			continue
		}
		if _, known := p.queued(pod); !known && !p.orphaned(pod, now) {
			continue // it may be on a loan
		}
		name := unitOf(pod)
		if book.Priority(pod) >= c.priority {
			senior[name] = true
			continue
		}
		i, seen := at[name]
		if !seen {
			i, at[name] = len(h.juniors), len(h.juniors)
			h.juniors = append(h.juniors, junior{Junior: outrank.Junior{Name: name, Priority: book.Priority(pod)}, frees: c.tenant.Nothing()})
		}
		j := &h.juniors[i]
		j.pods, j.frees = append(j.pods, pod), j.frees.Plus(1, held.Takes)
		j.Priority, j.Violates = max(j.Priority, book.Priority(pod)), j.Violates || p.protected(pod)
		if pod.CreationTimestamp.After(j.Since) {
			j.Since = pod.CreationTimestamp.Time
		}
	}
	h.juniors = slices.DeleteFunc(h.juniors, func(j junior) bool { return senior[j.Name] })
}

// unitOf names what ends together with the pod: its group, or itself.
func unitOf(pod *corev1.Pod) string {
	if g := pod.Spec.SchedulingGroup; g != nil && g.PodGroupName != nil {
		return "group/" + pod.Namespace + "/" + *g.PodGroupName
	}
	return "pod/" + pod.Namespace + "/" + pod.Name
}

func (p *Ebbtide) surveyLoan(c *cycle, h *house, loan *v1alpha1.Loan, frees account.Use, now time.Time) {
	pods := slices.DeleteFunc(p.gangOf(loan), func(pod *corev1.Pod) bool { return !holds(pod) })
	reclaiming, late := p.askedBack(loan, now)
	going := p.suspended(loan) && !slices.ContainsFunc(pods, func(pod *corev1.Pod) bool {
		due, told := p.due(pod, loan, now)
		return !told || due.After(now.Add(p.longestGrace(loan)+slack))
	})
	if p.takenBack(loan) || reclaiming || going {
		h.leaving, h.frees = append(h.leaving, pods...), h.frees.Plus(1, frees)
		if p.takenBack(loan) || late || going {
			h.stalled = append(h.stalled, loan)
		}
		return
	}
	priority, known := p.priorityOf(loan, pods)
	if !known || priority >= c.priority || loan.DeletionTimestamp != nil {
		return
	}
	h.juniors = append(h.juniors, junior{
		Junior: outrank.Junior{
			Name: "loan/" + loan.Namespace + "/" + loan.Name, Priority: priority, Since: loan.CreationTimestamp.Time,
			Violates: slices.ContainsFunc(pods, p.protected),
		},
		loan: loan, pods: pods, frees: frees,
	})
}

// priorityOf returns the highest priority of the loan's pods, or that which they
// will have. Where that cannot be told the job is left alone.
func (p *Ebbtide) priorityOf(loan *v1alpha1.Loan, pods []*corev1.Pod) (priority int32, known bool) {
	if len(pods) == 0 {
		pods = p.gangOf(loan)
	}
	for i, pod := range pods {
		if i == 0 || book.Priority(pod) > priority {
			priority = book.Priority(pod)
		}
	}
	if len(pods) > 0 {
		return priority, true
	}
	job := p.jobOf(loan)
	if job == nil || job.Spec.Template.Spec.PriorityClassName == "" {
		return 0, false
	}
	return p.book.ClassPriority(job.Spec.Template.Spec.PriorityClassName)
}

// protected reports whether a PodDisruptionBudget allows no disruption of the pod.
func (p *Ebbtide) protected(pod *corev1.Pod) bool {
	budgets, err := p.budgets.PodDisruptionBudgets(pod.Namespace).List(labels.Everything())
	if err != nil {
		return false
	}
	for _, b := range budgets {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) && b.Status.DisruptionsAllowed <= 0 {
			return true
		}
	}
	return false
}

// ranks returns what the choice is made by.
func ranks(juniors []junior) []outrank.Junior {
	out := make([]outrank.Junior, len(juniors))
	for i := range juniors {
		out[i] = juniors[i].Junior
	}
	return out
}

// some returns the juniors with the given indexes.
func some(juniors []junior, at []int) []junior {
	out := make([]junior, len(at))
	for i, k := range at {
		out[i] = juniors[k]
	}
	return out
}

// named reports whether a junior of the name is among them.
func named(juniors []junior, name string) bool {
	return slices.ContainsFunc(juniors, func(j junior) bool { return j.Name == name })
}
