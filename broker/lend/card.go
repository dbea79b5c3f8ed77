package lend

import (
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// Card is a GPU in MIG mode. What its instances are used for is said of each: an
// instance that nobody could say anything about is mig.Unknown, never mig.Idle.
type Card struct {
	mig.GPU
	// Board names the entry of Snapshot.Boards.
	Board string `json:"board"`
	// Fixed says why its layout must not be changed now; empty: it may be.
	Fixed string `json:"fixed,omitempty"`
}

// ReshapeState is how far a change of a card's layout is.
type ReshapeState string

// The states, of which the first three hold what the lender gave.
const (
	// ReshapeMaking: the slices are being made, or will be.
	ReshapeMaking ReshapeState = "Making"
	// ReshapeMade: they can be lent.
	ReshapeMade ReshapeState = "Made"
	// ReshapeUndoing: they are being given back, or wait for their holder to go.
	ReshapeUndoing ReshapeState = "Undoing"
)

// Reshape is a change of one card's layout, from the moment in which it is wanted until
// it has been undone: Count units of the lender's flavor From are gone, and Made units of
// flavor To are there in their place.
//
// All counting is in the lender's units: while a Reshape lasts, they are lent, to the job
// that holds what was made or to nobody. The node's Capacity of From and To are as the
// node has them now, in whatever state.
type Reshape struct {
	ID     string `json:"id"`
	GPU    string `json:"gpu"`
	Lender string `json:"lender"`
	From   string `json:"from"`
	Count  int64  `json:"count"`
	To     string `json:"to"`
	Made   int64  `json:"made"`
	// Destroy and Create are the places of what is gone and of what is there instead.
	Destroy []mig.Placed `json:"destroy,omitempty"`
	Create  []mig.Placed `json:"create,omitempty"`
	// JobUID is the job that it was made for.
	JobUID string       `json:"jobUID,omitempty"`
	State  ReshapeState `json:"state"`
	Since  time.Time    `json:"since,omitzero"`
	// Stuck says why it goes neither on nor back; empty: it does.
	Stuck string `json:"stuck,omitempty"`
}

// ReshapeKind is what is to be done about a card's layout.
type ReshapeKind string

const (
	// ReshapeMake begins a Reshape.
	ReshapeMake ReshapeKind = "Make"
	// ReshapeUndo ends one, as soon as nobody holds what was made.
	ReshapeUndo ReshapeKind = "Undo"
)

// ReshapeAction is one step of a Plan about a card's layout. Make's come after all other
// actions, Undo's before them.
type ReshapeAction struct {
	Kind ReshapeKind `json:"kind"`
	ID   string      `json:"id"`
	Node string      `json:"node"`
	// The rest belongs to ReshapeMake, but for Lender.
	Lender string    `json:"lender"`
	From   string    `json:"from,omitempty"`
	Count  int64     `json:"count,omitempty"`
	To     string    `json:"to,omitempty"`
	Made   int64     `json:"made,omitempty"`
	Job    string    `json:"job,omitempty"`
	JobUID string    `json:"jobUID,omitempty"`
	Plan   *mig.Plan `json:"plan,omitempty"`
	// Undo is how long the way back is expected to take.
	Undo time.Duration `json:"undo,omitempty"`

	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// MIGRules is how a lender's slices may be reshaped.
type MIGRules struct {
	// Reshape: idle slices may be made into others.
	Reshape bool `json:"reshape,omitempty"`
	// MinTrough is how long the lender must be expected to need no more than what is left.
	MinTrough time.Duration `json:"minTrough,omitempty"`
	// Change is how long a change of a card takes, with handing out what was made, and
	// Undo how long the way back does, both as measured or, before that, assumed.
	Change time.Duration `json:"change,omitempty"`
	Undo   time.Duration `json:"undo,omitempty"`
}
