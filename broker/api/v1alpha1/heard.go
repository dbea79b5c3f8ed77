package v1alpha1

import "time"

// SilentAfter is how long nothing may be heard from a node's agent until what it said is
// unknown.
const SilentAfter = 2 * time.Minute

// Heard is when an agent was heard from last, by the clock of whoever listens: agents'
// clocks may be wrong. What is believed is that its heartbeat changes, and when that was
// seen; of the first one that is seen, what it says itself, unless that is yet to come.
// The zero Heard has heard nothing.
//
// +kubebuilder:object:generate=false
type Heard struct {
	beat time.Time // as the agent says
	at   time.Time
}

// Hear returns what is known once this heartbeat is seen at now. That of an agent that has
// not spoken yet is the zero time.
func (h Heard) Hear(beat, now time.Time) Heard {
	switch {
	case beat.IsZero():
		return Heard{}
	case h.beat.Equal(beat):
		return h
	case h.beat.IsZero() && beat.Before(now):
		return Heard{beat: beat, at: beat}
	}
	return Heard{beat: beat, at: now}
}

// Silent reports whether nothing was heard for longer than SilentAfter, or never.
func (h Heard) Silent(now time.Time) bool { return h.beat.IsZero() || now.Sub(h.at) > SilentAfter }
