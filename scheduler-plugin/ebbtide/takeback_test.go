package ebbtide

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// fill puts all pods of the loan on the node.
func (w *world) fill(l *v1alpha1.Loan, n *node) *v1alpha1.Loan {
	for i := range l.Spec.Pods {
		w.borrowed(l, fmt.Sprintf("%s-%s-%d", l.Name, n.node.Name, i), n)
	}
	return l
}

func (w *world) checkTaken(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.takenNames()); diff != "" {
		w.t.Errorf("loans taken back (-want +got):\n%s", diff)
	}
}

func (w *world) checkNominated(result *fwk.PostFilterResult, status *fwk.Status, want string) {
	w.t.Helper()
	if !status.IsSuccess() || result == nil || result.NominatedNodeName != want {
		w.t.Errorf("result = %+v, %v %q, want node %s", result, status.Code(), status.Message(), want)
	}
}

func TestPatienceThenOneChoiceForAllThatWait(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		w.fill(w.loan(name, 8, 1, lent("n-"+name, 8)), w.node("n-"+name, 8, 64))
		w.time.Step(time.Minute)
	}
	var pods []*corev1.Pod
	for i := range 8 {
		pods = append(pods, w.online(fmt.Sprint("chat-", i), 1, nil))
	}
	for _, p := range pods {
		_, result, status := w.schedule(p)
		if status.Code() != fwk.UnschedulableAndUnresolvable || result.NominatedNodeName != "" {
			t.Fatalf("an impatient pod got %+v, %v", result, status.Code())
		}
		w.time.Step(10 * time.Millisecond)
	}
	w.checkTaken()
	w.time.Step(w.args.TakeBackAfter - 80*time.Millisecond)
	if diff := cmp.Diff([]string{"serving/chat-0"}, w.activated); diff != "" {
		t.Fatalf("activated when the first pod's patience ended (-want +got):\n%s", diff)
	}
	for _, p := range pods {
		_, result, status := w.schedule(p)
		w.checkNominated(result, status, "n-c")
	}
	// The newest loan lost the least work, and is enough for all eight.
	w.checkTaken("c-1")
}

func TestPodsThatHaveJustComeAreNotServedEarly(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b"} {
		w.fill(w.loan(name, 1, 1, lent("n-"+name, 1)), w.node("n-"+name, 1, 64))
	}
	first := w.online("first", 1, nil)
	w.schedule(first)
	w.time.Step(w.args.TakeBackAfter)
	w.schedule(w.online("second", 1, nil))
	w.schedule(first)
	w.checkTaken("a-1")
}

