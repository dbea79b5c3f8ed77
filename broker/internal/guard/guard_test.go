package guard_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/internal/guard"
)

// town has all policies, and an API server that can be made to fail.
type town struct {
	client.WithWatch
	clock *clocktesting.FakeClock
	guard *guard.Guard

	mu      sync.Mutex
	failing bool
	hanging bool
	lists   int
	noted   [][]guard.Missing
	refuse  bool // what is noted
}

func newTown(t *testing.T) *town {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := registration.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &town{clock: clocktesting.NewFakeClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			w.mu.Lock()
			w.lists++
			failing, hanging := w.failing, w.hanging
			w.mu.Unlock()
			if hanging {
				<-ctx.Done()
				return ctx.Err()
			}
			if failing {
				return errors.New("the API server is away")
			}
			return c.List(ctx, list, opts...)
		},
	})
	for _, o := range installed(t) {
		builder = builder.WithObjects(o)
	}
	w.WithWatch = builder.Build()
	w.guard = &guard.Guard{Live: w.WithWatch, Clock: w.clock, Note: func(missing []guard.Missing) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.refuse {
			return errors.New("the ledger is full")
		}
		w.noted = append(w.noted, missing)
		return nil
	}}
	return w
}

func (w *town) look(t *testing.T) {
	t.Helper()
	if err := w.guard.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// lends fails the test unless lending is refused for a reason that has these words; no
// words: unless it is allowed.
func (w *town) lends(t *testing.T, words string) {
	t.Helper()
	err := w.guard.MayLend()
	if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
		t.Errorf("it says %v, want %q", err, words)
	}
}

func policy(name string) *registration.ValidatingAdmissionPolicy {
	return &registration.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// Each policy and each binding, gone or changed, stops new loans; back, it lets them go on.
func TestWhatIsGoneOrChanged(t *testing.T) {
	all := installed(t)
	for name, o := range all {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			w.look(t)
			w.lends(t, "")
			if err := w.Delete(t.Context(), o.DeepCopyObject().(client.Object)); err != nil {
				t.Fatal(err)
			}
			w.look(t)
			w.lends(t, name+" is gone")
			again := o.DeepCopyObject().(client.Object)
			again.SetResourceVersion("")
			weaken(again)
			if err := w.Create(t.Context(), again); err != nil {
				t.Fatal(err)
			}
			w.look(t)
			w.lends(t, name+" is changed ("+guard.Digest(again)+")")
			back := o.DeepCopyObject().(client.Object)
			back.SetResourceVersion(again.GetResourceVersion())
			if err := w.Update(t.Context(), back); err != nil {
				t.Fatal(err)
			}
			w.look(t)
			w.lends(t, "")
			want := [][]guard.Missing{{{Name: name, Why: "gone"}}, {{Name: name, Why: "changed", Digest: guard.Digest(again)}}, nil}
			if diff := cmp.Diff(want, w.noted); diff != "" {
				t.Errorf("noted (-want +got):\n%s", diff)
			}
		})
	}
}

// weaken changes as little as can be.
func weaken(o client.Object) {
	switch o := o.(type) {
	case *registration.ValidatingAdmissionPolicy:
		o.Spec.Validations[0].Expression = "true"
	case *registration.ValidatingAdmissionPolicyBinding:
		o.Spec.ValidationActions = []registration.ValidationAction{registration.Audit}
	case *registration.MutatingAdmissionPolicy:
		o.Spec.FailurePolicy = ptr.To(registration.Ignore)
	case *registration.MutatingAdmissionPolicyBinding:
		o.Spec.MatchResources = &registration.MatchResources{ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}
	}
}

// A policy that waits for a finalizer does not count any more.
func TestGoing(t *testing.T) {
	w := newTown(t)
	p := policy("ebbtide-loans")
	patch := func(p *registration.ValidatingAdmissionPolicy, finalizers ...string) {
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			t.Fatal(err)
		}
		p.Finalizers = finalizers
		if err := w.Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	patch(p, "example.com/stay")
	if err := w.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.look(t)
	w.lends(t, "ValidatingAdmissionPolicy ebbtide-loans is going")
}

