package actuate

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// conditionWaiting of a TrainingQueue: jobs wait in it. Its reason is that of the first one.
const conditionWaiting = "JobsWaiting"

// Reasons of that condition that no job has.
const (
	reasonNothingWaits = "NothingWaits"
	reasonNotYetTried  = "NotYetConsidered"
)

// subjectQueue is a TrainingQueue in which jobs wait.
const subjectQueue lend.SubjectKind = "Queue"

// heads are the verdicts on the first job of each queue that is not admitted now, as the
// queue's people may read them.
func (r *round) heads(plan *lend.Plan) map[string]*lend.Verdict {
	heads, places := map[string]*lend.Verdict{}, map[string]int32{}
	for i := range plan.Waiting {
		place := &plan.Waiting[i]
		j := r.waiting(place.UID)
		if place.Position > mostShown || j == nil || heads[j.Queue] != nil && places[j.Queue] < place.Position {
			continue
		}
		v := verdictOn(plan, j)
		if v == nil || v.Reason == lend.ReasonLent || v.Reason == lend.ReasonWithinNominal || r.view.Job(types.UID(place.UID)) == nil {
			continue
		}
		heads[j.Queue], places[j.Queue] = r.toOwner(v), place.Position
	}
	return heads
}

// waitingCondition says how many jobs wait in a queue, and why the first one does. While
// jobs go on waiting, what it says changes no more often than places do.
func (r *round) waitingCondition(q *v1alpha1.TrainingQueue, pending int32, head *lend.Verdict) metav1.Condition {
	c := metav1.Condition{
		Type: conditionWaiting, Status: metav1.ConditionFalse, ObservedGeneration: q.Generation,
		Reason: reasonNothingWaits, Message: "no job waits",
	}
	if pending == 0 {
		return c
	}
	c.Status, c.Reason, c.Message = metav1.ConditionTrue, reasonNotYetTried, waitingText(pending)
	if head != nil {
		_, name, _ := strings.Cut(head.Subject, "/")
		c.Reason, c.Message = head.Reason, fmt.Sprintf("%s; the first, %s: %s", waitingText(pending), name, head.Message)
	}
	old := meta.FindStatusCondition(q.Status.Conditions, conditionWaiting)
	if old == nil || old.Status != c.Status || old.Reason == c.Reason && old.Message == c.Message {
		return c
	}
	if !r.numbers.allow("first of queue "+q.Namespace+"/"+q.Name, r.Clock.Now(), placesEvery) {
		c.Reason, c.Message = old.Reason, old.Message
	}
	return c
}

func waitingText(pending int32) string {
	if pending == 1 {
		return "1 job waits"
	}
	return fmt.Sprintf("%d jobs wait", pending)
}

// headVerdicts tells the queues why their first jobs wait, if that is for another reason
// than before.
func (r *round) headVerdicts(plan *lend.Plan) []lend.Verdict {
	heads := r.heads(plan)
	said := make([]lend.Verdict, 0, len(r.view.Queues))
	for i := range r.view.Queues {
		q := &r.view.Queues[i]
		v := lend.Verdict{Kind: subjectQueue, Subject: q.Namespace + "/" + q.Name}
		if head := heads[v.Subject]; head != nil {
			_, name, _ := strings.Cut(head.Subject, "/")
			v.Reason, v.Message = head.Reason, name+": "+head.Message
		}
		r.Events.Verdict(reference("TrainingQueue", v1alpha1.GroupVersion.String(), q.Namespace, q.Name, string(q.UID)), &v, "did not admit the first job")
		said = append(said, v)
	}
	return said
}