func TestTakeBack(t *testing.T) {
	for name, tc := range map[string]struct {
		set       func(w *world) *corev1.Pod
		want      []string
		nominated string
		reason    string
		strays    []string
	}{
		"an eight-unit pod takes both loans of one node": {
			set: func(w *world) *corev1.Pod {
				n, m := w.node("n", 8, 64), w.node("m", 8, 64)
				w.fill(w.loan("a", 2, 2, lent("n", 4)), n)
				w.fill(w.loan("b", 4, 1, lent("n", 4)), n)
				w.fill(w.loan("c", 4, 1, lent("m", 4)), m)
				w.online("x", 4, m)
				return w.online("p", 8, nil)
			},
			want: []string{"a-1", "b-1"}, nominated: "n",
		},
		"the least work is lost": {
			set: func(w *world) *corev1.Pod {
				w.fill(w.loan("old", 4, 1, lent("n", 4)), w.node("n", 4, 64))
				w.time.Step(time.Hour)
				w.fill(w.loan("new", 4, 1, lent("m", 4)), w.node("m", 4, 64))
				w.time.Step(time.Minute)
				return w.online("p", 1, nil)
			},
			want: []string{"new-1"}, nominated: "m",
		},
		"a checkpoint makes an old loan cheap": {
			set: func(w *world) *corev1.Pod {
				w.fill(w.loan("old", 4, 1, lent("n", 4)), w.node("n", 4, 64))
				w.time.Step(time.Hour)
				w.fill(w.loan("new", 4, 1, lent("m", 4)), w.node("m", 4, 64))
				w.time.Step(time.Minute)
				w.annotate("old", v1alpha1.AnnotationLastCheckpoint, w.time.Now().Format(time.RFC3339))
				return w.online("p", 1, nil)
			},
			want: []string{"old-1"}, nominated: "n",
		},
		"the service's own units go first": {
			set: func(w *world) *corev1.Pod {
				w.fill(w.loan("cheap", 1, 1, v1alpha1.Grant{Lender: "elsewhere/svc", Node: "n", Count: 1}), w.node("n", 1, 64))
				w.fill(w.loan("dear", 4, 1, lent("m", 4)), w.node("m", 4, 64))
				return w.online("p", 1, nil)
			},
			want: []string{"dear-1"}, nominated: "m",
		},
		"a job on its tenant's own quota is never taken": {
			set: func(w *world) *corev1.Pod {
				w.fill(w.loan("a", 4, 1, own("n", 4)), w.node("n", 4, 64))
				return w.online("p", 1, nil)
			},
			reason: "would not fit",
		},
		"nothing is taken for a pod that would not fit anyway": {
			set: func(w *world) *corev1.Pod {
				n := w.node("n", 8, 64)
				w.fill(w.loan("a", 4, 1, lent("n", 4)), n)
				w.online("x", 4, n)
				return w.online("p", 8, nil)
			},
			reason: "would not fit",
		},
		"nothing is taken beyond quota": {
			set: func(w *world) *corev1.Pod {
				n := w.node("n", 8, 64)
				w.fill(w.loan("a", 4, 1, lent("n", 4)), n)
				w.tenant("serving", 4)
				w.online("x", 4, n)
				return w.online("p", 1, nil)
			},
		},
		"nothing is taken for a pod that must not preempt": {
			set: func(w *world) *corev1.Pod {
				w.fill(w.loan("a", 4, 1, lent("n", 4)), w.node("n", 4, 64))
				p, never := w.online("p", 1, nil), corev1.PreemptNever
				p.Spec.PreemptionPolicy = &never
				return p
			},
			reason: "preemptionPolicy Never",
		},
		"nothing is taken where a terminating pod makes room": {
			set: func(w *world) *corev1.Pod {
				n := w.node("n", 4, 64)
				w.fill(w.loan("a", 3, 1, lent("n", 3)), n)
				w.leave(w.online("x", 1, n), w.time.Now().Add(30*time.Second))
				return w.online("p", 1, nil)
			},
			nominated: "n",
		},
		"nothing is taken where a pod that was told to make way does": {
			set: func(w *world) *corev1.Pod {
				w.taken.addPod(w.bare("told", 0, 1, w.node("n", 1, 64)), outrankedPod)
				w.fill(w.loan("b", 4, 1, lent("m", 4)), w.node("m", 4, 64))
				return w.online("p", 1, nil)
			},
			nominated: "n", strays: []string{"told"},
		},
		"an hour's grace is not coming free": {
			// Its owner suspended the job; the units are lent.
			set: func(w *world) *corev1.Pod {
				l := w.loan("a", 4, 1, lent("n", 4))
				n := w.node("n", 4, 64)
				for i := range 4 {
					w.leave(w.borrowed(l, fmt.Sprint("slow-", i), n), w.time.Now().Add(time.Hour))
				}
				w.halt("a", true)
				w.fill(w.loan("b", 4, 1, lent("m", 4)), w.node("m", 4, 64))
				return w.online("p", 1, nil)
			},
			want: []string{"a-1"}, nominated: "n",
		},
		"nor is that of a pod whose job is gone": {
			set: func(w *world) *corev1.Pod {
				l := w.loan("a", 4, 1, lent("n", 4))
				w.leave(w.borrowed(l, "slow", w.node("n", 1, 64)), w.time.Now().Add(time.Hour))
				must(w.t, w.loans.Delete(l))
				return w.online("p", 1, nil)
			},
			nominated: "n", strays: []string{"slow"},
		},
		"an hour's grace within the tenant's own quota is its own": {
			set: func(w *world) *corev1.Pod {
				l := w.loan("a", 1, 1, own("n", 1))
				w.leave(w.borrowed(l, "slow", w.node("n", 1, 64)), w.time.Now().Add(time.Hour))
				w.halt("a", true)
				return w.online("p", 1, nil)
			},
			reason: "",
		},
		"an online pod with an hour's grace makes no room either": {
			set: func(w *world) *corev1.Pod {
				n := w.node("n", 4, 64)
				w.fill(w.loan("a", 3, 1, lent("n", 3)), n)
				w.leave(w.online("x", 1, n), w.time.Now().Add(time.Hour))
				return w.online("p", 1, nil)
			},
			want: []string{"a-1"}, nominated: "n",
		},
		"a grace that was shortened counts from the notice": {
			set: func(w *world) *corev1.Pod {
				l := w.loan("a", 1, 1, lent("n", 1))
				slow := w.borrowed(l, "slow", w.node("n", 1, 64))
				slow.Annotations = map[string]string{v1alpha1.AnnotationReclaimBy: w.time.Now().Add(10 * time.Second).Format(time.RFC3339)}
				w.leave(slow, w.time.Now().Add(-time.Hour))
				w.fill(w.loan("b", 4, 1, lent("m", 4)), w.node("m", 4, 64))
				return w.online("p", 1, nil)
			},
			nominated: "n",
		},
		"a stuck pod makes no room": {
			set: func(w *world) *corev1.Pod {
				n := w.node("n", 4, 64)
				w.fill(w.loan("a", 3, 1, lent("n", 3)), n)
				w.leave(w.online("x", 1, n), w.time.Now().Add(-time.Minute))
				return w.online("p", 1, nil)
			},
			want: []string{"a-1"}, nominated: "n",
		},
		"room that a nominated pod waits for is not there": {
			set: func(w *world) *corev1.Pod {
				n := w.node("n", 4, 64)
				w.fill(w.loan("a", 3, 1, lent("n", 3)), n)
				w.leave(w.online("x", 1, n), w.time.Now().Add(30*time.Second))
				w.nominated["n"] = []fwk.PodInfo{podInfo{pod: w.online("before", 1, nil)}}
				return w.online("p", 1, nil)
			},
			want: []string{"a-1"}, nominated: "n",
		},
		"a loan that the broker is taking back makes room": {
			set: func(w *world) *corev1.Pod {
				w.time.Step(time.Minute)
				w.reclaiming(w.fill(w.loan("a", 4, 1, lent("n", 4)), w.node("n", 4, 64)), w.time.Now().Add(w.args.TakeBackAfter))
				w.fill(w.loan("b", 4, 1, lent("m", 4)), w.node("m", 4, 64))
				return w.online("p", 1, nil)
			},
			nominated: "n",
		},
		"a loan that a dead broker asked back is stopped, and no other": {
			set: func(w *world) *corev1.Pod {
				w.fill(w.loan("b", 4, 1, lent("m", 4)), w.node("m", 4, 64))
				w.reclaiming(w.fill(w.loan("a", 4, 1, lent("n", 4)), w.node("n", 4, 64)), w.time.Now())
				w.time.Step(time.Minute)
				return w.online("p", 1, nil)
			},
			want: []string{"a-1"}, nominated: "n",
		},
		"a loan half taken back in an earlier life is finished, and no other": {
			set: func(w *world) *corev1.Pod {
				w.fill(w.loan("b", 4, 1, lent("m", 4)), w.node("m", 4, 64))
				n := w.node("n", 4, 64)
				l := w.loan("a", 4, 1, lent("n", 4))
				w.put(victim(w.borrowed(l, "marked", n)))
				for i := range 3 {
					w.borrowed(l, fmt.Sprint("left-", i), n)
				}
				return w.online("p", 1, nil)
			},
			want: []string{"a-1"}, nominated: "n",
		},
		"a pod cut off from its job keeps no units": {
			set: func(w *world) *corev1.Pod {
				n := w.node("n", 4, 64)
				l := w.fill(w.loan("a", 3, 1, lent("n", 3)), n)
				cut := w.borrowed(l, "cut", n)
				cut.OwnerReferences = nil
				w.put(cut)
				return w.online("p", 1, nil)
			},
			nominated: "n", strays: []string{"cut"},
		},
		"a pod that another scheduler placed is left alone": {
			set: func(w *world) *corev1.Pod {
				n := w.node("n", 4, 64)
				w.fill(w.loan("a", 3, 1, lent("n", 3)), n)
				w.pod("x", "research", 0, 1, n).Spec.SchedulerName = "default-scheduler"
				return w.online("p", 1, nil)
			},
			want: []string{"a-1"}, nominated: "n",
		},
		"processors are short too": {
			// One unit would do, and the cheap loan has one; but only the other's
			// pod frees the processors that the pod needs.
			set: func(w *world) *corev1.Pod {
				n := w.node("n", 8, 10)
				w.fill(w.loan("cheap", 1, 1, lent("n", 1)), n)
				dear := w.loan("dear", 1, 7, lent("n", 7))
				q := w.borrowed(dear, "q", n)
				request(q, corev1.ResourceCPU, 8)
				w.put(q)
				p := w.online("p", 1, nil)
				request(p, corev1.ResourceCPU, 6)
				return p
			},
			want: []string{"dear-1"}, nominated: "n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := tc.set(w)
			w.schedule(p)
			w.nominated = without(w.nominated, p)
			w.time.Step(w.args.TakeBackAfter)
			placed, result, status := w.schedule(p)
			if placed != "" {
				t.Fatalf("placed on %s at once", placed)
			}
			w.checkTaken(tc.want...)
			var strays []string
			for _, s := range w.taken.allPods() {
				strays = append(strays, s.pod.Name)
			}
			if diff := cmp.Diff(tc.strays, strays); diff != "" {
				t.Errorf("strays evicted (-want +got):\n%s", diff)
			}
			if tc.nominated != "" {
				w.checkNominated(result, status, tc.nominated)
			} else if status.Code() != fwk.UnschedulableAndUnresolvable || result.NominatedNodeName != "" || !strings.Contains(status.Message(), tc.reason) {
				t.Errorf("result = %+v, %v %q, want %q", result, status.Code(), status.Message(), tc.reason)
			}
		})
	}
}

