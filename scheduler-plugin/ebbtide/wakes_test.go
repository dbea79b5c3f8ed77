package ebbtide

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// woken returns the pods that were activated since it was asked last, each once, a sweep
// included.
func (w *world) woken() []string {
	w.t.Helper()
	must(w.t, w.sweep(w.t.Context()))
	out := slices.Compact(w.activated)
	w.activated = nil
	return out
}

func (w *world) wants(when string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.woken()); diff != "" {
		w.t.Errorf("%s: woken (-want +got):\n%s", when, diff)
	}
}

// refuses runs a cycle of the pod, which must find no place.
func (w *world) refuses(p *corev1.Pod) {
	w.t.Helper()
	if placed, _, _ := w.schedule(p); placed != "" {
		w.t.Fatalf("pod %s is placed on %s", p.Name, placed)
	}
	w.put(p)
}

// places runs a cycle of the pod, which must find one.
func (w *world) places(p *corev1.Pod) {
	w.t.Helper()
	if placed, _, status := w.schedule(p); placed == "" {
		w.t.Fatalf("pod %s is not placed: %s", p.Name, status.Message())
	}
}

// loanBecomes stores the loan's next state and tells the plugin.
func (w *world) loanBecomes(l *v1alpha1.Loan, set func(*v1alpha1.Loan)) *v1alpha1.Loan {
	w.t.Helper()
	next := l.DeepCopy()
	set(next)
	must(w.t, w.loans.Update(next))
	w.onLoan(klog.Background()).OnUpdate(l, next)
	return next
}

func shedding(grants ...v1alpha1.Grant) func(*v1alpha1.Loan) {
	for i := range grants {
		grants[i].Flavor = "h100"
	}
	return func(l *v1alpha1.Loan) { l.Status.Shedding = grants }
}

// What an earlier loan no longer keeps is for a later one, and for others, although no pod
// has left. What it may use again is for its own pods.
func TestLoanThatKeepsLessLetsOthersIn(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 4, 8)
	first := w.loan("a", 4, 1, lent("n", 4))
	w.time.Step(1e9)
	later := w.loan("b", 2, 1, lent("n", 4))
	bare := w.pod("bare", "serving", 0, 2, nil)
	behind := w.borrowed(later, "b-0", nil)
	w.refuses(behind)
	w.refuses(bare)
	w.woken()
	first = w.loanBecomes(first, shedding(lent("n", 2)))
	w.wants("two of four are shed", "research/b-0", "serving/bare")
	w.places(behind)
	for _, name := range []string{"a-0", "a-1"} {
		w.borrowed(first, name, n)
	}
	waits := w.borrowed(first, "a-2", nil)
	w.refuses(waits)
	w.woken()
	w.loanBecomes(first, shedding(lent("n", 1)))
	w.wants("one of the two is not", "research/a-2")
	w.places(waits)
}

// A gang that is turned away because its loan became smaller tries again: it may be whole.
func TestGangOfALoanThatShrinksTriesAgain(t *testing.T) {
	w := newWorld(t)
	w.node("n", 4, 8)
	l := w.loan("a", 3, 1, lent("n", 2), lent("m", 1))
	w.admit(l, "p0")
	w.admit(l, "p1")
	w.woken()
	w.loanBecomes(l, shedding(lent("m", 1)))
	const smaller = "the loan of this job has become smaller (attempt 1)"
	if diff := cmp.Diff(map[string]string{"p0": smaller, "p1": smaller}, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
	w.wants("the last pod is not wanted any more", "research/p0", "research/p1")
}

// A loan that was deleted and made anew while nobody looked is another one.
func TestLoanMadeAnewWakesItsPods(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 4, 8)
	w.online("x", 1, n)
	l := w.loan("a", 1, 4, lent("n", 4))
	p := w.borrowed(l, "a-0", nil)
	w.refuses(p)
	w.woken()
	w.node("m", 4, 8)
	w.loanBecomes(l, func(l *v1alpha1.Loan) { l.UID, l.Spec.Grants[0].Node = "anew", "m" })
	w.wants("the new loan is on another node", "research/a-0")
	w.places(p)
}

