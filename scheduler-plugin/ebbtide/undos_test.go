package ebbtide

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	migslices "github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/slices"
)

// What is remembered of a change goes with it, node by node: since when pods have waited
// for it once it is settled, that it is to be undone once it says so itself, and the rest
// when it is off the list.
func TestChangesAreForgotten(t *testing.T) {
	at := func(id, state string, undo bool) []migslices.Reshape {
		return []migslices.Reshape{{ID: id, State: state, Undo: undo}}
	}
	type memory struct{ Changing, Since, Wanted bool }
	all := memory{true, true, true}
	for name, tc := range map[string]struct {
		node string
		seen []migslices.Reshape
		want memory
	}{
		"it goes on":          {"n", at("r", v1alpha1.ReshapeMaking, false), all},
		"it is settled":       {"n", at("r", v1alpha1.ReshapeMade, false), memory{Since: true, Wanted: true}},
		"it says so":          {"n", at("r", v1alpha1.ReshapeUndoing, true), memory{Changing: true, Since: true}},
		"it is off the list":  {"n", nil, memory{}},
		"another is on there": {"n", at("s", v1alpha1.ReshapeMaking, false), memory{}},
		"one elsewhere":       {"o", nil, all},
		"one like it":         {"o", at("r", v1alpha1.ReshapeMade, true), all},
	} {
		u, key, now := newUndos(), reshapeKey{"n", "r"}, epoch
		u.unsettled(key, now)
		u.unheld(key, now)
		u.add(key)
		u.seen(tc.node, tc.seen)
		later := now.Add(time.Second)
		got := memory{u.unsettled(key, later).Equal(now), u.unheld(key, later).Equal(now), u.has(key)}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: remembered (-want +got):\n%s", name, diff)
		}
	}
}

// Undo is set in the one reshape that is meant, once.
func TestSetUndo(t *testing.T) {
	list := func(undone ...bool) *unstructured.Unstructured {
		var all []any
		for i, undo := range undone {
			r := map[string]any{"id": string(rune('a' + i))}
			if undo {
				r["undo"] = true
			}
			all = append(all, r)
		}
		return &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"reshapes": all}}}
	}
	for _, tc := range []struct {
		before, after []bool
		id            string
		changed       bool
	}{
		{[]bool{false, false, false}, []bool{false, true, false}, "b", true},
		{[]bool{true, false}, []bool{true, true}, "b", true},
		{[]bool{false, true}, []bool{false, true}, "b", false},
		{[]bool{false, false}, []bool{false, false}, "c", false},
		{nil, nil, "a", false},
	} {
		gn := list(tc.before...)
		changed, err := setUndo(gn, tc.id)
		if err != nil || changed != tc.changed {
			t.Errorf("%s of %v: changed: %t, %v", tc.id, tc.before, changed, err)
		}
		if diff := cmp.Diff(list(tc.after...).Object, gn.Object); diff != "" {
			t.Errorf("%s of %v (-want +got):\n%s", tc.id, tc.before, diff)
		}
	}
	if changed, err := setUndo(&unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"reshapes": "none"}}}, "a"); err == nil || changed {
		t.Errorf("of no list: changed: %t, %v", changed, err)
	}
}

// What was made and is nobody's goes to the loans that its lender made with it there: to
// one of its job first, then to the oldest, each for as many pods as it has to come.
func TestPromisedTo(t *testing.T) {
	r := &migslices.Reshape{Lender: "serving/chat", To: "a100-4g", JobUID: "b"}
	loan := func(name string, g v1alpha1.Grant) *v1alpha1.Loan {
		l := &v1alpha1.Loan{Spec: v1alpha1.LoanSpec{Grants: []v1alpha1.Grant{g}}}
		l.Name, l.Spec.Job.UID = name, types.UID(name)
		return l
	}
	right := v1alpha1.Grant{Lender: "serving/chat", Node: "n", Flavor: "a100-4g", Count: 1}
	node, lender, flavor := right, right, right
	node.Node, lender.Lender, flavor.Flavor = "o", "serving/code", "a100-2g"
	promises := []promise{
		{loan("node", node), 1}, {loan("lender", lender), 1}, {loan("flavor", flavor), 1}, {loan("none", right), 0},
		{loan("a", right), 2}, {loan("c", right), 1}, {loan("b", right), 1},
	}
	var got []string
	for range 5 {
		if l := promisedTo(promises, "n", r); l != nil {
			got = append(got, l.Name)
		} else {
			got = append(got, "nobody")
		}
	}
	if diff := cmp.Diff([]string{"b", "a", "a", "c", "nobody"}, got); diff != "" {
		t.Errorf("it goes to (-want +got):\n%s", diff)
	}
}
