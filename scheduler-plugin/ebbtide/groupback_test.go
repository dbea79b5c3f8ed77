package ebbtide

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Loans are taken back for a gang only if all pods that it lacks fit then.
func TestTakeBackForAGroup(t *testing.T) {
	for name, tc := range map[string]struct {
		set    func(w *world)
		small  bool // the second pod asks for 2 units
		want   []string
		reason string
	}{
		"only one of the two would fit": {
			set: func(w *world) {
				w.fill(w.loan("a", 1, 8, lent("a", 8)), w.node("a", 8, 64))
				w.fill(w.loan("b", 1, 8, own("b", 8)), w.node("b", 8, 64))
			},
			reason: "the 2 pods that PodGroup serving/g still needs would not all fit if all loans were taken back",
		},
		"both fit": {
			set: func(w *world) {
				w.fill(w.loan("a", 1, 8, lent("a", 8)), w.node("a", 8, 64))
				w.fill(w.loan("b", 1, 8, lent("b", 8)), w.node("b", 8, 64))
				w.fill(w.loan("c", 1, 8, v1alpha1.Grant{Lender: "elsewhere/svc", Node: "c", Count: 8}), w.node("c", 8, 64))
			},
			want: []string{"a-1", "b-1"},
		},
		"the smaller one has room as it is": {
			set: func(w *world) {
				w.fill(w.loan("a", 1, 8, lent("a", 8)), w.node("a", 8, 64))
				w.node("b", 2, 64)
			},
			small: true,
			want:  []string{"a-1"},
		},
		"the smaller one has none": {
			set: func(w *world) {
				w.fill(w.loan("a", 1, 8, lent("a", 8)), w.node("a", 8, 64))
				w.node("b", 1, 64)
			},
			small:  true,
			reason: "would not all fit",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tc.set(w)
			w.serveGroups(gangGroup("g", 2))
			pods := w.members("g", 2, 8)
			if tc.small {
				request(pods[1], gpu, 2)
				w.put(pods[1])
			}
			if _, _, status := w.schedule(pods[0]); !strings.Contains(status.Message(), "has waited") {
				t.Fatalf("an impatient pod got %v %q", status.Code(), status.Message())
			}
			w.time.Step(w.args.TakeBackAfter)
			_, result, status := w.schedule(pods[0])
			w.checkTaken(tc.want...)
			if tc.reason != "" && !strings.Contains(status.Message(), tc.reason) {
				t.Errorf("got %v %q, want %q", status.Code(), status.Message(), tc.reason)
			}
			if tc.reason == "" && (!status.IsSuccess() || result.NominatedNodeName == "") {
				t.Errorf("result = %+v, %v %q", result, status.Code(), status.Message())
			}
		})
	}
}

// A pod that can start by itself takes nothing back for one that cannot.
func TestAGroupsPodsAreNotServedWithOthers(t *testing.T) {
	w := newWorld(t)
	for i := range 2 {
		n := fmt.Sprint("n", i)
		w.fill(w.loan(n, 1, 8, lent(n, 8)), w.node(n, 8, 64))
	}
	w.serveGroups(gangGroup("g", 3))
	alone := w.online("alone", 8, nil)
	pods := append([]*corev1.Pod{alone}, w.members("g", 3, 8)...)
	for _, p := range pods {
		w.schedule(p)
	}
	w.time.Step(w.args.TakeBackAfter)
	for _, p := range pods {
		w.schedule(p)
	}
	if got := w.takenNames(); len(got) != 1 {
		t.Errorf("%v were taken back for one pod", got)
	}
}
