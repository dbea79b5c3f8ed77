package actuate

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

const (
	// numbersEvery bounds how often numbers that change nothing are written.
	numbersEvery = time.Second
	// placesEvery bounds how often places and estimates are, which always change.
	placesEvery = 15 * time.Second
)

// throttle remembers when an object's status was last written.
type throttle struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (t *throttle) allow(name string, now time.Time, every time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last = map[string]time.Time{}
	}
	if last, written := t.last[name]; written && now.Sub(last) < every {
		return false
	}
	t.last[name] = now
	return true
}

// lenders writes the status of every LendingPolicy, and with it how much is lent:
// what open loans hold plus what is about to be lent. It returns the lenders
// whose status.lent is as it should be. The resourceVersion of the snapshot is a
// precondition: whoever wrote in between, another leader above all, makes this
// plan's lends from that lender come to nothing.
func (r *round) lenders(ctx context.Context, plan *lend.Plan, intents []*intent, makings []*making) map[string]bool {
	lent := r.lent(intents, makings)
	verdicts := verdictsOf(plan, lend.SubjectLender)
	views := map[string]*lend.LenderView{}
	for i := range plan.Lenders {
		views[plan.Lenders[i].Name] = &plan.Lenders[i]
	}
	done := map[string]bool{}
	var steps []step
	for i := range r.view.Snapshot.Lenders {
		l := &r.view.Snapshot.Lenders[i]
		policy := r.view.Policies[l.Name]
		next := policy.DeepCopy()
		lenderStatus(next, l, said{views[l.Name], verdicts[l.Name], r.view.ScalingRefused[l.Name], r.view.Notes[l.Name], r.view.Slices[l.Name]})
		r.keepWords(policy, next)
		next.Status.Lent, next.Status.Epoch = lent[l.Name], r.Epoch
		steps = append(steps, step{"write status of LendingPolicy", l.Name, func(ctx context.Context) error {
			if err := r.writeLender(ctx, policy, next); err != nil {
				return err
			}
			r.note(done, l.Name)
			return nil
		}})
	}
	r.each(ctx, steps)
	return done
}

// keepWords leaves the messages of conditions whose reason stays as they are for a while:
// the numbers in them change with every sample, and status.load has the newest.
func (r *round) keepWords(old, next *v1alpha1.LendingPolicy) {
	var kept []*metav1.Condition
	for i := range next.Status.Conditions {
		c := &next.Status.Conditions[i]
		said := meta.FindStatusCondition(old.Status.Conditions, c.Type)
		if said != nil && said.Status == c.Status && said.Reason == c.Reason && said.ObservedGeneration == c.ObservedGeneration && said.Message != c.Message {
			kept = append(kept, c)
		}
	}
	if len(kept) == 0 || r.numbers.allow("words of "+next.Namespace+"/"+next.Name, r.Clock.Now(), retellAfter) {
		return
	}
	for _, c := range kept {
		c.Message = meta.FindStatusCondition(old.Status.Conditions, c.Type).Message
	}
}

func (r *round) writeLender(ctx context.Context, old, next *v1alpha1.LendingPolicy) error {
	if apiequality.Semantic.DeepEqual(old.Status, next.Status) {
		return nil
	}
	numbersOnly := old.Status.Lent == next.Status.Lent &&
		apiequality.Semantic.DeepEqual(old.Status.Conditions, next.Status.Conditions)
	if !r.numbers.allow("lender "+next.Namespace+"/"+next.Name, r.Clock.Now(), numbersEvery) && numbersOnly {
		return nil
	}
	if err := r.Client.Status().Update(ctx, next); err != nil {
		return err
	}
	// gofail: var lenderWritten struct{}
	return nil
}

