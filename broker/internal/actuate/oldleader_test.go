package actuate_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// fence refuses what the admission policies refuse: a status of an earlier epoch. refused
// are such writes.
func (w *world) fence() *[]string {
	var refused []string
	epoch := func(o client.Object) int64 {
		switch o := o.(type) {
		case *v1alpha1.Loan:
			return o.Status.Epoch
		case *v1alpha1.LendingPolicy:
			return o.Status.Epoch
		}
		return 0
	}
	w.api = interceptor.NewClient(w.api, interceptor.Funcs{
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			now := o.DeepCopyObject().(client.Object)
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), now); err == nil && epoch(o) < epoch(now) {
				refused = append(refused, o.GetName())
				return apierrors.NewForbidden(schema.GroupResource{Group: "ebbtide.dev"}, o.GetName(), errors.New("status.epoch: a broker of a later epoch has written"))
			}
			return c.SubResource(sub).Update(ctx, o, opts...)
		},
	})
	return &refused
}

// TestOldLeader: a leader with a volume of its own slept with a plan in hand, whatever that
// was, while another took over. Its ledger lets it write; the API server does not, and it
// kills nobody, lends nothing and stops no job.
func TestOldLeader(t *testing.T) {
	for name, test := range map[string]struct {
		lent bool // before it fell asleep
		plan func(b *broker) lend.Action
		stop bool
	}{
		"lend":    {plan: func(b *broker) lend.Action { return b.lending() }},
		"reclaim": {lent: true, plan: func(*broker) lend.Action { return reclaiming("research/tune-1") }},
		"evict": {lent: true, stop: true, plan: func(*broker) lend.Action {
			return lend.Action{Kind: lend.ActionEvict, Loan: "research/tune-1", Reason: lend.ReasonGraceExpired}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			old := alive(w)
			if test.lent {
				if err := admit(old); err != nil {
					t.Fatal(err)
				}
			}
			view, plan := old.gather(), &lend.Plan{Actions: []lend.Action{test.plan(old)}}

			// The other has a volume of its own, too.
			w.path = filepath.Join(t.TempDir(), "ledger.db")
			own := w.book
			t.Cleanup(func() { _ = own.Close() })
			w.open()
			next := alive(w)
			if err := next.actuator.Start(next.context()); err != nil {
				t.Fatal(err)
			}
			next.round()
			if err := next.apply(); err != nil {
				t.Fatal(err)
			}
			if test.lent && w.loans()[0].Status.Epoch != w.epoch {
				t.Fatalf("the Loan is of epoch %d, want %d", w.loans()[0].Status.Epoch, w.epoch)
			}
			w.touchPolicy(t)
			before := w.picture()
			refused := w.fence()
			f := &fuse{left: -1}
			old.actuator.Client = w.broker(f).actuator.Client
			kinds := w.adapters(old.actuator.Client, old.actuator.Chains, nil)
			old.actuator.Jobs, old.actuator.Live = kinds, w.api

			err := old.actuator.Apply(old.context(), view, plan)
			if err == nil || errors.Is(err, actuate.ErrStop) != test.stop {
				t.Errorf("the old leader ends with %v, want that it stops: %t", err, test.stop)
			}
			if diff := cmp.Diff(before, w.picture()); diff != "" {
				t.Errorf("what the old leader did (-before +after):\n%s", diff)
			}
			if !test.stop && len(*refused) == 0 {
				t.Errorf("nothing was refused; it wrote %v", f.writes)
			}
			for _, write := range f.writes {
				// That an attempt came to nothing is noted on the job, by whoever says so.
				noted := name == "lend" && write == "patch tune"
				if strings.HasPrefix(write, "delete ") || strings.HasPrefix(write, "create ") || strings.HasPrefix(write, "patch ") && !noted {
					t.Errorf("%s by the old leader", write)
				}
			}
		})
	}
}

// touchPolicy is what the new leader writes about the lender.
func (w *world) touchPolicy(t *testing.T) {
	t.Helper()
	var p v1alpha1.LendingPolicy
	if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: "serving", Name: "chat"}, &p); err != nil {
		t.Fatal(err)
	}
	p.Status.Epoch = w.epoch
	if err := w.api.Status().Update(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
}

// picture is what matters of the cluster.
func (w *world) picture() map[string]any {
	out := map[string]any{"lent": w.lent(), "suspended": *w.job().Spec.Suspend, "pods": len(w.pods())}
	for _, loan := range w.loans() {
		out[loan.Name] = loan.Status
	}
	return out
}

// TestEpochAfterALostDisk: whoever comes after a lost volume has an epoch above all Loans,
// and its ledger refuses what an earlier one still wants to write.
func TestEpochAfterALostDisk(t *testing.T) {
	w := newWorld(t)
	w.epoch = 7
	if err := admit(alive(w)); err != nil {
		t.Fatal(err)
	}
	w.destroy()
	if w.book.Epoch() != 0 {
		t.Fatalf("a new ledger is of epoch %d", w.book.Epoch())
	}
	w.epoch = 8
	if err := alive(w).actuator.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.book.Append(ledger.Entry{Kind: ledger.Stopped, Loan: "research/tune-1", OpID: "old", Epoch: 7}); !errors.Is(err, ledger.ErrStaleEpoch) {
		t.Errorf("an entry of epoch 7 is answered with %v", err)
	}
}
