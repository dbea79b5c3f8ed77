package admission_test

import (
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/escapes/admission"
)

// epochs are writes by the broker's own account, of a process of one epoch over what one of
// another has written.
var epochs = []asked{
	{name: "the same", resource: "ebbtide.dev/v1alpha1/loans.status/Loan", object: `{spec: {epoch: 2}, status: {epoch: 3}}`, old: `{spec: {epoch: 2}, status: {epoch: 3}}`},
	{name: "a later one", resource: "ebbtide.dev/v1alpha1/loans.status/Loan", object: `{spec: {epoch: 2}, status: {epoch: 4}}`, old: `{spec: {epoch: 2}, status: {epoch: 3}}`},
	{name: "the first status", resource: "ebbtide.dev/v1alpha1/loans.status/Loan", object: `{spec: {epoch: 2}, status: {epoch: 2}}`, old: `{spec: {epoch: 2}}`},
	{name: "a status of an older release", resource: "ebbtide.dev/v1alpha1/loans.status/Loan", object: `{spec: {epoch: 2}, status: {epoch: 3}}`, old: `{spec: {epoch: 2}, status: {ledgerSeq: 7}}`},
	{name: "an earlier one", resource: "ebbtide.dev/v1alpha1/loans.status/Loan", object: `{spec: {epoch: 2}, status: {epoch: 2}}`, old: `{spec: {epoch: 2}, status: {epoch: 3}}`, want: "a broker of a later epoch has written"},
	{name: "none any more", resource: "ebbtide.dev/v1alpha1/loans.status/Loan", object: `{spec: {epoch: 2}, status: {ledgerSeq: 7}}`, old: `{spec: {epoch: 2}, status: {epoch: 3}}`, want: "a broker of a later epoch has written"},
	{name: "no status any more", resource: "ebbtide.dev/v1alpha1/loans.status/Loan", object: `{spec: {epoch: 2}}`, old: `{spec: {epoch: 2}, status: {epoch: 3}}`, want: "a broker of a later epoch has written"},
	{name: "earlier than the Loan's own", resource: "ebbtide.dev/v1alpha1/loans.status/Loan", object: `{spec: {epoch: 2}, status: {epoch: 1}}`, old: `{spec: {epoch: 2}}`, want: "a broker of a later epoch has made this Loan"},
	{name: "a spec of an earlier one", resource: "ebbtide.dev/v1alpha1/loans/Loan", object: `{spec: {epoch: 1}}`, old: `{spec: {epoch: 2}}`, want: "a broker of a later epoch has made this Loan"},
	{name: "an annotation", resource: "ebbtide.dev/v1alpha1/loans/Loan", object: `{spec: {epoch: 2}, status: {epoch: 3}}`, old: `{spec: {epoch: 2}, status: {epoch: 3}}`},
	{name: "the end", resource: "ebbtide.dev/v1alpha1/loans/Loan", old: `{spec: {epoch: 2}, status: {epoch: 3}}`},
	{name: "a policy, by a later one", resource: "ebbtide.dev/v1alpha1/lendingpolicies.status/LendingPolicy", object: `{status: {epoch: 4}}`, old: `{status: {epoch: 3}}`},
	{name: "a policy without one yet", resource: "ebbtide.dev/v1alpha1/lendingpolicies.status/LendingPolicy", object: `{status: {epoch: 4}}`, old: `{status: {lent: 3}}`},
	{name: "a policy, by an earlier one", resource: "ebbtide.dev/v1alpha1/lendingpolicies.status/LendingPolicy", object: `{status: {epoch: 2, lent: 0}}`, old: `{status: {epoch: 3, lent: 4}}`, want: "a broker of a later epoch has written"},
	{name: "a policy, by nobody", resource: "ebbtide.dev/v1alpha1/lendingpolicies.status/LendingPolicy", object: `{status: {lent: 0}}`, old: `{status: {epoch: 3, lent: 4}}`, want: "a broker of a later epoch has written"},
}

// TestEpochs: what a broker writes that was overtaken is refused, and nothing else of the
// broker's is; without the policy, it is not.
func TestEpochs(t *testing.T) {
	w := newTown(t)
	for _, test := range epochs {
		t.Run(test.name, func(t *testing.T) {
			test.user = broker
			err := w.Judge.Judge(t.Context(), named(test.request(t, w)))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, policy := range []string{"ebbtide-loans", "ebbtide-epochs"} {
		accepted, w := 0, without(t, policy)
		for _, test := range epochs {
			test.user = broker
			if test.want != "" && w.Judge.Judge(t.Context(), named(test.request(t, w))) == nil {
				accepted++
			}
		}
		if accepted == 0 {
			t.Errorf("without %s nothing more is accepted", policy)
		}
	}
}

// named gives the objects their names.
func named(r admission.Request) admission.Request {
	if r.Object != nil {
		r.Object.SetNamespace("red")
		r.Object.SetName("o")
	}
	if r.Old != nil {
		r.Old.SetNamespace("red")
		r.Old.SetName("o")
	}
	return r
}
