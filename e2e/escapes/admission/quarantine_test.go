package admission_test

import (
	"strings"
	"testing"
)

// TestUnquarantine: an administrator may say on a Loan that its units are free, and nothing
// else; a tenant may not.
func TestUnquarantine(t *testing.T) {
	const (
		loans = "ebbtide.dev/v1alpha1/loans/Loan"
		only  = "only the broker writes Loans"
		was   = `{metadata: {labels: {a: b}, finalizers: [f], annotations: {a: b}}, spec: {epoch: 2}, status: {epoch: 3}}`
		word  = `{metadata: {labels: {a: b}, finalizers: [f], annotations: {a: b, ebbtide.dev/unquarantine: reset by hand}}, spec: {epoch: 2}, status: {epoch: 3}}`
	)
	w := newTown(t)
	for _, test := range []asked{
		{name: "the word", user: root, object: word, old: was},
		{name: "the first annotation", user: root, object: `{metadata: {annotations: {ebbtide.dev/unquarantine: x}}, spec: {epoch: 2}}`, old: `{spec: {epoch: 2}}`},
		{name: "the word again", user: root, object: was, old: word},
		{name: "by a tenant", user: alice, object: word, old: was, want: only},
		{name: "a label besides", user: root, object: strings.Replace(word, "labels: {a: b}", "labels: {a: c}", 1), old: was, want: only},
		{name: "no finalizer any more", user: root, object: strings.Replace(word, "finalizers: [f], ", "", 1), old: was, want: only},
		{name: "an owner besides", user: root, object: strings.Replace(word, "finalizers", "ownerReferences: [{name: x}], finalizers", 1), old: was, want: only},
		{name: "another annotation besides", user: root, object: strings.Replace(word, "annotations: {a: b", "annotations: {c: d, a: b", 1), old: was, want: only},
		{name: "an annotation changed", user: root, object: strings.Replace(word, "annotations: {a: b", "annotations: {a: c", 1), old: was, want: only},
		{name: "an annotation less", user: root, object: strings.Replace(word, "annotations: {a: b, ", "annotations: {", 1), old: was, want: only},
		{name: "another spec", user: root, object: strings.Replace(word, "epoch: 2", "epoch: 3", 1), old: was, want: only},
		{name: "a Loan that has it", user: root, object: word, want: only},
		{name: "the end", user: root, old: was, want: only},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.resource = loans
			err := w.Judge.Judge(t.Context(), named(test.request(t, w)))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	t.Run("in the status", func(t *testing.T) {
		test := asked{user: root, resource: "ebbtide.dev/v1alpha1/loans.status/Loan", object: word, old: was}
		if err := w.Judge.Judge(t.Context(), named(test.request(t, w))); err == nil || !strings.Contains(err.Error(), only) {
			t.Errorf("got %v, want %q", err, only)
		}
	})
}
