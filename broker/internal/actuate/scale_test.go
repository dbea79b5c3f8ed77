package actuate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// scales serves the scale subresource of Deployments as the API server does, which the
// fake client does not for objects without a Go type. before, if set, runs between a
// read and its write.
func (w *world) scales(before func()) client.Client {
	deployment := func(o client.Object) (*appsv1.Deployment, error) {
		if kind := o.GetObjectKind().GroupVersionKind(); kind != appsv1.SchemeGroupVersion.WithKind("Deployment") {
			return nil, errors.New("the server has no scale of " + kind.String())
		}
		var d appsv1.Deployment
		err := w.api.Get(w.t.Context(), client.ObjectKeyFromObject(o), &d)
		return &d, err
	}
	return interceptor.NewClient(w.api, interceptor.Funcs{
		SubResourceGet: func(_ context.Context, _ client.Client, sub string, o, into client.Object, _ ...client.SubResourceGetOption) error {
			d, err := deployment(o)
			if err != nil || sub != "scale" {
				return errors.Join(err, errors.New("no "+sub))
			}
			scale := into.(*unstructured.Unstructured)
			scale.SetResourceVersion(d.ResourceVersion)
			return unstructured.SetNestedField(scale.Object, int64(*d.Spec.Replicas), "spec", "replicas")
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			if sub != "scale" {
				return c.SubResource(sub).Update(ctx, o, opts...)
			}
			if before != nil {
				before()
			}
			var options client.SubResourceUpdateOptions
			options.ApplyOptions(opts)
			scale := options.SubResourceBody.(*unstructured.Unstructured)
			d, err := deployment(o)
			if err != nil {
				return err
			}
			if scale.GetResourceVersion() != d.ResourceVersion {
				return apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, d.Name, errors.New("it has changed"))
			}
			replicas, _, err := unstructured.NestedInt64(scale.Object, "spec", "replicas")
			d.Spec.Replicas = ptr.To(int32(replicas))
			return errors.Join(err, w.api.Update(ctx, d))
		},
	})
}

func (w *world) replicas() int32 {
	w.t.Helper()
	var d appsv1.Deployment
	if err := w.api.Get(w.t.Context(), client.ObjectKey{Namespace: "serving", Name: "chat"}, &d); err != nil {
		w.t.Fatal(err)
	}
	return *d.Spec.Replicas
}

func (w *world) setReplicas(n int32) {
	w.t.Helper()
	var d appsv1.Deployment
	if err := w.api.Get(w.t.Context(), client.ObjectKey{Namespace: "serving", Name: "chat"}, &d); err != nil {
		w.t.Fatal(err)
	}
	d.Spec.Replicas = ptr.To(n)
	if err := w.api.Update(w.t.Context(), &d); err != nil {
		w.t.Fatal(err)
	}
}

