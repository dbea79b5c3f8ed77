package docs_test

import (
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/docs"
)

func TestCompare(t *testing.T) {
	tests := []struct {
		name, shown, printed string
		same                 bool
	}{
		{"the same", "a b\nc", "a b\nc\n", true},
		{"columns are wider", "NAME   AGE\nchat   3m", "NAME                AGE\nchat                3m\n", true},
		{"an age", "chat 3m", "chat 2h41m", true},
		{"no age", "chat 3m", "chat never", false},
		{"a number", "needs 16 units", "needs 8 units", true},
		{"a number became none", "needs 16 units", "needs 0 units", false},
		{"none became a number", "0 rejected", "3 rejected", false},
		{"a decimal", "lent 12.5 hours", "lent 0.1 hours", true},
		{"a time", "at 12:30:05 on 2026-03-01", "at 00:00:00 on 2026-11-22", true},
		{"a node", "gpu-3 is ready", "gpu-1 is ready", true},
		{"a product is no number", "h100 is lent", "h200 is lent", false},
		{"a version is no number", "v1.36 runs", "v1.37 runs", false},
		{"a word", "Lent", "Held", false},
		{"anything", "pod/chat-… created", "pod/chat-7f9c-x2v created", true},
		{"anything, but another beginning", "pod/chat-… created", "pod/code-7f9c created", false},
		{"any lines", "first\n…\nlast", "first\n1\n2\nlast", true},
		{"no lines", "first\n…\nlast", "first\nlast", true},
		{"any lines, but another end", "first\n…\nlast", "first\n1\n2", false},
		{"any lines at the end", "first\n…", "first\n1\n2", true},
		{"nothing", "", "", true},
		{"something instead of nothing", "", "a", false},
		{"nothing instead of something", "a", "", false},
		{"signs of patterns", "a.b*c", "aXbbc", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			why := docs.Compare(strings.Split(test.shown, "\n"), test.printed)
			if (why == "") != test.same {
				t.Errorf("%q and %q: %q", test.shown, test.printed, why)
			}
		})
	}
}
