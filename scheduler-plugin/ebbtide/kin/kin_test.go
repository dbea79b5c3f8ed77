package kin

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

var (
	jobSets = schema.GroupVersionResource{Group: "jobset.x-k8s.io", Version: "v1alpha2", Resource: "jobsets"}
	jobSet  = schema.GroupKind{Group: "jobset.x-k8s.io", Kind: "JobSet"}
)

// api says which kinds are served.
type api struct {
	discovery.ServerResourcesInterface
	mu     sync.Mutex
	served map[string]*metav1.APIResourceList
	err    error
	asked  int
}

func (a *api) ServerResourcesForGroupVersion(version string) (*metav1.APIResourceList, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	switch {
	case a.err != nil:
		return nil, a.err
	case a.served[version] == nil:
		return nil, apierrors.NewNotFound(schema.GroupResource{}, version)
	}
	return a.served[version], nil
}

func (a *api) install(served bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.served = map[string]*metav1.APIResourceList{}
	if served {
		a.served["jobset.x-k8s.io/v1alpha2"] = &metav1.APIResourceList{APIResources: []metav1.APIResource{
			{Name: "jobsets/status", Kind: "JobSet"}, {Name: "jobsets", Kind: "JobSet"},
		}}
	}
}

type watched struct {
	*Kin
	api    *api
	client *metadatafake.FakeMetadataClient
	news   chan string
	// begun has a word for every watch that began.
	begun chan struct{}
}

func watching(t *testing.T, objects ...runtime.Object) *watched {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &watched{api: &api{}, client: metadatafake.NewSimpleMetadataClient(scheme, objects...), news: make(chan string, 100), begun: make(chan struct{}, 100)}
	w.client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		objects, err := w.client.Tracker().Watch(action.GetResource(), action.GetNamespace())
		w.begun <- struct{}{}
		return true, objects, err
	})
	w.Kin = &Kin{
		Resources: []schema.GroupVersionResource{jobSets}, Client: w.client, API: w.api, Clock: clocktesting.NewFakeClock(time.Now()),
		Changed: func(before, now *metav1.PartialObjectMetadata) {
			switch {
			case before == nil:
				w.news <- "new " + now.Name
			case now == nil:
				w.news <- "gone " + before.Name
			default:
				w.news <- "changed " + now.Name
			}
		},
	}
	return w
}

func named(name string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "jobset.x-k8s.io/v1alpha2", Kind: "JobSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: name, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}},
	}
}

func (w *watched) expect(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for range want {
		select {
		case news := <-w.news:
			got = append(got, news)
		case <-time.After(time.Minute):
			t.Fatalf("told %v, want %v", got, want)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("told %v, want %v", got, want)
	}
}

// A kind that is installed while the scheduler runs is watched, and one that is removed
// leaves nothing behind.
func TestKindsComeAndGo(t *testing.T) {
	w := watching(t, named("a"), named("b"))
	if w.Settled(jobSet) {
		t.Error("it is known what there is before anybody looked")
	}
	w.Look(t.Context())
	if !w.Settled(jobSet) || w.Get(jobSet, "research", "a") != nil {
		t.Error("the cluster does not have the kind, and that is not known")
	}
	w.api.install(true)
	w.Look(t.Context())
	w.expect(t, "new a", "new b")
	if got := w.Get(jobSet, "research", "a"); got == nil || got.ManagedFields != nil {
		t.Errorf("a = %+v", got)
	}
	if w.Get(jobSet, "serving", "a") != nil || w.Get(schema.GroupKind{Kind: "Pod"}, "research", "a") != nil {
		t.Error("it is found where it is not")
	}
	w.Look(t.Context()) // nothing is new
	// This API server has no versions: what happens between a list and its watch is lost.
	<-w.begun
	if err := w.client.Tracker().Delete(jobSets, "research", "b"); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "gone b")
	w.api.install(false)
	w.Look(t.Context())
	w.expect(t, "gone a")
	if !w.Settled(jobSet) || w.Get(jobSet, "research", "a") != nil {
		t.Error("the kind was removed, and is still there")
	}
	w.api.install(true)
	w.Look(t.Context())
	w.expect(t, "new a")
}

// What cannot be asked stays as it was.
func TestErrorsChangeNothing(t *testing.T) {
	w := watching(t, named("a"))
	w.api.err = errors.New("the API server is away")
	w.Look(t.Context())
	if w.Settled(jobSet) {
		t.Error("nobody could be asked, and it is known")
	}
	w.api.err = nil
	w.api.install(true)
	w.Look(t.Context())
	w.expect(t, "new a")
	w.api.err = errors.New("the API server is away")
	w.Look(t.Context())
	if w.Get(jobSet, "research", "a") == nil {
		t.Error("the watch ended with an error of another question")
	}
}

// Word of an object makes it look, though not at once again.
func TestKick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t)
		w.Clock = clock.RealClock{}
		ctx, cancel := context.WithCancel(t.Context())
		go w.Run(ctx)
		asked := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			w.api.mu.Lock()
			got := w.api.asked
			w.api.mu.Unlock()
			if got != want {
				t.Errorf("%s: asked %d times, want %d", when, got, want)
			}
		}
		asked("at the start", 1)
		for range 5 {
			w.Kick(jobSet)
		}
		asked("kicked at once", 1)
		time.Sleep(lookAgain)
		asked("after a rest", 2)
		time.Sleep(lookAgain)
		asked("a kick that came meanwhile", 3)
		time.Sleep(lookEvery)
		asked("later", 4)
		w.Kick(schema.GroupKind{Group: "batch", Kind: "Job"})
		asked("kicked for what is none of the kinds", 4)
		w.Kick(jobSet)
		asked("kicked much later", 5)
		cancel()
		synctest.Wait()
	})
}
