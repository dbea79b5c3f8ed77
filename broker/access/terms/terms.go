// Package terms is what the listeners of Ebbtide's programs and who asks them have agreed on:
// whom tokens are for, and how a refusal is written. It imports the standard library alone,
// so that who only asks carries nothing of what answers.
package terms

import (
	"encoding/json"
	"net/http"
)

// Audience is that of tokens which are good for Ebbtide's programs and nothing else.
const Audience = "ebbtide-broker"

// Refuse answers a request with why it is not served: {"error": text}.
func Refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": text}) // the client has gone if this fails
}
