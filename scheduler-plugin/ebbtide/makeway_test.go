package ebbtide

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// bare makes a pod of serving without a loan.
func (w *world) bare(name string, priority int32, units int64, on *node) *corev1.Pod {
	return w.pod(name, "serving", priority, units, on)
}

func grouped(p *corev1.Pod, group string) *corev1.Pod {
	p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &group}
	return p
}

// ownLoan is a loan of a job of serving on its own quota, with its pods on the node.
func (w *world) ownLoan(name string, priority int32, pods int32, n *node, grants ...v1alpha1.Grant) {
	l := w.loan(name, pods, 1, grants...)
	l.Spec.Borrower = "serving"
	for i := range pods {
		p := w.borrowed(l, fmt.Sprintf("%s-%d", name, i), n)
		p.Spec.Priority = &priority
		w.put(p)
	}
}

// gone are the names of the loans and pods that have to go.
func (w *world) gone() []string {
	out := w.takenNames()
	for _, t := range w.taken.allPods() {
		out = append(out, t.pod.Name)
	}
	slices.Sort(out)
	return out
}

func TestMakeWay(t *testing.T) {
	for name, tc := range map[string]struct {
		nominal   int64
		set       func(w *world, n *node) *corev1.Pod
		want      []string
		nominated string
	}{
		"the lowest priority goes": {
			nominal: 2, want: []string{"low"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				w.bare("middle", 5, 1, n)
				w.bare("low", 1, 1, n)
				return w.online("p", 1, nil)
			},
		},
		"a bare pod outranks another too": {
			nominal: 1, want: []string{"low"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod { w.bare("low", 1, 1, n); return w.bare("p", 2, 1, nil) },
		},
		"of equals the newest": {
			nominal: 2, want: []string{"new"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				w.bare("old", 1, 1, n)
				w.time.Step(time.Minute)
				w.bare("new", 1, 1, n)
				return w.online("p", 1, nil)
			},
		},
		"no more than needed": {
			nominal: 4, want: []string{"large"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				w.bare("small", 1, 1, n)
				w.bare("large", 2, 3, n)
				return w.online("p", 3, nil)
			},
		},
		"nobody of the same priority": {
			nominal: 1,
			set:     func(w *world, n *node) *corev1.Pod { w.online("x", 1, n); return w.online("p", 1, nil) },
		},
		"nobody of another tenant": {
			nominal: 1,
			set: func(w *world, n *node) *corev1.Pod {
				w.tenant("research", 8)
				w.online("x", 1, n)
				w.pod("other", "research", 1, 1, n)
				return w.online("p", 1, nil)
			},
		},
		"nobody for a pod beyond the nominal quota": {
			nominal: 2,
			set:     func(w *world, n *node) *corev1.Pod { w.bare("low", 1, 2, n); return w.online("p", 3, nil) },
		},
		"nobody for a pod that must not preempt": {
			nominal: 1,
			set: func(w *world, n *node) *corev1.Pod {
				w.bare("low", 1, 1, n)
				p, never := w.online("p", 1, nil), corev1.PreemptNever
				p.Spec.PreemptionPolicy = &never
				return p
			},
		},
		"a job on the own quota goes whole": {
			nominal: 4, want: []string{"job-1"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				w.ownLoan("job", 0, 4, n, own("n", 4))
				return w.online("p", 1, nil)
			},
		},
		"a job that is partly on its own quota too": {
			nominal: 2, want: []string{"job-1"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				w.ownLoan("job", 0, 4, n, own("n", 2), v1alpha1.Grant{Lender: "cohort:lab", Node: "n", Count: 2})
				return w.online("p", 1, nil)
			},
		},
		"a job of the same priority stays": {
			nominal: 4,
			set: func(w *world, n *node) *corev1.Pod {
				w.ownLoan("job", v1alpha1.PriorityOnline, 4, n, own("n", 4))
				return w.online("p", 1, nil)
			},
		},
		"a job on another tenant's quota stays": {
			nominal: 1,
			set: func(w *world, n *node) *corev1.Pod {
				w.tenant("research", 4)
				w.fill(w.loan("a", 4, 1, own("n", 4)), n)
				w.online("x", 1, n)
				return w.online("p", 1, nil)
			},
		},
		"a group goes whole": {
			nominal: 3, want: []string{"g1", "g2"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				w.put(grouped(w.bare("g1", 1, 1, n), "g"))
				w.put(grouped(w.bare("g2", 1, 1, n), "g"))
				w.bare("single", 5, 1, n)
				return w.online("p", 1, nil)
			},
		},
		"a group with a senior stays": {
			nominal: 3, want: []string{"single"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				w.put(grouped(w.bare("g1", 1, 1, n), "g"))
				w.put(grouped(w.online("g2", 1, n), "g"))
				w.bare("single", 5, 1, n)
				return w.online("p", 1, nil)
			},
		},
		"whom a budget protects goes last": {
			nominal: 2, want: []string{"middle"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				low := w.bare("low", 1, 1, n)
				low.Labels = map[string]string{"app": "guarded"}
				w.put(low)
				w.bare("middle", 5, 1, n)
				must(w.t, w.budgetStore.Add(&policyv1.PodDisruptionBudget{
					ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "serving"},
					Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: low.Labels}},
				}))
				return w.online("p", 1, nil)
			},
		},
		"nobody if somebody is leaving": {
			nominal: 2, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				w.bare("low", 1, 1, n)
				w.leave(w.online("x", 1, n), w.time.Now().Add(30*time.Second))
				return w.online("p", 1, nil)
			},
		},
		"who leaves too late does not count": {
			nominal: 2, want: []string{"low"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				w.bare("low", 1, 1, n)
				w.leave(w.online("x", 1, n), w.time.Now().Add(time.Hour))
				return w.online("p", 1, nil)
			},
		},
		"where no node has room, those who stand in the way": {
			// The newest would do for the quota, but stand scattered.
			nominal: 16, want: []string{"m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"}, nominated: "m",
			set: func(w *world, n *node) *corev1.Pod {
				w.tenant("research", 4)
				w.pod("other", "research", 9, 1, n)
				m, o := w.node("m", 8, 64), w.node("o", 8, 64)
				for i := range 8 {
					w.bare(fmt.Sprint("m", i), 1, 1, m)
				}
				w.pod("stranger", "research", 9, 1, o)
				w.time.Step(time.Minute)
				for i := range 4 {
					w.bare(fmt.Sprint("n", i), 1, 1, n)
					w.bare(fmt.Sprint("o", i), 1, 1, o)
				}
				return w.online("p", 8, nil)
			},
		},
		"and loans that stand in the way": {
			nominal: 4, want: []string{"a-1", "low"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				m := w.node("m", 8, 64)
				w.pod("other", "research", 9, 6, m)
				w.bare("low", 1, 2, m)
				w.online("x", 2, n)
				w.fill(w.loan("a", 6, 1, v1alpha1.Grant{Lender: "cohort:lab", Node: "n", Count: 6}), n)
				w.bare("there", 5, 0, n)
				p := w.online("p", 2, nil)
				p.Spec.NodeSelector = map[string]string{"only": "n"}
				return p
			},
		},
		"a flavor that is full is looked at when the other has no nodes left": {
			nominal: 1, want: []string{"low"}, nominated: "n",
			set: func(w *world, n *node) *corev1.Pod {
				q := w.tenant("serving", 1)
				q.Spec.Flavors = append(q.Spec.Flavors, v1alpha1.FlavorQuota{Name: "a100", Resource: gpu, NodeSelector: map[string]string{"gpu": "a100"}, Nominal: 8})
				other := w.node("a", 1, 64)
				other.node.Labels["gpu"] = "a100"
				w.tenant("research", 0)
				w.pod("other", "research", 9, 1, other)
				w.bare("low", 1, 1, n)
				p := w.online("p", 1, nil)
				w.schedule(p)
				if diff := cmp.Diff([]string(nil), w.gone()); diff != "" {
					w.t.Errorf("taken while the broker has its time (-want +got):\n%s", diff)
				}
				w.time.Step(w.args.TakeBackAfter)
				return p
			},
		},
		"nothing if it would not fit even so": {
			nominal: 8,
			set: func(w *world, n *node) *corev1.Pod {
				w.pod("other", "research", 9, 1, n)
				w.bare("low", 1, 7, n)
				w.bare("more", 1, 1, w.node("m", 2, 64))
				return w.online("p", 8, nil)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.tenant("serving", tc.nominal)
			p := tc.set(w, w.node("n", 8, 64))
			placed, result, status := w.schedule(p)
			if placed != "" {
				t.Fatalf("placed on %s at once", placed)
			}
			if diff := cmp.Diff(tc.want, w.gone()); diff != "" {
				t.Errorf("have to go (-want +got):\n%s", diff)
			}
			if tc.nominated != "" {
				w.checkNominated(result, status, tc.nominated)
			} else if status.Code() != fwk.UnschedulableAndUnresolvable || result.NominatedNodeName != "" {
				t.Errorf("result = %+v, %v %q", result, status.Code(), status.Message())
			}
		})
	}
}