func TestScale(t *testing.T) {
	down := lend.ScaleTo{Lender: "serving/chat", Replicas: 3, Reason: lend.ReasonNeedFell, Message: "needs 2 replicas; 4 are set"}
	const said = "Normal Scaled Scaled Deployment chat from 4 to 3: needs 2 replicas; 4 are set"
	for name, c := range map[string]struct {
		change  func(*v1alpha1.LendingPolicy, *lend.Lender)
		refused bool
		found   int32                 // replicas before the plan is carried out, if not 4
		before  func(w *world) func() // between the read and the write
		want    int32
		event   bool
		err     string
	}{
		"managed":                    {want: 3, event: true},
		"observed":                   {change: func(p *v1alpha1.LendingPolicy, _ *lend.Lender) { p.Spec.Scaling.Mode = v1alpha1.ScalingObserve }, want: 4},
		"advised":                    {change: func(p *v1alpha1.LendingPolicy, _ *lend.Lender) { p.Spec.Mode = v1alpha1.ModeAdvise }, want: 4},
		"an adviser in the snapshot": {change: func(_ *v1alpha1.LendingPolicy, l *lend.Lender) { l.Advise = true }, want: 4},
		"refused":                    {change: func(_ *v1alpha1.LendingPolicy, l *lend.Lender) { l.Scale = nil }, want: 4},
		"refused for a reason":       {refused: true, want: 4},
		"scaled by somebody since":   {found: 5, want: 5},
		"scaled by somebody at the same time": {
			before: func(w *world) func() { return func() { w.setReplicas(6) } }, want: 6,
		},
		"without a scale": {
			change: func(p *v1alpha1.LendingPolicy, _ *lend.Lender) { p.Spec.TargetRef.Kind = "Machine" }, want: 4,
			err: "scale the target of serving/chat: read the scale of Machine chat: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := alive(w)
			w.setReplicas(4)
			recorder := events.NewFakeRecorder(100)
			b.actuator.Events.Recorder = recorder
			var before func()
			if c.before != nil {
				before = c.before(w)
			}
			b.actuator.Client = w.scales(before)
			view := b.managed()
			if c.change != nil {
				c.change(view.Policies["serving/chat"], &view.Snapshot.Lenders[0])
			}
			if c.refused {
				view.ScalingRefused = map[string]*lend.Problem{"serving/chat": {Reason: "HasAutoscaler", Message: "x"}}
			}
			if c.found != 0 {
				w.setReplicas(c.found)
			}
			err := b.actuator.Apply(b.context(), view, &lend.Plan{Scales: []lend.ScaleTo{down}, Actions: []lend.Action{w.lending()}})
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("Apply: %v, want %q", err, c.err)
			}
			if got := w.replicas(); got != c.want {
				t.Errorf("%d replicas, want %d", got, c.want)
			}
			if heard := drain(recorder); heard[said] != c.event {
				t.Errorf("heard %v, want Scaled: %v", heard, c.event)
			}
			if len(w.loans()) != 1 {
				t.Error("the plan's other action was not carried out")
			}
		})
	}
}

// managed is a view in which the broker scales the lender between 1 and 6.
func (b *broker) managed() *gather.View {
	view := b.gather()
	policy := view.Policies["serving/chat"]
	policy.Spec.Scaling = v1alpha1.Scaling{Mode: v1alpha1.ScalingManage, Min: 1, Max: ptr.To[int32](6)}
	view.Snapshot.Lenders[0].Scale = &lend.Scale{Min: 1, Max: 6, Replicas: 4}
	return view
}

func drain(recorder *events.FakeRecorder) map[string]bool {
	heard := map[string]bool{}
	for {
		select {
		case e := <-recorder.Events:
			heard[e] = true
		default:
			return heard
		}
	}
}