// lent is what each lender's open loans hold, and will hold after the intents. While a
// reshape lasts, all that it took is lent, in the lender's units, and what was made of it
// is not counted once more.
func (r *round) lent(intents []*intent, makings []*making) map[string]int64 {
	lent, made := map[string]int64{}, map[v1alpha1.Grant]int64{}
	for i := range r.view.Snapshot.Nodes {
		node := &r.view.Snapshot.Nodes[i]
		for j := range node.Reshapes {
			s := &node.Reshapes[j]
			lent[s.Lender] += s.Count
			made[v1alpha1.Grant{Lender: s.Lender, Node: node.Name, Flavor: s.To}] += s.Made
		}
	}
	for _, m := range makings {
		lent[m.action.Lender] += m.action.Count
	}
	count := func(grants []v1alpha1.Grant) {
		for _, g := range grants {
			of := v1alpha1.Grant{Lender: g.Lender, Node: g.Node, Flavor: g.Flavor}
			covered := min(made[of], g.Count)
			made[of] -= covered
			lent[g.Lender] += g.Count - covered
		}
	}
	for name, object := range r.view.Loans {
		if !r.returned[name] {
			count(object.Held())
		}
	}
	for _, in := range intents {
		count(in.object.Spec.Grants)
	}
	return lent
}

func verdictsOf(plan *lend.Plan, kind lend.SubjectKind) map[string]*lend.Verdict {
	found := map[string]*lend.Verdict{}
	for i := range plan.Verdicts {
		if v := &plan.Verdicts[i]; v.Kind == kind {
			found[v.Subject] = v
		}
	}
	return found
}

// verdicts tells the subjects what was decided about them, if it is new.
func (r *round) verdicts(plan *lend.Plan, news []*lend.Verdict) {
	for _, v := range news {
		switch v.Kind {
		case lend.SubjectLender:
			if policy := r.view.Policies[v.Subject]; policy != nil {
				r.Events.Verdict(policyReference(policy), v, lenderDid(v.Reason))
			}
		case lend.SubjectJob:
			if job := r.view.Job(types.UID(v.UID)); job != nil {
				r.jobVerdict(job, v)
			}
		case lend.SubjectLoan:
			// What happens to a loan has its events where it happens.
		}
	}
	r.Events.Keep(r.unplaceable(), r.wedged(), r.strangers(), r.headVerdicts(plan), plan.Verdicts)
}

// lenderDid is what a decision with the reason did for a lender.
func lenderDid(reason string) string {
	switch reason {
	case lend.ReasonBelowLowWater:
		return "began to lend"
	case lend.ReasonAdviseOnly:
		return "gave advice"
	}
	return "lent nothing new"
}

// jobVerdict tells a job that waits why. That it is admitted is told when it is.
func (r *round) jobVerdict(job *jobs.Job, v *lend.Verdict) {
	if v.Reason == lend.ReasonLent || v.Reason == lend.ReasonWithinNominal {
		r.Events.news(v)
		return
	}
	r.Events.Verdict(jobReference(job), r.toOwner(v), "was not admitted")
}

func jobReference(job *jobs.Job) *corev1.ObjectReference {
	return reference(job.Kind.Kind, job.Kind.GroupVersion().String(), job.Key.Namespace, job.Key.Name, string(job.UID))
}

// subjectPending is a lender's pods that wait; the core does not know of those
// that wait in vain.
const subjectPending lend.SubjectKind = "PendingPods"

// unplaceable tells the lenders' owners which of their pods wait in vain.
func (r *round) unplaceable() []lend.Verdict {
	var said []lend.Verdict
	for name, policy := range r.view.Policies {
		v := lend.Verdict{Kind: subjectPending, Subject: name}
		if why := r.view.Unplaceable[name]; why != "" {
			v.Reason, v.Message = reasonStuck, why
		}
		r.Events.Verdict(policyReference(policy), &v, "waited in vain")
		said = append(said, v)
	}
	return said
}

func policyReference(policy *v1alpha1.LendingPolicy) *corev1.ObjectReference {
	return reference("LendingPolicy", v1alpha1.GroupVersion.String(), policy.Namespace, policy.Name, string(policy.UID))
}

// show writes a status that only informs. A conflict means that the cache has
// not seen the last write yet; the next round writes it.
func (r *round) show(ctx context.Context, name string, object client.Object, every time.Duration) {
	if r.stopped() || !r.numbers.allow(name, r.Clock.Now(), every) {
		return
	}
	err := r.Client.Status().Update(ctx, object)
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		r.fail(fmt.Errorf("write status of %s: %w", name, err))
	}
}
