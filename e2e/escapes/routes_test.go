package escapes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	operations "gomodules.xyz/jsonpatch/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// route is a way to write the same thing.
type route string

const (
	direct      route = "as it is"
	byUpdate    route = "update"
	byMerge     route = "merge patch"
	byJSONPatch route = "JSON patch"
	byApply     route = "server-side apply"
	byStatus    route = "subresource status"
	byResize    route = "subresource resize"
	byEphemeral route = "subresource ephemeralcontainers"
)

// routes are all but the first.
var routes = []route{byUpdate, byMerge, byJSONPatch, byApply, byStatus, byResize, byEphemeral}

var (
	// errNoRoute: the API has no such way to write this.
	errNoRoute = errors.New("there is no such way to write this")
	// errLeftOut: the API server answered well and wrote nothing of it, as subresources do
	// with fields that are not theirs.
	errLeftOut = errors.New("nothing of it was written")
)

// routed is a client that writes by another route what it is asked to create or patch: what
// is to be created is made harmless first, and becomes what it was meant to be afterwards.
type routed struct {
	client.Client
	route route
	// wrote is what was last sent by the route; nil: nothing was.
	wrote *written
}

// written is what an object was meant to be.
type written struct {
	object *unstructured.Unstructured // as it was, with its name
	change map[string]any             // a merge patch to what was meant
}

// Create makes the object by the route.
func (r *routed) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	mild := harmless(o)
	if mild == nil && r.route != byApply {
		return r.Client.Create(ctx, o, opts...)
	}
	meant, err := plain(r.Scheme(), o)
	if err != nil {
		return err
	}
	if r.route == byApply { // which creates
		r.wrote = &written{meant, map[string]any{}}
		if err := r.Client.Patch(ctx, meant, client.Apply, client.ForceOwnership, client.FieldOwner("mallory")); err != nil { //nolint:staticcheck // any object's
			return err
		}
		return r.Get(ctx, client.ObjectKeyFromObject(o), o)
	}
	if err := r.Client.Create(ctx, mild); err != nil {
		return err
	}
	live, err := plain(r.Scheme(), mild)
	if err != nil {
		return err
	}
	goal := live.DeepCopy()
	goal.Object["spec"] = meant.Object["spec"]
	for _, key := range []string{"labels", "annotations", "finalizers", "ownerReferences"} {
		if value, found, _ := unstructured.NestedFieldNoCopy(meant.Object, "metadata", key); found {
			if err := unstructured.SetNestedField(goal.Object, runtime.DeepCopyJSONValue(value), "metadata", key); err != nil {
				return fmt.Errorf("set metadata.%s: %w", key, err)
			}
		}
	}
	if err := r.write(ctx, live, goal); err != nil {
		return err
	}
	return r.Get(ctx, client.ObjectKeyFromObject(o), o)
}

// Patch does by the route what the patch would have done.
func (r *routed) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	body, err := p.Data(o)
	if err != nil {
		return err
	}
	like, err := plain(r.Scheme(), o)
	if err != nil {
		return err
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(like.GroupVersionKind())
	if err := r.Get(ctx, client.ObjectKeyFromObject(o), live); err != nil {
		return err
	}
	before, err := live.MarshalJSON()
	if err != nil {
		return err
	}
	var after []byte
	switch p.Type() {
	case types.MergePatchType:
		after, err = jsonpatch.MergePatch(before, body)
	case types.StrategicMergePatchType:
		typed, newErr := r.Scheme().New(live.GroupVersionKind())
		if newErr != nil {
			return fmt.Errorf("%w: %w", errNoRoute, newErr)
		}
		after, err = strategicpatch.StrategicMergePatch(before, body, typed)
	case types.JSONPatchType:
		var steps jsonpatch.Patch
		if steps, err = jsonpatch.DecodePatch(body); err == nil {
			after, err = steps.Apply(before)
		}
	default:
		return r.Client.Patch(ctx, o, p, opts...)
	}
	if err != nil {
		return fmt.Errorf("carry the patch out here: %w", err)
	}
	goal := &unstructured.Unstructured{}
	if err := goal.UnmarshalJSON(after); err != nil {
		return err
	}
	return r.write(ctx, live, goal)
}

