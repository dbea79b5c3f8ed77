package audit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	ebbtidev1 "github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

const gpu = "nvidia.com/gpu"

// stage plays events to an auditor, one revision each.
type stage struct {
	a        *auditor
	revision uint64
	now      time.Time
}

func newStage(nodes int) *stage {
	s := &stage{now: time.Unix(1000, 0), a: newAuditor(Options{
		Resource: gpu, MaxGrace: 3 * time.Second, Slack: 2 * time.Second, Settle: 5 * time.Second,
	})}
	for i := range nodes {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i)}}
		n.Status.Allocatable = corev1.ResourceList{gpu: resource.MustParse("8")}
		s.play(n)
	}
	return s
}

func (s *stage) play(objects ...any) {
	for _, o := range objects {
		s.revision++
		s.a.judge(event{revision: s.revision, received: s.now, object: o})
	}
}

func (s *stage) remove(o any) {
	s.revision++
	s.a.judge(event{revision: s.revision, received: s.now, object: o, deleted: true})
}

func (s *stage) pass(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); s.a.lasting(s.now) {
		s.now = s.now.Add(tick)
	}
}

func (s *stage) violations(t *testing.T, want ...string) {
	t.Helper()
	got := s.a.snapshot().Violations
	if len(got) != len(want) {
		t.Errorf("violations %v, want %d", got, len(want))
		return
	}
	for i, v := range got {
		if !strings.Contains(v.String(), want[i]) {
			t.Errorf("violation %q, want it to contain %q", v, want[i])
		}
	}
}

func gpuPod(name, node string, units int64, priority int32) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{
			NodeName: node, Priority: &priority,
			Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{gpu: *resource.NewQuantity(units, resource.DecimalSI)},
			}}},
		},
	}
}

func onlinePod(name, node string) *corev1.Pod { return gpuPod(name, node, 8, 1000000) }

func trainingPod(name, job, node string, units int64) *corev1.Pod {
	p := gpuPod(name, node, units, -100)
	p.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", UID: types.UID(job)}}
	p.Labels = map[string]string{ebbtidev1.LabelQueue: "default"}
	return p
}

func testLoan(name, job string, pods int32, grants ...ebbtidev1.Grant) *ebbtidev1.Loan {
	return &ebbtidev1.Loan{
		ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: name},
		Spec:       ebbtidev1.LoanSpec{Job: ebbtidev1.JobRef{UID: types.UID(job)}, Pods: pods, Grants: grants},
	}
}

func grant(node string, count int64) ebbtidev1.Grant {
	return ebbtidev1.Grant{Lender: "serving/chat", Node: node, Flavor: "h100", Count: count}
}

func marked(p *corev1.Pod) *corev1.Pod {
	p = p.DeepCopy()
	p.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
	}}
	return p
}

func ending(p *corev1.Pod) *corev1.Pod {
	p = p.DeepCopy()
	now := metav1.Now()
	p.DeletionTimestamp = &now
	return p
}

func with(l *ebbtidev1.Loan, condition string) *ebbtidev1.Loan {
	l = l.DeepCopy()
	l.Status.Conditions = []metav1.Condition{{Type: condition, Status: metav1.ConditionTrue}}
	return l
}

