package escapes

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// gate is an API server that notes how it was written to, and refuses those verbs.
type gate struct {
	client.WithWatch
	seen    []string
	refuses map[string]bool
	// ignores: the subresource takes the request, and nothing of it.
	ignores bool
}

func newGate(t *testing.T, refuses ...string) *gate {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	g := &gate{refuses: map[string]bool{}}
	for _, verb := range refuses {
		g.refuses[verb] = true
	}
	note := func(verb string) error {
		g.seen = append(g.seen, verb)
		if g.refuses[verb] {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "try", nil)
		}
		return nil
	}
	waiting := queued(red, "waiting", "paused", 1, 1, func(job *batchv1.Job) { job.Spec.Suspend = ptr.To(true) })
	g.WithWatch = fake.NewClientBuilder().WithScheme(scheme).WithObjects(waiting).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := note("create"); err != nil {
				return err
			}
			return c.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if err := note("update"); err != nil {
				return err
			}
			return c.Update(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := note(string(p.Type())); err != nil {
				return err
			}
			if p.Type() == types.ApplyPatchType {
				body, err := json.Marshal(o)
				if err != nil {
					return err
				}
				return c.Patch(ctx, o, client.RawPatch(types.MergePatchType, body)) // what comes of it by force
			}
			return c.Patch(ctx, o, p, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, _ ...client.SubResourcePatchOption) error {
			if err := note(sub); err != nil || g.ignores {
				return err
			}
			return c.Patch(ctx, o, p)
		},
	}).Build()
	return g
}

// start is the way to start a job that waits.
func start(ctx context.Context, c client.Client) error {
	job := &batchv1.Job{}
	job.Namespace, job.Name = red, "waiting"
	return c.Patch(ctx, job, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"suspend": false}}`)))
}

// Each route writes by its own verb, and the same.
func TestRoutes(t *testing.T) {
	for by, want := range map[route][]string{
		byUpdate: {"update"}, byMerge: {"application/merge-patch+json"}, byJSONPatch: {"application/json-patch+json"},
		byApply: {"application/apply-patch+yaml"}, byStatus: {"status"}, byResize: nil, byEphemeral: nil,
	} {
		t.Run(string(by), func(t *testing.T) {
			g := newGate(t)
			r := &routed{Client: g, route: by}
			err := start(t.Context(), r)
			if diff := cmp.Diff(want, g.seen); diff != "" {
				t.Errorf("written by (-want +got):\n%s", diff)
			}
			what, wrong := judge(t.Context(), g, r, true, err)
			if want == nil {
				if what != notTried || wrong != nil {
					t.Errorf("the outcome is %s: %v", what, wrong)
				}
				return
			}
			if diff := cmp.Diff(map[string]any{"spec": map[string]any{"suspend": false}}, r.wrote.change); diff != "" {
				t.Errorf("what is written differs (-want +got):\n%s", diff)
			}
			// The control: a server that lets it pass is found out.
			if what != escaped || wrong == nil {
				t.Errorf("a job was started (%v), and the outcome is %s: %v", err, what, wrong)
			}
		})
	}
}

// What is to be created is made harmless first.
func TestRouteOfACreation(t *testing.T) {
	for by, want := range map[route][]string{
		byUpdate: {"create", "update"}, byJSONPatch: {"create", "application/json-patch+json"}, byApply: {"application/apply-patch+yaml"},
		byResize: {"create", "resize"}, byEphemeral: {"create", "ephemeralcontainers"},
	} {
		g := newGate(t, want[len(want)-1])
		r := &routed{Client: g, route: by}
		err := r.Create(t.Context(), gpuPod(red, "try", gpu, "8", stock))
		if diff := cmp.Diff(want, g.seen); diff != "" {
			t.Errorf("%s: written by (-want +got):\n%s", by, diff)
		}
		if what, wrong := judge(t.Context(), g, r, true, err); what != repelled || wrong != nil {
			t.Errorf("%s: the outcome is %s: %v", by, what, wrong)
		}
		var pod corev1.Pod
		if err := g.Get(t.Context(), client.ObjectKey{Namespace: red, Name: "try"}, &pod); err == nil {
			if units := pod.Spec.Containers[0].Resources.Limits[gpu]; !units.IsZero() {
				t.Errorf("%s: what was harmless has %s GPUs", by, units.String())
			}
		}
	}
}

// What is refused before it comes to the route is no attack by it: else each way that is
// refused as it is would count once for every route.
func TestRefusedBeforeTheRoute(t *testing.T) {
	for name, o := range map[string]client.Object{
		"what has nothing harmless":   &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "try"}},
		"what is refused if harmless": gpuPod(red, "try", gpu, "8", stock),
	} {
		g := newGate(t, "create")
		r := &routed{Client: g, route: byMerge}
		err := r.Create(t.Context(), o)
		if what, wrong := judge(t.Context(), g, r, true, err); err == nil || what != notTried || wrong != nil {
			t.Errorf("%s: the outcome is %s: %v", name, what, wrong)
		}
	}
}

// What a subresource takes and drops bought nothing; an error that is no refusal is none.
func TestOutcomes(t *testing.T) {
	g := newGate(t)
	g.ignores = true
	r := &routed{Client: g, route: byStatus}
	if what, err := judge(t.Context(), g, r, true, start(t.Context(), r)); what != idle || err != nil {
		t.Errorf("the outcome is %s: %v", what, err)
	}
	if what, err := judge(t.Context(), g, r, true, context.DeadlineExceeded); what != escaped || err == nil {
		t.Errorf("a server that does not answer counts as one that refuses: %s", what)
	}
	if what, _ := judge(t.Context(), g, r, false, nil); what != idle {
		t.Errorf("what may be accepted is %s", what)
	}
	var n tally
	for _, o := range []outcome{notTried, repelled, idle, escaped} {
		n.count(o)
	}
	if diff := cmp.Diff(tally{Cases: 3, Refused: 2}, n); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	if line, err := json.Marshal(n); err != nil || string(line) != `{"attackCases":3,"attacksRefused":2}` {
		t.Errorf("the line is %s (%v)", line, err)
	}
}

// A change is held where all of it is, and nothing is taken away by applying.
func TestHoldsAChange(t *testing.T) {
	object := map[string]any{"a": map[string]any{"b": int64(1), "c": []any{"x"}}}
	for text, want := range map[string]bool{
		`{"a": {"b": 1}}`: true, `{"a": {"b": 2}}`: false, `{"a": {"c": ["x"]}}`: true, `{"a": {"c": ["x", "y"]}}`: false,
		`{"a": {"d": null}}`: true, `{"a": {"b": null}}`: false, `{"e": {"f": 1}}`: false,
	} {
		change := map[string]any{}
		if err := json.Unmarshal([]byte(text), &change); err != nil {
			t.Fatal(err)
		}
		if holds(object, change) != want {
			t.Errorf("%s is held: %t, want %t", text, !want, want)
		}
	}
	if !takesAway(map[string]any{"a": map[string]any{"b": nil}}) || takesAway(map[string]any{"a": map[string]any{"b": 1}}) {
		t.Error("what takes away is not told from what does not")
	}
}