func without(nominated map[string][]fwk.PodInfo, p *corev1.Pod) map[string][]fwk.PodInfo {
	out := map[string][]fwk.PodInfo{}
	for n, infos := range nominated {
		for _, i := range infos {
			if i.GetPod().UID != p.UID {
				out[n] = append(out[n], i)
			}
		}
	}
	return out
}

func (w *world) annotate(job, key, value string) {
	j, err := w.jobs.Jobs("research").Get(job)
	must(w.t, err)
	j = j.DeepCopy()
	metav1.SetMetaDataAnnotation(&j.ObjectMeta, key, value)
	w.putJob(j)
}

// halt suspends the job or lets it run.
func (w *world) halt(job string, suspended bool) {
	j, err := w.jobs.Jobs("research").Get(job)
	must(w.t, err)
	j = j.DeepCopy()
	j.Spec.Suspend = &suspended
	w.putJob(j)
}

// A broker that lives has marked the loan just now; the scheduler steps in when
// it has let its time go by.
func TestPatienceWithABrokerThatAskedBack(t *testing.T) {
	for name, tc := range map[string]struct {
		by   time.Duration // granted to the pods; 0: no such time
		want time.Duration // when the scheduler steps in
	}{
		"the broker has time to act": {want: time.Second + handover},
		"no longer than it granted":  {by: 2 * time.Second, want: 2 * time.Second},
		"a long grace":               {by: time.Minute, want: time.Second + handover},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := w.fill(w.loan("a", 4, 1, lent("n", 4)), w.node("n", 4, 64))
			w.reclaiming(l, w.time.Now())
			if tc.by != 0 {
				l.Status.ReclaimBy = &metav1.Time{Time: w.time.Now().Add(tc.by)}
			}
			p := w.online("p", 1, nil)
			w.time.Step(tc.want - time.Millisecond)
			_, result, status := w.schedule(p)
			w.checkNominated(result, status, "n")
			w.checkTaken()
			w.time.Step(time.Millisecond)
			_, result, status = w.schedule(p)
			w.checkNominated(result, status, "n")
			w.checkTaken("a-1")
		})
	}
}

