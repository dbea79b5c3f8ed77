package controller

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lineage"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/crds"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

var jobSets = schema.GroupVersionKind{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"}

// seen counts how urgent the changes were.
type seen chan urgency

func (s seen) poke(u urgency) {
	select {
	case s <- u:
	default:
	}
}

// TestKindInstalledLater: a kind is installed while a broker runs, removed and installed
// again, with the rights that the broker has. What it does not know, it does not wait for.
func TestKindInstalledLater(t *testing.T) {
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	definitions, err := crds.Manifests(crds.JobSet)
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.New(t, lab.Options{NoPrometheus: true, Manifests: [][]byte{manifests}})
	config := l.Config()
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:ebbtide-system:ebbtide-broker", Groups: []string{"system:serviceaccounts", "system:authenticated"},
	}
	caches, err := cache.New(config, cache.Options{Scheme: Scheme(), DefaultTransform: slim, DefaultUnsafeDisableDeepCopy: ptr.To(true)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(logr.NewContext(t.Context(), testr.New(t)))
	ended := make(chan error, 1)
	go func() { ended <- caches.Start(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	live, err := client.New(config, client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	served, err := servedBy(config)
	if err != nil {
		t.Fatal(err)
	}
	chains, changes := &lineage.Lineage{}, make(seen, 64)
	set := jobs.NewSet(jobs.Clients{Live: live, Client: live, Status: live.Status()}, chains, &jobs.Batch{Live: live, Client: live})
	k := newKinds(caches, served, &watcher{disrupted: &gather.Disrupted{}, resources: &resources{}, chains: chains, jobs: set, poke: changes.poke}, clock.RealClock{})
	k.stores(set)
	r := reader{caches, k}
	ref := jobs.Ref{Key: types.NamespacedName{Namespace: "default", Name: "pretrain"}, GroupKind: jobSets.GroupKind()}
	list := func() []jobs.Job {
		t.Helper()
		found, err := set.List(t.Context(), r, func(types.UID, string) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if _, err := set.Find(t.Context(), r, ref); !errors.Is(err, errUnread) {
		t.Errorf("before anybody has looked: %v", err)
	}
	k.begin(ctx)
	if _, err := set.Find(t.Context(), r, ref); !apierrors.IsNotFound(err) || len(list()) != 0 {
		t.Errorf("it is not installed: %v", err)
	}
	for round := range 2 {
		if err := l.Apply(t.Context(), definitions...); err != nil {
			t.Fatal(err)
		}
		labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
			err := l.Apply(ctx, []byte(waitingJobSet))
			return err == nil, fmt.Sprint(err)
		})
		var job jobs.Job
		labtest.Eventually(t, 2*time.Minute, func(context.Context) (bool, string) {
			k.look(ctx)
			found := list()
			if len(found) != 1 {
				return false, fmt.Sprintf("%d jobs are found", len(found))
			}
			job = found[0]
			return true, ""
		})
		if job.Kind != jobSets || !job.Suspended || job.Pods != 1 || job.Problem != "" {
			t.Errorf("round %d: got %+v", round, job)
		}
		if _, err := set.Find(t.Context(), r, ref); err != nil {
			t.Error(err)
		}
		made := &corev1.Pod{}
		made.Namespace = "default"
		made.OwnerReferences = []metav1.OwnerReference{{APIVersion: "jobset.x-k8s.io/v1alpha2", Kind: "JobSet", UID: job.UID, Controller: ptr.To(true)}}
		// What is in a cache is told a moment later.
		labtest.Eventually(t, 2*time.Minute, func(context.Context) (bool, string) {
			_, complete := chains.Chain(made)
			return complete, "it is not known that nobody is above it"
		})
		select {
		case <-changes:
		case <-time.After(2 * time.Minute):
			t.Error("nobody was told")
		}

		definition := &unstructured.Unstructured{}
		definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
		definition.SetName("jobsets.jobset.x-k8s.io")
		admin, err := client.New(l.Config(), client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := admin.Delete(t.Context(), definition); err != nil {
			t.Fatal(err)
		}
		labtest.Eventually(t, 2*time.Minute, func(context.Context) (bool, string) {
			k.look(ctx)
			_, err := set.Find(t.Context(), r, ref)
			return !k.installed(jobSets) && apierrors.IsNotFound(err) && len(list()) == 0, fmt.Sprintf("still there: %v", err)
		})
	}
}

const waitingJobSet = `
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: pretrain, namespace: default, labels: {ebbtide.dev/queue: default}}
spec:
  suspend: true
  replicatedJobs:
  - name: workers
    template:
      spec:
        template:
          metadata: {labels: {ebbtide.dev/queue: default}}
          spec:
            schedulerName: ebbtide
            restartPolicy: Never
            containers: [{name: main, image: example.invalid/none, resources: {limits: {nvidia.com/gpu: 1}}}]
`

// TestJobUrgency: as with Jobs, nobody waits for what an ended or taken job held.
func TestJobUrgency(t *testing.T) {
	set := func(edits ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
		o := objectOf(jobSets)
		o.SetLabels(map[string]string{v1alpha1.LabelQueue: "default"})
		for _, edit := range edits {
			edit(o)
		}
		return o
	}
	edited := func(o *unstructured.Unstructured) { o.SetGeneration(2) }
	suspended := func(o *unstructured.Unstructured) {
		edited(o)
		_ = unstructured.SetNestedField(o.Object, true, "spec", "suspend")
	}
	over := func(o *unstructured.Unstructured) {
		_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{"type": "Failed", "status": "True"}}, "status", "conditions")
	}
	taken := func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{v1alpha1.AnnotationTakenBack: "1"})
	}
	counted := func(o *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(o.Object, int64(1), "status", "restarts")
	}
	free := func(o *unstructured.Unstructured) { o.SetLabels(nil) }
	for name, test := range map[string]struct {
		before, after *unstructured.Unstructured
		want          urgency
	}{
		"is made":           {nil, set(), soon},
		"goes":              {set(), nil, atOnce},
		"without queue":     {set(free), nil, soon},
		"is edited":         {set(), set(edited), soon},
		"is suspended":      {set(), set(suspended), atOnce},
		"is resumed":        {set(suspended), set(func(o *unstructured.Unstructured) { o.SetGeneration(3) }), soon},
		"ends":              {set(), set(over), atOnce},
		"another ends":      {set(free), set(free, over), never},
		"is taken":          {set(), set(taken), atOnce},
		"goes on":           {set(taken), set(taken), never},
		"counts":            {set(), set(counted), never},
		"gets another name": {set(), set(func(o *unstructured.Unstructured) { o.SetLabels(map[string]string{v1alpha1.LabelQueue: "b"}) }), soon},
	} {
		w := &watcher{disrupted: &gather.Disrupted{}, resources: &resources{}, chains: &lineage.Lineage{}, jobs: jobs.NewSet(jobs.Clients{}, nil, nil)}
		var got urgency
		switch {
		case test.before == nil:
			got = w.added(test.after)
		case test.after == nil:
			got = w.deleted(test.before)
		default:
			got = w.changed(test.before, test.after)
		}
		if got != test.want {
			t.Errorf("%s: urgency %d, want %d", name, got, test.want)
		}
	}
}
