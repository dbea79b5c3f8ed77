package laws_test

import (
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
	"github.com/ebbtide/ebbtide/e2e/witness/laws"
)

const gpu = "nvidia.com/gpu"

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// stage plays a history, one revision and one second per change.
type stage struct {
	w        *laws.World
	revision uint64
	now      time.Time
	breaches []laws.Breach
}

// newStage has a node with 8 GPUs, a lender, a borrower without quota of its own that may
// borrow 8, and a job that waits.
func newStage() *stage {
	s := &stage{w: laws.NewWorld(), now: began}
	s.play(nodeOf("n1", 8), namespaceOf("research"), namespaceOf("serving"), quotaOf("research", 0, 8), quotaOf("serving", 8, 0),
		lenderOf(0, 1), jobOf("a", true), jobOf("b", true), headOf("book", 1, 1))
	return s
}

func (s *stage) play(objects ...runtime.Object) {
	for _, o := range objects {
		s.revision++
		s.now = s.now.Add(time.Second)
		s.breaches = append(s.breaches, s.w.Apply(history.Event{Revision: s.revision, At: s.now, Object: o})...)
	}
}

// list plays what is found after a watch was lost.
func (s *stage) list(objects ...runtime.Object) {
	until := s.revision + uint64(len(objects))
	for _, o := range objects {
		s.revision++
		s.now = s.now.Add(time.Second)
		s.breaches = append(s.breaches, s.w.Apply(history.Event{Revision: s.revision, At: s.now, Object: o, Unseen: true, Until: until})...)
	}
}

func (s *stage) remove(o runtime.Object) {
	s.revision++
	s.now = s.now.Add(time.Second)
	s.breaches = append(s.breaches, s.w.Apply(history.Event{Revision: s.revision, At: s.now, Object: o, Deleted: true})...)
}

func (s *stage) pass(d time.Duration) { s.now = s.now.Add(d) }

func nodeOf(name string, gpus int64) *corev1.Node {
	q := corev1.ResourceList{gpu: *resource.NewQuantity(gpus, resource.DecimalSI), "cpu": resource.MustParse("8")}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Capacity: q, Allocatable: q}}
}

func namespaceOf(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": name}}}
}

func quotaOf(name string, nominal, borrow int64) *v1alpha1.TenantQuota {
	return &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TenantQuotaSpec{
		Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}},
		Flavors:    []v1alpha1.FlavorQuota{{Name: "h100", Resource: gpu, Nominal: nominal, BorrowingLimit: ptr.To(borrow)}},
	}}
}

func lenderOf(lent, epoch int64) *v1alpha1.LendingPolicy {
	return &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat", UID: "chat", CreationTimestamp: metav1.NewTime(began)},
		Status:     v1alpha1.LendingPolicyStatus{Lent: lent, Epoch: epoch},
	}
}

func jobOf(name string, suspend bool) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: name, UID: types.UID(name), Labels: map[string]string{v1alpha1.LabelQueue: "q"}},
		Spec:       batchv1.JobSpec{Suspend: &suspend},
	}
}

func headOf(id string, seq uint64, epoch int64) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "ebbtide-system", Name: history.LedgerLease, Annotations: map[string]string{
		"ebbtide.dev/ledger-head": fmt.Sprintf("%d:%064x", seq, seq), "ebbtide.dev/ledger-id": id, "ebbtide.dev/ledger-epoch": strconv.FormatInt(epoch, 10),
	}}}
}

func podOf(name, job, node string, gpus int64) *corev1.Pod {
	q := corev1.ResourceList{gpu: *resource.NewQuantity(gpus, resource.DecimalSI)}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{NodeName: node, SchedulerName: v1alpha1.SchedulerName, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: q}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	if job != "" {
		p.Namespace, p.Labels = "research", map[string]string{v1alpha1.LabelQueue: "q"}
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: job, UID: types.UID(job)}}
	}
	if node != "" {
		p.Status.Phase = corev1.PodRunning
	}
	return p
}

// loanOf is a Loan of a job's attempt of that many borrowed units.
func loanOf(name, job string, count int64) *v1alpha1.Loan {
	return &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: name, UID: types.UID("uid-" + name), Finalizers: []string{"ebbtide.dev/ledger"}, CreationTimestamp: metav1.NewTime(began.Add(time.Hour))},
		Spec: v1alpha1.LoanSpec{
			Job: v1alpha1.JobRef{Kind: "Job", Name: job, UID: types.UID(job)}, Borrower: "research", Resource: gpu, Pods: 1, UnitsPerPod: count, Epoch: 1,
			Grants: []v1alpha1.Grant{{Lender: "serving/chat", Node: "n1", Flavor: "h100", Count: count}},
		},
	}
}

// with sets a condition, and the epoch of who wrote.
func with(l *v1alpha1.Loan, condition string, status metav1.ConditionStatus) *v1alpha1.Loan {
	l = l.DeepCopy()
	meta.SetStatusCondition(&l.Status.Conditions, metav1.Condition{Type: condition, Status: status, Reason: "X"})
	l.Status.Epoch = max(l.Status.Epoch, l.Spec.Epoch)
	return l
}

func active(l *v1alpha1.Loan) *v1alpha1.Loan {
	return with(l, v1alpha1.LoanActive, metav1.ConditionTrue)
}
func asked(l *v1alpha1.Loan) *v1alpha1.Loan {
	return with(l, v1alpha1.LoanReclaiming, metav1.ConditionTrue)
}
func returned(l *v1alpha1.Loan) *v1alpha1.Loan {
	return with(with(l, v1alpha1.LoanReturned, metav1.ConditionTrue), v1alpha1.LoanActive, metav1.ConditionFalse)
}

func unheld(l *v1alpha1.Loan) *v1alpha1.Loan {
	l = l.DeepCopy()
	l.Finalizers = nil
	return l
}

func epoch(l *v1alpha1.Loan, n int64) *v1alpha1.Loan {
	l = l.DeepCopy()
	l.Status.Epoch = n
	return l
}