// A loan from grant to return, with the numbers that the demo reports.
func TestALawfulLoanHasNoViolation(t *testing.T) {
	s := newStage(2)
	l := testLoan("l1", "j1", 2, grant("n0", 8), grant("n1", 8))
	s.play(l, trainingPod("a", "j1", "n0", 8), trainingPod("b", "j1", "n1", 8))
	s.pass(10 * time.Second)
	s.play(onlinePod("o", ""), with(l, ebbtidev1.LoanReclaiming))
	s.play(ending(trainingPod("a", "j1", "n0", 8)), ending(trainingPod("b", "j1", "n1", 8)))
	s.pass(time.Second)
	s.remove(trainingPod("a", "j1", "n0", 8))
	s.remove(trainingPod("b", "j1", "n1", 8))
	s.play(onlinePod("o", "n0"), with(l, ebbtidev1.LoanReturned))
	s.pass(10 * time.Second)
	s.violations(t)
	r := s.a.snapshot()
	if r.Loans != 1 || r.Reclaimed != 1 || r.TakeBacks != 0 || r.EvictedPods != 2 {
		t.Errorf("%+v: want one loan, reclaimed, two pods evicted", r)
	}
	if diff := cmp.Diff([]string{"x/l1"}, r.Asked); diff != "" {
		t.Errorf("loans asked back (-want +got):\n%s", diff)
	}
	if len(r.Waits) != 1 || r.Waits[0] < time.Second || r.Waits[0] > 1100*time.Millisecond {
		t.Errorf("waits %v, want one of a second", r.Waits)
	}
	if got := r.LoanUnits; got < 176*time.Second || got > 178*time.Second {
		t.Errorf("%s unit-time on loan, want 16 units for 11 s", got)
	}
	if u := s.a.cluster.usage(); u != (Usage{Online: 8}) {
		t.Errorf("at the end %+v, want the online pod alone", u)
	}
}

func TestOvercommittedNodeIsFound(t *testing.T) {
	s := newStage(1)
	s.play(onlinePod("o", "n0"), gpuPod("p", "n0", 1, 1000000))
	s.violations(t, "law 1: node n0 has 8 units, its pods hold 9: x/o x/p")
}

func TestEndedPodsHoldNothing(t *testing.T) {
	s := newStage(1)
	done := trainingPod("a", "j1", "n0", 8)
	s.play(testLoan("l1", "j1", 1, grant("n0", 8)), trainingPod("a", "j1", "n0", 8))
	done.Status.Phase = corev1.PodSucceeded
	s.play(done, onlinePod("o", "n0"))
	s.violations(t)
}

func TestLoanOnUnitsOfOnlinePodsIsFoundWhenItLasts(t *testing.T) {
	s := newStage(1)
	s.play(onlinePod("o", "n0"), testLoan("l1", "j1", 1, grant("n0", 1)))
	s.pass(4 * time.Second)
	s.violations(t)
	s.pass(2 * time.Second)
	s.violations(t, "law 1: node n0 has 8 units, online pods and loans hold 9")
}

func TestSecondOpenLoanOfAJobIsFound(t *testing.T) {
	s := newStage(2)
	s.play(testLoan("l1", "j1", 1, grant("n0", 8)), testLoan("l2", "j1", 1, grant("n1", 8)))
	s.violations(t, "law 1: the job of loan x/l2 has another open loan, x/l1")
}

func TestLongWaitIsFoundOnce(t *testing.T) {
	s := newStage(1)
	s.play(onlinePod("o", ""))
	s.pass(4900 * time.Millisecond)
	s.violations(t)
	s.pass(5 * time.Second)
	s.play(onlinePod("o", "n0"))
	s.violations(t, "law 3: online pod x/o has waited")
}

func TestPartialGangIsFoundWhenItLasts(t *testing.T) {
	s := newStage(2)
	s.play(testLoan("l1", "j1", 2, grant("n0", 8), grant("n1", 8)), trainingPod("a", "j1", "n0", 8))
	s.pass(4 * time.Second)
	s.violations(t)
	s.pass(2 * time.Second)
	s.violations(t, "law 5: the job of loan x/l1 holds units with 1 of its 2 pods")
}

func TestPodOutsideItsLoanIsFound(t *testing.T) {
	s := newStage(2)
	s.play(trainingPod("a", "j1", "n0", 8))
	s.play(testLoan("l2", "j2", 1, grant("n0", 8)), trainingPod("b", "j2", "n1", 8))
	s.violations(t, "law 9: training pod x/a is bound to n0 without", "law 9: training pod x/b is bound to n1, which its loan x/l2")
}

