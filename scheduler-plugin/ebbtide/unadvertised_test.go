package ebbtide

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// dark lets the device plugin of the node start anew: none of its slices is offered, and
// the filters say of it that nothing helps.
func (c *card) dark() (lit func()) {
	before := c.allocatable
	c.allocatable = map[corev1.ResourceName]int64{gpu0: 0, corev1.ResourceCPU: 64, oneG: 0, fourG: 0}
	return func() { c.allocatable = before }
}

// fullNight is a night card beside a GPU of which all slices serve.
func (w *world) fullNight(name, id string) *card {
	n := w.nightCard(name, id, v1alpha1.ReshapeMade)
	n.another(sevenths)
	for i := range 7 {
		w.replicaOn(fmt.Sprint(name, "-more-", i), n.node)
	}
	return n
}

// tryOn is a cycle of the pod, in which the filters refuse it on all nodes.
func (w *world) tryOn(p *corev1.Pod, nodes ...*card) (*fwk.PostFilterResult, *fwk.Status) {
	w.t.Helper()
	w.sync()
	state, refused := newState(), statuses{}
	if _, s := w.PreFilter(w.t.Context(), state, p, w.infos()); !s.IsSuccess() {
		w.t.Fatal(s.Message())
	}
	for _, n := range nodes {
		code := fwk.Unschedulable
		if n.allocatable[oneG] == 0 {
			code = fwk.UnschedulableAndUnresolvable
		}
		refused[n.node.node.Name] = fwk.NewStatus(code, "Insufficient "+oneG)
	}
	return w.makeRoom(state, p, refused)
}

// While the device plugin starts anew at the end of a change, the node offers none of its
// slices. None is lost, and no loan is taken back for a pod that they are enough for.
func TestNothingIsTakenBackWhilePluginsRestart(t *testing.T) {
	undoing := v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeUndoing, MakeMilliseconds: 1}
	for name, tc := range map[string]struct {
		set  func(w *world) *card
		late string // where the pod goes when it lasts too long
	}{
		"what was made goes, and what was there comes": {set: func(w *world) *card {
			n := w.fullNight("n", "r")
			n.gn.Spec.Reshapes[0].Undo = true
			n.state(undoing)
			return n
		}, late: "o"},
		"that is done already, and not yet said": {set: func(w *world) *card {
			n := w.fullNight("n", "r")
			n.gn.Spec.Reshapes[0].Undo = true
			gpus := n.gn.Status.GPUs
			n.cut(sevenths)
			n.allocatable[oneG] += int64(len(gpus[1].Instances))
			n.state(undoing)
			return n
		}, late: "o"},
		"one is made, and others are free": {set: func(w *world) *card {
			return w.changingCard("n", v1alpha1.ReshapeMaking)
		}, late: "n"},
		"one of others is made, and some are free": {set: func(w *world) *card {
			n := w.card("n", "2g.10gb@0 2g.10gb@2 1g.5gb@4")
			n.reshape("r", v1alpha1.ReshapeMaking, "2g.10gb@0 2g.10gb@2", "4g.20gb@0")
			return n
		}, late: "o"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).sliced()
			w.pinsIn("serving", 3)
			n := tc.set(w)
			o := w.nightCard("o", "s", v1alpha1.ReshapeMade)
			w.bigLoan("other", o)
			lit := n.dark()
			p := w.replicaOn("p", nil)
			w.tryOn(p, n, o)
			w.time.Step(w.args.TakeBackAfter)
			result, status := w.tryOn(p, n, o)
			w.checkNominated(result, status, "n")
			w.checkTaken()

			lit() // for a moment, and then the next change ends
			w.advertised(n.node, w.time.Now())
			n.dark()
			w.time.Step(assumedUndo)
			n.tell()
			o.tell()
			result, status = w.tryOn(p, n, o)
			w.checkNominated(result, status, "n")
			w.checkTaken()
			w.time.Step(assumedUndo + overdue + 1) // and it does not come back
			n.tell()
			o.tell()
			result, status = w.tryOn(p, n, o)
			w.checkNominated(result, status, tc.late)
			if tc.late == "o" {
				w.checkTaken("other-1")
			} else {
				w.checkUndone("n/r")
			}
		})
	}
}

// A node that offers fewer slices than its agent sees, and changes none, has lost some.
func TestSlicesThatAreNotOffered(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths)
	o := w.nightCard("o", "s", v1alpha1.ReshapeMade)
	w.bigLoan("other", o)
	n.dark()
	p := w.replicaOn("p", nil)
	w.tryOn(p, n, o)
	w.time.Step(w.args.TakeBackAfter)
	result, status := w.tryOn(p, n, o)
	w.checkNominated(result, status, "o")
	w.checkTaken("other-1")
}

// The node that others see too stays as it is, and one whose agent is silent is what it
// says itself.
func TestAdvertisedChangesNothing(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.changingCard("n", v1alpha1.ReshapeMaking)
	n.dark()
	n.node.node.Status.Allocatable = corev1.ResourceList{oneG: *resource.NewQuantity(0, resource.DecimalSI)}
	seen := w.advertised(n.node, w.time.Now())
	now, was := seen.Node().Status.Allocatable[oneG], n.node.Node().Status.Allocatable[oneG]
	if now.Value() != 3 || was.Value() != 0 {
		t.Errorf("the node offers %s, and will %s; want 0 and 3", &was, &now)
	}
	w.time.Step(v1alpha1.SilentAfter + 1)
	w.gaps.over("n")
	if w.advertised(n.node, w.time.Now()) != fwk.NodeInfo(n.node) {
		t.Error("what a silent agent said counts")
	}
}

// Each change that keeps a pod off a node has its time, and the others do not matter to it.
func TestChangesThatAreAwaited(t *testing.T) {
	for name, tc := range map[string]struct {
		others  string // what is made by another change, of what
		since   time.Duration
		settled bool
	}{
		"one":                            {settled: true},
		"one that takes too long":        {since: assumedUndo + time.Second},
		"of two one takes too long":      {others: "1g.5gb@4 1g.5gb@5", since: assumedUndo + time.Second},
		"two":                            {others: "1g.5gb@4 1g.5gb@5", settled: true},
		"one of other slices beside one": {others: "3g.20gb@4", settled: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).sliced()
			n := w.changingCard("n", v1alpha1.ReshapeMaking)
			w.undos.unsettled(reshapeKey{"n", "r"}, w.time.Now())
			w.time.Step(tc.since)
			if tc.others != "" {
				n.reshape("s", v1alpha1.ReshapeMaking, tc.others, "2g.10gb@4")
			}
			n.tell()
			state, p := newState(), w.replicaOn("p", nil)
			if _, s := w.PreFilter(t.Context(), state, p, w.infos()); !s.IsSuccess() {
				t.Fatal(s.Message())
			}
			at := &scene{state: state}
			w.awaitChanges(at, "n", w.time.Now())
			dry, _ := readCycle(at.state)
			if c, _ := readCycle(state); dry.settled != tc.settled || c.settled {
				t.Errorf("the dry run goes by settled cards: %t; the cycle: %t", dry.settled, c.settled)
			}
		})
	}
	w := newWorld(t).sliced()
	w.card("n", sevenths).reshape("s", v1alpha1.ReshapeMaking, "3g.20gb@4", "2g.10gb@4")
	state, p := newState(), w.replicaOn("p", nil)
	if _, s := w.PreFilter(t.Context(), state, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	at := &scene{state: state}
	w.awaitChanges(at, "n", w.time.Now())
	if dry, _ := readCycle(at.state); dry.settled {
		t.Error("a change of slices that the pod does not ask for is awaited")
	}
}