// write turns live into goal.
func (r *routed) write(ctx context.Context, live, goal *unstructured.Unstructured) error {
	before, err := live.MarshalJSON()
	if err != nil {
		return err
	}
	after, err := goal.MarshalJSON()
	if err != nil {
		return err
	}
	body, err := jsonpatch.CreateMergePatch(before, after)
	if err != nil {
		return err
	}
	change := map[string]any{}
	if err := json.Unmarshal(body, &change); err != nil {
		return err
	}
	if len(change) == 0 {
		return errNoRoute // it is so already
	}
	target := live.DeepCopy()
	patch := client.RawPatch(types.MergePatchType, body)
	switch r.route {
	case byStatus, byResize, byEphemeral:
		sub := strings.TrimPrefix(string(r.route), "subresource ")
		if sub != "status" && live.GroupVersionKind() != corev1.SchemeGroupVersion.WithKind("Pod") {
			return errNoRoute
		}
		r.wrote = &written{live, change}
		if err := r.SubResource(sub).Patch(ctx, target, patch); err != nil {
			return err
		}
		if !holds(target.Object, change) {
			return errLeftOut
		}
		return nil
	case byUpdate:
		r.wrote = &written{live, change}
		return r.update(ctx, live, body)
	case byMerge:
		r.wrote = &written{live, change}
		return r.Client.Patch(ctx, target, patch)
	case byJSONPatch:
		steps, err := operations.CreatePatch(before, after)
		if err != nil {
			return err
		}
		text, err := json.Marshal(steps)
		if err != nil {
			return err
		}
		r.wrote = &written{live, change}
		return r.Client.Patch(ctx, target, client.RawPatch(types.JSONPatchType, text))
	case byApply:
		if takesAway(change) {
			return errNoRoute // nothing is taken away by saying what there is to be
		}
		apply := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(change)}
		apply.SetGroupVersionKind(live.GroupVersionKind())
		apply.SetNamespace(live.GetNamespace())
		apply.SetName(live.GetName())
		r.wrote = &written{live, change}
		return r.Client.Patch(ctx, apply, client.Apply, client.ForceOwnership, client.FieldOwner("mallory")) //nolint:staticcheck // any object's
	}
	return errNoRoute
}

// update writes the whole object with a change, upon what others made of it meanwhile.
func (r *routed) update(ctx context.Context, live *unstructured.Unstructured, change []byte) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		now := &unstructured.Unstructured{}
		now.SetGroupVersionKind(live.GroupVersionKind())
		if err := r.Get(ctx, client.ObjectKeyFromObject(live), now); err != nil {
			return err
		}
		before, err := now.MarshalJSON()
		if err != nil {
			return err
		}
		after, err := jsonpatch.MergePatch(before, change)
		if err != nil {
			return fmt.Errorf("put the change upon what is there: %w", err)
		}
		goal := &unstructured.Unstructured{}
		if err := goal.UnmarshalJSON(after); err != nil {
			return err
		}
		return r.Update(ctx, goal)
	})
}

// takesAway tells whether a merge patch removes a field.
func takesAway(change map[string]any) bool {
	for _, value := range change {
		if below, is := value.(map[string]any); value == nil || is && takesAway(below) {
			return true
		}
	}
	return false
}

// holds tells whether an object has what a merge patch asks for.
func holds(object, change map[string]any) bool {
	for key, want := range change {
		have, found := object[key]
		below, is := want.(map[string]any)
		switch {
		case want == nil && found:
			return false
		case is:
			inner, _ := have.(map[string]any)
			if !holds(inner, below) {
				return false
			}
		case want != nil && fmt.Sprint(have) != fmt.Sprint(want):
			return false
		}
	}
	return true
}

// plain is an object as the API server sees it.
func plain(scheme *runtime.Scheme, o client.Object) (*unstructured.Unstructured, error) {
	kind, err := apiutil.GVKForObject(o, scheme)
	if err != nil {
		return nil, fmt.Errorf("find the kind of a %T: %w", o, err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("read a %T: %w", o, err)
	}
	out := &unstructured.Unstructured{Object: content}
	out.SetGroupVersionKind(kind)
	return out, nil
}

// harmless is an object of the same name that anybody may make; nil: there is none.
func harmless(o client.Object) client.Object {
	switch o := o.(type) {
	case *corev1.Pod:
		return gpuPod(o.Namespace, o.Name, "cpu", "1", stock)
	case *batchv1.Job:
		return queued(o.Namespace, o.Name, "paused", 1, 1)
	case *v1alpha1.TrainingQueue:
		mild := &v1alpha1.TrainingQueue{Spec: v1alpha1.TrainingQueueSpec{Paused: true}}
		mild.Namespace, mild.Name = o.Namespace, o.Name
		return mild
	}
	return nil
}
