package ebbtide

import (
	"fmt"
	"strings"
	"testing"

	fwk "k8s.io/kube-scheduler/framework"
	"pgregory.net/rapid"
)

// crowd adds nodes of 8 GPUs: full ones, and others with so many free.
func (w *world) crowd(full int, free ...int64) {
	for i := range full {
		w.online(fmt.Sprint("busy-", i), 8, w.node(fmt.Sprintf("full-%03d", i), 8, 64))
	}
	for i, units := range free {
		n := w.node(fmt.Sprintf("free-%03d", i), 8, 64)
		if units < 8 {
			w.online(fmt.Sprint("some-", i), 8-units, n)
		}
	}
}

func TestOnlyNodesWithRoomAreNamed(t *testing.T) {
	for _, test := range []struct {
		name  string
		full  int
		free  []int64
		units int64
		want  int // -1: all
	}{
		{name: "some are full", full: 99, free: []int64{8, 1}, units: 1, want: 2},
		{name: "some have too little", full: 99, free: []int64{8, 1}, units: 2, want: 1},
		{name: "all are full", full: 101, units: 1, want: -1},
		{name: "few nodes", full: 98, free: []int64{8, 1}, units: 1, want: -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.tenant("serving", 2000)
			w.crowd(test.full, test.free...)
			named, status := w.PreFilter(t.Context(), newState(), w.online("p", test.units, nil), w.infos())
			got := -1
			if !named.AllNodes() {
				got = len(named.NodeNames)
			}
			if !status.IsSuccess() || got != test.want {
				t.Errorf("%d nodes are named (%v), want %d", got, status, test.want)
			}
		})
	}
}

// A node that the filters would let pass is always named.
func TestNoNodeIsLeftOutThatFits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.tenant("serving", 2000)
		w.crowd(0, rapid.SliceOfN(rapid.Int64Range(0, 8), 101, 130).Draw(rt, "free")...)
		p, state := w.online("p", rapid.Int64Range(1, 8).Draw(rt, "units"), nil), newState()
		named, status := w.PreFilter(t.Context(), state, p, w.infos())
		if !status.IsSuccess() {
			rt.Fatalf("refused: %v", status)
		}
		for _, n := range w.nodes {
			fits := w.handle.RunFilterPluginsWithNominatedPods(t.Context(), state, p, n).IsSuccess()
			if fits && !named.AllNodes() && !named.NodeNames.Has(n.node.Name) {
				rt.Fatalf("node %s fits and is not named", n.node.Name)
			}
		}
	})
}

// Loans on full nodes are taken back although no filter has seen those nodes, and
// the pod is told of the nodes that it cannot see in the filters' reasons.
func TestTakesBackOnNodesThatWereLeftOut(t *testing.T) {
	w := newWorld(t)
	w.tenant("serving", 2000)
	w.crowd(100, 8)
	w.fill(w.loan("a", 8, 1, lent("lent", 8)), w.node("lent", 8, 64))
	p := w.online("p", 1, nil)
	p.Spec.NodeSelector = map[string]string{"only": "lent"}
	_, _, status := w.schedule(p)
	if want := "on 101 of 102 nodes fewer than 1 units of nvidia.com/gpu are free"; !strings.Contains(status.Message(), want) {
		t.Errorf("message %q, want one with %q", status.Message(), want)
	}
	if status.Code() != fwk.UnschedulableAndUnresolvable {
		t.Errorf("status %v", status.Code())
	}
	w.checkTaken()
	w.time.Step(w.args.TakeBackAfter)
	_, result, status := w.schedule(p)
	w.checkNominated(result, status, "lent")
	w.checkTaken("a-1")
}