// What others install, and labels, are nobody's business here.
func TestOthers(t *testing.T) {
	w := newTown(t)
	if err := w.Create(t.Context(), policy("example")); err != nil {
		t.Fatal(err)
	}
	p := policy("ebbtide-loans")
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
		t.Fatal(err)
	}
	p.Labels, p.Annotations = nil, map[string]string{"a": "b"}
	if err := w.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.look(t)
	w.lends(t, "")
}

// An administrator may stand by a change, and by that one only.
func TestAccept(t *testing.T) {
	w := newTown(t)
	p := policy("ebbtide-pods")
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
		t.Fatal(err)
	}
	p.Spec.Validations[0].Message = "ask the platform team"
	if err := w.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.guard.Accept = map[string]string{"ValidatingAdmissionPolicy ebbtide-pods": guard.Digest(p)}
	w.look(t)
	w.lends(t, "")
	weaken(p)
	if err := w.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.look(t)
	w.lends(t, "ebbtide-pods is changed")
}

// Unknown is not in place: before the first look, and when no look has come to an end for
// as long as one is believed.
func TestUnknown(t *testing.T) {
	w := newTown(t)
	w.lends(t, "it is not known")
	w.look(t)
	w.clock.Step(guard.Believe)
	w.lends(t, "")
	w.failing = true
	if err := w.guard.Look(t.Context()); err == nil {
		t.Error("a look at an API server that is away came to an end")
	}
	w.clock.Step(time.Millisecond)
	w.lends(t, "it is not known")
	if _, known := w.guard.Count(); known {
		t.Error("the count is known")
	}
	w.failing = false
	w.look(t)
	w.lends(t, "")
	if len(w.noted) != 0 {
		t.Errorf("what is unknown was noted as missing: %v", w.noted)
	}
}

// What could not be noted is noted with the next look, and stops lending at once.
func TestNotedInTheEnd(t *testing.T) {
	w := newTown(t)
	w.refuse = true
	if err := w.Delete(t.Context(), policy("ebbtide-loans")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.guard.Look(t.Context()); err == nil {
			t.Error("it was noted")
		}
		w.lends(t, "ebbtide-loans is gone")
	}
	w.refuse = false
	w.look(t)
	w.look(t)
	if len(w.noted) != 1 {
		t.Errorf("noted %d times, want once: %v", len(w.noted), w.noted)
	}
}

// The promise of 10 s: with the clock of the test, from the deletion of a policy to the
// refusal there are at most Interval and a look, and if the API server hangs, Believe.
func TestWithinTenSeconds(t *testing.T) {
	if guard.Believe > 10*time.Second || guard.Interval+guard.Timeout >= guard.Believe {
		t.Fatalf("looks every %s of at most %s are believed for %s", guard.Interval, guard.Timeout, guard.Believe)
	}
	for _, hanging := range []bool{false, true} {
		w := newTown(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { w.guard.Run(ctx); close(ended) }()
		await(t, func() bool { return w.guard.MayLend() == nil })
		w.mu.Lock()
		w.hanging = hanging
		w.mu.Unlock()
		if err := w.Delete(t.Context(), policy("ebbtide-pods")); err != nil {
			t.Fatal(err)
		}
		await(t, w.clock.HasWaiters)
		began := w.clock.Now()
		for w.guard.MayLend() == nil {
			w.clock.Step(500 * time.Millisecond)
			if w.clock.Since(began) > 10*time.Second {
				t.Errorf("hanging %t: it lends 10 s after", hanging)
				break
			}
			if !hanging && w.clock.Since(began) >= guard.Interval {
				await(t, func() bool { return w.guard.MayLend() != nil })
			}
		}
		cancel()
		<-ended
	}
}

// await polls by the wall clock what another goroutine does.
func await(t *testing.T, done func() bool) {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline.Done():
			t.Fatal("it does not come")
		case <-tick.C:
		}
	}
}
