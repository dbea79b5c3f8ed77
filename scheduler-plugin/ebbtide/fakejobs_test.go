package ebbtide

import (
	"errors"
	"net/http"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	fakediscovery "k8s.io/client-go/discovery/fake"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
)

// newClients makes the clients for jobs. What the API server has is in the dynamic one.
func (w *world) newClients() {
	scheme := runtime.NewScheme()
	must(w.t, metav1.AddMetaToScheme(scheme))
	w.dynamic = dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
	w.metadata = metadatafake.NewSimpleMetadataClient(scheme)
	react := clienttesting.ObjectReaction(w.dynamic.Tracker())
	w.dynamic.PrependReactor("patch", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		handled, obj, err := react(a)
		var status apierrors.APIStatus
		if err != nil && !errors.As(err, &status) { // a test of the patch failed
			err = apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
		}
		return handled, obj, err
	})
	w.metadata.PrependReactor("get", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		name := a.(clienttesting.GetAction).GetName()
		obj, err := w.dynamic.Tracker().Get(a.GetResource(), a.GetNamespace(), name)
		if err != nil {
			return true, nil, err
		}
		part := &metav1.PartialObjectMetadata{}
		must(w.t, runtime.DefaultUnstructuredConverter.FromUnstructured(obj.(*unstructured.Unstructured).Object, part))
		return true, part, nil
	})
	for _, fake := range []*clienttesting.Fake{&w.client.Fake, &w.dynamic.Fake, &w.metadata.Fake} {
		fake.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
			w.calls = append(w.calls, a)
			return false, nil, nil
		})
	}
}

// serve lets the API server have a kind.
func (w *world) serve(kind schema.GroupVersionKind, resource string) {
	api := w.client.Discovery().(*fakediscovery.FakeDiscovery)
	api.Resources = append(api.Resources, &metav1.APIResourceList{
		GroupVersion: kind.GroupVersion().String(),
		APIResources: []metav1.APIResource{{Name: resource + "/status", Kind: kind.Kind}, {Name: resource, Kind: kind.Kind, Namespaced: true}},
	})
}

// putObject stores a job where the API server has it.
func (w *world) putObject(resource schema.GroupVersionResource, o *unstructured.Unstructured) {
	tracker := w.dynamic.Tracker()
	_ = tracker.Delete(resource, o.GetNamespace(), o.GetName())
	must(w.t, tracker.Create(resource, o, o.GetNamespace()))
}

// object returns a job as the API server has it.
func (w *world) object(resource schema.GroupVersionResource, name string) *unstructured.Unstructured {
	w.t.Helper()
	obj, err := w.dynamic.Tracker().Get(resource, "research", name)
	must(w.t, err)
	return obj.(*unstructured.Unstructured)
}

var jobs = batchv1.SchemeGroupVersion.WithResource("jobs")

// putJob stores the Job where the plugin and the API server see it.
func (w *world) putJob(job *batchv1.Job) {
	must(w.t, w.jobStore.Add(job))
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(job.DeepCopy())
	must(w.t, err)
	o := &unstructured.Unstructured{Object: fields}
	o.SetGroupVersionKind(kindJob)
	w.putObject(jobs, o)
}

// jobNow returns the Job as the API server has it.
func (w *world) jobNow(name string) *batchv1.Job {
	w.t.Helper()
	job := &batchv1.Job{}
	must(w.t, runtime.DefaultUnstructuredConverter.FromUnstructured(w.object(jobs, name).Object, job))
	return job
}
