package gather_test

import (
	"context"
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// scaler answers for the scale subresource of any kind.
type scaler struct {
	client.SubResourceClient
	replicas int32
	err      error
}

func (s scaler) SubResource(string) client.SubResourceClient { return s }

func (s scaler) Get(_ context.Context, _, into client.Object, _ ...client.SubResourceGetOption) error {
	// As a real client does: an object without a Go type has a scale without one.
	scale := into.(*unstructured.Unstructured)
	if err := unstructured.SetNestedField(scale.Object, int64(s.replicas), "spec", "replicas"); err != nil {
		return err
	}
	return s.err
}

// fleet is a workload of a kind that the broker has no cache for. Its pods hang
// two owners below it.
func fleet(t *testing.T, path ...string) []client.Object {
	t.Helper()
	body := template(2)
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&body)
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Fleet"}}
	object.SetNamespace("serving")
	object.SetName("fleet")
	object.SetUID("fleet")
	if err := unstructured.SetNestedMap(object.Object, raw, path...); err != nil {
		t.Fatal(err)
	}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: "serving", Name: "fleet-0", UID: "sts-fleet", OwnerReferences: controlledBy("Fleet", "fleet"),
	}}
	lending := policy("fleet", 6)
	lending.Spec.TargetRef = v1alpha1.TargetRef{APIVersion: "example.com/v1", Kind: "Fleet", Name: "fleet"}
	return []client.Object{object, set, lending, newPod("serving", "fleet-0-0", 2, controlledBy("StatefulSet", "sts-fleet")).on("gpu-1").ready()}
}

func TestOtherKinds(t *testing.T) {
	gather := func(scale scaler, objects ...client.Object) (problem string, running, desired int64) {
		g, _ := newGatherer(append(without(cluster(), "chat", "LendingPolicy"), objects...)...)
		g.Scales = scale
		view, err := g.Gather(t.Context(), now, 1)
		if err != nil {
			t.Fatal(err)
		}
		l := view.Snapshot.Lenders[0]
		if l.Problem != nil {
			problem = l.Problem.Message
		}
		return problem, l.Running, l.Desired
	}
	if problem, running, desired := gather(scaler{replicas: 3}, fleet(t, "spec", "template")...); problem != "" || running != 1 || desired != 3 {
		t.Errorf("got problem %q, %d running of %d", problem, running, desired)
	}
	const prefix = "spec.targetRef: example.com/v1 Fleet fleet "
	problem, _, _ := gather(scaler{}, fleet(t, "spec", "podTemplate")...)
	if want := prefix + "has no pod template at spec.template"; problem != want {
		t.Errorf("got %q, want %q", problem, want)
	}
	problem, _, _ = gather(scaler{err: errors.New("not found")}, fleet(t, "spec", "template")...)
	if want := prefix + "has no scale subresource that can be read"; problem != want {
		t.Errorf("got %q, want %q", problem, want)
	}
	problem, _, _ = gather(scaler{}, fleet(t, "spec", "template")[1:]...)
	if want := prefix + "cannot be read: NotFound"; problem != want {
		t.Errorf("got %q, want %q", problem, want)
	}
}
