package lineage_test

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// TestBelowMissesNobody: whatever is put, changed, deleted and forgotten in whatever
// order, a pod with an object in its chain is controlled by it or by one of those below.
func TestBelowMissesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l lineage.Lineage
		uids := make([]types.UID, 12)
		for i := range uids {
			uids[i] = types.UID(fmt.Sprint("o", i))
		}
		some := rapid.SampledFrom(uids)
		kind := rapid.SampledFrom([]string{"Job", "JobSet", "StatefulSet", "Pod", "RayCluster", "TrainJob"})
		var pods []*metav1.ObjectMeta
		for i := range 4 {
			pods = append(pods, object(types.UID(fmt.Sprint("pod", i)), kind.Draw(t, "kind"), some.Draw(t, "owner")))
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch of := some.Draw(t, "of"); rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				l.Delete("research", of)
			case 1:
				l.Forget(all(pods...))
			case 2:
				l.Put(object(of, "", ""))
			default:
				l.Put(object(of, kind.Draw(t, "kind"), some.Draw(t, "owner")))
			}
		}
		for _, pod := range pods {
			chain, _ := uidsAbove(&l, pod)
			for _, of := range chain {
				if below := l.Below("research", of); of != pod.OwnerReferences[1].UID && !slices.Contains(below, pod.OwnerReferences[1].UID) {
					t.Fatalf("pod %s has %s in its chain %v, and its controller %s is not among those below: %v", pod.UID, of, chain, pod.OwnerReferences[1].UID, below)
				}
			}
		}
		for _, of := range uids {
			if got := l.Below("serving", of); got != nil {
				t.Fatalf("below %s in another namespace: %v", of, got)
			}
		}
	})
}

// TestBelowForgets: nothing is kept of who is forgotten, or has another controller now.
func TestBelowForgets(t *testing.T) {
	var l lineage.Lineage
	l.Put(object("job", "JobSet", "first"))
	l.Put(object("job", "JobSet", "second"))
	if got := l.Below("research", "first"); got != nil {
		t.Errorf("below who controls it no more: %v", got)
	}
	if got := l.Below("research", "second"); !slices.Equal(got, []types.UID{"job"}) {
		t.Errorf("below = %v", got)
	}
	l.Delete("research", "job")
	if got := l.Below("research", "second"); !slices.Equal(got, []types.UID{"job"}) {
		t.Errorf("below, once it was deleted = %v", got)
	}
	l.Forget(all())
	if got := l.Below("research", "second"); got != nil {
		t.Errorf("below, once it was forgotten = %v", got)
	}
}

func TestQueued(t *testing.T) {
	queue := map[string]string{v1alpha1.LabelQueue: "default"}
	var l lineage.Lineage
	jobset := object("jobset", "", "")
	jobset.Labels = queue
	pod, bare, labelled := object("pod", "Job", "job"), object("bare", "", ""), object("labelled", "", "")
	labelled.Labels = queue
	check := func(when string, pod *metav1.ObjectMeta, queued, complete bool) {
		t.Helper()
		if q, c := l.Queued(pod); q != queued || c != complete {
			t.Errorf("%s: %t, %t; want %t, %t", when, q, c, queued, complete)
		}
	}
	check("a pod by itself", bare, false, true)
	check("a pod that says so", labelled, true, true)
	check("nothing is known", pod, false, false)
	l.Put(jobset)
	check("the job is not known", pod, false, false)
	if !l.Put(object("job", "JobSet", "jobset")) {
		t.Error("a new link is no news")
	}
	check("all are known", pod, true, true)
	if l.Put(object("job", "JobSet", "jobset")) {
		t.Error("the same link again is news")
	}
	l.Delete("research", "jobset")
	check("the one with the queue was deleted", pod, true, true)
	if l.Put(jobset) {
		t.Error("that it is there again is news")
	}
	if !l.Put(object("jobset", "", "")) {
		t.Error("that it has no queue any more is no news")
	}
	check("its label was taken off", pod, false, true)
}