// However often a pod is retried, and whoever comes after it, one request takes
// once, and each takes its own.
func TestMakeWayTakesOnce(t *testing.T) {
	w := newWorld(t)
	w.tenant("serving", 4)
	n := w.node("n", 8, 64)
	for _, name := range []string{"a", "b", "c", "d"} {
		w.bare(name, 1, 1, n)
		w.time.Step(time.Second)
	}
	first, second := w.online("first", 1, nil), w.online("second", 1, nil)
	for range 3 {
		_, result, status := w.schedule(first)
		w.checkNominated(result, status, "n")
	}
	if diff := cmp.Diff([]string{"d"}, w.gone()); diff != "" {
		t.Fatalf("for one pod (-want +got):\n%s", diff)
	}
	must(t, w.sweep(t.Context()))
	for range 3 {
		for _, p := range []*corev1.Pod{first, second} {
			_, result, status := w.schedule(p)
			w.checkNominated(result, status, "n")
		}
	}
	if diff := cmp.Diff([]string{"c", "d"}, w.gone()); diff != "" {
		t.Fatalf("for two (-want +got):\n%s", diff)
	}
	// A junior that comes meanwhile gets nothing of what is freed for them.
	for _, name := range []string{"c", "d"} {
		n.pods = slices.DeleteFunc(n.pods, func(i fwk.PodInfo) bool { return i.GetPod().Name == name })
		must(t, w.pods.Delete(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "serving"}}))
	}
	if placed, _, _ := w.schedule(w.bare("thief", 1, 1, nil)); placed != "" {
		t.Error("a later pod took what was freed for another")
	}
	w.nominated = map[string][]fwk.PodInfo{"n": {podInfo{pod: second}}}
	if placed, _, s := w.schedule(first); placed != "n" {
		t.Errorf("the first was not placed: %s", s.Message())
	}
	w.nominated = nil
	if placed, _, s := w.schedule(second); placed != "n" {
		t.Errorf("the second was not placed: %s", s.Message())
	}
}

