package course

import (
	"encoding/json"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Reshape is the payload of an entry about a change of a GPU's layout.
type Reshape struct {
	Node string `json:"node"`
	// GPU is its UUID.
	GPU    string `json:"gpu"`
	Lender string `json:"lender"`
	// From and Count are the flavor of what is destroyed and how many, To and Made those of
	// what is made.
	From  string `json:"from"`
	Count int64  `json:"count"`
	To    string `json:"to"`
	Made  int64  `json:"made"`
	// Milliseconds that the step took the node's agent, as far as it says so.
	Milliseconds int64 `json:"milliseconds,omitempty"`
}

// ReshapeOf is what an entry says about a change of a GPU's layout; ok is false if it is
// about none.
func ReshapeOf(e *ledger.Entry) (r Reshape, ok bool) {
	return r, e.Kind.Reshapes() && json.Unmarshal(e.Payload, &r) == nil
}