func TestMoreThanTheLoanGrantsIsFound(t *testing.T) {
	s := newStage(1)
	s.play(testLoan("l1", "j1", 2, grant("n0", 4)), trainingPod("a", "j1", "n0", 4), trainingPod("b", "j1", "n0", 4))
	s.violations(t, "law 9: training pod x/b is bound to n0, where the job now holds 8 units and its loan x/l1 grants 4")
}

// A pod that is first seen with its node has waited since it was made, at the end of the
// second that its time is cut to.
func TestPodFirstSeenBoundHasWaited(t *testing.T) {
	s := newStage(1)
	p := onlinePod("o", "n0")
	p.CreationTimestamp = metav1.NewTime(s.now.Add(-4 * time.Second))
	s.play(p)
	if r := s.a.snapshot(); len(r.Waits) != 1 || r.Waits[0] != 3*time.Second {
		t.Errorf("waits %v, want one of 3s", r.Waits)
	}
}

// Pods that never get a node count as long as they waited.
func TestPodsThatAreNeverBoundHaveWaited(t *testing.T) {
	s := newStage(1)
	s.play(onlinePod("deleted", ""), onlinePod("ending", ""), onlinePod("waiting", ""))
	s.pass(time.Second)
	s.remove(ending(onlinePod("deleted", "")))
	s.pass(time.Second)
	s.play(ending(onlinePod("ending", "")))
	s.pass(time.Second)
	s.remove(ending(onlinePod("ending", "")))
	want := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}
	for range 2 { // reading changes nothing
		if diff := cmp.Diff(want, s.a.snapshot().Waits); diff != "" {
			t.Errorf("waits (-want +got):\n%s", diff)
		}
	}
}

// Only what pods of an open loan hold of a lender's units counts as bound.
func TestOnlyLentUnitsCountAsBound(t *testing.T) {
	s := newStage(3)
	own := grant("n1", 4)
	own.Lender = ""
	l := testLoan("l1", "j1", 2, grant("n0", 4), own)
	s.play(l, trainingPod("a", "j1", "n0", 4), trainingPod("b", "j1", "n1", 4))
	s.play(gpuPod("other", "n2", 8, 0))
	if got := s.a.cluster.bound(); got != 4 {
		t.Errorf("%d units are bound, want the 4 that are lent", got)
	}
	s.play(with(l, ebbtidev1.LoanReturned))
	if got := s.a.cluster.bound(); got != 0 {
		t.Errorf("%d units are bound without a loan, want none", got)
	}
}

func TestLateEventsAreCounted(t *testing.T) {
	s := newStage(1)
	s.play(onlinePod("o", ""))
	s.a.judge(event{revision: 1, received: s.now, object: onlinePod("p", "")})
	if r := s.a.snapshot(); r.Events != 3 || r.Late != 1 {
		t.Errorf("%d of %d events were late, want 1 of 3", r.Late, r.Events)
	}
}

// Two gangs of one node each stand where one online pod waits: taking both back
// is needless, taking one is not.
func TestNeedlessTakeBackIsFound(t *testing.T) {
	for victims, want := range map[int]int{1: 0, 2: 2} {
		s := newStage(2)
		for i := range 2 {
			node, job := fmt.Sprintf("n%d", i), fmt.Sprintf("j%d", i)
			s.play(testLoan("l"+job, job, 1, grant(node, 8)), trainingPod("p"+job, job, node, 8))
		}
		s.play(onlinePod("o", ""))
		for i := range victims {
			s.play(marked(trainingPod(fmt.Sprintf("pj%d", i), fmt.Sprintf("j%d", i), fmt.Sprintf("n%d", i), 8)))
		}
		s.pass(time.Second)
		r := s.a.snapshot()
		if len(r.Needless) != want || r.TakeBacks != victims {
			t.Errorf("%d victims for one pod: needless %v, take-backs %d; want %d needless", victims, r.Needless, r.TakeBacks, want)
		}
	}
}

