package terms_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/ebbtide/ebbtide/broker/access/terms"
)

// A refusal is JSON whatever is said in it, and leaves headers that were set before.
func TestRefuse(t *testing.T) {
	for text, want := range map[string]string{
		"ask as yourself":         `{"error":"ask as yourself"}` + "\n",
		`user "a" may not`:        `{"error":"user \"a\" may not"}` + "\n",
		"<script>\n\xff</script>": `{"error":"\u003cscript\u003e\n\ufffd\u003c/script\u003e"}` + "\n",
	} {
		w := httptest.NewRecorder()
		w.Header().Set("Cache-Control", "no-store")
		terms.Refuse(w, http.StatusForbidden, text)
		if got := w.Body.String(); w.Code != http.StatusForbidden || got != want {
			t.Errorf("%q: %d %s, want %s", text, w.Code, got, want)
		}
		if got := w.Header(); got.Get("Content-Type") != "application/json" || got.Get("Cache-Control") != "no-store" {
			t.Errorf("%q: headers %v", text, got)
		}
	}
}
