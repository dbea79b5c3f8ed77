package ebbtide

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// A pod that turns out to be a loan's is what that loan has on the node, and not one more
// that stands there; and it can be taken back.
func TestPodsThatTurnOutToBeALoansLetOthersIn(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 4, 8)
	l := w.loanOf(kindJobSet, "/spec/suspend", "a", 2, lent("n", 2))
	for _, name := range []string{"a-0", "a-1"} {
		w.worker(l, name, n)
	}
	bare, online := w.pod("bare", "serving", 0, 2, nil), w.online("online", 4, nil)
	w.refuses(bare)
	w.refuses(online)
	w.time.Step(w.args.TakeBackAfter)
	w.refuses(online)
	w.woken()
	child := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a-workers-0", UID: "child-a"}}
	controlledBy(child, kindJobSet, "a", l.Spec.Job.UID)
	w.onJob(klog.Background()).OnAdd(child, false)
	w.wants("they are the loan's", "serving/bare", "serving/online")
	w.refuses(online)
	if got := w.takenNames(); len(got) != 1 {
		t.Errorf("taken back for the online pod: %v", got)
	}
}

// What a loan kept for pods that have yet to start is for others as soon as it gets none.
func TestLoansThatGetNoMorePodsLetOthersIn(t *testing.T) {
	lead := func(w *world) (*v1alpha1.Loan, *corev1.Pod) {
		p := w.queuedPod("lead", "g", nil)
		p.Spec.NodeName = "elsewhere"
		w.put(p)
		l := w.loan("a", 2, 1, lent("n", 2))
		w.forJob(l, v1alpha1.JobRef{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID, PodGroup: "g"})
		return l, p
	}
	for name, tc := range map[string]struct {
		begin func(w *world) (*v1alpha1.Loan, *corev1.Pod)
		end   func(w *world, l *v1alpha1.Loan, p *corev1.Pod)
		want  []string
	}{
		"it is taken back": {
			begin: func(w *world) (*v1alpha1.Loan, *corev1.Pod) { return w.loan("a", 2, 1, lent("n", 2)), nil },
			end:   func(w *world, l *v1alpha1.Loan, _ *corev1.Pod) { w.reclaim(w.t.Context(), l, lentMessage) },
			want:  []string{"research/b-0", "serving/bare"},
		},
		"its lead has ended": {
			begin: lead,
			end: func(w *world, _ *v1alpha1.Loan, p *corev1.Pod) {
				old := p.DeepCopy()
				p.Status.Phase = corev1.PodFailed
				w.put(p)
				w.onPod(klog.Background()).OnUpdate(old, p)
			},
			want: []string{"research/b-0", "serving/bare"},
		},
		"its lead is gone": {
			begin: lead,
			end: func(w *world, _ *v1alpha1.Loan, p *corev1.Pod) {
				must(w.t, w.pods.Delete(p))
				w.onPod(klog.Background()).OnDelete(p)
			},
			want: []string{"research/b-0", "serving/bare"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.node("n", 2, 8)
			l, p := tc.begin(w)
			w.time.Step(1e9)
			behind, bare := w.borrowed(w.loan("b", 1, 1, lent("n", 2)), "b-0", nil), w.pod("bare", "serving", 0, 2, nil)
			w.refuses(behind)
			w.refuses(bare)
			w.woken()
			tc.end(w, l, p)
			w.wants("the loan gets no more pods", tc.want...)
			w.places(behind)
		})
	}
}

// A pod that changes whose it is, is tried as what it is now, although the scheduler's queue
// may not have heard of that yet.
func TestPodsThatChangeWhoseTheyAreAreWoken(t *testing.T) {
	w := newWorld(t)
	w.node("n", 4, 8)
	old := w.queuedPod("p", "", nil)
	old.Labels = nil
	ownedBy(old, "gone", "gone")
	w.put(old)
	w.sync()
	if s := w.Ebbtide.PreEnqueue(t.Context(), old); s.IsSuccess() {
		t.Fatal("a pod of a job that is not known is let in")
	}
	w.woken()
	now := old.DeepCopy()
	now.OwnerReferences = nil
	w.put(now)
	w.onPod(klog.Background()).OnUpdate(old, now)
	w.wants("it is nobody's now", "research/p")
	if s := w.Ebbtide.PreEnqueue(t.Context(), old); !s.IsSuccess() {
		t.Errorf("it is refused for what it was: %s", s.Message())
	}
}

func TestPriorityClassMadeAnewWakes(t *testing.T) {
	w := newWorld(t)
	w.node("n", 4, 8)
	p := w.pod("p", "serving", v1alpha1.PriorityOnline+1, 1, nil)
	w.refuses(p)
	w.woken()
	old, _, err := w.classes.GetByKey("ebbtide-online")
	must(t, err)
	anew := old.(*schedulingv1.PriorityClass).DeepCopy()
	anew.UID, anew.Value = "anew", v1alpha1.PriorityOnline+1
	must(t, w.classes.Update(anew))
	w.onPriorityClass(klog.Background()).OnUpdate(old, anew)
	w.wants("its priority is not too high any more", "serving/p")
	w.places(p)
}

// What nobody counts any more is none of the plugin's business: it keeps no pod from it.
func TestResourcesThatNobodyCountsWake(t *testing.T) {
	const other = "example.com/other"
	w := newWorld(t)
	n := w.node("n", 4, 8)
	n.allocatable[other] = 4
	q := w.tenant("serving", 64)
	q.Spec.Flavors[0].Resource = other
	q.Spec.Flavors[0].Nominal = 0
	must(t, w.quotas.Update(q))
	p := w.pod("p", "serving", 0, 0, nil)
	delete(p.Spec.Containers[0].Resources.Requests, gpu)
	request(p, other, 1)
	w.put(p)
	w.refuses(p)
	w.woken()
	must(t, w.quotas.Delete(q))
	w.onQuota(klog.Background()).OnDelete(q)
	w.wants("no quota names it", "serving/p")
	w.places(p)
}
