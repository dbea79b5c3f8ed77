package actuate

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// noteStopped writes once for each reclaim that the pods were told, and had to stop.
func (r *round) noteStopped(l *loanRef, said course.Stopped) {
	if l.object.Status.ReclaimID != "" {
		r.later(ledger.Stopped, l, ledger.Entry{
			Reason: reasonStopped, Message: fmt.Sprintf("%d pods know until when they have time, %d do not", said.Told, said.Untold),
			Payload: asJSON(said),
		})
	}
}

// reasonStopped of a STOPPED entry: the broker made the pods stop.
const reasonStopped = "Stopped"

// noteTaken is noteStopped for what the scheduler took by itself, as soon as that is seen.
// When it did, the marks on pods that are still there say.
func (r *round) noteTaken(l *loanRef) error {
	if known, open := r.Ledger.Loan(l.name); !open || known.State != ledger.Granted {
		return nil
	}
	var first, told metav1.Time
	var said course.Stopped
	for _, pod := range r.view.Pods[l.name] {
		at := markedAt(pod)
		if !at.IsZero() && (first.IsZero() || at.Before(&first)) {
			first = at
		}
		if pod.Annotations[v1alpha1.AnnotationReclaimBy] == "" {
			said.Untold++
			continue
		}
		said.Told++
		if told.Before(&at) {
			told = at
		}
	}
	said.ToldAt = told.UTC()
	_, err := r.record(ledger.Stopped, l.name, ledger.Entry{
		OpID: l.name + "#taken", At: first.UTC(), Payload: asJSON(said),
		Reason: lend.ReasonPreempted, Message: "the scheduler stopped the job by itself",
	})
	return err
}

// markedAt is when the scheduler took a pod; zero if it did not, or did not say.
func markedAt(pod *corev1.Pod) metav1.Time {
	if !v1alpha1.Preempted(pod) {
		return metav1.Time{}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget {
			return c.LastTransitionTime
		}
	}
	return metav1.Time{}
}

// noteKilled writes once for each reclaim, or other end, that pods were left when the time
// was over.
func (r *round) noteKilled(l *loanRef, action *lend.Action, pods int) {
	if pods > 0 {
		r.later(ledger.Killed, l, ledger.Entry{
			Reason: action.Reason, Message: action.Message, Payload: asJSON(course.Killed{Pods: pods}),
		})
	}
}

// later has a step of a loan's end, taken now, written down when the round has nothing more
// urgent to do: other loans' entries would have to wait for it. If the process ends before
// that, the next round, which repeats the step, writes it.
func (r *round) later(kind ledger.Kind, l *loanRef, e ledger.Entry) {
	e.Kind, e.Loan, e.At = kind, l.name, r.Clock.Now().UTC()
	e.OpID, e.ReclaimID = l.name+"#"+l.object.Status.ReclaimID, l.object.Status.ReclaimID
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = append(r.taken, e)
}

// writeSteps writes down what was put off. Steps of a loan that the ledger does not hold to
// have taken effect, or knows to be over, are nobody's.
func (r *round) writeSteps() {
	slices.SortFunc(r.taken, func(a, b ledger.Entry) int { return a.At.Compare(b.At) })
	for _, e := range r.taken {
		known, open := r.Ledger.Loan(e.Loan)
		if r.stopped() || !open || known.State == ledger.Intended {
			continue
		}
		if _, err := r.record(e.Kind, e.Loan, e); err != nil {
			r.fail(fmt.Errorf("write down a step of %s: %w", e.Loan, err))
		}
	}
}

func asJSON(v any) json.RawMessage {
	data, _ := json.Marshal(v) // times and numbers always have JSON
	return data
}

// lately is the time to tell in an entry about something that happened then: none, if that
// was within the last second. The API knows only whole ones, so that either way the entry is
// wrong by less than one.
func (a *Actuator) lately(at time.Time) time.Time {
	if since := a.Clock.Now().Sub(at); since < time.Second {
		return time.Time{}
	}
	return at.UTC()
}
