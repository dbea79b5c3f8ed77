package ebbtide

import (
	"strings"
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

func condition(kind string, status metav1.ConditionStatus, since time.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(since)}
}

func TestPreEnqueue(t *testing.T) {
	for name, tc := range map[string]struct {
		pod  func(w *world) *corev1.Pod
		want string // part of the reason; empty: let in
	}{
		"online":            {pod: func(w *world) *corev1.Pod { return w.online("p", 1, nil) }},
		"asks for no units": {pod: func(w *world) *corev1.Pod { return w.pod("p", "research", 0, 0, nil) }},
		"no job": {
			pod:  func(w *world) *corev1.Pod { return w.pod("p", "research", 0, 1, nil) },
			want: "need a loan",
		},
		"just below online": {
			pod:  func(w *world) *corev1.Pod { return w.pod("p", "serving", v1alpha1.PriorityOnline-1, 1, nil) },
			want: "need a loan",
		},
		"open loan": {pod: func(w *world) *corev1.Pod { return w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "p", nil) }},
		"forged labels": {
			pod: func(w *world) *corev1.Pod {
				w.loan("a", 1, 1, lent("n", 1))
				p := w.pod("p", "research", 0, 1, nil)
				p.Labels = map[string]string{"batch.kubernetes.io/job-name": "a", "batch.kubernetes.io/controller-uid": "job-a", v1alpha1.LabelQueue: "q"}
				return p
			},
			want: "need a loan",
		},
		"owned, but not controlled": {
			pod: func(w *world) *corev1.Pod {
				p := w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "p", nil)
				p.OwnerReferences[0].Controller = nil
				return p
			},
			want: "need a loan",
		},
		"a job that is suspended": {
			pod: func(w *world) *corev1.Pod {
				p := w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "p", nil)
				w.halt("a", true)
				return p
			},
			want: "is suspended",
		},
		"controlled by something else of the job's UID": {
			pod: func(w *world) *corev1.Pod {
				p := w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "p", nil)
				p.OwnerReferences[0].Kind = "ReplicaSet"
				return p
			},
			want: "need a loan",
		},
		"controlled by a Job of another group": {
			pod: func(w *world) *corev1.Pod {
				p := w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "p", nil)
				p.OwnerReferences[0].APIVersion = "example.com/v1"
				return p
			},
			want: "need a loan",
		},
		"same job UID in another namespace": {
			pod: func(w *world) *corev1.Pod {
				w.loan("a", 1, 1, lent("n", 1))
				p := w.pod("p", "serving", 0, 1, nil)
				ownedBy(p, "job-a")
				return p
			},
			want: "need a loan",
		},
		"reclaiming": {
			pod: func(w *world) *corev1.Pod {
				l := w.loan("a", 1, 1, lent("n", 1))
				l.Status.Conditions = []metav1.Condition{condition(v1alpha1.LoanReclaiming, metav1.ConditionTrue, epoch)}
				return w.borrowed(l, "p", nil)
			},
			want: "is not open",
		},
		"withdrawn": {
			pod: func(w *world) *corev1.Pod {
				l := w.loan("a", 1, 1, lent("n", 1))
				l.Status.Conditions = []metav1.Condition{condition(v1alpha1.LoanActive, metav1.ConditionFalse, epoch)}
				return w.borrowed(l, "p", nil)
			},
			want: "is not open",
		},
		"next attempt is open": {pod: func(w *world) *corev1.Pod {
			l := w.loan("a", 1, 1, lent("n", 1))
			l.Status.Conditions = []metav1.Condition{condition(v1alpha1.LoanReturned, metav1.ConditionTrue, epoch)}
			next := l.DeepCopy()
			next.Name, next.UID, next.Spec.Attempt, next.Status.Conditions = "a-2", "loan-a-2", 2, nil
			must(w.t, w.loans.Add(next))
			return w.borrowed(next, "p", nil)
		}},
		"taken back by this scheduler": {
			pod: func(w *world) *corev1.Pod {
				l := w.loan("a", 1, 1, lent("n", 1))
				w.reclaim(w.t.Context(), l)
				return w.borrowed(l, "p", nil)
			},
			want: "taken back",
		},
		"taken back in an earlier life": {
			pod: func(w *world) *corev1.Pod {
				l := w.loan("a", 2, 1, lent("n", 2))
				w.put(victim(w.borrowed(l, "old", w.node("n", 8, 8))))
				return w.borrowed(l, "p", nil)
			},
			want: "taken back",
		},
		"the attempt before was taken back": {pod: func(w *world) *corev1.Pod {
			w.time.Step(time.Minute)
			l := w.loan("a", 1, 1, lent("n", 1))
			old := w.borrowed(l, "old", w.node("n", 8, 8))
			old.CreationTimestamp = metav1.NewTime(epoch)
			w.put(victim(old))
			return w.borrowed(l, "p", nil)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			got := w.PreEnqueue(t.Context(), tc.pod(w))
			if tc.want == "" && got != nil || tc.want != "" && !strings.Contains(got.Message(), tc.want) {
				t.Errorf("status = %q, want %q", got.Message(), tc.want)
			}
		})
	}
}

