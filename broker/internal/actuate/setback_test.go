package actuate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/internal/gather"
)

// TestSetback: a job whose Loan the API server refuses is left alone for a while,
// longer each time, until it is admitted.
func TestSetback(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	setbacks := &gather.Setbacks{}
	b.actuator.Setbacks, b.gatherer.Setbacks = setbacks, setbacks
	good := b.actuator.Client
	waits := func(after time.Duration) string {
		t.Helper()
		view, err := b.gatherer.Gather(t.Context(), now.Add(after), b.epoch)
		if err != nil {
			t.Fatal(err)
		}
		if p := view.Snapshot.Jobs[0].Problem; p != nil {
			return p.Reason + ": " + p.Message
		}
		return ""
	}
	b.actuator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return errors.New("too many grants")
		},
	})
	for times, pause := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		if err := b.apply(b.lending()); err == nil {
			t.Fatal("want an error")
		}
		if got := waits(pause - 1); !strings.HasPrefix(got, "LendAborted: its last admission came to nothing: create the Loan: too many grants; tried again after ") {
			t.Errorf("failure %d: %q", times+1, got)
		}
		if got := waits(pause); got != "" {
			t.Errorf("failure %d: still waits after %s: %q", times+1, pause, got)
		}
	}
	b.actuator.Client = good
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	agree(t, w)
	if err := b.apply(reclaiming(b.gather().Snapshot.Loans[0].Name)); err != nil {
		t.Fatal(err)
	}
	w.jobController()
	for range 2 {
		b.round()
	}
	if got := waits(0); got != "" {
		t.Errorf("after an admission: %q", got)
	}
}
