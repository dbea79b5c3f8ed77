package v1alpha1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHeld(t *testing.T) {
	grant := func(lender, node string, n int64) Grant {
		return Grant{Lender: lender, Node: node, Flavor: "h100", Count: n}
	}
	l := &Loan{Spec: LoanSpec{Pods: 6, UnitsPerPod: 2, Grants: []Grant{grant("s/c", "a", 4), grant("", "a", 2), grant("s/c", "b", 6)}}}
	if diff := cmp.Diff(l.Spec.Grants, l.Held()); diff != "" || l.HeldPods() != 6 {
		t.Errorf("before anything is shed: %d pods, %s", l.HeldPods(), diff)
	}
	l.Status.Shed = []Grant{grant("s/c", "a", 4), grant("s/c", "b", 2), grant("s/x", "b", 2)}
	if diff := cmp.Diff([]Grant{grant("", "a", 2), grant("s/c", "b", 4)}, l.Held()); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	l.Status.Shed = l.Status.Shed[:2]
	if l.HeldPods() != 3 {
		t.Errorf("%d pods, want 3", l.HeldPods())
	}
	l.Status.Shedding = []Grant{grant("", "a", 2)}
	if diff := cmp.Diff([]Grant{grant("s/c", "b", 4)}, l.Keeps()); diff != "" || l.KeptPods() != 2 || l.HeldPods() != 3 {
		t.Errorf("%d pods kept of %d held, (-want +got):\n%s", l.KeptPods(), l.HeldPods(), diff)
	}
	if got := l.Spec.Grants[0].Count; got != 4 {
		t.Errorf("the spec was changed to %d", got)
	}
}