// The quota of a job that made way is free when its pods are gone, with or without a
// broker to say so.
// A pod that others make way for looks again every few seconds, in case they hang.
func TestPodThatOthersMakeWayForLooksAgain(t *testing.T) {
	w := newWorld(t)
	w.tenant("serving", 1)
	w.bare("low", 1, 1, w.node("n", 1, 64))
	p := w.online("p", 1, nil)
	for range 3 { // the victim stays where it is
		w.activated = nil
		_, result, status := w.schedule(p)
		w.checkNominated(result, status, "n")
		w.time.Step(recheck - time.Millisecond)
		if len(w.activated) > 0 {
			t.Fatalf("activated %v too early", w.activated)
		}
		w.time.Step(time.Millisecond)
		if diff := cmp.Diff([]string{"serving/p"}, w.activated); diff != "" {
			t.Fatalf("activated (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff([]string{"low"}, w.gone()); diff != "" {
		t.Errorf("gone (-want +got):\n%s", diff)
	}
}

func TestQuotaOfAJobThatMadeWayIsReleased(t *testing.T) {
	w := newWorld(t)
	w.tenant("serving", 2)
	n := w.node("n", 8, 64)
	w.ownLoan("job", 0, 2, n, own("n", 2))
	p := w.online("p", 2, nil)
	_, result, status := w.schedule(p)
	w.checkNominated(result, status, "n")
	must(t, w.sweep(t.Context()))
	tenant, err := w.account.Tenant("serving")
	must(t, err)
	left := func() int64 { return tenant.Left(0, w.account.Used(tenant, p.UID, v1alpha1.PriorityOnline)) }
	if got := left(); got != 0 {
		t.Fatalf("%d units are left while the pods run", got)
	}
	for _, pod := range w.podsBy(byController, "research/job-job") {
		must(t, w.pods.Delete(pod))
	}
	w.blocked.note("serving", p)
	w.activated = nil
	must(t, w.sweep(t.Context()))
	if got := left(); got != 2 {
		t.Errorf("%d units are left, want 2", got)
	}
	if diff := cmp.Diff([]string{"serving/p"}, w.activated); diff != "" {
		t.Errorf("activated (-want +got):\n%s", diff)
	}
}

// A dry run counts what it takes off and puts back, in its own copy.
func TestDryRunsCountTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.tenant("serving", 4)
	n := w.node("n", 8, 64)
	x, p, s := w.online("x", 3, n), w.online("p", 1, nil), newState()
	lent := w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "lent", n)
	if _, status := w.PreFilter(t.Context(), s, p, w.infos()); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	dry := s.Clone()
	left := func(state fwk.CycleState) int64 {
		c, _ := readCycle(state)
		return c.tenant.Left(0, c.used)
	}
	promised := w.online("promised", 1, nil)
	w.nominated["n"] = []fwk.PodInfo{podInfo{pod: promised}}
	for _, step := range []struct {
		what string
		do   func(fwk.PodInfo) *fwk.Status
		pod  *corev1.Pod
		want int64
	}{
		{"x goes", func(i fwk.PodInfo) *fwk.Status { return w.RemovePod(t.Context(), dry, p, i, n) }, x, 4},
		{"x goes again", func(i fwk.PodInfo) *fwk.Status { return w.RemovePod(t.Context(), dry, p, i, n) }, x, 4},
		{"x comes back", func(i fwk.PodInfo) *fwk.Status { return w.AddPod(t.Context(), dry, p, i, n) }, x, 1},
		{"x is there already", func(i fwk.PodInfo) *fwk.Status { return w.AddPod(t.Context(), dry, p, i, n) }, x, 1},
		{"one on a loan goes", func(i fwk.PodInfo) *fwk.Status { return w.RemovePod(t.Context(), dry, p, i, n) }, lent, 1},
		{"one on a loan comes", func(i fwk.PodInfo) *fwk.Status { return w.AddPod(t.Context(), dry, p, i, n) }, lent, 1},
		{"one that does not count yet comes", func(i fwk.PodInfo) *fwk.Status { return w.AddPod(t.Context(), dry, p, i, n) }, promised, 0},
		{"and goes", func(i fwk.PodInfo) *fwk.Status { return w.RemovePod(t.Context(), dry, p, i, n) }, promised, 1},
	} {
		if status := step.do(podInfo{pod: step.pod}); !status.IsSuccess() {
			t.Fatal(status.Message())
		}
		if got := left(dry); got != step.want {
			t.Errorf("%s: %d units are left, want %d", step.what, got, step.want)
		}
		if got := left(s); got != 1 {
			t.Fatalf("%s: the cycle itself has %d left", step.what, got)
		}
	}
}

