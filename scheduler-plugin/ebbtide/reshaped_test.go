package ebbtide

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

const (
	idleFour = "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3"
	night    = "4g.20gb@0 1g.5gb@4 1g.5gb@5 1g.5gb@6"
)

// nightCard is an A100 whose three pinned slices serve and whose other four were made
// into one.
func (w *world) nightCard(name, id, state string) *card {
	n := w.card(name, night).pin("1g.5gb@4 1g.5gb@5 1g.5gb@6")
	for i := range 3 {
		n.hold(fmt.Sprint("1g.5gb@", i+4), w.replicaOn(fmt.Sprint(name, "-chat-", i), n.node))
	}
	n.reshape(id, state, idleFour, "4g.20gb@0")
	return n
}

// bigLoan is a loan of what was made, with its pod there.
func (w *world) bigLoan(name string, n *card) *v1alpha1.Loan {
	l := w.sliceLoan(name, fourG, "a100-4g", 1, n.node.node.Name)
	n.hold("4g.20gb@0", w.workerOn(l, name+"-0", n.node))
	return l
}

// wantedUndone returns what the API says is to be undone, after a sweep.
func (w *world) wantedUndone() []string {
	w.t.Helper()
	must(w.t, w.sweep(w.t.Context()))
	var out []string
	for _, gn := range w.gpuNodes {
		obj, err := w.dynamic.Tracker().Get(gpuNodes, "", gn.Name)
		must(w.t, err)
		now := &v1alpha1.GPUNode{}
		must(w.t, runtime.DefaultUnstructuredConverter.FromUnstructured(obj.(*unstructured.Unstructured).Object, now))
		for _, r := range now.Spec.Reshapes {
			if r.Undo {
				out = append(out, gn.Name+"/"+r.ID)
			}
		}
	}
	return out
}

func (w *world) checkUndone(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.wantedUndone()); diff != "" {
		w.t.Errorf("to be undone (-want +got):\n%s", diff)
	}
}

// waitFor lets the pod wait until its patience ends.
func (w *world) waitFor(p *corev1.Pod) (*fwk.PostFilterResult, *fwk.Status) {
	w.schedule(p)
	w.time.Step(w.args.TakeBackAfter)
	_, result, status := w.schedule(p)
	return result, status
}

