package prewarm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/prewarm"
	"github.com/ebbtide/ebbtide/broker/lend"
)

var begin = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)

var dataLoad = schema.GroupVersionKind{Group: "data.fluid.io", Version: "v1alpha1", Kind: "DataLoad"}

const template = `{
	"apiVersion": "data.fluid.io/v1alpha1", "kind": "DataLoad",
	"metadata": {"name": "mine", "namespace": "kube-system", "labels": {"app": "chat", "ebbtide.dev/policy": "other"},
		"finalizers": ["example.com/never"], "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n"}]},
	"spec": {"dataset": {"name": "qwen", "namespace": "serving"}, "loadMetadata": true},
	"status": {"phase": "Complete"}
}`

// world is an API server and a decision, which outlive the broker.
type world struct {
	t      *testing.T
	api    client.WithWatch
	clock  *clocktesting.FakePassiveClock
	runner *prewarm.Runner
	heard  *events.FakeRecorder
	policy *v1alpha1.LendingPolicy
	uids   int
	// fails, if set, is what creating answers; lost: after it was done.
	fails error
	lost  bool
	// broken is what reading one object answers, if set.
	broken error
	// slow is how long creating takes.
	slow time.Duration
	// requests by verb.
	requests map[string]int

	lender lend.Lender
	view   lend.LenderView
	plan   lend.Plan
	loans  []lend.Loan
}

func newWorld(t *testing.T) *world {
	t.Helper()
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(dataLoad, meta.RESTScopeNamespace)
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Node"}, meta.RESTScopeRoot)
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(dataLoad, &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(dataLoad.GroupVersion().WithKind("DataLoadList"), &unstructured.UnstructuredList{})
	w := &world{t: t, clock: clocktesting.NewFakePassiveClock(begin), requests: map[string]int{}}
	w.api = fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			w.requests["create"]++
			if err := wait(ctx, w.slow); err != nil {
				return err
			}
			if w.fails != nil && !w.lost {
				return w.fails
			}
			w.uids++
			o.SetUID(types.UID(fmt.Sprint("uid-", w.uids)))
			o.SetCreationTimestamp(metav1.NewTime(w.clock.Now()))
			return errors.Join(c.Create(ctx, o, opts...), w.fails)
		},
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			w.requests["get"]++
			if w.broken != nil {
				return w.broken
			}
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			w.requests["list"]++
			return c.List(ctx, list, opts...)
		},
	}).Build()
	hook := func() *v1alpha1.Hook {
		return &v1alpha1.Hook{
			Template: runtime.RawExtension{Raw: []byte(template)},
			Until:    v1alpha1.HookUntil{Field: ".status.phase", Value: "Complete"}, Timeout: metav1.Duration{Duration: 10 * time.Minute},
		}
	}
	w.policy = &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat", UID: "policy"},
		Spec:       v1alpha1.LendingPolicySpec{Mode: v1alpha1.ModeLend, Hooks: &v1alpha1.Hooks{BeforeLend: hook(), BeforeReturn: hook()}},
	}
	w.lender = lend.Lender{Name: "serving/chat", MaxGrace: time.Minute, Notice: 3 * time.Minute}
	w.view = lend.LenderView{Name: "serving/chat", Owned: 16}
	w.restart()
	return w
}

