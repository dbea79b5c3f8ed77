package autoscaler

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// revision is a Revision of the Service chat with its PodAutoscaler.
func revision(t *testing.T, name, annotations, spec, status string) []*unstructured.Unstructured {
	t.Helper()
	r := strings.NewReplacer("NAME", name, "ANNOTATIONS", annotations, "SPEC", spec, "STATUS", status)
	return []*unstructured.Unstructured{
		object(t, r.Replace(`
apiVersion: serving.knative.dev/v1
kind: Revision
metadata: {name: NAME, uid: rev-NAME, ownerReferences: [{apiVersion: serving.knative.dev/v1, kind: Configuration, name: chat, uid: config, controller: true}]}
`)),
		object(t, r.Replace(`
apiVersion: autoscaling.internal.knative.dev/v1alpha1
kind: PodAutoscaler
metadata:
  name: NAME
  annotations: {ANNOTATIONS}
  ownerReferences: [{apiVersion: serving.knative.dev/v1, kind: Revision, name: NAME, uid: rev-NAME, controller: true}]
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: NAME-deployment}
  SPEC
status: {STATUS}
`)),
	}
}

func knative(t *testing.T, parts ...[]*unstructured.Unstructured) *Found {
	t.Helper()
	objects := []*unstructured.Unstructured{
		object(t, `{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: chat, uid: service}}`),
		object(t, `
apiVersion: serving.knative.dev/v1
kind: Configuration
metadata: {name: chat, uid: config, ownerReferences: [{apiVersion: serving.knative.dev/v1, kind: Service, name: chat, uid: service, controller: true}]}
`),
	}
	for _, p := range parts {
		objects = append(objects, p...)
	}
	return NewFound(objects...)
}

// TestPodAutoscaler: what one says of the Deployment of its Revision, and that a scale
// of -1 means that it has no numbers.
func TestPodAutoscaler(t *testing.T) {
	const blind = "PodAutoscaler chat-1 cannot tell how many replicas are needed: NoMetrics"
	for name, test := range map[string]struct {
		annotations, status string
		desired, most       int64
		blind               string
		atMax               bool
	}{
		"scales":         {"autoscaling.knative.dev/max-scale: '8'", "desiredScale: 3, conditions: [{type: Active, status: 'True'}]", 3, 8, "", false},
		"old name":       {"autoscaling.knative.dev/maxScale: '8'", "desiredScale: 3", 3, 8, "", false},
		"at maximum":     {"autoscaling.knative.dev/max-scale: '3'", "desiredScale: 3", 3, 3, "", true},
		"no maximum":     {"autoscaling.knative.dev/max-scale: '0'", "desiredScale: 3", 3, 0, "", false},
		"no metrics":     {"", "desiredScale: -1, conditions: [{type: Active, status: 'True'}]", 0, 0, blind, false},
		"says so":        {"", "desiredScale: 2, conditions: [{type: Active, status: Unknown, reason: NoMetrics}]", 2, 0, blind, false},
		"no status":      {"", "", 0, 0, blind, false},
		"scaled to zero": {"", "desiredScale: 0, conditions: [{type: Active, status: 'False', reason: NoTraffic}]", 0, 0, "", false},
		"still at zero":  {"", "desiredScale: -1, conditions: [{type: Active, status: 'False', reason: NoTraffic}]", 0, 0, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			found := knative(t, revision(t, "chat-1", test.annotations, "containerConcurrency: 10", test.status))
			for _, ref := range []Ref{{"serving", "apps", "Deployment", "chat-1-deployment"}, service("chat")} {
				o := of(t, nil, found, ref)
				if o.Desired != test.desired || o.Max != test.most || o.Blind != test.blind || (o.AtMax != nil) != test.atMax || o.Slots != 10 {
					t.Errorf("%s: got %+v", ref.Kind, o)
				}
			}
		})
	}
}

// TestServiceOfSeveralRevisions: each serves a part of the requests, so what they want
// adds up, and one that is blind blinds all.
func TestServiceOfSeveralRevisions(t *testing.T) {
	stranger := object(t, `
apiVersion: autoscaling.internal.knative.dev/v1alpha1
kind: PodAutoscaler
metadata: {name: other, labels: {serving.knative.dev/service: chat}}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: other-deployment}}
status: {desiredScale: 50}
`)
	old := revision(t, "chat-1", "autoscaling.knative.dev/max-scale: '8'", "containerConcurrency: 10", "desiredScale: 4")
	canary := revision(t, "chat-2", "", "containerConcurrency: 5", "desiredScale: 1")
	found := knative(t, old, canary, []*unstructured.Unstructured{stranger})
	o := of(t, nil, found, service("chat"))
	if o.Desired != 5 || o.Max != 8 || o.Slots != 5 || o.Blind != "" {
		t.Errorf("got %+v, want 5 replicas of at most 8, with 5 slots", o)
	}
	blind := revision(t, "chat-3", "", "containerConcurrency: 0", "")
	if o := of(t, nil, knative(t, old, blind), service("chat")); o.Blind == "" || o.Desired != 4 {
		t.Errorf("got %+v, want a blind one", o)
	}
	if owners := found.Owners(); owners["rev-chat-1"] != "config" || owners["config"] != "service" {
		t.Errorf("owners: %v", owners)
	}
}

// TestVariantAutoscaling: with a reference and, as before there was one, by its name.
func TestVariantAutoscaling(t *testing.T) {
	for name, test := range map[string]struct {
		text    string
		desired int64
		blind   string
	}{
		"by reference": {`
metadata: {name: other}
spec: {scaleTargetRef: {kind: Deployment, name: chat}}
status: {desiredOptimizedAlloc: {numReplicas: 6}, conditions: [{type: MetricsAvailable, status: 'True'}]}`, 6, ""},
		"by name": {`
metadata: {name: chat}
spec: {modelID: m}
status: {desiredOptimizedAlloc: {numReplicas: 2}}`, 2, ""},
		"blind": {`
metadata: {name: chat}
status: {desiredOptimizedAlloc: {numReplicas: 2}, conditions: [{type: MetricsAvailable, status: 'False', reason: MetricsStale}]}`, 2,
			"VariantAutoscaling chat has no metrics: MetricsStale"},
	} {
		t.Run(name, func(t *testing.T) {
			o := of(t, nil, NewFound(object(t, "apiVersion: llmd.ai/v1alpha1\nkind: VariantAutoscaling"+test.text)), chat)
			if o.Desired != test.desired || o.Blind != test.blind || o.Max != 0 {
				t.Errorf("got %+v", o)
			}
		})
	}
}