func TestTakeBackReshaped(t *testing.T) {
	for name, tc := range map[string]struct {
		set       func(w *world) *corev1.Pod
		want      []string // loans taken back
		undone    []string
		nominated string
		reason    string
	}{
		"the loan that has it goes, and it is undone": {
			set: func(w *world) *corev1.Pod {
				w.bigLoan("big", w.nightCard("n", "r", v1alpha1.ReshapeMade))
				return w.replicaOn("p", nil)
			},
			want: []string{"big-1"}, undone: []string{"n/r"}, nominated: "n",
		},
		"one that nobody has goes before any loan": {
			set: func(w *world) *corev1.Pod {
				w.bigLoan("big", w.nightCard("m", "s", v1alpha1.ReshapeMade))
				w.nightCard("n", "r", v1alpha1.ReshapeMade)
				return w.replicaOn("p", nil)
			},
			undone: []string{"n/r"}, nominated: "n",
		},
		"one of two is enough": {
			set: func(w *world) *corev1.Pod {
				w.nightCard("m", "s", v1alpha1.ReshapeMade)
				w.nightCard("n", "r", v1alpha1.ReshapeMade)
				return w.replicaOn("p", nil)
			},
			undone: []string{"m/s"}, nominated: "m",
		},
		"one that is being made": {
			set: func(w *world) *corev1.Pod {
				n := w.nightCard("n", "r", v1alpha1.ReshapeMaking)
				n.cut("1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5 1g.5gb@6")
				n.tell()
				return w.replicaOn("p", nil)
			},
			undone: []string{"n/r"}, nominated: "n",
		},
		"one that is wanted": {
			set: func(w *world) *corev1.Pod {
				n := w.nightCard("n", "r", "")
				n.cut(sevenths)
				n.tell()
				return w.replicaOn("p", nil)
			},
			undone: []string{"n/r"}, nominated: "n",
		},
		"the loan whose pods have yet to come": {
			set: func(w *world) *corev1.Pod {
				w.nightCard("n", "r", v1alpha1.ReshapeMade)
				w.sliceLoan("big", fourG, "a100-4g", 1, "n")
				return w.replicaOn("p", nil)
			},
			want: []string{"big-1"}, undone: []string{"n/r"}, nominated: "n",
		},
		"a loan that is on its way out, and nobody undoes it": {
			set: func(w *world) *corev1.Pod {
				n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
				l := w.bigLoan("big", n)
				reclaiming(w, l, w.time.Now())
				w.bigLoan("other", w.nightCard("o", "s", v1alpha1.ReshapeMade))
				return w.replicaOn("p", nil)
			},
			undone: []string{"n/r"}, nominated: "n",
		},
		"slices that another lender gave": {
			set: func(w *world) *corev1.Pod {
				n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
				n.gn.Spec.Reshapes[0].Lender = "elsewhere/svc"
				n.tell()
				l := w.sliceLoan("big", fourG, "a100-4g", 1, "n")
				l.Spec.Grants[0].Lender = "elsewhere/svc"
				n.hold("4g.20gb@0", w.workerOn(l, "big-0", n.node))
				return w.replicaOn("p", nil)
			},
			want: []string{"big-1"}, undone: []string{"n/r"}, nominated: "n",
		},
		"it is stuck": {
			set: func(w *world) *corev1.Pod {
				w.nightCard("n", "r", v1alpha1.ReshapeStuck)
				return w.replicaOn("p", nil)
			},
			reason: "would not fit",
		},
		"the node's agent is silent": {
			set: func(w *world) *corev1.Pod {
				w.bigLoan("big", w.nightCard("n", "r", v1alpha1.ReshapeMade))
				w.time.Step(time.Hour)
				return w.replicaOn("p", nil)
			},
			reason: "would not fit",
		},
		"the node's clock is slow": {
			set: func(w *world) *corev1.Pod {
				n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
				n.tellBy(-3 * time.Minute)
				return w.replicaOn("p", nil)
			},
			undone: []string{"n/r"}, nominated: "n",
		},
		"the node's agent is silent, and its clock was fast": {
			set: func(w *world) *corev1.Pod {
				n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
				n.tellBy(time.Hour)
				w.time.Step(v1alpha1.SilentAfter + time.Second)
				return w.replicaOn("p", nil)
			},
			reason: "would not fit",
		},
		"it was refused": {
			set: func(w *world) *corev1.Pod {
				n := w.card("n", sevenths)
				for i := range 7 {
					n.hold(fmt.Sprint("1g.5gb@", i), w.replicaOn(fmt.Sprint("chat-", i), n.node))
				}
				n.reshape("r", v1alpha1.ReshapeRefused, idleFour, "4g.20gb@0")
				return w.replicaOn("p", nil)
			},
			reason: "would not fit",
		},
		"somebody who stays has it": {
			set: func(w *world) *corev1.Pod {
				n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
				n.hold("4g.20gb@0", w.slices("x", "serving", v1alpha1.PriorityOnline, fourG, 1, n.node))
				return w.replicaOn("p", nil)
			},
			reason: "would not fit",
		},
		"it would not be enough": {
			set: func(w *world) *corev1.Pod {
				w.bigLoan("big", w.nightCard("n", "r", v1alpha1.ReshapeMade))
				return w.slices("p", "serving", v1alpha1.PriorityOnline, oneG, 5, nil)
			},
			reason: "would not fit",
		},
		"what was made is not for services": {
			set: func(w *world) *corev1.Pod {
				w.bigLoan("big", w.nightCard("n", "r", v1alpha1.ReshapeMade))
				return w.slices("p", "serving", v1alpha1.PriorityOnline, fourG, 1, nil)
			},
			reason: "would not fit",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).sliced()
			p := tc.set(w)
			result, status := w.waitFor(p)
			if tc.nominated != "" {
				w.checkNominated(result, status, tc.nominated)
			} else if !strings.Contains(status.Message(), tc.reason) {
				t.Errorf("the pod is told %q, want %q", status.Message(), tc.reason)
			}
			w.checkTaken(tc.want...)
			w.checkUndone(tc.undone...)
		})
	}
}

// reclaiming lets the broker ask the loan back.
func reclaiming(w *world, l *v1alpha1.Loan, since time.Time) {
	by := metav1.NewTime(since.Add(20 * time.Second))
	l.Status.ReclaimBy = &by
	l.Status.Conditions = []metav1.Condition{{Type: v1alpha1.LoanReclaiming, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(since)}}
	must(w.t, w.loans.Update(l))
}

