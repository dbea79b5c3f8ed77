package lineage_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lineage"
)

// kinds by a short name, with their API version.
var kinds = map[string]string{
	"Pod": "v1", "Job": "batch/v1", "StatefulSet": "apps/v1", "JobSet": "jobset.x-k8s.io/v1alpha2",
	"RayCluster": "ray.io/v1", "RayJob": "ray.io/v1", "TrainJob": "trainer.kubeflow.org/v1alpha1",
	"PyTorchJob": "kubeflow.org/v1", "LeaderWorkerSet": "leaderworkerset.x-k8s.io/v1", "ReplicaSet": "apps/v1",
}

func object(uid types.UID, kind string, owner types.UID) *metav1.ObjectMeta {
	o := &metav1.ObjectMeta{Namespace: "research", Name: string(uid), UID: uid}
	if owner != "" {
		o.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "ConfigMap", UID: "not-the-controller"},
			{APIVersion: kinds[kind], Kind: kind, UID: owner, Controller: ptr.To(true)},
		}
	}
	return o
}

// uidsAbove is the chain above a pod, by UID alone.
func uidsAbove(l *lineage.Lineage, pod metav1.Object) (uids []types.UID, complete bool) {
	chain, complete := l.Chain(pod)
	for _, o := range chain {
		uids = append(uids, o.UID)
	}
	return uids, complete
}

// TestChains: how the pods of each kind of job are found to be its own.
func TestChains(t *testing.T) {
	for name, test := range map[string]struct {
		objects  []*metav1.ObjectMeta
		pod      *metav1.ObjectMeta
		want     []types.UID
		complete bool
	}{
		"nobody's":     {nil, object("pod", "", ""), nil, true},
		"job":          {[]*metav1.ObjectMeta{object("job", "", "")}, object("pod", "Job", "job"), []types.UID{"job"}, true},
		"unknown job":  {nil, object("pod", "Job", "job"), []types.UID{"job"}, false},
		"pytorch":      {nil, object("pod", "PyTorchJob", "torch"), []types.UID{"torch"}, true},
		"replica set":  {nil, object("pod", "ReplicaSet", "rs"), []types.UID{"rs"}, true},
		"stateful set": {[]*metav1.ObjectMeta{object("set", "", "")}, object("pod", "StatefulSet", "set"), []types.UID{"set"}, true},
		"train job": {
			[]*metav1.ObjectMeta{object("job", "JobSet", "jobset"), object("jobset", "TrainJob", "train")},
			object("pod", "Job", "job"), []types.UID{"job", "jobset", "train"}, true,
		},
		"train job, job set unknown": {
			[]*metav1.ObjectMeta{object("job", "JobSet", "jobset")}, object("pod", "Job", "job"), []types.UID{"job", "jobset"}, false,
		},
		"ray job":   {[]*metav1.ObjectMeta{object("cluster", "RayJob", "ray")}, object("pod", "RayCluster", "cluster"), []types.UID{"cluster", "ray"}, true},
		"submitter": {[]*metav1.ObjectMeta{object("job", "RayJob", "ray")}, object("pod", "Job", "job"), []types.UID{"job", "ray"}, true},
		"leader worker set": {
			[]*metav1.ObjectMeta{object("workers", "Pod", "leader"), object("leader", "StatefulSet", "leaders"), object("leaders", "LeaderWorkerSet", "lws")},
			object("pod", "StatefulSet", "workers"), []types.UID{"workers", "leader", "leaders", "lws"}, true,
		},
		"circle": {
			[]*metav1.ObjectMeta{object("a", "Job", "b"), object("b", "Job", "a")}, object("pod", "Job", "a"), []types.UID{"a", "b"}, true,
		},
		"itself": {[]*metav1.ObjectMeta{object("a", "Job", "a")}, object("pod", "Job", "a"), []types.UID{"a"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var l lineage.Lineage
			for _, o := range test.objects {
				l.Put(o)
			}
			got, complete := uidsAbove(&l, test.pod)
			if !slices.Equal(got, test.want) || complete != test.complete {
				t.Errorf("got %v, %t; want %v, %t", got, complete, test.want, test.complete)
			}
			elsewhere := test.pod.DeepCopy()
			elsewhere.Namespace = "serving"
			if got, _ := uidsAbove(&l, elsewhere); len(got) > 1 {
				t.Errorf("the chain goes on in another namespace: %v", got)
			}
		})
	}
}

