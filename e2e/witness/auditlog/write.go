package auditlog

import (
	"encoding/json"
	"fmt"
	"time"
)

// Outcome of a write.
type Outcome int

// The outcomes.
const (
	// Unknown: it may have been done, or may yet be.
	Unknown Outcome = iota
	// Done: it was accepted.
	Done
	// Refused: nothing came of it.
	Refused
)

// String is the outcome in a word.
func (o Outcome) String() string { return [...]string{"unknown", "done", "refused"}[o] }

// Write is a request that was to change something.
type Write struct {
	ID, User, Verb string
	// Group, Resource and Subresource, and the object's Namespace and Name.
	Group, Resource, Subresource, Namespace, Name string
	// Asked is when the request came, Answered when it was answered; that is zero as long
	// as it was not.
	Asked, Answered time.Time
	Code            int
	// Body is what was asked for, of kinds whose bodies are logged.
	Body json.RawMessage
}

// Outcome says what came of it.
func (w *Write) Outcome() Outcome {
	switch {
	case w.Answered.IsZero() || w.Code >= 500 || w.Code == 0:
		return Unknown
	case w.Code < 400:
		return Done
	}
	return Refused
}

// String is the write in one line.
func (w *Write) String() string {
	what := w.Resource
	if w.Subresource != "" {
		what += "/" + w.Subresource
	}
	return fmt.Sprintf("%s %s %s %s/%s: %s (%d)", w.User, w.Verb, what, w.Namespace, w.Name, w.Outcome(), w.Code)
}

// line is what of an audit event (audit.k8s.io/v1) is read.
type line struct {
	AuditID, Stage, Verb     string
	User                     struct{ Username string }
	ObjectRef                *struct{ Resource, Namespace, Name, APIGroup, Subresource string }
	ResponseStatus           *struct{ Code int }
	RequestObject            json.RawMessage
	RequestReceivedTimestamp time.Time
	StageTimestamp           time.Time
}

const (
	stageReceived = "RequestReceived"
	stageComplete = "ResponseComplete"
	stagePanic    = "Panic"
)

// Log is the writes that were read so far, in the order in which they were asked for as the
// log has them.
type Log struct {
	Writes []*Write
	// Torn lines could not be read.
	Torn int
	open map[string]*Write
}

// Add reads one line.
func (l *Log) Add(text []byte) {
	var e line
	if err := json.Unmarshal(text, &e); err != nil {
		l.Torn++
		return
	}
	if e.ObjectRef == nil {
		return
	}
	if l.open == nil {
		l.open = map[string]*Write{}
	}
	w := l.open[e.AuditID]
	if w == nil {
		w = &Write{
			ID: e.AuditID, User: e.User.Username, Verb: e.Verb, Asked: e.RequestReceivedTimestamp,
			Group: e.ObjectRef.APIGroup, Resource: e.ObjectRef.Resource, Subresource: e.ObjectRef.Subresource,
			Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name,
		}
		l.open[e.AuditID] = w
		l.Writes = append(l.Writes, w)
	}
	if len(e.RequestObject) > 0 {
		w.Body = e.RequestObject
	}
	if w.Name == "" { // of what is created it is known later
		w.Name = e.ObjectRef.Name
	}
	if e.Stage == stageComplete || e.Stage == stagePanic {
		w.Answered = e.StageTimestamp
		if e.ResponseStatus != nil && e.Stage == stageComplete {
			w.Code = e.ResponseStatus.Code
		}
		delete(l.open, e.AuditID)
	}
}