// TestLenderStatus: what was decided is in the policy's status.
func TestLenderStatus(t *testing.T) {
	advice := &lend.Advice{
		Since: now.Add(-time.Hour), Lent: 4, UnitSeconds: 9000, Reclaims: 2, Waited: 1, LongestWait: 12*time.Second + 1,
	}
	wild := lend.Verdict{Kind: lend.SubjectLender, Subject: "serving/chat", Reason: lend.ReasonLoadNotForecastable, Message: "it varies"}
	for name, c := range map[string]struct {
		change   func(*v1alpha1.LendingPolicy, *lend.Lender, *lend.Plan)
		view     func(*gather.View)
		scaling  string
		forecast string
		accepted string
		advice   *v1alpha1.Advice
	}{
		"managed": {
			scaling:  "True Managed: the broker sets between 1 and 6 replicas",
			forecast: "Unknown PastUnknown: too little is known of the load's past",
		},
		"a problem, and a known past": {
			change: func(_ *v1alpha1.LendingPolicy, l *lend.Lender, _ *lend.Plan) {
				l.Problem, l.Forecast = &lend.Problem{Reason: "UnknownTarget", Message: "it is gone"}, &lend.Forecast{Growth: 1}
			},
			scaling:  "False UnknownTarget: it is gone",
			forecast: "True PastKnown: the load's past says how much it may rise",
		},
		"an autoscaler, and a wild load": {
			change: func(_ *v1alpha1.LendingPolicy, l *lend.Lender, p *lend.Plan) {
				l.Scale, p.Verdicts = nil, []lend.Verdict{wild}
			},
			view: func(v *gather.View) {
				v.ScalingRefused = map[string]*lend.Problem{
					"serving/chat": {Reason: "HasAutoscaler", Message: "HorizontalPodAutoscaler chat has the same target"},
				}
				v.Notes = map[string][]string{"serving/chat": {"a trigger is not used"}}
			},
			accepted: "True Accepted: the target, its flavor and the owned units are known; a trigger is not used",
			scaling:  "False HasAutoscaler: HorizontalPodAutoscaler chat has the same target",
			forecast: "False LoadNotForecastable: it varies",
		},
		"a target that nobody knows": {
			change:   func(_ *v1alpha1.LendingPolicy, l *lend.Lender, _ *lend.Plan) { l.Scale = nil },
			scaling:  "False NotManaged: the target's replicas are not known",
			forecast: "Unknown PastUnknown: too little is known of the load's past",
		},
		"observed, and a wild load with a past": {
			change: func(policy *v1alpha1.LendingPolicy, l *lend.Lender, p *lend.Plan) {
				policy.Spec.Scaling.Mode, l.Forecast = v1alpha1.ScalingObserve, &lend.Forecast{Growth: 1}
				p.Lenders[0].NeedBy = "absolute floor"
			},
			forecast: "False LoadNotForecastable: the load varies so much that the highest load of seven days is kept",
		},
		"an adviser": {
			change: func(policy *v1alpha1.LendingPolicy, l *lend.Lender, p *lend.Plan) {
				policy.Spec.Mode, l.Advise, p.Lenders[0].Advice = v1alpha1.ModeAdvise, true, advice
			},
			scaling:  "False AdviseOnly: mode Advise changes nothing",
			forecast: "Unknown PastUnknown: too little is known of the load's past",
			advice: &v1alpha1.Advice{
				Since: metav1.NewTime(now.Add(-time.Hour)), LentUnits: 4, LentUnitHours: "2.5", Reclaims: 2, PodsWaited: 1,
				LongestWait: metav1.Duration{Duration: 12 * time.Second},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := alive(w)
			view := b.managed()
			view.Snapshot.Lenders[0].Notice = 83*time.Second + 400*time.Millisecond
			plan := &lend.Plan{Lenders: []lend.LenderView{{Name: "serving/chat", Owned: 12}}}
			// What an earlier decision said does not stay.
			status := &view.Policies["serving/chat"].Status
			status.Advice = &v1alpha1.Advice{LentUnits: 9}
			meta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: v1alpha1.ConditionScaling, Status: "True", Reason: "Old"})
			if c.change != nil {
				c.change(view.Policies["serving/chat"], &view.Snapshot.Lenders[0], plan)
			}
			if c.view != nil {
				c.view(view)
			}
			if err := b.actuator.Apply(b.context(), view, plan); err != nil {
				t.Fatal(err)
			}
			var p v1alpha1.LendingPolicy
			if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: "serving", Name: "chat"}, &p); err != nil {
				t.Fatal(err)
			}
			if p.Status.Notice.Duration != 83*time.Second {
				t.Errorf("notice %v", p.Status.Notice)
			}
			if diff := cmp.Diff(c.advice, p.Status.Advice); diff != "" {
				t.Errorf("advice (-want +got):\n%s", diff)
			}
			for kind, want := range map[string]string{
				v1alpha1.ConditionScaling: c.scaling, v1alpha1.ConditionForecastable: c.forecast, v1alpha1.ConditionAccepted: c.accepted,
			} {
				if kind == v1alpha1.ConditionAccepted && want == "" {
					continue
				}
				var got string
				if c := meta.FindStatusCondition(p.Status.Conditions, kind); c != nil {
					got = string(c.Status) + " " + c.Reason + ": " + c.Message
				}
				if got != want {
					t.Errorf("%s is %q, want %q", kind, got, want)
				}
			}
		})
	}
}
