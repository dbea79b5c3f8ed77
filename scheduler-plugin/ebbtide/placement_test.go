package ebbtide

import (
	stdcmp "cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/pack"
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
		"a bare pod":        {pod: func(w *world) *corev1.Pod { return w.pod("p", "research", 0, 1, nil) }},
		"of a job without a queue": {pod: func(w *world) *corev1.Pod {
			w.know(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "plain", Namespace: "research", UID: "job-plain"}})
			p := w.pod("p", "research", 0, 1, nil)
			ownedBy(p, "plain", "job-plain")
			return p
		}},
		"of a queued job, without the label itself": {
			pod: func(w *world) *corev1.Pod {
				p := w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "p", nil)
				p.Labels = nil
				must(w.t, w.loans.Delete(&v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a-1"}}))
				return p
			},
			want: "need a loan",
		},
		"of a queued job that has a loan, without the label itself": {
			pod: func(w *world) *corev1.Pod {
				p := w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "p", nil)
				p.Labels = nil
				return p
			},
			want: "it lacks the label ebbtide.dev/queue",
		},
		"of a queued job that has a loan, at online priority": {
			pod: func(w *world) *corev1.Pod {
				p := w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "p", nil)
				p.Spec.Priority = ptr.To[int32](v1alpha1.PriorityOnline)
				return p
			},
			want: "the priority of online pods, which do not run on loans",
		},
		"of a job that is not known yet": {
			pod: func(w *world) *corev1.Pod {
				p := w.pod("p", "research", 0, 1, nil)
				ownedBy(p, "later", "job-later")
				return p
			},
			want: "is not known yet",
		},
		"of a queue, at online priority": {
			pod: func(w *world) *corev1.Pod {
				p := w.online("p", 1, nil)
				p.Labels = map[string]string{v1alpha1.LabelQueue: "q"}
				return p
			},
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
		"controlled by another job of that name and kind": {
			pod: func(w *world) *corev1.Pod {
				p := w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "p", nil)
				p.OwnerReferences[0].UID = "job-a-before"
				return p
			},
			want: "is not known yet",
		},
		"controlled by a kind that makes nothing of jobs": {
			pod: func(w *world) *corev1.Pod {
				p := w.borrowed(w.loan("a", 1, 1, lent("n", 1)), "p", nil)
				p.OwnerReferences[0].UID, p.OwnerReferences[0].Kind = "set", "ReplicaSet"
				return p
			},
			want: "need a loan",
		},
		"same job UID in another namespace": {
			pod: func(w *world) *corev1.Pod {
				w.loan("a", 1, 1, lent("n", 1))
				p := w.pod("p", "serving", 0, 1, nil)
				ownedBy(p, "a", "job-a")
				return p
			},
			want: "is not known yet",
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
				w.reclaim(w.t.Context(), l, lentMessage)
				return w.borrowed(l, "p", nil)
			},
			want: "taken back",
		},
		"its job says that it was taken back": {
			pod: func(w *world) *corev1.Pod {
				l := w.loan("a", 1, 1, lent("n", 1))
				w.annotate("a", v1alpha1.AnnotationTakenBack, "1")
				return w.borrowed(l, "p", nil)
			},
			want: "taken back",
		},
		"its job says so of an attempt before": {pod: func(w *world) *corev1.Pod {
			l := w.loan("a", 1, 1, lent("n", 1))
			l.Spec.Attempt = 2
			w.annotate("a", v1alpha1.AnnotationTakenBack, "1")
			return w.borrowed(l, "p", nil)
		}},
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

