package ebbtide

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// filterOn returns what Filter says of the pod on the node; empty if it may.
func (w *world) filterOn(p *corev1.Pod, n *node) string {
	w.t.Helper()
	s := newState()
	if _, status := w.PreFilter(w.t.Context(), s, p, w.infos()); !status.IsSuccess() {
		w.t.Fatal(status.Message())
	}
	status := w.Filter(w.t.Context(), s, p, n)
	if !status.IsSuccess() && status.Code() != fwk.Unschedulable {
		w.t.Errorf("code = %v: nothing would be taken back for the pod", status.Code())
	}
	return status.Message()
}

// A loan holds its units from the moment it exists.
func TestUnitsOfOpenLoansAreNotForBarePods(t *testing.T) {
	refusal := func(free, held string) string {
		return free + " units of nvidia.com/gpu are free on the node, and " + held + " are held there for jobs that have yet to start"
	}
	for name, tc := range map[string]struct {
		set   func(w *world, n *node)
		units int64
		want  string
	}{
		"room beside the loan":         {set: func(w *world, n *node) { w.loan("a", 2, 2, lent("n", 4)) }, units: 4},
		"one unit too many":            {set: func(w *world, n *node) { w.loan("a", 2, 2, lent("n", 4)) }, units: 5, want: refusal("8", "4")},
		"own quota is held too":        {set: func(w *world, n *node) { w.loan("a", 2, 2, own("n", 4)) }, units: 5, want: refusal("8", "4")},
		"a part has started":           {set: func(w *world, n *node) { w.borrowed(w.loan("a", 2, 2, lent("n", 4)), "x", n) }, units: 5, want: refusal("6", "2")},
		"all have started":             {set: func(w *world, n *node) { w.fill(w.loan("a", 2, 2, lent("n", 4)), n) }, units: 4},
		"two loans add up":             {set: func(w *world, n *node) { w.loan("a", 1, 2, lent("n", 2)); w.loan("b", 1, 3, lent("n", 3)) }, units: 4, want: refusal("8", "5")},
		"a loan on another node":       {set: func(w *world, n *node) { w.loan("a", 1, 2, lent("m", 2)) }, units: 8},
		"a job that is not yet let go": {set: func(w *world, n *node) { w.loan("a", 1, 2, lent("n", 2)); w.halt("a", true) }, units: 7, want: refusal("8", "2")},
		"a loan that was taken back":   {set: func(w *world, n *node) { w.reclaim(w.t.Context(), w.loan("a", 1, 2, lent("n", 2)), lentMessage) }, units: 8},
		"a loan that was asked back": {set: func(w *world, n *node) {
			w.loan("a", 1, 2, lent("n", 2)).Status.Conditions = []metav1.Condition{condition(v1alpha1.LoanReclaiming, metav1.ConditionTrue, epoch)}
		}, units: 8},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n := w.node("n", 8, 8)
			tc.set(w, n)
			if got := w.filterOn(w.bare("p", v1alpha1.PriorityOnline-1, tc.units, nil), n); got != tc.want {
				t.Errorf("a bare pod: %q, want %q", got, tc.want)
			}
			if got := w.filterOn(w.online("o", tc.units, nil), n); tc.want != "" && got != "" {
				t.Errorf("an online pod: %q", got)
			}
		})
	}
}

