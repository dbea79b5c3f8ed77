package escapes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// holdings are the units in use, and the right to them, counted from the API's
// objects alone.
type holdings struct {
	pods   corev1.PodList
	loans  v1alpha1.LoanList
	quotas v1alpha1.TenantQuotaList
	nodes  corev1.NodeList
	jobs   batchv1.JobList
}

// passing is longer than what is in order may look otherwise, on a busy machine too.
const passing = 15 * time.Second

// overheld waits until nobody holds more than it may, and returns what is wrong if
// that lasts: the lists are not of one moment, so one look proves nothing.
func (w *town) overheld(ctx context.Context) []string {
	var wrong []string
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, passing, true, func(ctx context.Context) (bool, error) {
		h, err := w.holdings(ctx)
		if err != nil {
			return false, err
		}
		wrong = h.wrongs()
		return len(wrong) == 0, nil
	})
	if err != nil && len(wrong) == 0 {
		return []string{fmt.Sprintf("the cluster could not be looked at: %v", err)}
	}
	return wrong
}

func (w *town) holdings(ctx context.Context) (*holdings, error) {
	h := &holdings{}
	for _, list := range []client.ObjectList{&h.pods, &h.loans, &h.quotas, &h.nodes, &h.jobs} {
		if err := w.admin.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list what is held: %w", err)
		}
	}
	return h, nil
}

// wrongs says who holds what it may not.
func (h *holdings) wrongs() []string {
	type place struct {
		loan     types.UID
		node     string
		resource corev1.ResourceName
	}
	type claim struct {
		tenant   string
		resource corev1.ResourceName
	}
	loans := map[types.UID]*v1alpha1.Loan{} // by the UID of the job
	onLoan, granted := map[place]int64{}, map[place]int64{}
	own, borrowed := map[claim]int64{}, map[claim]int64{}
	var out []string
	for i := range h.loans.Items {
		loan := &h.loans.Items[i]
		if meta.IsStatusConditionTrue(loan.Status.Conditions, v1alpha1.LoanReturned) {
			continue
		}
		if loans[loan.Spec.Job.UID] != nil {
			out = append(out, fmt.Sprintf("job %s/%s has two loans", loan.Namespace, loan.Spec.Job.Name))
		}
		loans[loan.Spec.Job.UID] = loan
		resource := corev1.ResourceName(loan.Spec.Resource)
		for _, g := range loan.Spec.Grants {
			granted[place{loan.UID, g.Node, resource}] += g.Count
			if g.Lender == "" {
				own[claim{tenantOf(loan.Namespace), resource}] += g.Count
			} else {
				borrowed[claim{tenantOf(loan.Namespace), resource}] += g.Count
			}
		}
	}
	onNode := map[place]int64{}
	for i := range h.pods.Items {
		pod := &h.pods.Items[i]
		if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		for resource, units := range unitsOf(pod) {
			onNode[place{"", pod.Spec.NodeName, resource}] += units
			if loan := h.loanOf(pod, loans); loan != nil {
				onLoan[place{loan.UID, pod.Spec.NodeName, resource}] += units
				continue
			}
			own[claim{tenantOf(pod.Namespace), resource}] += units
		}
	}
	for where, units := range onLoan {
		if units > granted[where] {
			out = append(out, fmt.Sprintf("a job holds %d units of %s on %s and was granted %d", units, where.resource, where.node, granted[where]))
		}
	}
	nominal, limit := h.quota()
	for who, units := range own {
		if most := nominal[who.tenant+"/"+string(who.resource)]; units > most {
			out = append(out, fmt.Sprintf("%s holds %d units of %s as its own and was promised %d", who.tenant, units, who.resource, most))
		}
	}
	for who, units := range borrowed {
		if most, limited := limit[who.tenant+"/"+string(who.resource)]; limited && units > most {
			out = append(out, fmt.Sprintf("%s borrows %d units of %s and may borrow %d", who.tenant, units, who.resource, most))
		}
	}
	for _, node := range h.nodes.Items {
		for resource, capacity := range node.Status.Allocatable {
			if held := onNode[place{"", node.Name, resource}]; held > capacity.Value() {
				out = append(out, fmt.Sprintf("pods on %s hold %d units of %s, of %d", node.Name, held, resource, capacity.Value()))
			}
		}
	}
	slices.Sort(out)
	return out
}

// loanOf finds the loan of the job that a pod is of, or was, by the job's UID: the pod
// itself, who controls it, and who controls that. A pod that outlives its job stays on
// the job's loan. Pods of a group have the loan of the one that stands for them. A pod in
// no queue has none.
func (h *holdings) loanOf(pod *corev1.Pod, loans map[types.UID]*v1alpha1.Loan) *v1alpha1.Loan {
	if pod.Labels[v1alpha1.LabelQueue] == "" {
		return nil
	}
	maker := types.UID(pod.Labels[batchv1.ControllerUidLabel])
	if owner := metav1.GetControllerOf(pod); owner != nil {
		maker = owner.UID
	}
	chain := []types.UID{pod.UID, maker}
	for i := range h.jobs.Items {
		if owner := metav1.GetControllerOf(&h.jobs.Items[i]); owner != nil && h.jobs.Items[i].UID == maker {
			chain = append(chain, owner.UID)
		}
	}
	for _, uid := range chain {
		if loan := loans[uid]; loan != nil {
			return loan
		}
	}
	group := pod.Labels[v1alpha1.LabelPodGroup]
	for _, loan := range loans {
		if group != "" && loan.Namespace == pod.Namespace && loan.Spec.Job.PodGroup == group {
			return loan
		}
	}
	return nil
}

// tenantOf is the tenant of a namespace of the town; of one of no tenant, its name.
func tenantOf(namespace string) string {
	if namespace == second {
		return red
	}
	return namespace
}

// quota returns what each tenant may have of each resource.
func (h *holdings) quota() (nominal, limit map[string]int64) {
	nominal, limit = map[string]int64{}, map[string]int64{}
	for _, q := range h.quotas.Items {
		for _, f := range q.Spec.Flavors {
			nominal[q.Name+"/"+f.Resource] += f.Nominal
			if f.BorrowingLimit != nil {
				limit[q.Name+"/"+f.Resource] += *f.BorrowingLimit
			}
		}
	}
	return nominal, limit
}

// unitsOf sums what the containers of a pod ask for of GPU resources.
func unitsOf(pod *corev1.Pod) map[corev1.ResourceName]int64 {
	units := map[corev1.ResourceName]int64{}
	for _, c := range pod.Spec.Containers {
		for name, quantity := range c.Resources.Limits {
			if strings.HasPrefix(string(name), "nvidia.com/") {
				units[name] += quantity.Value()
			}
		}
	}
	return units
}
