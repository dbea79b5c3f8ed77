package ebbtide

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	migslices "github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/slices"
)

// Nodes are looked at beside those that the filters name where units of what the pod asks
// for were made into others, or are not offered for a moment: each once, and no others.
func TestWithReshaped(t *testing.T) {
	w := newWorld(t).sliced()
	w.node("bare", 8, 64)
	w.card("still", sevenths)
	w.nightCard("night", "r", v1alpha1.ReshapeMade)
	w.nightCard("other", "s", v1alpha1.ReshapeMade)
	w.changingCard("dark", v1alpha1.ReshapeMaking).dark()
	names := func(p *corev1.Pod, named ...string) (out []string) {
		t.Helper()
		state := newState()
		if _, s := w.PreFilter(t.Context(), state, p, w.infos()); !s.IsSuccess() {
			t.Fatal(s.Message())
		}
		c, _ := readCycle(state)
		var nodes []fwk.NodeInfo
		for _, n := range w.nodes {
			for _, name := range named {
				if n.node.Name == name {
					nodes = append(nodes, n)
				}
			}
		}
		nodes, err := w.withReshaped(c, nodes)
		must(t, err)
		for _, n := range nodes {
			out = append(out, n.Node().Name)
		}
		return out
	}
	ones := w.replicaOn("p", nil)
	if diff := cmp.Diff([]string{"night", "other", "dark"}, names(ones)); diff != "" {
		t.Errorf("beside none (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"bare", "night", "other", "dark"}, names(ones, "bare", "night")); diff != "" {
		t.Errorf("beside some (-want +got):\n%s", diff)
	}
	if got := names(w.online("q", 1, nil), "bare"); !cmp.Equal(got, []string{"bare"}) {
		t.Errorf("for whole GPUs: %v", got)
	}
}

// What a loan's end brings back of a change that others have too is told to each in part,
// and in sum it is what the change took.
func TestBringsBack(t *testing.T) {
	a, b, c := &v1alpha1.Loan{}, &v1alpha1.Loan{}, &v1alpha1.Loan{}
	r := &migslices.Reshape{From: oneG, Count: 5}
	s := &scene{reshaped: []reshaped{{r, []*v1alpha1.Loan{a, b}}, {r, []*v1alpha1.Loan{b}}}}
	for _, tc := range []struct {
		loan *v1alpha1.Loan
		want int64
	}{{a, 3}, {b, 2 + 5}, {c, 0}} {
		if got := s.bringsBack(tc.loan)[oneG]; got != tc.want {
			t.Errorf("%d units come back, want %d", got, tc.want)
		}
	}
}
