package actuate

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// podsOf are the pods of a loan's job that are not over and ask for units, read live,
// and those of which it is not known whose they are. Of a Job only those are listed that
// its controller has made, since nobody else may write or remove its label; whoever calls
// himself a pod of it without that, the cache knows. There may be thousands of others in
// the namespace. Pods of other kinds have no such label.
func (r *round) podsOf(ctx context.Context, l *loanRef) ([]corev1.Pod, error) {
	asks := r.asks(l.object)
	if l.job.GroupKind != kindJob {
		return r.livePods(ctx, l.job, gather.Nodes(l.object), asks)
	}
	for _, pod := range r.view.Pods[l.name] {
		if pod.Labels[batchv1.ControllerUidLabel] != string(l.job.UID) {
			return r.livePods(ctx, l.job, gather.Nodes(l.object), asks)
		}
	}
	return r.livePods(ctx, l.job, gather.Nodes(l.object), asks, client.MatchingLabels{batchv1.ControllerUidLabel: string(l.job.UID)})
}

// asks tells whether a pod that is not over, and did not come too late, asks for units:
// those of the loan, or of any flavor.
func (r *round) asks(object *v1alpha1.Loan) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool {
		if r.view.Over(pod) || gather.Late(pod, object) {
			return false
		}
		if jobs.UnitsOf(&pod.Spec, corev1.ResourceName(object.Spec.Resource)) > 0 {
			return true
		}
		for _, resource := range r.view.Resources {
			if jobs.UnitsOf(&pod.Spec, resource) > 0 {
				return true
			}
		}
		return false
	}
}

// livePods are the pods of a job that have not ended, and those that may be its own,
// because they are on nodes; of both only the ones that ask for units.
func (a *Actuator) livePods(ctx context.Context, job jobs.Ref, nodes map[string]bool, asks func(*corev1.Pod) bool, which ...client.ListOption) ([]corev1.Pod, error) {
	var pods corev1.PodList
	if err := a.Live.List(ctx, &pods, append(which, client.InNamespace(job.Key.Namespace))...); err != nil {
		return nil, fmt.Errorf("list the job's pods: %w", err)
	}
	chains := a.Chains
	if chains == nil {
		chains = &lineage.Lineage{}
	}
	gated := job.GroupKind.Group == "" && job.GroupKind.Kind == "Pod"
	ref := &v1alpha1.JobRef{UID: job.UID, PodGroup: job.PodGroup}
	var live []corev1.Pod
	for i := range pods.Items {
		pod := &pods.Items[i]
		over := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		switch {
		case over, !asks(pod), gated && gather.Waits(pod):
		case gather.Holds(chains, pod, ref, nodes):
			live = append(live, *pod)
		}
	}
	return live, nil
}