// A loan of two slices of which one pod runs is in the way of two cards, and no more.
func TestLoanThatIsHalfThere(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
	for i, id := range []string{"s", "u"} { // two more cards, with nothing else on them
		gpu := *n.gn.Status.GPUs[0].DeepCopy()
		gpu.UUID, gpu.Instances = fmt.Sprint("GPU-more-", i), gpu.Instances[:1]
		n.gn.Status.GPUs = append(n.gn.Status.GPUs, gpu)
		r := n.gn.Spec.Reshapes[0]
		r.ID, r.GPU = id, gpu.UUID
		n.gn.Spec.Reshapes = append(n.gn.Spec.Reshapes, r)
		n.gn.Status.Reshapes = append(n.gn.Status.Reshapes, v1alpha1.ReshapeStatus{ID: id, State: v1alpha1.ReshapeMade})
	}
	n.allocatable[fourG] = 3
	l := w.sliceLoan("big", fourG, "a100-4g", 2, "n")
	n.hold("4g.20gb@0", w.workerOn(l, "big-0", n.node))
	p := w.slices("p", "serving", v1alpha1.PriorityOnline, oneG, 8, nil) // more than one card has
	result, status := w.waitFor(p)
	w.checkNominated(result, status, "n")
	w.checkTaken("big-1")
	w.checkUndone("n/r", "n/s")
}

// Of four slices that come back, four pods are served, and nothing else is taken.
func TestWhatComesBackIsForAllThatWait(t *testing.T) {
	w := newWorld(t).sliced()
	w.bigLoan("big", w.nightCard("n", "r", v1alpha1.ReshapeMade))
	w.bigLoan("other", w.nightCard("o", "s", v1alpha1.ReshapeMade))
	w.time.Step(time.Minute)
	var pods []*corev1.Pod
	for i := range 4 {
		pods = append(pods, w.replicaOn(fmt.Sprint("p-", i), nil))
		w.schedule(pods[i])
	}
	w.time.Step(w.args.TakeBackAfter)
	for _, p := range pods {
		_, result, status := w.schedule(p)
		w.checkNominated(result, status, "n")
	}
	w.checkTaken("big-1")
	w.checkUndone("n/r")
}

// Nothing is evicted while a reshape is being undone that is enough; and when it takes too
// long, nobody waits for it any more.
func TestUndoUnderWay(t *testing.T) {
	testUndoUnderWay(t, func(_ *world, n *card) { n.gn.Spec.Reshapes[0].Undo = true }) // the broker asked for it
	testUndoUnderWay(t, func(w *world, _ *card) { w.undo(w.t.Context(), reshapeKey{"n", "r"}) })
}

func testUndoUnderWay(t *testing.T, ask func(*world, *card)) {
	w := newWorld(t).sliced()
	n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
	o := w.nightCard("o", "s", v1alpha1.ReshapeMade)
	w.bigLoan("other", o)
	ask(w, n)
	n.tell()
	p := w.replicaOn("p", nil)
	_, result, status := w.schedule(p)
	w.checkNominated(result, status, "n")
	w.time.Step(assumedUndo + overdue)
	n.tell()
	o.tell()
	_, result, status = w.schedule(p)
	w.checkNominated(result, status, "n")
	w.checkTaken()
	w.time.Step(time.Second)
	_, result, status = w.schedule(p)
	w.checkNominated(result, status, "o")
	w.checkTaken("other-1")
	w.checkUndone("n/r", "o/s")
}

// The whole way back: the loan's pod goes, the agent brings the slices back, and the pod
// that waits is tried again and gets one of them.
func TestWayBack(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
	l := w.bigLoan("big", n)
	p := w.replicaOn("p", nil)
	w.waitFor(p)
	w.checkUndone("n/r")
	n.gn.Spec.Reshapes[0].Undo = true
	n.tell()
	w.annotate("big", v1alpha1.AnnotationTakenBack, "1")
	w.restart() // its pod still runs, and nobody remembers but the API
	_, result, status := w.schedule(p)
	w.checkNominated(result, status, "n")
	w.remove(w.named("big-0"), n.node)
	must(t, w.loans.Delete(l))
	_, result, status = w.schedule(p)
	w.checkNominated(result, status, "n")

	w.activated = nil
	n.gn.Status.Reshapes[0].State = v1alpha1.ReshapeUndone
	n.cut(sevenths)
	for i := range 4 {
		n.gn.Status.GPUs[0].Instances[i].Generation = 2
	}
	n.tell()
	if diff := cmp.Diff([]string{"serving/p"}, w.activated); diff != "" {
		t.Errorf("activated when the slices were back (-want +got):\n%s", diff)
	}
	if got := placesOf(w.bind(p)); got != "1g@3#2" {
		t.Errorf("the pod gets %q", got)
	}
}