// A victim of the scheduler is needless when the broker has asked back enough.
func TestTakeBackBesideABrokersReclaimIsFound(t *testing.T) {
	s := newStage(2)
	l0, l1 := testLoan("l0", "j0", 1, grant("n0", 8)), testLoan("l1", "j1", 1, grant("n1", 8))
	s.play(l0, l1, trainingPod("p0", "j0", "n0", 8), trainingPod("p1", "j1", "n1", 8), onlinePod("o", ""))
	s.play(marked(trainingPod("p1", "j1", "n1", 8)), with(l0, ebbtidev1.LoanReclaiming))
	s.pass(time.Second)
	if r := s.a.snapshot(); len(r.Needless) != 1 {
		t.Errorf("needless %v, want the scheduler's victim", r.Needless)
	}
}

func TestEventsAreJudgedInRevisionOrder(t *testing.T) {
	b := inbox{hold: time.Second}
	now := time.Unix(1000, 0)
	b.put(event{revision: 7, received: now})
	b.put(event{revision: 5, received: now.Add(900 * time.Millisecond)})
	b.put(event{revision: 9, received: now.Add(900 * time.Millisecond)})
	if got := b.take(now.Add(500 * time.Millisecond)); len(got) != 0 {
		t.Errorf("%d events were not held back", len(got))
	}
	got := b.take(now.Add(time.Second))
	if len(got) != 2 || got[0].revision != 5 || got[1].revision != 7 {
		t.Errorf("got %v, want revisions 5 and 7", got)
	}
	if got := b.take(now.Add(2 * time.Second)); len(got) != 1 || got[0].revision != 9 {
		t.Errorf("got %v, want revision 9", got)
	}
}

func TestWaitQuantile(t *testing.T) {
	r := Report{}
	if r.WaitQuantile(0.99) != 0 {
		t.Error("no waits: want 0")
	}
	for i := 1; i <= 200; i++ {
		r.Waits = append(r.Waits, time.Duration(i)*time.Millisecond)
	}
	if got := r.WaitQuantile(0.99); got != 198*time.Millisecond {
		t.Errorf("p99 of 1..200 ms is %s, want 198ms", got)
	}
}

func tenantQuota(name string, nominal int64) *ebbtidev1.TenantQuota {
	return &ebbtidev1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: ebbtidev1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}},
			Flavors:    []ebbtidev1.FlavorQuota{{Name: "h100", Resource: gpu, Nominal: nominal}},
		},
	}
}

func namespace(name, team string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": team}}}
}

// What a tenant holds outside loans, and of its own quota in loans, is together no
// more than it was promised; what it borrows does not count.
func TestATenantOverItsQuotaIsFound(t *testing.T) {
	for name, tc := range map[string]struct {
		nominal int64
		own     ebbtidev1.Grant
		want    []string
	}{
		"within": {nominal: 12, own: ebbtidev1.Grant{Node: "n1", Flavor: "h100", Count: 4}},
		"over": {nominal: 11, own: ebbtidev1.Grant{Node: "n1", Flavor: "h100", Count: 4},
			want: []string{"law 9: tenant a holds 12 units outside what it borrows and was promised 11"}},
		"borrowed": {nominal: 8, own: ebbtidev1.Grant{Lender: "cohort:lab", Node: "n1", Flavor: "h100", Count: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(2)
			l := testLoan("l1", "j1", 1, tc.own)
			l.Spec.Borrower = "a"
			s.play(tenantQuota("a", tc.nominal), namespace("x", "a"), l, gpuPod("bare", "n0", 8, 0), trainingPod("p", "j1", "n1", 4))
			s.pass(10 * time.Second)
			s.violations(t, tc.want...)
		})
	}
}

func TestPodsOfNoTenantAreFound(t *testing.T) {
	s := newStage(1)
	s.play(tenantQuota("a", 8), namespace("x", "b"), gpuPod("bare", "n0", 1, 0))
	s.pass(10 * time.Second)
	s.violations(t, "law 9: pods in namespaces of no tenant hold 1 units")
}

