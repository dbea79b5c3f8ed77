package access

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

// Scheme has the kinds that the command line reads and writes.
var Scheme = newScheme()

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, batchv1.AddToScheme, coordinationv1.AddToScheme, schedulingv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(fmt.Sprintf("register API types: %v", err)) // two types claim one kind: a broken build
		}
	}
	return scheme
}

// NewCluster returns a client that talks to the API server for every call. It
// knows its kinds by heart and makes no discovery requests.
func NewCluster(config *rest.Config) (client.Client, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeJSON // one form for built-in kinds and ours
	c, err := client.New(config, client.Options{Scheme: Scheme, Mapper: mapper()})
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	return c, nil
}

func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion})
	for _, namespaced := range []schema.GroupVersionKind{
		corev1.SchemeGroupVersion.WithKind("Event"),
		batchv1.SchemeGroupVersion.WithKind("Job"),
		coordinationv1.SchemeGroupVersion.WithKind("Lease"),
		v1alpha1.GroupVersion.WithKind("TrainingQueue"),
		v1alpha1.GroupVersion.WithKind("LendingPolicy"),
		v1alpha1.GroupVersion.WithKind("Loan"),
		// Kinds of jobs, and what stands between them and their pods.
		corev1.SchemeGroupVersion.WithKind("Pod"),
		appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		appsv1.SchemeGroupVersion.WithKind("Deployment"),
		{Group: "leaderworkerset.x-k8s.io", Version: "v1", Kind: "LeaderWorkerSet"},
	} {
		m.Add(namespaced, meta.RESTScopeNamespace)
	}
	for _, field := range jobs.Fields() {
		m.Add(field.Kind, meta.RESTScopeNamespace)
	}
	m.Add(schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"), meta.RESTScopeRoot)
	m.Add(v1alpha1.GroupVersion.WithKind("GPUNode"), meta.RESTScopeRoot)
	return m
}