// Whatever comes and goes: nobody is placed beyond the nominal quota, only juniors of
// the same tenant make way, and a retry takes nothing more.
func TestQuotaHoldsInRandomTowns(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		nominal := map[string]int64{"serving": rapid.Int64Range(0, 10).Draw(rt, "serving"), "research": rapid.Int64Range(0, 10).Draw(rt, "research")}
		for name, units := range nominal {
			w.tenant(name, units)
		}
		for i := range rapid.IntRange(1, 3).Draw(rt, "nodes") {
			w.node(fmt.Sprint("n", i), 8, 64)
		}
		var pending []*corev1.Pod
		for i := range rapid.IntRange(1, 30).Draw(rt, "steps") {
			if rapid.IntRange(0, 2).Draw(rt, "what") > 0 {
				pending = append(pending, w.pod(fmt.Sprint("p", i), rapid.SampledFrom([]string{"serving", "research"}).Draw(rt, "tenant"),
					rapid.Int32Range(0, 3).Draw(rt, "priority"), rapid.SampledFrom([]int64{1, 1, 2, 8}).Draw(rt, "units"), nil))
			} else {
				w.letGo()
			}
			pending = slices.DeleteFunc(pending, func(p *corev1.Pod) bool { return w.try(rt, p) })
			for name, units := range nominal {
				if got := w.uses(name); got > units {
					rt.Fatalf("tenant %s uses %d of %d units", name, got, units)
				}
			}
		}
	})
}

// try schedules the pod, and checks what it takes. It reports whether it was placed.
func (w *world) try(rt *rapid.T, p *corev1.Pod) bool {
	before := w.gone()
	placed, result, _ := w.schedule(p)
	after := w.gone()
	for _, t := range w.taken.allPods() {
		if slices.Contains(before, t.pod.Name) {
			continue
		}
		if t.pod.Namespace != p.Namespace || *t.pod.Spec.Priority >= *p.Spec.Priority {
			rt.Fatalf("%s/%s (%d) makes way for %s/%s (%d)", t.pod.Namespace, t.pod.Name, *t.pod.Spec.Priority, p.Namespace, p.Name, *p.Spec.Priority)
		}
	}
	if len(after) > len(before) && result.NominatedNodeName == "" {
		rt.Fatalf("%v make way, and %s is promised nothing", after, p.Name)
	}
	if placed != "" {
		return true
	}
	if placed, _, _ = w.schedule(p); placed == "" && !slices.Equal(after, w.gone()) {
		rt.Fatalf("a retry of %s takes %v beyond %v", p.Name, w.gone(), after)
	}
	return placed != ""
}

// letGo makes all who have to go be gone.
func (w *world) letGo() {
	for _, t := range w.taken.allPods() {
		for _, n := range w.nodes {
			n.pods = slices.DeleteFunc(n.pods, func(i fwk.PodInfo) bool { return i.GetPod().UID == t.pod.UID })
		}
		must(w.t, w.pods.Delete(t.pod))
		w.taken.forgetPod(t.pod.UID)
	}
}

// uses counts the units that the namespace's pods hold on nodes.
func (w *world) uses(namespace string) int64 {
	var sum int64
	for _, n := range w.nodes {
		for _, i := range n.pods {
			if i.GetPod().Namespace == namespace {
				sum += book.Units(i.GetPod(), gpu)
			}
		}
	}
	return sum
}
