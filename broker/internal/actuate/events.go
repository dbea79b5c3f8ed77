package actuate

import (
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/reasons"
)

// Reasons of events and entries that no verdict has.
const (
	reasonAdmitted = "Admitted"
	reasonAborted  = gather.ReasonLendAborted
	reasonStuck    = "PodsUnplaceable"
	reasonNoLoan   = "SuspendedWithoutLoan"
)

// rules say in words why units are taken back, without saying for whose job.
var rules = map[string]string{
	lend.ReasonLenderPodPending:     "a pod of the service that lent them waits",
	lend.ReasonAboveHighWater:       "the service that lent them is above its high water",
	lend.ReasonNeedRose:             "the service that lent them needs them",
	lend.ReasonLenderUnknownTooLong: "it is not known what the service that lent them needs",
	lend.ReasonNodeUnhealthy:        "a node of theirs is gone",
	lend.ReasonCrowdedOut:           "pods of others hold them, which came before the job's own",
	lend.ReasonSlicesUndone:         "its slices are being made into what they were",
	lend.ReasonNotStarted:           "pods of the job found no node for too long",
	lend.ReasonOwnerWants:           "a tenant wants what is within its nominal quota",
	lend.ReasonFairShare:            "a tenant that borrows less for its weight wants them",
	lend.ReasonOutranked:            "a job of the same tenant with a higher priority wants them",
	lend.ReasonQueueDraining:        "the job's queue is being drained",
}

// rule is why units are taken back, in words and in one.
func rule(reason string) string {
	if words := rules[reason]; words != "" {
		return words + " (" + reason + ")"
	}
	return reason
}

// eventType is how loud a reason is said.
func eventType(reason string) string {
	if reasons.Warns(reason) {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

// maxNote is the API server's bound on an event's note.
const maxNote = 1024

// Events tells users what happened to their objects.
type Events struct {
	// Recorder sends events.
	Recorder events.EventRecorder

	mu   sync.Mutex
	last map[string]string // reason of the last verdict, by what it is about
}

// Loan writes an event on a Loan.
func (e *Events) Loan(object *v1alpha1.Loan, reason, action, note string, args ...any) {
	e.write(reference("Loan", v1alpha1.GroupVersion.String(), object.Namespace, object.Name, string(object.UID)), reason, action, note, args...)
}

// Job writes an event on the job of a Loan, which only its owner's people see.
func (e *Events) Job(object *v1alpha1.Loan, reason, action, note string, args ...any) {
	job := object.Spec.Job
	e.write(reference(job.Kind, job.APIVersion, object.Namespace, job.Name, string(job.UID)), reason, action, note, args...)
}

// Verdict writes an event if the verdict about the subject has another reason
// than the last one: what was done for it, and the message. The numbers in its message
// may change with every sample. A verdict without a reason says that there is nothing to
// say any more.
func (e *Events) Verdict(on runtime.Object, v *lend.Verdict, done string) {
	if e.news(v) && v.Reason != "" {
		e.write(on, v.Reason, "Decide", done+": %s", v.Message)
	}
}

// Pod writes an event on a pod of a job.
func (e *Events) Pod(pod *corev1.Pod, reason, action, note string, args ...any) {
	e.write(reference("Pod", "v1", pod.Namespace, pod.Name, string(pod.UID)), reason, action, note, args...)
}

// news remembers the verdict and tells whether it has changed.
func (e *Events) news(v *lend.Verdict) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last == nil {
		e.last = map[string]string{}
	}
	key := about(v)
	changed := e.last[key] != v.Reason
	e.last[key] = v.Reason
	return changed
}

func about(v *lend.Verdict) string { return string(v.Kind) + " " + v.Subject + " " + v.UID }

// Keep forgets the subjects that none of the verdicts names.
func (e *Events) Keep(verdicts ...[]lend.Verdict) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, list := range verdicts {
		n += len(list)
	}
	if len(e.last) <= 2*n {
		return
	}
	kept := make(map[string]string, n)
	for _, list := range verdicts {
		for i := range list {
			key := about(&list[i])
			kept[key] = e.last[key]
		}
	}
	e.last = kept
}

func (e *Events) write(on runtime.Object, reason, action, note string, args ...any) {
	if e.Recorder != nil {
		text := fmt.Sprintf(note, args...)
		if len(text) > maxNote {
			text = strings.ToValidUTF8(text[:maxNote], "")
		}
		e.Recorder.Eventf(on, nil, eventType(reason), reason, action, "%s", text)
	}
}

func reference(kind, apiVersion, namespace, name, uid string) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{Kind: kind, APIVersion: apiVersion, Namespace: namespace, Name: name}
	ref.UID = types.UID(uid)
	return ref
}
