package kubelet

import (
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func named(p *corev1.Pod, name, uid string) *corev1.Pod {
	p = p.DeepCopy()
	p.Namespace, p.Name, p.UID = "ns", name, types.UID(uid)
	return p
}

// After an interrupted watch, a pod that is still there keeps its history, one
// that is gone is forgotten, and a namesake of it starts anew.
func TestReplaceKeepsHistory(t *testing.T) {
	k := New(nil, logr.Discard())
	defer k.queue.ShutDown()
	stays, leaves := named(pod(true), "stays", "1"), named(pod(true), "leaves", "2")
	if err := k.Replace([]any{stays, leaves}, "1"); err != nil {
		t.Fatal(err)
	}
	ran := k.lives["1"].running
	if ran.IsZero() || len(k.lives) != 2 {
		t.Fatalf("lives after the first list: %+v", k.lives)
	}
	namesake := named(phase(pod(false), corev1.PodPending), "leaves", "3")
	if err := k.Replace([]any{stays, namesake}, "2"); err != nil {
		t.Fatal(err)
	}
	if got := k.lives["1"].running; !got.Equal(ran) {
		t.Errorf("the pod that stays has been running since %s, not %s", got, ran)
	}
	if _, there := k.lives["2"]; there {
		t.Error("the pod that left is remembered")
	}
	if got := k.lives["3"]; got != (life{}) {
		t.Errorf("the namesake has a history: %+v", got)
	}
	if err := k.Delete(stays); err != nil {
		t.Fatal(err)
	}
	if _, there := k.lives["1"]; there || len(k.pods.ListKeys()) != 1 {
		t.Error("a deleted pod is remembered")
	}
	if err := k.Add("not a pod"); err == nil {
		t.Error("something that is no pod was taken for one")
	}
}