// TestKin: whose pod it is, for each way in which jobs make pods.
func TestKin(t *testing.T) {
	by := func(kind, uid string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, UID: types.UID(uid), Controller: new(true)}}
	}
	queued := map[string]string{ebbtidev1.LabelQueue: "default"}
	grouped := map[string]string{ebbtidev1.LabelQueue: "default", ebbtidev1.LabelPodGroup: "g"}
	c := newCluster(gpu, "", nil)
	for uid, owners := range map[string][]metav1.OwnerReference{
		"job": by("JobSet", "jobset"), "jobset": by("TrainJob", "train"), "cluster": by("RayJob", "ray"),
		"workers": by("Pod", "leader"), "leader": by("StatefulSet", "leaders"), "leaders": by("LeaderWorkerSet", "lws"),
		"rs": by("Deployment", "chat"), "a": by("Job", "b"), "b": by("Job", "a"),
	} {
		c.apply(event{object: maker{types.UID(uid), madeBy(owners)}})
	}
	for name, tc := range map[string]struct {
		labels map[string]string
		owners []metav1.OwnerReference
		want   types.UID
	}{
		"nobody's":                {nil, nil, ""},
		"alone":                   {queued, nil, "pod"},
		"of a group":              {grouped, nil, "group/x/g"},
		"of a Deployment":         {queued, by("ReplicaSet", "rs"), "pod"},
		"of a service":            {nil, by("ReplicaSet", "rs"), ""},
		"of a Job":                {nil, by("Job", "alone"), "alone"},
		"of a TrainJob":           {queued, by("Job", "job"), "train"},
		"of a RayJob":             {queued, by("RayCluster", "cluster"), "ray"},
		"a leader":                {queued, by("StatefulSet", "leaders"), "pod"},
		"a worker":                {queued, by("StatefulSet", "workers"), "leader"},
		"a Job's, in a group too": {grouped, by("Job", "job"), "train"},
		"in a circle":             {queued, by("Job", "a"), "b"},
	} {
		t.Run(name, func(t *testing.T) {
			p := gpuPod("pod", "", 1, -100)
			p.Labels, p.OwnerReferences = tc.labels, tc.owners
			if got := c.jobOf(p); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestNeedlessWhereItWouldNotFit: units on nodes where a pod may not go are none of its.
func TestNeedlessWhereItWouldNotFit(t *testing.T) {
	for name, selector := range map[string]map[string]string{"its own nodes": {"island": "a"}, "any": nil} {
		t.Run(name, func(t *testing.T) {
			s := newStage(2)
			for i, island := range []string{"a", "b"} {
				n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i), Labels: map[string]string{"island": island}}}
				n.Status.Allocatable = corev1.ResourceList{gpu: resource.MustParse("8")}
				s.play(n)
			}
			victim := trainingPod("w", "job", "n0", 8)
			waiting := onlinePod("p", "")
			waiting.Spec.NodeSelector = selector
			s.play(testLoan("l", "job", 1, grant("n0", 8)), victim, waiting, marked(victim))
			s.pass(time.Second)
			if got := len(s.a.snapshot().Needless); (got == 0) != (selector != nil) {
				t.Errorf("%d needless", got)
			}
		})
	}
}

func TestCapacityThatWasLost(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	c := capacity{}.change(7, at(0)).change(0, at(10)).change(3, at(11))
	for seconds, want := range map[int]int64{12: 7, 15: 7, 16: 3} {
		if got := c.within(5*time.Second, at(seconds)); got != want {
			t.Errorf("%d s: had %d units lately, want %d", seconds, got, want)
		}
	}
	if got := (capacity{}).change(3, at(0)).change(7, at(1)).within(time.Hour, at(2)); got != 7 {
		t.Errorf("had %d units, want 7", got)
	}
}
