package jobs

import (
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// suspendRest suspends what an object has made that may run on though the object has
// ended, or is being deleted: one that is deleted without what it has made stays, because
// that is to stay its own, and its controller looks after it no more.
func (s *Suspendable) suspendRest(ctx context.Context, o *unstructured.Unstructured) error {
	if s.about.jobs {
		return s.suspendJobs(ctx, o)
	}
	var next *about
	var name string
	switch {
	case s.about.grows != nil:
		next, name = s.about.grows(o)
	case s.about.runs != nil:
		next, name = s.about.runs(o)
	default:
		return nil
	}
	rest, err := s.owned(ctx, s.Live, o, next.kind, name)
	if err != nil || rest == nil {
		return err
	}
	of := &Suspendable{Live: s.Live, Client: s.Client, Status: s.Status, about: next}
	switch suspended, ended := of.State(rest); {
	case ended:
		return of.suspendRest(ctx, rest)
	case suspended:
		return nil
	}
	// Or its controller would start again what it finds suspended.
	if mine, _ := s.State(o); s.about.runs != nil && !mine {
		if err := s.setSuspended(ctx, o, true, map[string]*string{}, false); err != nil {
			return err
		}
	}
	return of.setSuspended(ctx, rest, true, map[string]*string{}, false)
}

// suspendJobs suspends the Jobs that an object controls. Its label on them is no more than
// a hint, which their owner may remove.
func (s *Suspendable) suspendJobs(ctx context.Context, o *unstructured.Unstructured) error {
	var list batchv1.JobList
	if err := s.Live.List(ctx, &list, client.InNamespace(o.GetNamespace())); err != nil {
		return fmt.Errorf("list the Jobs of %s: %w", client.ObjectKeyFromObject(o), err)
	}
	var errs []error
	for i := range list.Items {
		job := &list.Items[i]
		if now := fromBatch(job); now.Suspended || now.Finished || !metav1.IsControlledBy(job, o) {
			continue
		}
		target := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: job.Name}}
		err := patch(ctx, s.Client, target, metadataPatch{UID: job.UID}, map[string]any{"spec": map[string]any{"suspend": true}})
		if !errors.Is(err, ErrChanged) { // else it went, or is another
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