func wait(ctx context.Context, long time.Duration) error {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// restart starts another broker.
func (w *world) restart() {
	w.heard = events.NewFakeRecorder(100)
	w.runner = &prewarm.Runner{
		Client: w.api, Live: w.api, Recorder: w.heard, Clock: w.clock,
		Kinds: []prewarm.Kind{{APIVersion: "data.fluid.io/v1alpha1", Kind: "DataLoad"}, {APIVersion: "v1", Kind: "Node"}},
	}
}

// decide is one decision with the given verdict and units lent, so much later.
func (w *world) decide(later time.Duration, reason string, lent int64) error {
	w.t.Helper()
	w.clock.SetTime(w.clock.Now().Add(later))
	w.view.Lent, w.policy.Status.Lent = lent, lent
	w.plan.Lenders = []lend.LenderView{w.view}
	w.plan.Verdicts = []lend.Verdict{
		{Kind: lend.SubjectJob, Subject: "serving/chat", Reason: lend.ReasonBehindInQueue},
		{Kind: lend.SubjectLender, Subject: "serving/chat", Reason: reason},
	}
	snapshot := &lend.Snapshot{Now: w.clock.Now(), Lenders: []lend.Lender{w.lender}, Loans: w.loans}
	err := w.runner.Reconcile(w.t.Context(), map[string]*v1alpha1.LendingPolicy{"serving/chat": w.policy}, snapshot, &w.plan)
	w.plan = lend.Plan{}
	return err
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// reclaim makes the next decision ask a loan back that was lent at the given time.
func (w *world) reclaim(since time.Time, lender string) {
	w.loans = []lend.Loan{{Name: "research/a", Since: since}}
	w.plan.Actions = []lend.Action{{Kind: lend.ActionReclaim, Loan: "research/a", Owed: []lend.Owed{{Lender: lender}}}}
}

func (w *world) objects() []unstructured.Unstructured {
	w.t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(dataLoad.GroupVersion().WithKind("DataLoadList"))
	if err := w.api.List(w.t.Context(), list); err != nil {
		w.t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b unstructured.Unstructured) int {
		return strings.Compare(string(a.GetUID()), string(b.GetUID()))
	})
	return list.Items
}

// count fails unless so many objects exist, and returns the youngest.
func (w *world) count(want int) *unstructured.Unstructured {
	w.t.Helper()
	got := w.objects()
	if len(got) != want {
		w.t.Fatalf("%d objects, want %d: %v", len(got), want, got)
	}
	if want == 0 {
		return nil
	}
	return &got[want-1]
}

func (w *world) finish() {
	w.t.Helper()
	for _, o := range w.objects() {
		o.Object["status"] = map[string]any{"phase": "Complete"}
		if err := w.api.Update(w.t.Context(), &o); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) state(done bool) string {
	w.t.Helper()
	p := w.runner.State(w.policy)
	if p == nil || p.Done != done {
		w.t.Fatalf("state %+v, want done: %v", p, done)
	}
	return p.Message
}

// said returns the events since the last call, with names made equal.
func (w *world) said() []string {
	var all []string
	for {
		select {
		case e := <-w.heard.Events:
			words := strings.Fields(e)
			for i, word := range words {
				if strings.HasPrefix(word, "chat-") {
					words[i] = word[:strings.LastIndex(word, "-")] + "-N" + strings.TrimLeft(word[strings.LastIndex(word, "-")+1:], "abcdefghijklmnopqrstuvwxyz0123456789")
				}
			}
			all = append(all, strings.Join(words, " "))
		default:
			return all
		}
	}
}

func (w *world) wantSaid(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.said()); diff != "" {
		w.t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestBeforeLend goes through two times of lending.
func TestBeforeLend(t *testing.T) {
	w := newWorld(t)
	w.must(w.decide(0, lend.ReasonDwellNotMet, 0))
	w.count(0)
	if got := w.state(false); got != "the hook before-lend has yet to run" {
		t.Error(got)
	}

	w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
	o := w.count(1)
	if !strings.HasPrefix(o.GetName(), "chat-lend-") || o.GetNamespace() != "serving" {
		t.Errorf("created %s/%s", o.GetNamespace(), o.GetName())
	}
	want := map[string]any{
		"labels": map[string]any{"app": "chat", prewarm.LabelPolicy: "chat", prewarm.LabelHook: "before-lend"},
		"ownerReferences": []any{map[string]any{
			"apiVersion": "ebbtide.dev/v1alpha1", "kind": "LendingPolicy", "name": "chat", "uid": "policy",
		}},
	}
	metadata := o.Object["metadata"].(map[string]any)
	for _, field := range []string{"name", "namespace", "uid", "creationTimestamp", "resourceVersion"} {
		delete(metadata, field)
	}
	if diff := cmp.Diff(want, metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"dataset": map[string]any{"name": "qwen", "namespace": "serving"}, "loadMetadata": true}, o.Object["spec"]); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if o.Object["status"] != nil {
		t.Errorf("the template's status is kept: %v", o.Object["status"])
	}
	if got := w.state(false); !strings.HasPrefix(got, "the hook before-lend waits for DataLoad chat-lend-") || !strings.HasSuffix(got, ": .status.phase to be Complete") {
		t.Error(got)
	}

	w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
	w.count(1)
	w.state(false)
	w.finish()
	w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
	w.state(true)
	for _, step := range []struct {
		reason string
		lent   int64
	}{
		{lend.ReasonBelowLowWater, 4}, {lend.ReasonAboveLowWater, 4}, {lend.ReasonLoadUnknown, 0}, {lend.ReasonBelowLowWater, 0},
	} {
		w.must(w.decide(time.Minute, step.reason, step.lent))
		w.state(true)
		w.count(1)
	}
	w.wantSaid("Normal HookBegun before-lend: created DataLoad chat-lend-N", "Normal HookReady before-lend: DataLoad chat-lend-N became ready")

	w.must(w.decide(time.Minute, lend.ReasonAboveLowWater, 0))
	w.state(false)
	w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
	w.count(2)
	w.state(false)
	// Overtaken by the tide: it is not waited for any more.
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 0))
	w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
	w.count(3)
}

