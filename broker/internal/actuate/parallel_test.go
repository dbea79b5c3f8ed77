package actuate_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestKillsSideBySide: the pods of a gang are killed at the same time. Each waits until
// another one is on its way too.
func TestKillsSideBySide(t *testing.T) {
	w := newElasticWorld(t)
	b := alive(w)
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	two := make(chan struct{})
	var first atomic.Int32
	b.actuator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if first.Add(1) == 2 {
				close(two)
			}
			select {
			case <-two:
			case <-time.After(time.Minute):
				t.Error("one is killed after the other")
			}
			return c.Delete(ctx, o, opts...)
		},
	})
	if err := b.apply(lend.Action{Kind: lend.ActionEvict, Loan: "research/tune-1", Reason: lend.ReasonGraceExpired}); err != nil {
		t.Fatal(err)
	}
	if n := len(w.pods()); n != 0 {
		t.Errorf("%d pods are left", n)
	}
}
