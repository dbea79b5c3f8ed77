package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	schedulingv1 "k8s.io/api/scheduling/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/view"
)

func listQueues(ctx context.Context, api client.Reader, ns string, everywhere bool) ([]v1alpha1.TrainingQueue, error) {
	list := &v1alpha1.TrainingQueueList{}
	if err := api.List(ctx, list, scope(ns, everywhere)...); err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.TrainingQueue) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list.Items, nil
}

// openLoan is the newest loan of a job that is not returned yet.
func openLoan(loans []v1alpha1.Loan, job *jobs.Job) *v1alpha1.Loan {
	for i := len(loans) - 1; i >= 0; i-- {
		l := &loans[i]
		ofGroup := job.PodGroup != "" && l.Spec.Job.PodGroup == job.PodGroup
		if l.Namespace != job.Key.Namespace || l.Spec.Job.UID != job.UID && !ofGroup {
			continue
		}
		if state, _ := view.LoanState(viewConditions(l.Status.Conditions)); state != view.StateReturned {
			return l
		}
	}
	return nil
}

func isFIFO(queues []v1alpha1.TrainingQueue, job *jobs.Job) bool {
	for _, q := range queues {
		if q.Namespace == job.Key.Namespace && q.Name == job.Queue {
			return q.Spec.Order == v1alpha1.OrderFIFO
		}
	}
	return false
}

// priorities of the cluster's PriorityClasses; nil if they may not be read.
type priorities map[string]int32

// readPriorities leaves them unknown where the user may not list them.
func readPriorities(ctx context.Context, api client.Reader) priorities {
	list := &schedulingv1.PriorityClassList{}
	if err := api.List(ctx, list); err != nil {
		return nil
	}
	p := priorities{"": 0}
	for _, c := range list.Items {
		p[c.Name] = c.Value
		if c.GlobalDefault {
			p[""] = c.Value
		}
	}
	return p
}

func (p priorities) of(job *jobs.Job) *int32 {
	if value, ok := p[job.Template.Spec.PriorityClassName]; ok {
		return &value
	}
	return nil
}
