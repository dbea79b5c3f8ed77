package rounds

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/faults/stage"
)

// state is a cluster as the API server shows it.
type state struct {
	loans    v1alpha1.LoanList
	jobs     batchv1.JobList
	pods     corev1.PodList
	policies v1alpha1.LendingPolicyList
	nodes    corev1.NodeList
}

func (r *rig) readState(ctx context.Context) (*state, error) {
	s := &state{}
	for _, list := range []client.ObjectList{&s.loans, &s.jobs, &s.pods, &s.policies, &s.nodes} {
		if err := r.town.API.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list %T: %w", list, err)
		}
	}
	return s, nil
}

// wrong says what is not as it should be once nothing moves; empty: all is well. double is
// what may not be at any moment.
func (s *state) wrong() (wrong, double string) {
	if double := s.overcommitted(); double != "" {
		return double, double
	}
	byJob := map[types.UID]*v1alpha1.Loan{}
	lent := map[string]int64{}
	for i := range s.loans.Items {
		loan := &s.loans.Items[i]
		if other := byJob[loan.Spec.Job.UID]; other != nil {
			text := fmt.Sprintf("job %s has the loans %s and %s", loan.Spec.Job.Name, other.Name, loan.Name)
			return text, text
		}
		byJob[loan.Spec.Job.UID] = loan
		if on := inTransit(loan); on != "" {
			return fmt.Sprintf("loan %s is %s", loan.Name, on), ""
		}
		for _, g := range loan.Held() {
			lent[g.Lender] += g.Count
		}
	}
	for _, check := range []string{s.wrongJobs(byJob), s.wrongPods(byJob), s.wrongCounts(lent)} {
		if check != "" {
			return check, ""
		}
	}
	return "", ""
}

// inTransit says where a loan is on its way; empty: it stands.
func inTransit(loan *v1alpha1.Loan) string {
	conditions := loan.Status.Conditions
	switch {
	case loan.DeletionTimestamp != nil:
		return "going"
	case meta.IsStatusConditionTrue(conditions, v1alpha1.LoanReturned):
		return "returned"
	case meta.IsStatusConditionTrue(conditions, v1alpha1.LoanReclaiming):
		return "asked back"
	case len(loan.Status.Shedding) > 0:
		return "asked back in part"
	case !meta.IsStatusConditionTrue(conditions, v1alpha1.LoanActive):
		return "not active"
	}
	return ""
}

// wrongJobs finds a job that runs without a loan, or a loan whose job does not run.
func (s *state) wrongJobs(byJob map[types.UID]*v1alpha1.Loan) string {
	known := map[types.UID]bool{}
	for i := range s.jobs.Items {
		job := &s.jobs.Items[i]
		known[job.UID] = true
		runs := job.Spec.Suspend == nil || !*job.Spec.Suspend
		if loan := byJob[job.UID]; job.Labels[v1alpha1.LabelQueue] != "" && runs != (loan != nil) {
			return fmt.Sprintf("job %s runs: %v, has a loan: %v", job.Name, runs, loan != nil)
		}
	}
	for uid, loan := range byJob {
		if !known[uid] {
			return fmt.Sprintf("loan %s is of a job that is gone", loan.Name)
		}
	}
	return ""
}

// wrongPods finds one that waits or goes, and a loan that has not all of its pods.
func (s *state) wrongPods(byJob map[types.UID]*v1alpha1.Loan) string {
	bound := map[types.UID]int32{}
	for i := range s.pods.Items {
		pod := &s.pods.Items[i]
		owner := metav1.GetControllerOf(pod)
		switch {
		case pod.Namespace != stage.Online && pod.Namespace != stage.Training || ended(pod):
		case pod.DeletionTimestamp != nil:
			return fmt.Sprintf("pod %s goes", pod.Name)
		case pod.Spec.NodeName == "":
			return fmt.Sprintf("pod %s waits", pod.Name)
		case pod.Status.Phase != corev1.PodRunning:
			return fmt.Sprintf("pod %s is %s", pod.Name, pod.Status.Phase)
		case owner != nil:
			bound[owner.UID]++
		}
	}
	for uid, loan := range byJob {
		if bound[uid] != loan.Spec.Pods {
			return fmt.Sprintf("loan %s has %d pods of %d", loan.Name, bound[uid], loan.Spec.Pods)
		}
	}
	return ""
}

// wrongCounts finds a lender that counts other than its loans.
func (s *state) wrongCounts(lent map[string]int64) string {
	for i := range s.policies.Items {
		p := &s.policies.Items[i]
		if want := lent[p.Namespace+"/"+p.Name]; p.Status.Lent != want {
			return fmt.Sprintf("LendingPolicy %s counts %d as lent, its loans are %d", p.Name, p.Status.Lent, want)
		}
	}
	return ""
}

// overcommitted finds a node of which more is held than there is.
func (s *state) overcommitted() string {
	held := map[string]int64{}
	for i := range s.pods.Items {
		pod := &s.pods.Items[i]
		if ended(pod) {
			continue
		}
		for _, c := range pod.Spec.Containers {
			q := c.Resources.Requests[stage.GPU]
			held[pod.Spec.NodeName] += q.Value()
		}
	}
	for i := range s.nodes.Items {
		node := &s.nodes.Items[i]
		if have := node.Status.Capacity[stage.GPU]; held[node.Name] > have.Value() {
			return fmt.Sprintf("the pods of node %s hold %d GPUs of %d", node.Name, held[node.Name], have.Value())
		}
	}
	return ""
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// sum tells states apart in which something was decided.
func (s *state) sum() uint64 {
	h := fnv.New64a()
	for i := range s.loans.Items {
		fmt.Fprintln(h, s.loans.Items[i].UID, s.loans.Items[i].Status.Conditions)
	}
	for i := range s.pods.Items {
		fmt.Fprintln(h, s.pods.Items[i].UID, s.pods.Items[i].Spec.NodeName, s.pods.Items[i].Status.Phase)
	}
	for i := range s.policies.Items {
		fmt.Fprintln(h, s.policies.Items[i].UID, s.policies.Items[i].Status.Lent)
	}
	return h.Sum64()
}

const (
	// stateEvery is how often the state is read, and still for how long it must stay to
	// count as stable: longer than a few decisions take.
	stateEvery = 200 * time.Millisecond
	still      = 2500 * time.Millisecond
)

// settle waits until the state is as it should be and stays so, and returns when it last was
// not, counted from now, and what it was. It gives up at twice the limit.
func (r *rig) settle(ctx context.Context) (took time.Duration, why string, err error) {
	began := time.Now()
	moved, sum, wrong := began, uint64(0), ""
	for {
		s, err := r.readState(ctx)
		r.acks.look(ctx)
		now := time.Now()
		double := ""
		if err != nil {
			wrong = err.Error()
		} else if wrong, double = s.wrong(); wrong == "" && r.acks.epoch < r.leads {
			wrong = fmt.Sprintf("epoch %d has not begun", r.leads)
		}
		if double != "" {
			r.double(double)
		}
		switch {
		case wrong != "":
			moved, why = now, wrong
		case s.sum() != sum:
			moved, why, sum = now, "it was not as before", s.sum()
		case now.Sub(moved) >= still:
			return moved.Sub(began), why, nil
		}
		if now.Sub(began) > 2*r.c.Within {
			return moved.Sub(began), why, nil
		}
		if err := pause(ctx, stateEvery); err != nil {
			return moved.Sub(began), why, err
		}
	}
}
