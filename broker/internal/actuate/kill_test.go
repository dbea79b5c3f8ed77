package actuate_test

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// deletions remember the preconditions with which pods were deleted; refuse says how many
// of them the server refuses, since the pod changed in between.
type deletions struct {
	resourceVersions []string
	refuse           int
}

func (d *deletions) on(w *world) {
	w.api = interceptor.NewClient(w.api, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			var all client.DeleteOptions
			all.ApplyOptions(opts)
			if _, pod := o.(*corev1.Pod); pod && all.Preconditions != nil {
				d.resourceVersions = append(d.resourceVersions, ptr.Deref(all.Preconditions.ResourceVersion, ""))
				if d.refuse > 0 {
					d.refuse--
					return apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, o.GetName(), errors.New("it changed"))
				}
			}
			return c.Delete(ctx, o, opts...)
		},
	})
}

// TestStaleCache: between a decision's view and the deletion of pods everything may have
// changed, as it does for whoever slept. Then nobody is killed; and a pod that has only
// changed is, as it is now.
func TestStaleCache(t *testing.T) {
	edit := func(change func(*v1alpha1.Loan)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			loan := w.loans()[0]
			change(&loan)
			if err := w.api.Status().Update(t.Context(), &loan); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		meanwhile func(t *testing.T, w *world)
		killed    bool
		stop      bool
		refuse    int
	}{
		"nothing": {meanwhile: func(*testing.T, *world) {}, killed: true},
		"the pod changed": {meanwhile: func(t *testing.T, w *world) {
			p := w.pod()
			p.Status.Phase = corev1.PodRunning
			if err := w.api.Status().Update(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}, killed: true},
		"and changes now":     {meanwhile: func(*testing.T, *world) {}, refuse: 3, killed: true},
		"and again and again": {meanwhile: func(*testing.T, *world) {}, refuse: 100},
		"another pod has its name": {meanwhile: func(t *testing.T, w *world) {
			p := w.pod()
			if err := w.api.Delete(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			p.UID, p.ResourceVersion = "another", ""
			if err := w.api.Create(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}},
		"a new leader wrote the Loan": {meanwhile: edit(func(l *v1alpha1.Loan) { l.Status.Epoch = 99 }), stop: true},
		"the Loan is not asked back":  {meanwhile: edit(func(l *v1alpha1.Loan) { meta.RemoveStatusCondition(&l.Status.Conditions, v1alpha1.LoanReclaiming) })},
		"it was returned": {meanwhile: edit(func(l *v1alpha1.Loan) {
			meta.SetStatusCondition(&l.Status.Conditions, metav1.Condition{Type: v1alpha1.LoanReturned, Status: metav1.ConditionTrue, Reason: "Returned"})
		})},
		"the Loan is gone": {meanwhile: func(t *testing.T, w *world) { w.dropLoan(t) }},
		"another Loan has its name": {meanwhile: func(t *testing.T, w *world) {
			loan := w.dropLoan(t)
			loan.ResourceVersion = ""
			if err := w.api.Create(t.Context(), loan); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newDeafWorld(t)
			d := &deletions{}
			d.on(w)
			b := alive(w)
			if err := errors.Join(admit(b), b.apply(reclaiming("research/tune-1"))); err != nil {
				t.Fatal(err)
			}
			w.deaf = false
			d.resourceVersions = nil
			view := b.gather()
			test.meanwhile(t, w)
			d.refuse = test.refuse
			before := ""
			if now := w.pod(); now != nil {
				before = string(now.UID)
			}
			err := b.actuator.Apply(b.context(), view, &lend.Plan{Actions: []lend.Action{
				{Kind: lend.ActionEvict, Loan: "research/tune-1", Job: "research/tune", JobUID: "tune", Reason: lend.ReasonGraceExpired},
			}})
			if stop := errors.Is(err, actuate.ErrStop); stop != test.stop {
				t.Errorf("it ends with %v, want that the broker stops: %t", err, test.stop)
			}
			left := w.pod()
			if killed := left == nil; killed != test.killed {
				t.Errorf("killed: %t, want %t (%v)", killed, test.killed, err)
			}
			if left != nil && string(left.UID) != before {
				t.Errorf("the pod is %s, it was %s", left.UID, before)
			}
			for _, version := range d.resourceVersions {
				if version == "" {
					t.Error("a pod was deleted whatever its resourceVersion")
				}
			}
		})
	}
}

// dropLoan deletes the world's Loan by force.
func (w *world) dropLoan(t *testing.T) *v1alpha1.Loan {
	t.Helper()
	loan := w.loans()[0]
	loan.Finalizers = nil
	if err := errors.Join(w.api.Update(t.Context(), &loan), client.IgnoreNotFound(w.api.Delete(t.Context(), &loan))); err != nil {
		t.Fatal(err)
	}
	return &loan
}