func (w *world) reclaiming(l *v1alpha1.Loan, since time.Time) {
	l.Status.Conditions = []metav1.Condition{condition(v1alpha1.LoanReclaiming, metav1.ConditionTrue, since)}
}

// A promise that does not come true is given up: the pod looks again, and the
// pod that is stuck no longer counts as leaving.
func TestPromiseIsRechecked(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 4, 64)
	w.fill(w.loan("a", 3, 1, lent("n", 3)), n)
	w.leave(w.online("x", 1, n), w.time.Now().Add(30*time.Second))
	p := w.online("p", 1, nil)
	w.schedule(p)
	w.checkTaken()
	w.time.Step(recheck)
	if diff := cmp.Diff([]string{"serving/p"}, w.activated); diff != "" {
		t.Errorf("activated (-want +got):\n%s", diff)
	}
	w.time.Step(time.Minute + overdue)
	_, result, status := w.schedule(p)
	w.checkNominated(result, status, "n")
	w.checkTaken("a-1")
}

func TestBoundAndDeletedPodsAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.fill(w.loan("a", 4, 1, lent("n", 4)), w.node("n", 4, 64))
	bound, gone := w.online("bound", 1, nil), w.online("gone", 1, nil)
	w.schedule(bound)
	w.schedule(gone)
	next := bound.DeepCopy()
	next.Spec.NodeName = "n"
	w.onPod(klog.Background()).OnUpdate(bound, next)
	w.onPod(klog.Background()).OnDelete(gone)
	if len(w.waiting.pods) != 0 {
		t.Errorf("%d pods are remembered", len(w.waiting.pods))
	}
	w.time.Step(time.Minute)
	if w.activated != nil {
		t.Errorf("their alarms still activated %v", w.activated)
	}
}