// A pod that was deleted and made anew while nobody looked is another one: what the first
// used is free.
func TestPodMadeAnewUsesWhatItUses(t *testing.T) {
	w := newWorld(t)
	w.tenant("serving", 4)
	n := w.node("n", 8, 64)
	w.serveGroups(gangGroup("g", 2))
	old := w.online("set-0", 4, n)
	waits := w.online("waits", 2, nil)
	w.refuses(waits)
	members := w.members("g", 1, 1)
	w.refuses(members[0])
	w.woken()
	n.pods = nil
	anew := w.online("set-0", 1, n)
	anew.UID = "anew"
	w.put(anew)
	delete(w.podsSynced, old.UID) // nobody tells the account of it
	w.onPod(klog.Background()).OnUpdate(old, anew)
	w.wants("it uses less", "serving/waits")
	w.places(waits)

	old, anew = anew, anew.DeepCopy()
	anew.UID, anew.Spec.SchedulingGroup = "of the group", members[0].Spec.SchedulingGroup
	w.put(anew)
	delete(w.podsSynced, old.UID)
	w.onPod(klog.Background()).OnUpdate(old, anew)
	w.wants("it is the last of a group", "serving/g-0")
}

// Whoever is woken for quota and goes before it was tried wakes those behind it.
func TestPodsThatGoPassTheirTurnOn(t *testing.T) {
	for how, goes := range map[string]func(w *world, p *corev1.Pod){
		"gone": func(w *world, p *corev1.Pod) {
			must(w.t, w.pods.Delete(p))
			w.onPod(klog.Background()).OnDelete(p)
		},
		"on its way": func(w *world, p *corev1.Pod) {
			old := p.DeepCopy()
			w.leave(p, epoch)
			w.put(p)
			w.onPod(klog.Background()).OnUpdate(old, p)
		},
	} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			n := w.node("n", 80, 64)
			holds := w.online("holds", 64, n)
			var first []*corev1.Pod
			for i := range wakeAtOnce {
				first = append(first, w.online(fmt.Sprint("first-", i), 1, nil))
				w.refuses(first[i])
			}
			w.time.Step(1e9)
			w.refuses(w.online("last", 1, nil))
			w.woken()
			n.pods = nil
			must(t, w.pods.Delete(holds))
			w.onPod(klog.Background()).OnDelete(holds)
			if slices.Contains(w.woken(), "serving/last") {
				t.Fatal("all are woken at once")
			}
			for _, p := range first {
				goes(w, p)
			}
			if !slices.Contains(w.woken(), "serving/last") {
				t.Error("the last is not woken")
			}
		})
	}
}

// A pod of a group that asks for no units is bound without a word to Permit; those that
// wait for it there go then.
func TestBoundPodWithoutUnitsCompletesItsGroup(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 8)
	w.serveGroups(gangGroup("g", 2))
	pods := w.members("g", 2, 1)
	delete(pods[1].Spec.Containers[0].Resources.Requests, gpu)
	w.put(pods[1])
	if _, s := w.tryPlace(pods[0]); !s.IsWait() {
		t.Fatalf("the first does not wait: %v %q", s.Code(), s.Message())
	}
	old := pods[1].DeepCopy()
	pods[1].Spec.NodeName = n.node.Name
	w.put(pods[1])
	w.onPod(klog.Background()).OnUpdate(old, pods[1])
	if diff := cmp.Diff(map[string]string{"g-0": "allowed"}, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
	if w.time.HasWaiters() {
		t.Error("the alarm is still set")
	}
}

func TestGroupMadeAnewIsAnother(t *testing.T) {
	w := newWorld(t)
	w.node("n", 8, 8)
	old, anew := gangGroup("g", 3), gangGroup("g", 2)
	anew.UID = "anew"
	groups := w.serveGroups(old)
	for _, p := range w.members("g", 2, 1) {
		w.refuses(p)
	}
	w.woken()
	must(t, groups.Update(anew))
	w.onPodGroup(klog.Background()).OnUpdate(old, anew)
	w.wants("two are enough for it", "serving/g-0", "serving/g-1")
}

// A gang can become complete while a pod is on its way from Permit to its wait: nobody can
// let it go just then, and it goes a moment later.
func TestPodThatDoesNotWaitYetIsLetGo(t *testing.T) {
	w := newWorld(t)
	w.node("n", 8, 8)
	l := w.loan("a", 2, 1, lent("n", 2))
	p := w.borrowed(l, "p0", nil)
	if _, s := w.tryPlace(p); !s.IsWait() {
		t.Fatalf("it does not wait: %v %q", s.Code(), s.Message())
	}
	delete(w.permits, p.UID)
	old := w.jobNow("a")
	job := old.DeepCopy()
	job.Spec.Completions, job.Status.Succeeded = ptr.To[int32](2), 1
	w.putJob(job)
	w.onJob(klog.Background()).OnUpdate(old, job)
	w.permits[p.UID] = &permit{pod: p}
	must(t, w.sweep(t.Context()))
	if diff := cmp.Diff(map[string]string{"p0": "allowed"}, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
}