// victim gives the pod the marks that evict leaves.
func victim(p *corev1.Pod) *corev1.Pod {
	p.Annotations = map[string]string{v1alpha1.AnnotationReclaimBy: epoch.Format(time.RFC3339)}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler}}
	return p
}

func TestPreFilterLoan(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 2, 4, lent("n1", 4), lent("n2", 4))

	result, status := w.PreFilter(t.Context(), newState(), w.borrowed(l, "p", nil), nil)
	if !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	if diff := cmp.Diff([]string{"n1", "n2"}, result.NodeNames.UnsortedList(), cmp.Transformer("sort", sorted)); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}

	greedy := w.borrowed(l, "greedy", nil)
	request(greedy, gpu, 8)
	_, status = w.PreFilter(t.Context(), newState(), greedy, nil)
	want := "the pod asks for 8 units of nvidia.com/gpu, but its loan is for 4 units of nvidia.com/gpu for each pod"
	if status.Code() != fwk.Unschedulable || status.Message() != want {
		t.Errorf("status = %v %q, want %q", status.Code(), status.Message(), want)
	}
}

func sorted(in []string) map[string]bool {
	out := map[string]bool{}
	for _, s := range in {
		out[s] = true
	}
	return out
}

func TestPreFilterOnline(t *testing.T) {
	for name, tc := range map[string]struct {
		set  func(w *world, n *node) *corev1.Pod
		code fwk.Code
		want string
	}{
		"within nominal": {set: func(w *world, n *node) *corev1.Pod { w.online("x", 3, n); return w.online("p", 1, nil) }},
		"online never borrows": {
			set:  func(w *world, n *node) *corev1.Pod { w.online("x", 4, n); return w.online("p", 1, nil) },
			code: fwk.Unschedulable, want: "tenant serving: 4 of 4 units of flavor h100 are used, and the pod asks for 1",
		},
		"loans of other tenants do not count": {set: func(w *world, n *node) *corev1.Pod {
			w.borrowed(w.loan("a", 1, 4, lent("n", 4)), "x", n)
			return w.online("p", 4, nil)
		}},
		"what its own jobs were admitted to on its own quota counts": {
			set: func(w *world, n *node) *corev1.Pod {
				l := w.loan("a", 1, 4, own("n", 4))
				l.Spec.Borrower = "serving"
				return w.online("p", 1, nil)
			},
			code: fwk.Unschedulable, want: "4 of 4 units",
		},
		"its own borrowed units do not count": {set: func(w *world, n *node) *corev1.Pod {
			w.tenant("research", 2)
			w.borrowed(w.loan("a", 1, 4, lent("n", 4)), "x", n)
			return w.pod("p", "research", v1alpha1.PriorityOnline, 2, nil)
		}},
		"a pod nominated before counts": {
			set: func(w *world, n *node) *corev1.Pod {
				w.nominated["n"] = []fwk.PodInfo{podInfo{pod: w.online("x", 4, nil)}}
				return w.online("p", 1, nil)
			},
			code: fwk.Unschedulable, want: "4 of 4 units",
		},
		"its own nomination does not count": {set: func(w *world, n *node) *corev1.Pod {
			p := w.online("p", 4, nil)
			w.nominated["n"] = []fwk.PodInfo{podInfo{pod: p}}
			return p
		}},
		"no tenant": {
			set: func(w *world, n *node) *corev1.Pod {
				must(w.t, w.spaces.Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "lost"}}))
				return w.pod("p", "lost", v1alpha1.PriorityOnline, 1, nil)
			},
			code: fwk.Unschedulable, want: "namespace lost belongs to no tenant: no TenantQuota selects it",
		},
		"two tenants": {
			set: func(w *world, n *node) *corev1.Pod {
				second := w.tenant("other", 4)
				second.Spec.Namespaces.MatchLabels["team"] = "serving"
				return w.online("p", 1, nil)
			},
			code: fwk.Unschedulable, want: "the TenantQuotas other, serving all select it",
		},
		"priority above the tenant's highest class": {
			set: func(w *world, n *node) *corev1.Pod {
				return w.pod("p", "serving", v1alpha1.PriorityOnline+1, 1, nil)
			},
			code: fwk.UnschedulableAndUnresolvable, want: "priority 1000001 of the pod is above ebbtide-online (1000000)",
		},
		"a highest class that does not exist": {
			set: func(w *world, n *node) *corev1.Pod {
				q := w.tenant("other", 4)
				q.Spec.MaxPriorityClass = "nobody"
				return w.pod("p", "other", v1alpha1.PriorityOnline, 1, nil)
			},
			code: fwk.UnschedulableAndUnresolvable, want: "class nobody of tenant other does not exist",
		},
		"no quota for the resource": {
			set: func(w *world, n *node) *corev1.Pod {
				q := w.tenant("other", 4)
				q.Spec.Flavors[0].Resource = "nvidia.com/mig-1g.10gb"
				return w.pod("p", "other", v1alpha1.PriorityOnline, 1, nil)
			},
			code: fwk.Unschedulable, want: "tenant other has no quota for nvidia.com/gpu",
		},
		"no units": {
			set:  func(w *world, n *node) *corev1.Pod { return w.pod("p", "lost", v1alpha1.PriorityOnline, 0, nil) },
			code: fwk.Skip,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.tenant("serving", 4)
			p := tc.set(w, w.node("n", 8, 8))
			_, got := w.PreFilter(t.Context(), newState(), p, w.infos())
			if got.Code() != tc.code || !strings.Contains(got.Message(), tc.want) {
				t.Errorf("status = %v %q, want %v %q", got.Code(), got.Message(), tc.code, tc.want)
			}
		})
	}
}

