package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Entry is a call that was struck.
type Entry struct {
	// At is the time since the rig began.
	At       time.Duration `json:"at"`
	Client   string        `json:"client"`
	Verb     string        `json:"verb"`
	Resource string        `json:"resource"`
	// Name is namespace/name, as far as the call has them.
	Name string `json:"name,omitempty"`
	// Rule is the one that struck, Call which of the calls that it matched this was. Set
	// counts how often the rules had been replaced.
	Set  int  `json:"set"`
	Rule Rule `json:"rule"`
	Call int  `json:"call"`
	// Answer is what the API server had said, if the reply was dropped.
	Answer int `json:"answer,omitempty"`
}

// String is one line for people.
func (e Entry) String() string {
	text := fmt.Sprintf("%s %s %s %s: %s", e.At.Round(time.Millisecond), e.Client, e.Verb, e.Resource, e.Rule.Fault)
	if e.Name != "" {
		text += " of " + e.Name
	}
	if e.Rule.Fault == Status {
		text += fmt.Sprintf(" %d", e.Rule.Status)
	}
	if e.Answer != 0 {
		text += fmt.Sprintf(", after the API server had said %d", e.Answer)
	}
	return text
}

// Repeat makes rules of a log that strike the same calls of the same rules again, and no
// others. They are for one set of rules; the entries of others are left out.
func Repeat(log []Entry, set int) []Rule {
	var rules []Rule
	for _, e := range log {
		if e.Set == set {
			rule := e.Rule
			rule.Nth, rule.Share = e.Call, 0
			rules = append(rules, rule)
		}
	}
	return rules
}

// journal keeps entries, and writes each as a line of JSON.
type journal struct {
	mu      sync.Mutex
	began   time.Time
	out     io.Writer
	entries []Entry
	err     error // of writing, the first
}

func (j *journal) add(e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.At = time.Since(j.began)
	j.entries = append(j.entries, e)
	if j.out == nil {
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = j.out.Write(append(line, '\n'))
	}
	if err != nil && j.err == nil {
		j.err = fmt.Errorf("write the proxy's log: %w", err)
	}
}

func (j *journal) list() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}
