package laws

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
)

// ledgerFinalizer holds a Loan until the ledger has its end.
const ledgerFinalizer = "ebbtide.dev/ledger"

// quarantinedCondition is on a Loan whose units do not come free although its pods should be
// gone.
const quarantinedCondition = "Quarantined"

// loan is a Loan that exists.
type loan struct {
	object *v1alpha1.Loan
	name   string
	held   []v1alpha1.Grant
}

func (l *loan) is(condition string) bool {
	return meta.IsStatusConditionTrue(l.object.Status.Conditions, condition)
}

// open: it holds its units.
func (l *loan) open() bool { return !l.is(v1alpha1.LoanReturned) }

// Left is what remains of grants when others are given back.
func Left(grants, gone []v1alpha1.Grant) []v1alpha1.Grant {
	less := map[v1alpha1.Grant]int64{}
	for _, g := range gone {
		n := g.Count
		g.Count = 0
		less[g] += n
	}
	var out []v1alpha1.Grant
	for _, g := range grants {
		k := g
		k.Count = 0
		n := min(less[k], g.Count)
		less[k] -= n
		if g.Count -= n; g.Count > 0 {
			out = append(out, g)
		}
	}
	return out
}

func units(grants []v1alpha1.Grant) (n int64) {
	for _, g := range grants {
		n += g.Count
	}
	return n
}

// keptPods is how many pods a loan is for from now on.
func (l *loan) keptPods() int64 {
	kept := Left(l.held, l.object.Status.Shedding)
	return units(kept) / max(1, l.object.Spec.UnitsPerPod)
}

func (w *World) applyLoan(o *v1alpha1.Loan, e history.Event) {
	name := o.Namespace + "/" + o.Name
	before := w.loans[name]
	after := &loan{object: o, name: name, held: Left(o.Spec.Grants, o.Status.Shed)}
	if before != nil && before.object.UID != o.UID {
		before = nil
	}
	if e.Deleted {
		w.judgeEnd(before, after, e)
		delete(w.loans, name)
		return
	}
	w.loans[name] = after
	if uid, used := w.names[name]; used && uid != o.UID {
		w.broken(OneName, e, "the name of loan %s is used again: it was %s and is %s", name, uid, o.UID)
	}
	w.names[name] = o.UID
	w.judgeLoanEpoch(before, after, e)
	if before != nil {
		w.judgePhases(before, after, e)
		w.judgeReturned(before, after, e)
		w.judgeEnd(before, after, e)
	} else if after.is(v1alpha1.LoanReclaiming) && !after.hasBeen(v1alpha1.LoanActive) && !e.Initial {
		w.broken(Phases, e, "loan %s is asked back and never was Active", name)
	}
	if before == nil || units(before.held) < units(after.held) {
		w.judgeOpened(after, e)
	}
	w.judgeLenders(after, e)
}

// hasBeen tells whether a loan has a condition at all: conditions are not taken away.
func (l *loan) hasBeen(condition string) bool {
	return meta.FindStatusCondition(l.object.Status.Conditions, condition) != nil
}

// judgePhases compares two states of a Loan.
func (w *World) judgePhases(a, b *loan, e history.Event) {
	if !reflect.DeepEqual(a.object.Spec, b.object.Spec) {
		w.broken(Phases, e, "the spec of loan %s has changed", b.name)
	}
	for _, condition := range []string{v1alpha1.LoanReclaiming, v1alpha1.LoanReturned} {
		if a.is(condition) && !b.is(condition) {
			w.broken(Phases, e, "loan %s was %s and is not any more", b.name, condition)
		}
	}
	if b.is(v1alpha1.LoanActive) && !a.is(v1alpha1.LoanActive) && (a.hasBeen(v1alpha1.LoanActive) || a.is(v1alpha1.LoanReclaiming) || a.is(v1alpha1.LoanReturned)) {
		w.broken(Phases, e, "loan %s becomes Active after its end had begun", b.name)
	}
	if b.is(v1alpha1.LoanReclaiming) && !a.is(v1alpha1.LoanReclaiming) && !b.hasBeen(v1alpha1.LoanActive) {
		w.broken(Phases, e, "loan %s is asked back and never was Active", b.name)
	}
	if units(b.held) > units(a.held) {
		w.broken(Phases, e, "loan %s holds %d units after %d", b.name, units(b.held), units(a.held))
	}
}

// judgeReturned looks whether units are free that are said to be.
func (w *World) judgeReturned(a, b *loan, e history.Event) {
	if e.Unseen || !a.open() || b.open() || b.object.Annotations[v1alpha1.AnnotationUnquarantine] != "" {
		return
	}
	for _, p := range w.pods {
		if p.job == b.object.Spec.Job.UID && p.holds() && w.loanOf(p.job) == nil {
			w.broken(OneHolder, e, "loan %s is returned while pod %s holds its units", b.name, p.name())
			return
		}
	}
}

// judgeEnd looks at how a Loan is let go of: when its finalizer goes, or it, if it had one.
func (w *World) judgeEnd(a, b *loan, e history.Event) {
	held, holds := a == nil || a.finalized(), b.finalized() && !e.Deleted
	if e.Unseen || !held || holds || !b.open() {
		return
	}
	job := b.object.Spec.Job
	if j := w.jobs[job.UID]; j != nil && !suspended(j) && !finished(j) && b.hasBeen(v1alpha1.LoanActive) {
		w.broken(Finalizer, e, "loan %s is let go of while its job %s/%s may run", b.name, b.object.Namespace, job.Name)
		return
	}
	if b.object.Annotations[v1alpha1.AnnotationUnquarantine] != "" {
		return // somebody says that they are free
	}
	for _, p := range w.pods {
		if p.job == job.UID && p.holds() {
			w.broken(Finalizer, e, "loan %s is let go of while pod %s holds its units", b.name, p.name())
			return
		}
	}
}

func (l *loan) finalized() bool { return slices.Contains(l.object.Finalizers, ledgerFinalizer) }

// judgeOpened looks at what a loan takes: who else has it, and whether it may.
func (w *World) judgeOpened(l *loan, e history.Event) {
	if !l.open() || e.Unseen {
		return
	}
	w.judgeJob(l, e)
	if !e.Initial {
		w.judgeQuota(l, e)
	}
}

// judgeJob looks for others with a loan's job, and with its units.
func (w *World) judgeJob(l *loan, e history.Event) {
	for _, other := range w.loans {
		if other != l && other.open() && other.object.Spec.Job.UID == l.object.Spec.Job.UID {
			w.broken(OneHolder, e, "the job of loan %s has another open loan, %s", l.name, other.name)
		}
	}
	if !slice(l.object.Spec.Resource) {
		w.judgeNodes(l, e)
	}
}

// judgeNodes adds up what open loans hold of a loan's nodes.
func (w *World) judgeNodes(l *loan, e history.Event) {
	resource := l.object.Spec.Resource
	for name := range onNodes(l.held) {
		n, held, holders := w.nodes[name], int64(0), []string(nil)
		for _, other := range w.loans {
			if on := onNodes(other.held)[name]; on > 0 && other.open() && other.object.Spec.Resource == resource {
				held += on
				holders = append(holders, other.name)
			}
		}
		if n != nil && held > n.had(resource, e.At) {
			slices.Sort(holders)
			w.broken(OneHolder, e, "node %s has %d of %s, open loans hold %d: %v", name, n.had(resource, e.At), resource, held, holders)
		}
	}
}

func onNodes(grants []v1alpha1.Grant) map[string]int64 {
	by := map[string]int64{}
	for _, g := range grants {
		by[g.Node] += g.Count
	}
	return by
}