// TestDeleted: pods that outlive what made them are still their job's, for as long as
// they are there.
func TestDeleted(t *testing.T) {
	var l lineage.Lineage
	pod, other := object("pod", "RayCluster", "cluster"), object("other", "RayCluster", "second")
	l.Put(object("cluster", "RayJob", "ray"))
	l.Put(object("second", "RayJob", "ray"))
	l.Delete("research", "cluster")
	l.Delete("research", "second")
	l.Delete("research", "second")
	l.Delete("research", "never-seen")
	if l.Gone() != 2 {
		t.Fatalf("%d are gone", l.Gone())
	}
	l.Forget(all(pod))
	if got, complete := uidsAbove(&l, pod); !complete || !slices.Equal(got, []types.UID{"cluster", "ray"}) {
		t.Errorf("while the pod is there: %v, %t", got, complete)
	}
	if _, complete := uidsAbove(&l, other); complete || l.Gone() != 1 {
		t.Errorf("nothing was forgotten: %d", l.Gone())
	}
	// What is there keeps what is above it.
	l.Put(object("job", "JobSet", "cluster"))
	l.Forget(all())
	if l.Gone() != 1 {
		t.Errorf("forgot what is above a job that is there")
	}
	l.Delete("research", "job")
	l.Forget(all())
	if l.Gone() != 0 {
		t.Errorf("%d remembered for nobody", l.Gone())
	}
	// One that comes back is there.
	l.Put(object("again", "", ""))
	l.Delete("research", "again")
	l.Put(object("again", "", ""))
	if l.Gone() != 0 {
		t.Errorf("%d gone, but it came back", l.Gone())
	}
}

func all(pods ...*metav1.ObjectMeta) func(func(metav1.Object) bool) {
	return func(yield func(metav1.Object) bool) {
		for _, pod := range pods {
			if !yield(pod) {
				return
			}
		}
	}
}

func TestLeads(t *testing.T) {
	if !lineage.Leads(object("a", "StatefulSet", "set")) || lineage.Leads(object("a", "Job", "job")) || lineage.Leads(&corev1.Pod{}) {
		t.Error("only the pods of StatefulSets may lead others")
	}
}

// TestAgainstNaiveWalk: after any course of events, the chain is what one finds who
// walks through all objects that were ever put.
func TestAgainstNaiveWalk(t *testing.T) {
	names := []string{"Pod", "Job", "StatefulSet", "JobSet", "RayCluster", "RayJob", "ReplicaSet"}
	goesOn := map[string]bool{"Pod": true, "Job": true, "StatefulSet": true, "JobSet": true, "RayCluster": true}
	rapid.Check(t, func(t *rapid.T) {
		uid := rapid.Custom(func(t *rapid.T) types.UID { return types.UID(fmt.Sprint(rapid.IntRange(0, 11).Draw(t, "uid"))) })
		drawn := func(name string) *metav1.ObjectMeta {
			owner := uid.Draw(t, name+"'s owner")
			if rapid.IntRange(0, 4).Draw(t, name+" is owned") == 0 {
				owner = ""
			}
			return object(uid.Draw(t, name), rapid.SampledFrom(names).Draw(t, name+"'s owner's kind"), owner)
		}
		var l lineage.Lineage
		world := map[types.UID]*metav1.ObjectMeta{}
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			if rapid.IntRange(0, 3).Draw(t, "deleted") == 0 {
				l.Delete("research", uid.Draw(t, "deleted one"))
				continue
			}
			o := drawn("object")
			world[o.UID] = o
			l.Put(o)
		}
		pod := drawn("pod")
		var want []types.UID
		complete := true
		for at := pod; ; {
			ref := metav1.GetControllerOf(at)
			if ref == nil || slices.Contains(want, ref.UID) || len(want) == 8 {
				break
			}
			want = append(want, ref.UID)
			if !goesOn[ref.Kind] {
				break
			}
			if at = world[ref.UID]; at == nil {
				complete = false
				break
			}
		}
		l.Forget(all(pod)) // never what is above the pod
		got, is := uidsAbove(&l, pod)
		if d := cmp.Diff(want, got); d != "" || is != complete {
			t.Fatalf("complete: got %t, want %t\n%s", is, complete, d)
		}
	})
}

// TestConcurrently is for the race detector.
func TestConcurrently(t *testing.T) {
	var l lineage.Lineage
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 200 {
				uid := types.UID(fmt.Sprint(i, n%7))
				l.Put(object(uid, "JobSet", "set"))
				l.Chain(object("pod", "Job", uid))
				l.Delete("research", uid)
				l.Forget(all())
			}
		})
	}
	group.Wait()
	if l.Gone() != 0 {
		t.Errorf("%d are still remembered", l.Gone())
	}
}
