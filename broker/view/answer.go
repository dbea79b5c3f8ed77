package view

import (
	"fmt"
	"strings"
	"time"
)

// Answer is why something is as it is.
type Answer struct {
	// Subject is what it is about, e.g. "Job research/bert".
	Subject string
	// State is what the subject does, in words: "waits in queue nightly". It may
	// be empty.
	State string
	// Message is the reason in a sentence, Reason in a word, Since when it began
	// to hold. Each may be missing.
	Message string
	Reason  string
	Since   time.Time
}

// Sentence is the whole answer in one sentence, on one line.
func (a Answer) Sentence(now time.Time) string {
	var b strings.Builder
	b.WriteString(a.Subject)
	if a.State != "" {
		b.WriteString(" " + a.State)
	}
	if message := strings.TrimRight(strings.Join(strings.Fields(a.Message), " "), "."); message != "" {
		b.WriteString(": " + message)
	}
	var marks []string
	if a.Reason != "" {
		marks = append(marks, a.Reason)
	}
	if !a.Since.IsZero() {
		marks = append(marks, "for "+Span(now.Sub(a.Since)))
	}
	if len(marks) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(marks, ", "))
	}
	return b.String() + "."
}