func TestWriteUndo(t *testing.T) {
	for name, tc := range map[string]struct {
		conflicts int
		err       error
		set       func(w *world, n *card)
		want      []string
		fails     bool
	}{
		"at once":              {want: []string{"n/r"}},
		"others write too":     {conflicts: 3, want: []string{"n/r"}},
		"too many others":      {conflicts: 4, fails: true},
		"it may not":           {err: apierrors.NewForbidden(gpuNodes.GroupResource(), "n", nil), fails: true},
		"it is over meanwhile": {set: func(w *world, n *card) { n.gn.Spec.Reshapes = nil; n.seen() }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).sliced()
			n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
			w.undo(t.Context(), reshapeKey{"n", "r"})
			if tc.set != nil {
				tc.set(w, n)
			}
			w.dynamic.PrependReactor("update", "gpunodes", func(clienttesting.Action) (bool, runtime.Object, error) {
				if tc.conflicts > 0 {
					tc.conflicts--
					return true, nil, apierrors.NewConflict(gpuNodes.GroupResource(), "n", nil)
				}
				return tc.err != nil, nil, tc.err
			})
			err := w.sweep(t.Context())
			if (err != nil) != tc.fails {
				t.Errorf("the sweep returns %v", err)
			}
			if tc.fails {
				if !w.undos.has(reshapeKey{"n", "r"}) {
					t.Error("the undo was forgotten")
				}
				return
			}
			w.checkUndone(tc.want...)
			before := len(w.calls)
			w.checkUndone(tc.want...)
			if len(w.calls) != before {
				t.Errorf("written again: %v", w.calls[before:])
			}
		})
	}
}

// The undo changes nothing else of the object, also what this program does not know.
func TestUndoKeepsTheRest(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
	n.reshape("later", "", "1g.5gb@4", "1g.5gb+me@4")
	obj, err := w.dynamic.Tracker().Get(gpuNodes, "", "n")
	must(t, err)
	before := obj.(*unstructured.Unstructured).DeepCopy()
	must(t, unstructured.SetNestedField(before.Object, "of a later version", "spec", "unheardOf"))
	w.putObject(gpuNodes, before.DeepCopy())
	w.undo(t.Context(), reshapeKey{"n", "r"})
	w.checkUndone("n/r")
	list, _, err := unstructured.NestedSlice(before.Object, "spec", "reshapes")
	must(t, err)
	list[0].(map[string]any)["undo"] = true
	must(t, unstructured.SetNestedSlice(before.Object, list, "spec", "reshapes"))
	after, err := w.dynamic.Tracker().Get(gpuNodes, "", "n")
	must(t, err)
	if diff := cmp.Diff(before.Object, after.(*unstructured.Unstructured).Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A card that was made into one slice has none of what the pod asks for, of which the
// filters say that nothing helps.
func TestReshapedWhole(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", "7g.40gb@0")
	n.reshape("r", v1alpha1.ReshapeMade, sevenths, "7g.40gb@0")
	p := w.replicaOn("p", nil)
	w.sync()
	state := newState()
	if _, s := w.PreFilter(t.Context(), state, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	refused := statuses{"n": fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "Insufficient "+oneG)}
	w.makeRoom(state, p, refused)
	w.time.Step(w.args.TakeBackAfter)
	result, status := w.makeRoom(state, p, refused)
	w.checkNominated(result, status, "n")
	w.checkUndone("n/r")
}

// A gang that needs more than one card gets both, or nothing is undone.
func TestReshapedForAGroup(t *testing.T) {
	for pods, want := range map[int][]string{6: {"n/r", "o/s"}, 9: nil} {
		w := newWorld(t).sliced()
		w.nightCard("n", "r", v1alpha1.ReshapeMade)
		w.nightCard("o", "s", v1alpha1.ReshapeMade)
		w.serveGroups(gangGroup("g", int32(pods)))
		members := w.members("g", pods, 0)
		for _, p := range members {
			delete(p.Spec.Containers[0].Resources.Requests, gpu)
			request(p, oneG, 1)
			w.put(p)
		}
		w.waitFor(members[0])
		w.checkUndone(want...)
	}
}

// What the Loan says is what its pods get: the broker has taken off it what undoing takes,
// and nothing is taken off it again.
func TestGraceWhileReshaped(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.nightCard("n", "r", v1alpha1.ReshapeMade)
	n.gn.Spec.Reshapes[0].UndoSeconds = 20
	n.tell()
	l := w.bigLoan("big", n)
	for maxGrace, want := range map[time.Duration]time.Duration{
		40 * time.Second: 40 * time.Second,
		time.Second:      time.Second,
		2 * time.Minute:  w.args.MaxGrace,
		0:                w.args.MaxGrace,
	} {
		l.Spec.MaxGrace.Duration = maxGrace
		if got := w.longestGrace(l); got != want {
			t.Errorf("of %s there are %s, want %s", maxGrace, got, want)
		}
	}
}