func TestFilterOnlineKeepsToTheTenantsFlavors(t *testing.T) {
	w := newWorld(t)
	other := w.node("a100", 8, 8)
	other.node.Labels["gpu"] = "a100"
	w.node("h100", 8, 8)
	placed, _, status := w.schedule(w.online("p", 1, nil))
	if placed != "h100" {
		t.Fatalf("placed on %q: %v", placed, status.Message())
	}
	state := newState()
	p := w.online("q", 1, nil)
	if _, s := w.PreFilter(t.Context(), state, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	got := w.Filter(t.Context(), state, p, other)
	if got.Code() != fwk.UnschedulableAndUnresolvable || !strings.Contains(got.Message(), "of no flavor of tenant serving") {
		t.Errorf("status = %v %q", got.Code(), got.Message())
	}
}

func TestWhyNoGrant(t *testing.T) {
	loan := func(job string, per int64, grants ...v1alpha1.Grant) *v1alpha1.Loan {
		return &v1alpha1.Loan{Spec: v1alpha1.LoanSpec{Job: v1alpha1.JobRef{UID: types.UID(job)}, UnitsPerPod: per, Grants: grants}}
	}
	mine := loan("mine", 2, lent("n", 3), v1alpha1.Grant{Lender: "serving/code", Node: "n", Count: 1}, lent("m", 8))
	earlier := loan("earlier", 4, lent("n", 4))
	for name, tc := range map[string]struct {
		used    map[types.UID]int64
		free    int64
		earlier []*v1alpha1.Loan
		want    string
	}{
		"first pod":                   {free: 8},
		"second pod":                  {used: map[types.UID]int64{"mine": 2}, free: 6},
		"grants of two lenders add":   {used: map[types.UID]int64{"mine": 4}, free: 4, want: "the loan grants 4 units on the node, of which 4 are used"},
		"room beside an earlier loan": {free: 6, earlier: []*v1alpha1.Loan{earlier}},
		"held for an earlier loan": {
			free: 5, earlier: []*v1alpha1.Loan{earlier},
			want: "5 units are free on the node, and 4 of them are held for loans made earlier",
		},
		"the earlier loan is there already": {used: map[types.UID]int64{"earlier": 4}, free: 2, earlier: []*v1alpha1.Loan{earlier}},
		"the node lost units":               {free: -1, want: "0 units are free on the node"},
	} {
		t.Run(name, func(t *testing.T) {
			got := whyNoGrant(mine, "n", tc.used, tc.free, tc.earlier)
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("reason = %q, want %q", got, tc.want)
			}
		})
	}
}

