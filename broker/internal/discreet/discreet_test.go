package discreet_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/internal/discreet"
)

func others(name string) bool { return name == "serving/chat" || name == "serving/chat-2" }

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"4 units of h100":                 "4 units of h100",
		"lent by serving/chat and 2 more": "lent by a service of another tenant and 2 more",
		"lent by serving/chat":            "lent by a service of another tenant",
		"lent by serving/chat.":           "lent by a service of another tenant.",
		"need of serving/chat, serving/chat-2 rose": "need of a service of another tenant, a service of another tenant rose",
		"(of 4 units lent by serving/chat)":         "(of 4 units lent by a service of another tenant)",
		"serving/chat panics: load":                 "a service of another tenant panics: load",
		"research/chat runs":                        "research/chat runs",
		"serving/chat-3 runs":                       "serving/chat-3 runs",
		"load of serving/chat/":                     "load of a service of another tenant/",
	} {
		said, changed := discreet.Text(text, others)
		if said != want || changed != (want != text) {
			t.Errorf("%q: %q, changed %t, want %q", text, said, changed, want)
		}
	}
}

// TestNothingIsLeft: whatever stands around it, and however often.
func TestNothingIsLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		around := rapid.SliceOfN(rapid.StringMatching(`[A-Z ,;:()"']{1,4}`), 1, 6).Draw(t, "around")
		text := strings.Join(around, "serving/chat")
		said, _ := discreet.Text(text, others)
		if strings.Contains(said, "serving") || strings.Contains(said, "chat") {
			t.Fatalf("%q became %q", text, said)
		}
		if want := strings.Join(around, discreet.Other); said != want {
			t.Fatalf("%q became %q, want %q", text, said, want)
		}
	})
}