// For one pod a small loan costs the least; for eight that wait together, one
// large loan does. Chosen one by one, eight jobs would be broken.
func TestPodsThatWaitTogetherAreServedByOneChoice(t *testing.T) {
	w := newWorld(t)
	small := w.node("small", 8, 64)
	for _, name := range []string{"s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"} {
		w.fill(w.loan(name, 1, 1, lent("small", 1)), small)
	}
	w.time.Step(time.Minute)
	w.fill(w.loan("large", 8, 1, lent("large", 8)), w.node("large", 8, 64))
	var pods []*corev1.Pod
	for i := range 8 {
		pods = append(pods, w.online(fmt.Sprint("chat-", i), 1, nil))
		w.schedule(pods[i])
	}
	w.time.Step(w.args.TakeBackAfter)
	for _, p := range pods {
		_, result, status := w.schedule(p)
		w.checkNominated(result, status, "large")
	}
	w.checkTaken("large-1")
}

func TestPromisedPodsAreNotServedTwice(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 3, 64)
	w.fill(w.loan("a", 1, 1, lent("n", 1)), n)
	w.fill(w.loan("b", 1, 1, lent("n", 1)), n)
	w.leave(w.online("x", 1, n), w.time.Now().Add(30*time.Second))
	promised, waits := w.online("promised", 1, nil), w.online("waits", 1, nil)
	w.schedule(promised)
	w.schedule(waits)
	w.checkTaken()
	w.time.Step(w.args.TakeBackAfter)
	w.schedule(waits)
	w.checkTaken("a-1")
}

