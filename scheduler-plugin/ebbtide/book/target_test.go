package book

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

func TestTargetOf(t *testing.T) {
	const hash = "pod-template-hash"
	for name, c := range map[string]struct {
		owner  metav1.OwnerReference
		labels map[string]string
		want   Target
	}{
		"Deployment":                 {metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "chat-7d-5c9f"}, map[string]string{hash: "5c9f"}, Target{"apps", "Deployment", "chat-7d"}},
		"ReplicaSet":                 {metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "chat"}, nil, Target{"apps", "ReplicaSet", "chat"}},
		"ReplicaSet with a dash":     {metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "chat-"}, map[string]string{hash: ""}, Target{"apps", "ReplicaSet", "chat-"}},
		"another hash":               {metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "chat-5c9f"}, map[string]string{hash: "9f"}, Target{"apps", "ReplicaSet", "chat-5c9f"}},
		"somebody else's ReplicaSet": {metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "ReplicaSet", Name: "chat-5c9f"}, map[string]string{hash: "5c9f"}, Target{"example.com", "ReplicaSet", "chat-5c9f"}},
		"core":                       {metav1.OwnerReference{APIVersion: "v1", Kind: "ReplicationController", Name: "chat"}, nil, Target{"", "ReplicationController", "chat"}},
		"no version":                 {metav1.OwnerReference{APIVersion: "a/b/c", Kind: "X", Name: "chat"}, nil, Target{"a/b/c", "X", "chat"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: c.labels, OwnerReferences: []metav1.OwnerReference{c.owner}}}
			if got := TargetOf(pod); got != (Target{}) {
				t.Errorf("an owner that does not control it: %+v", got)
			}
			pod.OwnerReferences[0].Controller = ptr.To(true)
			if got := TargetOf(pod); got != c.want {
				t.Errorf("TargetOf = %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestPins(t *testing.T) {
	policies := cache.NewIndexer(cache.MetaNamespaceKeyFunc, PolicyIndexers())
	for name, spec := range map[string]v1alpha1.LendingPolicySpec{
		"pins":    {MIG: &v1alpha1.MIGPolicy{Pinned: 3}},
		"lends":   {MIG: &v1alpha1.MIGPolicy{}},
		"whole":   {},
		"advises": {MIG: &v1alpha1.MIGPolicy{Pinned: 3}, Mode: v1alpha1.ModeAdvise},
	} {
		if err := policies.Add(&v1alpha1.LendingPolicy{ObjectMeta: metav1.ObjectMeta{Name: "chat", Namespace: name}, Spec: spec}); err != nil {
			t.Fatal(err)
		}
		if got, want := Pins(policies, name), name == "pins"; got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if Pins(nil, "pins") || Pins(policies, "elsewhere") {
		t.Error("where nothing is known, slices are pinned")
	}
}