func TestBeforeLendTimesOut(t *testing.T) {
	w := newWorld(t)
	w.must(w.decide(0, lend.ReasonPreparing, 0))
	w.broken = errors.New("connection refused") // which must not make it wait for longer
	if err := w.decide(10*time.Minute-1, lend.ReasonPreparing, 0); err == nil {
		t.Error("nobody hears of the error")
	}
	w.state(false)
	w.must(w.decide(1, lend.ReasonPreparing, 0))
	w.state(true)
	w.wantSaid("Normal HookBegun before-lend: created DataLoad chat-lend-N",
		"Warning HookTimedOut before-lend: waited 10m0s for DataLoad chat-lend-N: .status.phase to be Complete; lending went on without")
}

func TestBeforeLendOfWhatIsLentAlready(t *testing.T) {
	w := newWorld(t)
	w.policy.Status.Lent = 4
	w.state(true)
	w.must(w.decide(0, lend.ReasonBelowLowWater, 4))
	w.state(true)
	w.count(0)
}

func TestBrokenHooksCountAsDone(t *testing.T) {
	resource := schema.GroupResource{Group: "data.fluid.io", Resource: "dataloads"}
	for name, c := range map[string]struct {
		template string
		fails    error
		want     string
	}{
		"kind not allowed":      {template: `{"apiVersion": "batch/v1", "kind": "Job"}`, want: "template: Job of batch/v1 is not among hooks.kinds of the broker's configuration"},
		"another version":       {template: `{"apiVersion": "data.fluid.io/v1", "kind": "DataLoad"}`, want: "template: DataLoad of data.fluid.io/v1 is not among hooks.kinds of the broker's configuration"},
		"no kind":               {template: `{"spec": {}}`, want: "template: must have an apiVersion and a kind"},
		"no object":             {template: `[]`, want: "template: json: cannot unmarshal array into Go value of type map[string]interface {}"},
		"cluster-scoped":        {template: `{"apiVersion": "v1", "kind": "Node"}`, want: "template: Node of v1 is not namespaced"},
		"not installed":         {template: `{"apiVersion": "example.com/v1", "kind": "Missing"}`, want: "template: Missing of example.com/v1 is not installed in the cluster"},
		"forbidden":             {fails: apierrors.NewForbidden(resource, "x", errors.New("no")), want: `create DataLoad of data.fluid.io/v1alpha1: dataloads.data.fluid.io "x" is forbidden: no`},
		"refused by its schema": {fails: apierrors.NewInvalid(dataLoad.GroupKind(), "x", nil), want: `create DataLoad of data.fluid.io/v1alpha1: DataLoad.data.fluid.io "x" is invalid`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.runner.Kinds = append(w.runner.Kinds, prewarm.Kind{APIVersion: "example.com/v1", Kind: "Missing"})
			w.fails = c.fails
			if c.template != "" {
				w.policy.Spec.Hooks.BeforeLend.Template.Raw = []byte(c.template)
				w.policy.Spec.Hooks.BeforeReturn.Template.Raw = []byte(c.template)
			}
			w.must(w.decide(0, lend.ReasonPreparing, 0))
			w.state(true)
			w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
			w.wantSaid("Warning HookFailed before-lend: " + c.want + "; lending went on without")
			w.reclaim(w.clock.Now(), "serving/chat")
			w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
			w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
			w.wantSaid("Warning HookFailed before-return: " + c.want + "; lending went on without")
			w.count(0)
		})
	}
}

// TestTriesAgain: an error that may pass is tried again, within the timeout.
func TestTriesAgain(t *testing.T) {
	w := newWorld(t)
	w.fails = errors.New("connection refused")
	if err := w.decide(0, lend.ReasonPreparing, 0); err == nil || !strings.Contains(err.Error(), "run the hook before-lend of serving/chat: create DataLoad") {
		t.Errorf("Reconcile: %v", err)
	}
	w.state(false)
	w.fails = nil
	w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
	w.count(1)

	w = newWorld(t)
	w.fails = errors.New("connection refused")
	for range 10 {
		if err := w.decide(time.Minute, lend.ReasonPreparing, 0); err == nil {
			t.Fatal("no error")
		}
	}
	w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
	w.state(true)
	w.wantSaid("Warning HookFailed before-lend: create DataLoad of data.fluid.io/v1alpha1: connection refused; lending went on without")
}