func TestFilterKnowsFullNodes(t *testing.T) {
	w := newWorld(t)
	full, half, silent := w.node("full", 8, 64), w.node("half", 8, 64), w.node("silent", 8, 64)
	w.online("x", 8, full)
	w.online("y", 4, half)
	unsaid := &still{silent, &scalars{m: map[corev1.ResourceName]int64{}}, &scalars{}}
	state, p := newState(), w.online("p", 4, nil)
	if _, s := w.PreFilter(t.Context(), state, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	for _, tc := range []struct {
		node fwk.NodeInfo
		want string
	}{{full, "Insufficient nvidia.com/gpu"}, {half, ""}, {unsaid, ""}} {
		got := w.Filter(t.Context(), state, p, tc.node)
		if got.Message() != tc.want || tc.want != "" && got.Code() != fwk.Unschedulable {
			t.Errorf("node %s: %v %q, want %q", tc.node.Node().Name, got.Code(), got.Message(), tc.want)
		}
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

// rankOf returns the plugin's normalized scores for the pod, by node.
func (w *world) rankOf(p *corev1.Pod) map[string]int64 {
	w.t.Helper()
	s := newState()
	if _, status := w.PreFilter(w.t.Context(), s, p, w.infos()); !status.IsSuccess() {
		w.t.Fatal(status.Message())
	}
	if status := w.PreScore(w.t.Context(), s, p, w.infos()); !status.IsSuccess() {
		w.t.Fatal(status.Message())
	}
	var scores fwk.NodeScoreList
	for _, n := range w.nodes {
		raw, status := w.Score(w.t.Context(), s, p, n)
		if !status.IsSuccess() {
			w.t.Fatal(status.Message())
		}
		scores = append(scores, fwk.NodeScore{Name: n.node.Name, Score: raw})
	}
	w.NormalizeScore(w.t.Context(), s, p, scores)
	out := map[string]int64{}
	for _, s := range scores {
		out[s.Name] = s.Score
	}
	return out
}

func TestScorePacksAndSparesLoans(t *testing.T) {
	w := newWorld(t)
	w.node("empty", 8, 8)
	w.online("x", 6, w.node("two-left", 8, 8))
	w.online("y", 5, w.node("three-left", 8, 8))
	w.borrowed(w.loan("here", 1, 6, lent("full-loan", 6)), "z", w.node("full-loan", 8, 8))
	w.online("u", 6, w.node("dear", 8, 8))
	w.loan("large", 1, 2, lent("dear", 2))
	w.online("v", 6, w.node("cheap", 8, 8))
	w.loan("small", 1, 1, lent("cheap", 2)) // of its two units one is beside it
	w.online("eight", 8, nil)
	want := map[string]int64{
		"three-left": 100,
		// Two units are of use to the pod of two. A loan whose pods are there loses
		// nothing.
		"two-left": 88, "full-loan": 88,
		"empty": leastSparing,   // whole nodes are for the pod of eight
		"cheap": mostDisplacing, // the rest is promised to loans
		"dear":  0,
	}
	if diff := cmp.Diff(want, w.rankOf(w.online("p", 1, nil))); diff != "" {
		t.Errorf("scores (-want +got):\n%s", diff)
	}

	on, p := newState(), w.borrowed(w.loan("b", 1, 1, lent("empty", 1)), "q", nil)
	if _, s := w.PreFilter(t.Context(), on, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	if s := w.PreScore(t.Context(), on, p, w.infos()); !s.IsSkip() {
		t.Error("a pod on a loan is scored")
	}
}

func TestRank(t *testing.T) {
	for name, tc := range map[string]struct{ in, want []int64 }{
		"none":            {},
		"one":             {in: []int64{-9}, want: []int64{100}},
		"equal":           {in: []int64{-3, -3}, want: []int64{100, 100}},
		"outliers":        {in: []int64{-1000000, -2, -1, -2}, want: []int64{0, 50, 100, 50}},
		"all displace":    {in: []int64{at(9), at(5), at(1)}, want: []int64{0, 50, 100}},
		"one of each":     {in: []int64{at(1), at(0)}, want: []int64{24, 100}},
		"pools":           {in: []int64{in(1), in(0) - 1, in(2), in(0)}, want: []int64{24, 76, 0, 100}},
		"second pools":    {in: []int64{in(1), in(3)}, want: []int64{100, 24}},
		"pools and loans": {in: []int64{in(1), in(0), at(1), in(2)}, want: []int64{84, 100, 24, 76}},
		"the least apart": {in: []int64{at(1), at(1e9), at(0) - 1, at(0)}, want: []int64{24, 0, 76, 100}},
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

// at is the score of a place where a loan would lose so much.
func at(displaced float64) int64 { return pack.Score(pack.Place{Displaced: displaced}) }

// in is the score of a place in the pool that so many are preferred to.
func in(pool int64) int64 { return pack.Score(pack.Place{Later: pool}) }

// However many nodes there are, those where nothing is displaced stay ahead of the
// others by more than the scorers that every pod has can make up for; and nobody is
// put before a better one.
func TestRankKeepsDisplacingNodesApart(t *testing.T) {
	var scores fwk.NodeScoreList
	for i := range 3000 {
		place := pack.Place{Growth: int64(i % 70), Left: int64(i % 9), Later: int64(i % 4)}
		if i%3 == 0 {
			place.Displaced = float64(1 + i*i)
		}
		scores = append(scores, fwk.NodeScore{Score: pack.Score(place)})
	}
	raw := slices.Clone(scores)
	rank(scores)
	var worst, best int64 = fwk.MaxScore, fwk.MinScore
	for i := range scores {
		if i%3 == 0 {
			best = max(best, scores[i].Score)
		} else {
			worst = min(worst, scores[i].Score)
		}
	}
	if stock := 5 * fwk.MaxScore; 10*(worst-best) <= stock {
		t.Errorf("displacing nodes have up to %d, the others at least %d", best, worst)
	}
	order := make([]int, len(raw))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return stdcmp.Compare(raw[a].Score, raw[b].Score) })
	for k := 1; k < len(order); k++ {
		if scores[order[k-1]].Score > scores[order[k]].Score {
			t.Fatalf("raw %d got %d, and the better %d got %d", raw[order[k-1]].Score, scores[order[k-1]].Score, raw[order[k]].Score, scores[order[k]].Score)
		}
	}
}

// Bare pods below online priority run within the nominal quota, and make room by
// taking loans back, as online pods do.
func TestBarePodsRunWithinTheNominalQuota(t *testing.T) {
	w := newWorld(t)
	w.tenant("serving", 2)
	n := w.node("n", 2, 64)
	w.fill(w.loan("a", 1, 1, v1alpha1.Grant{Lender: "cohort:lab", Node: "n", Count: 1}), n)
	if placed, _, s := w.schedule(w.bare("first", 0, 1, nil)); placed != "n" {
		t.Fatalf("not placed: %s", s.Message())
	}
	second := w.bare("second", -5, 1, nil)
	w.schedule(second)
	w.checkTaken()
	w.time.Step(w.args.TakeBackAfter)
	_, result, status := w.schedule(second)
	w.checkNominated(result, status, "n")
	w.checkTaken("a-1")
	state := newState()
	_, got := w.PreFilter(t.Context(), state, w.bare("third", -5, 1, nil), w.infos())
	if want := "tenant serving: 2 of 2 units of flavor h100 are used, and the pod asks for 1"; got.Message() != want {
		t.Errorf("reason = %q, want %q", got.Message(), want)
	}
}