// What a loan keeps from a bare pod within quota can be taken back, whether or not
// its pods are there yet.
func TestBarePodsTakeBackWhatLoansKeep(t *testing.T) {
	for name, tc := range map[string]struct {
		set       func(w *world, n *node)
		want      []string
		nominated string
	}{
		"units that no pod took": {set: func(w *world, n *node) { w.loan("a", 2, 2, lent("n", 4)) }, want: []string{"a-1"}, nominated: "n"},
		"units of which some pods took": {
			set:  func(w *world, n *node) { w.borrowed(w.loan("a", 2, 2, lent("n", 4)), "x", n) },
			want: []string{"a-1"}, nominated: "n",
		},
		"no more than needed": {
			set: func(w *world, n *node) {
				w.loan("a", 2, 2, lent("n", 4))
				w.time.Step(time.Minute)
				w.loan("b", 2, 1, lent("n", 2))
			},
			want: []string{"b-1"}, nominated: "n",
		},
		"not what is the borrower's own": {set: func(w *world, n *node) { w.loan("a", 4, 1, own("n", 4)) }},
		"beside what is": {
			set:  func(w *world, n *node) { w.loan("a", 1, 2, own("n", 2)); w.loan("b", 6, 1, lent("n", 6)) },
			want: []string{"b-1"}, nominated: "n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n := w.node("n", 8, 64)
			tc.set(w, n)
			p := w.bare("p", 0, 5, nil)
			if name == "no more than needed" {
				request(p, gpu, 4)
			}
			w.schedule(p)
			w.checkTaken()
			w.time.Step(w.args.TakeBackAfter)
			_, result, status := w.schedule(p)
			if w.checkTaken(tc.want...); tc.nominated != "" {
				w.checkNominated(result, status, tc.nominated)
			} else if status.IsSuccess() {
				t.Errorf("promised %s", result.NominatedNodeName)
			}
			for _, x := range w.nodes {
				x.pods = without(map[string][]fwk.PodInfo{"": x.pods}, w.named("x"))[""]
			}
			if placed, _, s := w.schedule(p); tc.nominated != placed {
				t.Errorf("placed on %q in the end: %s", placed, s.Message())
			}
		})
	}
}

// named returns a pod of research by its name, or an empty one.
func (w *world) named(name string) *corev1.Pod {
	if obj, exists, _ := w.pods.GetByKey("research/" + name); exists {
		return obj.(*corev1.Pod)
	}
	return &corev1.Pod{}
}

// reclaimedFor asks the loan back for a job.
func reclaimedFor(loan *v1alpha1.Loan, job types.UID, conditions ...metav1.Condition) *v1alpha1.Loan {
	now := loan.DeepCopy()
	by := metav1.NewTime(epoch.Add(20 * time.Second))
	now.Status = v1alpha1.LoanStatus{ReclaimedFor: job, ReclaimBy: &by, Conditions: conditions}
	return now
}

func TestHoldEnds(t *testing.T) {
	asked := condition(v1alpha1.LoanReclaiming, metav1.ConditionTrue, epoch)
	returned := condition(v1alpha1.LoanReturned, metav1.ConditionTrue, epoch.Add(5*time.Second))
	silent := reclaimedFor(&v1alpha1.Loan{}, "job", asked)
	silent.Status.ReclaimBy = nil
	for name, tc := range map[string]struct {
		loan     *v1alpha1.Loan
		want     time.Duration // after the epoch; 0: nothing is held
		wantGone bool
	}{
		"for nobody in particular":    {loan: reclaimedFor(&v1alpha1.Loan{}, "", asked)},
		"not asked back":              {loan: reclaimedFor(&v1alpha1.Loan{}, "job")},
		"asked back":                  {loan: reclaimedFor(&v1alpha1.Loan{}, "job", asked), want: 35 * time.Second},
		"asked back without an until": {loan: silent, want: 75 * time.Second},
		"returned":                    {loan: reclaimedFor(&v1alpha1.Loan{}, "job", asked, returned), want: 20 * time.Second, wantGone: true},
	} {
		t.Run(name, func(t *testing.T) {
			ends, gone, ok := holdEnds(tc.loan, time.Minute)
			if ok != (tc.want > 0) || ok && (!ends.Equal(epoch.Add(tc.want)) || gone != tc.wantGone) {
				t.Errorf("holdEnds = %v, %v, %v", ends, gone, ok)
			}
		})
	}
}