// TestAnswerLost: what was created is found though the request seemed to fail.
func TestAnswerLost(t *testing.T) {
	w := newWorld(t)
	w.fails, w.lost = errors.New("timeout"), true
	if err := w.decide(0, lend.ReasonPreparing, 0); err == nil {
		t.Fatal("no error")
	}
	w.fails = nil
	w.must(w.decide(5*time.Second, lend.ReasonPreparing, 0))
	w.count(1)
	w.finish()
	w.must(w.decide(5*time.Second, lend.ReasonPreparing, 0))
	w.state(true)

	w.reclaim(w.clock.Now(), "serving/chat")
	w.fails = errors.New("timeout")
	if err := w.decide(time.Second, lend.ReasonAboveHighWater, 4); err == nil {
		t.Fatal("no error")
	}
	w.fails = nil
	w.must(w.decide(5*time.Second, lend.ReasonAboveHighWater, 4))
	w.count(2)
}

// TestRestart: another broker goes on where one died.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.must(w.decide(0, lend.ReasonPreparing, 0))
	w.restart()
	w.state(false)
	w.must(w.decide(time.Minute, lend.ReasonBrokerStarted, 0))
	w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
	w.count(1)
	w.state(false)
	w.finish()
	w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
	w.state(true)
	w.must(w.decide(time.Minute, lend.ReasonBelowLowWater, 4))
	w.restart()
	w.state(true)
	w.must(w.decide(time.Minute, lend.ReasonBelowLowWater, 4))
	w.state(true)
	w.count(1)

	// A reclaim that an earlier broker prepared is not prepared again, a later one is.
	w.reclaim(begin, "serving/chat")
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
	w.count(2)
	w.finish()
	w.restart()
	w.reclaim(begin, "serving/chat")
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
	w.count(2)
	w.reclaim(w.clock.Now(), "serving/chat")
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
	w.count(3)
}

// TestForeignObjects: objects that only look as if they were the policy's are neither
// taken for its runs nor deleted.
func TestForeignObjects(t *testing.T) {
	w := newWorld(t)
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(dataLoad)
	o.SetNamespace("serving")
	o.SetName("chat-lend-aaaaa")
	o.SetLabels(map[string]string{prewarm.LabelPolicy: "chat", prewarm.LabelHook: "before-lend"})
	w.must(w.api.Create(t.Context(), o))
	w.must(w.decide(time.Second, lend.ReasonPreparing, 0))
	w.count(2)
	w.must(w.decide(3*time.Hour, lend.ReasonBelowLowWater, 4))
	w.must(w.decide(2*time.Hour, lend.ReasonBelowLowWater, 4))
	if got := w.count(1); got.GetName() != "chat-lend-aaaaa" {
		t.Errorf("left is %s", got.GetName())
	}
}

// TestDeleted: somebody who deletes the object is not waited for.
func TestDeleted(t *testing.T) {
	w := newWorld(t)
	w.must(w.decide(0, lend.ReasonPreparing, 0))
	w.must(w.api.Delete(t.Context(), w.count(1)))
	w.must(w.decide(5*time.Second, lend.ReasonPreparing, 0))
	w.state(true)
	w.wantSaid("Normal HookBegun before-lend: created DataLoad chat-lend-N",
		"Warning HookFailed before-lend: DataLoad chat-lend-N was deleted; lending went on without")
}

func TestNoHook(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.LendingPolicy){
		"none":   func(p *v1alpha1.LendingPolicy) { p.Spec.Hooks = nil },
		"empty":  func(p *v1alpha1.LendingPolicy) { p.Spec.Hooks = &v1alpha1.Hooks{} },
		"Advise": func(p *v1alpha1.LendingPolicy) { p.Spec.Mode = v1alpha1.ModeAdvise },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			change(w.policy)
			if got := w.runner.State(w.policy); got != nil {
				t.Errorf("state %+v", got)
			}
			w.reclaim(begin, "serving/chat")
			w.must(w.decide(0, lend.ReasonPreparing, 4))
			w.count(0)
		})
	}
	t.Run("removed while it runs", func(t *testing.T) {
		w := newWorld(t)
		w.must(w.decide(0, lend.ReasonPreparing, 0))
		w.policy.Spec.Hooks = nil
		w.must(w.decide(time.Minute, lend.ReasonBelowLowWater, 0))
		w.count(1)
		w.must(w.decide(time.Hour, lend.ReasonBelowLowWater, 0))
		w.count(0)
	})
}
