package actuate

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Reasons of events and entries that no verdict has.
const (
	reasonAdmitted = "Admitted"
	reasonAborted  = "LendAborted"
)

// maxNote is the API server's bound on an event's note.
const maxNote = 1024

// Events tells users what happened to their objects.
type Events struct {
	// Recorder sends events.
	Recorder events.EventRecorder

	mu   sync.Mutex
	last map[string]string // reason and message of the last verdict by kind and subject
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

// Verdict writes an event if the verdict about the subject is a new one.
func (e *Events) Verdict(on runtime.Object, v *lend.Verdict) {
	if e.news(v) {
		e.write(on, v.Reason, "Decide", "%s", v.Message)
	}
}

// news remembers the verdict and tells whether it has changed.
func (e *Events) news(v *lend.Verdict) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last == nil {
		e.last = map[string]string{}
	}
	key, now := string(v.Kind)+" "+v.Subject, v.Reason+" "+v.Message
	changed := e.last[key] != now
	e.last[key] = now
	return changed
}

// Keep forgets the subjects that the verdicts do not name.
func (e *Events) Keep(verdicts []lend.Verdict) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.last) <= 2*len(verdicts) {
		return
	}
	kept := make(map[string]string, len(verdicts))
	for i := range verdicts {
		key := string(verdicts[i].Kind) + " " + verdicts[i].Subject
		kept[key] = e.last[key]
	}
	e.last = kept
}

func (e *Events) write(on runtime.Object, reason, action, note string, args ...any) {
	if e.Recorder != nil {
		e.Recorder.Eventf(on, nil, corev1.EventTypeNormal, reason, action, note, args...)
	}
}

func reference(kind, apiVersion, namespace, name, uid string) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{Kind: kind, APIVersion: apiVersion, Namespace: namespace, Name: name}
	ref.UID = types.UID(uid)
	return ref
}