// What was taken back for a job stays free for it, from when it is asked back until
// the job is admitted, and not for ever.
func TestUnitsTakenBackForAJobAreHeldForIt(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 64)
	loan := w.loan("a", 1, 8, lent("n", 8))
	victim := w.borrowed(loan, "x", n)
	loans := w.onLoan(klog.Background())
	loans.OnAdd(loan, true)
	update := func(now *v1alpha1.Loan) {
		before, _, _ := w.loans.Get(now)
		must(t, w.loans.Update(now))
		loans.OnUpdate(before, now)
	}
	remove := func(l *v1alpha1.Loan) {
		must(t, w.loans.Delete(l))
		loans.OnDelete(l)
	}
	p := w.bare("thief", 0, 1, nil)
	check := func(when string, held bool) {
		t.Helper()
		if got := w.filterOn(p, n); (got != "") != held {
			t.Errorf("%s: %q, held = %v", when, got, held)
		}
		if got := w.filterOn(w.online("online", 1, nil), n); got != "" {
			t.Errorf("%s: an online pod is refused: %s", when, got)
		}
	}
	asked := reclaimedFor(loan, "job-next", condition(v1alpha1.LoanReclaiming, metav1.ConditionTrue, epoch))
	update(asked)
	n.pods = nil // the victim has stopped
	must(t, w.pods.Delete(victim))
	check("free, and not yet returned", true)
	w.time.Step(10 * time.Second)
	remove(asked)
	check("returned", true)

	t.Run("until it ends", func(t *testing.T) {
		w.time.Step(holdFor - time.Second)
		check("nearly over", true)
		w.activated = nil
		w.time.Step(time.Second)
		check("over", false)
		if diff := cmp.Diff([]string{"serving/thief"}, w.activated); diff != "" {
			t.Errorf("activated (-want +got):\n%s", diff)
		}
		if len(w.holds.loans)+len(w.holds.nodes) > 0 || w.holds.any.Load() != 0 {
			t.Error("a hold is left")
		}
	})
	t.Run("until the job is admitted elsewhere", func(t *testing.T) {
		asked.Status.ReclaimBy.Time = w.time.Now().Add(20 * time.Second)
		must(t, w.loans.Add(asked))
		loans.OnAdd(asked, false)
		check("asked back again", true)
		w.activated = nil
		next := w.loan("next", 1, 8, lent("m", 8))
		loans.OnAdd(next, false)
		check("admitted", false)
		if diff := cmp.Diff([]string{"serving/thief"}, w.activated); diff != "" {
			t.Errorf("activated (-want +got):\n%s", diff)
		}
		update(reclaimedFor(loan, "job-next", condition(v1alpha1.LoanReclaiming, metav1.ConditionTrue, w.time.Now())))
		check("the loan changed after that", false)
		remove(asked)
		check("and went", false)
		remove(next)
	})
	t.Run("until it is given up", func(t *testing.T) {
		must(t, w.loans.Add(asked))
		asked.Status.ReclaimBy.Time = w.time.Now().Add(20 * time.Second)
		loans.OnAdd(asked, false)
		check("asked back", true)
		update(reclaimedFor(loan, "", condition(v1alpha1.LoanReclaiming, metav1.ConditionTrue, w.time.Now())))
		check("for an online service instead", false)
	})
	t.Run("though nobody says that it is returned", func(t *testing.T) {
		asked.Status.ReclaimBy.Time = w.time.Now().Add(20 * time.Second)
		update(asked)
		w.time.Step(20*time.Second + holdFor - time.Second)
		check("late", true)
		w.time.Step(time.Second)
		check("too late", false)
	})
}

// A pod that waits for a victim's units is not promised those that are for a job.
func TestNoPromiseOfUnitsThatAreHeld(t *testing.T) {
	w := newWorld(t)
	loan := w.fill(w.loan("a", 1, 8, lent("n", 8)), w.node("n", 8, 64))
	asked := reclaimedFor(loan, "job-next", condition(v1alpha1.LoanReclaiming, metav1.ConditionTrue, epoch))
	must(t, w.loans.Update(asked))
	w.onLoan(klog.Background()).OnUpdate(loan, asked)
	p := w.bare("p", 0, 1, nil)
	for range 3 {
		if _, result, status := w.schedule(p); status.IsSuccess() {
			t.Fatalf("promised %s", result.NominatedNodeName)
		}
		w.time.Step(w.args.TakeBackAfter)
	}
	_, result, status := w.schedule(w.online("o", 1, nil))
	w.checkNominated(result, status, "n")
	w.checkTaken()
}