// When online pods took units that two loans count on, the older loan can still
// run: units are held for earlier loans only.
func TestFilterLoanServesTheOlderFirst(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 8)
	older := w.loan("older", 1, 4, lent("n", 4))
	w.time.Step(time.Second)
	newer := w.loan("newer", 1, 4, lent("n", 4))
	w.online("x", 4, n)
	if placed, _, _ := w.schedule(w.borrowed(newer, "p2", nil)); placed != "" {
		t.Error("the newer loan took units that the older one counts on")
	}
	if placed, _, s := w.schedule(w.borrowed(older, "p1", nil)); placed != "n" {
		t.Errorf("the older loan's pod was not placed: %v", s.Message())
	}
}

func TestScorePrefersFullNodesThenNodesWithoutLoans(t *testing.T) {
	w := newWorld(t)
	w.node("empty", 8, 8)
	w.online("x", 6, w.node("two-left", 8, 8))
	w.online("y", 4, w.node("four-left", 8, 8))
	w.borrowed(w.loan("a", 1, 4, lent("lent", 4)), "z", w.node("lent", 8, 8))
	p, state := w.online("p", 1, nil), newState()
	if _, s := w.PreFilter(t.Context(), state, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	if s := w.PreScore(t.Context(), state, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	var scores fwk.NodeScoreList
	for _, n := range w.nodes {
		raw, s := w.Score(t.Context(), state, p, n)
		if !s.IsSuccess() {
			t.Fatal(s.Message())
		}
		scores = append(scores, fwk.NodeScore{Name: n.node.Name, Score: raw})
	}
	w.NormalizeScore(t.Context(), state, p, scores)
	want := fwk.NodeScoreList{{Name: "empty", Score: 0}, {Name: "two-left", Score: 100}, {Name: "four-left", Score: 66}, {Name: "lent", Score: 33}}
	if diff := cmp.Diff(want, scores); diff != "" {
		t.Errorf("scores (-want +got):\n%s", diff)
	}

	on := newState()
	if _, s := w.PreFilter(t.Context(), on, w.borrowed(w.loan("b", 1, 1, lent("empty", 1)), "q", nil), w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	if s := w.PreScore(t.Context(), on, p, w.infos()); !s.IsSkip() {
		t.Error("a pod on a loan is scored")
	}
}

func TestRank(t *testing.T) {
	for name, tc := range map[string]struct{ in, want []int64 }{
		"none":     {},
		"one":      {in: []int64{-9}, want: []int64{100}},
		"equal":    {in: []int64{3, 3}, want: []int64{100, 100}},
		"outliers": {in: []int64{-1000000, -2, -1, -2}, want: []int64{0, 50, 100, 50}},
	} {
		t.Run(name, func(t *testing.T) {
			var scores fwk.NodeScoreList
			for _, s := range tc.in {
				scores = append(scores, fwk.NodeScore{Score: s})
			}
			rank(scores)
			var got []int64
			for _, s := range scores {
				got = append(got, s.Score)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAfterPodDelete(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 2, 1, lent("n", 2))
	member := w.borrowed(l, "member", nil)
	replaced := w.borrowed(l, "replaced", w.node("n", 8, 8))
	must(t, w.pods.Delete(replaced))
	for name, tc := range map[string]struct {
		waits *corev1.Pod
		gone  any
		want  fwk.QueueingHint
	}{
		"gave units up":                  {gone: w.online("x", 1, nil), want: fwk.Queue},
		"had no units":                   {gone: w.pod("y", "serving", 0, 0, nil), want: fwk.QueueSkip},
		"unexpected object":              {gone: &corev1.Node{}, want: fwk.Queue},
		"a sibling only lost its place":  {waits: member, gone: w.borrowed(l, "sibling", nil), want: fwk.QueueSkip},
		"a stranger only lost its place": {gone: w.borrowed(l, "stranger", nil), want: fwk.Queue},
		"a sibling is gone":              {waits: member, gone: replaced, want: fwk.Queue},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.waits == nil {
				tc.waits = w.online("p", 1, nil)
			}
			if got, _ := w.afterPodDelete(klog.Background(), tc.waits, tc.gone, nil); got != tc.want {
				t.Errorf("hint = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSignPod(t *testing.T) {
	w := newWorld(t)
	if _, s := w.SignPod(t.Context(), w.online("p", 1, nil)); s.Code() != fwk.Unschedulable {
		t.Error("results would be reused between pods that ask for units")
	}
	if fragments, s := w.SignPod(t.Context(), w.online("q", 0, nil)); !s.IsSuccess() || len(fragments) != 0 {
		t.Error("a pod without units is not left alone")
	}
}
