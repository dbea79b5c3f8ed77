package ebbtide

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// objects reads and writes the jobs of loans, of whatever kind they are.
type objects struct {
	dynamic  dynamic.Interface
	metadata metadata.Interface
	api      discovery.ServerResourcesInterface

	mu    sync.Mutex
	known map[schema.GroupVersionKind]schema.GroupVersionResource
}

func newObjects(config *rest.Config, api discovery.ServerResourcesInterface) (*objects, error) {
	whole, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for jobs: %w", err)
	}
	parts, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for the metadata of jobs: %w", err)
	}
	return &objects{dynamic: whole, metadata: parts, api: api}, nil
}

var kindJob = batchv1.SchemeGroupVersion.WithKind("Job")

// kindOf returns what the loan's job is; a Job where the loan does not say.
func kindOf(loan *v1alpha1.Loan) schema.GroupVersionKind {
	if loan.Spec.Job.Kind == "" {
		return kindJob
	}
	return schema.FromAPIVersionAndKind(loan.Spec.Job.APIVersion, loan.Spec.Job.Kind)
}

// batch reports whether the loan's job is a Job of group batch.
func batch(loan *v1alpha1.Loan) bool {
	job := &loan.Spec.Job
	return job.Kind == "" || job.Kind == kindJob.Kind && job.APIVersion == "batch/v1"
}

// gated reports whether the loan's job is pods, of which one stands for all: they have
// waited for the loan, and so they are older than it.
func gated(loan *v1alpha1.Loan) bool {
	job := &loan.Spec.Job
	return job.Kind == "Pod" && job.APIVersion == "v1"
}

// suspendPath returns the JSON pointer of the field that stops the loan's job; empty if
// it has none.
func suspendPath(loan *v1alpha1.Loan) string {
	if loan.Spec.Job.SuspendPath == "" && batch(loan) {
		return "/spec/suspend"
	}
	return loan.Spec.Job.SuspendPath
}

// errNotServed: the API server does not have the job's kind.
var errNotServed = errors.New("the API server does not have the kind")

// resource returns under which name the API server has a kind. What it once said holds:
// a kind keeps its name.
func (o *objects) resource(kind schema.GroupVersionKind) (schema.GroupVersionResource, error) {
	if kind == kindJob {
		return batchv1.SchemeGroupVersion.WithResource("jobs"), nil
	}
	o.mu.Lock()
	known, is := o.known[kind]
	o.mu.Unlock()
	if is {
		return known, nil
	}
	list, err := o.api.ServerResourcesForGroupVersion(kind.GroupVersion().String())
	if apierrors.IsNotFound(err) {
		return known, errNotServed
	}
	if err != nil {
		return known, fmt.Errorf("ask for the kinds of %s: %w", kind.GroupVersion(), err)
	}
	for i := range list.APIResources {
		if r := &list.APIResources[i]; r.Kind == kind.Kind && !strings.Contains(r.Name, "/") {
			known = kind.GroupVersion().WithResource(r.Name)
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.known == nil {
				o.known = map[schema.GroupVersionKind]schema.GroupVersionResource{}
			}
			o.known[kind] = known
			return known, nil
		}
	}
	return known, errNotServed
}

// read returns the metadata of the loan's very job; nil if that is gone.
func (o *objects) read(ctx context.Context, loan *v1alpha1.Loan) (*metav1.PartialObjectMetadata, error) {
	resource, err := o.resource(kindOf(loan))
	if errors.Is(err, errNotServed) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	job, err := o.metadata.Resource(resource).Namespace(loan.Namespace).Get(ctx, loan.Spec.Job.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && job.UID != loan.Spec.Job.UID {
		return nil, nil
	}
	return job, err
}

// patch changes the loan's job. One that is gone is no error.
func (o *objects) patch(ctx context.Context, loan *v1alpha1.Loan, kind types.PatchType, data []byte) error {
	resource, err := o.resource(kindOf(loan))
	if errors.Is(err, errNotServed) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = o.dynamic.Resource(resource).Namespace(loan.Namespace).Patch(ctx, loan.Spec.Job.Name, kind, data, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
