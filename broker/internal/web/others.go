package web

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// withoutOthers takes off an entry that a lender sees what its payload says of other lenders:
// who else asked, what else is owed, and what the Loan carried, which says both. If others
// asked too, what is said in words is about them as well.
func (see *scope) withoutOthers(e *ledger.Entry) {
	var payload map[string]json.RawMessage
	if json.Unmarshal(e.Payload, &payload) != nil {
		return // it is none, or no object
	}
	var asking []string
	var owed []json.RawMessage
	_ = json.Unmarshal(payload["asking"], &asking) // absent in most, and in another form in none
	_ = json.Unmarshal(payload["owed"], &owed)
	mine := slices.DeleteFunc(slices.Clone(asking), func(lender string) bool { return !see.lends(lender) })
	due := slices.DeleteFunc(slices.Clone(owed), func(raw json.RawMessage) bool {
		var of struct{ Lender string }
		return json.Unmarshal(raw, &of) != nil || !see.lends(of.Lender)
	})
	_, carried := payload["records"]
	if len(mine) == len(asking) && len(due) == len(owed) && !carried {
		return
	}
	if len(mine) < len(asking) {
		e.Message = ""
	}
	delete(payload, "records")
	keep(payload, "asking", mine)
	keep(payload, "owed", due)
	e.Payload, _ = json.Marshal(payload) // what was JSON is JSON
}

// keep leaves of a list in a payload what is left of it.
func keep[T any](payload map[string]json.RawMessage, name string, left []T) {
	delete(payload, name)
	if text, err := json.Marshal(left); err == nil && len(left) > 0 {
		payload[name] = text
	}
}

// lends tells whether a lender, namespace/name, is the caller's.
func (see *scope) lends(lender string) bool {
	namespace, _, _ := strings.Cut(lender, "/")
	return see.namespaces[namespace]
}