// Pods that are gone, going or bound are owed nothing, even where a cycle that
// was under way noted them after the event.
func TestGhostsAreOwedNothing(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 64)
	w.fill(w.loan("a", 8, 1, lent("n", 8)), n)
	served, requests := w.online("served", 1, nil), []book.Request{{Resource: gpu, Units: 1}}
	for name, change := range map[string]func(p *corev1.Pod){
		"gone":     func(p *corev1.Pod) { must(t, w.pods.Delete(p)) },
		"replaced": func(p *corev1.Pod) { p.UID = "next"; w.put(p) },
		"going":    func(p *corev1.Pod) { w.leave(p, epoch.Add(time.Minute)) },
		"bound":    func(p *corev1.Pod) { p.Spec.NodeName = "n"; w.put(p) },
		"waits":    func(*corev1.Pod) {},
	} {
		p := w.online(name, 1, nil)
		w.waiting.see(p.DeepCopy(), requests, w.time.Now())
		change(p)
	}
	if got := w.waiting.alike(served, requests, w.time.Now(), w.stillWaits); got != 1 {
		t.Errorf("%d pods wait beside this one, want 1", got)
	}
	if got := len(w.waiting.pods); got != 1 {
		t.Errorf("%d pods are remembered, want 1", got)
	}
}

// Two that wait together would fit by units on the node of the cheap loan; only one
// does by processors. So room is made for both elsewhere.
func TestAlikePodsAreCountedByAllThatTheyAsk(t *testing.T) {
	for name, tc := range map[string]struct {
		cpus int64 // of the node with the cheap loan
		want []string
	}{
		"processors for both": {cpus: 8, want: []string{"cheap-1"}},
		"processors for one":  {cpus: 4, want: []string{"dear-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.fill(w.loan("dear", 4, 1, lent("roomy", 4)), w.node("roomy", 4, 64))
			w.time.Step(time.Hour)
			w.fill(w.loan("cheap", 2, 1, lent("narrow", 2)), w.node("narrow", 2, tc.cpus))
			var pods []*corev1.Pod
			for i := range 2 {
				p := w.online(fmt.Sprint("chat-", i), 1, nil)
				request(p, corev1.ResourceCPU, 4)
				w.put(p)
				pods = append(pods, p)
				w.schedule(p)
			}
			w.time.Step(w.args.TakeBackAfter)
			w.schedule(pods[0])
			w.checkTaken(tc.want...)
		})
	}
}

func TestSameShape(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		change func(p *corev1.Pod)
		want   bool
	}{
		"twins":             {change: func(*corev1.Pod) {}, want: true},
		"another processor": {change: func(p *corev1.Pod) { request(p, corev1.ResourceCPU, 1) }},
		"another priority":  {change: func(p *corev1.Pod) { p.Spec.Priority = new(int32) }},
		"another selector":  {change: func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"a": "b"} }},
		"it keeps its kind away": {change: func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}}
		}},
		"it wants a port of the host": {change: func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}}
		}},
		"it is spread": {change: func(p *corev1.Pod) {
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{}}
		}},
	} {
		a, b := w.online("a", 1, nil), w.online("b", 1, nil)
		tc.change(b)
		if got := sameShape(a, b); got != tc.want {
			t.Errorf("%s: same = %v", name, got)
		}
	}
}
