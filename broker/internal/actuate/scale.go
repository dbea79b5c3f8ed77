package actuate

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
)

const reasonScaled = "Scaled"

// scalings set the replicas of targets that are the broker's to scale. The plan says
// how many; that they are the broker's is looked up here once more, since this is the
// only write on an owner's workload.
func (r *round) scalings(plan *lend.Plan) []step {
	var steps []step
	for i := range plan.Scales {
		to := &plan.Scales[i]
		policy, l := r.view.Policies[to.Lender], r.lender(to.Lender)
		if policy == nil || l == nil || l.Scale == nil || l.Advise || !manages(policy) || r.view.ScalingRefused[to.Lender] != nil || to.Replicas < 0 || to.Replicas > math.MaxInt32 {
			continue
		}
		steps = append(steps, step{"scale the target of", to.Lender, func(ctx context.Context) error {
			return r.scale(ctx, policy, l.Scale.Replicas, to)
		}})
	}
	return steps
}

// lender is a lender's part of the snapshot, nil if it has none.
func (r *round) lender(name string) *lend.Lender {
	lenders := r.view.Snapshot.Lenders // by name
	at, found := slices.BinarySearchFunc(lenders, name, func(l lend.Lender, name string) int { return cmp.Compare(l.Name, name) })
	if !found {
		return nil
	}
	return &lenders[at]
}

// manages: the policy's writer wants the broker to scale the target, and it to act.
func manages(policy *v1alpha1.LendingPolicy) bool {
	return policy.Spec.Scaling.Mode == v1alpha1.ScalingManage && policy.Spec.Mode != v1alpha1.ModeAdvise
}

// scale writes the replicas if they are still those that the plan was made for.
// Whoever else has set them since is not overwritten: the next plan sees it.
func (r *round) scale(ctx context.Context, policy *v1alpha1.LendingPolicy, from int64, to *lend.ScaleTo) error {
	ref := policy.Spec.TargetRef
	target := &unstructured.Unstructured{}
	target.SetGroupVersionKind(schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind))
	target.SetNamespace(policy.Namespace)
	target.SetName(ref.Name)
	scale, found, err := gather.ReadScale(ctx, r.Client, target)
	if err != nil {
		return fmt.Errorf("read the scale of %s %s: %w", ref.Kind, ref.Name, err)
	}
	if found != from {
		r.log.V(1).Info("The target has been scaled by somebody else", "lender", to.Lender, "planned", from, "found", found)
		return nil
	}
	if err := unstructured.SetNestedField(scale.Object, to.Replicas, "spec", "replicas"); err != nil {
		return fmt.Errorf("set the scale of %s %s: %w", ref.Kind, ref.Name, err)
	}
	// The resourceVersion that was read is a precondition.
	err = r.Client.SubResource("scale").Update(ctx, target, client.WithSubResourceBody(scale))
	if apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set the scale of %s %s: %w", ref.Kind, ref.Name, err)
	}
	r.Events.write(policyReference(policy), reasonScaled, "Scale", "Scaled %s %s from %d to %d: %s", ref.Kind, ref.Name, from, to.Replicas, to.Message)
	return nil
}

// refusedScaling is why a target that the broker was to scale is not, empty if it is.
func refusedScaling(policy *v1alpha1.LendingPolicy, l *lend.Lender, refused *lend.Problem) (reason, message string) {
	switch {
	case policy.Spec.Mode == v1alpha1.ModeAdvise:
		return lend.ReasonAdviseOnly, "mode Advise changes nothing"
	case l.Problem != nil:
		return l.Problem.Reason, l.Problem.Message
	case refused != nil:
		return refused.Reason, refused.Message
	case l.Scale == nil:
		return "NotManaged", "the target's replicas are not known"
	}
	return "", ""
}
