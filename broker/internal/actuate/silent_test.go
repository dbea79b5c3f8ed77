package actuate_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// silence makes the node of the world's job fall silent, and returns the graces with which
// pods are deleted from then on.
func (w *world) silence() *[]int64 {
	w.t.Helper()
	var graces []int64
	w.api = interceptor.NewClient(w.api, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			var all client.DeleteOptions
			all.ApplyOptions(opts)
			if _, pod := o.(*corev1.Pod); pod {
				graces = append(graces, ptr.Deref(all.GracePeriodSeconds, -1))
				if graces[len(graces)-1] != 0 {
					return nil // and nobody there removes it
				}
			}
			return c.Delete(ctx, o, opts...)
		},
	})
	node := &corev1.Node{}
	if err := w.api.Get(w.t.Context(), client.ObjectKey{Name: "gpu-1"}, node); err != nil {
		w.t.Fatal(err)
	}
	node.Status.Conditions[0].Status = corev1.ConditionUnknown
	node.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now)
	if err := w.api.Status().Update(w.t.Context(), node); err != nil {
		w.t.Fatal(err)
	}
	return &graces
}

// TestSilentNode: where nobody confirms the end of pods they are deleted for good when their
// time is over, and what the loan had there is lost.
func TestSilentNode(t *testing.T) {
	w := newWorld(t)
	if err := admit(alive(w)); err != nil {
		t.Fatal(err)
	}
	graces := w.silence()
	b := alive(w)
	if err := b.apply(reclaiming("research/tune-1")); err != nil {
		t.Fatal(err)
	}
	*graces = nil
	b.at(10 * time.Second)
	if len(*graces) != 1 || (*graces)[0] != 0 {
		t.Errorf("pods were deleted with a grace of %v seconds, want one with none", *graces)
	}
	b.at(11 * time.Second)
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED RECLAIM_INTENT STOPPED KILLED LOST")
	if !*w.job().Spec.Suspend {
		t.Error("the job does not wait")
	}
}

// TestSilentShed: so is what an elastic job was asked for, and it goes on with the rest.
func TestSilentShed(t *testing.T) {
	w := newElasticWorld(t)
	if err := admit(alive(w)); err != nil {
		t.Fatal(err)
	}
	w.silence()
	b := alive(w)
	if err := b.apply(shrinking(1)); err != nil {
		t.Fatal(err)
	}
	b.at(10 * time.Second)
	b.at(11 * time.Second)
	b.at(12 * time.Second)
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED SHED_INTENT STOPPED KILLED SHED_LOST")
	agreeOnSize(t, w)
}
